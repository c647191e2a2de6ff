//! Members come, vote, move, leave and are not let back in, while others write.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::test_cluster::{TestCluster, get, put, within};
use super::{RaftStore, Seats, find_place};
use crate::base::MemberId;
use crate::kv::{Consistency, Member, MemberChange, MemberRefusal, Op, Store, StoreError};

async fn refused(store: &RaftStore, change: MemberChange) -> MemberRefusal {
    match within("a refusal", store.change_members(change)).await {
        Err(StoreError::Member(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

fn add(url: &str) -> MemberChange {
    MemberChange::Add { peer_urls: vec![url.to_owned()], learner: false }
}

/// Writes until told to stop; returns the keys whose writes were acknowledged.
async fn write_on(store: Arc<RaftStore>, name: &'static str, stop: Arc<AtomicBool>) -> Vec<String> {
    let mut acknowledged = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let key = format!("{name}/{}", acknowledged.len());
        match store.write(Op::put(key.clone(), "v")).await {
            Ok(_) => acknowledged.push(key),
            Err(error) => panic!("{key}: {error}"),
        }
    }
    acknowledged
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_grows_is_repaired_and_shrinks_under_writes() {
    let mut cluster = TestCluster::start(30, 1).await;
    put(cluster.store(0), "a", "1").await;
    cluster.announce(0).await;
    let stop = Arc::new(AtomicBool::new(false));
    let first = cluster.nodes[0].as_ref().unwrap().store.clone();
    let writer = tokio::spawn(write_on(first, "w", stop.clone()));
    for voters in [&[0, 1][..], &[0, 1, 2], &[0, 1, 2, 3], &[0, 1, 2, 3, 4]] {
        let n = cluster.add(false).await;
        let seen = cluster.store(0).members_now().await.unwrap();
        let new = seen.iter().find(|member| member.id == cluster.peers[n].id).unwrap();
        assert_eq!((new.name.as_str(), new.learner), ("", false));
        cluster.start_node(n).await;
        cluster.voters(0, voters).await;
        cluster.announce(n).await;
    }
    // A dead one is replaced.
    cluster.kill(2).await;
    cluster.change(MemberChange::Remove { id: cluster.peers[2].id }).await;
    cluster.voters(0, &[0, 1, 3, 4]).await;
    let n = cluster.add(false).await;
    cluster.start_node(n).await;
    cluster.voters(0, &[0, 1, 3, 4, 5]).await;
    cluster.announce(n).await;
    // It comes back, and is told that it no longer belongs there.
    cluster.start_node(2).await;
    let farewell = within("the farewell", cluster.store(2).removed()).await;
    assert!(farewell.contains("(n3) has been permanently removed from the cluster"), "{farewell}");
    cluster.kill(2).await;
    // A restarted one knows those who joined.
    cluster.stop(3).await;
    cluster.start_node(3).await;
    put(cluster.store(3), "from 3", "v").await;
    for (gone, rest) in [(1, &[0, 3, 4, 5][..]), (3, &[0, 4, 5])] {
        let changed = cluster.change(MemberChange::Remove { id: cluster.peers[gone].id }).await;
        assert_eq!(changed.members.len(), rest.len());
        cluster.voters(0, rest).await;
        let farewell = within("the farewell", cluster.store(gone).removed()).await;
        assert!(farewell.contains("permanently removed"), "{farewell}");
        cluster.kill(gone).await;
    }
    stop.store(true, Ordering::Relaxed);
    let acknowledged = within("the writer", writer).await.unwrap();
    assert!(acknowledged.len() > 20, "{}", acknowledged.len());
    // Nothing but those who joined holds it now.
    cluster.kill(0).await;
    for key in &acknowledged {
        let found = get(cluster.store(4), key, Consistency::Linearizable).await;
        let found = match found {
            Err(_) => get(cluster.store(5), key, Consistency::Linearizable).await,
            found => found,
        };
        assert_eq!(found.unwrap().as_deref(), Some("v"), "{key}");
    }
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_that_join_vote_where_there_is_room_and_take_the_place_of_one_that_is_gone() {
    let mut cluster = TestCluster::prepare(34, 1);
    cluster.seats = Seats { voters_max: 3, lost_after: Duration::from_secs(4) };
    cluster.start_node(0).await;
    put(cluster.store(0), "a", "1").await;
    cluster.announce(0).await;
    // Both at once: one that has not started yet keeps nobody out.
    for _ in 0..2 {
        cluster.join().await;
    }
    for n in [1, 2] {
        cluster.start_node(n).await;
    }
    cluster.voters(0, &[0, 1, 2]).await;
    let n = cluster.join().await;
    cluster.start_node(n).await;
    cluster.announce(n).await;
    put(cluster.store(n), "b", "1").await;
    cluster.kill(1).await;
    cluster.voters(0, &[0, 2, 3]).await;
    put(cluster.store(3), "c", "1").await;
    // It comes back as one that stands.
    cluster.start_node(1).await;
    cluster.announce(1).await;
    cluster.voters(0, &[0, 2, 3]).await;
    // The one that founded the cluster is lost like any other.
    cluster.kill(0).await;
    cluster.voters(2, &[1, 2, 3]).await;
    put(cluster.store(1), "d", "1").await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_would_harm_the_cluster_is_refused() {
    let mut cluster = TestCluster::start(31, 1).await;
    put(cluster.store(0), "a", "1").await;
    cluster.announce(0).await;
    let own = cluster.peers[0].id;
    let url = cluster.peers[0].urls[0].clone();
    let store = cluster.store(0);
    let nobody = MemberId(0xff);
    let moved = |id, url: &str| MemberChange::Update { id, peer_urls: vec![url.to_owned()] };
    let cases = [
        (MemberChange::Remove { id: own }, MemberRefusal::NotEnoughStarted),
        (MemberChange::Remove { id: nobody }, MemberRefusal::NotFound),
        (MemberChange::Promote { id: own }, MemberRefusal::NotALearner),
        (MemberChange::Promote { id: nobody }, MemberRefusal::NotFound),
        (moved(nobody, "http://127.0.0.1:1"), MemberRefusal::NotFound),
        (moved(own, "ftp://127.0.0.1:1"), MemberRefusal::BadUrls),
        (MemberChange::Add { peer_urls: Vec::new(), learner: false }, MemberRefusal::BadUrls),
        (add("http://nowhere"), MemberRefusal::BadUrls),
        (add(&url), MemberRefusal::UrlTaken),
    ];
    for (change, refusal) in cases {
        assert_eq!(refused(store, change.clone()).await, refusal, "{change:?}");
    }
    let learner = cluster.add(true).await;
    let store = cluster.store(0);
    let second = MemberChange::Add { peer_urls: vec!["http://127.0.0.1:1".to_owned()], learner: true };
    assert_eq!(refused(store, second).await, MemberRefusal::TooManyLearners);
    let learner_id = cluster.peers[learner].id;
    assert_eq!(refused(store, MemberChange::Promote { id: learner_id }).await, MemberRefusal::NotInSync);
    assert_eq!(refused(store, moved(learner_id, &url)).await, MemberRefusal::UrlTaken);
    // With it, it may vote; the member after it waits until it has started.
    cluster.start_node(learner).await;
    put(cluster.store(0), "b", "1").await;
    cluster.change(MemberChange::Promote { id: learner_id }).await;
    cluster.voters(0, &[0, 1]).await;
    let changed = refused(cluster.store(1), add("http://127.0.0.1:1")).await;
    assert_eq!(changed, MemberRefusal::NotEnoughStarted);
    cluster.announce(learner).await;
    let third = cluster.add(false).await;
    assert_eq!(
        refused(cluster.store(0), MemberChange::Promote { id: cluster.peers[third].id }).await,
        MemberRefusal::NotInSync
    );
    cluster.start_node(third).await;
    cluster.voters(1, &[0, 1, 2]).await;
    cluster.announce(third).await;
    // One of three is down: to remove another one would leave one of two.
    cluster.kill(2).await;
    let leader = cluster.leader().await;
    let (down, follower) = (cluster.peers[2].id, cluster.peers[(leader + 1) % 2].id);
    within("noticing", async {
        while cluster.store(leader).node.peers.health.answers(down) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert_eq!(refused(cluster.store(0), add("http://127.0.0.1:1")).await, MemberRefusal::Unhealthy);
    assert_eq!(refused(cluster.store(1), MemberChange::Remove { id: follower }).await, MemberRefusal::Unhealthy);
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_moves_is_found_again() {
    let mut cluster = TestCluster::start(32, 3).await;
    put(cluster.store(0), "a", "1").await;
    let leader = cluster.leader().await;
    let moving = (leader + 1) % 3;
    let old = cluster.peers[moving].urls.clone();
    cluster.kill(moving).await;
    cluster.rebind(moving);
    assert_ne!(cluster.peers[moving].urls, old);
    let (id, urls) = (cluster.peers[moving].id, cluster.peers[moving].urls.clone());
    cluster.change(MemberChange::Update { id, peer_urls: urls.clone() }).await;
    let seen = cluster.store(leader).members_now().await.unwrap();
    let seen: Vec<&Member> = seen.iter().filter(|member| member.id == id).collect();
    assert_eq!(seen[0].peer_urls, urls);
    cluster.start_node(moving).await;
    let other = 3 - leader - moving;
    cluster.kill(other).await;
    put(cluster.store(leader), "b", "2").await;
    assert_eq!(get(cluster.store(moving), "b", Consistency::Linearizable).await.unwrap().as_deref(), Some("2"));
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_removes_itself() {
    let mut cluster = TestCluster::start(33, 3).await;
    put(cluster.store(0), "a", "1").await;
    for n in 0..3 {
        cluster.announce(n).await;
    }
    let leader = cluster.leader().await;
    cluster.change(MemberChange::Remove { id: cluster.peers[leader].id }).await;
    within("the farewell", cluster.store(leader).removed()).await;
    cluster.kill(leader).await;
    let rest: Vec<usize> = (0..3).filter(|n| *n != leader).collect();
    put(cluster.store(rest[0]), "b", "2").await;
    cluster.voters(rest[1], &rest).await;
    assert_eq!(get(cluster.store(rest[1]), "b", Consistency::Linearizable).await.unwrap().as_deref(), Some("2"));
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_wants_to_join_must_have_been_added() {
    let cluster = TestCluster::start(34, 1).await;
    put(cluster.store(0), "a", "1").await;
    let founder = ("n1".to_owned(), cluster.peers[0].urls.clone());
    let stranger = ("n2".to_owned(), vec!["http://127.0.0.1:1".to_owned()]);
    let error = find_place("n2", &[founder.clone(), stranger.clone()], &Arc::default()).await.unwrap_err().to_string();
    assert!(
        error.starts_with("error validating peerURLs {ClusterID:22 ") && error.ends_with("member count is unequal")
    );
    let error =
        find_place("n2", &[("n1".to_owned(), vec!["http://127.0.0.1:1".to_owned()]), stranger], &Arc::default()).await;
    assert!(error.unwrap_err().to_string().contains("could not retrieve cluster information from the given URLs"));
    cluster.end().await;
}
