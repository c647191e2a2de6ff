//! The cluster as one value: made from a range of keys, kept up to date by their changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::layout::{Key, PREFIX, Value};
use super::once::Done;
use super::rollout::{Progress, Rollout};
use super::timer::Elapsed;
use super::types::{Cordon, DesiredState, Machine, PlanHead, Scheduled, Unit, UnitState};
use crate::base::MachineId;
use crate::kv::{Consistency, Event, EventKind, RangeRequest, Space, Store, StoreError, prefix_end};

/// Machines, units, schedule and states at one revision of the system space.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cluster {
    /// The revision that this is the state of.
    pub revision: i64,
    /// Machines that are present, with what was changed of them at run time.
    pub machines: BTreeMap<MachineId, Machine>,
    pub units: BTreeMap<String, Arc<Unit>>,
    pub schedule: BTreeMap<String, Scheduled>,
    /// By unit, then by machine.
    pub states: BTreeMap<String, BTreeMap<MachineId, UnitState>>,
    /// One-shots that have run to their end.
    pub done: BTreeMap<String, Done>,
    /// When timers have last elapsed.
    pub elapsed: BTreeMap<String, Elapsed>,
    pub head: PlanHead,
    /// The apply that is under way, and how far it is.
    pub rollout: Option<Arc<Rollout>>,
    pub progress: Progress,
    /// Values that could not be read, by key: they count as missing until somebody writes them anew.
    pub problems: BTreeMap<String, String>,
    /// Metadata changed at run time, by machine, present or not; an empty value takes the key away.
    pub overrides: BTreeMap<MachineId, BTreeMap<String, String>>,
    /// Machines that take no more units, present or not.
    pub cordons: BTreeMap<MachineId, Cordon>,
    /// Machines as they announced themselves.
    announced: BTreeMap<MachineId, Machine>,
    revisions: BTreeMap<Key, i64>,
}

impl Cluster {
    /// The cluster as `store` has it now, linearizably.
    ///
    /// # Errors
    /// The store's own.
    pub async fn read(store: &dyn Store) -> Result<Self, StoreError> {
        let (key, range_end) = (PREFIX.as_bytes().into(), prefix_end(PREFIX.as_bytes()));
        let request = RangeRequest { space: Space::System, key, range_end, ..RangeRequest::default() };
        let (position, reply) = store.range(request, Consistency::Linearizable).await?;
        let kvs = reply.kvs.iter().map(|kv| (&kv.key, &kv.value, kv.mod_revision));
        Ok(Self::from_kvs(position.system_revision, kvs))
    }

    /// The cluster of a range read at `revision`: key, value and revision of the last change of each.
    /// Keys that are not fleet's are passed over.
    pub fn from_kvs<K, V>(revision: i64, kvs: impl IntoIterator<Item = (K, V, i64)>) -> Self
    where
        K: AsRef<[u8]>,
        V: AsRef<[u8]>,
    {
        let mut cluster = Self::default();
        for (key, value, mod_revision) in kvs {
            if let Some(key) = Key::parse(key.as_ref()) {
                cluster.put(key, value.as_ref(), mod_revision);
            }
        }
        cluster.revision = revision;
        cluster
    }

    /// Takes a change in; says which of fleet's keys it was, if it was one.
    pub fn apply(&mut self, event: &Event) -> Option<Key> {
        if event.space != Space::System {
            return None;
        }
        self.revision = self.revision.max(event.kv.mod_revision);
        let key = Key::parse(&event.kv.key)?;
        match event.kind {
            EventKind::Put => self.put(key.clone(), &event.kv.value, event.kv.mod_revision),
            EventKind::Delete => self.remove(&key),
        }
        Some(key)
    }

    /// The revision of a key's last change; 0 where it does not exist.
    pub fn mod_revision(&self, key: &Key) -> i64 {
        self.revisions.get(key).copied().unwrap_or(0)
    }

    /// How far fleet has come with a unit, in the words of [`DesiredState`]; `None` for a global one or where there is none.
    /// Launched means that the machine has acted on the newest start asked for, not that the unit is well.
    pub fn current_state(&self, name: &str) -> Option<DesiredState> {
        let unit = self.units.get(name).filter(|u| !u.requirements.global)?;
        let scheduled = self.schedule.get(name);
        let published = scheduled.and_then(|s| self.states.get(name)?.get(&s.machine));
        let wants_launch = unit.desired == DesiredState::Launched;
        Some(match published {
            None => DesiredState::Inactive,
            Some(state) if wants_launch && state.launched == unit.launch => DesiredState::Launched,
            Some(state) if !wants_launch && state.launched != 0 => DesiredState::Launched,
            Some(_) => DesiredState::Loaded,
        })
    }

    fn put(&mut self, key: Key, value: &[u8], mod_revision: i64) {
        self.remove(&key);
        self.revisions.insert(key.clone(), mod_revision);
        let value = match Value::read(&key, value, mod_revision) {
            Ok(value) => value,
            Err(bad) => {
                self.problems.insert(bad.key, bad.reason);
                return;
            }
        };
        match (key, value) {
            (Key::Machine(id), Value::Machine(machine)) => {
                self.announced.insert(id.clone(), machine);
                self.merge(&id);
            }
            (Key::Metadata(id, name), Value::Metadata(value)) => {
                let of_machine = self.overrides.entry(id.clone()).or_default();
                of_machine.insert(name, value);
                self.merge(&id);
            }
            (Key::Cordon(id), Value::Cordon(cordon)) => {
                self.cordons.insert(id.clone(), cordon);
                self.merge(&id);
            }
            (Key::Unit(name), Value::Unit(unit)) => {
                self.units.insert(name, Arc::new(*unit));
            }
            (Key::Schedule(name), Value::Schedule(scheduled)) => {
                self.schedule.insert(name, scheduled);
            }
            (Key::State(name, id), Value::State(state)) => {
                self.states.entry(name).or_default().insert(id, state);
            }
            (Key::Done(name), Value::Done(done)) => {
                self.done.insert(name, done);
            }
            (Key::Elapsed(name), Value::Elapsed(elapsed)) => {
                self.elapsed.insert(name, elapsed);
            }
            (Key::Plan, Value::Plan(head)) => self.head = head,
            (Key::Rollout, Value::Rollout(rollout)) => self.rollout = Some(Arc::new(*rollout)),
            (Key::Progress, Value::Progress(progress)) => self.progress = progress,
            _ => {}
        }
    }

    fn remove(&mut self, key: &Key) {
        self.revisions.remove(key);
        if !self.problems.is_empty() {
            let text = String::from_utf8_lossy(&key.bytes()).into_owned();
            self.problems.remove(&text);
        }
        match key {
            Key::Machine(id) => {
                self.announced.remove(id);
                self.machines.remove(id);
            }
            Key::Metadata(id, name) => {
                if let Some(of_machine) = self.overrides.get_mut(id) {
                    of_machine.remove(name);
                    if of_machine.is_empty() {
                        self.overrides.remove(id);
                    }
                }
                self.merge(id);
            }
            Key::Cordon(id) => {
                self.cordons.remove(id);
                self.merge(id);
            }
            Key::Unit(name) => {
                self.units.remove(name);
            }
            Key::Schedule(name) => {
                self.schedule.remove(name);
            }
            Key::State(name, id) => {
                if let Some(of_unit) = self.states.get_mut(name) {
                    of_unit.remove(id);
                    if of_unit.is_empty() {
                        self.states.remove(name);
                    }
                }
            }
            Key::Done(name) => {
                self.done.remove(name);
            }
            Key::Elapsed(name) => {
                self.elapsed.remove(name);
            }
            Key::Plan => self.head = PlanHead::default(),
            Key::Rollout => self.rollout = None,
            Key::Progress => self.progress = Progress::default(),
            Key::Applied(_) => {}
        }
    }

    /// A machine as it announces itself, with what was changed at run time: its metadata, and whether it takes units.
    pub fn with_overrides(&self, machine: &Machine) -> Machine {
        let mut merged = machine.clone();
        merged.cordon = self.cordons.get(&machine.id).copied();
        for (name, value) in self.overrides.get(&machine.id).into_iter().flatten() {
            if value.is_empty() {
                merged.metadata.remove(name);
            } else {
                merged.metadata.insert(name.clone(), value.clone());
            }
        }
        merged
    }

    fn merge(&mut self, id: &MachineId) {
        if let Some(machine) = self.announced.get(id) {
            self.machines.insert(id.clone(), self.with_overrides(machine));
        }
    }
}

#[cfg(test)]
#[path = "cluster_tests.rs"]
mod tests;
