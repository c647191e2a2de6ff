//! The two dialects see the same changes in the same order, whoever makes them.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::kv::apply_tests::{Bench, everything};
use crate::kv::random_ops::{any_op, v2_root};
use crate::kv::*;

/// What a client knows that has heard every event.
type Replica = BTreeMap<String, Bytes>;

/// Files in two directories; no name is a file to one dialect and a directory to the other.
const FILES: &[&str] = &["/f", "/d/x", "/d/y", "/d/e/z"];
const DIRECTORIES: &[&str] = &["/d", "/d/e"];

fn v2_op(path: &str, ttl_seconds: Option<u64>, write: Write) -> Op {
    Op::V2(WriteRequest { path: path.to_owned(), ttl_seconds, write })
}

fn v3_put(key: &str, value: String) -> PutRequest {
    PutRequest { key: Bytes::copy_from_slice(key.as_bytes()), value: value.into(), ..PutRequest::default() }
}

fn v3_delete(key: &str, range_end: &'static str) -> DeleteRangeRequest {
    DeleteRangeRequest {
        key: Bytes::copy_from_slice(key.as_bytes()),
        range_end: range_end.into(),
        ..DeleteRangeRequest::default()
    }
}

/// A change by one dialect or the other.
fn change() -> impl Strategy<Value = Op> {
    let file = || prop::sample::select(FILES);
    let directory = || prop::sample::select(DIRECTORIES);
    let value = || prop::sample::select(&["", "1", "2"][..]).prop_map(str::to_owned);
    let ttl = || prop::option::weighted(0.3, 0..3u64);
    let condition = |value: String| Condition { prev_value: Some(value), prev_index: 0 };
    prop_oneof![
        3 => (file(), value(), ttl(), any::<bool>()).prop_map(|(path, value, ttl, refresh)| {
            v2_op(path, ttl, Write::Set { value, dir: false, refresh })
        }),
        1 => (file(), value(), ttl())
            .prop_map(|(path, value, ttl)| v2_op(path, ttl, Write::Create { value, dir: false })),
        1 => (file(), value(), ttl(), any::<bool>()).prop_map(|(path, value, ttl, refresh)| {
            v2_op(path, ttl, Write::Update { value, dir: false, refresh })
        }),
        1 => (file(), value(), value()).prop_map(move |(path, value, old)| {
            v2_op(path, None, Write::CompareAndSwap { value, condition: condition(old), refresh: false })
        }),
        1 => (file(), value())
            .prop_map(move |(path, old)| v2_op(path, None, Write::CompareAndDelete { condition: condition(old) })),
        1 => directory().prop_map(|path| v2_op(path, None, Write::CreateInOrder { value: "q".to_owned(), dir: false })),
        1 => file().prop_map(|path| v2_op(path, None, Write::Delete { recursive: false, dir: false })),
        1 => (directory(), ttl())
            .prop_map(|(path, ttl)| v2_op(path, ttl, Write::Create { value: String::new(), dir: true })),
        1 => (directory(), any::<bool>())
            .prop_map(|(path, recursive)| v2_op(path, None, Write::Delete { recursive, dir: true })),
        4 => (file(), value()).prop_map(|(key, value)| Op::Put(v3_put(key, value))),
        1 => directory().prop_map(|path| Op::Put(v3_put(&format!("{path}/"), String::new()))),
        2 => file().prop_map(|key| Op::DeleteRange(v3_delete(key, ""))),
        1 => Just(Op::DeleteRange(v3_delete("/d/", "/d0"))),
        1 => prop::collection::vec((file(), value()), 1..3).prop_map(|puts| {
            let puts: BTreeMap<_, _> = puts.into_iter().collect();
            let puts = puts.into_iter().map(|(key, value)| TxnOp::Put(v3_put(key, value)));
            Op::Txn(TxnRequest { success: puts.collect(), ..TxnRequest::default() })
        }),
        1 => Just(Op::LeaseExpire { ids: Vec::new() }),
    ]
}

/// Takes up the events of one command as a v3 watcher of everything hears them.
fn hear_v3(replica: &mut Replica, events: &[Event]) {
    for event in events {
        let key = String::from_utf8(event.kv.key.to_vec()).unwrap();
        match event.kind {
            EventKind::Put => replica.insert(key, event.kv.value.clone()),
            EventKind::Delete => replica.remove(&key),
        };
    }
}

/// The same as a v2 watcher of the root hears them.
fn hear_v2(replica: &mut Replica, events: &[Event]) {
    for answer in groups(events).filter_map(|group| watch_match("/", true, true, group)) {
        match answer.node.value {
            Some(value) => {
                replica.insert(answer.node.path, value);
            }
            None if !matches!(answer.action, Action::Change(V2Action::Create | V2Action::Set | V2Action::Update)) => {
                let below = format!("{}/", answer.node.path);
                replica.retain(|path, _| *path != answer.node.path && !path.starts_with(&below));
            }
            None => {}
        }
    }
}

fn files(node: &Node, into: &mut Replica) {
    if let Some(value) = &node.value {
        into.insert(node.path.clone(), value.clone());
    }
    node.nodes.iter().for_each(|node| files(node, into));
}

/// Ends every lease of v2's, as the clock would.
fn end_of_time(store: &Bench) -> Op {
    Op::LeaseExpire { ids: store.state.leases().map(|record| record.lease.id).collect() }
}

proptest! {
    /// Indexes and revisions number the same changes in the same order, none left out, whoever made them.
    #[test]
    fn there_is_one_order(log in prop::collection::vec(any_op(), 0..50)) {
        let mut store = Bench::new();
        for op in log {
            let (index, revision) = (store.state.position().v2_index, store.state.revision(Space::User));
            store.apply(op);
            let events: Vec<&Event> = store.events.iter().filter(|event| event.space == Space::User).collect();
            let mut indexes: Vec<u64> = events.iter().map(|event| event.v2.as_ref().unwrap().index).collect();
            let mut revisions: Vec<i64> = events.iter().map(|event| event.kv.mod_revision).collect();
            prop_assert!(indexes.is_sorted() && revisions.is_sorted());
            prop_assert!(events.iter().all(|event| event.kv.v2_modified == event.v2.as_ref().unwrap().index));
            indexes.dedup();
            revisions.dedup();
            prop_assert_eq!(indexes, (index + 1..=store.state.position().v2_index).collect::<Vec<_>>());
            prop_assert_eq!(revisions, (revision + 1..=store.state.revision(Space::User)).collect::<Vec<_>>());
        }
    }

    /// Who hears the events of either dialect knows after each of them what both dialects read.
    #[test]
    fn each_dialect_hears_what_the_other_one_does(log in prop::collection::vec(change(), 0..60)) {
        let mut store = Bench::new();
        let (mut v2, mut v3) = (Replica::new(), Replica::new());
        for op in log {
            let op = if matches!(op, Op::LeaseExpire { .. }) { end_of_time(&store) } else { op };
            store.apply(op);
            hear_v2(&mut v2, &store.events);
            hear_v3(&mut v3, &store.events);
            let kvs = store.range(&everything()).unwrap().kvs;
            let keys: Replica =
                kvs.into_iter().map(|kv| (String::from_utf8(kv.key.to_vec()).unwrap(), kv.value)).collect();
            prop_assert_eq!(&v3, &keys);
            let mut tree = Replica::new();
            files(&v2_root(&store.tables), &mut tree);
            prop_assert_eq!(&v2, &tree);
            // All that v3 has besides are the markers of directories.
            let shown: Replica = v3.iter().filter(|(key, _)| !key.ends_with('/')).map(|(k, v)| (k.clone(), v.clone())).collect();
            prop_assert_eq!(&v2, &shown);
        }
    }
}
