//! What is answered about machines and moves: how full machines are, what is left of a drain, what would move.

use serde::{Deserialize, Serialize};

pub use crate::fleet::{Cordon, Drain};

/// A machine, and how full it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CapacityJson {
    #[serde(rename = "machineID")]
    pub machine_id: String,
    /// Its cordon, if it takes no units.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cordon: Option<Cordon>,
    /// Only its cordon is known of it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub absent: bool,
    pub units: usize,
    pub load: u64,
    pub memory_bytes: u64,
    pub reserved_memory_bytes: u64,
    pub cpu_millis: u64,
    pub reserved_cpu_millis: u64,
}

/// All machines, by id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapacitiesJson {
    pub machines: Vec<CapacityJson>,
}

/// A unit that goes from one machine to another, or to none, or comes from none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MoveJson {
    pub unit: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub from: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub to: String,
    pub reason: String,
}

/// A unit that fits on none of these machines, and what keeps it off each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct WaitingJson {
    pub unit: String,
    /// It does not wait today.
    pub newly: bool,
    pub passed_over: Vec<PassedOverJson>,
}

/// A machine, and the rule that keeps a unit off it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassedOverJson {
    #[serde(rename = "machineID")]
    pub machine_id: String,
    pub reason: String,
}

/// What would come of a change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ForecastJson {
    pub moves: Vec<MoveJson>,
    pub waiting: Vec<WaitingJson>,
}

/// What was moved, or would be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RebalanceJson {
    pub moves: Vec<MoveJson>,
    /// Units that were moved and have not arrived.
    pub moving: Vec<MovingJson>,
}

/// What a drain has not done yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RemainingJson {
    /// Units on the machine that fit nowhere else.
    pub stuck: Vec<WaitingJson>,
    /// Units on the machine that wait for their turn.
    pub queued: Vec<String>,
    /// Units that have left it and have not arrived.
    pub moving: Vec<MovingJson>,
    /// Units that it has still to stop.
    pub stopping: Vec<String>,
}

/// A unit on its way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MovingJson {
    pub unit: String,
    pub to: String,
    /// It has failed there.
    pub failed: bool,
}
