//! `Reschedule=on-failure`: a unit that has failed where it is moves to another machine that takes it, each time later than
//! the last. Without another machine it stays, failed, for people to look at.

use super::{Planner, Reason};
use crate::base::UnixMillis;
use crate::base::limits::{RESCHEDULE_FORGET_MS, RESCHEDULE_MS_MAX, RESCHEDULE_MS_MIN};
use crate::fleet::Cluster;
use crate::fleet::types::{Failures, Unit};

impl Planner<'_> {
    /// Moves failed units whose time has come; notes when that of the next one comes.
    pub(super) fn reschedule(&mut self, cluster: &Cluster, now: UnixMillis) {
        for unit in 0..self.board.units.len() as u32 {
            let this = self.board.unit(unit);
            if !this.requirements.placement.reschedule || !self.has_failed(cluster, unit) {
                continue;
            }
            let before = self.scheduled[unit as usize].and_then(|at| at.failures);
            let due = before.map_or(now, due);
            if now < due {
                self.look_again = Some(self.look_again.map_or(due, |known| known.min(due)));
                continue;
            }
            let lately = before.filter(|failures| now < failures.at.plus_ms(RESCHEDULE_FORGET_MS));
            let count = lately.map_or(0, |failures| failures.count).saturating_add(1);
            self.relocate(unit, Reason::Failed(Failures { count, at: now }));
        }
        self.place_all();
    }

    /// Whether a unit has failed on the machine that it is scheduled on and is to stay on.
    fn has_failed(&self, cluster: &Cluster, unit: u32) -> bool {
        let this: &Unit = self.board.unit(unit);
        let Some(at) = self.scheduled[unit as usize] else { return false };
        let stays = self.board.place[unit as usize].is_some_and(|machine| *self.board.id(machine) == at.machine);
        let state = cluster.states.get(&this.name).and_then(|on| on.get(&at.machine));
        stays && state.is_some_and(|state| state.launched == this.launch && state.state.active == "failed")
    }
}

/// When a unit that was moved for its failures may be moved again.
fn due(failures: Failures) -> UnixMillis {
    let doublings = failures.count.saturating_sub(1).min(16);
    failures.at.plus_ms((RESCHEDULE_MS_MIN << doublings).min(RESCHEDULE_MS_MAX))
}
