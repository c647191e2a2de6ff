//! The JSON of `/node/v1/program`: which program a node runs and how it is, and how it comes to run another one. `node ctl upgrade`
//! and `node ctl recover` speak it to one node, which hands what is for another member on to that one.

use serde::{Deserialize, Serialize};

use crate::base::DATA_FORMAT;

/// The node's own program; a piece of another one, and that one itself, below it.
pub const PROGRAM_PATH: &str = "/node/v1/program";

/// What `node --version --json` says, and a node of its own program.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Version {
    pub version: String,
    /// The commit that it was built from; empty where the build did not say.
    pub commit: String,
    /// See [`DATA_FORMAT`].
    pub format: u32,
    pub features: Vec<String>,
}

impl Version {
    /// Of this program.
    pub fn own() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: crate::COMMIT.unwrap_or_default().to_owned(),
            format: DATA_FORMAT,
            features: crate::FEATURES.iter().map(|feature| (*feature).to_owned()).collect(),
        }
    }

    /// For people.
    pub fn told(&self) -> String {
        match self.commit.as_str() {
            "" => self.version.clone(),
            commit => format!("{} ({commit})", self.version),
        }
    }
}

/// What is asked of one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Question {
    /// How it is; answered by [`NodeFacts`].
    Tell,
    /// To keep a piece of a program, of which it has `offset` bytes.
    Stage { sha256: String, offset: u64 },
    /// Whether it could run the program that it was sent; answered by its [`Version`].
    Check { sha256: String },
    /// To run it from now on. The former one is put back where the node does not serve within `trial_ms`.
    Install { sha256: String, by: String, trial_ms: u64 },
}

/// What a node says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    Facts(Box<NodeFacts>),
    Staged,
    Checked(Version),
    /// It restarts.
    Restarts,
}

/// A node, its program and how far its data is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeFacts {
    /// Ids as etcd prints them.
    pub member: String,
    pub name: String,
    pub leader: Option<String>,
    /// Its id as a machine that runs units.
    pub machine: Option<String>,
    pub program: Version,
    /// Of the file that runs, in hex.
    pub sha256: String,
    /// Where that file is.
    pub file: String,
    /// The format of its data.
    pub data_format: u32,
    /// It has a leader, has caught up with it and is in the list of machines.
    pub serves: bool,
    /// When this life of the node began, in milliseconds of Unix time.
    pub began_ms: i64,
    /// The last change of the program, if there was one.
    pub trial: Option<Trial>,
    /// Where its log ends, and how far it has applied it.
    pub log_term: u64,
    pub log_index: u64,
    pub applied_index: u64,
    /// Of users' keys.
    pub revision: i64,
    /// Members that do not answer it.
    pub silent: Vec<String>,
}

/// A change of a node's program, from one file's SHA-256 to another's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Trial {
    pub from: String,
    pub to: String,
    pub began_ms: i64,
    /// How long the node may take to serve.
    pub within_ms: u64,
    pub outcome: Outcome,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The node has not served with it yet.
    #[default]
    Open,
    /// The node serves with it.
    Kept,
    /// The former program runs again, and why.
    Back(String),
}

/// Why a node does not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Refusal {
    #[error("{0}")]
    Bad(String),
    /// It would do harm as things are.
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    Unreachable(String),
    #[error("{0}")]
    Failed(String),
}

/// A refusal over HTTP.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Refused {
    pub error: String,
}
