//! Tests of what a machine does: the cases one by one, and an executor in miniature that must end up as wanted.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::executor::{ActiveState, ExecutorError, Held, StateChange};
use super::super::memory::LocalHeld;
use super::super::testkit::{Store, id};
use super::super::types::{PublishedState, UnitState};
use super::*;
use crate::base::LeaseId;

const LEASE: LeaseId = LeaseId(7);

fn state(active: &str) -> ActiveState {
    ActiveState::of("loaded", active, "x")
}

fn want(name: &str, hash: &str, launch: u64) -> Wanted {
    let file = UnitFile { name: name.into(), text: format!("# {hash}"), hash: hash.into() };
    Wanted {
        file,
        desired: if launch > 0 { DesiredState::Launched } else { DesiredState::Loaded },
        launch,
        done: false,
    }
}

fn remember(hash: &str, active: &str, launched: Launched) -> Memory {
    let held = Some(LocalHeld { hash: hash.into(), state: state(active) });
    let local = Local { held, launched, ..Local::default() };
    Memory { units: BTreeMap::from([("a".to_owned(), local)]), acted: 0 }
}

/// Tasks as short words.
fn words(tasks: &[Task]) -> Vec<String> {
    let of = |task: &Task| match task {
        Task::Load { units } => {
            format!("load {}", units.iter().map(|u| format!("{}#{}", u.name, u.hash)).collect::<Vec<_>>().join(" "))
        }
        Task::Adopt { name, launch } => format!("adopt {name} {launch}"),
        Task::Unload { name, reason } => format!("unload {name} {reason:?}"),
        Task::Stop { name, reason } => format!("stop {name} {reason:?}"),
        Task::Start { name, launch, reason } => format!("start {name} {launch} {reason:?}"),
    };
    tasks.iter().map(of).collect()
}

#[test]
fn one_unit_case_by_case() {
    use Launched::{At, No, Unknown};
    let loaded = DesiredState::Loaded;
    let launch = |n| want("a", "h", n);
    let halted = |n| Wanted { desired: loaded, ..want("a", "h", n) };
    let cases: Vec<(Wanted, Memory, &[&str])> = vec![
        (launch(3), Memory::default(), &["load a#h", "start a 3 DesiredLaunched"]),
        (halted(0), Memory::default(), &["load a#h"]),
        (launch(3), remember("h", "active", At(3)), &[]),
        (launch(3), remember("h", "failed", At(3)), &[]),
        (launch(3), remember("h", "inactive", At(3)), &[]),
        (launch(3), remember("h", "inactive", No), &["start a 3 DesiredLaunched"]),
        (launch(3), remember("h", "active", No), &["start a 3 DesiredLaunched"]),
        (launch(3), remember("h", "active", Unknown), &["adopt a 3"]),
        (launch(3), remember("h", "activating", Unknown), &["adopt a 3"]),
        (launch(3), remember("h", "failed", Unknown), &["start a 3 DesiredLaunched"]),
        (launch(4), remember("h", "active", At(3)), &["stop a Restart"]),
        (launch(4), remember("h", "deactivating", No), &[]),
        (launch(4), remember("h", "failed", At(3)), &["start a 4 DesiredLaunched"]),
        (halted(3), remember("h", "active", At(3)), &["stop a DesiredLoaded"]),
        (halted(3), remember("h", "failed", At(3)), &["stop a DesiredLoaded"]),
        (halted(3), remember("h", "active", Unknown), &["stop a DesiredLoaded"]),
        (halted(3), remember("h", "active", No), &[]),
        (halted(0), remember("h", "active", Unknown), &[]),
        (launch(3), remember("old", "active", At(2)), &["stop a Replaced"]),
        (launch(3), remember("old", "deactivating", No), &[]),
        (launch(3), remember("old", "inactive", No), &["load a#h", "start a 3 Replaced"]),
        (halted(0), remember("old", "failed", At(2)), &["load a#h"]),
    ];
    for (wanted, memory, expected) in cases {
        let tasks = diff(std::slice::from_ref(&wanted), &memory, 0).unwrap();
        assert_eq!(words(&tasks), expected, "{wanted:?} {memory:?}");
    }
    for active in ["active", "inactive", "failed"] {
        let tasks = diff(&[], &remember("h", active, At(1)), 0).unwrap();
        assert_eq!(words(&tasks), ["unload a NotWantedHere"]);
    }
}

#[test]
fn e_kinds_in_order_and_loads_in_one_batch() {
    let mut memory = remember("h", "active", Launched::At(1));
    memory.units.insert("z".into(), memory.units["a"].clone());
    let wanted = [want("a", "h2", 1), want("b", "h", 2), want("c", "h", 3)];
    let tasks = diff(&wanted, &memory, 0).unwrap();
    let expected = [
        "unload z NotWantedHere",
        "load b#h c#h",
        "stop a Replaced",
        "start b 2 DesiredLaunched",
        "start c 3 DesiredLaunched",
    ];
    assert_eq!(words(&tasks), expected);
}

#[test]
fn nothing_is_repeated_while_it_is_under_way() {
    let mut memory = remember("h", "active", Launched::At(1));
    let stop = diff(&[want("a", "h", 0)], &memory, 0).unwrap();
    memory.issued(&stop[0]);
    for wish in [want("a", "h", 0), want("a", "h", 2), want("a", "new", 2)] {
        assert_eq!(diff(&[wish], &memory, 0).unwrap(), []);
    }
    let down = |active: &str| StateChange { name: "a".into(), state: Some(state(active)) };
    memory.answered(&stop[0], Ok(()));
    memory.changed(&down("deactivating"));
    assert_eq!(diff(&[want("a", "h", 2)], &memory, 0).unwrap(), []);
    memory.changed(&down("inactive"));
    assert_eq!(words(&diff(&[want("a", "h", 2)], &memory, 0).unwrap()), ["start a 2 DesiredLaunched"]);
    let unload = diff(&[], &memory, 0).unwrap();
    memory.issued(&unload[0]);
    memory.answered(&unload[0], Ok(()));
    assert_eq!(diff(&[], &memory, 0).unwrap(), []);
    assert_eq!(diff(&[want("a", "h", 2)], &memory, 0).unwrap(), []);
    memory.changed(&StateChange { name: "a".into(), state: None });
    assert_eq!(memory.units.len(), 0);
}

#[test]
fn a_refused_text_is_not_tried_again_and_shown() {
    let mut memory = Memory::default();
    let wanted = [want("a", "bad", 1)];
    let tasks = diff(&wanted, &memory, 0).unwrap();
    memory.issued(&tasks[0]);
    let error = ExecutorError::Unsupported { unit: "a".into(), reason: "line 2: no".into() };
    memory.loaded("a", "bad", Err(&error));
    assert_eq!(diff(&wanted, &memory, 0).unwrap(), []);
    let mut store = Store::default();
    let request = crate::kv::TxnRequest {
        success: memory.publish(&store.cluster(), &id("m1"), LEASE, false),
        ..Default::default()
    };
    assert!(store.txn(&request));
    let shown = &store.cluster().states["a"][&id("m1")];
    assert_eq!((shown.state.load.as_str(), shown.problem.as_deref()), ("error", Some("a: line 2: no")));
    assert_eq!(words(&diff(&[want("a", "good", 1)], &memory, 0).unwrap())[0], "load a#good");
    memory.retain_wanted(|_| false);
    assert_eq!(memory, Memory::default());
    // A reason that passes: tried again, but not at once.
    let passing = ExecutorError::Failed { unit: "a".into(), doing: "loading".into(), reason: "D-Bus is gone".into() };
    memory.loaded("a", "good", Err(&passing));
    assert_eq!(diff(&[want("a", "good", 1)], &memory, 0).unwrap(), []);
    memory.retry();
    assert_eq!(words(&diff(&[want("a", "good", 1)], &memory, 0).unwrap())[0], "load a#good");
}

#[test]
fn answers_and_changes_in_any_order() {
    let mut memory = Memory::default();
    let told = |active: &str| StateChange { name: "a".into(), state: Some(state(active)) };
    assert!(!memory.changed(&told("active")));
    let load = diff(&[want("a", "h", 1)], &memory, 0).unwrap();
    memory.issued(&load[0]);
    // It ran already, and that is told before the load is answered.
    memory.changed(&told("active"));
    memory.retain_wanted(|_| false);
    assert_eq!(diff(&[want("a", "h", 1)], &memory, 0).unwrap(), []);
    memory.loaded("a", "h", Ok(()));
    assert!(memory.units["a"].is_running());
    // A stop whose effect is told before its answer, and the unload that follows at once.
    let stop = diff(&[want("a", "new", 2)], &memory, 0).unwrap();
    memory.issued(&stop[0]);
    memory.changed(&told("inactive"));
    let unload = diff(&[], &memory, 0).unwrap();
    memory.issued(&unload[0]);
    memory.answered(&stop[0], Ok(()));
    assert_eq!(memory.units["a"].in_flight, Some(TaskKind::Unload));
    let late = ExecutorError::TimedOut { doing: "unloading a".into(), waited: std::time::Duration::from_secs(1) };
    memory.answered(&unload[0], Err(&late));
    // Not again at once, or a failing unit would keep the machine busy.
    assert_eq!(diff(&[], &memory, 0).unwrap(), []);
    memory.retry();
    assert_eq!(words(&diff(&[], &memory, 0).unwrap()), ["unload a NotWantedHere"]);
    memory.issued(&unload[0]);
    let gone = ExecutorError::NotLoaded { unit: "a".into() };
    memory.answered(&unload[0], Err(&gone));
    assert_eq!(memory, Memory::default());
    memory.answered(&unload[0], Ok(()));
    assert_eq!(memory, Memory::default());
}

#[test]
fn a_stop_that_fails_is_tried_again_and_forgets_nothing() {
    let mut memory = remember("h", "active", Launched::At(3));
    let halted = Wanted { desired: DesiredState::Loaded, ..want("a", "h", 3) };
    let error = ExecutorError::Failed { unit: "a".into(), doing: "stopping".into(), reason: "no answer".into() };
    for wanted in [halted, want("a", "h", 4)] {
        let stop = diff(std::slice::from_ref(&wanted), &memory, 0).unwrap();
        memory.issued(&stop[0]);
        memory.answered(&stop[0], Err(&error));
        assert_eq!(diff(std::slice::from_ref(&wanted), &memory, 0).unwrap(), []);
        memory.retry();
        assert_eq!(diff(&[wanted], &memory, 0).unwrap(), stop);
        assert_eq!(memory.units["a"].problem.as_deref(), Some("a: stopping: no answer"));
    }
}

#[test]
fn an_older_plan_is_refused() {
    let mut memory = Memory::default();
    memory.acted_on(5);
    memory.acted_on(3);
    assert_eq!(diff(&[], &memory, 4), Err(OlderPlan { offered: 4, acted: 5 }));
    assert_eq!(diff(&[], &memory, 5), Ok(vec![]));
}

#[test]
fn e_a_node_that_comes_back_adopts_what_it_finds() {
    let mut store = Store::default();
    let known = |hash: &str, launched| UnitState { hash: hash.into(), launched, ..UnitState::default() };
    store.state("started", "m1", &known("h", 4));
    store.state("loaded", "m1", &known("h", 0));
    store.state("changed", "m1", &known("older", 4));
    store.state("elsewhere", "m2", &known("h", 4));
    let held = ["changed", "elsewhere", "loaded", "started"].map(|name| Held {
        name: name.into(),
        hash: "h".into(),
        state: state("active"),
    });
    let memory = Memory::adopt(held.to_vec(), &store.cluster(), &id("m1"));
    let launched: Vec<Launched> = memory.units.values().map(|l| l.launched).collect();
    assert_eq!(launched, [Launched::Unknown, Launched::Unknown, Launched::No, Launched::At(4)]);
}

#[test]
fn states_are_written_only_when_they_change() {
    let mut store = Store::default();
    store.state("gone", "m1", &UnitState::default());
    store.state("a", "m2", &UnitState::default());
    let mut memory = remember("h", "active", Launched::At(3));
    let publish = |store: &mut Store, memory: &Memory, all| {
        let operations = memory.publish(&store.cluster(), &id("m1"), LEASE, all);
        let count = operations.len();
        assert!(store.txn(&crate::kv::TxnRequest { success: operations, ..Default::default() }));
        count
    };
    assert_eq!(publish(&mut store, &memory, false), 2);
    assert_eq!(publish(&mut store, &memory, false), 0);
    assert_eq!(publish(&mut store, &memory, true), 1);
    let expected = UnitState {
        hash: "h".into(),
        state: PublishedState::from(&state("active")),
        launched: 3,
        ..UnitState::default()
    };
    assert_eq!(store.cluster().states["a"][&id("m1")], expected);
    assert!(!store.cluster().states.contains_key("gone"));
    assert!(memory.changed(&StateChange { name: "a".into(), state: Some(state("failed")) }));
    assert!(!memory.changed(&StateChange { name: "a".into(), state: Some(state("failed")) }));
    assert_eq!(publish(&mut store, &memory, false), 1);
}

/// An executor that does as it is told, a step at a time.
#[derive(Default)]
struct Miniature {
    units: BTreeMap<String, (String, &'static str)>,
    leaving: Vec<String>,
    starts: u32,
}

impl Miniature {
    fn run(&mut self, task: &Task, memory: &mut Memory) {
        memory.issued(task);
        match task {
            Task::Adopt { .. } => {}
            Task::Load { units } => {
                for unit in units {
                    let old = self.units.get(&unit.name);
                    assert!(
                        old.is_none_or(|(_, s)| !["active", "deactivating"].contains(s)),
                        "a unit that is not down is not loaded anew"
                    );
                    self.units.insert(unit.name.clone(), (unit.hash.clone(), "inactive"));
                    memory.loaded(&unit.name, &unit.hash, Ok(()));
                }
            }
            Task::Start { name, .. } => {
                let unit = self.units.get_mut(name).unwrap();
                assert_ne!(unit.1, "deactivating");
                self.starts += 1;
                unit.1 = "active";
                memory.answered(task, Ok(()));
            }
            Task::Stop { name, .. } => {
                let unit = self.units.get_mut(name).unwrap();
                if unit.1 == "active" {
                    unit.1 = "deactivating";
                }
                memory.answered(task, Ok(()));
            }
            Task::Unload { name, .. } => {
                assert!(!self.leaving.contains(name));
                self.leaving.push(name.clone());
                memory.answered(task, Ok(()));
            }
        }
    }

    /// Time passes: what goes down is down, what leaves is gone; all is told.
    fn step(&mut self, memory: &mut Memory) {
        for name in self.leaving.drain(..) {
            self.units.remove(&name);
            memory.changed(&StateChange { name, state: None });
        }
        for (name, (_, active)) in &mut self.units {
            memory.changed(&StateChange { name: name.clone(), state: Some(state(active)) });
            if *active == "deactivating" {
                *active = "inactive";
                memory.changed(&StateChange { name: name.clone(), state: Some(state(active)) });
            }
        }
    }
}

fn wishes() -> impl Strategy<Value = Vec<(u8, u8, bool)>> {
    prop::collection::vec((0u8..3, 0u8..2, any::<bool>()), 0..4)
}

proptest! {
    #[test]
    fn a_machine_ends_up_as_wanted(rounds in prop::collection::vec((wishes(), 0u8..3, any::<bool>()), 1..8)) {
        let mut executor = Miniature::default();
        let mut memory = Memory::default();
        let mut wanted: Vec<Wanted> = Vec::new();
        let mut generation = 1;
        for (wish, steps, crash) in rounds {
            wanted.clear();
            let unique: BTreeMap<u8, (u8, bool)> = wish.into_iter().map(|(n, h, l)| (n, (h, l))).collect();
            for (name, (hash, launch)) in unique {
                generation += 1;
                let mut unit = want(&format!("u{name}"), &format!("h{hash}"), generation);
                if !launch {
                    unit.desired = DesiredState::Loaded;
                }
                wanted.push(unit);
            }
            for _ in 0..steps {
                for task in diff(&wanted, &memory, 0).unwrap() {
                    executor.run(&task, &mut memory);
                }
                executor.step(&mut memory);
            }
            if crash {
                // The node ends and comes back; units go on.
                executor.step(&mut memory);
                let held = executor.units.iter().map(|(name, (hash, active))| Held { name: name.clone(), hash: hash.clone(), state: state(active) });
                memory = Memory::adopt(held.collect(), &Store::default().cluster(), &id("m1"));
            }
        }
        for _ in 0..8 {
            for task in diff(&wanted, &memory, 0).unwrap() {
                executor.run(&task, &mut memory);
            }
            executor.step(&mut memory);
        }
        prop_assert_eq!(diff(&wanted, &memory, 0).unwrap(), vec![]);
        let expected: Vec<(String, String, &str)> = wanted.iter().map(|w| {
            let active = if w.desired == DesiredState::Launched { "active" } else { "inactive" };
            (w.file.name.clone(), w.file.hash.clone(), active)
        }).collect();
        let found: Vec<(String, String, &str)> = executor.units.iter().map(|(n, (h, a))| (n.clone(), h.clone(), *a)).collect();
        prop_assert_eq!(found, expected);
        let starts = executor.starts;
        executor.units.values_mut().for_each(|unit| unit.1 = "failed");
        executor.step(&mut memory);
        prop_assert_eq!(diff(&wanted, &memory, 0).unwrap(), vec![]);
        prop_assert_eq!(executor.starts, starts);
    }
}
