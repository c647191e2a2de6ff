//! The state machine against etcd's documented and observed behaviour, case by case.

#![allow(clippy::unwrap_used)]

use bytes::Bytes;

use super::mem::MemTables;
use super::*;
use crate::base::{LeaseId, UnixMillis};

/// A store in memory that takes commands one after another.
pub(crate) struct Bench {
    pub state: State,
    pub tables: MemTables,
    pub events: Vec<Event>,
    pub now: i64,
    index: u64,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let tables = MemTables::default();
        Self { state: State::load(&tables).unwrap(), tables, events: Vec::new(), now: 1_000_000, index: 0 }
    }

    pub(crate) fn apply(&mut self, op: Op) -> Applied {
        self.index += 1;
        let command = Command { stamp: UnixMillis(self.now), op };
        let at = LogPosition { index: self.index, term: 1 };
        let (applied, events) = apply(&mut self.state, &mut self.tables, &command, at).unwrap();
        assert_eq!(State::load(&self.tables).unwrap(), self.state);
        self.events = events;
        applied
    }

    pub(crate) fn ok(&mut self, op: Op) -> Reply {
        self.apply(op).result.unwrap()
    }

    pub(crate) fn refused(&mut self, op: Op) -> KvError {
        let (tables, position) = (self.tables.clone(), self.state.position());
        let error = self.apply(op).result.unwrap_err();
        assert!(self.events.is_empty());
        for table in Table::ALL.into_iter().filter(|t| *t != Table::Meta) {
            assert_eq!(tables.0.get(&table), self.tables.0.get(&table));
        }
        assert_eq!(position.revision, self.state.position().revision);
        assert_eq!(position.v2_index, self.state.position().v2_index);
        error
    }

    pub(crate) fn put(&mut self, key: &str, value: &str) {
        self.ok(Op::put(key.to_owned(), value.to_owned()));
    }

    pub(crate) fn range(&self, request: &RangeRequest) -> Result<RangeReply, KvError> {
        range(&self.tables, request).unwrap().map(|(_, reply)| reply)
    }

    /// All keys and values of the user space at a revision, as `key=value`.
    pub(crate) fn all(&self, revision: i64) -> Vec<String> {
        let reply = self.range(&RangeRequest { revision, ..everything() });
        reply.unwrap().kvs.iter().map(pair).collect()
    }
}

pub(crate) fn pair(kv: &KeyValue) -> String {
    let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
    format!("{}={}", text(&kv.key), text(&kv.value))
}

pub(crate) fn everything() -> RangeRequest {
    RangeRequest { key: Bytes::from_static(b"\0"), range_end: Bytes::from_static(b"\0"), ..RangeRequest::default() }
}

fn put(key: &'static str, value: &'static str) -> PutRequest {
    PutRequest { key: key.into(), value: value.into(), ..PutRequest::default() }
}

fn delete(key: &'static str, range_end: &'static str) -> DeleteRangeRequest {
    DeleteRangeRequest { key: key.into(), range_end: range_end.into(), prev_kv: true, ..DeleteRangeRequest::default() }
}

fn get(key: &'static str) -> RangeRequest {
    RangeRequest { key: key.into(), ..RangeRequest::default() }
}

fn txn(ops: Vec<TxnOp>) -> TxnRequest {
    TxnRequest { success: ops, ..TxnRequest::default() }
}

#[test]
fn revisions_and_versions_count_as_in_etcd() {
    let mut store = Bench::new();
    assert_eq!(store.state.revision(Space::User), 1);
    store.put("a", "1");
    store.put("a", "2");
    let kv = store.range(&get("a")).unwrap().kvs.remove(0);
    assert_eq!((kv.create_revision, kv.mod_revision, kv.version), (2, 3, 2));
    let reply = store.ok(Op::DeleteRange(delete("a", "")));
    assert!(matches!(reply, Reply::DeleteRange { deleted: 1, ref prev } if pair(&prev[0]) == "a=2"));
    assert_eq!(store.events[0].kv.mod_revision, 4);
    assert_eq!(store.events[0].prev.as_ref().unwrap().version, 2);
    store.ok(Op::DeleteRange(delete("a", "")));
    assert_eq!(store.state.revision(Space::User), 4, "nothing was deleted");
    store.put("a", "3");
    let kv = store.range(&get("a")).unwrap().kvs.remove(0);
    assert_eq!((kv.create_revision, kv.mod_revision, kv.version), (5, 5, 1));
    for (revision, expected) in [(1, vec![]), (2, vec!["a=1"]), (3, vec!["a=2"]), (4, vec![])] {
        assert_eq!(store.all(revision), expected, "at {revision}");
    }
    assert_eq!(store.range(&RangeRequest { revision: 6, ..everything() }), Err(KvError::FutureRevision));
}

#[test]
fn the_spaces_have_revisions_of_their_own() {
    let mut store = Bench::new();
    let system = PutRequest { space: Space::System, ..put("s", "1") };
    store.ok(Op::Put(system.clone()));
    assert_eq!(store.state.position().system_revision, 2);
    assert_eq!(store.state.position().revision, 1);
    assert_eq!(store.state.position().v2_index, 0);
    assert!(store.events[0].v2.is_none());
    assert!(store.all(0).is_empty());
    store.ok(Op::DeleteRange(delete("\0", "\0")));
    assert_eq!(store.state.position().system_revision, 2);
    store.ok(Op::Txn(txn(vec![TxnOp::Put(system), TxnOp::Put(put("u", "1"))])));
    assert_eq!(store.state.position().system_revision, 3);
    assert_eq!(store.state.position().revision, 2);
    assert_eq!(store.state.position().v2_index, 1);
}

#[test]
fn ranges_sort_limit_count_and_filter() {
    let mut store = Bench::new();
    for (key, value) in [("a", "3"), ("b", "2"), ("c", "1"), ("b", "9")] {
        store.put(key, value);
    }
    let ask = |change: &dyn Fn(&mut RangeRequest)| {
        let mut request = everything();
        change(&mut request);
        let reply = store.range(&request).unwrap();
        let found: Vec<String> = reply.kvs.iter().map(pair).collect();
        (found.join(" "), reply.more, reply.count)
    };
    let case = |text: &str, more, count| (text.to_owned(), more, count);
    assert_eq!(ask(&|_| {}), case("a=3 b=9 c=1", false, 3));
    assert_eq!(ask(&|r| r.limit = 2), case("a=3 b=9", true, 3));
    assert_eq!(ask(&|r| r.limit = 3), case("a=3 b=9 c=1", false, 3));
    assert_eq!(ask(&|r| r.count_only = true), case("", false, 3));
    assert_eq!(ask(&|r| r.keys_only = true), case("a= b= c=", false, 3));
    assert_eq!(ask(&|r| r.min_mod_revision = 4), case("b=9 c=1", false, 3));
    assert_eq!(ask(&|r| r.max_create_revision = 2), case("a=3", false, 3));
    assert_eq!(
        ask(&|r| {
            r.sort_target = SortTarget::Value;
            r.limit = 1;
        }),
        case("c=1", true, 3)
    );
    assert_eq!(
        ask(&|r| {
            r.sort_target = SortTarget::Mod;
            r.sort_order = SortOrder::Descend;
        }),
        case("b=9 c=1 a=3", false, 3)
    );
    assert_eq!(
        ask(&|r| {
            r.sort_order = SortOrder::Descend;
            r.limit = 1;
        }),
        case("c=1", true, 3)
    );
    assert_eq!(
        ask(&|r| {
            r.key = "b".into();
            r.range_end = "a".into();
        }),
        case("", false, 0)
    );
    assert_eq!(
        ask(&|r| {
            r.key = "b".into();
            r.range_end = "c".into();
            r.revision = 3;
        }),
        case("b=2", false, 1)
    );
    assert_eq!(store.range(&RangeRequest::default()), Err(KvError::EmptyKey));
}

#[test]
fn puts_are_checked() {
    let mut store = Bench::new();
    store.put("k", "v");
    let refusals = [
        (put("", "v"), KvError::EmptyKey),
        (PutRequest { ignore_value: true, ..put("k", "v") }, KvError::ValueProvided),
        (PutRequest { ignore_lease: true, lease: LeaseId(5), ..put("k", "v") }, KvError::LeaseProvided),
        (PutRequest { ignore_value: true, ..put("missing", "") }, KvError::KeyNotFound),
        (PutRequest { lease: LeaseId(5), ..put("k", "v") }, KvError::LeaseNotFound),
    ];
    for (request, error) in refusals {
        assert_eq!(store.refused(Op::Put(request.clone())), error, "{request:?}");
        let nested = TxnOp::Txn(txn(vec![TxnOp::Put(request.clone())]));
        let ops = vec![TxnOp::Put(put("other", "1")), nested];
        assert_eq!(store.refused(Op::Txn(txn(ops))), error, "{request:?} in a txn");
    }
}

#[test]
fn users_keys_cannot_hang_on_the_clusters_own_leases() {
    let mut store = Bench::new();
    let id = crate::kv::system_lease(77);
    store.ok(Op::LeaseGrant { id, ttl_ms: 3000 });
    let leased = |space| Op::Put(PutRequest { lease: id, space, ..put("k", "1") });
    assert_eq!(store.refused(leased(Space::User)), KvError::LeaseNotFound);
    store.ok(leased(Space::System));
}

#[test]
fn leases_hold_keys_of_both_spaces() {
    let mut store = Bench::new();
    let grant = |id, ttl_ms| Op::LeaseGrant { id: LeaseId(id), ttl_ms };
    store.ok(grant(7, 5000));
    assert_eq!(store.refused(grant(7, 5000)), KvError::LeaseExists);
    assert_eq!(store.refused(grant(8, i64::MAX)), KvError::LeaseTtlTooLarge);
    let leased = |key, space| Op::Put(PutRequest { lease: LeaseId(7), space, ..put(key, "1") });
    for key in ["c", "a", "b"] {
        store.ok(leased(key, Space::User));
    }
    store.ok(leased("s", Space::System));
    store.put("b", "detached");
    store.ok(Op::Put(PutRequest { ignore_lease: true, ..put("a", "kept") }));
    let keys = lease_keys(&store.tables, LeaseId(7)).unwrap();
    let expected: Vec<(Space, Bytes)> =
        vec![(Space::User, "a".into()), (Space::User, "c".into()), (Space::System, "s".into())];
    assert_eq!(keys, expected);
    let before = store.state.position();
    store.ok(Op::LeaseRevoke { id: LeaseId(7) });
    let deleted: Vec<&[u8]> = store.events.iter().map(|event| &event.kv.key[..]).collect();
    assert_eq!(deleted, [&b"a"[..], b"c", b"s"]);
    let after = store.state.position();
    assert_eq!(after.revision, before.revision + 1, "one revision");
    assert_eq!(after.system_revision, before.system_revision + 1);
    assert_eq!(store.all(0), ["b=detached"]);
    assert_eq!(store.refused(Op::LeaseRevoke { id: LeaseId(7) }), KvError::LeaseNotFound);
    store.ok(grant(1, 1));
    store.ok(grant(2, 1));
    for (key, lease) in [("x", 1), ("y", 2)] {
        store.ok(Op::Put(PutRequest { lease: LeaseId(lease), ..put(key, "1") }));
    }
    store.ok(Op::LeaseExpire { ids: vec![LeaseId(1), LeaseId(9), LeaseId(2)] });
    let actions: Vec<V2Action> = store.events.iter().map(|event| event.v2.as_ref().unwrap().action).collect();
    assert_eq!(actions, [V2Action::Expire, V2Action::Expire]);
    assert_ne!(store.events[0].kv.mod_revision, store.events[1].kv.mod_revision);
    assert_eq!(store.state.leases().count(), 0);
}

#[test]
fn transactions_compare_and_see_their_own_writes() {
    let mut store = Bench::new();
    store.put("k", "v");
    let compare = |key: &'static str, result, target| Compare {
        space: Space::User,
        key: key.into(),
        range_end: Bytes::new(),
        result,
        target,
    };
    use CompareResult::*;
    use CompareTarget::*;
    let cases = [
        (compare("k", Equal, Value("v".into())), true),
        (compare("k", Less, Value("w".into())), true),
        (compare("k", NotEqual, Value("v".into())), false),
        (compare("k", Equal, Version(1)), true),
        (compare("k", Greater, Create(1)), true),
        (compare("k", Equal, Mod(2)), true),
        (compare("k", Equal, Lease(LeaseId(0))), true),
        (compare("none", Equal, Version(0)), true),
        (compare("none", Equal, Create(0)), true),
        (compare("none", NotEqual, Value("v".into())), false),
        (Compare { range_end: "z".into(), ..compare("a", Greater, Version(0)) }, true),
        (Compare { range_end: "z".into(), ..compare("x", Greater, Version(99)) }, true),
    ];
    for (compare, expected) in cases {
        let request = TxnRequest { compare: vec![compare.clone()], ..TxnRequest::default() };
        let reply = store.ok(Op::Txn(request));
        assert!(matches!(&reply, Reply::Txn(txn) if txn.succeeded == expected), "{compare:?}");
    }
    assert_eq!(store.state.revision(Space::User), 2, "read-only transactions");
    let reply = store.ok(Op::Txn(txn(vec![
        TxnOp::Range(get("n")),
        TxnOp::Put(put("n", "1")),
        TxnOp::Range(get("n")),
        TxnOp::DeleteRange(delete("k", "")),
        TxnOp::Txn(txn(vec![TxnOp::Put(put("m", "2"))])),
        TxnOp::Range(RangeRequest { revision: 2, ..everything() }),
        TxnOp::Range(everything()),
    ])));
    let Reply::Txn(reply) = reply else { panic!("{reply:?}") };
    let shown: Vec<String> = reply
        .replies
        .iter()
        .map(|reply| match reply {
            TxnOpReply::Range(range) => range.kvs.iter().map(pair).collect::<Vec<_>>().join(" "),
            _ => "-".to_owned(),
        })
        .collect();
    assert_eq!(shown, ["", "-", "n=1", "-", "-", "k=v", "m=2 n=1"]);
    assert_eq!(store.state.revision(Space::User), 3);
    assert!(store.events.iter().all(|event| event.kv.mod_revision == 3));
}

#[test]
fn transactions_are_refused_whole() {
    let mut store = Bench::new();
    store.put("k", "v");
    let nested = |success, failure| TxnOp::Txn(TxnRequest { success, failure, ..TxnRequest::default() });
    let p = |key| TxnOp::Put(put(key, "1"));
    let d = |key, end| TxnOp::DeleteRange(delete(key, end));
    let many = |count: usize| (0..count).map(|_| TxnOp::Range(get("k"))).collect::<Vec<_>>();
    let mut nested_too_many = many(100);
    nested_too_many.push(TxnOp::Txn(txn(many(28))));
    let mut nested_fits = many(100);
    nested_fits.push(TxnOp::Txn(txn(many(27))));
    let duplicate = Some(KvError::DuplicateKey);
    let cases = [
        (vec![p("a"), p("a")], duplicate.clone()),
        (vec![p("a"), d("a", "")], duplicate.clone()),
        (vec![d("a", "z"), p("b")], duplicate.clone()),
        (vec![p("a"), nested(vec![p("a")], vec![])], duplicate.clone()),
        (vec![nested(vec![p("a")], vec![]), d("a", "b")], duplicate.clone()),
        (vec![nested(vec![p("a")], vec![]), nested(vec![], vec![p("a")])], duplicate.clone()),
        (vec![nested(vec![d("a", "z")], vec![]), p("b")], duplicate.clone()),
        (vec![nested(vec![p("a")], vec![p("a")])], None),
        (vec![d("a", ""), d("a", "z")], None),
        (many(128), None),
        (many(129), Some(KvError::TooManyOps)),
        (nested_too_many, Some(KvError::TooManyOps)),
        (nested_fits, None),
        (vec![TxnOp::Range(RangeRequest::default())], Some(KvError::EmptyKey)),
        (vec![p("a"), TxnOp::Range(RangeRequest { revision: 99, ..get("k") })], Some(KvError::FutureRevision)),
    ];
    for (ops, expected) in cases {
        let op = Op::Txn(txn(ops.clone()));
        match expected {
            Some(error) => assert_eq!(store.refused(op), error, "{ops:?}"),
            None => drop(store.ok(op)),
        }
    }
}

#[test]
fn compaction_keeps_what_can_be_read() {
    let mut store = Bench::new();
    let compact = |revision| Op::Compact { space: Space::User, revision };
    for (key, value) in [("a", "1"), ("b", "1"), ("a", "2")] {
        store.put(key, value);
    }
    store.ok(Op::DeleteRange(delete("b", "")));
    store.put("c", "1");
    store.put("a", "3");
    let expected: Vec<Vec<String>> = (5..=7).map(|revision| store.all(revision)).collect();
    assert_eq!(store.refused(compact(8)), KvError::FutureRevision);
    store.ok(compact(5));
    assert_eq!(store.refused(compact(5)), KvError::Compacted { revision: 5 });
    let history_from = |store: &Bench, from_revision| {
        let request = HistoryRequest {
            space: Space::User,
            key: Bytes::from_static(b"\0"),
            range_end: Bytes::from_static(b"\0"),
            from_revision,
            events_max: 100,
            bytes_max: 1 << 20,
            changes_max: 100,
        };
        history(&store.tables, &request).unwrap()
    };
    let rest = history_from(&store, 5).unwrap();
    let prevs: Vec<bool> = rest.events.iter().map(|event| event.prev.is_some()).collect();
    assert_eq!(prevs, [false, false, true], "the mark hides what was before it");
    let past = RangeRequest { revision: 4, ..everything() };
    assert_eq!(store.range(&past), Err(KvError::Compacted { revision: 5 }));
    while compact_step(&mut store.tables, Space::User, 1).unwrap().more {}
    for (revision, expected) in (5..=7).zip(&expected) {
        assert_eq!(&store.all(revision), expected, "at {revision}");
    }
    store.ok(compact(7));
    while compact_step(&mut store.tables, Space::User, 1).unwrap().more {}
    assert_eq!(store.all(7), ["a=3", "c=1"]);
    assert_eq!(store.tables.0[&Table::Revisions].len(), 2);
    assert_eq!(store.tables.0[&Table::Keys].len(), 2);
    assert_eq!(history_from(&store, 6), Err(HistoryCompacted { compacted: 7 }));
    let rest = history_from(&store, 7).unwrap();
    assert_eq!(rest.events.len(), 1);
    assert_eq!(rest.through, 7);
}
