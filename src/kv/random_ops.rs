//! Random commands for properties, over few keys so that they meet.

use bytes::Bytes;
use proptest::prelude::*;

use super::v2::{self, Condition, Write, WriteRequest};
use super::*;
use crate::base::LeaseId;

const KEYS: [&str; 12] = ["a", "b", "k", "/a", "/a/", "/a/b", "/a/b/", "/a/b/c", "/a/_h/x", "/d/", "/a//x", "/"];
const PATHS: [&str; 8] = ["/a", "/a/b", "/a/b/c", "/a/c", "/d", "/d/e", "/_h", "/"];

fn key() -> impl Strategy<Value = Bytes> {
    prop::sample::select(&KEYS[..]).prop_map(Bytes::from)
}

fn value() -> impl Strategy<Value = String> {
    prop::sample::select(&["", "1", "2", "3"][..]).prop_map(str::to_owned)
}

fn space() -> impl Strategy<Value = Space> {
    prop_oneof![4 => Just(Space::User), 1 => Just(Space::System)]
}

fn lease() -> impl Strategy<Value = LeaseId> {
    prop_oneof![2 => Just(0), 1 => Just(1), 1 => Just(2)].prop_map(LeaseId)
}

/// The end of a range: none, everything, or another key.
fn range_end() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        3 => Just(Bytes::new()),
        1 => Just(Bytes::from_static(b"\0")),
        1 => key(),
        1 => Just(Bytes::from_static(b"/a0")),
    ]
}

fn put() -> impl Strategy<Value = PutRequest> {
    (space(), key(), value(), lease(), any::<[bool; 3]>()).prop_map(
        |(space, key, value, lease, [prev_kv, ignore_value, ignore_lease])| PutRequest {
            space,
            key,
            value: value.into(),
            lease,
            prev_kv,
            ignore_value,
            ignore_lease: ignore_value && ignore_lease,
        },
    )
}

fn delete() -> impl Strategy<Value = DeleteRangeRequest> {
    (space(), key(), range_end(), any::<bool>()).prop_map(|(space, key, range_end, prev_kv)| DeleteRangeRequest {
        space,
        key,
        range_end,
        prev_kv,
    })
}

fn compare() -> impl Strategy<Value = Compare> {
    (space(), key(), range_end(), 0..3i64).prop_map(|(space, key, range_end, version)| Compare {
        space,
        key,
        range_end,
        result: CompareResult::Greater,
        target: CompareTarget::Version(version),
    })
}

fn txn() -> impl Strategy<Value = TxnRequest> {
    let op = prop_oneof![
        3 => put().prop_map(TxnOp::Put),
        1 => delete().prop_map(TxnOp::DeleteRange),
        1 => (space(), key(), range_end()).prop_map(|(space, key, range_end)| {
            TxnOp::Range(RangeRequest { space, key, range_end, ..RangeRequest::default() })
        }),
    ];
    let ops = || prop::collection::vec(op.clone().boxed(), 0..4);
    let flat = || {
        (prop::collection::vec(compare(), 0..2), ops(), ops()).prop_map(|(compare, success, failure)| TxnRequest {
            compare,
            success,
            failure,
        })
    };
    (flat(), prop::option::of(flat())).prop_map(|(mut txn, nested)| {
        txn.success.extend(nested.map(TxnOp::Txn));
        txn
    })
}

/// Commands of the v3 API and the log's own.
pub(crate) fn v3_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => put().prop_map(Op::Put),
        3 => delete().prop_map(Op::DeleteRange),
        4 => txn().prop_map(Op::Txn),
        2 => (1..3i64).prop_map(|id| Op::LeaseGrant { id: LeaseId(id), ttl_ms: 1000 }),
        1 => (1..3i64).prop_map(|id| Op::LeaseRevoke { id: LeaseId(id) }),
        1 => (space(), 1..60i64).prop_map(|(space, revision)| Op::Compact { space, revision }),
    ]
}

fn v2_write() -> impl Strategy<Value = Write> {
    let condition = || {
        (prop::option::of(value()), 0..12u64).prop_map(|(prev_value, prev_index)| Condition { prev_value, prev_index })
    };
    prop_oneof![
        4 => (value(), any::<bool>(), any::<bool>())
            .prop_map(|(value, dir, refresh)| Write::Set { value, dir, refresh }),
        2 => (value(), any::<bool>()).prop_map(|(value, dir)| Write::Create { value, dir }),
        1 => (value(), any::<bool>())
            .prop_map(|(value, refresh)| Write::Update { value, dir: false, refresh }),
        1 => (value(), condition(), any::<bool>()).prop_map(|(value, condition, refresh)| {
            Write::CompareAndSwap { value, condition, refresh }
        }),
        1 => (value(), any::<bool>()).prop_map(|(value, dir)| Write::CreateInOrder { value, dir }),
        3 => (any::<bool>(), any::<bool>())
            .prop_map(|(recursive, dir)| Write::Delete { recursive, dir }),
        1 => condition().prop_map(|condition| Write::CompareAndDelete { condition }),
    ]
}

/// Any command.
pub(crate) fn any_op() -> impl Strategy<Value = Op> {
    let v2 = (prop::sample::select(&PATHS[..]), prop::option::weighted(0.3, 0..5u64), v2_write())
        .prop_map(|(path, ttl_seconds, write)| Op::V2(WriteRequest { path: path.to_owned(), ttl_seconds, write }));
    // Leases that v2 writes make have the ids of their indexes.
    let expire = prop::collection::vec(1..40u64, 1..8).prop_map(|indexes| Op::LeaseExpire {
        ids: indexes.into_iter().flat_map(|index| [LeaseId(index as i64), super::lease::v2_lease(index)]).collect(),
    });
    // Nobody is asked for: what comes without a user would all be refused.
    let name = || prop::sample::select(&["a", "b"][..]).prop_map(str::to_owned);
    let auth = prop_oneof![
        name().prop_map(|name| auth::Change::UserAdd { name, password: None }),
        name().prop_map(|name| auth::Change::UserDelete { name }),
        name().prop_map(|name| auth::Change::RoleAdd { name }),
        name().prop_map(|name| auth::Change::RoleDelete { name }),
        (name(), name()).prop_map(|(name, role)| auth::Change::UserGrant { name, role }),
    ];
    prop_oneof![8 => v3_op(), 8 => v2, 2 => expire, 1 => auth.prop_map(Op::Auth)]
}

/// What a v2 reader sees of everything, as a check that nothing in it fails.
pub(crate) fn v2_root(tables: &dyn Tables) -> v2::Node {
    let request = v2::GetRequest { path: "/".to_owned(), recursive: true, ..v2::GetRequest::default() };
    let (_, outcome) = v2::get(tables, &request).expect("tables in memory can be read");
    outcome.expect("the root always exists").node
}
