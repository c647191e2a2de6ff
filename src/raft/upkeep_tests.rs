//! History that goes by itself while writes go on, and members whose disks fill up.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use super::RaftStore;
use super::test_cluster::{TestCluster, get, put, within};
use crate::kv::{
    AlarmChange, AlarmKind, Consistency, DeleteRangeRequest, HistoryRule, KvError, Op, Reply, Space, Store, StoreError,
};

/// Waits for a condition, looking again a little later.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    within(what, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

/// What becomes of a put.
async fn attempt(store: &RaftStore) -> Result<(), KvError> {
    match within("a write", store.write(Op::put("a", "v"))).await {
        Ok(applied) => applied.result.map(drop),
        Err(StoreError::Refused(refusal)) => Err(refusal),
        Err(other) => panic!("{other}"),
    }
}

fn history_bytes(store: &RaftStore) -> u64 {
    store.node.core.with_state(|state| state.history_bytes(Space::User))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn overwriting_for_long_does_not_make_the_state_grow() {
    let mut cluster = TestCluster::prepare(61, 1);
    let bytes_max = 8 << 20;
    cluster.history = HistoryRule { bytes_max: Some(bytes_max), ..HistoryRule::default() };
    cluster.start_all().await;
    let store = cluster.store(0);
    let value = "v".repeat(256 << 10);
    let mut sizes = Vec::new();
    for _ in 0..20 {
        for n in 0..64 {
            put(store, &format!("k{}", n % 4), &value).await;
        }
        until("a compaction", || history_bytes(store) <= bytes_max).await;
        until("the removal", || store.status().db_bytes_in_use < 2 * bytes_max).await;
        store.node.core.flush().unwrap();
        sizes.push(store.status().db_bytes);
    }
    // 16 MiB are written in each round, 320 in all. The file grows by doubling, and what a flush replaces is there until the
    // next one: now and then that takes 128 MiB, and never the next step.
    assert!(sizes.iter().all(|size| *size < 160 << 20), "{sizes:?}");
    assert!(get(store, "k0", Consistency::Linearizable).await.unwrap().is_some());
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_that_is_old_goes_from_all_members() {
    let mut cluster = TestCluster::prepare(62, 3);
    cluster.history = HistoryRule { keep_ms: Some(2_000), ..HistoryRule::default() };
    cluster.start_all().await;
    for n in 0..10 {
        put(cluster.store(n % 3), "a", &n.to_string()).await;
    }
    let newest = put(cluster.store(0), "a", "last").await.position.revision;
    for n in 0..3 {
        let compacted = || cluster.store(n).node.core.with_state(|state| state.compacted(Space::User));
        until("the compaction", || compacted() == newest).await;
    }
    let before = cluster.store(0).status().raft_applied;
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    // Nothing more is to be done, so nothing is written. Another leader's first entry may come.
    assert!(cluster.store(0).status().raft_applied <= before + 1);
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_with_a_full_disk_stops_what_grows_until_it_has_room() {
    let cluster = TestCluster::start(63, 3).await;
    put(cluster.store(0), "a", "1").await;
    let full = (cluster.leader().await + 1) % 3;
    cluster.rooms[full].use_percent(85);
    until("the warning", || !cluster.store(full).status().warnings.is_empty()).await;
    assert_eq!(attempt(cluster.store(full)).await, Ok(()));
    cluster.rooms[full].use_percent(96);
    for n in 0..3 {
        let store = cluster.store(n);
        until("the alarm", || !store.status().alarms.is_empty()).await;
        assert_eq!(store.status().alarms[0].member, cluster.peers[full].id);
        assert!(store.status().alarms[0].finding.as_ref().unwrap().contains("96 % full"));
        let applied = store.status().raft_applied;
        assert_eq!(attempt(store).await, Err(KvError::NoSpace));
        // It was refused at the door.
        assert_eq!(store.status().raft_applied, applied);
    }
    // What frees is taken from all, and so are alarms that are lowered; this one comes back.
    let delete = Op::DeleteRange(DeleteRangeRequest { key: "a".into(), ..DeleteRangeRequest::default() });
    let deleted = within("a delete", cluster.store(full).write(delete)).await.unwrap().result;
    assert!(matches!(deleted, Ok(Reply::DeleteRange { deleted: 1, .. })), "{deleted:?}");
    let lower = AlarmChange::Lower { member: cluster.peers[full].id, kind: AlarmKind::NoSpace };
    within("a disarm", cluster.store(0).write(Op::Alarm(lower))).await.unwrap().result.unwrap();
    until("the alarm again", || !cluster.store(0).status().alarms.is_empty()).await;
    cluster.rooms[full].use_percent(50);
    for n in 0..3 {
        until("the end of the alarm", || cluster.store(n).status().alarms.is_empty()).await;
        assert_eq!(attempt(cluster.store(n)).await, Ok(()));
        assert!(cluster.store(n).status().warnings.is_empty());
    }
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_corrupt_cluster_is_read_and_not_changed() {
    let cluster = TestCluster::start(64, 1).await;
    let store = cluster.store(0);
    put(store, "a", "1").await;
    let alarm = crate::kv::Alarm { member: cluster.peers[0].id, kind: AlarmKind::Corrupt, finding: None };
    within("an alarm", store.write(Op::Alarm(AlarmChange::Raise(alarm.clone())))).await.unwrap().result.unwrap();
    let read = get(store, "a", Consistency::Serializable).await;
    assert_eq!(read.unwrap().as_deref(), Some("1"));
    assert_eq!(attempt(store).await, Err(KvError::Corrupt));
    let lower = AlarmChange::Lower { member: alarm.member, kind: alarm.kind };
    within("a disarm", store.write(Op::Alarm(lower))).await.unwrap().result.unwrap();
    assert_eq!(get(store, "a", Consistency::Linearizable).await.unwrap().as_deref(), Some("1"));
    cluster.end().await;
}
