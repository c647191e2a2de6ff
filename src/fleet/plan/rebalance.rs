//! Rebalancing: units move to machines that they would rather be on, as they would be placed today. The engine never does
//! this by itself; somebody asks for it, for a few units at a time.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::drain::Moving;
use super::{Plan, Planner, Reason};
use crate::base::MachineId;
use crate::fleet::Cluster;
use crate::fleet::fence::Absent;

/// The plan in which at most `moves_max` units are on their way, those included that were moved before and have not
/// arrived; of each template one after the other. Each move brings its unit to a better machine, so that repeating it comes
/// to an end. Units that follow others (`MachineOf`), or are followed, stay.
pub fn rebalance(cluster: &Cluster, moves_max: usize) -> Plan {
    let mut planner = Planner::settled(cluster, Absent::Unknown);
    let mut moving = Moving::of(cluster);
    planner.improve(|unit, from| {
        let may = moving.total() < moves_max && moving.allows(from, unit, u32::MAX);
        if may {
            moving.start(from, unit);
        }
        may
    });
    planner.into_plan(cluster)
}

impl<'a> Planner<'a> {
    /// Moves units for the better, from the most loaded machines first, until no move is one or `may` allows no more of
    /// those that would be.
    pub(super) fn improve(&mut self, mut may: impl FnMut(&'a str, &'a MachineId) -> bool) {
        let followed: BTreeSet<u32> = self.with_peers.iter().flat_map(|unit| self.leaders_of(*unit)).collect();
        let mut refused = BTreeSet::new();
        let mut changed = true;
        while changed {
            changed = false;
            let mut machines: Vec<u32> = self.board.lightest().collect();
            machines.reverse();
            for machine in machines {
                let units: Vec<u32> = self.board.on[machine as usize].iter().copied().collect();
                for unit in units {
                    let stays = self.board.place[unit as usize] != Some(machine)
                        || self.board.machines[machine as usize].cordon.is_some()
                        || !self.board.unit(unit).requirements.peers.is_empty()
                        || followed.contains(&unit)
                        || refused.contains(&unit);
                    if stays || !self.has_better(unit, machine) {
                        continue;
                    }
                    if may(&self.board.unit(unit).name, self.board.id(machine)) {
                        changed |= self.relocate(unit, Reason::Rebalanced);
                    } else {
                        refused.insert(unit);
                    }
                }
            }
        }
    }

    fn leaders_of(&self, unit: u32) -> Vec<u32> {
        let peers = &self.board.unit(unit).requirements.peers;
        peers.iter().filter_map(|peer| self.board.find(peer)).collect()
    }

    /// Whether another machine is better for a unit than the one that it is on, were it on neither.
    fn has_better(&mut self, unit: u32, at: u32) -> bool {
        let (class, candidates) = self.candidates_of(unit);
        let taste = self.taste_of(unit, class, &candidates);
        self.board.remove(unit, at);
        let rank = |machine: u32| {
            let liking = taste.as_ref().map_or(0, |taste| taste.likings.of[machine as usize]);
            (self.board.ledger.crowd(unit, machine), Reverse(liking), self.board.load(machine))
        };
        let to = self.choose(unit, &candidates, taste.as_ref());
        let better = to.is_some_and(|to| rank(to) < rank(at));
        self.board.add(unit, at);
        better
    }
}
