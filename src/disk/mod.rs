//! The state on disk: kv's tables in one redb file, read at a moment, written in transactions, copied as snapshots.
//!
//! A commit stays in memory, in the order of keys, over the file: the log holds it too. [`Database::flush`] writes all
//! commits into the file together, durably; whoever purges the log or hands out a snapshot flushes first. A crash brings
//! back the last flush. So the file sees one sorted transaction where a thousand commits were, each page written once.
//! Small files beside it, such as the one that says whose data they are, are replaced in one step.

mod blocks;
mod database;
#[cfg(test)]
mod disk_tests;
mod error;
mod flush;
mod memtable;
#[cfg(test)]
mod power_tests;
mod reader;
mod replace;
mod room;
mod transfer;
mod write;

pub use database::{Database, Usage};
pub use error::{DiskError, panic_is_expected};
pub use reader::Snapshot;
pub use replace::{put_in_place, replace, sync_folder_of};
pub use room::{FileSystem, Level, Room, RoomProbe, RoomRules};
pub use transfer::{SeeEntry, read_snapshot};
pub use write::WriteTxn;
