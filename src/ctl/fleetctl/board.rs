//! What is known of the units that are waited for, and how they stand to where they should come.

use std::collections::BTreeMap;

use super::list::{Machines, machine_legend};
use crate::api::fleet::model::{News, UnitJson, UnitStateJson};

/// How far units should come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    Inactive,
    Loaded,
    /// Launched, and active according to systemd.
    Launched,
}

impl Goal {
    /// The desired and the current state that it means.
    pub fn word(self) -> &'static str {
        match self {
            Self::Inactive => "inactive",
            Self::Loaded => "loaded",
            Self::Launched => "launched",
        }
    }
}

/// What is known of the units that are waited for.
#[derive(Default)]
pub struct Board {
    pub machines: Machines,
    pub units: BTreeMap<String, UnitJson>,
    pub states: BTreeMap<(String, String), UnitStateJson>,
    /// Which start that was asked for each state is about.
    pub launches: BTreeMap<(String, String), u64>,
    /// Whether all that was there has been told.
    pub synced: bool,
}

/// How a unit stands to its goal.
#[derive(Debug, PartialEq, Eq)]
pub enum Standing {
    Reached,
    OnItsWay,
    /// Launched, and not yet active.
    Starting,
    /// As things stand it cannot get there.
    Stuck(Stuck),
    Gone,
}

/// Why a unit does not get on.
#[derive(Debug, PartialEq, Eq)]
pub enum Stuck {
    Nowhere,
    Refused(String),
    Down(String),
}

impl Board {
    /// Takes in a line of the watch.
    pub fn take_in(&mut self, line: &[u8]) {
        let Ok(news) = serde_json::from_slice::<News>(line) else { return };
        self.synced |= news.synced;
        if let Some(machine) = news.machine {
            self.machines.insert(machine.id.clone(), machine);
        }
        if let Some(unit) = news.unit {
            self.units.insert(unit.name.clone(), unit);
        }
        if let Some(state) = news.state {
            self.launches.insert((state.name.clone(), state.machine_id.clone()), news.launched);
            self.states.insert((state.name.clone(), state.machine_id.clone()), state);
        }
        if let Some(gone) = news.gone {
            if gone.state {
                let key = (gone.unit, gone.machine_id);
                self.launches.remove(&key);
                self.states.remove(&key);
            } else if gone.unit.is_empty() {
                self.machines.remove(&gone.machine_id);
            } else {
                self.units.remove(&gone.unit);
            }
        }
    }

    /// How a unit stands to a goal.
    pub fn standing(&self, goal: Goal, name: &str) -> Standing {
        let Some(unit) = self.units.get(name) else { return Standing::Gone };
        // Global units have no current state: what is wanted of them is all there is.
        let current = if unit.current_state.is_empty() { &unit.desired_state } else { &unit.current_state };
        let arrived = unit.desired_state == goal.word() && current == goal.word();
        let state = self.states.get(&(name.to_owned(), unit.machine_id.clone()));
        let problem = state.map(|state| state.problem.as_str()).filter(|problem| !problem.is_empty());
        if goal != Goal::Launched && arrived {
            return Standing::Reached;
        }
        if goal != Goal::Inactive {
            if unit.machine_id.is_empty() {
                return Standing::Stuck(Stuck::Nowhere);
            }
            if state.is_some_and(|state| state.put_off) {
                return Standing::OnItsWay;
            }
            if let Some(problem) = problem {
                return Standing::Stuck(Stuck::Refused(problem.to_owned()));
            }
        }
        if !arrived {
            return Standing::OnItsWay;
        }
        match state {
            Some(state) if state.active == "active" && state.load == "loaded" => Standing::Reached,
            Some(state) if matches!(state.active.as_str(), "activating" | "reloading" | "deactivating") => {
                Standing::Starting
            }
            Some(state) => Standing::Stuck(Stuck::Down(format!("{} ({})", state.active, state.sub))),
            None => Standing::Starting,
        }
    }

    /// The line that says how far a unit has come.
    pub fn line(&self, name: &str) -> String {
        let current = self.units.get(name).map(|unit| unit.current_state.as_str()).unwrap_or_default();
        let place = self.place(name);
        // Of a machine that has nothing of the unit any more nobody asks which it is.
        if place.is_empty() || current == Goal::Inactive.word() {
            format!("Unit {name} {current}\n")
        } else {
            format!("Unit {name} {current} on {place}\n")
        }
    }

    /// How far its machine's engine has come with pulling a container's image.
    pub fn pulling(&self, name: &str) -> Option<&str> {
        let unit = self.units.get(name)?;
        self.states.get(&(name.to_owned(), unit.machine_id.clone()))?.sub.strip_prefix("pulling-")
    }

    /// The machine that a unit is scheduled on, for people; empty: none.
    pub fn place(&self, name: &str) -> String {
        let machine = self.units.get(name).map(|unit| unit.machine_id.as_str()).unwrap_or_default();
        if machine.is_empty() { String::new() } else { machine_legend(machine, &self.machines) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef";

    fn board(lines: &[&str]) -> Board {
        let mut board = Board::default();
        for line in lines {
            board.take_in(line.as_bytes());
        }
        board
    }

    fn unit(desired: &str, current: &str, machine: &str) -> String {
        format!(
            r#"{{"unit":{{"name":"a.service","desiredState":"{desired}","currentState":"{current}","machineID":"{machine}"}}}}"#
        )
    }

    fn state(active: &str, problem: &str) -> String {
        format!(
            r#"{{"state":{{"name":"a.service","machineID":"{ID}","systemdLoadState":"loaded","systemdActiveState":"{active}","systemdSubState":"x","problem":"{problem}"}}}}"#
        )
    }

    #[test]
    fn how_units_stand_to_their_goals() {
        use Goal::{Inactive, Launched, Loaded};
        let down = || Standing::Stuck(Stuck::Down("failed (x)".into()));
        let refused = || Standing::Stuck(Stuck::Refused("no".into()));
        let nowhere = || Standing::Stuck(Stuck::Nowhere);
        let cases = [
            (Inactive, vec![unit("inactive", "inactive", "")], Standing::Reached),
            (Inactive, vec![unit("inactive", "launched", ID)], Standing::OnItsWay),
            (Inactive, vec![unit("inactive", "", "")], Standing::Reached),
            (Loaded, vec![unit("launched", "launched", ID)], Standing::OnItsWay),
            (Loaded, vec![unit("loaded", "loaded", ID), state("failed", "")], Standing::Reached),
            (Launched, vec![unit("launched", "inactive", "")], nowhere()),
            (Launched, vec![unit("launched", "inactive", ID)], Standing::OnItsWay),
            (Launched, vec![unit("launched", "inactive", ID), state("", "no")], refused()),
            (Launched, vec![unit("launched", "launched", ID), state("active", "")], Standing::Reached),
            (Launched, vec![unit("launched", "launched", ID), state("activating", "")], Standing::Starting),
            (Launched, vec![unit("launched", "launched", ID), state("failed", "")], down()),
            (Launched, vec![unit("loaded", "launched", ID), state("active", "")], Standing::OnItsWay),
            (Launched, vec![], Standing::Gone),
        ];
        for (goal, lines, expected) in cases {
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            assert_eq!(board(&lines).standing(goal, "a.service"), expected, "{goal:?} {lines:?}");
        }
    }

    #[test]
    fn lines_name_machine_and_address() {
        let machine = format!(r#"{{"machine":{{"id":"{ID}","primaryIP":"10.0.0.1"}}}}"#);
        let launched = unit("launched", "launched", ID);
        let line = |lines: &[&str]| board(lines).line("a.service");
        assert_eq!(line(&[&machine, &launched]), "Unit a.service launched on 01234567.../10.0.0.1\n");
        assert_eq!(line(&[&launched]), "Unit a.service launched on 01234567...\n");
        assert_eq!(line(&[&unit("inactive", "inactive", "")]), "Unit a.service inactive\n");
        assert_eq!(line(&[&machine, &unit("inactive", "inactive", ID)]), "Unit a.service inactive\n");
        assert_eq!(line(&[&unit("inactive", "", "")]), "Unit a.service \n");
        let gone = r#"{"gone":{"unit":"a.service"}}"#;
        assert_eq!(board(&[&launched, gone]).standing(Goal::Launched, "a.service"), Standing::Gone);
    }
}
