//! Rollouts against a small simulated cluster: machines that do what they are told, or fail to.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use super::history::{BackError, back};
use super::plan::{Asked, PlanError, apply};
use super::*;
use crate::fleet::layout::Key;
use crate::fleet::testkit::{Store, id};
use crate::fleet::types::{Health, PublishedState, UnitState};
use crate::fleet::wanted;

/// A cluster whose machines run what they are to, and a clock.
struct Bench {
    store: Store,
    watchman: Watchman,
    now: u64,
    machines: Vec<&'static str>,
    /// What a machine says of a text that has this in it.
    fate: BTreeMap<&'static str, fn(&mut UnitState)>,
    /// Most units of a text that were not active at once.
    down: usize,
    seen: Vec<Progress>,
}

fn asked() -> Asked {
    let rules = Rules { max_parallel: 1, settle_ms: 1_000, timeout_ms: 20_000 };
    Asked { by: "me".into(), set: "s".into(), desired: DesiredState::Launched, rules, ..Asked::default() }
}

fn text(what: &str) -> UnitText {
    UnitText::parse(&format!("[Service]\nExecStart=/bin/{what}\n")).unwrap()
}

fn units(all: &[(&str, &str)]) -> Vec<(String, UnitText)> {
    all.iter().map(|(name, what)| ((*name).to_owned(), text(what))).collect()
}

impl Bench {
    fn new(machines: &[&'static str]) -> Self {
        let mut store = Store::default();
        machines.iter().for_each(|machine| store.machine(machine, &[]));
        let (fate, seen) = (BTreeMap::new(), Vec::new());
        Self { store, watchman: Watchman::default(), now: 0, machines: machines.to_vec(), fate, down: 0, seen }
    }

    fn begin(&mut self, mut rollout: Rollout) -> bool {
        let applied = self.applied();
        rollout.revision = applied.last().map_or(0, |applied| applied.rollout.revision) + 1;
        self.store.txn(&rollout.commit(&self.store.cluster()))
    }

    fn apply(&mut self, all: &[(&str, &str)], asked: &Asked) -> Option<String> {
        let rollout = apply(&self.store.cluster(), &units(all), asked).unwrap();
        assert!(self.begin(rollout));
        self.run()
    }

    /// Runs until the rollout is over; why it failed, if it did.
    fn run(&mut self) -> Option<String> {
        for _ in 0..10_000 {
            self.machines_act();
            let cluster = self.store.cluster();
            let Some(step) = self.watchman.step(&cluster, self.now, UnixMillis(7)) else {
                return self.applied().last().unwrap().failure.clone();
            };
            self.seen.push(cluster.progress.clone());
            match step {
                Step::Wait { until, .. } => {
                    assert!(until > self.now, "it would wait for what is past");
                    // Machines are slow now and then.
                    self.now = until.min(self.now + 300);
                }
                Step::Write(request) => assert!(self.store.txn(&request)),
            }
        }
        panic!("it goes on for ever: {:?}", self.store.cluster().progress);
    }

    /// Every machine does one thing about each of its units: stop, or run.
    fn machines_act(&mut self) {
        self.store.settle();
        let mut down = 0;
        for machine in self.machines.clone() {
            let cluster = self.store.cluster();
            let Some(record) = cluster.machines.get(&id(machine)) else { continue };
            let wanted = wanted(&cluster, record);
            for unit in &wanted {
                let held = cluster.states.get(&unit.file.name).and_then(|states| states.get(&id(machine)));
                let mut state = match held {
                    Some(held) if held.hash != unit.file.hash && held.state.active == "active" => {
                        down += 1;
                        UnitState { state: active("inactive"), ..held.clone() }
                    }
                    Some(held) if held.hash == unit.file.hash && held.launched == unit.launch => continue,
                    _ => {
                        let state = if unit.desired == DesiredState::Launched { "active" } else { "inactive" };
                        UnitState {
                            hash: unit.file.hash.clone(),
                            state: active(state),
                            launched: unit.launch,
                            ..UnitState::default()
                        }
                    }
                };
                for (what, act) in &self.fate {
                    if unit.file.text.contains(what) {
                        act(&mut state);
                    }
                }
                self.store.state(&unit.file.name, machine, &state);
            }
            for (unit, states) in &cluster.states {
                if states.contains_key(&id(machine)) && wanted.iter().all(|wanted| wanted.file.name != *unit) {
                    self.store.delete(&Key::State(unit.clone(), id(machine)));
                }
            }
        }
        self.down = self.down.max(down);
    }

    fn texts(&self) -> Vec<(String, String)> {
        let of = |unit: &std::sync::Arc<crate::fleet::Unit>| {
            (unit.name.clone(), unit.text.last("Service", "ExecStart").unwrap_or_default().replace("/bin/", ""))
        };
        self.store.cluster().units.values().map(of).collect()
    }

    fn applied(&self) -> Vec<Applied> {
        let prefix = crate::fleet::layout::APPLIES.as_bytes();
        let ours = self.store.kvs.iter().filter(|(key, _)| key.starts_with(prefix));
        ours.map(|(_, (value, _))| serde_json::from_slice(value).unwrap()).collect()
    }
}

fn active(word: &str) -> PublishedState {
    PublishedState { load: "loaded".into(), active: word.into(), sub: "x".into() }
}

fn pairs(all: &[(&str, &str)]) -> Vec<(String, String)> {
    all.iter().map(|(name, what)| ((*name).to_owned(), (*what).to_owned())).collect()
}

const THREE: [(&str, &str); 3] = [("a.service", "1"), ("b.service", "1"), ("c.service", "1")];
const NEW: [(&str, &str); 4] = [("a.service", "2"), ("b.service", "2"), ("c.service", "2"), ("d.service", "2")];

#[test]
fn a_plan_creates_changes_adopts_and_removes_and_keeps_what_is_wanted_of_units() {
    let mut bench = Bench::new(&["m1"]);
    assert_eq!(bench.apply(&[("a.service", "1"), ("b.service", "1"), ("gone.service", "1")], &asked()), None);
    bench.store.unit("lone.service", "", DesiredState::Inactive);
    bench.store.launched("other.service", "");
    let cluster = bench.store.cluster();
    let lone = cluster.units["lone.service"].text.clone();
    let mut all = units(&[("a.service", "1"), ("b.service", "2"), ("new.service", "2"), ("t@.service", "2")]);
    all.push(("lone.service".into(), lone));
    let plan = apply(&cluster, &all, &Asked { prune: true, ..asked() }).unwrap();
    let told: Vec<_> = plan.changes.iter().map(|change| (change.unit.as_str(), change.action())).collect();
    let expected = [
        ("lone.service", Action::Adopt),
        ("new.service", Action::Create),
        ("t@.service", Action::Create),
        ("b.service", Action::Change),
        ("gone.service", Action::Remove),
    ];
    assert_eq!(told, expected, "what is not of the set stays");
    let desired = |unit: &str| {
        let change = plan.changes.iter().find(|change| change.unit == unit).unwrap();
        change.after.as_ref().unwrap().desired
    };
    assert_eq!(desired("lone.service"), DesiredState::Inactive);
    assert_eq!(desired("t@.service"), DesiredState::Inactive);
    assert_eq!(desired("new.service"), DesiredState::Launched);
    assert!(bench.begin(plan));
    assert_eq!(bench.run(), None);
    let again = apply(&bench.store.cluster(), &all, &Asked { prune: true, ..asked() }).unwrap();
    assert_eq!(again.changes, []);
}

#[test]
fn a_unit_that_only_joins_its_set_may_be_as_it_was() {
    let mut bench = Bench::new(&["m1"]);
    bench.fate.insert("sleep", |state| state.state = active("failed"));
    bench.store.launched("lone.service", "");
    bench.machines_act();
    let lone = bench.store.cluster().units["lone.service"].text.clone();
    let rollout = apply(&bench.store.cluster(), &[("lone.service".into(), lone)], &asked()).unwrap();
    assert!(bench.begin(rollout));
    assert_eq!(bench.run(), None);
    assert_eq!(bench.store.cluster().units["lone.service"].set.as_deref(), Some("s"));
}

#[test]
fn instances_follow_their_template_unless_they_have_a_file() {
    let mut bench = Bench::new(&["m1"]);
    assert_eq!(bench.apply(&[("w@.service", "1"), ("w@1.service", "1"), ("w@2.service", "1")], &asked()), None);
    assert_eq!(bench.apply(&[("w@.service", "2"), ("w@2.service", "own")], &asked()), None);
    assert_eq!(bench.texts(), pairs(&[("w@.service", "2"), ("w@1.service", "2"), ("w@2.service", "own")]));
    assert_eq!(bench.apply(&[("w@.service", "3")], &Asked { prune: true, ..asked() }), None);
    assert_eq!(bench.texts(), pairs(&[("w@.service", "3")]));
}

#[test]
fn what_would_be_refused_is_refused_before_anything_changes() {
    let cluster = Bench::new(&["m1"]).store.cluster();
    let one = |name: &str, text: &str| apply(&cluster, &[(name.into(), UnitText::parse(text).unwrap())], &asked());
    for (name, text, expected) in [
        ("a.foo", "[Service]\n", "a.foo: invalid unit type: \"foo\""),
        ("a.service", "[X-Fleet]\nGlobal=true\nMachineID=x\n", "a.service: MachineID cannot be used with Global"),
        ("a.service", "[X-Fleet]\nHealthHttp=https://x/\n", "a.service: HealthHttp=https://x/: expect http://"),
    ] {
        let error = one(name, text).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
    let many: Vec<_> = (0..2_001).map(|n| (format!("u{n}.service"), text("1"))).collect();
    assert_eq!(apply(&cluster, &many, &asked()), Err(PlanError::TooMany { units: 2_001 }));
    let long = UnitText::parse(&format!("[Unit]\n{}", "Description=x\n".repeat(30_000)));
    let long = long.unwrap();
    let large = (0..3).map(|n| {
        let mut options = long.options().to_vec();
        options.push(crate::unit::UnitOption::new("Unit", "Documentation", &n.to_string()));
        (format!("u{n}.service"), UnitText::from_options(options).unwrap())
    });
    assert!(matches!(apply(&cluster, &large.collect::<Vec<_>>(), &asked()), Err(PlanError::TooLarge { .. })));
}

#[test]
fn units_are_replaced_in_batches() {
    for (max_parallel, expected) in [(1, 1), (2, 2), (9, 3)] {
        let mut bench = Bench::new(&["m1", "m2"]);
        assert_eq!(bench.apply(&THREE, &asked()), None);
        bench.down = 0;
        let mut asked = asked();
        asked.rules.max_parallel = max_parallel;
        assert_eq!(bench.apply(&NEW, &asked), None);
        assert_eq!(bench.texts(), pairs(&NEW));
        assert_eq!(bench.down, expected, "{max_parallel} at a time");
        let cluster = bench.store.cluster();
        assert_eq!((&cluster.rollout, &cluster.progress), (&None, &Progress::default()));
    }
}

#[test]
fn where_one_fails_all_go_back_in_batches() {
    let down: fn(&mut UnitState) = |state| state.state = active("failed");
    let unwell: fn(&mut UnitState) = |state| state.health = Some(Health::Failing("exit status 1".into()));
    let refused: fn(&mut UnitState) = |state| state.problem = Some("Foo= is unknown".into());
    let slow: fn(&mut UnitState) = |state| state.state = active("activating");
    for (fate, reason) in [
        (down, "c.service on m1...: it is failed (x)"),
        (unwell, "c.service on m1...: not well within 20 s: unhealthy: exit status 1"),
        (refused, "c.service on m1...: Foo= is unknown"),
        (slow, "c.service on m1...: not well within 20 s: it is activating (x)"),
    ] {
        let mut bench = Bench::new(&["m1"]);
        assert_eq!(bench.apply(&THREE, &asked()), None);
        bench.fate.insert("bad", fate);
        bench.down = 0;
        let mut all = units(&NEW);
        all[2].1 = UnitText::parse("[Service]\nExecStart=/bin/bad\n[X-Fleet]\nHealthCmd=x\n").unwrap();
        let rollout = apply(&bench.store.cluster(), &all, &asked()).unwrap();
        assert!(bench.begin(rollout));
        assert_eq!(bench.run().as_deref(), Some(reason));
        assert_eq!(bench.texts(), pairs(&THREE));
        assert_eq!(bench.down, 1, "going back interrupts no more at a time than going on");
        // A unit that was not touched yet never was.
        assert!(bench.applied()[1].failure.is_some());
    }
}

#[test]
fn what_fits_nowhere_fails_with_the_reasons() {
    let mut bench = Bench::new(&["m1"]);
    let text = UnitText::parse("[X-Fleet]\nMachineMetadata=disk=ssd\n").unwrap();
    let rollout = apply(&bench.store.cluster(), &[("a.service".into(), text)], &asked()).unwrap();
    assert!(bench.begin(rollout));
    let reason = bench.run().unwrap();
    assert!(
        reason.starts_with("a.service: it fits on no machine (m1...: MachineMetadata asks for disk=ssd"),
        "{reason}"
    );
    assert_eq!(bench.texts(), []);
}

#[test]
fn globals_are_replaced_machine_by_machine_and_back() {
    let global = |what: &str| {
        let text = format!("[Service]\nExecStart=/bin/{what}\n[X-Fleet]\nGlobal=true\n");
        vec![("g.service".to_owned(), UnitText::parse(&text).unwrap())]
    };
    let mut bench = Bench::new(&["m1", "m2", "m3"]);
    bench.fate.insert("bad", |state| state.state = active("failed"));
    let rollout = apply(&bench.store.cluster(), &global("bad"), &asked()).unwrap();
    assert!(bench.begin(rollout));
    assert_eq!(bench.run().as_deref(), Some("g.service on m1...: it is failed (x)"), "a new one is waited for too");
    assert_eq!(bench.texts(), []);
    let rollout = apply(&bench.store.cluster(), &global("1"), &asked()).unwrap();
    assert!(bench.begin(rollout));
    assert_eq!(bench.run(), None);
    bench.down = 0;
    let rollout = apply(&bench.store.cluster(), &global("2"), &asked()).unwrap();
    assert!(bench.begin(rollout));
    assert_eq!(bench.run(), None);
    assert_eq!((bench.down, bench.texts()), (1, pairs(&[("g.service", "2")])));
    assert_eq!(bench.store.cluster().units["g.service"].next, None);

    // Its checks are those of the new text, and fail on the first machine.
    let sick = UnitText::parse("[Service]\nExecStart=/bin/2\n[X-Fleet]\nGlobal=true\nHealthCmd=x\n").unwrap();
    let rollout = apply(&bench.store.cluster(), &[("g.service".into(), sick)], &asked()).unwrap();
    assert!(bench.begin(rollout));
    let reason = bench.run().unwrap();
    assert_eq!(reason, "g.service on m1...: not well within 20 s: its health is not known yet");

    // The machine that fails is the first: none of the others was touched.
    bench.down = 0;
    let rollout = apply(&bench.store.cluster(), &global("bad"), &asked()).unwrap();
    assert!(bench.begin(rollout));
    assert_eq!(bench.run().as_deref(), Some("g.service on m1...: it is failed (x)"));
    let cluster = bench.store.cluster();
    assert_eq!(bench.texts(), pairs(&[("g.service", "2")]));
    for machine in ["m1", "m2", "m3"] {
        assert_eq!(cluster.states["g.service"][&id(machine)].hash, cluster.units["g.service"].hash, "{machine}");
    }
    assert_eq!(bench.down, 1);
}

#[test]
fn what_others_change_meanwhile_is_theirs() {
    let mut bench = Bench::new(&["m1"]);
    assert_eq!(bench.apply(&THREE, &asked()), None);
    let rollout = apply(&bench.store.cluster(), &units(&NEW), &asked()).unwrap();
    assert!(bench.begin(rollout));
    bench.store.launched("c.service", "Conflicts=mine");
    assert_eq!(bench.run().as_deref(), Some("c.service was changed by somebody else meanwhile"));
    let expected = [("a.service", "1"), ("b.service", "1"), ("c.service", "sleep 1")];
    assert_eq!(bench.texts(), pairs(&expected));

    // A plan that is older than a unit is not begun at all, nor are two at once.
    let stale = bench.store.cluster();
    let rollout = Rollout { revision: 9, ..apply(&stale, &units(&NEW), &asked()).unwrap() };
    bench.store.launched("z.service", "");
    assert!(!bench.store.txn(&rollout.commit(&stale)));
    assert!(bench.store.txn(&rollout.commit(&bench.store.cluster())));
    assert!(!bench.store.txn(&Rollout { revision: 10, ..rollout }.commit(&bench.store.cluster())));
}

#[test]
fn another_leader_goes_on() {
    let mut bench = Bench::new(&["m1"]);
    assert_eq!(bench.apply(&THREE, &asked()), None);
    let rollout = apply(&bench.store.cluster(), &units(&NEW), &asked()).unwrap();
    assert!(bench.begin(rollout));
    for round in 0..1_000 {
        bench.machines_act();
        if round % 20 == 0 {
            bench.watchman = Watchman::default();
        }
        match bench.watchman.step(&bench.store.cluster(), bench.now, UnixMillis(0)) {
            None => break,
            Some(Step::Wait { until, .. }) => bench.now = until.min(bench.now + 300),
            Some(Step::Write(request)) => assert!(bench.store.txn(&request)),
        }
    }
    assert_eq!(bench.texts(), pairs(&NEW));
    assert_eq!(bench.applied()[1].failure, None);
}

#[test]
fn one_that_is_under_way_can_be_taken_back() {
    let mut bench = Bench::new(&["m1"]);
    assert_eq!(bench.apply(&THREE, &asked()), None);
    assert_eq!(abort(&bench.store.cluster(), "no"), None);
    let rollout = apply(&bench.store.cluster(), &units(&NEW), &asked()).unwrap();
    assert!(bench.begin(rollout));
    while bench.store.cluster().progress.passed < 2 {
        bench.machines_act();
        match bench.watchman.step(&bench.store.cluster(), bench.now, UnixMillis(0)).unwrap() {
            Step::Wait { until, .. } => bench.now = until.min(bench.now + 300),
            Step::Write(request) => assert!(bench.store.txn(&request)),
        }
    }
    let request = abort(&bench.store.cluster(), "enough").unwrap();
    assert!(bench.store.txn(&request));
    assert_eq!(abort(&bench.store.cluster(), "twice"), None);
    assert_eq!(bench.run().as_deref(), Some("enough"));
    assert_eq!(bench.texts(), pairs(&THREE));
}

#[test]
fn rollback_brings_back_what_was() {
    let mut bench = Bench::new(&["m1"]);
    assert_eq!(back(&bench.store.cluster(), &[], None, &asked()), Err(BackError::Nothing));
    assert_eq!(bench.apply(&THREE, &asked()), None);
    assert_eq!(bench.apply(&NEW, &asked()), None);
    assert_eq!(bench.apply(&[("a.service", "3")], &Asked { prune: true, ..asked() }), None);
    assert_eq!(bench.texts(), pairs(&[("a.service", "3")]));
    let to = |bench: &mut Bench, to: Option<u64>| {
        let rollout = back(&bench.store.cluster(), &bench.applied(), to, &asked()).unwrap();
        assert!(bench.begin(rollout));
        assert_eq!(bench.run(), None);
        bench.texts()
    };
    assert_eq!(to(&mut bench, None), pairs(&NEW));
    assert_eq!(to(&mut bench, Some(1)), pairs(&THREE));
    // The newest one is a rollback itself.
    assert_eq!(to(&mut bench, None), pairs(&NEW));
    assert_eq!(to(&mut bench, Some(3)), pairs(&[("a.service", "3")]));
    assert_eq!(bench.applied().last().unwrap().rollout.back_to, Some(3));
    assert_eq!(back(&bench.store.cluster(), &bench.applied(), Some(99), &asked()), Err(BackError::Unknown(99)));
    for _ in 0..60 {
        let next = if bench.texts()[0].1 == "3" { "4" } else { "3" };
        assert_eq!(bench.apply(&[("a.service", next)], &asked()), None);
    }
    assert_eq!(bench.applied().len(), 50);
}
