//! fleet's brain: machines, units and states as values; `plan` decides where units run, `diff` what a machine does about it.

mod board;
pub mod cluster;
pub mod company;
pub mod counts;
pub mod diff;
mod eviction;
pub mod executor;
pub mod fence;
pub mod inspect;
pub mod journal;
pub mod layout;
mod ledger;
pub mod memory;
pub mod metadata;
pub mod once;
pub mod operations;
pub mod plan;
mod ports;
pub mod reason;
pub mod registrations;
pub mod registry;
pub mod rollout;
pub mod secrets;
pub mod session;
pub mod table;
#[cfg(test)]
mod testkit;
pub mod timer;
pub mod transactions;
pub mod types;
pub mod wanted;
pub mod wire;

pub use cluster::Cluster;
pub use counts::Counts;
pub use diff::{OlderPlan, Task, TaskKind, TaskReason, diff};
pub use fence::{Fence, Tenure};
pub use layout::Key;
pub use memory::{Launched, Local, Memory};
pub use operations::{Operation, Outcome, PutUnit, Refusal, RefusalKind};
pub use plan::{Fit, Plan, Verdict, Waiting, capacity, explain, plan, plan_at, rebalance, remaining, simulate};
pub use reason::{Decision, Reason};
pub use rollout::Rollout;
pub use transactions::transactions;
pub use types::{Claim, Cordon, DesiredState, Drain, Machine, PlanHead, PublishedState, Scheduled, Unit, UnitState};
pub use wanted::{Wanted, awaited, wanted};
