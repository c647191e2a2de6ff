//! What fleet's API answers around machines, units and states: pages, the lines of a watch, status, reasons, errors.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use crate::fleet::rollout::{Applied, Change, Progress, Rules};

pub use crate::fleet::wire::{MachineJson, OptionJson, UnitJson, UnitStateJson};

/// One page of machines, units or states: a list has exactly one of the three.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Page {
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "or_empty")]
    pub machines: Vec<MachineJson>,
    #[serde(rename = "nextPageToken", skip_serializing_if = "String::is_empty")]
    pub next_page_token: String,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "or_empty")]
    pub states: Vec<UnitStateJson>,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "or_empty")]
    pub units: Vec<UnitJson>,
}

/// One line of the watch: something that is there or has changed, something that is gone, or the sign that all that was
/// there has been told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct News {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gone: Option<Gone>,
    /// With a state: which start that was asked for it is about; 0: none.
    #[serde(skip_serializing_if = "is_zero")]
    pub launched: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machine: Option<MachineJson>,
    /// How the apply goes that is under way, or that there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Rolling>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<UnitStateJson>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub synced: bool,
    /// Without its options.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<UnitJson>,
}

/// What is no longer there: a unit, a machine, or (both set, and `state`) the state of a unit on a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Gone {
    #[serde(rename = "machineID", skip_serializing_if = "String::is_empty")]
    pub machine_id: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub state: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub unit: String,
}

/// `systemctl status` of a unit, and the exit code that goes with it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Status {
    pub exit_code: i32,
    #[serde(rename = "machineID")]
    pub machine_id: String,
    pub text: String,
}

/// For every machine whether a unit could run there, and why not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Explanation {
    /// Of a timer whose runs the cluster keeps in mind: when it has last elapsed, in RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub elapsed: Option<String>,
    pub machines: Vec<Verdict>,
    pub unit: String,
}

/// One machine's part of an [`Explanation`]: `reason` is empty where the unit fits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Verdict {
    pub fits: bool,
    #[serde(rename = "machineID")]
    pub machine_id: String,
    #[serde(rename = "primaryIP", skip_serializing_if = "String::is_empty")]
    pub primary_ip: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// What makes it better or worse than others, where the unit fits.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub fit: String,
    /// Among those that fit none is better but by its id.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub best: bool,
    /// The unit is scheduled there.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub holds: bool,
}

/// The start that was asked of a machine: its states tell once it has done so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Restarted {
    pub launch: u64,
}

/// Units that are to be changed together, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Apply {
    pub units: Vec<UnitFileJson>,
    #[serde(flatten)]
    pub how: How,
    /// Of units that are new: `launched` (where it is empty), `loaded` or `inactive`.
    pub desired_state: String,
    /// Remove what earlier applies of the set brought and this one has not.
    pub prune: bool,
}

/// A unit and its text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UnitFileJson {
    pub name: String,
    pub text: String,
}

/// Which apply is to be gone back to; without one the newest is taken back, or what is under way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rollback {
    pub to: Option<u64>,
    #[serde(flatten)]
    pub how: How,
}

/// What apply and rollback have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct How {
    /// For the history.
    pub by: String,
    pub set: String,
    pub rules: Rules,
    /// Tell what would change, and change nothing.
    pub dry_run: bool,
    /// The changes that the user has seen: if others would be made by now, none is.
    pub seen: Option<Vec<Change>>,
}

/// What changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Planned {
    /// Of the apply that was begun, or that is under way with these units already; 0: none was.
    pub revision: u64,
    pub changes: Vec<Change>,
    /// Unit texts by their hashes.
    pub texts: BTreeMap<String, String>,
    /// Units that were handed in and stay.
    pub unchanged: Vec<String>,
    /// It was under way before this request.
    pub joined: bool,
}

/// An apply that is under way; one that is over has no revision.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rolling {
    pub revision: u64,
    #[serde(flatten)]
    pub progress: Progress,
}

/// Applies, the newest first: the one that is under way and its progress, and those that are over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Applies {
    pub applies: Vec<Applied>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub under_way: Option<Rolling>,
}

/// An error's body.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ErrorBody {
    pub error: ErrorDetail,
}

/// The code is the HTTP status.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ErrorDetail {
    pub code: u16,
    pub message: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands references")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// Go's decoder takes `null` for an empty list.
fn or_empty<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
