//! How often v2 writes were carried out and refused, since a node started: every member counts what all of them apply.

use std::ops::AddAssign;

use super::{Write, groups};
use crate::kv::command::{Applied, Op, Reply};
use crate::kv::types::{Event, V2Action};

/// Writes that succeeded and that were refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    pub succeeded: u64,
    pub refused: u64,
}

/// Writes of the v2 API by their kind, and nodes whose time was over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub sets: Done,
    pub creates: Done,
    pub updates: Done,
    pub swaps: Done,
    pub deletes: Done,
    pub compared_deletes: Done,
    pub expired: u64,
}

impl Tally {
    /// Counts a command that was applied.
    pub fn note(&mut self, op: &Op, applied: &Applied, events: &[Event]) {
        match op.bare() {
            Op::V2(request) => {
                let done = match request.write {
                    Write::Set { .. } => &mut self.sets,
                    Write::Create { .. } | Write::CreateInOrder { .. } => &mut self.creates,
                    Write::Update { .. } => &mut self.updates,
                    Write::CompareAndSwap { .. } => &mut self.swaps,
                    Write::Delete { .. } => &mut self.deletes,
                    Write::CompareAndDelete { .. } => &mut self.compared_deletes,
                };
                match &applied.result {
                    Ok(Reply::V2(Ok(_))) => done.succeeded += 1,
                    _ => done.refused += 1,
                }
            }
            Op::LeaseExpire { .. } => {
                let expired = |group: &&[Event]| {
                    group
                        .first()
                        .and_then(|event| event.v2.as_ref())
                        .is_some_and(|note| note.action == V2Action::Expire)
                };
                self.expired += groups(events).filter(expired).count() as u64;
            }
            _ => {}
        }
    }
}

impl AddAssign for Done {
    fn add_assign(&mut self, other: Self) {
        self.succeeded += other.succeeded;
        self.refused += other.refused;
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.sets += other.sets;
        self.creates += other.creates;
        self.updates += other.updates;
        self.swaps += other.swaps;
        self.deletes += other.deletes;
        self.compared_deletes += other.compared_deletes;
        self.expired += other.expired;
    }
}
