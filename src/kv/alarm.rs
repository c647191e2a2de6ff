//! Alarms: what a member has found, or an operator has said, that forbids some requests to all members.
//!
//! Source of what each alarm blocks: etcd's appliers `applierV3Capped` (NOSPACE) and `applierV3Corrupt` (CORRUPT), and what
//! 3.4.23 answers: reads do not pass through its appliers. The
//! cluster's own writes, to the system space, are not blocked.

use serde::{Deserialize, Serialize};

use super::command::Op;
use super::error::KvError;
use super::is_system_lease;
use super::layout;
use super::state::State;
use super::tables::{Table, Tables, TablesError, TablesMut};
use super::types::{Space, TxnOp, TxnRequest};
use super::v2::Write;
use crate::base::MemberId;

/// Key of the alarms in `Meta`.
const META_ALARMS: &[u8] = b"alarms";

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AlarmKind {
    /// No room: nothing that grows is taken.
    NoSpace,
    /// The members' data differ: nothing is changed any more. Reads are answered.
    Corrupt,
}

/// An alarm. There is at most one of a kind for a member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alarm {
    pub member: MemberId,
    pub kind: AlarmKind,
    /// What the member found, which then ends the alarm too. `None`: somebody raised it by hand, and it stays until it is
    /// lowered by hand.
    pub finding: Option<String>,
}

/// A change of the alarms.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AlarmChange {
    /// A finding does not replace what was raised by hand.
    Raise(Alarm),
    /// Whoever raised it.
    Lower { member: MemberId, kind: AlarmKind },
    /// The finding is no longer true; what was raised by hand stays.
    Withdraw { member: MemberId, kind: AlarmKind },
}

/// The alarms that the tables hold.
pub(super) fn load(tables: &dyn Tables) -> Result<Vec<Alarm>, TablesError> {
    match tables.get(Table::Meta, META_ALARMS)? {
        Some(bytes) => layout::decode(&bytes, "the record of alarms"),
        None => Ok(Vec::new()),
    }
}

/// Changes the alarms. Returns the alarm that was there or came or went, if any.
pub(super) fn change(
    state: &mut State,
    tables: &mut dyn TablesMut,
    change: &AlarmChange,
) -> Result<Option<Alarm>, TablesError> {
    let (member, kind) = match change {
        AlarmChange::Raise(alarm) => (alarm.member, alarm.kind),
        AlarmChange::Lower { member, kind } | AlarmChange::Withdraw { member, kind } => (*member, *kind),
    };
    let at = state.alarms.iter().position(|alarm| alarm.member == member && alarm.kind == kind);
    let present = at.map(|at| state.alarms[at].clone());
    let held = present.as_ref().is_some_and(|alarm| alarm.finding.is_none());
    let changed = match (change, at) {
        (AlarmChange::Raise(alarm), Some(at)) => {
            if !(held && alarm.finding.is_some()) {
                state.alarms[at] = alarm.clone();
            }
            Some(state.alarms[at].clone())
        }
        (AlarmChange::Raise(alarm), None) => {
            state.alarms.push(alarm.clone());
            Some(alarm.clone())
        }
        (AlarmChange::Withdraw { .. }, Some(_)) if held => present,
        (_, Some(at)) => Some(state.alarms.remove(at)),
        (_, None) => None,
    };
    tables.put(Table::Meta, META_ALARMS, &layout::encode(&state.alarms)?)?;
    Ok(changed)
}

/// Whether the alarms let an operation be carried out.
pub fn allowed(alarms: &[Alarm], op: &Op) -> Result<(), KvError> {
    let raised = |kind| alarms.iter().any(|alarm| alarm.kind == kind);
    if raised(AlarmKind::Corrupt) && changes(op) {
        return Err(KvError::Corrupt);
    }
    if raised(AlarmKind::NoSpace) && grows(op) {
        return Err(KvError::NoSpace);
    }
    Ok(())
}

/// Whether an operation adds to what clients keep.
pub fn grows(op: &Op) -> bool {
    match op {
        Op::Put(put) => put.space == Space::User,
        Op::Txn(txn) => txn_puts(txn),
        Op::V2(request) => !matches!(request.write, Write::Delete { .. } | Write::CompareAndDelete { .. }),
        Op::LeaseGrant { id, .. } => !is_system_lease(*id),
        _ => false,
    }
}

fn txn_puts(txn: &TxnRequest) -> bool {
    txn.success.iter().chain(&txn.failure).any(|op| match op {
        TxnOp::Put(put) => put.space == Space::User,
        TxnOp::Txn(txn) => txn_puts(txn),
        TxnOp::Range(_) | TxnOp::DeleteRange(_) => false,
    })
}

/// Whether an operation changes clients' keys, their history or their leases.
fn changes(op: &Op) -> bool {
    match op {
        Op::Put(put) => put.space == Space::User,
        Op::DeleteRange(delete) => delete.space == Space::User,
        Op::Txn(txn) => txn_changes(txn),
        Op::V2(_) => true,
        Op::Compact { space, .. } => *space == Space::User,
        Op::LeaseGrant { id, .. } | Op::LeaseRevoke { id } => !is_system_lease(*id),
        _ => false,
    }
}

fn txn_changes(txn: &TxnRequest) -> bool {
    txn.success.iter().chain(&txn.failure).any(|op| match op {
        TxnOp::Put(put) => put.space == Space::User,
        TxnOp::DeleteRange(delete) => delete.space == Space::User,
        TxnOp::Txn(txn) => txn_changes(txn),
        TxnOp::Range(_) => false,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::base::LeaseId;
    use crate::kv::apply_tests::Bench;
    use crate::kv::v2::WriteRequest;
    use crate::kv::{DeleteRangeRequest, PutRequest, RangeRequest, Reply, system_lease};

    const ONE: MemberId = MemberId(1);

    fn raise(kind: AlarmKind, finding: Option<&str>) -> Op {
        Op::Alarm(AlarmChange::Raise(Alarm { member: ONE, kind, finding: finding.map(str::to_owned) }))
    }

    fn lower(kind: AlarmKind) -> Op {
        Op::Alarm(AlarmChange::Lower { member: ONE, kind })
    }

    fn withdraw(kind: AlarmKind) -> Op {
        Op::Alarm(AlarmChange::Withdraw { member: ONE, kind })
    }

    fn put_in(space: Space) -> PutRequest {
        PutRequest { space, key: "k".into(), value: "v".into(), ..PutRequest::default() }
    }

    fn txn(ops: Vec<TxnOp>) -> Op {
        let nested = TxnRequest { failure: ops, ..TxnRequest::default() };
        Op::Txn(TxnRequest { success: vec![TxnOp::Txn(nested)], ..TxnRequest::default() })
    }

    #[test]
    fn each_alarm_blocks_what_etcd_blocks() {
        let delete = DeleteRangeRequest { key: "k".into(), ..DeleteRangeRequest::default() };
        let v2 = |write| Op::V2(WriteRequest { path: "/a".to_owned(), ttl_seconds: None, write });
        // What, and whether NOSPACE and CORRUPT block it.
        let cases = [
            (Op::Put(put_in(Space::User)), true, true),
            (Op::Put(put_in(Space::System)), false, false),
            (Op::DeleteRange(delete.clone()), false, true),
            (txn(vec![TxnOp::Put(put_in(Space::User))]), true, true),
            (txn(vec![TxnOp::DeleteRange(delete)]), false, true),
            (txn(vec![TxnOp::Put(put_in(Space::System))]), false, false),
            (txn(vec![TxnOp::Range(RangeRequest::default())]), false, false),
            (v2(Write::Set { value: "v".to_owned(), dir: false, refresh: false }), true, true),
            (v2(Write::Delete { recursive: false, dir: false }), false, true),
            (Op::LeaseGrant { id: LeaseId(7), ttl_ms: 1000 }, true, true),
            (Op::LeaseGrant { id: system_lease(7), ttl_ms: 1000 }, false, false),
            (Op::LeaseRevoke { id: LeaseId(7) }, false, true),
            (Op::Compact { space: Space::User, revision: 1 }, false, true),
            (Op::Compact { space: Space::System, revision: 1 }, false, false),
            (lower(AlarmKind::NoSpace), false, false),
        ];
        for (op, no_space, corrupt) in cases {
            for (kind, blocks) in [(AlarmKind::NoSpace, no_space), (AlarmKind::Corrupt, corrupt)] {
                let alarms = [Alarm { member: ONE, kind, finding: None }];
                assert_eq!(allowed(&alarms, &op).is_err(), blocks, "{kind:?} {op:?}");
            }
            assert_eq!(allowed(&[], &op), Ok(()));
        }
    }

    #[test]
    fn a_raised_alarm_blocks_until_it_is_lowered() {
        let mut bench = Bench::new();
        bench.put("a", "1");
        bench.ok(raise(AlarmKind::NoSpace, None));
        assert_eq!(bench.refused(Op::put("a", "2")), KvError::NoSpace);
        bench.ok(Op::DeleteRange(DeleteRangeRequest { key: "a".into(), ..DeleteRangeRequest::default() }));
        // What is said by hand is not replaced by findings.
        bench.ok(raise(AlarmKind::NoSpace, Some("full")));
        bench.ok(withdraw(AlarmKind::NoSpace));
        assert_eq!(bench.refused(Op::put("a", "2")), KvError::NoSpace);
        assert!(matches!(bench.ok(lower(AlarmKind::NoSpace)), Reply::Alarm(Some(_))));
        bench.put("a", "2");
        assert_eq!(bench.ok(lower(AlarmKind::NoSpace)), Reply::Alarm(None));
        bench.ok(raise(AlarmKind::NoSpace, Some("full")));
        assert_eq!(bench.refused(Op::put("a", "3")), KvError::NoSpace);
        bench.ok(withdraw(AlarmKind::NoSpace));
        bench.put("a", "3");
        bench.ok(raise(AlarmKind::Corrupt, None));
        assert_eq!(bench.refused(Op::put("a", "3")), KvError::Corrupt);
    }
}
