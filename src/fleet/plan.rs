//! The planner: a cluster in, decisions out. Pure, deterministic, and done in one go: planning the cluster that a plan
//! leads to decides nothing.
//!
//! Units stay where they are while they may. In order: scheduled units are kept (by name; where two exclude each other
//! the first stays), globals come where they fit, followers (`MachineOf`) of what has left leave, and what is on no
//! machine goes to the one with the fewest units among those that fit, globals counted, then to the smallest id.
//! Rules as fleet's, but: globals nobody wants loaded hold nothing, a replaced unit goes only where it may run, and
//! `Replaces` in circles of any length are ignored.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use super::board::{Board, mismatch};
use super::cluster::Cluster;
use super::reason::{Decision, Reason};
use super::types::{PlanHead, Unit};
use crate::base::MachineId;
use crate::base::limits::PLAN_REASONS_PER_UNIT_MAX;

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
    let mut planner = Planner::new(cluster);
    planner.keep(cluster);
    planner.globals();
    planner.followers();
    planner.place_all();
    planner.into_plan(cluster)
}

/// For every machine whether a unit could run there as things stand, and if not, why: what `explain` and `why-not` say.
/// A unit that is on a machine is judged as if it came there anew. `None`: there is no such unit.
pub fn explain(cluster: &Cluster, name: &str) -> Option<Vec<(MachineId, Result<usize, Reason>)>> {
    let unit = cluster.units.get(name)?;
    let mut wanted = unit.as_ref().clone();
    wanted.desired = wanted.desired.max(super::DesiredState::Loaded);
    let mut cluster = cluster.clone();
    cluster.units.insert(name.to_owned(), Arc::new(wanted));
    let mut planner = Planner::new(&cluster);
    planner.keep(&cluster);
    planner.globals();
    let board = &mut planner.board;
    let me = board.find(name)?;
    for machine in 0..board.machines.len() as u32 {
        if board.on[machine as usize].contains(&me) {
            board.remove(me, machine);
        }
    }
    let verdict = |machine: u32| match planner.obstacle(me, machine) {
        Some(reason) => Err(reason),
        None => Ok(planner.board.load(machine)),
    };
    let machines = 0..planner.board.machines.len() as u32;
    let of = |machine| (planner.board.id(machine).clone(), verdict(machine));
    Some(machines.map(of).collect())
}

/// Machines that meet what a unit asks of the machine itself.
struct Candidates {
    list: Vec<u32>,
    is_one: Vec<bool>,
}

/// What a unit asks of the machine itself: `MachineID` and `MachineMetadata`.
type Asked<'a> = (Option<&'a str>, &'a BTreeMap<String, BTreeSet<String>>);

struct Planner<'a> {
    board: Board<'a>,
    /// Why a unit had to leave its machine; the first reason counts.
    lost: BTreeMap<u32, Reason>,
    /// Units to be placed, by depth and name.
    queue: BTreeSet<(u32, u32)>,
    waiting: BTreeMap<u32, Arc<PassedOver>>,
    /// How often a unit was put somewhere; more than its due means a circle that no rule foresaw, and it waits.
    placed: Vec<u8>,
    candidates: HashMap<Asked<'a>, (u32, Rc<Candidates>)>,
    /// Kinds of units that fit nowhere, until a unit leaves.
    hopeless: HashMap<Vec<u32>, Arc<PassedOver>>,
    with_peers: Vec<u32>,
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
            with_peers: (0..count).filter(has_peers).collect(),
            board,
        }
    }

    /// Puts units where the schedule has them, as far as they may stay.
    fn keep(&mut self, cluster: &Cluster) {
        let mut scheduled = Vec::new();
        for unit in 0..self.board.units.len() as u32 {
            let this = self.board.unit(unit);
            if this.requirements.global {
                continue;
            }
            let order = (self.board.evictions.depth[unit as usize], unit);
            match cluster.schedule.get(&this.name) {
                Some(at) => scheduled.push((order, &at.machine)),
                None => {
                    self.queue.insert(order);
                }
            }
        }
        scheduled.sort_unstable();
        for (order, id) in scheduled {
            let unit = order.1;
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

    fn enqueue(&mut self, unit: u32) {
        self.queue.insert((self.board.evictions.depth[unit as usize], unit));
    }

    fn place_all(&mut self) {
        loop {
            let mut progress = false;
            while let Some((_, unit)) = self.queue.pop_first() {
                progress |= self.place(unit);
            }
            // A follower may have come before the unit that it follows.
            let again: Vec<u32> = self.with_peers.iter().copied().filter(|u| self.waiting.contains_key(u)).collect();
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
        let mut kind = vec![class];
        kind.extend(self.board.likeness(unit));
        if free && let Some(reasons) = self.hopeless.get(&kind) {
            self.waiting.insert(unit, reasons.clone());
            return false;
        }
        let due = self.placed[unit as usize] < PLACINGS_MAX;
        let Some(machine) = self.choose(unit, &candidates).filter(|_| due) else {
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

    /// The machine with the fewest units, then the smallest id, that can take the unit.
    fn choose(&self, unit: u32, candidates: &Candidates) -> Option<u32> {
        let fits = |m: &u32| self.board.admits(unit, *m) && self.board.missing_peer(unit, *m).is_none();
        // A peer that is on one machine, or on none, leaves no choice.
        for peer in &self.board.unit(unit).requirements.peers {
            let peer = self.board.find(peer)?;
            if !self.board.unit(peer).requirements.global {
                let machine = self.board.place[peer as usize]?;
                return Some(machine).filter(|m| candidates.is_one[*m as usize] && fits(m));
            }
        }
        if candidates.list.len() * 8 < self.board.machines.len() {
            let fitting = candidates.list.iter().copied().filter(fits);
            return fitting.min_by_key(|m| (self.board.load(*m), *m));
        }
        let mut lightest = self.board.lightest();
        lightest.find(|m| candidates.is_one[*m as usize] && fits(m))
    }

    /// Machines that meet the unit's own demands, found once for all units that demand the same.
    fn candidates_of(&mut self, unit: u32) -> (u32, Rc<Candidates>) {
        let this: &'a Unit = self.board.unit(unit);
        let asked = (this.requirements.machine_id.as_deref(), &this.requirements.metadata);
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

    /// What keeps a unit off a machine.
    fn obstacle(&self, unit: u32, machine: u32) -> Option<Reason> {
        let peer = || {
            let peer = self.board.missing_peer(unit, machine)?.to_owned();
            Some(Reason::PeerElsewhere { peer })
        };
        mismatch(self.board.unit(unit), self.board.machines[machine as usize])
            .or_else(peer)
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
                let units = self.board.load(*machine).saturating_sub(1);
                let to = Some(self.board.id(*machine).clone());
                decisions.push(decision(cluster, name, None, to, Reason::LeastLoaded { units }));
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
#[path = "plan_tests.rs"]
mod tests;
