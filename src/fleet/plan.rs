//! The planner: a cluster in, decisions out. Pure, deterministic, and done in one go: planning the cluster that a plan
//! leads to decides nothing, unless units leave a drained machine, which goes step by step.
//!
//! Units stay where they are while they may. In order: scheduled units are kept (by priority and name; where two exclude
//! each other, or publish one port of the host, the first stays), globals come where they fit, followers (`MachineOf`) of what has left leave, and what is on
//! no machine goes to one that fits: where its template's instances are fewest (`Spread=`), then the one that it prefers
//! (`Prefer=`), then the least loaded, globals counted, then the smallest id. Where none fits, it may displace units of
//! lower priority. Last, units leave machines that are drained.
//! Rules as fleet's, but: globals nobody wants loaded hold nothing, a replaced unit goes only where it may run, and
//! `Replaces` in circles of any length are ignored.

mod capacity;
mod choose;
mod claims;
mod displace;
mod drain;
mod explain;
mod failed;
mod rebalance;
mod simulate;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;

pub use capacity::{Capacity, Remaining, capacity, remaining};
use choose::{Asked, Candidates, Likings};
use claims::{Claims, May};
pub use drain::{Arrival, moving};
pub use explain::{Fit, Verdict, explain};
pub use rebalance::rebalance;
pub use simulate::{Forecast, Scenario, simulate};

use super::board::{Board, mismatch};
use super::cluster::Cluster;
use super::fence::{Absences, Absent};
use super::reason::{Decision, Reason};
use super::types::{PlanHead, Scheduled, Unit};
use crate::base::limits::PLAN_REASONS_PER_UNIT_MAX;
use crate::base::{MachineId, UnixMillis};
use crate::unit::placement::Preference;

/// Machines that cannot take a unit, with the rule that keeps it off each.
pub type PassedOver = Vec<(MachineId, Reason)>;

/// All that is to be changed in the schedule, and what waits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The plan that this one follows: it may be written only while that is the newest.
    pub parent: PlanHead,
    /// First the units that leave, then those that come or move; by name.
    pub decisions: Vec<Decision>,
    /// Units that fit nowhere, by name.
    pub waiting: Vec<Waiting>,
    /// When time alone will change the plan, if it will: by the clock, and in so many milliseconds because of a claim's end.
    pub look_again: Option<UnixMillis>,
    pub look_again_ms: Option<u64>,
}

/// A unit that fits nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    pub unit: String,
    /// For each machine why, for the first [`PLAN_REASONS_PER_UNIT_MAX`] by id; [`explain`] tells all. Units that are
    /// alike share one list.
    pub passed_over: Arc<PassedOver>,
}

/// Decides where every unit of the cluster runs, where time has no part in it: no unit moves because it has failed, and
/// machines that are gone have been so for long. Not to be written where units are claimed.
pub fn plan(cluster: &Cluster) -> Plan {
    let mut planner = Planner::settled(cluster, Absent::LongAgo);
    planner.drain(cluster);
    planner.into_plan(cluster)
}

/// Decides where every unit of the cluster runs now.
pub fn plan_at(cluster: &Cluster, now: UnixMillis, absences: &Absences) -> Plan {
    let mut planner = Planner::settled(cluster, Absent::Seen(absences));
    planner.drain(cluster);
    planner.reschedule(cluster, now);
    planner.into_plan(cluster)
}

/// The order in which units are kept and placed: by effect on others, priority, name.
type Turn = (u32, Reverse<i32>, u32);

struct Planner<'a> {
    board: Board<'a>,
    /// Where each unit is scheduled.
    scheduled: Vec<Option<&'a Scheduled>>,
    /// What is scheduled though nobody wants it to be.
    unwanted: Vec<(&'a str, &'a Scheduled)>,
    /// Why a unit had to leave its machine; the first reason counts.
    lost: BTreeMap<u32, Reason>,
    queue: BTreeSet<Turn>,
    waiting: BTreeMap<u32, Arc<PassedOver>>,
    /// How often a unit was put somewhere; more than its due means a circle that no rule foresaw, and it waits.
    placed: Vec<u8>,
    candidates: HashMap<Asked<'a>, (u32, Rc<Candidates>)>,
    /// Kinds of units that fit nowhere, until a unit leaves.
    hopeless: HashMap<Vec<u64>, Arc<PassedOver>>,
    likings: HashMap<(u32, &'a [Preference]), Rc<Likings>>,
    /// Values of keys of `Spread=` by class of candidates and key.
    values: HashMap<(u32, u32), Rc<[u32]>>,
    with_peers: Vec<u32>,
    /// Of each unit, or of the highest unit that follows it.
    priority: Vec<i32>,
    /// Room was made by displacing: those that wait are to be looked at again.
    room_made: bool,
    look_again: Option<UnixMillis>,
    /// The lowest of all priorities.
    lowest: i32,
    /// The machine that a unit which is being moved must not come back to.
    left: Option<u32>,
    claims: Claims<'a>,
    /// When a claim comes to an end that some unit waits for: in so many milliseconds.
    claim_ends_ms: Option<u64>,
}

/// Times that one plan may put a unit somewhere.
const PLACINGS_MAX: u8 = 4;

impl<'a> Planner<'a> {
    fn new(cluster: &'a Cluster, absent: Absent<'a>) -> Self {
        let board = Board::of(cluster);
        let count = board.units.len() as u32;
        let priority = displace::priorities(&board);
        let (scheduled, unwanted) = join(&board.units, cluster);
        let has_peers = |u: &u32| !board.unit(*u).requirements.peers.is_empty();
        Self {
            scheduled,
            unwanted,
            lost: BTreeMap::new(),
            queue: BTreeSet::new(),
            waiting: BTreeMap::new(),
            placed: vec![0; board.units.len()],
            candidates: HashMap::new(),
            hopeless: HashMap::new(),
            likings: HashMap::new(),
            values: HashMap::new(),
            with_peers: (0..count).filter(has_peers).collect(),
            lowest: priority.iter().min().copied().unwrap_or(0),
            priority,
            room_made: false,
            look_again: None,
            left: None,
            claims: Claims::new(cluster, absent),
            claim_ends_ms: None,
            board,
        }
    }

    /// Every unit where it is to be; none has left a drained machine yet.
    fn settled(cluster: &'a Cluster, absent: Absent<'a>) -> Self {
        let mut planner = Self::new(cluster, absent);
        planner.keep();
        planner.globals();
        planner.followers();
        planner.place_all();
        planner
    }

    /// Puts units where the schedule has them, as far as they may stay.
    fn keep(&mut self) {
        let mut scheduled = Vec::new();
        for unit in 0..self.board.units.len() as u32 {
            let this = self.board.unit(unit);
            if this.requirements.global {
                continue;
            }
            let order = self.turn(unit);
            let Some(at) = self.scheduled[unit as usize] else {
                self.queue.insert(order);
                continue;
            };
            let (may, again) = self.claims.judge(unit, at);
            self.await_claim(again);
            match may {
                May::Keep => scheduled.push((order, &at.machine)),
                May::Nothing => {}
                May::Place(reason) => {
                    self.lost.insert(unit, reason);
                    self.queue.insert(order);
                }
            }
        }
        scheduled.sort_unstable();
        for (order, id) in scheduled {
            let unit = order.2;
            let reason = match self.board.find_machine(id) {
                None => Some(Reason::MachineGone),
                Some(machine) => {
                    let wrong = mismatch(self.board.unit(unit), self.board.machines[machine as usize]);
                    let reason = wrong.or_else(|| self.board.objection(unit, machine));
                    if reason.is_none() {
                        self.board.add(unit, machine);
                    }
                    reason
                }
            };
            if let Some(reason) = reason {
                self.lost.insert(unit, reason);
                self.queue.insert(order);
            }
        }
    }

    fn await_claim(&mut self, left_ms: Option<u64>) {
        self.claim_ends_ms = self.claim_ends_ms.into_iter().chain(left_ms).min();
    }

    fn globals(&mut self) {
        for machine in 0..self.board.machines.len() as u32 {
            self.board.place_globals(machine);
        }
    }

    /// Takes units off whose peers are not on their machine, until none is left of them.
    fn followers(&mut self) {
        let mut changed = true;
        while changed {
            changed = false;
            for at in 0..self.with_peers.len() {
                let unit = self.with_peers[at];
                let Some(machine) = self.board.place[unit as usize] else {
                    continue;
                };
                if let Some(peer) = self.board.missing_peer(unit, machine) {
                    let peer = peer.to_owned();
                    self.evict(unit, machine, Reason::PeerElsewhere { peer });
                    changed = true;
                }
            }
        }
    }

    fn evict(&mut self, unit: u32, machine: u32, reason: Reason) {
        self.board.remove(unit, machine);
        self.board.replace_globals(machine);
        self.lost.entry(unit).or_insert(reason);
        self.enqueue(unit);
        // Room was made: whoever waits may fit now.
        self.hopeless.clear();
        for waiting in std::mem::take(&mut self.waiting).into_keys() {
            self.enqueue(waiting);
        }
    }

    fn turn(&self, unit: u32) -> Turn {
        (self.board.evictions.depth[unit as usize], Reverse(self.priority[unit as usize]), unit)
    }

    fn enqueue(&mut self, unit: u32) {
        self.queue.insert(self.turn(unit));
    }

    fn place_all(&mut self) {
        loop {
            let mut progress = false;
            while let Some((.., unit)) = self.queue.pop_first() {
                progress |= self.place(unit);
            }
            // A follower may have come before the unit that it follows.
            let mut again: Vec<u32> =
                self.with_peers.iter().copied().filter(|u| self.waiting.contains_key(u)).collect();
            if std::mem::take(&mut self.room_made) {
                self.hopeless.clear();
                again = self.waiting.keys().copied().collect();
            }
            if !progress || again.is_empty() {
                return;
            }
            for unit in again {
                self.waiting.remove(&unit);
                self.enqueue(unit);
            }
        }
    }

    /// Puts a unit on the best machine, or among those that wait.
    fn place(&mut self, unit: u32) -> bool {
        let (class, candidates) = self.candidates_of(unit);
        let free = self.board.unit(unit).requirements.peers.is_empty();
        let mut kind = self.board.likeness(unit);
        kind.extend([u64::from(class), u64::from(self.priority[unit as usize].cast_unsigned())]);
        if free && let Some(reasons) = self.hopeless.get(&kind) {
            self.waiting.insert(unit, reasons.clone());
            return false;
        }
        let due = self.placed[unit as usize] < PLACINGS_MAX;
        let chosen = if due {
            let taste = self.taste_of(unit, class, &candidates);
            self.left = self.was_asked_off(unit);
            let elsewhere = self.choose(unit, &candidates, taste.as_ref());
            let back = self.left.take().is_some();
            let chosen = elsewhere.or_else(|| if back { self.choose(unit, &candidates, taste.as_ref()) } else { None });
            chosen.or_else(|| self.make_room(unit, &candidates))
        } else {
            None
        };
        let Some(machine) = chosen else {
            let reasons = Arc::new(self.reasons(unit));
            if free && due {
                self.hopeless.insert(self.kind(unit, class), reasons.clone());
            }
            self.waiting.insert(unit, reasons);
            return false;
        };
        self.placed[unit as usize] += 1;
        self.board.add(unit, machine);
        let on_machine = |v: &u32| self.board.place[*v as usize] == Some(machine);
        let victims: Vec<u32> =
            self.board.evictions.victims[unit as usize].iter().copied().filter(on_machine).collect();
        if !victims.is_empty() {
            let by = &self.board.unit(unit).name;
            for victim in victims {
                self.evict(victim, machine, Reason::Replaced { by: by.clone() });
            }
            self.followers();
        }
        true
    }

    /// Which units stand for the same question "where does it fit?".
    fn kind(&self, unit: u32, class: u32) -> Vec<u64> {
        let mut kind = self.board.likeness(unit);
        kind.extend([u64::from(class), u64::from(self.priority[unit as usize].cast_unsigned())]);
        kind
    }

    /// What keeps a unit off a machine that it is not on.
    fn obstacle(&self, unit: u32, machine: u32) -> Option<Reason> {
        let this = self.board.machines[machine as usize];
        let peer = || {
            let peer = self.board.missing_peer(unit, machine)?.to_owned();
            Some(Reason::PeerElsewhere { peer })
        };
        let cordon = || this.cordon.map(|cordon| Reason::Cordoned { drain: cordon.drain.is_some() });
        self.may_still_run(unit)
            .or_else(|| mismatch(self.board.unit(unit), this))
            .or_else(peer)
            .or_else(cordon)
            .or_else(|| self.board.objection(unit, machine))
    }

    fn reasons(&self, unit: u32) -> PassedOver {
        let machines = 0..self.board.machines.len() as u32;
        machines
            .filter_map(|m| Some((self.board.id(m).clone(), self.obstacle(unit, m)?)))
            .take(PLAN_REASONS_PER_UNIT_MAX)
            .collect()
    }

    fn into_plan(mut self, cluster: &Cluster) -> Plan {
        let mut decisions = Vec::new();
        for (name, at) in std::mem::take(&mut self.unwanted) {
            let unit = cluster.units.get(name).map(AsRef::as_ref);
            match self.claims.precaution(name, unit, at) {
                Ok(precaution) => decisions.push(Decision { precaution, ..leaves(cluster, name, at) }),
                Err(left_ms) => self.await_claim(left_ms),
            }
        }
        for unit in 0..self.board.units.len() as u32 {
            let this = self.board.unit(unit);
            let from = self.scheduled[unit as usize].map(|at| &at.machine);
            let to = self.board.place[unit as usize].map(|machine| self.board.id(machine));
            if self.claims.bars(unit) || (from == to && !self.claims.rewrites(unit)) {
                continue;
            }
            let precaution = self.scheduled[unit as usize].map(|at| self.claims.precaution(&this.name, Some(this), at));
            let Ok(precaution) = precaution.unwrap_or(Ok(None)) else { continue };
            let reason = match self.board.place[unit as usize] {
                Some(machine) if from.is_none() => {
                    let weight = u64::from(this.requirements.placement.weight);
                    Reason::LeastLoaded { load: self.board.load(machine).saturating_sub(weight) }
                }
                None if this.requirements.global => Reason::BecameGlobal,
                _ => self.lost.remove(&unit).unwrap_or(Reason::MachineGone),
            };
            let (from, to) = (from.cloned(), to.cloned());
            decisions.push(Decision {
                unit: this.name.clone(),
                from,
                to,
                reason,
                unit_revision: this.mod_revision,
                precaution,
            });
        }
        let held_back: Vec<u32> = self.claims.held_back().collect();
        for unit in held_back {
            let reasons = Arc::new(self.reasons(unit));
            self.waiting.insert(unit, reasons);
        }
        decisions.sort_by(|a, b| (a.to.is_some(), &a.unit).cmp(&(b.to.is_some(), &b.unit)));
        let waiting = self
            .waiting
            .into_iter()
            .map(|(unit, passed_over)| Waiting { unit: self.board.units[unit as usize].name.clone(), passed_over });
        Plan {
            parent: cluster.head,
            decisions,
            waiting: waiting.collect(),
            look_again: self.look_again,
            look_again_ms: self.claim_ends_ms,
        }
    }
}

/// Of each unit where it is scheduled, and what is scheduled though it is none of the units; all sorted by name.
fn join<'a>(units: &[&'a Unit], cluster: &'a Cluster) -> (Vec<Option<&'a Scheduled>>, Vec<(&'a str, &'a Scheduled)>) {
    let mut unwanted = Vec::new();
    let mut schedule = cluster.schedule.iter().peekable();
    let of = |unit: &&Unit| {
        while let Some((name, at)) = schedule.next_if(|(name, _)| **name < unit.name) {
            unwanted.push((name.as_str(), at));
        }
        schedule.next_if(|(name, _)| **name == unit.name).map(|(_, at)| at)
    };
    let scheduled = units.iter().map(of).collect();
    unwanted.extend(schedule.map(|(name, at)| (name.as_str(), at)));
    (scheduled, unwanted)
}

/// The decision about what is scheduled and not wanted.
fn leaves(cluster: &Cluster, unit: &str, at: &Scheduled) -> Decision {
    let reason = if cluster.units.contains_key(unit) { Reason::Inactive } else { Reason::Destroyed };
    let unit_revision = cluster.mod_revision(&super::Key::Unit(unit.to_owned()));
    Decision {
        unit: unit.to_owned(),
        from: Some(at.machine.clone()),
        to: None,
        reason,
        unit_revision,
        precaution: None,
    }
}

#[cfg(test)]
mod drain_tests;
#[cfg(test)]
mod failed_tests;
#[cfg(test)]
mod forecast_tests;
#[cfg(test)]
mod placement_tests;
#[cfg(test)]
mod ports_tests;
#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
