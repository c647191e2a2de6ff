//! A copy of a state made into the state that a new cluster begins with.
//!
//! Users' keys, revisions, leases and v2 indexes stay. What was true of the old cluster's machines and members goes: who
//! they are, and all that hangs on the cluster's own leases, which is machines' presence and their units' states, but for
//! leases that are to stay because who keeps them alive is expected back. Units,
//! machines' metadata and the plan are what people and the engine wanted, and stay. It depends on the copy and the arguments
//! alone, so that the members of the new cluster, each restored by itself, have byte-equal tables.

use std::ops::{Bound, ControlFlow};

use super::layout;
use super::lease;
use super::state::{LogPosition, State, slot};
use super::tables::{Table, TablesError, TablesMut, try_scan};
use super::types::{Member, Space};
use super::writer::Writer;
use crate::base::{LeaseId, UnixMillis};

/// What a new cluster begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refounding<'a> {
    /// Its first members.
    pub members: &'a [Member],
    /// Where its log begins.
    pub at: LogPosition,
    /// How far users' revisions and v2 indexes skip ahead, so that no client has seen a later one; all history is then
    /// compacted, so that those who watch notice. 0: not at all.
    pub skip: u64,
    /// Of the cluster's own leases, those that stay, and for how many milliseconds from when somebody leads on.
    pub kept: &'a [(LeaseId, i64)],
}

/// Makes the tables those of a new cluster.
///
/// # Errors
/// Damaged records, and revisions that would be beyond all numbers.
pub fn refound(tables: &mut dyn TablesMut, new: &Refounding<'_>) -> Result<(), TablesError> {
    let mut state = State::load(tables)?;
    let kept = |id: &LeaseId| new.kept.iter().any(|(kept, _)| kept == id);
    let own = state.leases.keys().copied().filter(|id| lease::is_system_lease(*id) && !kept(id));
    let own: Vec<LeaseId> = own.collect();
    let mut writer = Writer::new(&mut state, tables, UnixMillis(0));
    lease::expire(&mut writer, &own)?;
    let left: Vec<_> = new.kept.iter().map(|(id, left_ms)| (*id, Some(*left_ms))).collect();
    lease::checkpoint(&mut writer, &left)?;
    writer.finish(new.at)?;
    forget_members(tables)?;
    for member in new.members {
        tables.put(Table::Members, &member.id.0.to_be_bytes(), &layout::encode(member)?)?;
    }
    let marks = &mut state.marks;
    if new.skip > 0 {
        let user = slot(Space::User);
        let beyond = || TablesError(format!("revisions cannot skip {} ahead: write a smaller number", new.skip));
        let skip = i64::try_from(new.skip).map_err(|_| beyond())?;
        marks.revision[user] = marks.revision[user].checked_add(skip).ok_or_else(beyond)?;
        marks.v2_index = marks.v2_index.checked_add(new.skip).ok_or_else(beyond)?;
        marks.compacted[user] = marks.revision[user];
    }
    marks.bootstrapped = true;
    marks.save(tables)
}

fn forget_members(tables: &mut dyn TablesMut) -> Result<(), TablesError> {
    let mut old = Vec::new();
    try_scan(tables, Table::Members, Bound::Unbounded, Bound::Unbounded, |id, _| {
        old.push(id.to_vec());
        Ok(ControlFlow::Continue(()))
    })?;
    old.iter().try_for_each(|id| tables.delete(Table::Members, id))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::base::MemberId;
    use crate::kv::mem::MemTables;
    use crate::kv::{
        Command, HistoryRequest, IndexPlace, Lease, Op, PutRequest, RangeRequest, apply, bootstrap, history, members,
        range, revision_of_index, system_lease,
    };

    fn put(space: Space, key: &'static str, lease: LeaseId) -> Op {
        Op::Put(PutRequest { space, key: key.into(), value: "v".into(), lease, ..PutRequest::default() })
    }

    /// A cluster with users' keys and leases, a machine with its presence, and a unit.
    fn old() -> MemTables {
        let mut tables = MemTables::default();
        let mut state = State::load(&tables).unwrap();
        bootstrap(&mut state, &mut tables, 3).unwrap();
        let presence = system_lease(7);
        let member = Member { id: MemberId(1), name: "old".into(), ..Member::default() };
        let ops = [
            Op::LeaseGrant { id: LeaseId(9), ttl_ms: 60_000 },
            Op::LeaseGrant { id: presence, ttl_ms: 3_000 },
            put(Space::User, "/a", LeaseId(9)),
            put(Space::User, "/b", LeaseId::NONE),
            put(Space::System, "/fleet/machines/m", presence),
            put(Space::System, "/fleet/units/u", LeaseId::NONE),
            put(Space::User, "/b", LeaseId::NONE),
            Op::MemberUpdate(member),
        ];
        for (index, op) in ops.into_iter().enumerate() {
            let at = LogPosition { index: index as u64 + 1, term: 4 };
            let command = Command { stamp: UnixMillis(1), op };
            apply(&mut state, &mut tables, &command, at).unwrap().0.result.unwrap();
        }
        tables
    }

    fn all(tables: &MemTables, space: Space) -> Vec<(String, i64)> {
        let request =
            RangeRequest { space, key: "\0".into(), range_end: "\0".into(), revision: 0, ..RangeRequest::default() };
        let (_, reply) = range(tables, &request).unwrap().unwrap();
        let kvs = reply.kvs;
        kvs.into_iter().map(|kv| (String::from_utf8(kv.key.to_vec()).unwrap(), kv.mod_revision)).collect()
    }

    #[test]
    fn users_keep_everything_and_the_old_machines_and_members_go() {
        let mut tables = old();
        let before = State::load(&tables).unwrap();
        let (first, second) = (MemberId(5), MemberId(6));
        let new = [first, second].map(|id| Member { id, name: format!("n{}", id.0), ..Member::default() });
        let at = LogPosition { index: 1, term: 1 };
        refound(&mut tables, &Refounding { members: &new, at, skip: 0, kept: &[] }).unwrap();
        let after = State::load(&tables).unwrap();
        assert_eq!(all(&tables, Space::User), [("/a".to_owned(), 2), ("/b".to_owned(), 4)]);
        assert_eq!(all(&tables, Space::System), [("/fleet/units/u".to_owned(), 3)]);
        assert_eq!(members(&tables).unwrap(), new);
        assert_eq!(after.position().revision, before.position().revision);
        assert_eq!(after.position().v2_index, before.position().v2_index);
        assert_eq!(after.applied(), at);
        assert_eq!(after.leases().map(|record| record.lease.id).collect::<Vec<_>>(), [LeaseId(9)]);
        let mut again = old();
        refound(&mut again, &Refounding { members: &new, at, skip: 0, kept: &[] }).unwrap();
        assert_eq!(again, tables);
    }

    #[test]
    fn a_machine_that_is_expected_back_has_its_time() {
        let mut tables = old();
        let kept = [(system_lease(7), 600_000)];
        refound(&mut tables, &Refounding { members: &[], at: LogPosition { index: 1, term: 1 }, skip: 0, kept: &kept })
            .unwrap();
        let machine = ("/fleet/machines/m".to_owned(), 2);
        assert_eq!(all(&tables, Space::System), [machine, ("/fleet/units/u".to_owned(), 3)]);
        let state = State::load(&tables).unwrap();
        let left: Vec<_> = state.leases().map(|record| (record.lease.clone(), record.left_ms)).collect();
        let of = |id, ttl_ms| Lease { id, ttl_ms };
        assert_eq!(left, [(of(LeaseId(9), 60_000), None), (of(kept[0].0, 3_000), Some(600_000))]);
    }

    #[test]
    fn revisions_skip_ahead_and_history_is_gone() {
        let mut tables = old();
        let before = State::load(&tables).unwrap().position();
        let at = LogPosition { index: 1, term: 1 };
        refound(&mut tables, &Refounding { members: &[], at, skip: 1_000, kept: &[] }).unwrap();
        let mut state = State::load(&tables).unwrap();
        assert_eq!(state.revision(Space::User), before.revision + 1_000);
        assert_eq!(state.compacted(Space::User), before.revision + 1_000);
        assert_eq!(all(&tables, Space::User).len(), 2);
        let request = HistoryRequest {
            space: Space::User,
            key: "/a".into(),
            range_end: "".into(),
            from_revision: before.revision,
            events_max: 9,
            bytes_max: 9_000,
            changes_max: 9,
        };
        assert_eq!(history(&tables, &request).unwrap().unwrap_err().compacted, before.revision + 1_000);
        let place = revision_of_index(&tables, before.v2_index).unwrap();
        assert_eq!(place, IndexPlace::Cleared { oldest: before.v2_index + 1_001 });
        let command = Command { stamp: UnixMillis(2), op: Op::put("/c", "1") };
        apply(&mut state, &mut tables, &command, LogPosition { index: 2, term: 2 }).unwrap();
        assert_eq!(all(&tables, Space::User)[2], ("/c".to_owned(), before.revision + 1_001));
        let far = Refounding { members: &[], at, skip: u64::MAX, kept: &[] };
        assert!(refound(&mut tables, &far).is_err());
    }
}
