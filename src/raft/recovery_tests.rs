//! What a member makes of its data directory: restarts, snapshots, files that do not fit together.

#![allow(clippy::unwrap_used)]

use super::test_cluster::{TestCluster, checksum, get, put, within};
use super::{Options, RaftStore, SnapshotThresholds};
use crate::base::MemberId;
use crate::kv::{Consistency, Op, Store, StoreError};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_is_far_behind_gets_a_snapshot() {
    let mut cluster = TestCluster::prepare(7, 3);
    cluster.snapshot = SnapshotThresholds { entries: 20, keep: 5, ..SnapshotThresholds::default() };
    cluster.start_all().await;
    put(cluster.store(0), "a", "first").await;
    let behind = (cluster.leader().await + 1) % 3;
    let busy = (behind + 1) % 3;
    cluster.kill(behind).await;
    for i in 0..100 {
        put(cluster.store(busy), &format!("k{i}"), "v").await;
    }
    cluster.purged(busy, 20).await;
    cluster.start_node(behind).await;
    let found = get(cluster.store(behind), "k99", Consistency::Linearizable).await;
    assert_eq!(found.unwrap().as_deref(), Some("v"));
    let (a, b) = (checksum(&cluster, behind), checksum(&cluster, busy));
    assert_eq!(a, b);
    // And one whose disk was emptied.
    cluster.kill(behind).await;
    std::fs::remove_dir_all(cluster.data_dir(behind)).unwrap();
    cluster.start_node(behind).await;
    put(cluster.store(behind), "last", "v").await;
    let found = get(cluster.store(behind), "k0", Consistency::Linearizable).await;
    assert_eq!(found.unwrap().as_deref(), Some("v"));
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_stops_hands_over() {
    let mut cluster = TestCluster::prepare(13, 3);
    // Nobody is elected for a time-out while this test is patient.
    cluster.election_ms = 60_000;
    cluster.start_all().await;
    put(cluster.store(0), "a", "1").await;
    let leader = cluster.leader().await;
    let other = (leader + 1) % 3;
    let store = cluster.nodes[other].as_ref().unwrap().store.clone();
    cluster.stop(leader).await;
    put(&store, "a", "2").await;
    drop(store);
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_member_starts_again_in_the_same_process() {
    let cluster = TestCluster::prepare(17, 1);
    let dir = cluster.data_dir(0);
    for round in 0..5 {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let options = Options { data_dir: dir.clone(), ..cluster.options(0, listener) };
        let store = RaftStore::start(options).await.unwrap();
        let revision = put(&store, "a", "1").await.position.revision;
        assert_eq!(revision, 2 + round);
        within("a stop", store.stop()).await;
        let write = store.write(Op::put("a", "2")).await;
        assert_eq!(write, Err(StoreError::Stopping));
        let read = get(&store, "a", Consistency::Serializable).await;
        assert_eq!(read, Err(StoreError::Stopping));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_data_directory_is_refused() {
    let mut cluster = TestCluster::start(14, 1).await;
    put(cluster.store(0), "a", "1").await;
    cluster.stop(0).await;
    let dir = cluster.data_dir(0);
    let refuse = async |cluster: &TestCluster, id: u64| {
        let mut peers = cluster.peers.clone();
        peers[0].id = MemberId(id);
        let other = TestCluster::prepare(id, 1);
        let error = other.try_start(peers, dir.clone()).await.err().unwrap().to_string();
        assert!(error.contains(&dir.display().to_string()), "{error}");
        error
    };
    assert!(refuse(&cluster, 15).await.contains("belongs to cluster e member 1, this node is cluster f member f"));
    std::fs::rename(dir.join("identity"), dir.join("was")).unwrap();
    assert!(refuse(&cluster, 14).await.contains("no file `identity`"));
    std::fs::rename(dir.join("was"), dir.join("identity")).unwrap();
    std::fs::rename(dir.join("wal"), dir.join("was")).unwrap();
    let error = cluster.try_start(cluster.peers.clone(), dir.clone()).await.err().unwrap().to_string();
    assert!(error.contains("the log in wal is not"), "{error}");
    std::fs::remove_dir_all(dir.join("wal")).unwrap();
    std::fs::rename(dir.join("was"), dir.join("wal")).unwrap();
    cluster.start_node(0).await;
    assert_eq!(get(cluster.store(0), "a", Consistency::Linearizable).await.unwrap().as_deref(), Some("1"));
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_heavy_log_is_cut_before_it_is_long() {
    let mut cluster = TestCluster::prepare(18, 1);
    cluster.snapshot.bytes = 1 << 20;
    cluster.start_all().await;
    let value = "v".repeat(100 << 10);
    for _ in 0..100 {
        put(cluster.store(0), "a", &value).await;
    }
    cluster.purged(0, 5).await;
    cluster.stop(0).await;
    cluster.start_node(0).await;
    assert_eq!(get(cluster.store(0), "a", Consistency::Linearizable).await.unwrap(), Some(value));
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_older_or_newer_than_the_log_is_brought_in_line() {
    let copy = |from: &std::path::Path, to: &std::path::Path| {
        std::fs::create_dir_all(to).unwrap();
        for file in std::fs::read_dir(from).unwrap() {
            let file = file.unwrap();
            if file.file_type().unwrap().is_file() {
                std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
            }
        }
    };
    let mut cluster = TestCluster::start(20, 1).await;
    put(cluster.store(0), "a", "1").await;
    cluster.stop(0).await;
    let (dir, old) = (cluster.data_dir(0), cluster.data_dir(1));
    copy(&dir, &old);
    cluster.start_node(0).await;
    put(cluster.store(0), "a", "2").await;
    copy(&dir.join("wal"), &old.join("wal"));
    for i in 0..50 {
        put(cluster.store(0), "a", &i.to_string()).await;
    }
    let newest = checksum(&cluster, 0);
    // As after a crash that took what was applied but not flushed.
    cluster.stop(0).await;
    std::fs::rename(dir.join("state.redb"), old.join("newest.redb")).unwrap();
    std::fs::rename(old.join("state.redb"), dir.join("state.redb")).unwrap();
    cluster.start_node(0).await;
    assert_eq!(get(cluster.store(0), "a", Consistency::Linearizable).await.unwrap().as_deref(), Some("49"));
    let again = checksum(&cluster, 0);
    assert_eq!((again.0.revision, again.1), (newest.0.revision, newest.1));
    cluster.stop(0).await;
    // As on a follower that had applied what a quorum had, and lost what its own disk had not synced yet.
    std::fs::remove_dir_all(dir.join("wal")).unwrap();
    copy(&old.join("wal"), &dir.join("wal"));
    std::fs::rename(old.join("newest.redb"), dir.join("state.redb")).unwrap();
    cluster.start_node(0).await;
    assert_eq!(get(cluster.store(0), "a", Consistency::Serializable).await.unwrap().as_deref(), Some("49"));
    put(cluster.store(0), "a", "50").await;
    assert_eq!(get(cluster.store(0), "a", Consistency::Linearizable).await.unwrap().as_deref(), Some("50"));
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_that_is_damaged_is_refused_and_fetched_anew() {
    let mut cluster = TestCluster::start(22, 3).await;
    for n in 0..30 {
        put(cluster.store(n % 3), &format!("k{n}"), "v").await;
    }
    let hurt = (cluster.leader().await + 1) % 3;
    cluster.kill(hurt).await;
    let dir = cluster.data_dir(hurt);
    let state = std::fs::read(dir.join("state.redb")).unwrap();
    // The power took the end of the file.
    std::fs::write(dir.join("state.redb"), &state[..state.len() / 3]).unwrap();
    let mut peers = cluster.peers.clone();
    peers.swap(0, hurt);
    let error = cluster.try_start(peers, dir.clone()).await.err().unwrap().to_string();
    assert!(error.contains("state.redb: damaged"), "{error}");
    assert!(error.contains("move the data directory away"), "{error}");
    std::fs::rename(&dir, cluster.dir.path().join("away")).unwrap();
    cluster.start_node(hurt).await;
    for n in 0..30 {
        let found = get(cluster.store(hurt), &format!("k{n}"), Consistency::Linearizable).await;
        assert_eq!(found.unwrap().as_deref(), Some("v"), "k{n}");
    }
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_cannot_write_its_state_says_so() {
    let mut cluster = TestCluster::start(21, 1).await;
    put(cluster.store(0), "a", "1").await;
    cluster.store(0).node.core.tear();
    let store = cluster.nodes[0].as_ref().unwrap().store.clone();
    let broken = tokio::spawn(async move { store.broken().await });
    let error = within("the refusal", cluster.store(0).write(Op::put("a", "2"))).await.unwrap_err();
    assert!(matches!(error, StoreError::Broken(_)), "{error}");
    let reason = within("the news", broken).await.unwrap();
    assert!(reason.contains("restart the node"), "{reason}");
    let error = within("the refusal", cluster.store(0).write(Op::put("a", "2"))).await.unwrap_err();
    assert!(matches!(error, StoreError::Broken(_)), "{error}");
    let error = get(cluster.store(0), "a", Consistency::Linearizable).await.unwrap_err();
    assert!(matches!(error, StoreError::Broken(_)), "{error}");
    cluster.kill(0).await;
    cluster.start_node(0).await;
    put(cluster.store(0), "a", "3").await;
    cluster.end().await;
}
