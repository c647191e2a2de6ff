//! What the state machine needs of a disk: a few ordered tables of bytes, read at one moment, written in one transaction.

use std::ops::{Bound, ControlFlow};

use bytes::Bytes;

/// The tables. What their keys and values look like is known in this room only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// (space, main revision, sub revision) → the change made there.
    Revisions,
    /// (space, key) → where its newest change stands.
    Keys,
    /// v2 index → the revision that took it.
    V2Index,
    /// Path of a directory of the v2 view → its index and the number of its children.
    V2Directories,
    /// Lease id → lease.
    Leases,
    /// (lease id, space, key): which keys hang on a lease.
    LeaseKeys,
    /// Member id → member.
    Members,
    /// Users, roles, and what holds for all of them.
    Auth,
    /// Name → number or bytes: counters, compaction marks, checksums, what Raft wants kept beside the state.
    Meta,
}

impl Table {
    /// All of them, in a fixed order.
    pub const ALL: [Table; 9] = [
        Table::Revisions,
        Table::Keys,
        Table::V2Index,
        Table::V2Directories,
        Table::Leases,
        Table::LeaseKeys,
        Table::Members,
        Table::Auth,
        Table::Meta,
    ];

    /// The name on disk and in snapshots.
    pub fn name(self) -> &'static str {
        match self {
            Table::Revisions => "revisions",
            Table::Keys => "keys",
            Table::V2Index => "v2-index",
            Table::V2Directories => "v2-directories",
            Table::Leases => "leases",
            Table::LeaseKeys => "lease-keys",
            Table::Members => "members",
            Table::Auth => "auth",
            Table::Meta => "meta",
        }
    }
}

/// The tables could not be read or written. Final for the process: state in memory and on disk may differ.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("state tables: {0}")]
pub struct TablesError(pub String);

/// What is called for each entry of a scan; `Break` ends it.
pub type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// One moment of the tables.
pub trait Tables {
    /// The value at `key`.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, TablesError>;

    /// Visits entries within the bounds in the order of their keys (descending if `reverse`).
    fn scan(
        &self,
        table: Table,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        reverse: bool,
        visit: &mut Visit<'_>,
    ) -> Result<(), TablesError>;
}

/// Visits entries within the bounds in the order of their keys; the visitor may fail, which ends the scan.
pub(super) fn try_scan<T: Tables + ?Sized>(
    tables: &T,
    table: Table,
    from: Bound<&[u8]>,
    to: Bound<&[u8]>,
    mut visit: impl FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, TablesError>,
) -> Result<(), TablesError> {
    let mut failed = Ok(());
    tables.scan(table, from, to, false, &mut |key, value| match visit(key, value) {
        Ok(flow) => flow,
        Err(error) => {
            failed = Err(error);
            ControlFlow::Break(())
        }
    })?;
    failed
}

/// A transaction in the making: reads see its own writes; dropped without a commit, it leaves nothing.
pub trait TablesMut: Tables {
    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), TablesError>;
    fn delete(&mut self, table: Table, key: &[u8]) -> Result<(), TablesError>;
}
