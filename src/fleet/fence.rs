//! `Exclusive=true`: a unit that never runs on two machines at once, not even while one of them is cut off.
//!
//! Who may run such a unit is told by its entry in the schedule. The engine names a machine; the machine writes its claim
//! into the entry before it starts the unit, and anew whenever it has another lease. From then on the engine does not take the
//! unit away: it marks the entry as leaving, and the machine gives its claim back once nothing of the unit is left there. A
//! machine whose lease has run out, by its own clock and counted from when it last asked for more, stops the unit by
//! itself within [`FENCE_STOP_MS`]. The claim of a machine that is gone is over after that time and a margin, counted from when the engine
//! saw that it is gone. Whatever an engine writes holds only while the entry is as it saw it, and the machine as absent, so that
//! one that was held up takes nothing from a machine that is back.

use std::collections::{BTreeMap, BTreeSet};

use super::cluster::Cluster;
use super::diff::{Task, TaskKind, TaskReason};
use super::layout::{Key, encode};
use super::memory::{Launched, Memory};
use super::types::{Claim, DesiredState, Machine, Scheduled};
use super::wanted::Wanted;
use crate::base::limits::{FENCE_LOOK_MS, FENCE_MARGIN_MS, FENCE_NEARLY_MS, FENCE_STOP_MS};
use crate::base::{BootMillis, LeaseId, MachineId};
use crate::kv::TxnRequest;

/// How long a machine has to be gone before its claims are over.
pub const HOLD_MS: u64 = FENCE_STOP_MS + FENCE_MARGIN_MS;

/// A machine's lease, and until when it lasts at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tenure {
    pub lease: LeaseId,
    /// Counted from before the request that the store has answered last.
    pub until: BootMillis,
}

/// How it stands with the claim on a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nobody has one.
    Free,
    /// The machine is there: it is asked to give it back.
    Held,
    /// The machine is gone. The unit may run there for so many milliseconds still; `None`: for an unknown time.
    Gone { left_ms: Option<u64> },
}

/// What is known of how long machines have been gone.
#[derive(Clone, Copy, Debug)]
pub enum Absent<'a> {
    /// As if it were long ago: for forecasts.
    LongAgo,
    /// Nothing: for whoever plans once only.
    Unknown,
    Seen(&'a Absences),
}

/// Since when holders of claims have been gone, as an engine has seen it. A new engine begins anew, which is later, never
/// earlier.
#[derive(Clone, Debug, Default)]
pub struct Absences {
    since: BTreeMap<(MachineId, String), u64>,
    now: u64,
}

impl Absences {
    /// Takes in the cluster as it is after `changed`. `now` are milliseconds on a clock that only goes forward. To be told of
    /// every change: one in which a machine came and went counts.
    pub fn look(&mut self, cluster: &Cluster, changed: &[Key], now: u64) {
        let holders = cluster.schedule.values().filter_map(|at| Some((at, at.claim.as_ref()?)));
        let gone = holders.filter(|(at, claim)| !is_there(cluster, &at.machine, claim));
        let gone: BTreeSet<_> = gone.map(|(at, claim)| (at.machine.clone(), claim.owner.clone())).collect();
        self.since.retain(|holder, _| gone.contains(holder) && !changed.contains(&Key::Machine(holder.0.clone())));
        for holder in gone {
            self.since.entry(holder).or_insert(now);
        }
        self.now = now;
    }

    fn left_ms(&self, machine: &MachineId, claim: &Claim) -> u64 {
        let since = self.since.get(&(machine.clone(), claim.owner.clone()));
        since.map_or(HOLD_MS, |since| HOLD_MS.saturating_sub(self.now.saturating_sub(*since)))
    }
}

/// Whether the node that made a claim is in the list of machines.
fn is_there(cluster: &Cluster, machine: &MachineId, claim: &Claim) -> bool {
    cluster.machines.get(machine).is_some_and(|there| there.owner == claim.owner)
}

/// How it stands with the claim in an entry of the schedule.
pub fn standing(cluster: &Cluster, at: &Scheduled, absent: Absent<'_>) -> Standing {
    let Some(claim) = &at.claim else { return Standing::Free };
    if is_there(cluster, &at.machine, claim) {
        return Standing::Held;
    }
    Standing::Gone {
        left_ms: match absent {
            Absent::LongAgo => Some(0),
            Absent::Unknown => None,
            Absent::Seen(absences) => Some(absences.left_ms(&at.machine, claim)),
        },
    }
}

/// Exclusive units of a machine, as they follow from the cluster and the machine's own clock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fence {
    /// That may run here, until the tenure ends.
    pub may_run: BTreeSet<String>,
    /// That may not be started here. What runs of them has its end from the executor, which was told it when it started.
    pub may_not: BTreeSet<String>,
}

impl Fence {
    /// Judges the exclusive units among `wanted`, and has those that may not run loaded only.
    pub fn of(
        cluster: &Cluster,
        machine: &Machine,
        wanted: &mut [Wanted],
        tenure: Option<Tenure>,
        now: BootMillis,
    ) -> Self {
        let mut fence = Self::default();
        let tenure = tenure.filter(|tenure| now < tenure.until);
        for unit in wanted {
            let name = &unit.file.name;
            if !cluster.units.get(name).is_some_and(|known| known.requirements.placement.exclusive) {
                continue;
            }
            let claim = cluster.schedule.get(name).and_then(|at| at.claim.as_ref());
            let ours = |tenure: Tenure| claim.is_some_and(|claim| is_own(claim, machine, tenure));
            if tenure.is_some_and(ours) {
                fence.may_run.insert(name.clone());
            } else {
                unit.desired = unit.desired.min(DesiredState::Loaded);
                fence.may_not.insert(name.clone());
            }
        }
        fence
    }

    /// Whether it is one of them.
    pub fn concerns(&self, name: &str) -> bool {
        self.may_run.contains(name) || self.may_not.contains(name)
    }

    /// Whether a task is not to be done: the stop of a unit that is to be launched and has its time still, though it may not be started
    /// now, as its claim is to be made anew. The executor knows when that time is over.
    pub fn spares(
        &self,
        task: &Task,
        cluster: &Cluster,
        memory: &Memory,
        allowances: &Allowances,
        now: BootMillis,
    ) -> bool {
        let Task::Stop { name, reason: TaskReason::DesiredLoaded } = task else { return false };
        let launched = cluster.units.get(name).is_some_and(|unit| unit.desired == DesiredState::Launched);
        let down = memory.units.get(name).is_none_or(|local| !local.is_running() && !local.is_stopping());
        launched && !down && self.may_not.contains(name) && !allowances.is_over(name, now)
    }
}

/// What the executor was told of how long exclusive units may run. One whose time was over before it was told of more is being stopped,
/// and to be started again once it is down.
#[derive(Clone, Debug, Default)]
pub struct Allowances {
    until: BTreeMap<String, BootMillis>,
    /// When their time was over, or nearly: what was told may have come too late.
    lapsed: BTreeMap<String, BootMillis>,
}

impl Allowances {
    /// Units are told at `now` that they may run until then. [`Allowances::settle`] is to follow.
    pub fn tell(&mut self, units: &[String], memory: &Memory, until: BootMillis, now: BootMillis) {
        for unit in units {
            let before = self.until.insert(unit.clone(), until);
            let local = memory.units.get(unit).filter(|local| local.in_flight != Some(TaskKind::Start));
            let started = local.is_some_and(|local| matches!(local.launched, Launched::At(_)));
            if started && before.is_some_and(|before| before <= now.plus_ms(FENCE_NEARLY_MS)) {
                self.lapsed.insert(unit.clone(), now);
            }
        }
    }

    /// Whether a unit's time is known to be over.
    fn is_over(&self, unit: &str, now: BootMillis) -> bool {
        self.until.get(unit).is_some_and(|until| *until <= now)
    }

    /// Has those that are down for that reason count as not started.
    pub fn settle(&mut self, memory: &mut Memory, now: BootMillis) {
        self.lapsed.retain(|unit, at| {
            let Some(local) = memory.units.get(unit) else { return false };
            let (runs, stops) = (local.is_running(), local.is_stopping());
            if !runs && !stops {
                memory.not_started(unit);
            }
            stops || (runs && now < at.plus_ms(FENCE_NEARLY_MS + FENCE_LOOK_MS))
        });
    }
}

fn is_own(claim: &Claim, machine: &Machine, tenure: Tenure) -> bool {
    claim.lease == tenure.lease && claim.owner == machine.owner
}

/// The claims that a machine is to make or give back now, each a transaction of its own. One that does not succeed is to be
/// forgotten: what has changed meanwhile is followed anyway.
pub fn claims(cluster: &Cluster, machine: &Machine, memory: &Memory, tenure: Tenure) -> Vec<TxnRequest> {
    let presence = Key::Machine(machine.id.clone());
    let announced = cluster.mod_revision(&presence);
    let here = cluster.schedule.iter().filter(|(_, at)| announced != 0 && at.machine == machine.id);
    let change = |(name, at): (&String, &Scheduled)| {
        let unit = cluster.units.get(name).filter(|unit| unit.is_active());
        let claim = match &at.claim {
            // Another node's with this machine's id: not over before the engine says so.
            Some(claim) if claim.owner != machine.owner => return None,
            Some(_) if at.leaving && memory.has_nothing_of(name) => None,
            _ if at.leaving || !unit.is_some_and(|unit| unit.requirements.placement.exclusive) => return None,
            Some(claim) if is_own(claim, machine, tenure) => return None,
            _ => Some(Claim { lease: tenure.lease, owner: machine.owner.clone() }),
        };
        let entry = Key::Schedule(name.clone());
        Some(TxnRequest {
            compare: vec![entry.unchanged(cluster.mod_revision(&entry)), presence.unchanged(announced)],
            success: vec![entry.put(encode(&Scheduled { claim, ..at.clone() }), LeaseId::NONE)],
            failure: Vec::new(),
        })
    };
    here.filter_map(change).collect()
}

#[cfg(test)]
#[path = "fence_tests.rs"]
mod tests;
