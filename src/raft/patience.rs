//! Machines that are expected back when a cluster begins anew with the state of one that was: they stay in the list of
//! machines for a time, so that their units, which run on, are not moved before their nodes have joined the new cluster.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::base::{LeaseId, MemberId};
use crate::fleet::layout::{self, Key};
use crate::fleet::types::Machine;
use crate::kv::{KeyValue, Member, RangeRequest, Space, Tables, TablesError, prefix_end, range};

/// How long machines are expected back, and which are not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patience {
    /// Counted from when the new cluster has a leader.
    pub grace_ms: i64,
    /// Gone for good: their ids, or the names of their members.
    pub gone: Vec<String>,
    /// The members of the cluster that was, by which machines have names.
    pub members: Vec<Member>,
}

/// A machine in the list of machines.
struct Present {
    machine: Machine,
    /// What it is there by.
    lease: LeaseId,
    /// Its member's, or its id.
    name: String,
}

impl Patience {
    /// The leases of the machines that are expected back, and how long they have.
    ///
    /// # Errors
    /// Damaged tables.
    pub fn leases<T: Tables>(&self, tables: &T) -> Result<Vec<(LeaseId, i64)>, TablesError> {
        let leases: BTreeSet<LeaseId> = self.expected(tables)?.iter().map(|present| present.lease).collect();
        Ok(leases.into_iter().map(|lease| (lease, self.grace_ms)).collect())
    }

    /// The names of the machines that are expected back, in their order, but for the one of the member `own`.
    ///
    /// # Errors
    /// Damaged tables.
    pub fn awaited<T: Tables>(&self, tables: &T, own: MemberId) -> Result<Vec<String>, TablesError> {
        let others = self.expected(tables)?.into_iter().filter(|present| present.machine.member != own);
        let mut names: Vec<String> = others.map(|present| present.name).collect();
        names.sort();
        Ok(names)
    }

    /// The words of `gone` that mean neither a machine nor a member.
    ///
    /// # Errors
    /// Damaged tables.
    pub fn unknown<T: Tables>(&self, tables: &T) -> Result<Vec<&str>, TablesError> {
        let machines = self.present(tables)?;
        let machine = |word: &str| machines.iter().any(|present| present.is(word));
        let member = |word: &str| self.members.iter().any(|member| member.name == word);
        let gone = self.gone.iter().map(String::as_str);
        Ok(gone.filter(|word| !machine(word) && !member(word)).collect())
    }

    fn expected<T: Tables>(&self, tables: &T) -> Result<Vec<Present>, TablesError> {
        let mut machines = self.present(tables)?;
        machines.retain(|present| !self.gone.iter().any(|word| present.is(word)));
        Ok(machines)
    }

    /// The machines in the list. What cannot be read of it is passed over, as by all who follow the list.
    fn present<T: Tables>(&self, tables: &T) -> Result<Vec<Present>, TablesError> {
        let prefix = format!("{}machines/", layout::PREFIX);
        let (key, range_end) = (Bytes::from(prefix.clone()), prefix_end(prefix.as_bytes()));
        let request = RangeRequest { space: Space::System, key, range_end, ..RangeRequest::default() };
        let (_, reply) = range(tables, &request)?.map_err(|error| TablesError(error.to_string()))?;
        let read = |kv: KeyValue| {
            let key = Key::parse(&kv.key)?;
            let machine: Machine = layout::decode(&key, &kv.value).ok()?;
            let Key::Machine(id) = key else { return None };
            let member = self.members.iter().find(|member| member.id == machine.member);
            let name = member.map(|member| member.name.clone()).filter(|name| !name.is_empty());
            let name = name.unwrap_or_else(|| id.0.clone());
            Some(Present { machine: Machine { id, ..machine }, lease: kv.lease, name })
        };
        Ok(reply.kvs.into_iter().filter_map(read).filter(|present| present.lease != LeaseId::NONE).collect())
    }
}

impl Present {
    fn is(&self, word: &str) -> bool {
        self.name == word || self.machine.id.0 == word
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::base::{MachineId, UnixMillis};
    use crate::kv::mem::MemTables;
    use crate::kv::{Command, LogPosition, Op, State, TxnRequest, apply, system_lease};

    /// Machines a and b of members 1 and 2, c of a member that nobody knows, and another key of the cluster's own on a lease.
    fn tables() -> MemTables {
        let mut tables = MemTables::default();
        let mut state = State::load(&tables).unwrap();
        let mut ops = Vec::new();
        for (number, name) in [(1, "a"), (2, "b"), (3, "c")] {
            let lease = system_lease(number);
            let machine = Machine { member: MemberId(number), ..Machine::default() };
            let put = Key::Machine(MachineId(name.to_owned())).put(layout::encode(&machine), lease);
            ops.push(Op::LeaseGrant { id: lease, ttl_ms: 3_000 });
            ops.push(Op::Txn(TxnRequest { success: vec![put], ..TxnRequest::default() }));
        }
        ops.push(Op::LeaseGrant { id: system_lease(4), ttl_ms: 3_000 });
        for (index, op) in ops.into_iter().enumerate() {
            let at = LogPosition { index: index as u64 + 1, term: 1 };
            let command = Command { stamp: UnixMillis(1), op };
            apply(&mut state, &mut tables, &command, at).unwrap().0.result.unwrap();
        }
        tables
    }

    #[test]
    fn those_who_are_not_gone_for_good_are_expected() {
        let member = |id, name: &str| Member { id: MemberId(id), name: name.to_owned(), ..Member::default() };
        let members = vec![member(1, "n1"), member(2, "n2"), member(9, "absent")];
        let of = |gone: &[&str]| {
            let gone = gone.iter().map(|word| (*word).to_owned()).collect();
            Patience { grace_ms: 60_000, gone, members: members.clone() }
        };
        let tables = tables();
        let cases: [(&[&str], &[u64], &[&str]); 4] = [
            (&[], &[1, 2, 3], &["c", "n2"]),
            (&["n2"], &[1, 3], &["c"]),
            (&["b", "absent"], &[1, 3], &["c"]),
            (&["n1", "c"], &[2], &["n2"]),
        ];
        for (gone, leases, awaited) in cases {
            let patience = of(gone);
            let expected: Vec<_> = leases.iter().map(|number| (system_lease(*number), 60_000)).collect();
            assert_eq!(patience.leases(&tables).unwrap(), expected, "{gone:?}");
            assert_eq!(patience.awaited(&tables, MemberId(1)).unwrap(), awaited, "{gone:?}");
            assert!(patience.unknown(&tables).unwrap().is_empty(), "{gone:?}");
        }
        assert_eq!(of(&["n2", "n3"]).unknown(&tables).unwrap(), ["n3"]);
    }
}
