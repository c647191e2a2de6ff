//! The template job of this node, over its own store.

use std::sync::Arc;

use super::settings::Settings;
use crate::jobs::Jobs;
use crate::jobs::templates::{Home, Meter, StoreKeys, Templates};
use crate::raft::RaftStore;

/// Starts rendering `template.confdir`; returns where passes are counted.
pub fn start(settings: &Settings, store: &Arc<RaftStore>, home: Home, jobs: &mut Jobs) -> Meter {
    let keys = Arc::new(StoreKeys(store.clone()));
    let templates = Templates::new(keys, settings.template.confdir.clone(), settings.template.prefix.clone());
    let meter = home.meter.clone();
    jobs.start(templates.at(home));
    meter
}

/// This node where it is no machine of fleet's: its resources are told under its member's id.
pub fn homeless(settings: &Settings, store: &Arc<RaftStore>) -> Home {
    let machine = crate::base::MachineId(settings.member.to_string());
    Home { store: store.clone(), machine, lease: None, executor: None, meter: Meter::default() }
}
