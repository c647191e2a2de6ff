//! Tests of cordons and drains: what comes, what goes, and how many at once.
#![allow(clippy::unwrap_used)]

use super::super::testkit::Store;
use super::*;

fn store(machines: &[&str]) -> Store {
    let mut store = Store::default();
    for machine in machines {
        store.machine(machine, &[("hostname", machine)]);
    }
    store
}

fn on(store: &Store, machine: &str) -> Vec<String> {
    let cluster = store.cluster();
    cluster.schedule.iter().filter(|(_, at)| at.machine.0 == machine).map(|(name, _)| name.clone()).collect()
}

#[test]
fn a_cordoned_machine_keeps_what_it_has_and_takes_no_more() {
    let mut store = store(&["m1", "m2"]);
    store.launched("a.service", "");
    store.launched("g.service", "Global=true");
    store.settle();
    store.cordon("m1", None);
    store.launched("b.service", "");
    store.launched("c.service", "");
    store.launched("d.service", "MachineMetadata=hostname=m1");
    let plan = store.settle();
    assert_eq!(
        (on(&store, "m1"), on(&store, "m2")),
        (vec!["a.service".into()], vec!["b.service".into(), "c.service".into()])
    );
    assert_eq!(plan.waiting[0].passed_over[0].1, Reason::Cordoned { drain: false });
    // Globals are not scheduled: they stay.
    let machine = &store.cluster().machines[&super::super::testkit::id("m1")];
    assert_eq!(crate::fleet::wanted(&store.cluster(), machine).len(), 2);
    store.uncordon("m1");
    store.settle();
    assert_eq!(store.place("d.service"), "m1");
    // It outlives the machine.
    store.cordon("m2", None);
    store.lose("m2");
    store.machine("m2", &[]);
    store.launched("e.service", "");
    store.settle();
    assert_eq!(store.place("e.service"), "m1");
}

#[test]
fn a_drain_moves_so_many_at_once_and_of_each_template_one() {
    let mut store = store(&["m1", "m2", "m3"]);
    for unit in ["a.service", "b.service", "w@1.service", "w@2.service", "w@3.service"] {
        store.launched(unit, "MachineMetadata=hostname=m1");
    }
    store.settle();
    for unit in ["a.service", "b.service", "w@1.service", "w@2.service", "w@3.service"] {
        store.launched(unit, "");
    }
    store.settle();
    store.carry_out();
    assert_eq!(on(&store, "m1").len(), 5);
    store.cordon("m1", Some(3));
    let moved = |plan: &Plan| -> Vec<String> { plan.decisions.iter().map(|d| d.unit.clone()).collect() };
    let plan = store.settle();
    assert_eq!(moved(&plan), ["a.service", "b.service", "w@1.service"]);
    assert_eq!(plan.decisions[0].to_string(), "move a.service from m1 to m2: the machine is being drained");
    assert_eq!(store.settle().decisions, []);
    // One has arrived: the other instance still waits for the first.
    let place = store.place("a.service");
    store.report("a.service", &place, "active");
    assert_eq!(store.settle().decisions, []);
    let place = store.place("w@1.service");
    store.report("w@1.service", &place, "active");
    assert_eq!(moved(&store.settle()), ["w@2.service"]);
    // An instance that fails where it went to holds the others back, not the rest.
    let place = store.place("w@2.service");
    store.report("w@2.service", &place, "failed");
    assert_eq!(store.settle().decisions, []);
    assert_eq!(on(&store, "m1"), ["w@3.service"]);
    store.report("w@2.service", &place, "active");
    assert_eq!(moved(&store.settle()), ["w@3.service"]);
    store.carry_out();
    assert_eq!((store.settle().decisions.len(), on(&store, "m1").len()), (0, 0));
}

#[test]
fn globals_stop_on_a_drained_machine_and_are_back_after_it() {
    let mut store = store(&["m1", "m2"]);
    store.launched("g.service", "Global=true");
    store.settle();
    let globals = |store: &Store| -> Vec<usize> {
        let cluster = store.cluster();
        let of = |name: &str| crate::fleet::wanted(&cluster, &cluster.machines[&super::super::testkit::id(name)]).len();
        vec![of("m1"), of("m2")]
    };
    assert_eq!(globals(&store), [1, 1]);
    store.report("g.service", "m1", "active");
    store.cordon("m1", Some(1));
    let m1 = super::super::testkit::id("m1");
    assert_eq!(remaining(&store.cluster(), &m1).stopping, ["g.service"]);
    assert_eq!(globals(&store), [0, 1]);
    store.uncordon("m1");
    assert_eq!(globals(&store), [1, 1]);
    store.cordon("m1", None);
    assert_eq!(globals(&store), [1, 1]);
}

#[test]
fn what_fits_nowhere_else_stays_and_runs() {
    let mut store = store(&["m1", "m2"]);
    store.launched("pinned.service", "MachineMetadata=hostname=m1");
    store.launched("x.service", "Conflicts=y.service\nMachineMetadata=hostname=m1");
    store.launched("y.service", "MachineMetadata=hostname=m2");
    store.settle();
    store.launched("x.service", "Conflicts=y.service");
    store.cordon("m1", Some(10));
    assert_eq!(store.settle().decisions, []);
    assert_eq!(on(&store, "m1"), ["pinned.service", "x.service"]);
    store.destroy("y.service");
    store.settle();
    assert_eq!(on(&store, "m1"), ["pinned.service"]);
}

#[test]
fn followers_go_with_the_unit_that_they_follow() {
    let mut store = store(&["m1", "m2"]);
    store.launched("main.service", "MachineMetadata=hostname=m1");
    store.launched("side.service", "MachineOf=main.service");
    store.settle();
    store.launched("main.service", "");
    store.settle();
    store.cordon("m1", Some(1));
    store.settle();
    assert_eq!((store.place("main.service"), store.place("side.service")), ("m2".into(), "m2".into()));
    store.carry_out();
    assert_eq!(store.settle().decisions, []);
}
