//! fleet's brain: machines, units and states as values; `plan` decides where units run, `diff` what a machine does about it.

pub mod cluster;
pub mod executor;
pub mod inspect;
pub mod layout;
pub mod table;
pub mod types;

pub use cluster::Cluster;
pub use layout::Key;
pub use types::{DesiredState, Machine, PlanHead, PublishedState, Scheduled, Unit, UnitState};
