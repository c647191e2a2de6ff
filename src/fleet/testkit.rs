//! For tests: a store of fleet's keys that knows transactions, and short ways to fill it.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use bytes::Bytes;

use super::cluster::Cluster;
use super::layout::{Key, UnitRecord, encode};
use super::plan::{Plan, plan};
use super::transactions::transactions;
use super::types::{Cordon, DesiredState, Drain, Machine, UnitState};
use crate::base::{LeaseId, MachineId};
use crate::kv::{Compare, CompareResult, CompareTarget, TxnOp, TxnRequest};

#[derive(Clone, Default)]
pub struct Store {
    pub kvs: BTreeMap<Bytes, (Bytes, i64)>,
    pub revision: i64,
}

pub fn id(name: &str) -> MachineId {
    MachineId(name.to_owned())
}

impl Store {
    pub fn cluster(&self) -> Cluster {
        let kvs = self.kvs.iter().map(|(k, (v, revision))| (k, v, *revision));
        Cluster::from_kvs(self.revision, kvs)
    }

    pub fn put(&mut self, key: &Key, value: Bytes) {
        self.revision += 1;
        self.kvs.insert(key.bytes(), (value, self.revision));
    }

    pub fn delete(&mut self, key: &Key) {
        self.revision += 1;
        self.kvs.remove(&key.bytes());
    }

    pub fn machine(&mut self, name: &str, metadata: &[(&str, &str)]) {
        self.sized_machine(name, metadata, 0, 0);
    }

    pub fn sized_machine(&mut self, name: &str, metadata: &[(&str, &str)], memory_bytes: u64, cores: u32) {
        let pairs = metadata.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        let machine = Machine { id: id(name), metadata: pairs.collect(), memory_bytes, cores, ..Machine::default() };
        self.put(&Key::Machine(id(name)), encode(&machine));
    }

    /// Takes no more units; with a number, those that are there leave, so many at once.
    pub fn cordon(&mut self, name: &str, drain: Option<u32>) {
        let cordon = Cordon { drain: drain.map(|max_parallel| Drain { max_parallel }) };
        self.put(&Key::Cordon(id(name)), encode(&cordon));
    }

    pub fn uncordon(&mut self, name: &str) {
        self.delete(&Key::Cordon(id(name)));
    }

    /// As if every machine had done what it is to do: launched what is scheduled there, and forgotten the rest.
    pub fn carry_out(&mut self) {
        let cluster = self.cluster();
        for (name, machines) in &cluster.states {
            for machine in machines.keys() {
                if cluster.schedule.get(name).is_none_or(|at| at.machine != *machine) {
                    self.delete(&Key::State(name.clone(), machine.clone()));
                }
            }
        }
        for (name, at) in &cluster.schedule {
            self.report(name, &at.machine.0, "active");
        }
    }

    /// A machine says how a unit is doing that it has started.
    pub fn report(&mut self, name: &str, machine: &str, active: &str) {
        let unit = &self.cluster().units[name];
        let mut state = UnitState { hash: unit.hash.clone(), launched: unit.launch, ..UnitState::default() };
        state.state.active = active.to_owned();
        self.state(name, machine, &state);
    }

    pub fn lose(&mut self, name: &str) {
        self.delete(&Key::Machine(id(name)));
    }

    pub fn unit(&mut self, name: &str, fleet: &str, desired_state: DesiredState) {
        self.text(name, &format!("[Service]\nExecStart=/bin/sleep 1\n[X-Fleet]\n{fleet}\n"), desired_state);
    }

    /// A container that publishes ports: the values of its `PublishPort=`.
    pub fn container(&mut self, name: &str, ports: &[&str], fleet: &str) {
        let ports: String = ports.iter().map(|port| format!("PublishPort={port}\n")).collect();
        let text = format!("[Container]\nImage=a\n{ports}[X-Fleet]\n{fleet}\n");
        self.text(name, &text, DesiredState::Launched);
    }

    pub fn text(&mut self, name: &str, text: &str, desired_state: DesiredState) {
        let generation = self.revision as u64 + 1;
        let launch = if desired_state == DesiredState::Launched { generation } else { 0 };
        let text = text.to_owned();
        self.put(
            &Key::Unit(name.to_owned()),
            encode(&UnitRecord {
                text: text.to_owned(),
                desired_state,
                generation,
                launch,
                set: None,
                next: None,
                restarts: BTreeMap::new(),
            }),
        );
    }

    pub fn launched(&mut self, name: &str, fleet: &str) {
        self.unit(name, fleet, DesiredState::Launched);
    }

    pub fn destroy(&mut self, name: &str) {
        self.delete(&Key::Unit(name.to_owned()));
    }

    pub fn state(&mut self, name: &str, machine: &str, state: &UnitState) {
        self.put(&Key::State(name.to_owned(), id(machine)), encode(state));
    }

    /// Plans and carries the plan out.
    pub fn settle(&mut self) -> Plan {
        let plan = plan(&self.cluster());
        for part in transactions(&plan, 128) {
            assert!(self.txn(&part));
        }
        plan
    }

    /// The machine that a unit is scheduled on, `-` for none.
    pub fn place(&self, unit: &str) -> String {
        let cluster = self.cluster();
        cluster.schedule.get(unit).map_or("-".to_owned(), |s| s.machine.0.clone())
    }

    pub fn txn(&mut self, request: &TxnRequest) -> bool {
        if !request.compare.iter().all(|c| self.holds(c)) {
            return false;
        }
        self.revision += 1;
        for op in &request.success {
            match op {
                TxnOp::Put(put) => {
                    assert!(put.lease == LeaseId::NONE || put.lease.0 > 0);
                    self.kvs.insert(put.key.clone(), (put.value.clone(), self.revision));
                }
                TxnOp::DeleteRange(delete) => {
                    assert!(delete.range_end.is_empty());
                    self.kvs.remove(&delete.key);
                }
                other => panic!("not expected of fleet: {other:?}"),
            }
        }
        true
    }

    fn holds(&self, compare: &Compare) -> bool {
        if let (CompareResult::Less, CompareTarget::Mod(revision)) = (compare.result, &compare.target) {
            let mut range = self.kvs.range(compare.key.clone()..compare.range_end.clone());
            return range.all(|(_, (_, changed))| changed < revision);
        }
        assert_eq!(compare.result, CompareResult::Equal);
        let found = self.kvs.get(&compare.key);
        match &compare.target {
            CompareTarget::Mod(revision) => found.map_or(0, |(_, r)| *r) == *revision,
            CompareTarget::Value(value) => found.is_some_and(|(v, _)| v == value),
            other => panic!("not expected of fleet: {other:?}"),
        }
    }
}
