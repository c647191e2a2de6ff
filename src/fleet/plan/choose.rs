//! Which machine a unit comes to: of those that can take it, the one that is best by what the unit says of itself, then the
//! least loaded.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::{Planner, mismatch};
use crate::fleet::ledger::{Crowd, liking};
use crate::fleet::types::{Machine, Unit};
use crate::unit::condition::Condition;
use crate::unit::container::is_container;

/// Machines that meet what a unit asks of the machine itself.
pub(super) struct Candidates {
    pub list: Vec<u32>,
    pub is_one: Vec<bool>,
}

/// What a unit asks of the machine itself: whether it is a container, `MachineID` and `MachineMetadata`.
pub(super) type Asked<'a> = (bool, Option<&'a str>, &'a BTreeMap<String, BTreeSet<String>>, &'a [Condition]);

/// How much a unit likes each machine, the most that it likes any candidate, and the candidates that it likes most.
pub(super) struct Likings {
    pub of: Vec<i64>,
    pub most: i64,
    pub favourites: Vec<u32>,
}

/// What makes one fitting machine better than another for a unit, besides its load.
pub(super) struct Taste {
    /// Of each key of `Spread=` the values that candidates have.
    pub values: Vec<Rc<[u32]>>,
    pub likings: Rc<Likings>,
}

impl<'a> Planner<'a> {
    /// Whether a machine can take a unit that is not on it.
    pub(super) fn fits(&self, unit: u32, machine: u32) -> bool {
        self.left != Some(machine)
            && self.board.machines[machine as usize].cordon.is_none()
            && self.board.admits(unit, machine)
            && self.board.missing_peer(unit, machine).is_none()
    }

    /// The best machine that can take the unit: by its taste, then the least loaded, then the smallest id.
    pub(super) fn choose(&self, unit: u32, candidates: &Candidates, taste: Option<&Taste>) -> Option<u32> {
        let fits = |m: &u32| self.fits(unit, *m);
        // A peer that is on one machine, or on none, leaves no choice.
        for peer in &self.board.unit(unit).requirements.peers {
            let peer = self.board.find(peer)?;
            if !self.board.unit(peer).requirements.global {
                let machine = self.board.place[peer as usize]?;
                return Some(machine).filter(|m| candidates.is_one[*m as usize] && fits(m));
            }
        }
        let mut by_load = self.board.lightest().filter(|m| candidates.is_one[*m as usize]);
        let Some(taste) = taste else {
            let few = candidates.list.len() * 8 < self.board.machines.len();
            return if few { self.lightest_of(&candidates.list, fits) } else { by_load.find(fits) };
        };
        if taste.values.is_empty()
            && let Some(machine) = self.lightest_of(&taste.likings.favourites, fits)
        {
            return Some(machine);
        }
        // Nothing can be better than this; else all are looked at.
        let ideal = (self.board.ledger.least_crowd(unit, &taste.values), Reverse(taste.likings.most));
        let mut best: Option<((Crowd, Reverse<i64>), u32)> = None;
        for machine in by_load {
            let rank = (self.board.ledger.crowd(unit, machine), Reverse(taste.likings.of[machine as usize]));
            if best.as_ref().is_none_or(|(known, _)| rank < *known) && fits(&machine) {
                if rank == ideal {
                    return Some(machine);
                }
                best = Some((rank, machine));
            }
        }
        best.map(|(_, machine)| machine)
    }

    /// The least loaded of some machines, in the order of their ids, that fits.
    fn lightest_of(&self, machines: &[u32], fits: impl Fn(&u32) -> bool) -> Option<u32> {
        let mut best: Option<(u64, u32)> = None;
        for machine in machines {
            let load = self.board.load(*machine);
            if best.is_none_or(|(lightest, _)| load < lightest) && fits(machine) {
                best = Some((load, *machine));
            }
        }
        best.map(|(_, machine)| machine)
    }

    /// What a unit has to choose by; `None` where only load counts.
    pub(super) fn taste_of(&mut self, unit: u32, class: u32, candidates: &Candidates) -> Option<Taste> {
        let ledger = &self.board.ledger;
        if !ledger.is_choosy(unit) {
            return None;
        }
        let known = &mut self.values;
        let values = ledger
            .keys(unit)
            .map(|key| known.entry((class, key)).or_insert_with(|| ledger.values(key, &candidates.list)).clone());
        let values = values.collect();
        let this: &'a Unit = self.board.unit(unit);
        let machines = &self.board.machines;
        let prefer = this.requirements.placement.prefer.as_slice();
        let likings = self.likings.entry((class, prefer)).or_insert_with(|| {
            let of: Vec<i64> = machines.iter().map(|machine| liking(this, machine)).collect();
            let most = candidates.list.iter().map(|m| of[*m as usize]).max().unwrap_or(0);
            let favourites = candidates.list.iter().copied().filter(|m| of[*m as usize] == most).collect();
            Rc::new(Likings { of, most, favourites })
        });
        Some(Taste { values, likings: likings.clone() })
    }

    /// Machines that meet the unit's own demands, found once for all units that demand the same.
    pub(super) fn candidates_of(&mut self, unit: u32) -> (u32, Rc<Candidates>) {
        let this: &'a Unit = self.board.unit(unit);
        let requirements = &this.requirements;
        let conditions = requirements.placement.conditions.as_slice();
        let container = is_container(&this.name);
        let asked = (container, requirements.machine_id.as_deref(), &requirements.metadata, conditions);
        let class = self.candidates.len() as u32;
        let machines = &self.board.machines;
        let found = self.candidates.entry(asked).or_insert_with(|| {
            let fits = |m: &&'a Machine| mismatch(this, m).is_none();
            let is_one: Vec<bool> = machines.iter().map(fits).collect();
            let list = (0..machines.len() as u32).filter(|m| is_one[*m as usize]).collect();
            (class, Rc::new(Candidates { list, is_one }))
        });
        found.clone()
    }
}
