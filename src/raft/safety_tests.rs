//! What must not happen on the worst of days: a member without memory that votes, a leader that does not know that it is none.

#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use super::probation::Standing;
use super::test_cluster::{TestCluster, get, grant, put, within};
use crate::base::LeaseId;
use crate::kv::{Consistency, Op, Store};

/// Waits until member `n` may vote again.
async fn trusted(cluster: &TestCluster, n: usize) {
    within("trust", async {
        while cluster.store(n).node.probation.standing() != Standing::Trusted {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

async fn announced(id: u64, size: usize) -> TestCluster {
    let cluster = TestCluster::start(id, size).await;
    put(cluster.store(0), "a", "1").await;
    for n in 0..size {
        cluster.announce(n).await;
    }
    // Each has applied what all have said of themselves: it is what they remember one another by.
    for n in 0..size {
        get(cluster.store(n), "a", Consistency::Linearizable).await.unwrap();
    }
    cluster
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_without_memory_does_not_make_the_others_forget() {
    let mut cluster = announced(40, 3).await;
    let leader = cluster.leader().await;
    let (absent, wiped) = ((leader + 1) % 3, (leader + 2) % 3);
    cluster.kill(absent).await;
    for i in 0..20 {
        put(cluster.store(leader), &format!("k{i}"), "v").await;
    }
    cluster.kill(leader).await;
    cluster.kill(wiped).await;
    cluster.wipe(wiped);
    cluster.start_node(absent).await;
    cluster.start_node(wiped).await;
    // Several elections' time: none of the two may lead, as neither holds what was acknowledged.
    tokio::time::sleep(Duration::from_millis(2_000)).await;
    for n in [absent, wiped] {
        assert_eq!(cluster.store(n).status().leader, None);
    }
    assert_ne!(cluster.store(wiped).node.probation.standing(), Standing::Trusted);
    // It outlives a restart.
    cluster.kill(wiped).await;
    cluster.start_node(wiped).await;
    cluster.start_node(leader).await;
    for n in 0..3 {
        for i in 0..20 {
            put(cluster.store(n), "warm", "up").await;
            let found = get(cluster.store(n), &format!("k{i}"), Consistency::Linearizable).await;
            assert_eq!(found.unwrap().as_deref(), Some("v"), "k{i} on {n}");
        }
    }
    // With its memory back it counts again.
    trusted(&cluster, wiped).await;
    cluster.kill(leader).await;
    put(cluster.store(wiped), "after", "v").await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_without_memory_is_healed_by_a_quorum_of_the_others() {
    let mut cluster = announced(41, 3).await;
    let leader = cluster.leader().await;
    let wiped = (leader + 1) % 3;
    cluster.kill(wiped).await;
    put(cluster.store(leader), "b", "2").await;
    cluster.wipe(wiped);
    cluster.start_node(wiped).await;
    trusted(&cluster, wiped).await;
    cluster.kill(leader).await;
    put(cluster.store(wiped), "c", "3").await;
    assert_eq!(get(cluster.store(wiped), "b", Consistency::Linearizable).await.unwrap().as_deref(), Some("2"));
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_of_two_survives_the_loss_of_one_memory() {
    let mut cluster = announced(42, 2).await;
    put(cluster.store(0), "b", "2").await;
    cluster.kill(0).await;
    cluster.kill(1).await;
    cluster.wipe(1);
    cluster.start_node(1).await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    cluster.start_node(0).await;
    put(cluster.store(1), "c", "3").await;
    trusted(&cluster, 1).await;
    assert_eq!(get(cluster.store(1), "b", Consistency::Linearizable).await.unwrap().as_deref(), Some("2"));
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_cluster_begins_with_a_quorum_and_a_latecomer_is_let_in() {
    let mut cluster = TestCluster::prepare(43, 3);
    let began = Instant::now();
    cluster.start_node(1).await;
    cluster.start_node(2).await;
    put(cluster.store(1), "a", "1").await;
    cluster.announce(1).await;
    cluster.announce(2).await;
    println!("first write after {:?}", began.elapsed());
    // It was never there: that one of the others is down meanwhile is no reason to keep it out.
    cluster.kill(2).await;
    cluster.start_node(0).await;
    put(cluster.store(0), "b", "2").await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_without_a_quorum_steps_down() {
    let cluster = announced(44, 3).await;
    let leader = cluster.leader().await;
    grant(cluster.store(leader), 7, 60_000).await;
    cluster.cut(leader, true);
    let node = cluster.store(leader).node.clone();
    within("stepping down", node.lead.subscribe().wait_for(|lead| !lead.here)).await.unwrap();
    assert_eq!(cluster.store(leader).status().leader, None);
    within("laying the leases down", async {
        while node.core.leases.term().is_some() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let other = (leader + 1) % 3;
    put(cluster.store(other), "b", "2").await;
    cluster.cut(leader, false);
    put(cluster.store(leader), "c", "3").await;
    assert_eq!(get(cluster.store(leader), "b", Consistency::Linearizable).await.unwrap().as_deref(), Some("2"));
    assert_eq!(cluster.store(other).keep_alive(LeaseId(7)).await.unwrap(), 60_000);
    drop(node);
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_was_cut_off_disturbs_nobody_when_it_returns() {
    let cluster = announced(45, 3).await;
    let leader = cluster.leader().await;
    let follower = (leader + 1) % 3;
    let before = *cluster.store(leader).node.lead.borrow();
    cluster.cut(follower, true);
    tokio::time::sleep(Duration::from_millis(2_000)).await;
    cluster.cut(follower, false);
    put(cluster.store(follower), "b", "2").await;
    let after = *cluster.store(leader).node.lead.borrow();
    assert_eq!((after.term, after.here), (before.term, true));
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_disk_hangs_gives_leadership_up() {
    let cluster = announced(46, 3).await;
    let leader = cluster.leader().await;
    let other = (leader + 1) % 3;
    let (release, hold) = std::sync::mpsc::channel();
    cluster.store(leader).log.hang(hold);
    let began = Instant::now();
    let store = cluster.nodes[leader].as_ref().unwrap().store.clone();
    let stuck = tokio::spawn(async move { store.write(Op::put("stuck", "v")).await });
    let old = Some(cluster.peers[leader].id);
    within("another leader", async {
        while [old, None].contains(&cluster.store(other).status().leader) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    println!("another leader after {:?}", began.elapsed());
    put(cluster.store(other), "b", "2").await;
    drop(release);
    let _ = within("the write", stuck).await.unwrap();
    put(cluster.store(leader), "c", "3").await;
    assert_eq!(get(cluster.store(leader), "b", Consistency::Linearizable).await.unwrap().as_deref(), Some("2"));
    cluster.end().await;
}
