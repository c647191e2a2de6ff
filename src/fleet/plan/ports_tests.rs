//! Tests of published ports: units that take the same port of the host are on different machines.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::super::testkit::{Store, id};
use super::super::wanted::wanted;
use super::*;

fn machines(names: &[&str]) -> Store {
    let mut store = Store::default();
    for name in names {
        store.machine(name, &[]);
    }
    store
}

#[test]
fn one_port_is_one_units_on_a_machine() {
    // Ports of the first unit, on m1; of the second, and where it is, with only m1 and m2 there.
    let cases = [
        ("80:80", "80:8080", "m2"),
        ("80:80", "127.0.0.1:80:80", "m2"),
        ("127.0.0.1:80:80", "127.0.0.2:80:80", "m1"),
        ("80:80", "80:80/udp", "m1"),
        ("80", "80", "m1"),
        ("80-90:80-90", "85:1", "m2"),
    ];
    for (first, second, place) in cases {
        let mut store = machines(&["m1", "m2"]);
        store.container("a.container", &[first], "");
        store.settle();
        // Else the second machine would be taken as the less loaded one.
        store.launched("load.service", "Weight=9\nMachineID=m2");
        store.settle();
        store.container("b.container", &[second], "");
        store.settle();
        assert_eq!((store.place("a.container"), store.place("b.container")), ("m1".into(), place.into()), "{second}");
    }
}

#[test]
fn instances_go_apart_and_the_one_too_many_says_why() {
    let mut store = machines(&["m1", "m2"]);
    for n in 1..=3 {
        store.container(&format!("web@{n}.container"), &["80:80"], "");
    }
    let plan = store.settle();
    assert_eq!((store.place("web@1.container"), store.place("web@2.container")), ("m1".into(), "m2".into()));
    let waiting = &plan.waiting[0];
    assert_eq!(waiting.unit, "web@3.container");
    assert_eq!(
        waiting.passed_over[0].1.to_string(),
        "web@1.container, which is there, takes the host's port of PublishPort=80:80/tcp"
    );
    let verdicts = explain(&store.cluster(), "web@3.container").unwrap();
    assert!(verdicts.iter().all(|verdict| matches!(verdict.outcome, Err(Reason::PortTaken { .. }))));
    // With a specifier in it each has one of its own.
    for n in 4..=6 {
        store.container(&format!("own@{n}.container"), &["80%i:80"], "");
    }
    store.settle();
    assert!((4..=6).all(|n| store.place(&format!("own@{n}.container")) != "-"));
    store.machine("m3", &[]);
    store.settle();
    assert_eq!(store.place("web@3.container"), "m3");
}

#[test]
fn globals_priorities_and_replacements_go_by_ports_too() {
    // A global is where the port is free.
    let mut store = machines(&["m1", "m2"]);
    store.container("a.container", &["80:80"], "");
    store.settle();
    store.container("g.container", &["80:80"], "Global=true");
    store.settle();
    let on = |store: &Store, machine: &str| -> Vec<String> {
        let cluster = store.cluster();
        wanted(&cluster, &cluster.machines[&id(machine)]).into_iter().map(|unit| unit.file.name).collect()
    };
    assert_eq!((on(&store, "m1"), on(&store, "m2")), (vec!["a.container".into()], vec!["g.container".into()]));

    // A higher priority takes the port.
    let mut store = machines(&["m1"]);
    store.container("low.container", &["80:80"], "");
    store.settle();
    store.container("high.container", &["80:80"], "Priority=1");
    store.settle();
    assert_eq!((store.place("high.container"), store.place("low.container")), ("m1".into(), "-".into()));

    // What replaces another takes over its port.
    let mut store = machines(&["m1"]);
    store.container("blue.container", &["80:80"], "");
    store.settle();
    store.container("green.container", &["80:80"], "Replaces=blue.container");
    store.settle();
    assert_eq!((store.place("green.container"), store.place("blue.container")), ("m1".into(), "-".into()));
    assert_eq!(plan(&store.cluster()).decisions, []);
}

fn any_container() -> impl Strategy<Value = (String, Vec<String>, String)> {
    let port = ("", "127.0.0.1:", "127.0.0.2:", "0.0.0.0:");
    let port = prop_oneof![Just(port.0), Just(port.1), Just(port.2), Just(port.3)];
    let port = (port, 1..4_u16, prop_oneof![Just("tcp"), Just("udp")])
        .prop_map(|(address, host, protocol)| format!("{address}{host}:80/{protocol}"));
    let lines = prop_oneof![
        4 => Just(String::new()),
        1 => Just("Global=true".to_owned()),
        1 => (-2..3_i32).prop_map(|priority| format!("Priority={priority}")),
        1 => (0..6_u8).prop_map(|other| format!("Replaces=u{other}.container")),
        1 => (0..6_u8).prop_map(|other| format!("Conflicts=u{other}.container")),
    ];
    ((0..6_u8).prop_map(|n| format!("u{n}.container")), prop::collection::vec(port, 0..3), lines)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn no_machine_has_a_port_twice(
        count in 1..4_u8,
        units in prop::collection::vec(any_container(), 1..12),
        lost in prop::option::of(0..3_u8),
    ) {
        let mut store = Store::default();
        for n in 0..count {
            store.machine(&format!("m{n}"), &[]);
        }
        for (name, ports, lines) in &units {
            let ports: Vec<&str> = ports.iter().map(String::as_str).collect();
            store.container(name, &ports, lines);
            store.settle();
        }
        if let Some(lost) = lost {
            store.lose(&format!("m{lost}"));
            store.settle();
        }
        let cluster = store.cluster();
        prop_assert_eq!(plan(&cluster).decisions, vec![], "a second plan decides nothing");
        for machine in cluster.machines.values() {
            let here = wanted(&cluster, machine);
            for (at, one) in here.iter().enumerate() {
                for other in &here[at + 1..] {
                    let [one, other] = [one, other].map(|unit| &cluster.units[&unit.file.name]);
                    let mut pairs = one.requirements.ports.iter().flat_map(|a| other.requirements.ports.iter().map(move |b| (a, b)));
                    prop_assert!(!pairs.any(|(a, b)| a.clashes(b)), "{} and {}", one.name, other.name);
                }
            }
        }
    }
}
