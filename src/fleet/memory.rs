//! What a machine's agent remembers: the units that its executor holds, and what was already done about them.

use std::collections::BTreeMap;

use super::cluster::Cluster;
use super::diff::{Task, TaskKind};
use super::executor::{ActiveState, ExecutorError, Held, StateChange};
use super::layout::{Key, encode};
use super::types::{Health, UnitState};
use crate::base::{LeaseId, MachineId};
use crate::kv::TxnOp;

/// Whether a unit was started at the cluster's wish.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Launched {
    /// It was held before this life of the node, and nobody wrote down whether.
    Unknown,
    /// No, or it was stopped since.
    #[default]
    No,
    /// Yes, for this [`Unit::launch`](super::Unit::launch).
    At(u64),
}

/// One unit on this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Local {
    /// What the executor has under this name; `None`: nothing.
    pub held: Option<LocalHeld>,
    pub launched: Launched,
    /// A task that was handed over and whose effect has not been seen, or that failed and waits for [`Memory::retry`].
    pub in_flight: Option<TaskKind>,
    /// A load that came to nothing: not tried again until the text changes, or [`Memory::retry`].
    pub refused: Option<RefusedLoad>,
    /// What went wrong last, to be shown.
    pub problem: Option<String>,
    /// What its start waits for.
    pub put_off: Option<String>,
    /// What the unit's checks said last, of the text that is held.
    pub health: Option<Health>,
    /// The task in flight has failed.
    pub(super) failed: bool,
    /// A state that was told before the load was answered.
    pub(super) early: Option<ActiveState>,
}

/// Why a text was not loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedLoad {
    /// Of the text.
    pub hash: String,
    /// The executor's words.
    pub problem: String,
    /// Not the text's fault: another try may do.
    pub passing: bool,
}

/// The text's hash and the state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalHeld {
    pub hash: String,
    pub state: ActiveState,
}

/// All units of this machine. Changed by what the executor says and by what is handed to it, never by wishes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    pub units: BTreeMap<String, Local>,
    /// The newest plan that was acted on.
    pub acted: u64,
}

impl Memory {
    /// The memory of a node that comes back: what the executor found, and what the cluster still knows of this machine's
    /// earlier life.
    pub fn adopt(held: Vec<Held>, cluster: &Cluster, machine: &MachineId) -> Self {
        let mut memory = Self::default();
        for unit in held {
            let known = cluster.states.get(&unit.name).and_then(|s| s.get(machine));
            let launched = match known.filter(|s| s.hash == unit.hash) {
                None => Launched::Unknown,
                Some(state) if state.launched == 0 => Launched::No,
                Some(state) => Launched::At(state.launched),
            };
            let local =
                Local { held: Some(LocalHeld { hash: unit.hash, state: unit.state }), launched, ..Local::default() };
            memory.units.insert(unit.name, local);
        }
        memory
    }

    /// A task is about to be handed to the executor ([`Task::Adopt`]: is noted).
    pub fn issued(&mut self, task: &Task) {
        let kind = task.kind();
        if let Some(name) = task.name() {
            self.local(name).failed = false;
        }
        match task {
            Task::Load { units } => {
                for unit in units {
                    self.local(&unit.name).in_flight = Some(kind);
                }
            }
            Task::Unload { name, .. } | Task::Stop { name, .. } => self.local(name).in_flight = Some(kind),
            Task::Start { name, launch, .. } => {
                let local = self.local(name);
                local.in_flight = Some(kind);
                local.launched = Launched::At(*launch);
                local.problem = None;
                local.health = None;
            }
            Task::Adopt { name, launch } => self.local(name).launched = Launched::At(*launch),
        }
    }

    /// The executor's answer about one unit of a load.
    pub fn loaded(&mut self, name: &str, hash: &str, result: Result<(), &ExecutorError>) {
        let local = self.local(name);
        if local.in_flight == Some(TaskKind::Load) {
            local.in_flight = None;
        }
        let early = local.early.take();
        match result {
            Ok(()) => {
                let state = early.or(local.held.take().map(|h| h.state));
                local.held = Some(LocalHeld { hash: hash.to_owned(), state: state.unwrap_or_else(just_loaded) });
                local.launched = Launched::No;
                local.refused = None;
                local.problem = None;
                local.health = None;
            }
            Err(error) => {
                local.refused = Some(RefusedLoad {
                    hash: hash.to_owned(),
                    problem: error.to_string(),
                    passing: !matches!(error, ExecutorError::Unsupported { .. }),
                });
                local.problem = Some(error.to_string());
            }
        }
    }

    /// The executor's answer to a start, stop or unload, or the caller's own that it took too long. A start counts as
    /// done, whatever came of it: it is not repeated.
    pub fn answered(&mut self, task: &Task, result: Result<(), &ExecutorError>) {
        let Some(name) = task.name() else { return };
        let Some(local) = self.units.get_mut(name) else {
            return;
        };
        // Another task may be under way by now: what this one changed can be seen before its answer.
        let awaited = local.in_flight == Some(task.kind());
        match (task.kind(), result) {
            (TaskKind::Unload, Err(ExecutorError::NotLoaded { .. })) => self.forget(name),
            // An unload is over when the executor tells that the unit is gone, a stop when it is down.
            (TaskKind::Unload, Ok(())) => {}
            (TaskKind::Stop, Ok(())) if local.is_running() => {
                if awaited {
                    local.launched = Launched::No;
                }
            }
            (kind, Ok(())) | (kind @ TaskKind::Start, Err(_)) if awaited => {
                if kind == TaskKind::Stop {
                    local.launched = Launched::No;
                }
                local.in_flight = None;
                local.problem = result.err().map(ToString::to_string);
            }
            (_, Ok(())) => {}
            (_, Err(error)) => {
                local.failed = awaited;
                local.problem = Some(error.to_string());
            }
        }
    }

    /// The executor tells that a unit's state has changed. Says whether anything did.
    pub fn changed(&mut self, change: &StateChange) -> bool {
        let Some(state) = &change.state else {
            let known = self.units.get(&change.name);
            let held = known.is_some_and(|l| l.held.is_some());
            self.forget(&change.name);
            return held;
        };
        let Some(local) = self.units.get_mut(&change.name) else {
            return false;
        };
        let Some(held) = &mut local.held else {
            // The load that makes the unit known has not been answered yet.
            local.early = Some(state.clone());
            return false;
        };
        let changed = held.state != *state;
        held.state = state.clone();
        if local.in_flight == Some(TaskKind::Stop) && !local.is_running() {
            local.in_flight = None;
            local.failed = false;
            local.launched = Launched::No;
        }
        changed
    }

    /// A plan's tasks were handed over: older plans are refused from now on.
    pub fn acted_on(&mut self, generation: u64) {
        self.acted = self.acted.max(generation);
    }

    /// Some time has passed: what failed for a reason that may have passed too can be tried again.
    pub fn retry(&mut self) {
        for local in self.units.values_mut() {
            local.refused.take_if(|refused| refused.passing);
            if std::mem::take(&mut local.failed) {
                local.in_flight = None;
            }
        }
    }

    /// Drops what is remembered of units that are neither held nor wanted nor being loaded, such as refusals.
    pub fn retain_wanted(&mut self, is_wanted: impl Fn(&str) -> bool) {
        self.units.retain(|name, local| local.held.is_some() || local.in_flight.is_some() || is_wanted(name));
    }

    /// The operations that bring this machine's published states to what is remembered; any division into transactions
    /// will do. Changes only, or with `all` (for a new lease, which the keys must be attached to) everything.
    pub fn publish(&self, cluster: &Cluster, machine: &MachineId, lease: LeaseId, all: bool) -> Vec<TxnOp> {
        let key = |name: &str| Key::State(name.to_owned(), machine.clone());
        let published = |name: &str| cluster.states.get(name).and_then(|s| s.get(machine));
        let mut operations = Vec::new();
        for (name, local) in &self.units {
            let state = local.published();
            if let Some(state) = state.filter(|s| all || published(name) != Some(s)) {
                operations.push(key(name).put(encode(&state), lease));
            }
        }
        for (name, machines) in &cluster.states {
            let ours = self.units.get(name).and_then(Local::published);
            if machines.contains_key(machine) && ours.is_none() {
                operations.push(key(name).delete());
            }
        }
        operations
    }

    /// A unit's start counts for nothing any more.
    pub fn not_started(&mut self, name: &str) {
        if let Some(local) = self.units.get_mut(name) {
            local.launched = Launched::No;
        }
    }

    /// Whether the executor has nothing under this name and is to get nothing.
    pub fn has_nothing_of(&self, name: &str) -> bool {
        self.units.get(name).is_none_or(|local| local.held.is_none() && local.in_flight.is_none())
    }

    /// Whether a unit runs with the text of this hash, started and not on its way to something else.
    pub fn runs(&self, name: &str, hash: &str) -> bool {
        let local = self.units.get(name).filter(|local| local.in_flight.is_none());
        local.is_some_and(|local| {
            let held = local.held.as_ref().is_some_and(|held| held.hash == hash && held.state.active == "active");
            held && matches!(local.launched, Launched::At(_))
        })
    }

    /// Starts that are put off now, and for what.
    pub fn put_off(&mut self, waiting: &BTreeMap<String, String>) {
        for (name, local) in &mut self.units {
            local.put_off = waiting.get(name).cloned();
        }
    }

    /// Notes what the checks of a unit said of the text with this hash.
    pub fn checked(&mut self, name: &str, hash: &str, health: Health) {
        if self.runs(name, hash)
            && let Some(local) = self.units.get_mut(name)
        {
            local.health = Some(health);
        }
    }

    /// Nobody asks for a unit's health any more.
    pub fn unchecked(&mut self, name: &str) {
        if let Some(local) = self.units.get_mut(name) {
            local.health = None;
        }
    }

    fn local(&mut self, name: &str) -> &mut Local {
        self.units.entry(name.to_owned()).or_default()
    }

    fn forget(&mut self, name: &str) {
        self.units.remove(name);
    }
}

impl Local {
    /// Whether there is something to stop.
    pub fn is_running(&self) -> bool {
        let state = self.held.as_ref().map(|h| h.state.active.as_str());
        matches!(state, Some("active" | "activating" | "reloading" | "refreshing"))
    }

    /// Whether it is on its way down.
    pub fn is_stopping(&self) -> bool {
        let state = self.held.as_ref().map(|h| h.state.active.as_str());
        state == Some("deactivating")
    }

    /// What other machines are told; `None`: nothing, as there is nothing here.
    fn published(&self) -> Option<UnitState> {
        // Until a start is accepted the state may be one from before it.
        let starting = self.in_flight == Some(TaskKind::Start);
        let launched = match self.launched {
            Launched::At(launch) if !starting => launch,
            _ => 0,
        };
        match (&self.held, &self.refused) {
            (Some(held), _) => Some(UnitState {
                hash: held.hash.clone(),
                state: (&held.state).into(),
                launched,
                problem: self
                    .put_off
                    .as_ref()
                    .map(|why| format!("its start waits: {why}"))
                    .or_else(|| self.problem.clone()),
                put_off: self.put_off.is_some(),
                health: self.health.clone().filter(|_| self.is_running()),
                ports: held.state.ports.clone(),
            }),
            (None, Some(load)) => Some(UnitState {
                hash: load.hash.clone(),
                state: (&refused()).into(),
                launched: 0,
                problem: Some(load.problem.clone()),
                put_off: false,
                health: None,
                ports: Vec::new(),
            }),
            (None, None) => None,
        }
    }
}

/// The state of a unit from its load until the executor tells of it.
fn just_loaded() -> ActiveState {
    ActiveState::of("loaded", "inactive", "dead")
}

/// How systemd shows a unit whose text it refuses.
fn refused() -> ActiveState {
    ActiveState { load: "error".to_owned(), ..just_loaded() }
}
