//! Machines, units, schedules and states, as the planner and the agents see them.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::executor::ActiveState;
use super::rollout::Next;
use crate::base::{LeaseId, MachineId, MemberId, UnixMillis};
use crate::unit::container::Port;
use crate::unit::{Requirements, UnitName, UnitText};

/// What a user wants of a unit; the same three words say how far fleet has come with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DesiredState {
    /// Known to the cluster, on no machine.
    #[default]
    Inactive,
    /// On a machine, known to its systemd, not started.
    Loaded,
    /// Started.
    Launched,
}

/// A word that is none of the three.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid value {0:?} for desiredState: expect inactive, loaded or launched")]
pub struct UnknownState(pub String);

impl fmt::Display for DesiredState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Inactive => "inactive",
            Self::Loaded => "loaded",
            Self::Launched => "launched",
        })
    }
}

impl FromStr for DesiredState {
    type Err = UnknownState;

    fn from_str(text: &str) -> Result<Self, UnknownState> {
        match text {
            "inactive" => Ok(Self::Inactive),
            "loaded" => Ok(Self::Loaded),
            "launched" => Ok(Self::Launched),
            other => Err(UnknownState(other.to_owned())),
        }
    }
}

/// A machine's presence, as it announces itself. The key lives as long as the machine's lease.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Machine {
    pub id: MachineId,
    /// The address that users are shown; may be empty.
    #[serde(rename = "primaryIP")]
    pub primary_ip: String,
    /// As configured. In a [`Cluster`](super::Cluster) what was changed at run time is already in it.
    pub metadata: BTreeMap<String, String>,
    /// The Raft member that this machine's node is; 0 where it is none.
    pub member: MemberId,
    /// Tells two nodes apart that use one machine-id: different for every data directory, the same over restarts.
    pub owner: String,
    /// The node's version.
    pub version: String,
    /// The executors' names: `systemd` or `process`, with `+docker` where containers can be run.
    pub executor: String,
    /// All of the machine's memory; 0: not known.
    pub memory_bytes: u64,
    /// Its cores; 0: not known.
    pub cores: u32,
    /// Whether it takes units; not part of what it announces.
    #[serde(skip)]
    pub cordon: Option<Cordon>,
}

/// A machine that takes no more units. Units that are on it stay; with `drain` they move away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Cordon {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain: Option<Drain>,
}

/// How units leave a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Drain {
    /// So many units may be on their way at once.
    pub max_parallel: u32,
}

/// A unit as submitted, with all that follows from its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    pub name: String,
    pub text: UnitText,
    /// SHA-1 of the normalised text.
    pub hash: String,
    pub desired: DesiredState,
    /// Grows with every change of the unit, over its destruction and return too.
    pub generation: u64,
    /// The generation that last asked for a start; 0 before the first. A new one on a running unit is a restart.
    pub launch: u64,
    /// `[X-Fleet]`, specifiers replaced.
    pub requirements: Requirements,
    /// The store's revision of the unit's key, to compare with in transactions.
    pub mod_revision: i64,
    /// The set of units whose apply brought it; `None`: it was handed in by itself.
    pub set: Option<String>,
    /// While a global unit is replaced: the text that some machines have already.
    pub next: Option<Next>,
    /// Of a global unit: machines that were asked for a start of their own since, and its generation.
    pub restarts: BTreeMap<MachineId, u64>,
}

impl Unit {
    /// The start that was last asked for on this machine.
    pub fn launch_on(&self, machine: &MachineId) -> u64 {
        self.restarts.get(machine).copied().unwrap_or(0).max(self.launch)
    }

    /// Whether any machine has to do with it: someone wants it loaded, and it is no template.
    pub fn is_active(&self) -> bool {
        self.desired != DesiredState::Inactive && !UnitName::new(&self.name).is_template()
    }
}

/// Where the engine put a unit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scheduled {
    pub machine: MachineId,
    /// The plan that decided it.
    pub generation: u64,
    /// The machine that it left while that was there: it was moved, not rescued. Told until it is put elsewhere.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub moved_from: Option<MachineId>,
    /// That it was moved for, one after the other. Told until it is put elsewhere for another reason.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub failures: Option<Failures>,
    /// Of an exclusive unit: who may run it. See [`super::fence`].
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub claim: Option<Claim>,
    /// An exclusive unit that is to go elsewhere, once its claim was given back.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub leaving: bool,
}

/// The right to run an exclusive unit, as the machine wrote it down before the first start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The machine's lease at that time.
    pub lease: LeaseId,
    /// Its [`Machine::owner`].
    pub owner: String,
}

/// How often in a row a unit was moved because it had failed, and when last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failures {
    pub count: u32,
    pub at: UnixMillis,
}

/// What a machine says of a unit that it holds. The key lives as long as the machine's lease.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct UnitState {
    /// Of the text that the machine holds.
    pub hash: String,
    #[serde(flatten)]
    pub state: PublishedState,
    /// The [`Unit::launch`] that the machine has acted on; 0: it has not started the unit, or has stopped it since.
    #[serde(skip_serializing_if = "is_zero")]
    pub launched: u64,
    /// Why the machine could not do what it was to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// The problem is only that its start waits for another unit's.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub put_off: bool,
    /// What the unit's own checks said last; they are made while an apply waits for them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// The published ports of a container that runs, with the host's port and address of each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<Port>,
}

/// What the checks of a unit came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    Well,
    /// Which one failed, and how.
    Failing(String),
}

/// systemd's three words under the names that fleet gives them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PublishedState {
    #[serde(rename = "systemdLoadState")]
    pub load: String,
    #[serde(rename = "systemdActiveState")]
    pub active: String,
    #[serde(rename = "systemdSubState")]
    pub sub: String,
}

impl From<&ActiveState> for PublishedState {
    fn from(state: &ActiveState) -> Self {
        Self { load: state.load.clone(), active: state.active.clone(), sub: state.sub.clone() }
    }
}

/// The newest plan that was written. Each plan names its parent, so that no two are made of the same state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanHead {
    pub generation: u64,
    /// The store's revision of the head's key; 0 before the first plan.
    #[serde(skip)]
    pub mod_revision: i64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands references")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn desired_states_are_fleets_words() {
        for state in [DesiredState::Inactive, DesiredState::Loaded, DesiredState::Launched] {
            assert_eq!(state.to_string().parse(), Ok(state));
            assert_eq!(serde_json::to_string(&state).unwrap(), format!("\"{state}\""));
        }
        assert!("Launched".parse::<DesiredState>().is_err());
        assert!("".parse::<DesiredState>().is_err());
    }

    #[test]
    fn records_read_what_older_nodes_wrote() {
        let machine: Machine = serde_json::from_str(r#"{"id":"a"}"#).unwrap();
        assert_eq!(machine.id, MachineId("a".into()));
        let state = UnitState { hash: "h".into(), launched: 7, ..UnitState::default() };
        let text = serde_json::to_string(&state).unwrap();
        assert_eq!(serde_json::from_str::<UnitState>(&text).unwrap(), state);
    }
}
