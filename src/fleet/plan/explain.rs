//! Why a unit is, or is not, on a machine: every machine judged as if the unit came there anew.

use std::cmp::Reverse;
use std::fmt;
use std::sync::Arc;

use super::{Planner, Reason};
use crate::base::MachineId;
use crate::fleet::Cluster;
use crate::fleet::fence::Absent;
use crate::fleet::ledger::{liking, spread_value};
use crate::fleet::types::DesiredState;

/// What makes a machine that fits better or worse than another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fit {
    /// For each key of `Spread=`, the machine's value, and how many instances of the template share it.
    pub crowd: Vec<(String, Option<String>, u32)>,
    /// What the machine is worth to the unit by its `Prefer=`.
    pub liking: i64,
    /// The machine's units, each counted by its `Weight=`.
    pub load: u64,
}

/// One machine's part of an explanation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub machine: MachineId,
    pub outcome: Result<Fit, Reason>,
}

impl Fit {
    /// Smaller is better.
    pub fn rank(&self) -> (Vec<u32>, Reverse<i64>, u64) {
        (self.crowd.iter().map(|(.., count)| *count).collect(), Reverse(self.liking), self.load)
    }
}

impl fmt::Display for Fit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fits: load {}", self.load)?;
        if self.liking != 0 {
            write!(f, ", preferred by {}", self.liking)?;
        }
        for (key, value, count) in &self.crowd {
            match value {
                Some(value) => write!(f, ", {count} of its kind with {key}={value}")?,
                None => write!(f, ", {count} of its kind without {key}")?,
            }
        }
        Ok(())
    }
}

/// For every machine whether a unit could run there as things stand, and if not, why: what `explain` and `why-not` say.
/// A unit that is on a machine is judged as if it came there anew. `None`: there is no such unit.
pub fn explain(cluster: &Cluster, name: &str) -> Option<Vec<Verdict>> {
    let unit = cluster.units.get(name)?;
    let mut wanted = unit.as_ref().clone();
    wanted.desired = wanted.desired.max(DesiredState::Loaded);
    let mut cluster = cluster.clone();
    cluster.units.insert(name.to_owned(), Arc::new(wanted));
    let mut planner = Planner::new(&cluster, Absent::Unknown);
    planner.keep();
    planner.globals();
    let me = planner.board.find(name)?;
    let machines = 0..planner.board.machines.len() as u32;
    for machine in machines.clone() {
        if planner.board.on[machine as usize].contains(&me) {
            planner.board.remove(me, machine);
        }
    }
    let verdict = |machine| Verdict {
        machine: planner.board.id(machine).clone(),
        outcome: planner.obstacle(me, machine).map_or_else(|| Ok(planner.fit(me, machine)), Err),
    };
    Some(machines.map(verdict).collect())
}

impl Planner<'_> {
    fn fit(&self, unit: u32, machine: u32) -> Fit {
        let (this, place) = (self.board.unit(unit), self.board.machines[machine as usize]);
        let counts = self.board.ledger.crowd(unit, machine);
        let told = |(key, count): (&String, u32)| (key.clone(), spread_value(key, place).map(str::to_owned), count);
        Fit {
            crowd: this.requirements.placement.spread.iter().zip(counts).map(told).collect(),
            liking: liking(this, place),
            load: self.board.load(machine),
        }
    }
}
