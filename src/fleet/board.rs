//! The planner's board: which units are on which machine, with what is needed to say quickly what fits where.
//!
//! Conflicts are looked up, not searched: patterns that are spelled alike are one, each knows the units that carry it and
//! the units that it matches, and the board counts both per machine.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};

use super::cluster::Cluster;
use super::eviction::{Evictions, matching};
use super::executor::CONTAINERS;
use super::ledger::Ledger;
use super::ports::Ports;
use super::reason::Reason;
use super::types::{Machine, Unit};
use crate::base::MachineId;
use crate::unit::container::is_container;
use crate::unit::requirements::glob_matches;

/// Units of one pattern on one machine.
#[derive(Clone, Copy, Default)]
struct Count {
    /// That carry it.
    holders: u32,
    /// That it matches.
    matched: u32,
}

/// Machines by their ids, active units by their names; both are spoken of by index.
pub(super) struct Board<'a> {
    pub machines: Vec<&'a Machine>,
    pub units: Vec<&'a Unit>,
    pub evictions: Evictions,
    /// The machine of each unit that is on one; globals are not in it.
    pub place: Vec<Option<u32>>,
    /// All units on each machine, globals too.
    pub on: Vec<BTreeSet<u32>>,
    pub ledger: Ledger<'a>,
    ports: Ports<'a>,
    /// Machines by the weight of their units, then by id.
    by_load: BTreeSet<(u64, u32)>,
    by_name: HashMap<&'a str, u32>,
    by_id: HashMap<&'a str, u32>,
    /// The patterns that a unit carries.
    carries: Vec<Vec<u32>>,
    /// The patterns, carried by anyone, that match a unit's name.
    matched_by: Vec<Vec<u32>>,
    counts: HashMap<(u32, u32), Count>,
    globals: Vec<u32>,
}

impl<'a> Board<'a> {
    /// An empty board for all machines and active units of a cluster.
    pub fn of(cluster: &'a Cluster) -> Self {
        let units = cluster.units.values().map(AsRef::as_ref);
        Self::new(cluster.machines.values().collect(), units.filter(|u| u.is_active()).collect())
    }

    /// An empty board; machines sorted by id, units by name.
    pub fn new(machines: Vec<&'a Machine>, units: Vec<&'a Unit>) -> Self {
        let by_name: HashMap<&str, u32> = names(&units);
        let mut ids: HashMap<&str, u32> = HashMap::new();
        let mut carries = vec![Vec::new(); units.len()];
        let mut matched_by = vec![Vec::new(); units.len()];
        for (me, unit) in units.iter().enumerate() {
            for pattern in &unit.requirements.conflicts {
                let next = ids.len() as u32;
                let id = *ids.entry(pattern).or_insert_with(|| {
                    for (other, _) in matching(&units, pattern) {
                        matched_by[other as usize].push(next);
                    }
                    next
                });
                if !carries[me].contains(&id) {
                    carries[me].push(id);
                }
            }
        }
        let is_global = |at: &u32| units[*at as usize].requirements.global;
        let mut globals: Vec<u32> = (0..units.len() as u32).filter(is_global).collect();
        globals.sort_by_key(|at| Reverse(units[*at as usize].requirements.placement.priority));
        Self {
            evictions: Evictions::of(&units, &by_name),
            place: vec![None; units.len()],
            on: vec![BTreeSet::new(); machines.len()],
            by_load: (0..machines.len() as u32).map(|m| (0, m)).collect(),
            by_id: machines.iter().map(|m| m.id.0.as_str()).zip(0..).collect(),
            globals,
            ledger: Ledger::new(&machines, &units),
            ports: Ports::new(&units),
            machines,
            units,
            by_name,
            carries,
            matched_by,
            counts: HashMap::new(),
        }
    }

    pub fn unit(&self, unit: u32) -> &'a Unit {
        self.units[unit as usize]
    }

    pub fn find(&self, name: &str) -> Option<u32> {
        self.by_name.get(name).copied()
    }

    pub fn find_machine(&self, id: &MachineId) -> Option<u32> {
        self.by_id.get(id.0.as_str()).copied()
    }

    pub fn id(&self, machine: u32) -> &'a MachineId {
        &self.machines[machine as usize].id
    }

    /// Machines from the least to the most loaded.
    pub fn lightest(&self) -> impl Iterator<Item = u32> + '_ {
        self.by_load.iter().map(|(_, machine)| *machine)
    }

    /// What the units on a machine weigh together; without `Weight=` their number.
    pub fn load(&self, machine: u32) -> u64 {
        self.ledger.weight(machine)
    }

    /// Puts a unit on a machine.
    pub fn add(&mut self, unit: u32, machine: u32) {
        self.count(unit, machine, true);
        if !self.unit(unit).requirements.global {
            self.place[unit as usize] = Some(machine);
        }
    }

    /// Takes a unit off a machine.
    pub fn remove(&mut self, unit: u32, machine: u32) {
        self.count(unit, machine, false);
        self.place[unit as usize] = None;
    }

    fn count(&mut self, unit: u32, machine: u32, arrives: bool) {
        let on = &mut self.on[machine as usize];
        if arrives {
            on.insert(unit)
        } else {
            on.remove(&unit)
        };
        self.by_load.remove(&(self.ledger.weight(machine), machine));
        self.ledger.count(unit, machine, arrives);
        self.by_load.insert((self.ledger.weight(machine), machine));
        self.ports.count(unit, machine, arrives);
        let step = |count: &mut u32| if arrives { *count += 1 } else { *count -= 1 };
        for pattern in &self.carries[unit as usize] {
            step(&mut self.counts.entry((*pattern, machine)).or_default().holders);
        }
        for pattern in &self.matched_by[unit as usize] {
            step(&mut self.counts.entry((*pattern, machine)).or_default().matched);
        }
    }

    /// Whether a machine, where the unit itself is not, can take it beside those that are there: no conflict either way, no
    /// port that both publish, none that replaces it, and room.
    pub fn admits(&self, unit: u32, machine: u32) -> bool {
        let count = |pattern: &u32| self.counts.get(&(*pattern, machine)).copied().unwrap_or_default();
        let conflict = self.carries[unit as usize].iter().any(|p| count(p).matched > 0)
            || self.matched_by[unit as usize].iter().any(|p| count(p).holders > 0);
        let replaced = || {
            let replacers = &self.evictions.replacers[unit as usize];
            replacers.iter().any(|r| self.place[*r as usize] == Some(machine))
        };
        let stays = |other: u32| !self.evictions.victims[unit as usize].contains(&other);
        let port_taken = || self.ports.rivals(unit, machine).any(stays);
        !conflict
            && !port_taken()
            && !replaced()
            && self.ledger.has_room(unit, machine, self.machines[machine as usize])
    }

    /// Why a machine cannot take a unit beside those that are there; the slow way that names them.
    pub fn objection(&self, unit: u32, machine: u32) -> Option<Reason> {
        if self.admits(unit, machine) {
            return None;
        }
        let me = self.unit(unit);
        let others = self.on[machine as usize].iter().filter(|other| **other != unit);
        for other in others {
            let them = self.unit(*other);
            let matching = |patterns: &[String], name: &str| patterns.iter().find(|p| glob_matches(p, name)).cloned();
            let other_name = || them.name.clone();
            if self.evictions.replacers[unit as usize].contains(other) {
                return Some(Reason::Replaced { by: other_name() });
            }
            if let Some(pattern) = matching(&me.requirements.conflicts, &them.name) {
                return Some(Reason::Conflicts { other: other_name(), pattern });
            }
            if let Some(pattern) = matching(&them.requirements.conflicts, &me.name) {
                return Some(Reason::ConflictOf { other: other_name(), pattern });
            }
            if !self.evictions.victims[unit as usize].contains(other)
                && let Some(port) = self.ports.clash(unit, *other)
            {
                return Some(Reason::PortTaken { other: other_name(), port: port.clone() });
            }
        }
        self.ledger.objection(unit, machine, self.machines[machine as usize])
    }

    /// The first peer that is not on the machine.
    pub fn missing_peer(&self, unit: u32, machine: u32) -> Option<&'a str> {
        let peers = &self.unit(unit).requirements.peers;
        let here = |peer: &&String| {
            let found = self.by_name.get(peer.as_str());
            found.is_some_and(|p| self.on[machine as usize].contains(p))
        };
        peers.iter().find(|p| !here(p)).map(String::as_str)
    }

    /// Which units stand for the same question "where does it fit?", as long as units only come.
    pub fn likeness(&self, unit: u32) -> Vec<u64> {
        let at = unit as usize;
        let Evictions { replacers, victims, .. } = &self.evictions;
        let parts = [&self.carries[at], &self.matched_by[at], &replacers[at], &victims[at]];
        let mut key = self.ledger.likeness(unit).to_vec();
        key.push(self.ports.likeness(unit));
        for part in parts {
            key.push(part.len() as u64);
            key.extend(part.iter().map(|index| u64::from(*index)));
        }
        key
    }

    /// The units on a machine that a unit conflicts with, either way, or shares a port with.
    pub fn conflicting(&self, unit: u32, machine: u32) -> impl Iterator<Item = u32> + '_ {
        let mine = &self.carries[unit as usize];
        let matching_me = &self.matched_by[unit as usize];
        let conflicts = move |other: &u32| {
            let carried = &self.carries[*other as usize];
            *other != unit
                && (mine.iter().any(|p| self.matched_by[*other as usize].contains(p))
                    || matching_me.iter().any(|p| carried.contains(p))
                    || self.ports.clash(unit, *other).is_some())
        };
        self.on[machine as usize].iter().copied().filter(conflicts)
    }

    /// Puts global units on a machine: in the order of their priorities and names those that fit it and its neighbours. Units
    /// that are scheduled there go before. None on a machine that is drained.
    pub fn place_globals(&mut self, machine: u32) {
        if self.machines[machine as usize].cordon.is_some_and(|cordon| cordon.drain.is_some()) {
            return;
        }
        for at in 0..self.globals.len() {
            let unit = self.globals[at];
            let fits = mismatch(self.unit(unit), self.machines[machine as usize]).is_none();
            if fits && self.admits(unit, machine) {
                self.add(unit, machine);
            }
        }
    }

    /// As [`Board::place_globals`], after a unit has left the machine.
    pub fn replace_globals(&mut self, machine: u32) {
        for at in 0..self.globals.len() {
            let unit = self.globals[at];
            if self.on[machine as usize].contains(&unit) {
                self.remove(unit, machine);
            }
        }
        self.place_globals(machine);
    }
}

/// What in the machine itself, whoever else is there, does not meet a unit's requirements.
pub(super) fn mismatch(unit: &Unit, machine: &Machine) -> Option<Reason> {
    let requirements = &unit.requirements;
    // A machine that says nothing of its executors is one of an older node, or one that a test made.
    if is_container(&unit.name) && !machine.executor.is_empty() && !machine.executor.contains(CONTAINERS) {
        return Some(Reason::NoContainers { executor: machine.executor.clone() });
    }
    if let Some(required) = &requirements.machine_id
        && !is_id(required, &machine.id)
    {
        return Some(Reason::OtherMachine { required: required.clone() });
    }
    for (key, wanted) in &requirements.metadata {
        let found = machine.metadata.get(key);
        if !found.is_some_and(|value| wanted.contains(value)) {
            return Some(Reason::Metadata {
                key: key.clone(),
                wanted: wanted.iter().cloned().collect(),
                found: found.cloned(),
            });
        }
    }
    for condition in &requirements.placement.conditions {
        if !condition.is_met(&machine.metadata) {
            let found = machine.metadata.get(&condition.key).cloned();
            return Some(Reason::Condition { condition: condition.clone(), found });
        }
    }
    None
}

/// Whether a `MachineID=` means this machine: by its full id or its first eight characters.
fn is_id(required: &str, id: &MachineId) -> bool {
    required == id.0 || (required.len() == 8 && id.0.get(..8) == Some(required))
}

fn names<'a>(units: &[&'a Unit]) -> HashMap<&'a str, u32> {
    units.iter().map(|u| u.name.as_str()).zip(0..).collect()
}
