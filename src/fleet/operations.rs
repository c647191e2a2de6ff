//! What users may do, as checks and transactions: the doors translate refusals into their own words and send the rest.
//!
//! Each transaction compares what it was built on, so that no change is lost: where it does not succeed, the caller
//! builds it anew on a newer cluster.

use super::cluster::Cluster;
use super::layout::{Key, UnitRecord, encode};
use super::types::{Cordon, DesiredState, Unit, UnknownState};
use crate::base::{LeaseId, MachineId};
use crate::kv::TxnRequest;
use crate::unit::container::{self, ContainerError};
use crate::unit::health::{self, HealthError};
use crate::unit::name::{self, NameError, UnitName};
use crate::unit::placement::PlacementError;
use crate::unit::register::{self, RegisterError};
use crate::unit::requirements::RequirementsError;
use crate::unit::{ParseError, Placement, Requirements, UnitOption, UnitText};

/// A unit as a user hands it in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PutUnit {
    pub name: String,
    /// Empty: the text is to stay as it is.
    pub options: Vec<UnitOption>,
    /// `None` or empty: inactive for a new text, not enough to change a state.
    pub desired: Option<String>,
}

/// What a request comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    pub outcome: Outcome,
    /// `None`: everything is as asked for already.
    pub transaction: Option<TxnRequest>,
}

/// What the user is told once the transaction has succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A new unit, or a new text for one (201 in fleet's API).
    Created,
    /// A state changed, was changed already, or the unit is gone (204).
    Done,
}

/// Why a request cannot be. The texts are those of fleet's API, where it has one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error(transparent)]
    Name(#[from] NameError),
    #[error(transparent)]
    Text(#[from] ParseError),
    #[error(transparent)]
    Requirements(#[from] RequirementsError),
    #[error(transparent)]
    Placement(#[from] PlacementError),
    #[error(transparent)]
    Health(#[from] HealthError),
    #[error(transparent)]
    Container(#[from] ContainerError),
    #[error("[X-Fleet] {0}")]
    Register(#[from] RegisterError),
    #[error(transparent)]
    State(#[from] UnknownState),
    #[error("cannot activate template {0:?}")]
    Template(String),
    #[error("{0} is no global unit that is launched: it is restarted as a whole")]
    NotGlobal(String),
    #[error("unit does not exist and options field empty")]
    NoOptions,
    #[error("must provide DesiredState to update existing unit")]
    NoState,
    #[error("unit does not exist")]
    NoSuchUnit,
    #[error("machine {0} is not in the cluster")]
    NoSuchMachine(MachineId),
}

/// Refusals by what the user can do about them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// The request is wrong in itself (400).
    Invalid,
    /// It does not go with what is there (409).
    Conflict,
    /// What it is about does not exist (404).
    Missing,
}

impl Refusal {
    /// Which kind this is.
    pub fn kind(&self) -> RefusalKind {
        match self {
            Self::NoOptions | Self::NoState | Self::NotGlobal(_) => RefusalKind::Conflict,
            Self::NoSuchUnit | Self::NoSuchMachine(_) => RefusalKind::Missing,
            _ => RefusalKind::Invalid,
        }
    }
}

/// Creates a unit, gives it another text, or changes its desired state.
///
/// A text that differs replaces the old one where the unit runs (the schedule stays); without a desired state the unit
/// becomes inactive, as in fleet.
///
/// # Errors
/// The first rule that the request breaks.
pub fn put_unit(cluster: &Cluster, put: &PutUnit) -> Result<Operation, Refusal> {
    name::validate(&put.name)?;
    let existing = cluster.units.get(&put.name).map(AsRef::as_ref);
    let asked = put.desired.as_deref().filter(|d| !d.is_empty());
    let asked: Option<DesiredState> = asked.map(str::parse).transpose()?;
    let new_text = match (existing, put.options.as_slice()) {
        (None, []) => return Err(Refusal::NoOptions),
        (Some(_), []) => None,
        (_, options) => {
            let text = checked(&put.name, options)?;
            let differs = existing.is_none_or(|unit| unit.hash != text.hash());
            differs.then_some(text)
        }
    };
    let desired = match (asked, &new_text) {
        (Some(desired), _) => desired,
        (None, Some(_)) => DesiredState::Inactive,
        (None, None) => return Err(Refusal::NoState),
    };
    if UnitName::new(&put.name).is_template() && desired != DesiredState::Inactive {
        return Err(Refusal::Template(put.name.clone()));
    }
    let outcome = match new_text {
        Some(_) => Outcome::Created,
        None => Outcome::Done,
    };
    let unchanged = new_text.is_none() && existing.is_some_and(|u| u.desired == desired);
    let text = new_text.map(|t| t.to_string());
    let text = text.or_else(|| existing.map(|u| u.text.to_string()));
    let write = || write(cluster, &put.name, existing, text.unwrap_or_default(), desired);
    Ok(Operation { outcome, transaction: (!unchanged).then(write) })
}

/// Asks for a new start of a unit that is to be launched: its machine stops and starts it. Of a global unit that is
/// launched already, `machine` alone may be asked.
///
/// # Errors
/// [`Refusal::NoSuchUnit`]; [`Refusal::Template`]; [`Refusal::NotGlobal`].
pub fn restart_unit(cluster: &Cluster, name: &str, machine: Option<&MachineId>) -> Result<Operation, Refusal> {
    let unit = cluster.units.get(name).ok_or(Refusal::NoSuchUnit)?;
    if UnitName::new(name).is_template() {
        return Err(Refusal::Template(name.to_owned()));
    }
    if let Some(machine) = machine {
        if !unit.requirements.global || unit.desired != DesiredState::Launched {
            return Err(Refusal::NotGlobal(name.to_owned()));
        }
        return Ok(Operation { outcome: Outcome::Done, transaction: Some(restart_on(cluster, unit, machine)) });
    }
    let text = unit.text.to_string();
    let launched = DesiredState::Launched;
    Ok(Operation { outcome: Outcome::Done, transaction: Some(write(cluster, name, Some(unit), text, launched)) })
}

/// Removes a unit. Its machine stops and forgets it, the engine drops its schedule.
///
/// # Errors
/// [`Refusal::NoSuchUnit`].
pub fn destroy_unit(cluster: &Cluster, name: &str) -> Result<Operation, Refusal> {
    let key = Key::Unit(name.to_owned());
    // A unit whose record cannot be read can still be destroyed.
    let revision = cluster.mod_revision(&key);
    if revision == 0 {
        return Err(Refusal::NoSuchUnit);
    }
    Ok(Operation {
        outcome: Outcome::Done,
        transaction: Some(TxnRequest {
            compare: vec![key.unchanged(revision)],
            success: std::iter::once(key.delete())
                .chain(cluster.done.get(name).map(|_| Key::Done(name.to_owned()).delete()))
                .chain(cluster.elapsed.get(name).map(|_| Key::Elapsed(name.to_owned()).delete()))
                .collect(),
            failure: Vec::new(),
        }),
    })
}

/// Takes a machine out of what is scheduled, or back in (`None`). One that is neither present nor cordoned is refused.
///
/// # Errors
/// [`Refusal::NoSuchMachine`].
pub fn cordon_machine(cluster: &Cluster, machine: &MachineId, cordon: Option<Cordon>) -> Result<Operation, Refusal> {
    let known = cluster.cordons.get(machine);
    if known.is_none() && !cluster.machines.contains_key(machine) {
        return Err(Refusal::NoSuchMachine(machine.clone()));
    }
    let key = Key::Cordon(machine.clone());
    let write = || TxnRequest {
        compare: vec![key.unchanged(cluster.mod_revision(&key))],
        success: vec![cordon.map_or_else(|| key.delete(), |cordon| key.put(encode(&cordon), LeaseId::NONE))],
        failure: Vec::new(),
    };
    Ok(Operation { outcome: Outcome::Done, transaction: (known != cordon.as_ref()).then(write) })
}

/// A unit's text from options, refused where it could not be read back or asks for what excludes itself.
///
/// # Errors
/// The first mistake.
pub fn checked(name: &str, options: &[UnitOption]) -> Result<UnitText, Refusal> {
    let text = UnitText::from_options(options.to_vec())?;
    let requirements = Requirements::as_written(&text);
    requirements.validate()?;
    Placement::check(&text, name)?;
    health::checks(&text, "")?;
    if container::is_container(name) {
        container::check(&text, name)?;
    }
    register::check(&text, name, requirements.global)?;
    Ok(text)
}

/// The transaction that writes a unit's record, if the unit is as it was.
fn write(
    cluster: &Cluster,
    name: &str,
    existing: Option<&Unit>,
    text: String,
    desired_state: DesiredState,
) -> TxnRequest {
    let generation = next_generation(cluster, existing);
    let launch = match desired_state {
        DesiredState::Launched => generation,
        _ => existing.map_or(0, |u| u.launch),
    };
    let set = existing.and_then(|unit| unit.set.clone());
    // An apply that is replacing the unit goes on where its text stays.
    let next = existing.filter(|unit| unit.text.to_string() == text).and_then(|unit| unit.next.clone());
    // A start of the whole unit is newer than those of single machines.
    let restarts = existing.filter(|_| launch != generation).map(|unit| unit.restarts.clone()).unwrap_or_default();
    record(cluster, name, &UnitRecord { text, desired_state, generation, launch, set, next, restarts })
}

/// Larger than whatever a unit of this name had before it was destroyed.
pub(super) fn next_generation(cluster: &Cluster, existing: Option<&Unit>) -> u64 {
    let revision = u64::try_from(cluster.revision).unwrap_or(0);
    revision.max(existing.map_or(0, |u| u.generation)) + 1
}

/// Asks one machine for a new start of a global unit.
fn restart_on(cluster: &Cluster, unit: &Unit, machine: &MachineId) -> TxnRequest {
    let generation = next_generation(cluster, Some(unit));
    let mut restarts = unit.restarts.clone();
    // Machines that are gone are not remembered.
    restarts.retain(|machine, _| cluster.machines.contains_key(machine));
    restarts.insert(machine.clone(), generation);
    let restarted = UnitRecord {
        text: unit.text.to_string(),
        desired_state: unit.desired,
        generation,
        launch: unit.launch,
        set: unit.set.clone(),
        next: unit.next.clone(),
        restarts,
    };
    record(cluster, &unit.name, &restarted)
}

fn record(cluster: &Cluster, name: &str, record: &UnitRecord) -> TxnRequest {
    let key = Key::Unit(name.to_owned());
    TxnRequest {
        compare: vec![key.unchanged(cluster.mod_revision(&key))],
        success: vec![key.put(encode(record), LeaseId::NONE)],
        failure: Vec::new(),
    }
}

#[cfg(test)]
#[path = "operations_tests.rs"]
mod tests;
