//! The planner: a cluster in, decisions out. Pure, deterministic, and done in one go: planning the cluster that a plan
//! leads to decides nothing, unless units leave a drained machine, which goes step by step.
//!
//! Units stay where they are while they may. In order: scheduled units are kept (by priority and name; where two exclude
//! each other the first stays), globals come where they fit, followers (`MachineOf`) of what has left leave, and what is on
//! no machine goes to one that fits: where its template's instances are fewest (`Spread=`), then the one that it prefers
//! (`Prefer=`), then the least loaded, globals counted, then the smallest id. Where none fits, it may displace units of
//! lower priority. Last, units leave machines that are drained.
//! Rules as fleet's, but: globals nobody wants loaded hold nothing, a replaced unit goes only where it may run, and
//! `Replaces` in circles of any length are ignored.

mod capacity;
mod displace;
mod drain;
mod explain;
mod rebalance;
mod simulate;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;

pub use capacity::{Capacity, Remaining, capacity, remaining};
pub use drain::Arrival;
pub use explain::{Fit, Verdict, explain};
pub use rebalance::rebalance;
pub use simulate::{Forecast, Scenario, simulate};

use super::board::{Board, mismatch};
use super::cluster::Cluster;
use super::ledger::{Crowd, liking};
use super::reason::{Decision, Reason};
use super::types::{PlanHead, Unit};
use crate::base::MachineId;
use crate::base::limits::PLAN_REASONS_PER_UNIT_MAX;
use crate::unit::Condition;

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
}

/// A unit that fits nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    pub unit: String,
    /// For each machine why, for the first [`PLAN_REASONS_PER_UNIT_MAX`] by id; [`explain`] tells all. Units that are
    /// alike share one list.
    pub passed_over: Arc<PassedOver>,
}

/// Decides where every unit of the cluster runs.
pub fn plan(cluster: &Cluster) -> Plan {
    let mut planner = Planner::settled(cluster);
    planner.drain(cluster);
    planner.into_plan(cluster)
}

/// Machines that meet what a unit asks of the machine itself.
struct Candidates {
    list: Vec<u32>,
    is_one: Vec<bool>,
}

/// What a unit asks of the machine itself: `MachineID` and `MachineMetadata`.
type Asked<'a> = (Option<&'a str>, &'a BTreeMap<String, BTreeSet<String>>, &'a [Condition]);

/// How much a unit likes each machine, and the most that it likes any candidate.
struct Likings {
    of: Vec<i64>,
    most: i64,
}

/// What makes one fitting machine better than another for a unit, besides its load.
struct Taste {
    /// Of each key of `Spread=` the values that candidates have.
    values: Vec<Rc<[u32]>>,
    likings: Rc<Likings>,
}

/// The order in which units are kept and placed: by effect on others, priority, name.
type Turn = (u32, Reverse<i32>, u32);

struct Planner<'a> {
    board: Board<'a>,
    /// Why a unit had to leave its machine; the first reason counts.
    lost: BTreeMap<u32, Reason>,
    queue: BTreeSet<Turn>,
    waiting: BTreeMap<u32, Arc<PassedOver>>,
    /// How often a unit was put somewhere; more than its due means a circle that no rule foresaw, and it waits.
    placed: Vec<u8>,
    candidates: HashMap<Asked<'a>, (u32, Rc<Candidates>)>,
    /// Kinds of units that fit nowhere, until a unit leaves.
    hopeless: HashMap<Vec<u64>, Arc<PassedOver>>,
    likings: HashMap<(u32, &'a [(Condition, i32)]), Rc<Likings>>,
    /// Values of keys of `Spread=` by class of candidates and key.
    values: HashMap<(u32, u32), Rc<[u32]>>,
    with_peers: Vec<u32>,
    /// Of each unit, or of the highest unit that follows it.
    priority: Vec<i32>,
    /// Room was made by displacing: those that wait are to be looked at again.
    room_made: bool,
}

/// Times that one plan may put a unit somewhere.
const PLACINGS_MAX: u8 = 4;

impl<'a> Planner<'a> {
    fn new(cluster: &'a Cluster) -> Self {
        let board = Board::of(cluster);
        let count = board.units.len() as u32;
        let has_peers = |u: &u32| !board.unit(*u).requirements.peers.is_empty();
        Self {
            lost: BTreeMap::new(),
            queue: BTreeSet::new(),
            waiting: BTreeMap::new(),
            placed: vec![0; board.units.len()],
            candidates: HashMap::new(),
            hopeless: HashMap::new(),
            likings: HashMap::new(),
            values: HashMap::new(),
            with_peers: (0..count).filter(has_peers).collect(),
            priority: displace::priorities(&board),
            room_made: false,
            board,
        }
    }

    /// Every unit where it is to be; none has left a drained machine yet.
    fn settled(cluster: &'a Cluster) -> Self {
        let mut planner = Self::new(cluster);
        planner.keep(cluster);
        planner.globals();
        planner.followers();
        planner.place_all();
        planner
    }

    /// Puts units where the schedule has them, as far as they may stay.
    fn keep(&mut self, cluster: &Cluster) {
        let mut scheduled = Vec::new();
        for unit in 0..self.board.units.len() as u32 {
            let this = self.board.unit(unit);
            if this.requirements.global {
                continue;
            }
            let order = self.turn(unit);
            match cluster.schedule.get(&this.name) {
                Some(at) => scheduled.push((order, &at.machine)),
                None => {
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
            self.choose(unit, &candidates, taste.as_ref()).or_else(|| self.make_room(unit, &candidates))
        } else {
            None
        };
        let Some(machine) = chosen else {
            let reasons = Arc::new(self.reasons(unit));
            if free && due {
                self.hopeless.insert(kind, reasons.clone());
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

    /// Whether a machine can take a unit that is not on it.
    fn fits(&self, unit: u32, machine: u32) -> bool {
        self.board.machines[machine as usize].cordon.is_none()
            && self.board.admits(unit, machine)
            && self.board.missing_peer(unit, machine).is_none()
    }

    /// The best machine that can take the unit: by its taste, then the least loaded, then the smallest id.
    fn choose(&self, unit: u32, candidates: &Candidates, taste: Option<&Taste>) -> Option<u32> {
        let fits = |m: &u32| self.fits(unit, *m);
        // A peer that is on one machine, or on none, leaves no choice.
        for peer in &self.board.unit(unit).requirements.peers {
            let peer = self.board.find(peer)?;
            if !self.board.unit(peer).requirements.global {
                let machine = self.board.place[peer as usize]?;
                return Some(machine).filter(|m| candidates.is_one[*m as usize] && fits(m));
            }
        }
        let mut few;
        let mut many;
        let by_load: &mut dyn Iterator<Item = u32> = if candidates.list.len() * 8 < self.board.machines.len() {
            let mut list = candidates.list.clone();
            list.sort_unstable_by_key(|m| (self.board.load(*m), *m));
            few = list.into_iter();
            &mut few
        } else {
            many = self.board.lightest().filter(|m| candidates.is_one[*m as usize]);
            &mut many
        };
        let mut by_load = by_load;
        let Some(taste) = taste else { return (&mut by_load).find(fits) };
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

    /// What a unit has to choose by; `None` where only load counts.
    fn taste_of(&mut self, unit: u32, class: u32, candidates: &Candidates) -> Option<Taste> {
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
            Rc::new(Likings { of, most })
        });
        Some(Taste { values, likings: likings.clone() })
    }

    /// Machines that meet the unit's own demands, found once for all units that demand the same.
    fn candidates_of(&mut self, unit: u32) -> (u32, Rc<Candidates>) {
        let this: &'a Unit = self.board.unit(unit);
        let requirements = &this.requirements;
        let conditions = requirements.placement.conditions.as_slice();
        let asked = (requirements.machine_id.as_deref(), &requirements.metadata, conditions);
        let class = self.candidates.len() as u32;
        let machines = &self.board.machines;
        let found = self.candidates.entry(asked).or_insert_with(|| {
            let fits = |m: &&'a super::Machine| mismatch(this, m).is_none();
            let is_one: Vec<bool> = machines.iter().map(fits).collect();
            let list = (0..machines.len() as u32).filter(|m| is_one[*m as usize]).collect();
            (class, Rc::new(Candidates { list, is_one }))
        });
        found.clone()
    }

    /// What keeps a unit off a machine that it is not on.
    fn obstacle(&self, unit: u32, machine: u32) -> Option<Reason> {
        let this = self.board.machines[machine as usize];
        let peer = || {
            let peer = self.board.missing_peer(unit, machine)?.to_owned();
            Some(Reason::PeerElsewhere { peer })
        };
        let cordon = || this.cordon.map(|cordon| Reason::Cordoned { drain: cordon.drain.is_some() });
        mismatch(self.board.unit(unit), this)
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
        for (name, scheduled) in &cluster.schedule {
            let unit = self.board.find(name).filter(|u| !self.board.unit(*u).requirements.global);
            let place = unit.and_then(|u| self.board.place[u as usize]);
            let to = place.map(|m| self.board.id(m).clone());
            if to.as_ref() == Some(&scheduled.machine) {
                continue;
            }
            let reason = match (unit, cluster.units.get(name)) {
                (Some(unit), _) => self.lost.remove(&unit).unwrap_or(Reason::MachineGone),
                (None, None) => Reason::Destroyed,
                (None, Some(u)) if u.is_active() => Reason::BecameGlobal,
                (None, Some(_)) => Reason::Inactive,
            };
            decisions.push(decision(cluster, name, Some(scheduled.machine.clone()), to, reason));
        }
        for (unit, place) in self.board.place.iter().enumerate() {
            let name = &self.board.unit(unit as u32).name;
            if let Some(machine) = place
                && !cluster.schedule.contains_key(name)
            {
                let weight = u64::from(self.board.unit(unit as u32).requirements.placement.weight);
                let load = self.board.load(*machine).saturating_sub(weight);
                let to = Some(self.board.id(*machine).clone());
                decisions.push(decision(cluster, name, None, to, Reason::LeastLoaded { load }));
            }
        }
        decisions.sort_by(|a, b| (a.to.is_some(), &a.unit).cmp(&(b.to.is_some(), &b.unit)));
        let waiting = self
            .waiting
            .into_iter()
            .map(|(unit, passed_over)| Waiting { unit: self.board.units[unit as usize].name.clone(), passed_over });
        Plan { parent: cluster.head, decisions, waiting: waiting.collect() }
    }
}

fn decision(cluster: &Cluster, unit: &str, from: Option<MachineId>, to: Option<MachineId>, reason: Reason) -> Decision {
    Decision {
        unit: unit.to_owned(),
        from,
        to,
        reason,
        unit_revision: cluster.mod_revision(&super::Key::Unit(unit.to_owned())),
    }
}

#[cfg(test)]
mod drain_tests;
#[cfg(test)]
mod forecast_tests;
#[cfg(test)]
mod placement_tests;
#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
