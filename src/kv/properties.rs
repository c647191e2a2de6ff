//! Properties of the state machine over random commands.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use proptest::prelude::*;

use super::apply_tests::{Bench, everything};
use super::mem::MemTables;
use super::random_ops::{any_op, v2_root, v3_op};
use super::v2::directories::{self, Shown};
use super::*;
use crate::base::LeaseId;

type Kvs = BTreeMap<Bytes, KeyValue>;

/// The simplest thing that behaves like the store: every revision of each space in full.
#[derive(Default)]
struct Model {
    past: BTreeMap<Space, Vec<Kvs>>,
    leases: BTreeSet<LeaseId>,
}

impl Model {
    fn newest(&self, space: Space) -> Kvs {
        let past = self.past.get(&space).and_then(|past| past.last());
        past.cloned().unwrap_or_default()
    }

    /// The revision of a space: the first is 1 and empty.
    fn revision(&self, space: Space) -> i64 {
        1 + self.past.get(&space).map_or(0, Vec::len) as i64
    }

    /// Runs operations that are known to be accepted.
    fn run(&mut self, ops: &[TxnOp]) {
        let mut now: BTreeMap<Space, Kvs> =
            [Space::User, Space::System].map(|space| (space, self.newest(space))).into();
        let mut touched = BTreeSet::new();
        let flat = self.flatten(ops);
        for op in &flat {
            match op {
                TxnOp::Put(put) => {
                    let revision = self.revision(put.space) + 1;
                    let kvs = now.get_mut(&put.space).unwrap();
                    let old = kvs.get(&put.key).cloned();
                    let kv = KeyValue {
                        key: put.key.clone(),
                        value: match &old {
                            Some(old) if put.ignore_value => old.value.clone(),
                            _ => put.value.clone(),
                        },
                        create_revision: old.as_ref().map_or(revision, |old| old.create_revision),
                        mod_revision: revision,
                        version: old.as_ref().map_or(1, |old| old.version + 1),
                        lease: match &old {
                            Some(old) if put.ignore_lease => old.lease,
                            _ => put.lease,
                        },
                        ..KeyValue::default()
                    };
                    kvs.insert(put.key.clone(), kv);
                    touched.insert(put.space);
                }
                TxnOp::DeleteRange(delete) => {
                    let kvs = now.get_mut(&delete.space).unwrap();
                    let before = kvs.len();
                    kvs.retain(|key, _| !in_range(key, &delete.key, &delete.range_end));
                    if kvs.len() < before {
                        touched.insert(delete.space);
                    }
                }
                _ => {}
            }
        }
        for space in touched {
            let past = self.past.entry(space).or_default();
            past.push(now.remove(&space).unwrap());
        }
    }

    /// The operations of the branches that are taken, all decided on the state before.
    fn flatten(&self, ops: &[TxnOp]) -> Vec<TxnOp> {
        let mut flat = Vec::new();
        for op in ops {
            if let TxnOp::Txn(txn) = op {
                let holds = |compare: &Compare| self.holds(compare);
                let branch = if txn.compare.iter().all(holds) { &txn.success } else { &txn.failure };
                flat.extend(self.flatten(branch));
            } else {
                flat.push(op.clone());
            }
        }
        flat
    }

    fn holds(&self, compare: &Compare) -> bool {
        let CompareTarget::Version(version) = compare.target else { panic!("only versions are compared") };
        let kvs = self.newest(compare.space);
        if compare.range_end.is_empty() {
            return kvs.get(&compare.key).map_or(0, |kv| kv.version) > version;
        }
        kvs.values().filter(|kv| in_range(&kv.key, &compare.key, &compare.range_end)).all(|kv| kv.version > version)
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Put(put) => self.run(&[TxnOp::Put(put.clone())]),
            Op::DeleteRange(delete) => self.run(&[TxnOp::DeleteRange(delete.clone())]),
            Op::Txn(txn) => self.run(&[TxnOp::Txn(txn.clone())]),
            Op::LeaseGrant { id, .. } => drop(self.leases.insert(*id)),
            Op::LeaseRevoke { id } => {
                self.leases.remove(id);
                let mut deletes = Vec::new();
                for space in [Space::User, Space::System] {
                    for kv in self.newest(space).into_values().filter(|kv| kv.lease == *id) {
                        deletes.push(TxnOp::DeleteRange(DeleteRangeRequest {
                            space,
                            key: kv.key,
                            ..DeleteRangeRequest::default()
                        }));
                    }
                }
                self.run(&deletes);
            }
            _ => {}
        }
    }
}

/// What a range of everything finds at a revision, without v2's numbers.
fn at(store: &Bench, space: Space, revision: i64) -> Result<Kvs, KvError> {
    let request = RangeRequest { space, revision, ..everything() };
    let kvs = store.range(&request)?.kvs.into_iter().map(|kv| {
        let plain = KeyValue { v2_created: 0, v2_modified: 0, ..kv };
        (plain.key.clone(), plain)
    });
    Ok(kvs.collect())
}

fn whole_history(store: &Bench, space: Space, from_revision: i64, page: usize) -> Vec<Event> {
    let mut events = Vec::new();
    let mut request = HistoryRequest {
        space,
        key: Bytes::from_static(b"\0"),
        range_end: Bytes::from_static(b"\0"),
        from_revision,
        events_max: page,
        bytes_max: 16 * page,
        changes_max: page,
    };
    loop {
        let part = history(&store.tables, &request).unwrap().unwrap();
        let last = part.events.last().map(|event| event.kv.mod_revision);
        assert!(last.is_none_or(|last| last <= part.through));
        assert!(part.events.iter().all(|e| e.kv.mod_revision >= request.from_revision));
        events.extend(part.events);
        if part.through >= part.newest {
            return events;
        }
        assert!(part.through >= request.from_revision, "no progress");
        request.from_revision = part.through + 1;
    }
}

/// The directories as the keys alone make them: path → (children, marker).
fn directories_of(tables: &MemTables, live: &Kvs) -> BTreeMap<String, (u64, bool)> {
    let mut nodes = BTreeSet::new();
    let mut found: BTreeMap<String, (u64, bool)> = BTreeMap::new();
    for key in live.keys() {
        let mut path = match directories::shown(key) {
            Shown::Outside => continue,
            Shown::Marker(path) => {
                found.entry(path.to_owned()).or_default().1 = true;
                if !nodes.insert((path, true)) {
                    continue;
                }
                path
            }
            Shown::File(path) => {
                nodes.insert((path, false));
                path
            }
        };
        loop {
            path = directories::parent(path);
            if path.is_empty() {
                break;
            }
            found.entry(path.to_owned()).or_default();
            nodes.insert((path, true));
        }
    }
    for (path, _) in &nodes {
        let parent = directories::parent(path);
        if !parent.is_empty() {
            found.get_mut(parent).unwrap().0 += 1;
        }
    }
    for (path, (children, marker)) in &found {
        let known = directories::get(tables, path.as_bytes()).unwrap().unwrap();
        assert_eq!((known.children, known.marker), (*children, *marker), "{path}");
    }
    found
}

fn tree_paths(node: &v2::Node, into: &mut BTreeSet<String>) {
    for child in &node.nodes {
        into.insert(child.path.clone());
        tree_paths(child, into);
    }
}

fn ops(op: impl Strategy<Value = Op>) -> impl Strategy<Value = Vec<Op>> {
    prop::collection::vec(op, 0..50)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    /// Every revision that is not compacted reads as the model has it, whenever compaction runs.
    #[test]
    fn every_revision_reads_as_in_the_model(log in ops(v3_op()), steps in prop::collection::vec(0..3usize, 50)) {
        let mut store = Bench::new();
        let mut model = Model::default();
        for (op, step) in log.iter().zip(steps) {
            if store.apply(op.clone()).result.is_ok() {
                model.apply(op);
            }
            for space in [Space::User, Space::System] {
                compact_step(&mut store.tables, space, step).unwrap();
                prop_assert_eq!(store.state.revision(space), model.revision(space));
            }
        }
        for space in [Space::User, Space::System] {
            let compacted = store.state.compacted(space);
            prop_assert_eq!(&at(&store, space, 0).unwrap(), &model.newest(space));
            for (revision, kvs) in (2..).zip(model.past.get(&space).into_iter().flatten()) {
                let found = at(&store, space, revision);
                if revision < compacted {
                    prop_assert_eq!(found, Err(KvError::Compacted { revision: compacted }));
                } else {
                    prop_assert_eq!(found.as_ref(), Ok(kvs), "{:?} at {}", space, revision);
                }
            }
        }
        let leases: BTreeSet<LeaseId> = store.state.leases().map(|record| record.lease.id).collect();
        prop_assert_eq!(leases, model.leases);
    }

    /// The same log makes the same bytes, and the moments at which compaction runs leave no trace.
    #[test]
    fn the_same_log_makes_the_same_tables(log in ops(any_op()), steps in prop::collection::vec(0..4usize, 50)) {
        let (mut one, mut two) = (Bench::new(), Bench::new());
        for (op, step) in log.iter().zip(steps) {
            let (first, second) = (one.apply(op.clone()), two.apply(op.clone()));
            prop_assert_eq!(first, second);
            prop_assert_eq!(&one.events, &two.events);
            compact_step(&mut one.tables, Space::User, step).unwrap();
        }
        prop_assert_eq!(one.state.checksum(), two.state.checksum());
        for store in [&mut one, &mut two] {
            for space in [Space::User, Space::System] {
                while compact_step(&mut store.tables, space, 7).unwrap().more {}
            }
            store.tables.0.retain(|_, entries| !entries.is_empty());
        }
        prop_assert_eq!(one.tables, two.tables);
    }

    /// The history from any revision on leads from what was then to what is now, in the same events as they were published.
    #[test]
    fn history_replays_to_the_present(log in ops(any_op()), page in 1..6usize) {
        let mut store = Bench::new();
        let mut published = Vec::new();
        for op in log {
            store.apply(op);
            published.append(&mut store.events);
        }
        for space in [Space::User, Space::System] {
            let compacted = store.state.compacted(space);
            let newest = at(&store, space, 0).unwrap();
            for from in compacted.max(1)..=store.state.revision(space) {
                let mut kvs = at(&store, space, from).unwrap();
                let events = whole_history(&store, space, from + 1, page);
                let expected: Vec<&Event> = published
                    .iter()
                    .filter(|event| event.space == space && event.kv.mod_revision > from)
                    .collect();
                prop_assert_eq!(events.iter().collect::<Vec<_>>(), expected);
                for event in events {
                    let plain = |kv: &KeyValue| KeyValue { v2_created: 0, v2_modified: 0, ..kv.clone() };
                    let before = match event.kind {
                        EventKind::Put => kvs.insert(event.kv.key.clone(), plain(&event.kv)),
                        EventKind::Delete => kvs.remove(&event.kv.key),
                    };
                    prop_assert_eq!(before, event.prev.as_ref().map(plain));
                }
                prop_assert_eq!(&kvs, &newest);
            }
        }
    }

    /// What is kept beside the keys agrees with them: directories, leases, the v2 tree.
    #[test]
    fn side_tables_agree_with_the_keys(log in ops(any_op())) {
        let mut store = Bench::new();
        for op in log {
            store.apply(op);
            let live = at(&store, Space::User, 0).unwrap();
            let found = directories_of(&store.tables, &live);
            let known = store.tables.0.get(&Table::V2Directories).map_or(0, BTreeMap::len);
            prop_assert_eq!(known, found.len());
            let mut hanging = BTreeSet::new();
            for record in store.state.leases() {
                let keys = lease_keys(&store.tables, record.lease.id).unwrap();
                prop_assert!(!is_v2_lease(record.lease.id) || !keys.is_empty());
                hanging.extend(keys.into_iter().map(|(space, key)| (space, key, record.lease.id)));
            }
            for space in [Space::User, Space::System] {
                for kv in at(&store, space, 0).unwrap().into_values() {
                    let attached = hanging.remove(&(space, kv.key, kv.lease));
                    prop_assert_eq!(attached, kv.lease != LeaseId::NONE);
                }
            }
            prop_assert!(hanging.is_empty());
            let hidden = |path: &str| path.contains("/_");
            let mut expected: BTreeSet<String> = found.into_keys().collect();
            expected.extend(live.keys().filter_map(|key| match directories::shown(key) {
                Shown::File(path) => Some(path.to_owned()),
                _ => None,
            }));
            expected.retain(|path| !hidden(path));
            let mut shown = BTreeSet::new();
            tree_paths(&v2_root(&store.tables), &mut shown);
            prop_assert_eq!(shown, expected);
        }
    }
}
