//! Where fleet's state lies in the system space: keys, and their values as JSON.
//!
//! | key | value | written by | lives |
//! | --- | --- | --- | --- |
//! | `/fleet/machines/ID` | [`Machine`] | the machine | with the machine's lease |
//! | `/fleet/metadata/ID/KEY` | a string, empty: taken away | users | until changed |
//! | `/fleet/cordons/ID` | [`Cordon`] | users | until taken back |
//! | `/fleet/units/NAME` | [`UnitRecord`] | users | until destroyed |
//! | `/fleet/schedule/NAME` | [`Scheduled`] | the engine; its claim the machine | until unscheduled |
//! | `/fleet/states/NAME/ID` | [`UnitState`] | the machine | with the machine's lease |
//! | `/fleet/done/NAME` | [`Done`] | the machine that ran it | until the unit is destroyed |
//! | `/fleet/elapsed/NAME` | [`Elapsed`] | the machine that has the timer | until the unit is destroyed |
//! | `/fleet/plan` | [`PlanHead`] | the engine only | for ever |
//! | `/fleet/rollout` | [`Rollout`] | users begin it, the leader ends it | while it is under way |
//! | `/fleet/rollout/progress` | [`Progress`] | the leader | as long as the rollout |
//! | `/applies/REVISION` | [`Applied`](super::rollout::Applied) | the leader | as one of the last fifty |

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::once::Done;
use super::rollout::{Next, Progress, Rollout};
use super::timer::Elapsed;
use super::types::{Cordon, DesiredState, Machine, PlanHead, Scheduled, Unit, UnitState};
use crate::base::{LeaseId, MachineId};
use crate::kv::{Compare, CompareResult, CompareTarget, DeleteRangeRequest, PutRequest, Space, TxnOp, prefix_end};
use crate::unit::{ParseError, Requirements, UnitText};

/// All of fleet's keys start with it.
pub const PREFIX: &str = "/fleet/";
/// Applies that are over lie below it, in their order.
pub const APPLIES: &str = "/applies/";

/// A key of fleet's, taken apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    Machine(MachineId),
    Metadata(MachineId, String),
    Cordon(MachineId),
    Unit(String),
    Schedule(String),
    State(String, MachineId),
    /// Of a one-shot.
    Done(String),
    /// Of a timer.
    Elapsed(String),
    Plan,
    Rollout,
    Progress,
    /// Not below [`PREFIX`]: whoever follows the cluster need not hear of what is over.
    Applied(u64),
}

impl Key {
    /// The key's bytes.
    pub fn bytes(&self) -> Bytes {
        Bytes::from(match self {
            Self::Machine(id) => format!("{PREFIX}machines/{id}"),
            Self::Metadata(id, key) => format!("{PREFIX}metadata/{id}/{key}"),
            Self::Cordon(id) => format!("{PREFIX}cordons/{id}"),
            Self::Unit(name) => format!("{PREFIX}units/{name}"),
            Self::Schedule(name) => format!("{PREFIX}schedule/{name}"),
            Self::State(name, id) => format!("{PREFIX}states/{name}/{id}"),
            Self::Done(name) => format!("{PREFIX}done/{name}"),
            Self::Elapsed(name) => format!("{PREFIX}elapsed/{name}"),
            Self::Plan => format!("{PREFIX}plan"),
            Self::Rollout => format!("{PREFIX}rollout"),
            Self::Progress => format!("{PREFIX}rollout/progress"),
            Self::Applied(revision) => format!("{APPLIES}{revision:020}"),
        })
    }

    /// What a key means; `None` where it is not fleet's.
    pub fn parse(key: &[u8]) -> Option<Self> {
        let rest = std::str::from_utf8(key).ok()?.strip_prefix(PREFIX)?;
        let parts: Vec<&str> = rest.split('/').collect();
        let machine = |id: &str| MachineId(id.to_owned());
        if parts.iter().any(|part| part.is_empty()) {
            return None;
        }
        match parts.as_slice() {
            ["plan"] => Some(Self::Plan),
            ["rollout"] => Some(Self::Rollout),
            ["rollout", "progress"] => Some(Self::Progress),
            ["machines", id] => Some(Self::Machine(machine(id))),
            ["metadata", id, key] => Some(Self::Metadata(machine(id), (*key).to_owned())),
            ["cordons", id] => Some(Self::Cordon(machine(id))),
            ["units", name] => Some(Self::Unit((*name).to_owned())),
            ["schedule", name] => Some(Self::Schedule((*name).to_owned())),
            ["done", name] => Some(Self::Done((*name).to_owned())),
            ["elapsed", name] => Some(Self::Elapsed((*name).to_owned())),
            ["states", name, id] => Some(Self::State((*name).to_owned(), machine(id))),
            _ => None,
        }
    }

    /// A put of this key into the system space.
    pub fn put(&self, value: Bytes, lease: LeaseId) -> TxnOp {
        TxnOp::Put(PutRequest { space: Space::System, key: self.bytes(), value, lease, ..PutRequest::default() })
    }

    /// A removal of this key from the system space.
    pub fn delete(&self) -> TxnOp {
        TxnOp::DeleteRange(DeleteRangeRequest {
            space: Space::System,
            key: self.bytes(),
            ..DeleteRangeRequest::default()
        })
    }

    /// The condition that this key has not changed since it was read at `mod_revision`; 0: that it does not exist.
    pub fn unchanged(&self, mod_revision: i64) -> Compare {
        self.compare(CompareTarget::Mod(mod_revision))
    }

    /// The condition that no unit was written after this revision. It does not see units that were destroyed.
    pub fn units_unchanged_since(revision: i64) -> Compare {
        let prefix = format!("{PREFIX}units/");
        Compare {
            space: Space::System,
            range_end: prefix_end(prefix.as_bytes()),
            key: prefix.into(),
            result: CompareResult::Less,
            target: CompareTarget::Mod(revision + 1),
        }
    }

    /// The condition that this key has this value.
    pub fn has_value(&self, value: Bytes) -> Compare {
        self.compare(CompareTarget::Value(value))
    }

    fn compare(&self, target: CompareTarget) -> Compare {
        Compare {
            space: Space::System,
            key: self.bytes(),
            range_end: Bytes::new(),
            result: CompareResult::Equal,
            target,
        }
    }
}

/// A unit as stored: everything else of a [`Unit`] follows from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UnitRecord {
    pub text: String,
    pub desired_state: DesiredState,
    pub generation: u64,
    #[serde(default)]
    pub launch: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Next>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub restarts: BTreeMap<MachineId, u64>,
}

impl UnitRecord {
    /// The unit that this record describes.
    ///
    /// # Errors
    /// Where the stored text is no unit text.
    pub fn unit(&self, name: &str, mod_revision: i64) -> Result<Unit, ParseError> {
        let text = UnitText::parse(&self.text)?;
        Ok(Unit {
            name: name.to_owned(),
            hash: text.hash(),
            requirements: Requirements::of(&text, name),
            text,
            desired: self.desired_state,
            generation: self.generation,
            launch: self.launch,
            mod_revision,
            set: self.set.clone(),
            next: self.next.clone(),
            restarts: self.restarts.clone(),
        })
    }
}

/// A value of fleet's that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("value of {key}: {reason}")]
pub struct BadValue {
    pub key: String,
    pub reason: String,
}

/// Writes a value as JSON.
pub fn encode<T: Serialize>(value: &T) -> Bytes {
    // Maps with string keys and plain structs: serde_json has no way to fail on them.
    Bytes::from(serde_json::to_vec(value).unwrap_or_default())
}

/// Reads a value.
///
/// # Errors
/// What is wrong with it, and of which key it is.
pub fn decode<T: DeserializeOwned>(key: &Key, value: &[u8]) -> Result<T, BadValue> {
    serde_json::from_slice(value).map_err(|error| bad(key, &error.to_string()))
}

/// The complaint about a key's value.
pub fn bad(key: &Key, reason: &str) -> BadValue {
    BadValue { key: String::from_utf8_lossy(&key.bytes()).into_owned(), reason: reason.to_owned() }
}

/// What a put of a machine's presence, a schedule, a state or the plan's head holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Machine(Machine),
    Metadata(String),
    Cordon(Cordon),
    Unit(Box<Unit>),
    Schedule(Scheduled),
    State(UnitState),
    Done(Done),
    Elapsed(Elapsed),
    Plan(PlanHead),
    Rollout(Box<Rollout>),
    Progress(Progress),
}

impl Value {
    /// Reads the value that belongs to a key.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(key: &Key, value: &[u8], mod_revision: i64) -> Result<Self, BadValue> {
        Ok(match key {
            Key::Machine(id) => {
                let mut machine: Machine = decode(key, value)?;
                machine.id = id.clone();
                Self::Machine(machine)
            }
            Key::Metadata(..) => Self::Metadata(decode(key, value)?),
            Key::Cordon(_) => Self::Cordon(decode(key, value)?),
            Key::Unit(name) => {
                let record: UnitRecord = decode(key, value)?;
                let unit = record.unit(name, mod_revision);
                Self::Unit(Box::new(unit.map_err(|e| bad(key, &e.to_string()))?))
            }
            Key::Schedule(_) => Self::Schedule(decode(key, value)?),
            Key::State(..) => Self::State(decode(key, value)?),
            Key::Done(_) => Self::Done(decode(key, value)?),
            Key::Elapsed(_) => Self::Elapsed(decode(key, value)?),
            Key::Plan => Self::Plan(PlanHead { mod_revision, ..decode(key, value)? }),
            Key::Rollout => Self::Rollout(decode(key, value)?),
            Key::Progress => Self::Progress(decode(key, value)?),
            Key::Applied(_) => return Err(bad(key, "it is no part of the cluster as it is")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_there_and_back() {
        let id = || MachineId("00ff".into());
        let cases = [
            (Key::Machine(id()), "/fleet/machines/00ff"),
            (Key::Metadata(id(), "region".into()), "/fleet/metadata/00ff/region"),
            (Key::Cordon(id()), "/fleet/cordons/00ff"),
            (Key::Unit("a@1.service".into()), "/fleet/units/a@1.service"),
            (Key::Schedule("a.service".into()), "/fleet/schedule/a.service"),
            (Key::State("a.service".into(), id()), "/fleet/states/a.service/00ff"),
            (Key::Done("a.service".into()), "/fleet/done/a.service"),
            (Key::Elapsed("a.timer".into()), "/fleet/elapsed/a.timer"),
            (Key::Plan, "/fleet/plan"),
            (Key::Rollout, "/fleet/rollout"),
            (Key::Progress, "/fleet/rollout/progress"),
        ];
        for (key, text) in cases {
            assert_eq!(key.bytes(), text.as_bytes());
            assert_eq!(Key::parse(text.as_bytes()), Some(key));
        }
        for strange in [
            "",
            "/fleet",
            "/fleet/",
            "/fleet/units",
            "/fleet/units/",
            "/fleet/units/a/b",
            "/other/units/a",
            "/fleet/states/a",
        ] {
            assert_eq!(Key::parse(strange.as_bytes()), None, "{strange}");
        }
        assert_eq!(Key::parse(b"/fleet/units/\xff"), None);
    }

    #[test]
    fn nonsense_values_are_errors_that_name_the_key() {
        let key = Key::Unit("a.service".into());
        for value in [
            "",
            "{}",
            "[",
            r#"{"text":"[","desiredState":"loaded","generation":1}"#,
            r#"{"text":"","desiredState":"bogus","generation":1}"#,
        ] {
            let error = Value::read(&key, value.as_bytes(), 1);
            assert!(error.is_err_and(|e| e.to_string().starts_with("value of /fleet/units/a.service: ")), "{value}");
        }
    }
}
