//! Tests of the keys of `[X-Fleet]` that fleet did not have: where units go, and why not elsewhere.
#![allow(clippy::unwrap_used)]

use super::super::testkit::{Store, id};
use super::*;

const GIB: u64 = 1 << 30;

/// Two zones with two machines each, and a machine without a zone; n1 is the largest.
fn zones() -> Store {
    let mut store = Store::default();
    store.sized_machine("a1", &[("zone", "a"), ("disk", "ssd")], 4 * GIB, 4);
    store.sized_machine("a2", &[("zone", "a"), ("disk", "hdd")], 4 * GIB, 4);
    store.sized_machine("b1", &[("zone", "b"), ("disk", "ssd")], 4 * GIB, 4);
    store.sized_machine("b2", &[("zone", "b"), ("disk", "hdd")], 4 * GIB, 4);
    store.sized_machine("n1", &[("disk", "hdd")], 8 * GIB, 8);
    store
}

/// Launches units one after the other and tells where each is.
fn places(store: &mut Store, units: &[(&str, &str)]) -> Vec<String> {
    for (name, lines) in units {
        store.launched(name, lines);
        store.settle();
    }
    assert_eq!(plan(&store.cluster()).decisions, [], "a second plan decides nothing");
    units.iter().map(|(name, _)| store.place(name)).collect()
}

/// What is said of each machine for a unit.
fn said(store: &Store, unit: &str) -> Vec<String> {
    let told = explain(&store.cluster(), unit).unwrap();
    let text = |verdict: Verdict| match verdict.outcome {
        Ok(fit) => format!("{}: {fit}", verdict.machine),
        Err(reason) => format!("{}: {reason}", verdict.machine),
    };
    told.into_iter().map(text).collect()
}

#[test]
fn spread_over_the_values_of_a_key() {
    let mut store = zones();
    let web: Vec<(String, &str)> = (1..=6).map(|n| (format!("web@{n}.service"), "Spread=zone")).collect();
    let web: Vec<(&str, &str)> = web.iter().map(|(n, l)| (n.as_str(), *l)).collect();
    assert_eq!(places(&mut store, &web), ["a1", "b1", "n1", "a2", "b2", "n1"]);
    assert_eq!(said(&store, "web@6.service")[4], "n1: fits: load 1, 1 of its kind without zone");
    assert_eq!(said(&store, "web@6.service")[0], "a1: fits: load 1, 2 of its kind with zone=a");
    // Other templates do not count, load comes second.
    assert_eq!(places(&mut store, &[("db@1.service", "Spread=zone\nMachineMetadata=zone!=none")]), ["a1"]);
}

#[test]
fn spread_by_several_keys_and_by_machine() {
    let mut store = zones();
    let lines = "Spread=disk\nSpread=zone";
    let units = [("x@1.service", lines), ("x@2.service", lines), ("x@3.service", lines), ("x@4.service", lines)];
    assert_eq!(places(&mut store, &units), ["a1", "b2", "n1", "b1"]);
    let mut store = zones();
    store.launched("heavy.service", "Weight=50\nMachineMetadata=zone=b\nMachineMetadata=disk=ssd");
    let by_machine = "Spread=MachineID\nMachineMetadata=zone=b";
    let units = [("y@1.service", by_machine), ("y@2.service", by_machine), ("y@3.service", by_machine)];
    assert_eq!(places(&mut store, &units), ["b2", "b1", "b2"]);
}

#[test]
fn spread_is_a_wish_and_no_rule() {
    let mut store = zones();
    let pinned = "Spread=zone\nMachineMetadata=zone=a";
    assert_eq!(
        places(&mut store, &[("w@1.service", pinned), ("w@2.service", pinned), ("w@3.service", pinned)]),
        ["a1", "a2", "a1"]
    );
}

#[test]
fn prefer_by_weight() {
    for (lines, expected) in [
        ("Prefer=disk=hdd", "a2"),
        ("Prefer=zone=b", "b1"),
        ("Prefer=zone=b 2\nPrefer=disk=hdd 3", "b2"),
        ("Prefer=disk=ssd -1", "a2"),
        ("Prefer=zone=b -2\nPrefer=disk=ssd 1", "a1"),
        ("Prefer=zone!=a\nPrefer=disk!=ssd", "b2"),
        ("Prefer=zone=nowhere", "a1"),
        ("Prefer=zone=b\nMachineMetadata=zone=a", "a1"),
        ("Spread=zone\nPrefer=disk=hdd", "a2"),
    ] {
        assert_eq!(places(&mut zones(), &[("a.service", lines)]), [expected], "{lines}");
    }
    let mut store = zones();
    store.launched("a.service", "Prefer=zone=b 7");
    store.settle();
    assert_eq!(said(&store, "a.service")[2], "b1: fits: load 0, preferred by 7");
}

#[test]
fn weight_counts_as_many_units() {
    let mut store = Store::default();
    store.machine("m1", &[]);
    store.machine("m2", &[]);
    let units = [("a.service", "Weight=3"), ("b.service", ""), ("c.service", ""), ("d.service", ""), ("e.service", "")];
    assert_eq!(places(&mut store, &units), ["m1", "m2", "m2", "m2", "m1"]);
}

#[test]
fn max_per_machine() {
    let mut store = Store::default();
    store.machine("m1", &[]);
    store.machine("m2", &[]);
    let lines = "MaxPerMachine=2";
    let units: Vec<String> = (1..=5).map(|n| format!("w@{n}.service")).collect();
    let units: Vec<(&str, &str)> = units.iter().map(|n| (n.as_str(), lines)).collect();
    assert_eq!(places(&mut store, &units), ["m1", "m2", "m1", "m2", "-"]);
    assert_eq!(said(&store, "w@5.service")[0], "m1: MaxPerMachine=2: so many of its kind are there");
    assert_eq!(places(&mut store, &[("w@6.timer", lines), ("v@1.service", lines)]), ["m1", "m2"]);
    // One that came before may have to go: the first by name stay.
    for n in 1..=4 {
        store.launched(&format!("w@{n}.service"), "MaxPerMachine=1");
    }
    store.settle();
    assert_eq!([1, 2, 3, 4].map(|n| store.place(&format!("w@{n}.service"))), ["m1", "m2", "-", "-"]);
}

#[test]
fn memory_and_cpu_reservations_against_what_the_machine_has() {
    let mut store = Store::default();
    store.sized_machine("m1", &[], 4 * GIB, 2);
    store.sized_machine("m2", &[], 2 * GIB, 4);
    store.machine("m3", &[]);
    for (name, lines, expected) in [
        ("a.service", "MemoryReservation=3G", "m1"),
        ("b.service", "MemoryReservation=3G", "-"),
        ("c.service", "MemoryReservation=1G", "m2"),
        ("d.service", "CPUReservation=3", "m2"),
        ("e.service", "CPUReservation=1.5\nMemoryReservation=512M", "m1"),
        ("f.service", "CPUReservation=60%", "m2"),
        ("g.service", "CPUReservation=0.6", "-"),
        ("h.service", "", "m3"),
    ] {
        assert_eq!(places(&mut store, &[(name, lines)]), [expected], "{name}");
    }
    assert_eq!(
        said(&store, "b.service"),
        [
            "m1: MemoryReservation=3072M: 512M of 4096M are not reserved",
            "m2: MemoryReservation=3072M: 1024M of 2048M are not reserved",
            "m3: MemoryReservation: the machine does not tell how much memory it has",
        ]
    );
    assert_eq!(
        said(&store, "g.service"),
        [
            "m1: CPUReservation=0.6: 0.5 of 2 cores are not reserved",
            "m2: CPUReservation=0.6: 0.4 of 4 cores are not reserved",
            "m3: CPUReservation: the machine does not tell how many cores it has",
        ]
    );
    store.destroy("a.service");
    store.settle();
    assert_eq!(store.place("b.service"), "m1");
}

#[test]
fn negation_and_comparison_in_machine_metadata() {
    let mut store = Store::default();
    store.machine("m1", &[("cores", "4"), ("zone", "a")]);
    store.machine("m2", &[("cores", "16"), ("zone", "b")]);
    store.machine("m3", &[("cores", "many")]);
    for (lines, expected) in [
        ("MachineMetadata=zone!=a", "m2"),
        ("MachineMetadata=zone!=a\nMachineMetadata=zone!=b", "m3"),
        ("MachineMetadata=cores>=5", "m2"),
        ("MachineMetadata=cores<16", "m1"),
        ("MachineMetadata=\"cores>4\" \"cores<=15\"", "-"),
        ("MachineMetadata=zone=a\nMachineMetadata=zone=b\nMachineMetadata=zone!=a", "m2"),
    ] {
        assert_eq!(places(&mut store.clone(), &[("a.service", lines)]), [expected], "{lines}");
    }
    store.launched("a.service", "MachineMetadata=cores>=99");
    store.settle();
    assert_eq!(
        said(&store, "a.service"),
        [
            "m1: MachineMetadata asks for cores>=99; the machine has cores=4",
            "m2: MachineMetadata asks for cores>=99; the machine has cores=16",
            "m3: MachineMetadata asks for cores>=99; the machine has cores=many",
        ]
    );
}

#[test]
fn a_higher_priority_displaces_as_few_and_as_low_as_possible() {
    let mut store = Store::default();
    store.sized_machine("m1", &[], 4 * GIB, 4);
    store.sized_machine("m2", &[], 4 * GIB, 4);
    let full = [
        ("low1.service", "MemoryReservation=2G\nPriority=1"),
        ("low2.service", "MemoryReservation=4G\nPriority=2"),
        ("low3.service", "MemoryReservation=2G\nPriority=1"),
    ];
    assert_eq!(places(&mut store, &full), ["m1", "m2", "m1"]);
    store.launched("same.service", "MemoryReservation=1G\nPriority=1");
    store.settle();
    assert_eq!(store.place("same.service"), "-");
    store.launched("high.service", "MemoryReservation=1G\nPriority=5");
    let plan = store.settle();
    assert_eq!((store.place("high.service"), store.place("low2.service")), ("m1".into(), "m2".into()));
    let moved = plan.decisions.iter().find(|d| d.unit == "low1.service").unwrap();
    assert_eq!(moved.to_string(), "unschedule low1.service from m1: high.service of Priority=5 needs the place");
    // What was displaced leaves room for the one that waited.
    assert_eq!((store.place("same.service"), store.place("low1.service")), ("m1".into(), "-".into()));
    assert_eq!(super::plan(&store.cluster()).decisions, []);
    store.destroy("low3.service");
    store.settle();
    assert_eq!(store.place("low1.service"), "m1");
}

#[test]
fn priority_among_conflicts_followers_and_globals() {
    let mut store = Store::default();
    store.machine("m1", &[]);
    store.launched("low.service", "Conflicts=high*");
    store.launched("glob.service", "Global=true\nConflicts=high*");
    store.settle();
    assert_eq!(store.place("low.service"), "m1");
    store.launched("high.service", "Priority=1");
    store.settle();
    assert_eq!((store.place("high.service"), store.place("low.service")), ("m1".into(), "-".into()));
    // Nor do globals come back beside it.
    let wanted = crate::fleet::wanted(&store.cluster(), &store.cluster().machines[&id("m1")]);
    assert_eq!(wanted.iter().map(|w| w.file.name.as_str()).collect::<Vec<_>>(), ["high.service"]);
    // A leader is as high as its followers.
    store.launched("leader.service", "Conflicts=mid.service");
    store.launched("follower.service", "MachineOf=leader.service\nPriority=9");
    store.launched("mid.service", "Priority=5");
    store.settle();
    let places = ["leader.service", "follower.service", "mid.service"].map(|unit| store.place(unit));
    assert_eq!(places, ["m1", "m1", "-"]);
    assert_eq!(super::plan(&store.cluster()).decisions, []);
}

#[test]
fn who_is_kept_where_two_exclude_each_other_is_said_by_priority_first() {
    let mut store = Store::default();
    store.machine("m1", &[]);
    store.launched("a.service", "");
    store.launched("b.service", "");
    store.settle();
    store.launched("b.service", "Priority=1\nConflicts=a.service");
    store.settle();
    assert_eq!((store.place("a.service"), store.place("b.service")), ("-".into(), "m1".into()));
}

#[test]
fn reservations_hold_for_globals_too() {
    let mut store = Store::default();
    store.sized_machine("m1", &[], 2 * GIB, 1);
    store.launched("g1.service", "Global=true\nMemoryReservation=1G");
    store.launched("g2.service", "Global=true\nMemoryReservation=2G\nPriority=1");
    let names = |store: &Store| -> Vec<String> {
        let cluster = store.cluster();
        let wanted = crate::fleet::wanted(&cluster, &cluster.machines[&id("m1")]);
        wanted.into_iter().map(|w| w.file.name).collect()
    };
    assert_eq!(names(&store), ["g2.service"]);
    store.destroy("g2.service");
    assert_eq!(places(&mut store, &[("a.service", "MemoryReservation=1500M")]), ["-"]);
    assert_eq!(names(&store), ["g1.service"]);
}
