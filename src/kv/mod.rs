//! The key-value state machine: revisions, transactions, leases, watches and the v2 view, as values in and values out.
//!
//! `apply` takes a [`Command`] and changes [`Tables`]; nothing here asks a clock, a disk or a network.
//! [`Store`] is the door that every floor above uses; `raft/` and `remote/` implement it.

pub mod command;
pub mod error;
pub mod store;
pub mod tables;
pub mod types;
pub mod v2;

pub use command::{Applied, Command, Op, Reply};
pub use error::KvError;
pub use store::{
    Consistency, Status, Store, StoreError, WatchBatch, WatchEnd, WatchRequest, WatchStart,
    WatchStream,
};
pub use tables::{Table, Tables, TablesError, TablesMut};
pub use types::*;
