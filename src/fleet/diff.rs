//! What a machine has to do now: the units that it is to hold against those that it holds, as ordered tasks.
//!
//! It is asked again whenever the cluster or a unit's state changes, so a task waits for another by not being there yet:
//! a unit is stopped first, and loaded anew once it is down. Nothing is repeated that is still under way. A start is
//! asked for once: a unit that fails or is stopped behind our back is left to its own `Restart=`.

use std::collections::BTreeSet;

use super::executor::UnitFile;
use super::memory::{Launched, Local, Memory};
use super::types::DesiredState;
use super::wanted::Wanted;

/// One thing for the executor to do, in the order in which kinds are carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// Runs already as wanted, from before this life of the node, or has done its work: to be noted, nothing to be done.
    Adopt {
        name: String,
        launch: u64,
    },
    /// Not wanted here: to be stopped to its end and forgotten.
    Unload {
        name: String,
        reason: TaskReason,
    },
    /// Wanted and not held, or held with another text and down: all in one batch.
    Load {
        units: Vec<UnitFile>,
    },
    Stop {
        name: String,
        reason: TaskReason,
    },
    Start {
        name: String,
        /// The [`Unit::launch`](super::Unit::launch) that this start answers.
        launch: u64,
        reason: TaskReason,
    },
}

/// A task without its particulars.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TaskKind {
    Adopt,
    Unload,
    Load,
    Stop,
    Start,
}

/// Why a task is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskReason {
    /// The unit is destroyed, inactive, or runs elsewhere now.
    NotWantedHere,
    /// Its text changed.
    Replaced,
    /// Its desired state went from launched to loaded.
    DesiredLoaded,
    /// Its desired state went to launched.
    DesiredLaunched,
    /// A new start was asked for while it runs.
    Restart,
    /// What it is bound to is not active, or what it requires was stopped.
    Bound,
}

/// A plan older than one that was acted on already: acting on it would undo the newer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("plan {offered} is older than plan {acted}, which this machine has acted on")]
pub struct OlderPlan {
    pub offered: u64,
    pub acted: u64,
}

impl Task {
    /// The unit that it is about; `None` for a batch.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Load { .. } => None,
            Self::Adopt { name, .. }
            | Self::Unload { name, .. }
            | Self::Stop { name, .. }
            | Self::Start { name, .. } => Some(name),
        }
    }

    pub fn kind(&self) -> TaskKind {
        match self {
            Self::Adopt { .. } => TaskKind::Adopt,
            Self::Unload { .. } => TaskKind::Unload,
            Self::Load { .. } => TaskKind::Load,
            Self::Stop { .. } => TaskKind::Stop,
            Self::Start { .. } => TaskKind::Start,
        }
    }
}

/// The tasks that can be done now. `generation` is the plan's that `wanted` follows from.
///
/// Starts of units that are in the load of the same answer are in it too; one whose load is refused is to be left out.
///
/// # Errors
/// [`OlderPlan`] where a newer plan was acted on before.
pub fn diff(wanted: &[Wanted], memory: &Memory, generation: u64) -> Result<Vec<Task>, OlderPlan> {
    if generation < memory.acted {
        return Err(OlderPlan { offered: generation, acted: memory.acted });
    }
    let names: BTreeSet<&str> = wanted.iter().map(|w| w.file.name.as_str()).collect();
    let mut tasks = Vec::new();
    let mut load = Vec::new();
    for (name, local) in &memory.units {
        let unwanted = !names.contains(name.as_str());
        let again = local.in_flight == Some(TaskKind::Unload);
        if unwanted && local.held.is_some() && !again {
            tasks.push(Task::Unload { name: name.clone(), reason: TaskReason::NotWantedHere });
        }
    }
    let unknown = Local::default();
    for unit in wanted {
        let local = memory.units.get(&unit.file.name).unwrap_or(&unknown);
        if local.in_flight.is_none() {
            tasks.extend(task_for(unit, local, &mut load));
        }
    }
    if !load.is_empty() {
        tasks.push(Task::Load { units: load });
    }
    tasks.sort_by_key(Task::kind);
    Ok(tasks)
}

fn task_for(unit: &Wanted, local: &Local, load: &mut Vec<UnitFile>) -> Option<Task> {
    let file = &unit.file;
    let start = |reason| {
        (unit.desired == DesiredState::Launched).then(|| match unit.done {
            true => Task::Adopt { name: file.name.clone(), launch: unit.launch },
            false => Task::Start { name: file.name.clone(), launch: unit.launch, reason },
        })
    };
    let stop = |reason| Some(Task::Stop { name: file.name.clone(), reason });
    let same_text = local.held.as_ref().is_some_and(|h| h.hash == file.hash);
    if !same_text {
        // A text that was refused is neither tried again nor worth stopping the old one for.
        if local.refused.as_ref().is_some_and(|load| load.hash == file.hash) || local.is_stopping() {
            return None;
        }
        if local.is_running() {
            return stop(TaskReason::Replaced);
        }
        load.push(file.clone());
        return start(if local.held.is_some() { TaskReason::Replaced } else { TaskReason::DesiredLaunched });
    }
    match (unit.desired, local.launched) {
        (DesiredState::Launched, Launched::At(launch)) if launch == unit.launch => None,
        (DesiredState::Launched, Launched::Unknown) if local.is_running() => {
            Some(Task::Adopt { name: file.name.clone(), launch: unit.launch })
        }
        (DesiredState::Launched, _) if local.is_stopping() => None,
        (DesiredState::Launched, Launched::At(_)) if local.is_running() => stop(TaskReason::Restart),
        (DesiredState::Launched, _) => start(TaskReason::DesiredLaunched),
        // What runs though nobody asked fleet for it was started by another unit, and stays.
        (_, Launched::No) => None,
        (_, Launched::Unknown) if unit.launch == 0 => None,
        // Also where it is down already: nothing happens then, but it is noted that the wish was followed.
        _ => stop(TaskReason::DesiredLoaded),
    }
}

#[cfg(test)]
#[path = "diff_tests.rs"]
mod tests;
