//! Tests of the cluster as a value: ranges and events lead to the same, states are told as fleet tells them.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use proptest::prelude::*;

use super::super::layout::{UnitRecord, encode};
use super::*;
use crate::base::UnixMillis;
use crate::fleet::Drain;
use crate::kv::KeyValue;

fn record(desired: DesiredState, launch: u64) -> Bytes {
    encode(&UnitRecord {
        text: "[Service]\nExecStart=/bin/a\n".into(),
        desired_state: desired,
        generation: 5,
        launch,
        set: None,
        next: None,
        restarts: BTreeMap::new(),
    })
}

fn id() -> MachineId {
    MachineId("m1".into())
}

fn event(key: &Key, value: Option<Bytes>, revision: i64) -> Event {
    Event {
        space: Space::System,
        kind: if value.is_some() { EventKind::Put } else { EventKind::Delete },
        kv: KeyValue {
            key: key.bytes(),
            value: value.unwrap_or_default(),
            mod_revision: revision,
            ..KeyValue::default()
        },
        prev: None,
        v2: None,
        made: None,
    }
}

#[test]
fn current_state_is_what_the_machine_has_acted_on() {
    use DesiredState::{Inactive, Launched, Loaded};
    // (desired, launch asked for, scheduled, launch acted on by the machine) → state
    let cases = [
        (Loaded, 0, false, None, Inactive),
        (Loaded, 0, true, None, Inactive),
        (Loaded, 0, false, Some(0), Inactive),
        (Loaded, 0, true, Some(0), Loaded),
        (Launched, 5, true, Some(0), Loaded),
        (Launched, 5, true, Some(5), Launched),
        (Launched, 7, true, Some(5), Loaded),
        (Loaded, 5, true, Some(5), Launched),
    ];
    for (desired, launch, scheduled, acted, expected) in cases {
        let name = "a.service".to_owned();
        let mut kvs = vec![(Key::Unit(name.clone()), record(desired, launch))];
        if scheduled {
            let to = Scheduled { machine: id(), generation: 1, ..Default::default() };
            kvs.push((Key::Schedule(name.clone()), encode(&to)));
        }
        if let Some(launched) = acted {
            let state = UnitState { launched, ..UnitState::default() };
            kvs.push((Key::State(name, id()), encode(&state)));
        }
        let kvs = kvs.into_iter().map(|(key, value)| (key.bytes(), value, 1));
        let cluster = Cluster::from_kvs(1, kvs);
        assert_eq!(cluster.current_state("a.service"), Some(expected), "{desired} {launch} {scheduled} {acted:?}");
    }
    assert_eq!(Cluster::default().current_state("a.service"), None);
}

#[test]
fn metadata_changed_at_run_time_wins_and_outlives_the_machine() {
    let machine = Machine {
        metadata: [("a", "1"), ("b", "2")].map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
        ..Machine::default()
    };
    let mut cluster = Cluster::default();
    cluster.apply(&event(&Key::Metadata(id(), "a".into()), Some(encode(&"x")), 1));
    cluster.apply(&event(&Key::Metadata(id(), "b".into()), Some(encode(&"")), 2));
    cluster.apply(&event(&Key::Machine(id()), Some(encode(&machine)), 3));
    let seen = |c: &Cluster| c.machines[&id()].metadata.clone().into_iter().collect::<Vec<_>>();
    assert_eq!(seen(&cluster), [("a".to_owned(), "x".to_owned())]);
    cluster.apply(&event(&Key::Machine(id()), None, 4));
    assert!(cluster.machines.is_empty());
    cluster.apply(&event(&Key::Machine(id()), Some(encode(&machine)), 5));
    cluster.apply(&event(&Key::Metadata(id(), "b".into()), None, 6));
    assert_eq!(seen(&cluster), [("a".to_owned(), "x".to_owned()), ("b".to_owned(), "2".to_owned())]);
}

#[test]
fn a_value_that_cannot_be_read_poisons_nothing() {
    let key = Key::Unit("a.service".into());
    let mut cluster = Cluster::from_kvs(4, [(key.bytes(), Bytes::from_static(b"{"), 4)]);
    assert_eq!(cluster.problems.len(), 1);
    assert!(cluster.units.is_empty());
    assert_eq!(cluster.mod_revision(&key), 4);
    cluster.apply(&event(&key, Some(record(DesiredState::Loaded, 0)), 5));
    assert!(cluster.problems.is_empty());
    assert_eq!(cluster.units.len(), 1);
}

fn keys() -> impl Strategy<Value = Key> {
    let name = prop_oneof![Just("a.service".to_owned()), Just("b@1.service".to_owned())];
    let machine = prop_oneof![Just(MachineId("m1".into())), Just(MachineId("m2".into()))];
    prop_oneof![
        machine.clone().prop_map(Key::Machine),
        machine.clone().prop_map(|m| Key::Metadata(m, "k".into())),
        machine.clone().prop_map(Key::Cordon),
        name.clone().prop_map(Key::Unit),
        name.clone().prop_map(Key::Schedule),
        name.clone().prop_map(Key::Done),
        name.clone().prop_map(Key::Elapsed),
        (name, machine).prop_map(|(n, m)| Key::State(n, m)),
        Just(Key::Plan),
        Just(Key::Rollout),
        Just(Key::Progress),
    ]
}

fn value_of(key: &Key, number: u64) -> Bytes {
    match key {
        Key::Machine(id) => encode(&Machine { id: id.clone(), version: number.to_string(), ..Machine::default() }),
        Key::Metadata(..) => encode(&if number.is_multiple_of(2) { String::new() } else { number.to_string() }),
        Key::Cordon(_) => encode(&Cordon { drain: Some(Drain { max_parallel: number as u32 }) }),
        Key::Unit(_) => record(DesiredState::Loaded, number),
        Key::Schedule(_) => encode(&Scheduled { machine: id(), generation: number, ..Default::default() }),
        Key::State(..) => encode(&UnitState { launched: number, ..UnitState::default() }),
        Key::Elapsed(_) => encode(&Elapsed { at: UnixMillis(number as i64) }),
        Key::Done(_) => encode(&Done { launch: number, machine: id() }),
        Key::Plan => encode(&PlanHead { generation: number, mod_revision: 0 }),
        Key::Rollout => encode(&Rollout { revision: number, ..Rollout::default() }),
        Key::Progress => encode(&Progress { released: number as usize, ..Progress::default() }),
        Key::Applied(_) => Bytes::new(),
    }
}

proptest! {
    #[test]
    fn events_lead_where_a_range_leads(steps in prop::collection::vec((keys(), prop::option::of(0u64..5)), 0..40)) {
        let mut by_events = Cluster::default();
        let mut store: BTreeMap<Key, (Bytes, i64)> = BTreeMap::new();
        let mut revision = 0;
        for (key, number) in steps {
            revision += 1;
            let value = number.map(|n| if n == 4 { Bytes::from_static(b"nonsense") } else { value_of(&key, n) });
            by_events.apply(&event(&key, value.clone(), revision));
            match value {
                Some(value) => store.insert(key, (value, revision)),
                None => store.remove(&key),
            };
        }
        let kvs = store.iter().map(|(key, (value, revision))| (key.bytes(), value.clone(), *revision));
        prop_assert_eq!(Cluster::from_kvs(revision, kvs), by_events);
    }
}
