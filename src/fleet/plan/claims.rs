//! Units that are claimed by a machine (`Exclusive=true`): what the planner may do about each, and what a decision minds.

use std::collections::BTreeSet;

use super::{Planner, Reason};
use crate::fleet::Cluster;
use crate::fleet::fence::{Absent, Standing, standing};
use crate::fleet::layout::Key;
use crate::fleet::reason::Precaution;
use crate::fleet::types::{Scheduled, Unit};

/// Scheduled units about which claims have something to say.
pub(super) struct Claims<'a> {
    cluster: &'a Cluster,
    absent: Absent<'a>,
    /// They may still run on a machine that is gone: nothing is decided about them.
    held_back: BTreeSet<u32>,
    /// They were asked to leave and have not left: nothing is decided about them.
    leaving: BTreeSet<u32>,
    /// Their entry is to be written anew, wherever they come to.
    anew: BTreeSet<u32>,
}

/// What may be done about a unit that is scheduled.
pub(super) enum May {
    Keep,
    /// It leaves its machine for this reason.
    Place(Reason),
    Nothing,
}

impl<'a> Claims<'a> {
    pub fn new(cluster: &'a Cluster, absent: Absent<'a>) -> Self {
        let none = BTreeSet::new;
        Self { cluster, absent, held_back: none(), leaving: none(), anew: none() }
    }

    /// What may be done about a unit, and when that changes by itself: in so many milliseconds.
    pub fn judge(&mut self, unit: u32, at: &Scheduled) -> (May, Option<u64>) {
        match standing(self.cluster, at, self.absent) {
            Standing::Free if at.leaving => {
                self.anew.insert(unit);
                (May::Place(Reason::GivenBack), None)
            }
            Standing::Held if at.leaving => {
                self.leaving.insert(unit);
                (May::Nothing, None)
            }
            Standing::Free | Standing::Held => (May::Keep, None),
            Standing::Gone { left_ms: Some(0) } => {
                self.anew.insert(unit);
                (May::Place(Reason::MachineGone), None)
            }
            Standing::Gone { left_ms } => {
                self.held_back.insert(unit);
                (May::Nothing, left_ms)
            }
        }
    }

    /// Whether nothing is to be decided about a unit.
    pub fn bars(&self, unit: u32) -> bool {
        self.held_back.contains(&unit) || self.leaving.contains(&unit)
    }

    /// Whether a unit's entry is written though it stays on its machine.
    pub fn rewrites(&self, unit: u32) -> bool {
        self.anew.contains(&unit)
    }

    /// The units that may still run on a machine that is gone.
    pub fn held_back(&self) -> impl Iterator<Item = u32> + '_ {
        self.held_back.iter().copied()
    }

    /// What a decision that takes a unit off its machine minds; `Err`: it must not be taken, but perhaps in so many milliseconds.
    pub fn precaution(
        &self,
        name: &str,
        unit: Option<&Unit>,
        at: &Scheduled,
    ) -> Result<Option<Precaution>, Option<u64>> {
        let standing = standing(self.cluster, at, self.absent);
        let exclusive = unit.is_some_and(|unit| unit.requirements.placement.exclusive);
        let of_machine = || self.cluster.mod_revision(&Key::Machine(at.machine.clone()));
        let (asks_first, machine_revision) = match standing {
            Standing::Free if !exclusive && !at.leaving => return Ok(None),
            Standing::Free => (false, None),
            Standing::Held if at.leaving => return Err(None),
            Standing::Held => (true, None),
            Standing::Gone { left_ms: Some(0) } => (false, Some(of_machine())),
            Standing::Gone { left_ms } => return Err(left_ms),
        };
        let revision = self.cluster.mod_revision(&Key::Schedule(name.to_owned()));
        Ok(Some(Precaution { entry: at.clone(), revision, machine_revision, asks_first }))
    }
}

impl Planner<'_> {
    /// The machine that a unit which was asked to leave has left.
    pub(super) fn was_asked_off(&self, unit: u32) -> Option<u32> {
        let at = self.scheduled[unit as usize].filter(|at| at.leaving)?;
        self.board.find_machine(&at.machine)
    }

    /// Why a unit that may still run on a machine that is gone comes to no other.
    pub(super) fn may_still_run(&self, unit: u32) -> Option<Reason> {
        let at = self.scheduled[unit as usize].filter(|_| self.claims.held_back.contains(&unit))?;
        Some(Reason::MayStillRun { machine: at.machine.clone() })
    }
}
