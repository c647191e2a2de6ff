//! Changes of users and roles, and what they allow, through the state machine.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::base::{LeaseId, UnixMillis};
use crate::kv::mem::MemTables;
use crate::kv::v2::{Condition, Write, WriteRequest};
use crate::kv::{
    Applied, Command, Compare, CompareResult, CompareTarget, DeleteRangeRequest, KvError, LogPosition, Op, PutRequest,
    RangeRequest, Reply, Space, State, TxnOp, TxnRequest, apply, bootstrap,
};

struct Member {
    state: State,
    tables: MemTables,
}

impl Member {
    fn new() -> Self {
        let mut tables = MemTables::default();
        let mut state = State::load(&tables).unwrap();
        bootstrap(&mut state, &mut tables, 1).unwrap();
        Self { state, tables }
    }

    fn apply(&mut self, op: Op) -> Applied {
        let at = LogPosition { index: self.state.applied().index + 1, term: 1 };
        let command = Command { stamp: UnixMillis(0), op };
        apply(&mut self.state, &mut self.tables, &command, at).unwrap().0
    }

    fn change(&mut self, change: Change) -> Result<(), AuthError> {
        let op = Op::Auth(change);
        let op = if self.state.auth().enabled() { self.by(ROOT, op) } else { op };
        match self.apply(op).result {
            Ok(reply) => {
                assert_eq!(reply, Reply::Auth);
                Ok(())
            }
            Err(KvError::Auth(refusal)) => Err(refusal),
            Err(other) => panic!("{other}"),
        }
    }

    fn by(&self, user: &str, op: Op) -> Op {
        Op::As { user: user.to_owned(), auth_revision: self.state.auth().revision(), op: Box::new(op) }
    }

    fn ask(&mut self, user: &str, op: Op) -> Result<Reply, KvError> {
        let op = self.by(user, op);
        self.apply(op).result
    }

    /// Users are asked for; `u` reads [a, c) and `r`, writes [b, d) and `w`.
    fn enabled() -> Self {
        let mut member = Self::new();
        let grants = [(Access::Read, "a", "c"), (Access::Read, "r", ""), (Access::Write, "b", "d")];
        let changes = [add(ROOT), grant(ROOT, ROOT), add("u"), role("ur"), grant("u", "ur")]
            .into_iter()
            .chain(grants.map(|(access, key, end)| permit("ur", access, key, end)))
            .chain([permit("ur", Access::Write, "w", ""), Change::Enable { secret: [7; 32] }]);
        for change in changes {
            member.change(change).unwrap();
        }
        member
    }
}

fn add(name: &str) -> Change {
    Change::UserAdd { name: name.to_owned(), password: Some(PasswordHash("hash".to_owned())) }
}

fn role(name: &str) -> Change {
    Change::RoleAdd { name: name.to_owned() }
}

fn grant(name: &str, role: &str) -> Change {
    Change::UserGrant { name: name.to_owned(), role: role.to_owned() }
}

fn revoke(name: &str, role: &str) -> Change {
    Change::UserRevoke { name: name.to_owned(), role: role.to_owned() }
}

fn permit(role: &str, access: Access, key: &'static str, end: &'static str) -> Change {
    let permission = Permission { access, key: key.into(), range_end: end.into() };
    Change::RoleGrant { name: role.to_owned(), permission }
}

fn take_back(role: &str, key: &'static str, end: &'static str) -> Change {
    Change::RoleRevoke { name: role.to_owned(), key: key.into(), range_end: end.into() }
}

fn named(make: fn(String) -> Change, name: &str) -> Change {
    make(name.to_owned())
}

#[test]
fn refusals_are_those_of_etcd() {
    let delete_user = |name| named(|name| Change::UserDelete { name }, name);
    let delete_role = |name| named(|name| Change::RoleDelete { name }, name);
    let password =
        |name: &str| Change::UserPassword { name: name.to_owned(), password: PasswordHash("new".to_owned()) };
    let enable = || Change::Enable { secret: [1; 32] };
    // Each change, its refusal, and the auth revision after it, which starts at 1.
    let cases = [
        (enable(), Err(AuthError::RootUserMissing), 1),
        (add(""), Err(AuthError::UserEmpty), 1),
        (add(ROOT), Ok(()), 2),
        (add(ROOT), Err(AuthError::UserExists), 2),
        (enable(), Err(AuthError::RootRoleMissing), 2),
        (role(""), Err(AuthError::RoleEmpty), 2),
        (role("r"), Ok(()), 3),
        (role("r"), Err(AuthError::RoleExists), 3),
        (grant("nobody", "r"), Err(AuthError::UserNotFound), 3),
        (grant(ROOT, "none"), Err(AuthError::RoleNotFound), 3),
        // The role root needs not exist to be granted.
        (grant(ROOT, ROOT), Ok(()), 4),
        (grant(ROOT, ROOT), Ok(()), 4),
        (permit("none", Access::Read, "a", ""), Err(AuthError::RoleNotFound), 4),
        (permit("r", Access::Read, "a", ""), Ok(()), 5),
        (permit("r", Access::Write, "a", ""), Ok(()), 6),
        (take_back("r", "a", "b"), Err(AuthError::PermissionNotGranted), 6),
        (take_back("none", "a", ""), Err(AuthError::RoleNotFound), 6),
        (take_back("r", "a", ""), Ok(()), 7),
        (revoke(ROOT, "r"), Err(AuthError::RoleNotGranted), 7),
        (revoke("nobody", "r"), Err(AuthError::UserNotFound), 7),
        (password("nobody"), Err(AuthError::UserNotFound), 7),
        (password(ROOT), Ok(()), 8),
        (delete_user("nobody"), Err(AuthError::UserNotFound), 8),
        (delete_role("none"), Err(AuthError::RoleNotFound), 8),
        (role(ROOT), Ok(()), 9),
        (Change::Disable, Ok(()), 9),
        (enable(), Ok(()), 9),
        (enable(), Ok(()), 9),
        (delete_user(ROOT), Err(AuthError::InvalidManagement), 9),
        (delete_role(ROOT), Err(AuthError::InvalidManagement), 9),
        (revoke(ROOT, ROOT), Err(AuthError::InvalidManagement), 9),
        (Change::Disable, Ok(()), 10),
        (delete_role(ROOT), Ok(()), 11),
        (delete_user(ROOT), Ok(()), 12),
    ];
    let mut member = Member::new();
    for (n, (change, expected, revision)) in cases.into_iter().enumerate() {
        let before = (member.state.auth().clone(), member.state.checksum());
        let told = format!("{n}: {change:?}");
        assert_eq!(member.change(change), expected, "{told}");
        assert_eq!(member.state.auth().revision(), revision, "{told}");
        if expected.is_err() {
            assert_eq!((member.state.auth().clone(), member.state.checksum()), before, "{told}");
        }
        assert_eq!(*member.state.auth(), *State::load(&member.tables).unwrap().auth(), "{told}");
    }
    assert_eq!(member.state.auth().users().count() + member.state.auth().roles().count(), 1);
}

#[test]
fn enabling_again_changes_no_secret_and_disabling_drops_it() {
    let mut member = Member::enabled();
    member.change(Change::Enable { secret: [9; 32] }).unwrap();
    assert_eq!(member.state.auth().secret(), Some(&[7; 32]));
    member.change(Change::Disable).unwrap();
    assert_eq!(member.state.auth().secret(), None);
}

fn put(key: &'static str) -> PutRequest {
    PutRequest { key: key.into(), value: "v".into(), ..PutRequest::default() }
}

fn delete(key: &'static str, end: &'static str) -> DeleteRangeRequest {
    DeleteRangeRequest { key: key.into(), range_end: end.into(), ..DeleteRangeRequest::default() }
}

fn read(key: &'static str, end: &'static str) -> RangeRequest {
    RangeRequest { key: key.into(), range_end: end.into(), ..RangeRequest::default() }
}

fn compare(key: &'static str) -> Compare {
    let target = CompareTarget::Version(0);
    Compare { space: Space::User, key: key.into(), range_end: Bytes::new(), result: CompareResult::Less, target }
}

fn within(op: TxnOp) -> TxnRequest {
    TxnRequest { success: vec![op], ..TxnRequest::default() }
}

fn v2(path: &str, write: Write) -> Op {
    Op::V2(WriteRequest { path: path.to_owned(), ttl_seconds: None, write })
}

#[test]
fn what_a_user_needs_for_each_operation() {
    let txn = |request: TxnRequest| Op::Txn(request);
    let nested = |op: TxnOp| within(TxnOp::Txn(within(op)));
    let set = || Write::Set { value: "1".to_owned(), dir: false, refresh: false };
    let cas = || Write::CompareAndSwap { value: "1".to_owned(), condition: Condition::default(), refresh: false };
    let cases: Vec<(Op, bool)> = vec![
        (Op::Put(put("b")), true),
        (Op::Put(put("w")), true),
        (Op::Put(put("a")), false),
        (Op::Put(put("d")), false),
        (Op::Put(PutRequest { prev_kv: true, ..put("b") }), true),
        (Op::Put(PutRequest { prev_kv: true, ..put("c") }), false),
        (Op::Put(PutRequest { space: Space::System, ..put("b") }), false),
        (Op::DeleteRange(delete("b", "d")), true),
        (Op::DeleteRange(delete("b", "d\0")), false),
        (Op::DeleteRange(delete("w", "\0")), false),
        (Op::DeleteRange(DeleteRangeRequest { prev_kv: true, ..delete("b", "c") }), true),
        (Op::DeleteRange(DeleteRangeRequest { prev_kv: true, ..delete("b", "d") }), false),
        (txn(within(TxnOp::Range(read("a", "c")))), true),
        (txn(within(TxnOp::Range(read("a", "d")))), false),
        (txn(within(TxnOp::Put(put("w")))), true),
        (txn(within(TxnOp::Put(put("r")))), false),
        (txn(within(TxnOp::Put(PutRequest { prev_kv: true, ..put("w") }))), false),
        (txn(within(TxnOp::DeleteRange(delete("b", "d")))), true),
        (txn(within(TxnOp::DeleteRange(delete("a", "")))), false),
        // The branch that will not run counts too, and so does what is within another.
        (txn(TxnRequest { failure: vec![TxnOp::Put(put("a"))], ..TxnRequest::default() }), false),
        (txn(nested(TxnOp::Put(put("w")))), true),
        (txn(nested(TxnOp::Put(put("a")))), false),
        (txn(nested(TxnOp::Range(read("z", "")))), false),
        (txn(TxnRequest { compare: vec![compare("r")], ..TxnRequest::default() }), true),
        (txn(TxnRequest { compare: vec![compare("w")], ..TxnRequest::default() }), false),
        (txn(TxnRequest::default()), true),
        (Op::LeaseGrant { id: LeaseId(5), ttl_ms: 1000 }, true),
        (Op::LeaseExpire { ids: vec![] }, false),
        (Op::Compact { space: Space::User, revision: 1 }, false),
        (Op::Compact { space: Space::System, revision: 1 }, false),
        (Op::Auth(add("x")), false),
        (v2("/b", set()), false),
    ];
    for (op, allowed) in cases {
        let mut member = Member::enabled();
        let before = member.tables.clone();
        let found = member.ask("u", op.clone());
        let denied = found == Err(KvError::Auth(AuthError::Denied));
        let needs_root = matches!(op, Op::Compact { space: Space::User, .. } | Op::Auth(_));
        assert_eq!(denied, !allowed, "{op:?}: {found:?}");
        if denied {
            let unchanged = |table| member.tables.0.get(&table) == before.0.get(&table);
            assert!(crate::kv::Table::ALL.into_iter().filter(|table| *table != crate::kv::Table::Meta).all(unchanged));
        }
        let by_nobody = member.ask("nobody", op.clone());
        assert!(matches!(by_nobody, Err(KvError::Auth(AuthError::Denied | AuthError::UserNotFound))), "{op:?}");
        let inside = matches!(op, Op::LeaseExpire { .. } | Op::Compact { space: Space::System, .. })
            || matches!(&op, Op::Put(put) if put.space == Space::System);
        let by_root = member.ask(ROOT, op.clone());
        assert_eq!(by_root == Err(KvError::Auth(AuthError::Denied)), inside, "{op:?}: {by_root:?}");
        assert!(!needs_root || !matches!(by_root, Err(KvError::Auth(_))), "{op:?}: {by_root:?}");
    }
    // The v2 dialect, over paths.
    let cases = [
        ("/p/a", set(), true),
        ("/p/a", cas(), true),
        ("/w", set(), true),
        ("/w", cas(), false),
        ("/q", set(), false),
        ("/p/d", Write::Create { value: String::new(), dir: true }, true),
        ("/p", Write::Create { value: String::new(), dir: true }, false),
        ("/w", Write::Create { value: String::new(), dir: true }, true),
        ("/p", Write::CreateInOrder { value: String::new(), dir: false }, true),
        ("/w", Write::CreateInOrder { value: String::new(), dir: false }, false),
        ("/p/x", Write::Delete { recursive: false, dir: false }, true),
        ("/p", Write::Delete { recursive: true, dir: true }, true),
        ("/q", Write::Delete { recursive: true, dir: true }, false),
        ("/", Write::Delete { recursive: true, dir: true }, false),
        ("/p", Write::Update { value: String::new(), dir: true, refresh: false }, true),
        ("/q", Write::Update { value: String::new(), dir: true, refresh: false }, false),
    ];
    for (path, write, allowed) in cases {
        let mut member = Member::enabled();
        member.change(permit("ur", Access::ReadWrite, "/p/", "/p0")).unwrap();
        member.change(permit("ur", Access::Write, "/w", "")).unwrap();
        for path in ["/p/x", "/q/x"] {
            member.ask(ROOT, v2(path, set())).unwrap();
        }
        let found = member.ask("u", v2(path, write.clone()));
        assert_eq!(found != Err(KvError::Auth(AuthError::Denied)), allowed, "{path} {write:?}: {found:?}");
    }
}

#[test]
fn a_lease_belongs_to_who_may_write_all_its_keys() {
    let mut member = Member::enabled();
    let on = |lease: i64, key| Op::Put(PutRequest { lease: LeaseId(lease), ..put(key) });
    let denied = Err(KvError::Auth(AuthError::Denied));
    for id in [1, 2, 3] {
        member.ask("u", Op::LeaseGrant { id: LeaseId(id), ttl_ms: 1000 }).unwrap();
    }
    member.ask(ROOT, on(1, "z")).unwrap();
    member.ask("u", on(2, "b")).unwrap();
    assert_eq!(member.ask("u", on(1, "b")), denied);
    assert_eq!(member.ask("u", Op::Txn(within(TxnOp::Put(PutRequest { lease: LeaseId(1), ..put("b") })))), denied);
    assert_eq!(member.ask("u", Op::LeaseRevoke { id: LeaseId(1) }), denied);
    assert_eq!(member.ask("u", Op::LeaseRevoke { id: LeaseId(2) }), Ok(Reply::LeaseRevoke));
    assert_eq!(member.ask("u", Op::LeaseRevoke { id: LeaseId(3) }), Ok(Reply::LeaseRevoke));
    assert_eq!(member.ask("u", Op::LeaseRevoke { id: LeaseId(4) }), Err(KvError::LeaseNotFound));
    assert_eq!(member.ask(ROOT, Op::LeaseRevoke { id: LeaseId(1) }), Ok(Reply::LeaseRevoke));
}

#[test]
fn while_users_are_asked_for_nobody_is_refused() {
    let system = |op: PutRequest| PutRequest { space: Space::System, ..op };
    let system_lease = crate::kv::system_lease(7);
    let cases = [
        (Op::Put(put("b")), true),
        (Op::Put(system(put("b"))), false),
        (Op::DeleteRange(delete("b", "")), true),
        (Op::Txn(within(TxnOp::Put(put("b")))), true),
        (Op::Txn(within(TxnOp::Txn(within(TxnOp::Range(read("b", "")))))), true),
        (Op::Txn(TxnRequest { compare: vec![compare("b")], ..TxnRequest::default() }), true),
        (Op::Txn(within(TxnOp::Put(system(put("b"))))), false),
        (v2("/b", Write::Set { value: String::new(), dir: false, refresh: false }), true),
        (Op::LeaseGrant { id: LeaseId(5), ttl_ms: 1000 }, true),
        (Op::LeaseGrant { id: system_lease, ttl_ms: 1000 }, false),
        (Op::LeaseRevoke { id: LeaseId(5) }, true),
        (Op::LeaseExpire { ids: vec![LeaseId(5)] }, false),
        (Op::Compact { space: Space::User, revision: 1 }, false),
        (Op::Auth(add("x")), true),
        (Op::Auth(Change::Disable), true),
    ];
    for (op, refused) in cases {
        let mut member = Member::enabled();
        let found = member.apply(op.clone()).result;
        assert_eq!(found == Err(KvError::Auth(AuthError::UserEmpty)), refused, "{op:?}: {found:?}");
        let mut open = Member::new();
        let found = open.apply(op.clone()).result;
        assert!(!matches!(found, Err(KvError::Auth(AuthError::UserEmpty))), "{op:?}: {found:?}");
    }
    // Nothing hides within another, and a name is no harm where nobody is asked for one.
    let mut member = Member::enabled();
    let twice = member.by(ROOT, Op::Put(put("b")));
    assert_eq!(member.ask(ROOT, twice), Err(KvError::Auth(AuthError::Denied)));
    let mut open = Member::new();
    assert!(open.ask("anybody", Op::Put(put("b"))).is_ok());
    let twice = open.by("anybody", Op::Put(put("b")));
    assert_eq!(open.ask("anybody", twice), Err(KvError::Auth(AuthError::Denied)));
}

#[test]
fn what_was_asked_under_older_users_and_roles_is_refused() {
    let mut member = Member::enabled();
    let asked = member.by("u", Op::Put(put("b")));
    assert!(member.apply(asked.clone()).result.is_ok());
    member.change(take_back("ur", "b", "d")).unwrap();
    assert_eq!(member.apply(asked).result, Err(KvError::Auth(AuthError::OldRevision)));
    assert_eq!(member.ask("u", Op::Put(put("b"))), Err(KvError::Auth(AuthError::Denied)));
}

#[test]
fn permissions_follow_their_roles() {
    let mut member = Member::enabled();
    let may = |member: &Member, key: &'static str| {
        member.state.auth().may("u", Access::Read, &Bytes::from(key), &Bytes::new()).is_ok()
    };
    assert!(may(&member, "r") && !may(&member, "x"));
    member.change(permit("ur", Access::ReadWrite, "x", "")).unwrap();
    assert!(may(&member, "x"));
    // The same key and end: replaced, not added.
    member.change(permit("ur", Access::Write, "x", "")).unwrap();
    assert!(!may(&member, "x"));
    member.change(revoke("u", "ur")).unwrap();
    assert!(!may(&member, "r"));
    member.change(grant("u", "ur")).unwrap();
    assert!(may(&member, "r"));
    member.change(named(|name| Change::RoleDelete { name }, "ur")).unwrap();
    assert!(!may(&member, "r"));
    // A role of the same name is another one.
    member.change(role("ur")).unwrap();
    member.change(permit("ur", Access::Read, "r", "")).unwrap();
    assert!(!may(&member, "r") && member.state.auth().user("u").unwrap().roles.is_empty());
    member.change(grant("u", ROOT)).unwrap();
    assert!(may(&member, "x"));
}

fn any_change() -> impl Strategy<Value = Change> {
    let name = || prop::sample::select(&["root", "a", "b", ""][..]).prop_map(str::to_owned);
    let hash = || prop::sample::select(&["1", "2"][..]).prop_map(|text| PasswordHash(text.to_owned()));
    let key = || prop::sample::select(&["a", "b", "c"][..]).prop_map(Bytes::from);
    let end = || prop::sample::select(&["", "b", "d", "\0"][..]).prop_map(Bytes::from);
    let access = prop::sample::select(&[Access::Read, Access::Write, Access::ReadWrite][..]);
    prop_oneof![
        1 => any::<[u8; 32]>().prop_map(|secret| Change::Enable { secret }),
        1 => Just(Change::Disable),
        1 => (name(), prop::option::of(hash())).prop_map(|(name, password)| Change::UserAdd { name, password }),
        1 => name().prop_map(|name| Change::UserDelete { name }),
        1 => (name(), hash()).prop_map(|(name, password)| Change::UserPassword { name, password }),
        3 => (name(), name()).prop_map(|(name, role)| Change::UserGrant { name, role }),
        1 => (name(), name()).prop_map(|(name, role)| Change::UserRevoke { name, role }),
        2 => name().prop_map(|name| Change::RoleAdd { name }),
        1 => name().prop_map(|name| Change::RoleDelete { name }),
        3 => (name(), access, key(), end()).prop_map(|(name, access, key, range_end)| {
            Change::RoleGrant { name, permission: Permission { access, key, range_end } }
        }),
        1 => (name(), key(), end()).prop_map(|(name, key, range_end)| Change::RoleRevoke { name, key, range_end }),
        1 => Just(Change::RoleAdd { name: GUEST.to_owned() }),
        1 => (key(), end()).prop_map(|(key, range_end)| {
            let permission = Permission { access: Access::Read, key, range_end };
            Change::RoleGrant { name: GUEST.to_owned(), permission }
        }),
        1 => Just(Change::RoleDelete { name: GUEST.to_owned() }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    /// What is worked out step by step is what a start finds in the tables, and nobody can be locked out.
    #[test]
    fn the_tables_hold_all_of_it(changes in prop::collection::vec(any_change(), 0..40)) {
        let mut member = Member::new();
        for change in changes {
            let revision = member.state.auth().revision();
            let _ = member.change(change);
            prop_assert!(member.state.auth().revision() - revision <= 1);
            prop_assert_eq!(&member.state, &State::load(&member.tables).unwrap());
            let auth = member.state.auth();
            prop_assert!(!auth.enabled() || auth.administers(ROOT).is_ok());
        }
    }
}

#[test]
fn several_changes_are_one_or_none() {
    let mut member = Member::new();
    let revision = member.state.auth().revision();
    let both = |revision| Change::All { revision, changes: vec![add("a"), add("b")] };
    member.change(both(revision)).unwrap();
    assert!(member.state.auth().user("a").is_some() && member.state.auth().user("b").is_some());
    assert_eq!(member.change(both(revision)), Err(AuthError::OldRevision));
    let revision = member.state.auth().revision();
    let again = Change::All { revision, changes: vec![add("c"), add("b")] };
    assert_eq!(member.change(again), Err(AuthError::UserExists));
    assert!(member.state.auth().user("c").is_none());
    assert_eq!(&member.state, &State::load(&member.tables).unwrap());
}

#[test]
fn who_names_nobody_may_what_the_role_guest_may() {
    let mut member = Member::enabled();
    let denied = Err(KvError::Auth(AuthError::Denied));
    let write = |path: &str| v2(path, Write::Set { value: String::new(), dir: false, refresh: false });
    assert_eq!(member.ask(NOBODY, write("/g/a")), denied);
    member.change(role(GUEST)).unwrap();
    assert_eq!(member.ask(NOBODY, write("/g/a")), denied);
    member.change(permit(GUEST, Access::Write, "/g/", "/g0")).unwrap();
    assert!(member.ask(NOBODY, write("/g/a")).is_ok());
    assert_eq!(member.ask(NOBODY, write("/h")), denied);
    assert_eq!(member.ask(NOBODY, Op::Auth(add("x"))), denied);
    member.change(named(|name| Change::RoleDelete { name }, GUEST)).unwrap();
    assert_eq!(member.ask(NOBODY, write("/g/a")), denied);
}
