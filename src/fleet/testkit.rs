//! For tests: a store of fleet's keys that knows transactions, and short ways to fill it.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use bytes::Bytes;

use super::cluster::Cluster;
use super::layout::{Key, UnitRecord, encode};
use super::plan::{Plan, plan};
use super::transactions::transactions;
use super::types::{DesiredState, Machine, UnitState};
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
        let pairs = metadata.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        let machine = Machine { id: id(name), metadata: pairs.collect(), ..Machine::default() };
        self.put(&Key::Machine(id(name)), encode(&machine));
    }

    pub fn lose(&mut self, name: &str) {
        self.delete(&Key::Machine(id(name)));
    }

    pub fn unit(&mut self, name: &str, fleet: &str, desired_state: DesiredState) {
        let generation = self.revision as u64 + 1;
        let launch = if desired_state == DesiredState::Launched { generation } else { 0 };
        let text = format!("[Service]\nExecStart=/bin/sleep 1\n[X-Fleet]\n{fleet}\n");
        self.put(&Key::Unit(name.to_owned()), encode(&UnitRecord { text, desired_state, generation, launch }));
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
        assert_eq!(compare.result, CompareResult::Equal);
        let found = self.kvs.get(&compare.key);
        match &compare.target {
            CompareTarget::Mod(revision) => found.map_or(0, |(_, r)| *r) == *revision,
            CompareTarget::Value(value) => found.is_some_and(|(v, _)| v == value),
            other => panic!("not expected of fleet: {other:?}"),
        }
    }
}
