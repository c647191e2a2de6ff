//! Priority: a unit that fits nowhere may take the place of others.
//!
//! Only units of a lower priority make way, and a unit that others follow (`MachineOf`) has the priority of the highest of
//! them. Of the machines where it helps, the one where the least important are displaced is taken, then where the fewest
//! are. What is displaced is placed anew, or waits. Units that take part in a `Replaces=` neither displace nor are
//! displaced: who goes before whom is said by that.

use super::{Board, Candidates, Planner, Reason, mismatch};

impl Planner<'_> {
    /// A machine on which displacing others makes room for the unit, once they have gone.
    pub(super) fn make_room(&mut self, unit: u32, candidates: &Candidates) -> Option<u32> {
        let priority = self.priority[unit as usize];
        if priority <= self.lowest || self.is_in_replaces(unit) {
            return None;
        }
        let cost = |machine: u32| {
            let victims = self.victims(unit, machine)?;
            let highest = victims.iter().map(|victim| self.priority[*victim as usize]).max()?;
            Some(((highest, victims.len(), self.board.load(machine), machine), victims))
        };
        let (cost, victims) = candidates.list.iter().filter_map(|m| cost(*m)).min()?;
        let (.., machine) = cost;
        let reason = Reason::Displaced {
            by: self.board.unit(unit).name.clone(),
            priority: self.board.unit(unit).requirements.placement.priority,
        };
        for victim in victims {
            self.board.remove(victim, machine);
            if !self.board.unit(victim).requirements.global {
                self.lost.entry(victim).or_insert_with(|| reason.clone());
                self.enqueue(victim);
            }
        }
        self.room_made = true;
        Some(machine)
    }

    /// Whom a unit would displace on a machine; `None` where that does not help, or nobody is in its way.
    fn victims(&self, unit: u32, machine: u32) -> Option<Vec<u32>> {
        let this = self.board.machines[machine as usize];
        let replaced = self.board.evictions.replacers[unit as usize].iter();
        let replaced = replaced.copied().any(|r| self.board.place[r as usize] == Some(machine));
        if this.cordon.is_some()
            || replaced
            || mismatch(self.board.unit(unit), this).is_some()
            || self.board.missing_peer(unit, machine).is_some()
        {
            return None;
        }
        let mut victims: Vec<u32> = self.board.conflicting(unit, machine).collect();
        if !victims.iter().all(|victim| self.may_displace(unit, *victim)) {
            return None;
        }
        if !self.board.ledger.has_room_without(unit, machine, this, &victims) {
            let mut others: Vec<u32> = self.board.on[machine as usize].iter().copied().collect();
            others.retain(|other| !victims.contains(other) && self.may_displace(unit, *other));
            others.sort_by_key(|other| (self.priority[*other as usize], *other));
            for other in others {
                if !self.board.ledger.would_help(unit, machine, this, &victims, other) {
                    continue;
                }
                victims.push(other);
                if self.board.ledger.has_room_without(unit, machine, this, &victims) {
                    break;
                }
            }
        }
        let enough = self.board.ledger.has_room_without(unit, machine, this, &victims);
        (enough && !victims.is_empty()).then_some(victims)
    }

    fn may_displace(&self, unit: u32, other: u32) -> bool {
        self.priority[other as usize] < self.priority[unit as usize] && !self.is_in_replaces(other)
    }

    fn is_in_replaces(&self, unit: u32) -> bool {
        let evictions = &self.board.evictions;
        !evictions.victims[unit as usize].is_empty() || !evictions.replacers[unit as usize].is_empty()
    }
}

/// The priority of each unit, or of the highest unit that follows it, directly or not.
pub(super) fn priorities(board: &Board<'_>) -> Vec<i32> {
    let mut priorities: Vec<i32> = board.units.iter().map(|unit| unit.requirements.placement.priority).collect();
    let mut changed: Vec<u32> = (0..board.units.len() as u32).collect();
    while let Some(unit) = changed.pop() {
        for peer in &board.unit(unit).requirements.peers {
            let Some(peer) = board.find(peer) else { continue };
            if priorities[peer as usize] < priorities[unit as usize] {
                priorities[peer as usize] = priorities[unit as usize];
                changed.push(peer);
            }
        }
    }
    priorities
}
