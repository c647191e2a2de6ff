//! etcd's own database file, which its snapshots are: read into our tables, with all that it says checked; and written from them.
//!
//! | bucket | key | value |
//! | --- | --- | --- |
//! | `key` | main `u64`, `_`, sub `u64`, and `t` where the key was deleted | `mvccpb.KeyValue` |
//! | `lease` | id `i64` | `leasepb.Lease` |
//! | `meta` | `consistent_index`, `scheduledCompactRev`, `finishedCompactRev`, … | numbers |
//! | `auth`, `authUsers`, `authRoles` | names | whether it is on · `authpb.User` · `authpb.Role` |
//! | `members`, `members_removed`, `cluster`, `alarm` | the old cluster's members, its version, its alarms | JSON, text |
//!
//! Source: etcd's `mvcc`, `lease`, `auth` and `membership` packages, 3.4 to 3.6, and files that they wrote.

mod export;
mod intake;
mod load;
mod open;
mod status;
#[cfg(test)]
mod tests;

pub use export::{Exported, export};
pub use intake::Intake;
pub use load::{Report, compacted, load};
pub use open::{EtcdFile, FileKind, kind};
pub use status::{Status, status};

use std::io;

use crate::bolt::BoltError;
use crate::disk::DiskError;
use crate::kv::{LoadError, TablesError};

/// Why a file is not taken.
#[derive(Debug, thiserror::Error)]
pub enum EtcdFileError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("{0} bytes are not a whole database and a checksum: it is cut; save the snapshot again")]
    Cut(u64),
    #[error("its checksum is wrong: it was changed or damaged after it was saved; use another copy")]
    Sum,
    #[error("an etcd has it open; stop that one, or name its address with --endpoint")]
    InUse,
    #[error("it is a snapshot of corenode's, which `snapshot restore` takes")]
    Ours,
    #[error("it is no database of etcd's: {0}")]
    Foreign(String),
    #[error(transparent)]
    Bolt(#[from] BoltError),
    #[error("{0}; use another copy, or that of another member")]
    Damaged(String),
    #[error("{0}; use the copy of another member")]
    Load(LoadError),
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error(transparent)]
    Tables(#[from] TablesError),
}

impl From<LoadError> for EtcdFileError {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Tables(error) => Self::Tables(error),
            error => Self::Load(error),
        }
    }
}
