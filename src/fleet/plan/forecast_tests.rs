//! Tests of what is asked about plans: rebalancing, simulations, what is left of a drain.
#![allow(clippy::unwrap_used)]

use super::super::testkit::{Store, id};
use super::*;
use crate::fleet::types::Machine;

/// Units on the first machine, then a second one comes, empty.
fn lopsided(units: &[(&str, &str)]) -> Store {
    let mut store = Store::default();
    store.machine("m1", &[("zone", "a")]);
    for (name, lines) in units {
        store.launched(name, lines);
    }
    store.settle();
    store.machine("m2", &[("zone", "b")]);
    store.settle();
    store.carry_out();
    store
}

fn rebalance_once(store: &mut Store, moves_max: usize) {
    let plan = rebalance(&store.cluster(), moves_max);
    for part in crate::fleet::transactions(&plan, 128) {
        assert!(store.txn(&part));
    }
}

fn places(store: &Store, units: &[&str]) -> Vec<String> {
    units.iter().map(|unit| store.place(unit)).collect()
}

#[test]
fn rebalance_moves_a_few_at_a_time_until_nothing_is_better() {
    let names = ["a.service", "b.service", "c.service", "d.service", "w@1.service", "w@2.service"];
    let units: Vec<(&str, &str)> = names.iter().map(|name| (*name, "")).collect();
    let mut store = lopsided(&units);
    assert_eq!(plan(&store.cluster()).decisions, [], "the engine leaves them alone");
    let first = rebalance(&store.cluster(), 2);
    let told: Vec<String> = first.decisions.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "move a.service from m1 to m2: it is better off there",
            "move b.service from m1 to m2: it is better off there"
        ]
    );
    rebalance_once(&mut store, 2);
    assert_eq!(rebalance(&store.cluster(), 2).decisions, [], "they have not arrived");
    store.carry_out();
    rebalance_once(&mut store, 2);
    store.carry_out();
    assert_eq!(places(&store, &names), ["m2", "m2", "m2", "m1", "m1", "m1"]);
    assert_eq!(rebalance(&store.cluster(), 10).decisions, []);
    assert_eq!(plan(&store.cluster()).decisions, []);
}

#[test]
fn rebalance_moves_one_instance_of_a_template_at_a_time_and_leaves_followers() {
    let mut store = lopsided(&[
        ("w@1.service", "Spread=zone"),
        ("w@2.service", "Spread=zone"),
        ("w@3.service", "Spread=zone"),
        ("w@4.service", "Spread=zone"),
    ]);
    assert_eq!(rebalance(&store.cluster(), 9).decisions.len(), 1);
    for _ in 0..2 {
        rebalance_once(&mut store, 9);
        store.carry_out();
    }
    assert_eq!(rebalance(&store.cluster(), 9).decisions, []);
    assert_eq!(store.cluster().schedule.values().filter(|at| at.machine == id("m2")).count(), 2);
    let store = lopsided(&[
        ("lead.service", ""),
        ("side.service", "MachineOf=lead.service"),
        ("pin.service", "MachineMetadata=zone=a"),
    ]);
    assert_eq!(rebalance(&store.cluster(), 9).decisions, []);
}

#[test]
fn simulate_losing_draining_and_adding() {
    let mut store = Store::default();
    for machine in ["m1", "m2", "m3"] {
        store.machine(machine, &[("hostname", machine)]);
    }
    for (name, lines) in [
        ("a.service", ""),
        ("b.service", ""),
        ("c.service", ""),
        ("d.service", "MachineMetadata=hostname=m1"),
        ("e.service", "Conflicts=c.service\nMachineMetadata=hostname=m3"),
    ] {
        store.launched(name, lines);
    }
    store.settle();
    let cluster = store.cluster();
    let forecast = |scenario: Scenario| -> (Vec<String>, Vec<String>) {
        let forecast = simulate(&cluster, &scenario);
        (forecast.moves.iter().map(ToString::to_string).collect(), forecast.newly_waiting.into_iter().collect())
    };
    assert_eq!(forecast(Scenario::default()), (vec![], vec![]));
    let (moves, waiting) = forecast(Scenario { kill: vec![id("m1")], ..Scenario::default() });
    assert_eq!(
        moves,
        ["move a.service from m1 to m2: the machine is gone", "unschedule d.service from m1: the machine is gone"]
    );
    assert_eq!(waiting, ["d.service"]);
    let (moves, waiting) = forecast(Scenario { drain: vec![id("m1")], ..Scenario::default() });
    assert_eq!(
        (moves, waiting),
        (vec!["move a.service from m1 to m2: the machine is being drained".to_owned()], vec![])
    );
    // Losing another one lets the unit run that waited.
    let (moves, _) = forecast(Scenario { kill: vec![id("m3")], ..Scenario::default() });
    assert_eq!(moves, ["move c.service from m3 to m2: the machine is gone"]);
    let add = vec![Machine { id: id("new-1"), ..Machine::default() }];
    assert_eq!(forecast(Scenario { add: add.clone(), ..Scenario::default() }).0, Vec::<String>::new());
    let (moves, _) = forecast(Scenario { add, rebalance: true, ..Scenario::default() });
    assert_eq!(moves, ["move a.service from m1 to new-1: it is better off there"]);
    assert_eq!(store.cluster(), cluster, "nothing is changed");
}

#[test]
fn what_is_left_of_a_drain_and_why() {
    let mut store = Store::default();
    store.machine("m1", &[("hostname", "m1")]);
    store.launched("a.service", "");
    store.launched("b.service", "MachineMetadata=hostname=m1");
    store.launched("w@1.service", "");
    store.launched("w@2.service", "");
    store.settle();
    store.carry_out();
    store.machine("m2", &[("hostname", "m2")]);
    store.cordon("m1", Some(9));
    store.settle();
    let left = remaining(&store.cluster(), &id("m1"));
    let reason = |unit: usize| left.left[unit].1.as_ref().map(|reasons| reasons[1].1.to_string());
    assert_eq!(left.left.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["b.service", "w@2.service"]);
    assert_eq!(reason(0).unwrap(), "MachineMetadata asks for hostname=m1; the machine has hostname=m2");
    assert_eq!(reason(1), None);
    assert_eq!(left.moving.len(), 2);
    assert_eq!(left.stopping, ["a.service", "w@1.service"]);
    store.carry_out();
    store.settle();
    store.carry_out();
    let left = remaining(&store.cluster(), &id("m1"));
    assert_eq!((left.left.len(), left.moving.len(), left.stopping.len()), (1, 0, 0));
    // An instance that failed after another move holds its kind back, and is named.
    store.launched("w@3.service", "MachineMetadata=hostname=m1");
    store.uncordon("m1");
    store.settle();
    store.launched("w@3.service", "");
    store.report("w@1.service", "m2", "failed");
    store.cordon("m1", Some(9));
    assert_eq!(store.settle().decisions, []);
    let left = remaining(&store.cluster(), &id("m1"));
    assert_eq!(left.moving, [("w@1.service".to_owned(), id("m2"), Arrival::Failed)]);
}

#[test]
fn capacity_tells_what_is_taken() {
    let mut store = Store::default();
    store.sized_machine("m1", &[], 4 << 30, 4);
    store.launched("a.service", "Weight=3\nMemoryReservation=1G\nCPUReservation=0.5");
    store.launched("g.service", "Global=true\nMemoryReservation=1G");
    let full = capacity(&store.cluster());
    assert_eq!(
        (full[0].units, full[0].load, full[0].reserved_memory_bytes, full[0].reserved_cpu_millis),
        (2, 4, 2 << 30, 500)
    );
}
