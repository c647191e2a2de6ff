//! Applies that are over: which are kept, and how one goes back to an earlier one.

use std::collections::BTreeMap;

use super::plan::{Asked, PlanError, Wanted, changes};
use super::{Applied, Rollout};
use crate::base::limits::APPLIES_KEPT_MAX;
use crate::fleet::cluster::Cluster;
use crate::fleet::layout::Key;

/// Why there is no way back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BackError {
    #[error("there is no apply that could be taken back")]
    Nothing,
    #[error("revision {0} is not known: `node ctl history` shows those that are")]
    Unknown(u64),
    #[error("revision {0} was taken back itself; choose one that succeeded")]
    Failed(u64),
    #[error(transparent)]
    Plan(#[from] PlanError),
}

/// The record that is dropped when this revision begins.
pub(super) fn outdated(revision: u64) -> Option<Key> {
    revision.checked_sub(APPLIES_KEPT_MAX).filter(|old| *old > 0).map(Key::Applied)
}

/// The rollout that brings the units back to what they were after revision `to`; without it, to what they were before
/// the newest that succeeded. `applied` is in order, the oldest first. What was changed by other means since, in units
/// that these applies were about, goes too; other units stay.
///
/// # Errors
/// [`BackError`].
pub fn back(cluster: &Cluster, applied: &[Applied], to: Option<u64>, asked: &Asked) -> Result<Rollout, BackError> {
    let succeeded = || applied.iter().filter(|one| one.failure.is_none());
    let to = match to {
        Some(to) => {
            let found = applied.iter().find(|one| one.rollout.revision == to).ok_or(BackError::Unknown(to))?;
            if found.failure.is_some() {
                return Err(BackError::Failed(to));
            }
            to
        }
        // One less than the newest: whatever number the one before it has.
        None => succeeded().next_back().ok_or(BackError::Nothing)?.rollout.revision - 1,
    };
    let mut wanted = Wanted::new();
    let mut sets = BTreeMap::new();
    // The oldest of those that are undone says how a unit was before all of them.
    for one in succeeded().filter(|one| one.rollout.revision > to) {
        for change in &one.rollout.changes {
            let before = change.before.as_ref();
            let version = before.map(|version| (one.rollout.text(version).into(), version.desired));
            wanted.entry(change.unit.clone()).or_insert(version);
            sets.entry(change.unit.clone()).or_insert_with(|| before.and_then(|version| version.set.clone()));
        }
    }
    let mut rollout = changes(cluster, &wanted, asked, &|unit, _| sets.get(unit).cloned().flatten())?;
    rollout.back_to = Some(to);
    Ok(rollout)
}
