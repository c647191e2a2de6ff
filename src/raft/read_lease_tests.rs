//! Reads on the leader's lease: answered without a quorum while it holds, and never behind what was acknowledged.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use openraft::raft::VoteRequest;

use super::peer::message::{Lane, Request, Response};
use super::peer::session::PeerError;
use super::store::RaftStore;
use super::test_cluster::{TestCluster, get, put, within};
use super::types::Vote;
use crate::kv::{Consistency, Store};

async fn start(id: u64, election_ms: u64) -> TestCluster {
    let mut cluster = TestCluster::prepare(id, 3);
    cluster.election_ms = election_ms;
    cluster.lease_reads = true;
    cluster.start_all().await;
    cluster
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_reads_without_a_quorum_while_its_lease_holds() {
    let cluster = start(60, 4_000).await;
    put(cluster.store(0), "a", "1").await;
    // A machine that is held up for longer than the lease has to try again.
    within("an answer on the lease", async {
        loop {
            put(cluster.store(0), "a", "1").await;
            let leader = cluster.leader().await;
            cluster.cut(leader, true);
            let found = get(cluster.store(leader), "a", Consistency::Linearizable).await;
            cluster.cut(leader, false);
            if let Ok(found) = found {
                return assert_eq!(found.as_deref(), Some("1"));
            }
        }
    })
    .await;
    cluster.end().await;
}

/// Reads `n` at one member over and over: it is never less than what was acknowledged before the read began.
async fn read_on(store: Arc<RaftStore>, acknowledged: Arc<AtomicU64>, stop: Arc<AtomicBool>) -> usize {
    let mut answered = 0;
    while !stop.load(Ordering::Relaxed) {
        let least = acknowledged.load(Ordering::SeqCst);
        let reading = get(&store, "n", Consistency::Linearizable);
        // One that is cut off waits longer for an answer than this test does.
        if let Ok(Ok(Some(found))) = tokio::time::timeout(Duration::from_millis(300), reading).await {
            assert!(found.parse::<u64>().unwrap() >= least, "{found} was read after {least} was acknowledged");
            answered += 1;
        }
    }
    answered
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_read_is_behind_what_was_acknowledged() {
    let mut cluster = start(61, 500).await;
    put(cluster.store(0), "n", "0").await;
    let (acknowledged, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let (mut written, mut answered) = (0, 0);
    for round in 0..6 {
        stop.store(false, Ordering::Relaxed);
        let old = cluster.leader().await;
        let others = [(old + 1) % 3, (old + 2) % 3];
        let store = cluster.nodes[old].as_ref().unwrap().store.clone();
        let reader = tokio::spawn(read_on(store.clone(), acknowledged.clone(), stop.clone()));
        match round % 3 {
            0 => cluster.cut(old, true),
            // The others may vote at once, and the old leader does not hear of it.
            1 => {
                let heir = cluster.peers[others[0]].id;
                let moving = tokio::spawn(async move { store.move_leader(heir).await });
                tokio::time::sleep(Duration::from_millis(round)).await;
                cluster.cut(old, true);
                moving.abort();
            }
            // They have forgotten whom they follow.
            _ => {
                for other in others {
                    cluster.kill(other).await;
                }
                for other in others {
                    cluster.start_node(other).await;
                }
                cluster.cut(old, true);
            }
        }
        for _ in 0..30 {
            written += 1;
            put(cluster.store(others[0]), "n", &written.to_string()).await;
            acknowledged.store(written, Ordering::SeqCst);
        }
        cluster.cut(old, false);
        put(cluster.store(old), "other", "v").await;
        stop.store(true, Ordering::Relaxed);
        answered += within("a reader's end", reader).await.unwrap();
    }
    assert!(answered > 0);
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_hands_over_reads_on_its_lease_no_more_in_that_term() {
    let cluster = start(62, 4_000).await;
    let holds = async |n: usize| {
        put(cluster.store(n), "a", "1").await;
        let node = &cluster.store(n).node;
        node.read_lease.as_ref().unwrap().index(&node.raft).await.is_some()
    };
    put(cluster.store(0), "a", "1").await;
    let old = cluster.leader().await;
    within("a lease", async { while !holds(old).await {} }).await;
    let node = &cluster.store(old).node;
    node.read_lease.as_ref().unwrap().hand_over(node.lead.borrow().term);
    assert!(!holds(old).await);
    // Another leader in another term has a lease of its own.
    let heir = (old + 1) % 3;
    within("a move", cluster.store(old).move_leader(cluster.peers[heir].id)).await.unwrap();
    within("a lease", async { while !holds(heir).await {} }).await;
    assert!(!holds(old).await);
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_has_just_started_votes_for_nobody_unless_its_leader_wants_it() {
    let cluster = start(63, 60_000).await;
    let asking = &cluster.store(0).node;
    let ask = async |leadership_transfer| {
        let vote = Vote::new(9, cluster.peers[0].id.0);
        let request = Request::Vote(VoteRequest { leadership_transfer, ..VoteRequest::new(vote, None) });
        asking.peers.ask(cluster.peers[1].id, Lane::Control, &request, Duration::from_secs(5)).await
    };
    let too_early = |answer| matches!(answer, Err(PeerError::Failed(why)) if why.contains("has just started"));
    within("a refusal", async { while !too_early(ask(false).await) {} }).await;
    within("a vote", async { while !matches!(ask(true).await, Ok(Response::Vote(_))) {} }).await;
    assert!(too_early(ask(false).await));
    cluster.end().await;
}
