//! What operators ask of members: hashes that agree, copies that can be read, and another leader.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use super::RaftStore;
use super::test_cluster::{TestCluster, get, put, within};
use crate::base::MemberId;
use crate::base::limits::CLIENT_SNAPSHOTS_MAX;
use crate::disk::read_snapshot;
use crate::kv::{Census, Consistency, Hash, HashOf, Op, Space, Store, StoreError};

async fn hash(store: &RaftStore, of: HashOf) -> Hash {
    within("a hash", store.hash(of)).await.unwrap()
}

async fn copy(store: &RaftStore) -> Vec<u8> {
    let mut stream = within("a snapshot", store.snapshot()).await.unwrap();
    let mut bytes = Vec::new();
    while let Some(piece) = within("a piece", stream.next()).await.unwrap() {
        bytes.extend_from_slice(&piece);
    }
    assert_eq!(bytes.len() as u64, stream.bytes());
    assert_eq!(within("the end", stream.next()).await, Ok(None));
    bytes
}

fn census(mut bytes: &[u8]) -> Census {
    let mut census = Census::default();
    read_snapshot(&mut bytes, &mut |table, key, value| census.note(table, key, value)).unwrap();
    census
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hashes_and_copies_of_all_members_agree() {
    let cluster = TestCluster::start(31, 3).await;
    for n in 0..20 {
        put(cluster.store(n % 3), &format!("k{}", n % 7), &format!("v{n}")).await;
    }
    let revision = 15;
    let compact = cluster.store(1).write(Op::Compact { space: Space::User, revision });
    within("a compaction", compact).await.unwrap().result.unwrap();
    let last = put(cluster.store(0), "last", "v").await.position;
    for n in 0..3 {
        get(cluster.store(n), "last", Consistency::Linearizable).await.unwrap();
    }
    for of in [HashOf::Applied, HashOf::Keys { revision: 0 }, HashOf::Keys { revision }] {
        let first = hash(cluster.store(0), of).await;
        assert_eq!((first.compacted, first.position.revision), (revision, last.revision));
        for n in 1..3 {
            let other = hash(cluster.store(n), of).await;
            assert_eq!((other.hash, other.revision), (first.hash, first.revision), "{of:?} on {n}");
        }
    }
    let past = within("a hash", cluster.store(0).hash(HashOf::Keys { revision: 3 })).await;
    assert!(matches!(past, Err(StoreError::Refused(_))), "{past:?}");
    for n in 0..3 {
        let found = census(&copy(cluster.store(n)).await);
        let checksum = hash(cluster.store(n), HashOf::Applied).await.hash;
        // A new leader's first entry changes nothing but the index.
        assert!(found.raft_index >= last.raft_index, "{n}: {found:?}");
        let expected = Census { revision: last.revision, compacted: revision, keys: 8, checksum, ..found };
        assert_eq!(found, expected, "{n}");
    }
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_is_of_one_moment_and_no_more_than_some_are_made() {
    let cluster = TestCluster::start(32, 1).await;
    let store = cluster.store(0);
    let before = put(store, "a", "1").await.position.revision;
    let mut stream = within("a snapshot", store.snapshot()).await.unwrap();
    put(store, "a", "2").await;
    let piece = within("a piece", stream.next()).await.unwrap().unwrap();
    assert_eq!(census(&piece).revision, before);
    let mut held = vec![stream];
    while held.len() < CLIENT_SNAPSHOTS_MAX {
        held.push(within("a snapshot", store.snapshot()).await.unwrap());
    }
    let refusal = within("a snapshot", store.snapshot()).await.err();
    assert!(matches!(refusal, Some(StoreError::Overloaded(_))), "{refusal:?}");
    held.pop();
    assert_eq!(census(&copy(store).await).revision, before + 1);
    cluster.end().await;
}

fn id(n: usize) -> MemberId {
    MemberId(n as u64 + 1)
}

/// An election that comes between under load is no fault: it is tried again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_moves_where_it_is_told_to_and_only_by_the_leader() {
    let mut cluster = TestCluster::start(33, 3).await;
    put(cluster.store(0), "a", "1").await;
    within("a refusal of each", async {
        loop {
            let mut refused = (0, 0);
            for n in 0..3 {
                match cluster.store(n).move_leader(MemberId(77)).await.unwrap_err() {
                    StoreError::NotLeader { .. } => refused.0 += 1,
                    StoreError::CannotLead { .. } => refused.1 += 1,
                    other => panic!("{other}"),
                }
            }
            if refused == (2, 1) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let heir = within("a move", async {
        loop {
            let leader = cluster.leader().await;
            let heir = (leader + 1) % 3;
            match cluster.store(leader).move_leader(id(heir)).await {
                Ok(()) => return heir,
                Err(StoreError::Broken(error)) => panic!("broken: {error}"),
                Err(_) => {}
            }
        }
    })
    .await;
    put(cluster.store(heir), "a", "2").await;
    cluster.kill((heir + 1) % 3).await;
    put(cluster.store(heir), "a", "3").await;
    cluster.end().await;
}
