//! An apply: units that change together. It is one record, written in one transaction over the units as they were; from
//! then on units take their new text from it batch by batch, each held to its health, and all go back where one does
//! not get well. What it came to is kept, so that it can be told and taken back.
//!
//! [`plan`] makes the changes, [`Watchman`] the steps; whoever leads the cluster carries them out.

pub mod history;
mod moves;
pub mod plan;
mod standing;
mod step;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::types::DesiredState;
use crate::base::UnixMillis;
use crate::unit::{ParseError, Requirements, UnitText};

pub use moves::abort;
pub use step::{Step, Watchman};

/// All that is to change, fixed when it was committed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rollout {
    /// Counts applies, from 1.
    pub revision: u64,
    pub at: UnixMillis,
    /// Whoever asked for it, as their tool calls them.
    pub by: String,
    /// The set of units that it is about: what is pruned is what an earlier apply of the same set brought.
    pub set: String,
    /// The revision whose units it brings back; `None`: it brings new ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub back_to: Option<u64>,
    pub rules: Rules,
    /// In the order in which they are made.
    pub changes: Vec<Change>,
    /// Unit texts by their hashes: instances of one template share theirs.
    pub texts: BTreeMap<String, String>,
}

/// How units are replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rules {
    /// Running units that may be down at a time; of a global unit, machines.
    pub max_parallel: usize,
    /// How long a unit must have been active to count as well.
    pub settle_ms: u64,
    /// How long a batch may take to get well.
    pub timeout_ms: u64,
}

impl Default for Rules {
    fn default() -> Self {
        Self { max_parallel: 1, settle_ms: 3_000, timeout_ms: 300_000 }
    }
}

/// What becomes of one unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    pub unit: String,
    /// `None`: it did not exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Version>,
    /// `None`: it is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Version>,
}

/// A unit at one time. Its text is the rollout's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    pub hash: String,
    pub desired: DesiredState,
    /// Runs on every machine that fits.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub global: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<String>,
}

/// What kind of change it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    Create,
    Change,
    /// Its text stays; it becomes part of the set.
    Adopt,
    Remove,
}

impl Change {
    pub fn action(&self) -> Action {
        match (&self.before, &self.after) {
            (None, _) => Action::Create,
            (_, None) => Action::Remove,
            (Some(before), Some(after)) if before.hash == after.hash => Action::Adopt,
            _ => Action::Change,
        }
    }

    /// Whether something that runs is stopped for it.
    fn interrupts(&self) -> bool {
        let runs = self.before.as_ref().is_some_and(|before| before.desired == DesiredState::Launched);
        self.action() == Action::Change && runs
    }

    /// Whether it is made machine by machine.
    fn is_global(&self) -> bool {
        let global = |version: &Option<Version>| version.as_ref().is_some_and(|version| version.global);
        self.interrupts() && global(&self.before) && global(&self.after)
    }
}

/// How far a rollout has come. The changes from `passed` to `released` are under way; those before them are made, those
/// behind them are not. Going back both count down.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Progress {
    pub passed: usize,
    pub released: usize,
    /// Why it goes back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// A rollout that is over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Applied {
    #[serde(flatten)]
    pub rollout: Rollout,
    pub ended: UnixMillis,
    /// Why its units were taken back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// The text that some machines run already instead of a global unit's own, while it is being replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Next {
    pub text: String,
    /// Its hash.
    pub hash: String,
    pub machines: Vec<crate::base::MachineId>,
}

impl Version {
    /// A version and its text.
    ///
    /// # Errors
    /// A text that is none.
    fn of(text: &str, unit: &str, desired: DesiredState, set: Option<String>) -> Result<Self, ParseError> {
        let parsed = UnitText::parse(text)?;
        let global = Requirements::of(&parsed, unit).global;
        Ok(Self { hash: parsed.hash(), desired, global, set })
    }
}

#[cfg(test)]
#[path = "rollout_tests.rs"]
mod tests;
