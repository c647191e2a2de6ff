//! What an apply would change: the units that are handed in against those of the cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Action, Change, Progress, Rollout, Rules, Version};
use crate::base::limits::{ROLLOUT_BYTES_MAX, ROLLOUT_UNITS_MAX, ROLLOUT_WAIT_MS_MAX};
use crate::base::{LeaseId, UnixMillis};
use crate::fleet::cluster::Cluster;
use crate::fleet::layout::{Key, encode};
use crate::fleet::operations::{Refusal, checked};
use crate::fleet::types::{DesiredState, Unit};
use crate::kv::TxnRequest;
use crate::unit::UnitText;
use crate::unit::name::{self, UnitName};

/// What a user asks for, besides the units.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    pub by: String,
    pub at: UnixMillis,
    pub set: String,
    pub rules: Rules,
    /// Remove what earlier applies of the set brought and this one has not.
    pub prune: bool,
    /// Of units that are new.
    pub desired: DesiredState,
}

/// A unit as it is to be; `None`: it is not to be.
pub type Wanted = BTreeMap<String, Option<(Arc<str>, DesiredState)>>;

/// Why units cannot be applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    #[error("{unit}: {refusal}")]
    Unit { unit: String, refusal: Refusal },
    #[error("{units} units are to change, which is more than {ROLLOUT_UNITS_MAX}; apply them in parts")]
    TooMany { units: usize },
    #[error(
        "the texts of the units that are to change have {bytes} bytes, more than {ROLLOUT_BYTES_MAX}; apply them in parts"
    )]
    TooLarge { bytes: usize },
}

/// The rollout that gives the cluster these units, without a revision yet; without changes where they are there already.
///
/// A unit that exists keeps its desired state; a new one gets the one that is asked for, a new template none. Instances
/// have the text of a template that is handed in, unless they are handed in themselves.
///
/// # Errors
/// The first unit that would be refused, naming it; more than a record holds.
pub fn apply(cluster: &Cluster, units: &[(String, UnitText)], asked: &Asked) -> Result<Rollout, PlanError> {
    let mut wanted = Wanted::new();
    for (unit, text) in units {
        let refused = |refusal| PlanError::Unit { unit: unit.clone(), refusal };
        name::validate(unit).map_err(|error| refused(error.into()))?;
        let text = checked(unit, text.options()).map_err(refused)?;
        let desired = if UnitName::new(unit).is_template() { DesiredState::Inactive } else { asked.desired };
        wanted.insert(unit.clone(), Some((text.to_string().into(), desired)));
    }
    // Before templates are followed: an instance whose file is gone is one too many.
    if asked.prune {
        let of_set = cluster.units.values().filter(|unit| unit.set.as_deref() == Some(asked.set.as_str()));
        for unit in of_set {
            wanted.entry(unit.name.clone()).or_insert(None);
        }
    }
    let templates: BTreeSet<String> = wanted.keys().filter(|unit| UnitName::new(unit).is_template()).cloned().collect();
    for unit in cluster.units.values() {
        if let Some(template) = UnitName::new(&unit.name).template().filter(|template| templates.contains(template))
            && !wanted.contains_key(&unit.name)
            && template != unit.name
        {
            let text = wanted[&template].clone().map(|(text, _)| (text, unit.desired));
            wanted.insert(unit.name.clone(), text);
        }
    }
    let handed_in: BTreeSet<&str> = units.iter().map(|(unit, _)| unit.as_str()).collect();
    let set_of = |unit: &str, existing: Option<&Unit>| match handed_in.contains(unit) {
        true => Some(asked.set.clone()),
        false => existing.and_then(|unit| unit.set.clone()),
    };
    changes(cluster, &wanted, asked, &set_of)
}

/// The changes that lead from the cluster to what is wanted.
pub(super) fn changes(
    cluster: &Cluster,
    wanted: &Wanted,
    asked: &Asked,
    set_of: &dyn Fn(&str, Option<&Unit>) -> Option<String>,
) -> Result<Rollout, PlanError> {
    let mut rollout = Rollout {
        at: asked.at,
        by: asked.by.clone(),
        set: asked.set.clone(),
        rules: Rules {
            max_parallel: asked.rules.max_parallel.max(1),
            settle_ms: asked.rules.settle_ms.min(ROLLOUT_WAIT_MS_MAX),
            timeout_ms: asked.rules.timeout_ms.min(ROLLOUT_WAIT_MS_MAX),
        },
        ..Rollout::default()
    };
    for (name, target) in wanted {
        let existing = cluster.units.get(name).map(AsRef::as_ref);
        let before = existing.map(|unit| Version {
            hash: unit.hash.clone(),
            desired: unit.desired,
            global: unit.requirements.global,
            set: unit.set.clone(),
        });
        let after = match target {
            None => None,
            Some((text, desired)) => {
                let desired = existing.map_or(*desired, |unit| unit.desired);
                let version = Version::of(text, name, desired, set_of(name, existing));
                let version = version.map_err(|error| PlanError::Unit { unit: name.clone(), refusal: error.into() })?;
                rollout.texts.entry(version.hash.clone()).or_insert_with(|| text.to_string());
                Some(version)
            }
        };
        if before != after {
            if let Some(unit) = existing {
                rollout.texts.entry(unit.hash.clone()).or_insert_with(|| unit.text.to_string());
            }
            rollout.changes.push(Change { unit: name.clone(), before, after });
        }
    }
    let versions = rollout.changes.iter().flat_map(|change| change.before.iter().chain(&change.after));
    let used: BTreeSet<&str> = versions.map(|version| version.hash.as_str()).collect();
    rollout.texts.retain(|hash, _| used.contains(hash.as_str()));
    rollout.changes.sort_by_key(order);
    let bytes = rollout.texts.values().map(String::len).sum();
    match rollout.changes.len() {
        units if units > ROLLOUT_UNITS_MAX => Err(PlanError::TooMany { units }),
        _ if bytes > ROLLOUT_BYTES_MAX => Err(PlanError::TooLarge { bytes }),
        _ => Ok(rollout),
    }
}

/// What interrupts nothing goes first, so that what is new is there when others are replaced; removals go last, when
/// nothing is taken back any more.
fn order(change: &Change) -> (u8, String) {
    let rank = match change.action() {
        Action::Remove => 2,
        _ if change.interrupts() => 1,
        _ => 0,
    };
    (rank, change.unit.clone())
}

impl Rollout {
    /// A version's text.
    pub fn text(&self, version: &Version) -> &str {
        self.texts.get(&version.hash).map(String::as_str).unwrap_or_default()
    }

    /// The transaction that begins it as this revision: only while no other is under way, this revision is free, and no
    /// unit was written since `cluster`. The oldest of those that are kept is dropped.
    pub fn commit(&self, cluster: &Cluster) -> TxnRequest {
        let progress = Key::Progress.put(encode(&Progress::default()), LeaseId::NONE);
        let mut success = vec![Key::Rollout.put(encode(self), LeaseId::NONE), progress];
        success.extend(super::history::outdated(self.revision).map(|key| key.delete()));
        TxnRequest {
            compare: vec![
                Key::Rollout.unchanged(0),
                Key::Applied(self.revision).unchanged(0),
                Key::units_unchanged_since(cluster.revision),
            ],
            success,
            failure: Vec::new(),
        }
    }
}
