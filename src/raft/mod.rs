//! Replication: a proposal batcher, openraft over our log and state, and the transport between members.
//!
//! `start` brings a node up · `seed` makes the data of a member that begins with a state, `recover` of a
//! member whose quorum is gone · `store` is what the floors above
//! use of it · `proposer`, `reads`, `lease_keeper` and `hub` (with a `mailbox` for each watcher) carry writes, reads, leases
//! and watches · `members` changes and follows the membership, `join` finds a place in it, `probation` keeps one from voting
//! that has lost its memory · `log_store`, `state_machine`, `machine` and `snapshot` are openraft's storage, `network` its
//! way to `peer`s · `service` answers them · `watchdog` looks after the disk, `upkeep` keeps history and its room · `types`
//! is what openraft is set up with.

mod hub;
mod join;
mod leader;
mod lease_keeper;
mod leases;
mod log_store;
mod machine;
mod mailbox;
mod maintenance;
mod members;
mod network;
mod node;
mod options;
mod patience;
mod peer;
mod probation;
mod proposer;
mod read_lease;
mod reads;
mod recover;
mod seats;
mod seed;
mod service;
mod snapshot;
mod start;
mod state_machine;
mod store;
mod types;
mod upkeep;
mod watchdog;

#[cfg(test)]
mod cluster_tests;
#[cfg(test)]
mod hub_tests;
#[cfg(test)]
mod leases_tests;
#[cfg(test)]
mod log_tests;
#[cfg(test)]
mod maintenance_tests;
#[cfg(test)]
mod members_tests;
#[cfg(test)]
mod peer_tests;
#[cfg(test)]
mod power_tests;
#[cfg(test)]
mod read_lease_tests;
#[cfg(test)]
mod recovery_tests;
#[cfg(test)]
mod safety_tests;
#[cfg(test)]
mod test_cluster;
#[cfg(test)]
mod upkeep_tests;

pub use join::{Place, find_place, holds_data, joined, keep as keep_place};
pub use options::{Options, Peer, PeerListener, SnapshotThresholds, StartError};
pub use patience::Patience;
pub use peer::session::PeerError;
pub use peer::stream::{CallStream, NoCalls, OnePiece, PeerHandler, PeerStream};
pub use recover::{RecoverError, Recovered, Remains, Stopped};
pub use seats::Seats;
pub use seed::{Seed, SeedError, is_unfinished, seed};
pub use store::RaftStore;
