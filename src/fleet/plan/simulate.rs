//! What would move where and why, if machines were lost, drained or added: the planner on a cluster made up for it.
//! Nothing is changed.

use std::collections::{BTreeMap, BTreeSet};

use super::{Plan, Planner, Waiting, plan};
use crate::base::MachineId;
use crate::fleet::fence::Absent;
use crate::fleet::reason::Decision;
use crate::fleet::types::{Cordon, Drain, Machine, Scheduled};
use crate::fleet::{Cluster, Key};

/// What happens to the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scenario {
    /// Machines that are lost.
    pub kill: Vec<MachineId>,
    /// Machines that are drained to the end.
    pub drain: Vec<MachineId>,
    /// Machines that come.
    pub add: Vec<Machine>,
    /// Units are rebalanced to the end when all else is done.
    pub rebalance: bool,
}

/// What would come of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forecast {
    /// Each unit that would end up elsewhere, by name, with the first reason to leave where it is.
    pub moves: Vec<Decision>,
    /// Units that would fit nowhere, by name.
    pub waiting: Vec<Waiting>,
    /// Of them those that do not wait today.
    pub newly_waiting: BTreeSet<String>,
}

/// Plans the scenario to its end.
pub fn simulate(cluster: &Cluster, scenario: &Scenario) -> Forecast {
    let mut future = cluster.clone();
    for id in &scenario.kill {
        future.machines.remove(id);
    }
    for id in &scenario.drain {
        if let Some(machine) = future.machines.get_mut(id) {
            machine.cordon = Some(Cordon { drain: Some(Drain { max_parallel: u32::MAX }) });
        }
    }
    for machine in &scenario.add {
        future.machines.insert(machine.id.clone(), machine.clone());
    }
    let mut reasons = BTreeMap::new();
    let mut last = carry_out(&mut future, plan, &mut reasons);
    if scenario.rebalance {
        last = carry_out(
            &mut future,
            |cluster| {
                let mut planner = Planner::settled(cluster, Absent::LongAgo);
                planner.improve(|_, _| true);
                planner.into_plan(cluster)
            },
            &mut reasons,
        );
    }
    let place = |cluster: &Cluster, unit: &str| cluster.schedule.get(unit).map(|at| at.machine.clone());
    let moved = reasons.into_iter().filter_map(|(unit, reason)| {
        let (from, to) = (place(cluster, &unit), place(&future, &unit));
        let unit_revision = cluster.mod_revision(&Key::Unit(unit.clone()));
        (from != to).then_some(Decision { unit, from, to, reason, unit_revision, precaution: None })
    });
    let moves = moved.collect();
    let today: BTreeSet<String> = plan(cluster).waiting.into_iter().map(|waiting| waiting.unit).collect();
    let units = last.waiting.iter().map(|waiting| waiting.unit.clone());
    Forecast { moves, newly_waiting: units.filter(|unit| !today.contains(unit)).collect(), waiting: last.waiting }
}

/// Plans and carries out, as if all that moves arrived at once, until nothing is decided any more.
fn carry_out(
    cluster: &mut Cluster,
    plan: impl Fn(&Cluster) -> Plan,
    reasons: &mut BTreeMap<String, super::Reason>,
) -> Plan {
    // One instance of each template leaves a drained machine with each plan: there are not more plans than units.
    for _ in 0..cluster.units.len() {
        let next = plan(cluster);
        if next.decisions.is_empty() {
            return next;
        }
        for decision in next.decisions {
            match decision.to {
                Some(machine) => {
                    let scheduled = Scheduled { machine, generation: 0, ..Default::default() };
                    cluster.schedule.insert(decision.unit.clone(), scheduled);
                }
                None => drop(cluster.schedule.remove(&decision.unit)),
            }
            reasons.entry(decision.unit).or_insert(decision.reason);
        }
        // Moves of today have arrived, too.
        cluster.schedule.values_mut().for_each(|at| at.moved_from = None);
    }
    plan(cluster)
}
