//! Floor 2: cloud-config as CoreOS had it — user-data in, an ordered plan of steps out, and every problem with its line.
//!
//! What the keys mean follows coreos-cloudinit, with the documented intent where the program fell short of it. The sections
//! `etcd`, `etcd2` and `fleet` become settings of this machine's node, which stands in for those three services.

mod config;
mod content;
mod merge;
mod plan;
mod problem;
mod read;
mod sections;
mod settings;
mod units;
mod userdata;
mod yaml;

#[cfg(test)]
mod tests;

pub use config::{CloudConfig, DropIn, Setting, Unit, User, WriteFile};
pub use plan::{ALIASES_FOLDER, CommandRule, Facts, NODE_SETTINGS, NODE_UNIT, Owner, Step, plan};
pub use problem::{Problem, Severity};
pub use read::read;
pub use settings::{NodeSetting, node_settings, render};
pub use userdata::{Addresses, Kind, recognise, substitute, unpack};
