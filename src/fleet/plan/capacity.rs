//! How full machines are, and what is left on one that is drained.

use std::collections::BTreeSet;

use super::drain::{Arrival, moving};
use super::{PassedOver, Planner};
use crate::base::MachineId;
use crate::fleet::Cluster;
use crate::fleet::fence::Absent;
use crate::fleet::ledger::kind_of;

/// What the units on a machine take of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capacity {
    pub machine: MachineId,
    /// Globals are counted.
    pub units: usize,
    /// The same, each counted by its `Weight=`.
    pub load: u64,
    pub reserved_memory_bytes: u64,
    pub reserved_cpu_millis: u64,
}

/// What keeps a drain from its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remaining {
    /// Units that are still scheduled on the machine; with the rules that keep each off every other machine, or none where it
    /// only waits for its turn.
    pub left: Vec<(String, Option<PassedOver>)>,
    /// Units that have left it, or another machine while their kind is waited for here, and have not arrived: where they are
    /// going, and how they are doing.
    pub moving: Vec<(String, MachineId, Arrival)>,
    /// Units that the machine has still to stop.
    pub stopping: Vec<String>,
}

/// How full every machine is, once all that is planned now is carried out.
pub fn capacity(cluster: &Cluster) -> Vec<Capacity> {
    let planner = Planner::settled(cluster, Absent::Unknown);
    let of = |machine: u32| {
        let (load, reserved_memory_bytes, reserved_cpu_millis) = planner.board.ledger.taken(machine);
        let units = planner.board.on[machine as usize].len();
        Capacity { machine: planner.board.id(machine).clone(), units, load, reserved_memory_bytes, reserved_cpu_millis }
    };
    (0..planner.board.machines.len() as u32).map(of).collect()
}

/// What a drain of a machine has not done yet.
pub fn remaining(cluster: &Cluster, machine: &MachineId) -> Remaining {
    let mut planner = Planner::settled(cluster, Absent::Unknown);
    let mut remaining = Remaining::default();
    let left = cluster.schedule.iter().filter(|(name, at)| at.machine == *machine && cluster.units.contains_key(*name));
    let left: Vec<&String> = left.map(|(name, _)| name).collect();
    let kinds: BTreeSet<_> = left.iter().map(|name| kind_of(name)).collect();
    let from_here = |name: &str| cluster.schedule.get(name).is_some_and(|at| at.moved_from.as_ref() == Some(machine));
    remaining.moving = moving(cluster);
    remaining.moving.retain(|(name, ..)| from_here(name) || kinds.contains(&kind_of(name)));
    remaining.left = left.into_iter().map(|name| (name.clone(), planner.elsewhere(name))).collect();
    let held = cluster.states.iter().filter(|(_, on)| on.contains_key(machine)).map(|(name, _)| name);
    let drained = cluster.cordons.get(machine).is_some_and(|cordon| cordon.drain.is_some());
    let stays = |name: &str| {
        let global = cluster.units.get(name).is_some_and(|unit| unit.requirements.global);
        (global && !drained) || cluster.schedule.get(name).is_some_and(|at| at.machine == *machine)
    };
    remaining.stopping = held.filter(|name| !stays(name)).cloned().collect();
    remaining
}

impl Planner<'_> {
    /// What keeps a unit off every machine but its own; `None`: nothing, or it is on none.
    fn elsewhere(&mut self, name: &str) -> Option<PassedOver> {
        let unit = self.board.find(name)?;
        let at = self.board.place[unit as usize]?;
        let (class, candidates) = self.candidates_of(unit);
        let taste = self.taste_of(unit, class, &candidates);
        self.board.remove(unit, at);
        let nowhere = self.choose(unit, &candidates, taste.as_ref()).is_none_or(|to| to == at);
        let reasons = nowhere.then(|| self.reasons(unit));
        self.board.add(unit, at);
        reasons
    }
}
