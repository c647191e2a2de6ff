//! The JSON of `GET /doctor/v1`: what a node finds when it looks at itself. `node ctl doctor` judges it.

use serde::{Deserialize, Serialize};

/// One node's word about itself, its machine and the peers that it hears.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeReport {
    /// The machine's wall clock, when the report was made.
    pub now_ms: i64,
    pub version: String,
    /// Ids as etcd prints them.
    pub member: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leader: Option<String>,
    /// Members that do not answer this one.
    pub silent: Vec<Silence>,
    pub disk: Disk,
    pub certificates: Vec<Certificate>,
    /// Alarms as etcd names them: `NOSPACE`, `CORRUPT`.
    pub alarms: Vec<String>,
    /// Why the last backup was not made, by the word of who leads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup_failure: Option<String>,
}

/// A member that is not heard.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Silence {
    pub member: String,
    pub name: String,
    pub for_ms: u64,
    pub error: String,
}

/// Where a node's data lie.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Disk {
    pub dir: String,
    /// In words: how full it is, and what is free.
    pub room: String,
    pub level: DiskLevel,
    /// What one small write takes to be on the disk, the median of a few; 0: it was not measured.
    pub sync_us: u64,
    /// More than this delays the cluster's heartbeats.
    pub sync_us_max: u64,
}

/// What the node's rules make of the room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DiskLevel {
    #[default]
    Roomy,
    Filling,
    Full,
}

/// A certificate that the node shows or trusts, or a file that it cannot read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Certificate {
    pub file: String,
    pub begins_ms: i64,
    pub ends_ms: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
