//! What one machine is to run: the units scheduled on it and the globals that fit it.

use std::collections::BTreeSet;

use super::board::Board;
use super::cluster::Cluster;
use super::executor::UnitFile;
use super::types::{DesiredState, Machine, Unit};

/// A unit that this machine is to hold, loaded or launched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub file: UnitFile,
    /// Loaded or launched.
    pub desired: DesiredState,
    /// The [`Unit::launch`] to act on, if launched; 0 tells that nobody ever asked for a start.
    pub launch: u64,
}

/// The units that `machine` is to hold, by name. It need not be in the cluster's list: one whose presence has lapsed goes
/// on by what it knows of itself, `machine` as it would announce itself.
///
/// Scheduled units are taken as the engine put them; globals, in the order of their names, where neither the machine nor
/// a neighbour objects. The planner counts by the same rule.
pub fn wanted(cluster: &Cluster, machine: &Machine) -> Vec<Wanted> {
    let machine = cluster.with_overrides(machine);
    let here = |name: &str| {
        let scheduled = cluster.schedule.get(name);
        scheduled.is_some_and(|s| s.machine == machine.id)
    };
    let concerns = |u: &&Unit| u.is_active() && (u.requirements.global || here(&u.name));
    let units: Vec<&Unit> = cluster.units.values().map(AsRef::as_ref).filter(concerns).collect();
    let mut board = Board::new(vec![&machine], units);
    for unit in 0..board.units.len() as u32 {
        if !board.unit(unit).requirements.global {
            board.add(unit, 0);
        }
    }
    board.place_globals(0);
    let on: &BTreeSet<u32> = &board.on[0];
    on.iter().map(|unit| of(board.unit(*unit), &machine)).collect()
}

fn of(unit: &Unit, machine: &Machine) -> Wanted {
    let next = unit.next.as_ref().filter(|next| next.machines.contains(&machine.id));
    let (text, hash) = match next {
        Some(next) => (next.text.clone(), next.hash.clone()),
        None => (unit.text.to_string(), unit.hash.clone()),
    };
    Wanted {
        file: UnitFile { name: unit.name.clone(), text, hash },
        desired: unit.desired,
        launch: unit.launch_on(&machine.id),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::testkit::{Store, id};
    use super::*;

    fn names(store: &Store, machine: &str) -> Vec<String> {
        let cluster = store.cluster();
        let own = Machine { id: id(machine), ..Machine::default() };
        let machine = cluster.machines.get(&id(machine)).unwrap_or(&own);
        wanted(&cluster, machine).into_iter().map(|w| w.file.name).collect()
    }

    #[test]
    fn scheduled_here_or_global_and_fitting() {
        let mut store = Store::default();
        store.machine("m1", &[("region", "r1")]);
        store.machine("m2", &[]);
        store.launched("a.service", "Conflicts=g2.service");
        store.launched("b.service", "");
        store.launched("g1.service", "Global=true\nMachineMetadata=region=r1");
        store.launched("g2.service", "Global=true");
        store.launched("g3.service", "Global=true\nConflicts=g1.service");
        store.unit("g4.service", "Global=true", DesiredState::Inactive);
        store.launched("g@.service", "Global=true");
        // As if the schedule were older than the globals.
        for (unit, machine) in [("a.service", "m1"), ("b.service", "m2")] {
            let scheduled =
                super::super::Scheduled { machine: id(machine), generation: 1, moved_from: None, failures: None };
            store.put(&super::super::Key::Schedule(unit.into()), super::super::layout::encode(&scheduled));
        }
        assert_eq!(names(&store, "m1"), ["a.service", "g1.service"]);
        assert_eq!(names(&store, "m2"), ["b.service", "g2.service", "g3.service"]);
        assert_eq!(names(&store, "elsewhere"), ["g2.service", "g3.service"]);
        store.unit("a.service", "", DesiredState::Inactive);
        assert_eq!(names(&store, "m1"), ["g1.service", "g2.service"]);
    }

    #[test]
    fn what_the_planner_placed_never_ousts_a_global() {
        let mut store = Store::default();
        store.machine("m1", &[]);
        store.launched("g.service", "Global=true");
        store.launched("a.service", "Conflicts=g.service");
        store.settle();
        assert_eq!(names(&store, "m1"), ["g.service"]);
        store.unit("g.service", "Global=true", DesiredState::Inactive);
        store.settle();
        assert_eq!(names(&store, "m1"), ["a.service"]);
    }
}
