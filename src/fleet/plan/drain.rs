//! Units leave machines that are drained: a few at a time, of each template one after the other, and only for a place that
//! takes them. What fits nowhere else stays where it is and runs.

use std::collections::BTreeSet;

use super::{Planner, Reason};
use crate::base::MachineId;
use crate::fleet::Cluster;
use crate::fleet::ledger::kind_of;
use crate::fleet::types::{DesiredState, Scheduled, Unit};

/// How a unit that was moved has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// It is as it should be.
    Settled,
    /// It is being loaded or started there.
    OnItsWay,
    /// It has failed there.
    Failed,
}

/// How a unit is doing where it was moved to; `None` for one that was not moved.
fn arrival(cluster: &Cluster, unit: &Unit, scheduled: &Scheduled) -> Option<Arrival> {
    scheduled.moved_from.as_ref()?;
    if scheduled.leaving {
        return Some(Arrival::OnItsWay);
    }
    let state = cluster.states.get(&unit.name).and_then(|on| on.get(&scheduled.machine));
    Some(match state {
        None => Arrival::OnItsWay,
        Some(_) if unit.desired != DesiredState::Launched => Arrival::Settled,
        Some(state) => match state.state.active.as_str() {
            "failed" => Arrival::Failed,
            _ if state.launched != unit.launch => Arrival::OnItsWay,
            "active" | "reloading" | "refreshing" => Arrival::Settled,
            // One that has done its work.
            "inactive" if unit.text.last("Service", "Type").as_deref() == Some("oneshot") => Arrival::Settled,
            _ => Arrival::OnItsWay,
        },
    })
}

/// The units that were moved and have not arrived, or have failed: where each is going.
pub fn moving(cluster: &Cluster) -> Vec<(String, MachineId, Arrival)> {
    let scheduled = cluster.schedule.iter().filter_map(|(name, at)| Some((name, at, cluster.units.get(name)?)));
    let arrivals = scheduled.filter_map(|(name, at, unit)| Some((name, at, arrival(cluster, unit, at)?)));
    let under_way = arrivals.filter(|(.., arrival)| *arrival != Arrival::Settled);
    under_way.map(|(name, at, arrival)| (name.clone(), at.machine.clone(), arrival)).collect()
}

/// Moves that are under way: how many, and of which templates the next instance has to wait.
#[derive(Default)]
pub struct Moving<'a> {
    /// Units on their way from each machine.
    from: Vec<&'a MachineId>,
    kinds: BTreeSet<(&'a str, &'a str)>,
}

impl<'a> Moving<'a> {
    /// What is on its way in a cluster. A unit that failed where it went to is no longer, but holds its template back.
    pub fn of(cluster: &'a Cluster) -> Self {
        let mut moving = Self::default();
        for (name, scheduled) in &cluster.schedule {
            let (Some(unit), Some(from)) = (cluster.units.get(name), &scheduled.moved_from) else { continue };
            match arrival(cluster, unit, scheduled) {
                None | Some(Arrival::Settled) => {}
                Some(Arrival::Failed) => {
                    moving.kinds.insert(kind_of(name));
                }
                Some(Arrival::OnItsWay) => moving.start(from, name),
            }
        }
        moving
    }

    /// Whether one more unit may go.
    pub fn allows(&self, from: &MachineId, unit: &str, max_parallel: u32) -> bool {
        self.count(from) < max_parallel as usize && !self.kinds.contains(&kind_of(unit))
    }

    /// How many units are on their way from a machine.
    pub fn count(&self, from: &MachineId) -> usize {
        self.from.iter().filter(|id| **id == from).count()
    }

    /// How many units are on their way from anywhere.
    pub fn total(&self) -> usize {
        self.from.len()
    }

    /// A unit goes.
    pub fn start(&mut self, from: &'a MachineId, unit: &'a str) {
        self.from.push(from);
        self.kinds.insert(kind_of(unit));
    }
}

impl Planner<'_> {
    /// Takes units off machines that are drained, as many as may go now.
    pub(super) fn drain(&mut self, cluster: &Cluster) {
        let drained = |m: &u32| self.board.machines[*m as usize].cordon.and_then(|cordon| cordon.drain);
        let machines: Vec<_> = (0..self.board.machines.len() as u32).filter_map(|m| Some((m, drained(&m)?))).collect();
        if machines.is_empty() {
            return;
        }
        let mut moving = Moving::of(cluster);
        for (machine, drain) in machines {
            let id = self.board.id(machine);
            let units: Vec<u32> = self.board.on[machine as usize].iter().copied().collect();
            for unit in units {
                let this = self.board.unit(unit);
                let stays = this.requirements.global || self.board.place[unit as usize] != Some(machine);
                if !stays && moving.allows(id, &this.name, drain.max_parallel) && self.relocate(unit, Reason::Drained) {
                    moving.start(id, &this.name);
                }
            }
        }
        self.place_all();
    }

    /// Moves a unit to the best other machine that can take it as things are, and what follows it. Says whether there is one.
    pub(super) fn relocate(&mut self, unit: u32, reason: Reason) -> bool {
        let Some(from) = self.board.place[unit as usize] else { return false };
        let (class, candidates) = self.candidates_of(unit);
        let taste = self.taste_of(unit, class, &candidates);
        self.board.remove(unit, from);
        self.left = Some(from);
        let to = self.choose(unit, &candidates, taste.as_ref());
        self.left = None;
        self.board.add(unit, to.unwrap_or(from));
        if to.is_none() {
            return false;
        }
        self.lost.entry(unit).or_insert(reason);
        self.board.replace_globals(from);
        self.followers();
        true
    }
}
