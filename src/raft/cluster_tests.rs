//! What clients see of a cluster: writes, reads, watches and leases, while members come and go.

#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use super::test_cluster::{TestCluster, TestNode, checksum, events, get, grant, put, put_leased, watch, within};
use crate::base::LeaseId;
use crate::base::limits::QUORUM_WAIT_MS_MAX;
use crate::kv::{
    Consistency, Event, KvError, Op, RangeRequest, Reply, Store, StoreError, TxnOp, TxnOpReply, TxnRequest, WatchStart,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_on_any_member_is_read_on_any() {
    let cluster = TestCluster::start(1, 3).await;
    for writer in 0..3 {
        let key = format!("k{writer}");
        put(cluster.store(writer), &key, "v").await;
        for reader in 0..3 {
            let found = get(cluster.store(reader), &key, Consistency::Linearizable).await.unwrap();
            assert_eq!(found.as_deref(), Some("v"), "written on {writer}, read on {reader}");
        }
    }
    let status = cluster.store(1).status();
    // Revisions start at 1, v2 indexes at 2n+1.
    assert_eq!((status.position.revision, status.position.v2_index), (4, 10));
    assert!(status.peers.iter().all(|peer| peer.silent.is_none()), "{:?}", status.peers);
    let members = cluster.store(2).members().await.unwrap();
    assert_eq!(members.len(), 3);
    assert_eq!(members[0].peer_urls, cluster.peers[0].urls);
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_go_on_after_the_leader_is_killed_and_it_comes_back() {
    let mut cluster = TestCluster::start(2, 3).await;
    put(cluster.store(0), "a", "1").await;
    let leader = cluster.leader().await;
    cluster.kill(leader).await;
    let other = (leader + 1) % 3;
    put(cluster.store(other), "a", "2").await;
    assert_ne!(cluster.leader().await, leader);
    cluster.start_node(leader).await;
    let found = get(cluster.store(leader), "a", Consistency::Linearizable).await;
    assert_eq!(found.unwrap().as_deref(), Some("2"));
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_restart_of_all_keeps_every_acknowledged_write() {
    let mut cluster = TestCluster::start(3, 3).await;
    put(cluster.store(0), "warm", "up").await;
    for round in 0..3 {
        let stores: Vec<_> = (0..3).map(|n| cluster.nodes[n].as_ref().unwrap().store.clone()).collect();
        let writers = stores.into_iter().enumerate().map(|(n, store)| {
            tokio::spawn(async move {
                let mut acknowledged = Vec::new();
                for i in 0..1_000 {
                    let key = format!("{round}/{n}/{i}");
                    match store.write(Op::put(key.clone(), "v")).await {
                        Ok(_) => acknowledged.push(key),
                        Err(_) => break,
                    }
                }
                acknowledged
            })
        });
        let writers: Vec<_> = writers.collect();
        // In the middle of the writing.
        let mut seen = watch(cluster.store(0), &format!("{round}/"), WatchStart::Now).await;
        within("the first write", seen.next()).await.unwrap();
        drop(seen);
        // Each node's runtime ends in turn, and the writers with the stores they hold.
        for n in 0..3 {
            let TestNode { store, runtime } = cluster.nodes[n].take().unwrap();
            drop(store);
            runtime.shutdown_background();
        }
        let mut acknowledged = Vec::new();
        for writer in writers {
            acknowledged.extend(within("a writer", writer).await.unwrap());
        }
        for n in 0..3 {
            wait_until_closed(&cluster, n).await;
        }
        cluster.start_all().await;
        for key in &acknowledged {
            let found = get(cluster.store(0), key, Consistency::Linearizable).await;
            assert_eq!(found.unwrap().as_deref(), Some("v"), "{key}");
        }
    }
    cluster.end().await;
}

/// Waits until a node that was ended in the background has given its files free.
async fn wait_until_closed(cluster: &TestCluster, n: usize) {
    let path = cluster.data_dir(n).join("state.redb");
    within("closing", async {
        while crate::disk::Database::open(&path, false).is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_minority_refuses_in_time_and_says_who_is_missing() {
    let mut cluster = TestCluster::start(4, 3).await;
    put(cluster.store(0), "a", "1").await;
    cluster.kill(1).await;
    cluster.kill(2).await;
    let began = Instant::now();
    let store = cluster.store(0);
    let (write, read) = tokio::join!(store.write(Op::put("a", "2")), get(store, "a", Consistency::Linearizable));
    // The wait for a quorum, and as long again for a loaded machine.
    assert!(began.elapsed() < Duration::from_millis(2 * QUORUM_WAIT_MS_MAX), "{:?}", began.elapsed());
    for error in [write.unwrap_err(), read.unwrap_err()] {
        let StoreError::NoQuorum { reachable, voters, needed, missing } = error else { panic!("{error}") };
        assert_eq!((reachable, voters, needed), (1, 3, 2));
        assert!(missing.contains("n2 (2)") && missing.contains("n3 (3)"), "{missing}");
    }
    assert_eq!(store.status().leader, None);
    let found = get(store, "a", Consistency::Serializable).await.unwrap();
    assert_eq!(found.as_deref(), Some("1"));
    cluster.start_node(1).await;
    put(cluster.store(0), "a", "3").await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_of_the_past_survives_a_restart_and_hands_over_exactly() {
    let mut cluster = TestCluster::start(5, 1).await;
    let first = put(cluster.store(0), "w/0", "v").await.position.revision;
    for i in 1..50 {
        put(cluster.store(0), &format!("w/{i}"), "v").await;
    }
    cluster.stop(0).await;
    cluster.start_node(0).await;
    let store = cluster.nodes[0].as_ref().unwrap().store.clone();
    let mut past = watch(&store, "w/", WatchStart::Revision(first)).await;
    let mut future = watch(&store, "w/", WatchStart::Revision(first + 60)).await;
    let writer = tokio::spawn(async move {
        for i in 50..100 {
            put(&store, &format!("w/{i}"), "v").await;
        }
    });
    let revisions = |events: Vec<Event>| events.iter().map(|event| event.kv.mod_revision).collect::<Vec<_>>();
    assert_eq!(revisions(events(&mut past, 100).await), (first..first + 100).collect::<Vec<_>>());
    assert_eq!(revisions(events(&mut future, 40).await), (first + 60..first + 100).collect::<Vec<_>>());
    within("the writer", writer).await.unwrap();
    assert_eq!(past.caught_up(), Some(first + 99));
    let index = cluster.store(0).status().position.v2_index;
    let mut by_index = watch(cluster.store(0), "w/", WatchStart::V2Index(index - 9)).await;
    assert_eq!(revisions(events(&mut by_index, 10).await), (first + 90..first + 100).collect::<Vec<_>>());
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_end_unless_they_are_kept_alive() {
    let mut cluster = TestCluster::start(6, 3).await;
    put(cluster.store(0), "warm", "up").await;
    let leader = cluster.leader().await;
    let follower = (leader + 1) % 3;
    let store = cluster.store(follower);
    grant(store, 7, 1_000).await;
    grant(store, 8, 1_000).await;
    put_leased(store, "ends", 7).await;
    put_leased(store, "stays", 8).await;
    let mut seen = watch(store, "ends", WatchStart::Now).await;
    let (_, _, keys) = store.lease_time_to_live(LeaseId(7), true).await.unwrap().unwrap();
    assert_eq!(keys, ["ends"]);
    let keep = async {
        loop {
            assert_eq!(store.keep_alive(LeaseId(8)).await.unwrap(), 1_000);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let ended = tokio::select! {
        ended = events(&mut seen, 1) => ended,
        () = keep => unreachable!(),
    };
    assert_eq!(ended[0].kind, crate::kv::EventKind::Delete);
    assert_eq!(store.keep_alive(LeaseId(7)).await.unwrap(), 0);
    assert_eq!(get(store, "stays", Consistency::Linearizable).await.unwrap().as_deref(), Some("x"));
    assert_eq!(store.leases().await.unwrap(), [LeaseId(8)]);
    // A new leader takes the lease up and ends it.
    drop(seen);
    cluster.kill(leader).await;
    let mut seen = watch(cluster.store(follower), "stays", WatchStart::Now).await;
    events(&mut seen, 1).await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_writers_share_entries_and_members_agree() {
    let cluster = TestCluster::start(16, 3).await;
    put(cluster.store(0), "warm", "up").await;
    let mut seen = watch(cluster.store(2), "w/", WatchStart::Now).await;
    let before = cluster.store(0).status().raft_applied;
    let writers = (0..60).map(|n| {
        let store = cluster.nodes[n % 3].as_ref().unwrap().store.clone();
        tokio::spawn(async move {
            for i in 0..20 {
                put(&store, &format!("w/{n}/{i}"), "v").await;
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        within("a writer", writer).await.unwrap();
    }
    let revisions: Vec<i64> = events(&mut seen, 1_200).await.iter().map(|event| event.kv.mod_revision).collect();
    assert_eq!(revisions, (revisions[0]..revisions[0] + 1_200).collect::<Vec<_>>());
    for n in 0..3 {
        get(cluster.store(n), "warm", Consistency::Linearizable).await.unwrap();
    }
    let applied = cluster.store(0).status().raft_applied;
    assert!(applied - before < 1_200, "{} entries for 1200 writes", applied - before);
    assert_eq!(checksum(&cluster, 0), checksum(&cluster, 1));
    assert_eq!(checksum(&cluster, 0), checksum(&cluster, 2));
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_cluster_writes_nothing() {
    let cluster = TestCluster::start(10, 3).await;
    put(cluster.store(0), "a", "1").await;
    grant(cluster.store(0), 9, 60_000).await;
    let before = cluster.store(0).status().raft_applied;
    for _ in 0..10 {
        cluster.store(1).keep_alive(LeaseId(9)).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(700)).await;
    let after = put(cluster.store(0), "a", "2").await.position.raft_index;
    assert_eq!(after, before + 1);
    cluster.end().await;
}

#[tokio::test]
async fn a_transaction_that_only_reads_takes_no_place_in_the_log() {
    let cluster = TestCluster::start(43, 3).await;
    let store = cluster.store(cluster.leader().await);
    put(store, "a", "1").await;
    let range = |key: &'static str| TxnOp::Range(RangeRequest { key: key.into(), ..RangeRequest::default() });
    let within_it = TxnRequest { success: vec![range("a")], ..TxnRequest::default() };
    let request = TxnRequest { success: vec![range("a"), TxnOp::Txn(within_it)], ..TxnRequest::default() };
    let before = store.status().position;
    let applied = within("a transaction", store.write(Op::Txn(request.clone()))).await.unwrap();
    assert_eq!(applied.position, before);
    let Ok(Reply::Txn(reply)) = applied.result else { panic!("{:?}", applied.result) };
    let [TxnOpReply::Range(found), TxnOpReply::Txn(nested)] = &reply.replies[..] else { panic!("{reply:?}") };
    assert_eq!((found.count, nested.replies.len()), (1, 1));
    let future = RangeRequest { key: "a".into(), revision: 99, ..RangeRequest::default() };
    let refused = TxnRequest { success: vec![TxnOp::Range(future)], ..TxnRequest::default() };
    let refused = within("a transaction", store.write(Op::Txn(refused))).await.unwrap();
    assert_eq!(refused.result, Err(KvError::FutureRevision));
    assert_eq!(store.status().position, before);
    cluster.end().await;
}
