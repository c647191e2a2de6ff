//! A node's part in the cluster's backups: the job that makes them while it leads, and what its door answers about them.

use std::sync::Arc;

use super::settings::Settings;
use super::{StartError, host};
use crate::backup::{Backups, Rules};
use crate::jobs::Jobs;
use crate::jobs::backups::Backing;
use crate::raft::RaftStore;

/// Starts the job; `None` where no place for backups is set.
pub fn start(settings: &Settings, store: &Arc<RaftStore>, jobs: &mut Jobs) -> Result<Option<Arc<Backups>>, StartError> {
    let Some(wanted) = &settings.backup else { return Ok(None) };
    let target = wanted.target().map_err(StartError::Backup)?;
    let rules = Rules { every: wanted.every, keep: wanted.keep };
    let (clock, scratch) = (Arc::new(host::SystemClock), settings.data_dir.join("backups"));
    let backups = Arc::new(Backups::new(store.clone(), clock.clone(), target, rules, scratch));
    if let Err(error) = backups.tidy_up() {
        tracing::warn!("{error}");
    }
    if let Some(every) = wanted.every {
        let (store, backups) = (store.clone(), backups.clone());
        jobs.start(Backing { store, member: settings.member, clock, backups, every });
    }
    Ok(Some(backups))
}
