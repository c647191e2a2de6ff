//! Tests of the planner: fleet's rules one by one, and what holds of every plan.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::super::testkit::{Store, id};
use super::super::types::DesiredState;
use super::*;
use crate::unit::requirements::glob_matches;

fn store(machines: &[&str]) -> Store {
    let mut store = Store::default();
    for machine in machines {
        store.sized_machine(machine, &[("hostname", machine), ("region", "r1")], 4 << 30, 4);
    }
    store
}

/// Launches the units in one go, plans, and tells where each is.
fn placed(machines: &[&str], units: &[(&str, &str)]) -> Vec<String> {
    let mut store = store(machines);
    for (name, fleet) in units {
        store.launched(name, fleet);
    }
    store.settle();
    assert_eq!(plan(&store.cluster()).decisions, [], "a second plan decides nothing");
    units.iter().map(|(name, _)| store.place(name)).collect()
}

#[test]
fn b_machine_id_in_full_or_its_first_eight() {
    let machines = ["11112222333344445555666677778888", "22222222333344445555666677778888"];
    for (wanted, expected) in [
        ("22222222333344445555666677778888", machines[1]),
        ("22222222", machines[1]),
        ("2222222", "-"),
        ("222222223", "-"),
        ("", "-"),
    ] {
        assert_eq!(placed(&machines, &[("a.service", &format!("MachineID={wanted}"))]), [expected], "{wanted}");
    }
    assert_eq!(placed(&machines, &[("a@22222222.service", "MachineID=%i")]), [machines[1]]);
}

#[test]
fn b_machine_of_follows_all_its_peers() {
    let m = &["m1", "m2"];
    assert_eq!(
        placed(m, &[("a.service", "MachineOf=z.service"), ("b.service", ""), ("z.service", "")]),
        ["m2", "m1", "m2"]
    );
    assert_eq!(placed(m, &[("a.service", "MachineOf=b.service"), ("b.service", "MachineOf=a.service")]), ["-", "-"]);
    assert_eq!(placed(m, &[("a.service", "MachineOf=nope.service")]), ["-"]);
    assert_eq!(placed(m, &[("a.service", "MachineOf=b*.service"), ("b.service", "")]), ["-", "m1"]);
    let both = "MachineOf=b.service\nMachineOf=c.service";
    assert_eq!(placed(m, &[("a.service", both), ("b.service", ""), ("c.service", "")]), ["-", "m1", "m2"]);
    assert_eq!(placed(&["m1"], &[("a.service", both), ("b.service", ""), ("c.service", "")]), ["m1", "m1", "m1"]);
    let chain = [
        ("a.service", "MachineOf=b.service"),
        ("b.service", "MachineOf=c.service"),
        ("c.service", "MachineMetadata=hostname=m2"),
    ];
    assert_eq!(placed(m, &chain), ["m2", "m2", "m2"]);
}

#[test]
fn b_machine_of_moves_with_its_peer() {
    let mut store = store(&["m1", "m2"]);
    store.launched("main.service", "MachineMetadata=hostname=m1");
    store.launched("side.service", "MachineOf=main.service");
    store.settle();
    assert_eq!((store.place("main.service"), store.place("side.service")), ("m1".into(), "m1".into()));
    store.launched("main.service", "MachineMetadata=hostname=m2");
    let plan = store.settle();
    assert_eq!(plan.decisions.len(), 2);
    assert_eq!((store.place("main.service"), store.place("side.service")), ("m2".into(), "m2".into()));
    store.unit("main.service", "", DesiredState::Inactive);
    store.settle();
    assert_eq!((store.place("main.service"), store.place("side.service")), ("-".into(), "-".into()));
}

#[test]
fn b_machine_metadata() {
    let mut store = Store::default();
    store.machine("m1", &[("region", "r1"), ("disk", "ssd")]);
    store.machine("m2", &[("region", "r2")]);
    let cases = [
        ("MachineMetadata=region=r2", "m2"),
        ("MachineMetadata=region=r3", "-"),
        ("MachineMetadata=region=r3\nMachineMetadata=region=r2", "m2"),
        ("MachineMetadata=\"region=r2\" \"region=r1\"\nMachineMetadata=disk=ssd", "m1"),
        ("MachineMetadata=region=r2\nMachineMetadata=disk=ssd", "-"),
        ("MachineMetadata=nonsense", "m1"),
        ("X-ConditionMachineMetadata=region=%i", "m2"),
    ];
    for (lines, expected) in cases {
        let mut store = store.clone();
        store.launched("a@r2.service", lines);
        store.settle();
        assert_eq!(store.place("a@r2.service"), expected, "{lines}");
    }
}

#[test]
fn b_conflicts_hold_both_ways() {
    let c = "Conflicts=web@*.service";
    assert_eq!(
        placed(&["m1", "m2"], &[("web@1.service", c), ("web@2.service", c), ("web@3.service", c)]),
        ["m1", "m2", "-"]
    );
    assert_eq!(placed(&["m1"], &[("a.service", "Conflicts=b.service"), ("b.service", "")]), ["m1", "-"]);
    assert_eq!(placed(&["m1"], &[("a.service", ""), ("b.service", "Conflicts=a.service")]), ["m1", "-"]);
    assert_eq!(placed(&["m1"], &[("a.service", "Conflicts=a.service")]), ["m1"]);
    assert_eq!(placed(&["m1"], &[("a.service", "Conflicts=[b"), ("b.service", "")]), ["m1", "m1"]);
    assert_eq!(placed(&["m1"], &[("a.service", "Conflicts=x* b*"), ("b.service", "")]), ["m1", "-"]);
    assert_eq!(placed(&["m1"], &[("a.service", "X-Conflicts=?.service"), ("b.service", "")]), ["m1", "-"]);
}

#[test]
fn e_the_first_by_name_stays_where_two_exclude_each_other() {
    let mut store = store(&["m1"]);
    store.launched("a.service", "");
    store.launched("b.service", "");
    store.settle();
    store.launched("b.service", "Conflicts=a.service");
    let plan = store.settle();
    assert_eq!((store.place("a.service"), store.place("b.service")), ("m1".into(), "-".into()));
    let pattern = "a.service".to_owned();
    assert_eq!(plan.decisions[0].reason, Reason::Conflicts { other: "a.service".into(), pattern });
}

#[test]
fn b_globals_count_and_hold_their_place() {
    let mut store = store(&["m1", "m2"]);
    store.launched("g.service", "Global=true\nMachineMetadata=hostname=m1");
    store.launched("a.service", "");
    store.settle();
    assert_eq!(store.place("a.service"), "m2");
    assert_eq!(store.place("g.service"), "-");
    store.launched("b.service", "Conflicts=g.service");
    store.launched("c.service", "MachineOf=g.service");
    store.settle();
    assert_eq!(store.place("b.service"), "m2");
    assert_eq!(store.place("c.service"), "m1");
}

#[test]
fn b_globals_that_nobody_wants_hold_nothing() {
    let mut store = store(&["m1"]);
    store.unit("g.service", "Global=true\nConflicts=*", DesiredState::Inactive);
    store.launched("a.service", "");
    store.settle();
    assert_eq!(store.place("a.service"), "m1");
    // And one that comes later leaves what is there alone.
    store.launched("g.service", "Global=true\nConflicts=*");
    assert_eq!(store.settle().decisions, []);
}

#[test]
fn a_scheduled_unit_that_becomes_global_leaves_the_schedule() {
    let mut store = store(&["m1"]);
    store.launched("a.service", "");
    store.settle();
    store.launched("a.service", "Global=true");
    assert_eq!(store.settle().decisions[0].reason, Reason::BecameGlobal);
    assert_eq!(store.place("a.service"), "-");
}

#[test]
fn b_replaces_moves_the_other_away() {
    let mut store = store(&["m1", "m2"]);
    store.launched("old.service", "");
    store.settle();
    store.launched("fill.service", "MachineMetadata=hostname=m2");
    store.settle();
    store.launched("new.service", "MachineMetadata=hostname=m1\nReplaces=old.service");
    let plan = store.settle();
    assert_eq!((store.place("new.service"), store.place("old.service")), ("m1".into(), "m2".into()));
    let moved = plan.decisions.iter().find(|d| d.unit == "old.service").unwrap();
    assert_eq!(moved.reason, Reason::Replaced { by: "new.service".into() });
    // Elsewhere both just run.
    assert_eq!(placed(&["m1", "m2"], &[("a.service", "Replaces=b.service"), ("b.service", "")]), ["m1", "m2"]);
}

#[test]
fn b_a_replaced_unit_that_fits_nowhere_else_waits_and_does_not_flap() {
    let mut store = store(&["m1", "m2"]);
    store.launched("old.service", "MachineMetadata=hostname=m1");
    store.settle();
    store.launched("new.service", "MachineMetadata=hostname=m1\nReplaces=old.service");
    let plan = store.settle();
    assert_eq!((store.place("new.service"), store.place("old.service")), ("m1".into(), "-".into()));
    assert_eq!(plan.waiting[0].unit, "old.service");
    assert_eq!(plan.waiting[0].passed_over[0], (id("m1"), Reason::Replaced { by: "new.service".into() }));
    for _ in 0..3 {
        assert_eq!(store.settle().decisions, []);
    }
}

#[test]
fn b_units_that_replace_each_other_both_run() {
    let pair = [("a.service", "Replaces=b.service"), ("b.service", "Replaces=a.service")];
    assert_eq!(placed(&["m1"], &pair), ["m1", "m1"]);
    let three =
        [("a.service", "Replaces=b.service"), ("b.service", "Replaces=c.service"), ("c.service", "Replaces=a.service")];
    assert_eq!(placed(&["m1"], &three), ["m1", "m1", "m1"]);
    assert_eq!(
        placed(&["m1"], &[("a@1.service", "Replaces=a@*.service"), ("a@2.service", "Replaces=a@*.service")]),
        ["m1", "m1"]
    );
}

#[test]
fn e_least_loaded_then_smallest_id() {
    let units: Vec<(String, &str)> = (0..6).map(|n| (format!("a@{n}.service"), "")).collect();
    let units: Vec<(&str, &str)> = units.iter().map(|(n, f)| (n.as_str(), *f)).collect();
    assert_eq!(placed(&["m1", "m2", "m3"], &units), ["m1", "m2", "m3", "m1", "m2", "m3"]);
}

#[test]
fn e_units_leave_a_machine_that_is_gone_and_do_not_come_back() {
    let mut store = store(&["m1", "m2"]);
    store.launched("a.service", "");
    store.launched("b.service", "");
    store.settle();
    store.lose("m1");
    let plan = store.settle();
    assert_eq!(plan.decisions.len(), 1);
    assert_eq!(plan.decisions[0].to_string(), "move a.service from m1 to m2: the machine is gone");
    store.machine("m1", &[]);
    assert_eq!(store.settle().decisions, []);
    store.lose("m1");
    store.lose("m2");
    assert_eq!(store.settle().decisions.len(), 2);
    assert_eq!(store.place("a.service"), "-");
}

#[test]
fn e_templates_inactive_and_destroyed_units_are_on_no_machine() {
    let mut store = store(&["m1"]);
    store.launched("a@.service", "");
    store.unit("i.service", "", DesiredState::Inactive);
    store.unit("l.service", "", DesiredState::Loaded);
    store.settle();
    let places = ["a@.service", "i.service", "l.service"].map(|u| store.place(u));
    assert_eq!(places, ["-", "-", "m1"]);
    store.destroy("l.service");
    assert_eq!(store.settle().decisions[0].reason, Reason::Destroyed);
    assert!(store.cluster().schedule.is_empty());
}

#[test]
fn b_specifiers_in_all_options_at_scheduling_time() {
    let m = &["web", "m2"];
    for (name, lines, expected) in [
        ("web@m2.service", "MachineMetadata=hostname=%i", "m2"),
        ("web@m2.service", "MachineMetadata=hostname=%p", "web"),
        ("x@main.service", "MachineOf=%i.service", "m2"),
        ("main@1.service", "Conflicts=%p.service", "web"),
        ("y@1.service", "MachineID=%p", "-"),
        ("main@x.service", "X-ConditionMachineOf=%p.service", "m2"),
    ] {
        let mut store = store(m);
        store.launched("main.service", "MachineMetadata=hostname=m2");
        store.settle();
        store.launched(name, lines);
        store.settle();
        assert_eq!(store.place(name), expected, "{name} {lines}");
    }
}

#[test]
fn e_a_scheduled_unit_whose_requirements_are_no_longer_met_is_unscheduled() {
    type Change = fn(&mut Store);
    let cases: [(&str, Change, &str); 6] = [
        ("", |s| s.unit("a.service", "", DesiredState::Inactive), "its desired state is inactive"),
        ("", |s| s.lose("m1"), "the machine is gone"),
        ("", |s| s.launched("a.service", "MachineID=m2"), "MachineID=m2 asks for another machine"),
        (
            "MachineMetadata=region=r1",
            |s| s.machine("m1", &[("region", "r9")]),
            "MachineMetadata asks for region=r1; the machine has region=r9",
        ),
        ("MachineOf=peer.service", |s| s.destroy("peer.service"), "MachineOf=peer.service is not scheduled there"),
        (
            "",
            |s| s.launched("a.service", "Conflicts=peer.service\nMachineID=m1"),
            "Conflicts=peer.service matches peer.service, which is there",
        ),
    ];
    for (lines, change, reason) in cases {
        let mut store = store(&["m1"]);
        store.launched("peer.service", "Priority=1");
        store.launched("a.service", lines);
        store.settle();
        assert_eq!(store.place("a.service"), "m1", "{reason}");
        change(&mut store);
        let plan = store.settle();
        let decision = plan.decisions.iter().find(|decision| decision.unit == "a.service").unwrap();
        assert_eq!((decision.to.clone(), decision.reason.to_string()), (None, reason.to_owned()));
    }
}

#[test]
fn e_nothing_is_rebalanced_when_a_machine_comes() {
    let mut store = store(&["m1"]);
    for unit in ["a.service", "b.service", "c.service"] {
        store.launched(unit, "");
    }
    store.settle();
    store.machine("m2", &[]);
    assert_eq!(store.settle().decisions, []);
    store.launched("d.service", "");
    store.settle();
    assert_eq!(store.place("d.service"), "m2");
}

#[test]
fn every_machine_passed_over_has_its_reason() {
    let mut store = store(&["m1", "m2", "m3"]);
    store.launched("other.service", "MachineMetadata=hostname=m2");
    store.settle();
    store.launched("a.service", "MachineMetadata=hostname=m1\nMachineMetadata=hostname=m2\nConflicts=other*");
    store.launched("peer.service", "MachineOf=nope.service");
    store.launched("other2.service", "MachineMetadata=hostname=m1");
    store.settle();
    let texts = |unit: &str| -> Vec<String> {
        let told = explain(&store.cluster(), unit).unwrap();
        let text = |verdict: &Verdict| match &verdict.outcome {
            Ok(fit) => fit.to_string(),
            Err(reason) => reason.to_string(),
        };
        told.iter().map(|verdict| format!("{}: {}", verdict.machine, text(verdict))).collect()
    };
    assert_eq!(
        texts("a.service"),
        [
            "m1: fits: load 0",
            "m2: Conflicts=other* matches other.service, which is there",
            "m3: MachineMetadata asks for hostname=m1 or m2; the machine has hostname=m3",
        ]
    );
    assert_eq!(texts("other2.service")[0], "m1: a.service, which is there, has Conflicts=other*");
    assert_eq!(texts("peer.service")[0], "m1: MachineOf=nope.service is not scheduled there");
    assert_eq!(explain(&store.cluster(), "nope.service"), None);
}

fn any_unit() -> impl Strategy<Value = (String, String, DesiredState)> {
    let name = (0..3usize, 0..4u8).prop_map(|(p, i)| format!("{}@{i}.service", ["a", "b", "c"][p]));
    let line = prop_oneof![
        Just("Conflicts=a@*.service".to_owned()),
        Just("Conflicts=b@1.service c@?.service".to_owned()),
        Just("Conflicts=%p@*.service".to_owned()),
        Just("MachineMetadata=hostname=m%i".to_owned()),
        Just("MachineMetadata=region=r1".to_owned()),
        Just("MachineOf=a@%i.service".to_owned()),
        Just("MachineOf=b@1.service".to_owned()),
        Just("MachineID=m2".to_owned()),
        Just("Global=true".to_owned()),
        Just("Replaces=c@*.service".to_owned()),
        Just("Replaces=a@%i.service".to_owned()),
        Just("Replaces=*@1.service".to_owned()),
        Just("Priority=%i".to_owned()),
        Just("Priority=-1".to_owned()),
        Just("MaxPerMachine=1".to_owned()),
        Just("MemoryReservation=1536M".to_owned()),
        Just("MemoryReservation=3G\nPriority=2".to_owned()),
        Just("CPUReservation=%i".to_owned()),
        Just("Spread=hostname\nWeight=2".to_owned()),
        Just("Prefer=hostname=m1 3".to_owned()),
        Just("MachineMetadata=hostname!=m%i".to_owned()),
    ];
    let desired = prop_oneof![1 => Just(DesiredState::Inactive), 2 => Just(DesiredState::Loaded), 4 => Just(DesiredState::Launched)];
    (name, prop::collection::vec(line, 0..3), desired).prop_map(|(n, l, d)| (n, l.join("\n"), d))
}

/// What holds of a cluster that a plan was carried out on.
fn check_sound(store: &Store, plan: &Plan) -> Result<(), TestCaseError> {
    let cluster = store.cluster();
    for (name, scheduled) in &cluster.schedule {
        let unit = &cluster.units[name];
        let machine = &cluster.machines[&scheduled.machine];
        prop_assert!(unit.is_active() && !unit.requirements.global);
        prop_assert_eq!(mismatch(unit, machine), None);
        for (other_name, other) in &cluster.schedule {
            let conflict = unit.requirements.conflicts.iter().any(|p| glob_matches(p, other_name));
            prop_assert!(other_name == name || other.machine != scheduled.machine || !conflict, "{name} {other_name}");
        }
        for peer in &unit.requirements.peers {
            let global = cluster.units[peer].requirements.global;
            prop_assert!(global || cluster.schedule[peer].machine == scheduled.machine);
        }
    }
    for (id, machine) in &cluster.machines {
        let here = crate::fleet::wanted(&cluster, machine);
        let here: Vec<&Unit> = here.iter().map(|w| cluster.units[&w.file.name].as_ref()).collect();
        let sum = |of: fn(&Unit) -> u64| here.iter().map(|unit| of(unit)).sum::<u64>();
        prop_assert!(sum(|u| u.requirements.placement.memory_bytes) <= machine.memory_bytes, "{id}");
        prop_assert!(sum(|u| u.requirements.placement.cpu_millis) <= u64::from(machine.cores) * 1_000, "{id}");
    }
    for waiting in &plan.waiting {
        let told = explain(&cluster, &waiting.unit).unwrap();
        prop_assert!(told.iter().all(|verdict| verdict.outcome.is_err()), "{} fits: {:?}", waiting.unit, told);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    #[test]
    fn plans_converge_at_once_and_are_sound(
        first in prop::collection::vec(any_unit(), 0..12),
        then in prop::collection::vec(any_unit(), 0..6),
        machines in 0usize..5,
        lost in 0usize..5,
        cordoned in 0usize..5,
    ) {
        let all = ["m0", "m1", "m2", "m3"];
        let mut store = store(&all[..machines.min(4)]);
        for (name, lines, desired) in first {
            store.unit(&name, &lines, desired);
        }
        let plan_one = store.settle();
        prop_assert_eq!(&plan(&store.cluster()).decisions, &[]);
        check_sound(&store, &plan_one)?;
        for (name, lines, desired) in then {
            store.unit(&name, &lines, desired);
        }
        if cordoned < 4 {
            store.cordon(all[cordoned], None);
        }
        if lost < 4 {
            store.lose(all[lost]);
        }
        let before = store.cluster();
        let plan_two = store.settle();
        prop_assert_eq!(&plan(&before), &plan_two);
        prop_assert_eq!(&plan(&store.cluster()).decisions, &[]);
        check_sound(&store, &plan_two)?;
    }
}
