//! The template job of this node, over its own store.

use std::sync::Arc;

use super::settings::Settings;
use crate::jobs::Jobs;
use crate::jobs::templates::Templates;
use crate::raft::RaftStore;

/// Starts rendering `template.confdir`.
pub fn start(settings: &Settings, store: &Arc<RaftStore>, jobs: &mut Jobs) {
    jobs.start(Templates::new(store.clone(), settings.template.confdir.clone(), settings.template.prefix.clone()));
}
