//! What is known of the units held here, and which changes nobody has been told of yet. Values only: no bus, no clock.
//!
//! Signals and answers to questions reach us by different ways, so each observation carries its place in the stream of
//! messages, and one that is older than what is known already changes nothing.

use std::collections::BTreeMap;

use crate::base::UnixMillis;
use crate::fleet::executor::{ActiveState, StateChange};

/// Parts of a state, as one message tells them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub load: Option<String>,
    pub active: Option<String>,
    pub sub: Option<String>,
    /// When a timer has last elapsed.
    pub elapsed: Option<UnixMillis>,
}

/// The units held here. `At` is a place in the stream of messages.
#[derive(Debug)]
pub struct Board<At> {
    units: BTreeMap<String, Entry<At>>,
    /// The newest change of each unit that was not taken yet.
    changes: BTreeMap<String, Option<ActiveState>>,
}

#[derive(Debug)]
struct Entry<At> {
    state: ActiveState,
    /// Where each part of the state was told. A message may tell one part only, and must not outdate the others.
    at: [At; 4],
    /// Being loaded: whether it will be held is not certain, so nothing is told of it.
    quiet: bool,
}

impl<At> Default for Board<At> {
    fn default() -> Self {
        Self { units: BTreeMap::new(), changes: BTreeMap::new() }
    }
}

impl<At: Copy + Default + Ord> Board<At> {
    pub fn holds(&self, name: &str) -> bool {
        self.units.contains_key(name)
    }

    pub fn names(&self) -> Vec<String> {
        self.units.keys().cloned().collect()
    }

    pub fn state(&self, name: &str) -> Option<&ActiveState> {
        self.units.get(name).map(|entry| &entry.state)
    }

    /// Follows a unit from now on, and keeps silent about it until [`Board::announce`]. Says whether it is new.
    pub fn follow(&mut self, name: &str) -> bool {
        if self.holds(name) {
            return false;
        }
        let state = ActiveState::of("loaded", "inactive", "dead");
        self.units.insert(name.to_owned(), Entry { state, at: [At::default(); 4], quiet: true });
        true
    }

    /// A unit is held: its changes are told, beginning with its present state.
    pub fn announce(&mut self, name: &str) {
        if let Some(entry) = self.units.get_mut(name).filter(|entry| entry.quiet) {
            entry.quiet = false;
            self.changes.insert(name.to_owned(), Some(entry.state.clone()));
        }
    }

    /// A unit whose load failed is no longer followed, as if it had never been.
    pub fn abandon(&mut self, name: &str) {
        self.units.remove(name);
        self.changes.remove(name);
    }

    /// A unit is gone, and that is told.
    pub fn forget(&mut self, name: &str) {
        if self.units.remove(name).is_some() {
            self.changes.insert(name.to_owned(), None);
        }
    }

    /// Takes in what a message at `at` says of a unit. Says whether its state is another now.
    pub fn observe(&mut self, name: &str, seen: Seen, at: At) -> bool {
        let Some(entry) = self.units.get_mut(name) else { return false };
        let state = &mut entry.state;
        let parts = [(&mut state.load, seen.load), (&mut state.active, seen.active), (&mut state.sub, seen.sub)];
        let mut changed = false;
        for ((part, new), told_at) in parts.into_iter().zip(&mut entry.at) {
            let Some(new) = new.filter(|_| *told_at <= at) else { continue };
            *told_at = at;
            changed |= *part != new;
            *part = new;
        }
        let [.., told_at] = &mut entry.at;
        if seen.elapsed.is_some() && *told_at <= at {
            *told_at = at;
            changed |= state.elapsed != seen.elapsed;
            state.elapsed = seen.elapsed;
        }
        if !changed {
            return false;
        }
        if !entry.quiet {
            self.changes.insert(name.to_owned(), Some(entry.state.clone()));
        }
        true
    }

    /// The changes since the last call: the newest of each unit.
    pub fn take_changes(&mut self) -> Vec<StateChange> {
        let changes = std::mem::take(&mut self.changes);
        changes.into_iter().map(|(name, state)| StateChange { name, state }).collect()
    }
}

impl Seen {
    /// All of a state.
    pub fn whole(state: ActiveState) -> Self {
        Self { load: Some(state.load), active: Some(state.active), sub: Some(state.sub), elapsed: state.elapsed }
    }

    /// A unit that systemd has dropped from memory, which it does with units at rest only.
    pub fn dropped() -> Self {
        Self { active: Some("inactive".to_owned()), sub: Some("dead".to_owned()), ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn seen(active: &str, sub: &str) -> Seen {
        Seen { active: Some(active.to_owned()), sub: Some(sub.to_owned()), ..Seen::default() }
    }

    fn held() -> Board<u64> {
        let mut board = Board::default();
        board.follow("a.service");
        board.announce("a.service");
        board.take_changes();
        board
    }

    #[test]
    fn the_newest_change_of_each_unit_is_told_once() {
        let mut board = held();
        assert!(board.observe("a.service", seen("activating", "start"), 1));
        assert!(board.observe("a.service", seen("active", "running"), 2));
        assert!(!board.observe("a.service", seen("active", "running"), 3));
        let changes = board.take_changes();
        assert_eq!(changes.len(), 1);
        let state = changes[0].state.clone().unwrap();
        assert_eq!((state.load.as_str(), state.active.as_str(), state.sub.as_str()), ("loaded", "active", "running"));
        assert_eq!(board.take_changes(), []);
    }

    #[test]
    fn a_timer_that_elapses_again_is_told_though_it_waits_as_before() {
        let mut board = held();
        let elapsed = |ms| Seen { elapsed: Some(UnixMillis(ms)), ..Seen::default() };
        assert!(board.observe("a.service", elapsed(5), 3));
        assert!(!board.observe("a.service", elapsed(4), 2));
        assert!(!board.observe("a.service", Seen::dropped(), 4));
        let changes = board.take_changes();
        assert_eq!(changes[0].state.as_ref().unwrap().elapsed, Some(UnixMillis(5)));
    }

    #[test]
    fn what_is_older_than_what_is_known_changes_nothing() {
        let mut board = held();
        assert!(board.observe("a.service", seen("active", "running"), 7));
        assert!(!board.observe("a.service", seen("activating", "start"), 6));
        assert_eq!(board.state("a.service").unwrap().active, "active");
    }

    #[test]
    fn a_message_about_one_part_does_not_outdate_the_others() {
        let mut board = held();
        assert!(!board.observe("a.service", Seen::dropped(), 7));
        let read = ActiveState::of("bad-setting", "active", "dead");
        assert!(board.observe("a.service", Seen::whole(read), 6));
        let state = board.state("a.service").unwrap();
        assert_eq!((state.load.as_str(), state.active.as_str()), ("bad-setting", "inactive"));
    }

    #[test]
    fn units_that_are_not_held_are_not_told_of() {
        let mut board = held();
        assert!(!board.observe("other.service", seen("active", "running"), 1));
        assert!(board.follow("new.service"));
        assert!(board.observe("new.service", seen("failed", "failed"), 1));
        assert_eq!(board.take_changes(), []);
        board.abandon("new.service");
        board.forget("new.service");
        assert_eq!(board.take_changes(), []);
    }

    #[test]
    fn a_load_is_announced_with_the_state_that_it_found() {
        let mut board = held();
        board.follow("b.service");
        board.observe("b.service", seen("active", "running"), 4);
        board.announce("b.service");
        board.announce("a.service");
        let changes = board.take_changes();
        assert_eq!(changes.len(), 1);
        assert_eq!(changes[0].state.as_ref().unwrap().active, "active");
        board.forget("b.service");
        assert_eq!(board.take_changes(), [StateChange { name: "b.service".to_owned(), state: None }]);
    }
}
