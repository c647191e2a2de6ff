//! What one machine is to run: the units scheduled on it and the globals that fit it.

use std::collections::BTreeSet;

use super::board::Board;
use super::cluster::Cluster;
use super::executor::UnitFile;
use super::once::is_done;
use super::plan::plan;
use super::types::{DesiredState, Machine, Unit};
use crate::base::MachineId;

/// A unit that this machine is to hold, loaded or launched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub file: UnitFile,
    /// Loaded or launched.
    pub desired: DesiredState,
    /// The [`Unit::launch`] to act on, if launched; 0 tells that nobody ever asked for a start.
    pub launch: u64,
    /// It has done already what it was last started for: it is not started again.
    pub done: bool,
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
        scheduled.is_some_and(|s| s.machine == machine.id && !s.leaving)
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
    on.iter().map(|unit| of(cluster, board.unit(*unit), &machine)).collect()
}

/// Of units that run on `machine` and are scheduled nowhere, those that the next plan leaves there. A unit loses its place when its
/// machine's presence lapses, and where nothing else could take it, it gets it back with the machine's return: to stop
/// it in between would be for nothing. While the machine is in nobody's list, that is all of them.
pub fn awaited<'a>(
    cluster: &Cluster,
    machine: &MachineId,
    units: impl IntoIterator<Item = &'a str>,
) -> BTreeSet<String> {
    let without_place = |name: &&str| {
        let launched = cluster.units.get(*name).is_some_and(|unit| unit.desired == DesiredState::Launched);
        launched && !cluster.schedule.contains_key(*name)
    };
    let mut names: BTreeSet<String> = units.into_iter().filter(without_place).map(str::to_owned).collect();
    if !names.is_empty() && cluster.machines.contains_key(machine) {
        let comes = plan(cluster).decisions.into_iter().filter(|decision| decision.to.as_ref() == Some(machine));
        let comes: BTreeSet<String> = comes.map(|decision| decision.unit).collect();
        names.retain(|name| comes.contains(name));
    }
    names
}

fn of(cluster: &Cluster, unit: &Unit, machine: &Machine) -> Wanted {
    let next = unit.next.as_ref().filter(|next| next.machines.contains(&machine.id));
    let (text, hash) = match next {
        Some(next) => (next.text.clone(), next.hash.clone()),
        None => (unit.text.to_string(), unit.hash.clone()),
    };
    Wanted {
        file: UnitFile { name: unit.name.clone(), text, hash },
        desired: unit.desired,
        launch: unit.launch_on(&machine.id),
        done: is_done(cluster, unit, &machine.id),
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
            let scheduled = super::super::Scheduled { machine: id(machine), generation: 1, ..Default::default() };
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

    #[test]
    fn what_lost_its_place_with_its_machine_goes_on_until_it_has_another() {
        let mut store = Store::default();
        store.machine("m1", &[]);
        store.machine("m2", &[("disk", "ssd")]);
        store.launched("pinned.service", "MachineMetadata=disk=ssd");
        store.launched("roamer.service", "MachineMetadata=disk=ssd");
        store.launched("stopped.service", "MachineMetadata=disk=ssd");
        store.settle();
        store.unit("roamer.service", "", DesiredState::Launched);
        store.unit("stopped.service", "", DesiredState::Inactive);
        store.lose("m2");
        store.settle();
        let running = ["gone.service", "pinned.service", "roamer.service", "stopped.service"];
        let kept = |store: &Store| awaited(&store.cluster(), &id("m2"), running).into_iter().collect::<Vec<_>>();
        assert_eq!(store.place("roamer.service"), "m1");
        assert_eq!(kept(&store), ["pinned.service"]);
        store.machine("m2", &[("disk", "ssd")]);
        assert_eq!(kept(&store), ["pinned.service"]);
        // It came back as another: the unit does not fit any more.
        store.machine("m2", &[]);
        assert_eq!(kept(&store), [""; 0]);
    }
}
