//! What fleet's API answers around machines, units and states: pages, the lines of a watch, status, reasons, errors.

use serde::{Deserialize, Deserializer, Serialize};

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
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machine: Option<MachineJson>,
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

/// Go's decoder takes `null` for an empty list.
fn or_empty<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
