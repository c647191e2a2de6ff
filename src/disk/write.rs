//! A write transaction: changes are gathered over a snapshot and become visible together.
//!
//! So a counter that a batch of commands writes a thousand times is committed once, and a dropped transaction costs nothing.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

use super::database::{Database, Turn};
use super::error::DiskError;
use super::memtable::Change;
use super::reader::{Snapshot, empty, slot};
use crate::kv::tables::Visit;
use crate::kv::{Table, Tables, TablesError, TablesMut};

/// What a transaction did to a table: `None` is a deletion.
pub(super) type TableChanges = BTreeMap<Bytes, Option<Bytes>>;

/// A write transaction. The only one at its time; dropped without a commit, it leaves nothing.
pub struct WriteTxn {
    database: Database,
    base: Snapshot,
    changes: [TableChanges; Table::ALL.len()],
    turn: Turn,
}

impl WriteTxn {
    pub(super) fn new(database: Database, base: Snapshot, turn: Turn) -> Self {
        Self { database, base, changes: Default::default(), turn }
    }

    /// Makes the changes visible to new readers; `durable`: and safe from a crash, with all commits before.
    pub fn commit(self, durable: bool) -> Result<(), DiskError> {
        let Self { database, base, changes, turn } = self;
        drop(base);
        database.publish(changes);
        drop(turn);
        if durable { database.flush() } else { Ok(()) }
    }
}

impl Tables for WriteTxn {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, TablesError> {
        match self.changes[slot(table)].get(key) {
            Some(change) => Ok(change.clone()),
            None => self.base.get(table, key),
        }
    }

    fn scan(
        &self,
        table: Table,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        reverse: bool,
        visit: &mut Visit<'_>,
    ) -> Result<(), TablesError> {
        if empty(from, to) {
            return Ok(());
        }
        let own = self.changes[slot(table)].range::<[u8], _>((from, to));
        let own = own.map(|(key, change)| (key.clone(), change.clone()));
        let own: Box<dyn Iterator<Item = Change>> = if reverse { Box::new(own.rev()) } else { Box::new(own) };
        let visit = &mut |key: &[u8], value: &[u8]| Ok::<_, DiskError>(visit(key, value));
        Ok(self.base.visit_under(own.peekable(), table, (from, to), reverse, visit)?)
    }
}

impl TablesMut for WriteTxn {
    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), TablesError> {
        let value = Bytes::copy_from_slice(value);
        self.changes[slot(table)].insert(Bytes::copy_from_slice(key), Some(value));
        Ok(())
    }

    fn delete(&mut self, table: Table, key: &[u8]) -> Result<(), TablesError> {
        self.changes[slot(table)].insert(Bytes::copy_from_slice(key), None);
        Ok(())
    }
}
