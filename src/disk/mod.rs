//! The state on disk: kv's tables in one redb file, read at a moment, written in transactions, copied as snapshots.
//!
//! Commits of applied commands are not durable by themselves: the log holds them. [`Database::flush`] makes all of them
//! durable together; whoever purges the log or hands out a snapshot flushes first. A crash brings back the last flush.

mod database;
#[cfg(test)]
mod disk_tests;
mod error;
mod reader;
mod transfer;
mod write;

pub use database::{Database, Usage};
pub use error::{DiskError, panic_is_expected};
pub use reader::Snapshot;
pub use transfer::{SeeEntry, read_snapshot};
pub use write::WriteTxn;
