//! A write transaction: changes are gathered in memory over a snapshot and go into the file together, in the order of keys.
//!
//! So a counter that a batch of commands writes a thousand times is written once, and a dropped transaction costs nothing.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};
use std::sync::atomic::Ordering;

use bytes::Bytes;
use redb::WriteTransaction;

use super::database::{Database, IN_USE_KEY, OWN, definition};
use super::error::{DiskError, guarded};
use super::reader::{Snapshot, empty, slot};
use crate::kv::tables::Visit;
use crate::kv::{Table, Tables, TablesError, TablesMut};

/// What a transaction did to a table: `None` is a deletion.
type Changes = BTreeMap<Vec<u8>, Option<Bytes>>;

/// A write transaction. The only one at its time; dropped without a commit, it leaves nothing.
pub struct WriteTxn {
    database: Database,
    txn: WriteTransaction,
    base: Snapshot,
    changes: [Changes; Table::ALL.len()],
}

impl WriteTxn {
    pub(super) fn new(database: Database, txn: WriteTransaction, base: Snapshot) -> Self {
        Self { database, txn, base, changes: Default::default() }
    }

    /// Makes the changes visible to new readers; `durable`: and safe from a crash, with all commits before.
    pub fn commit(self, durable: bool) -> Result<(), DiskError> {
        let Self { database, txn, base, changes } = self;
        drop(base);
        let mut grown = 0;
        for (table, changes) in Table::ALL.into_iter().zip(&changes) {
            if !changes.is_empty() {
                grown += guarded(database.path(), || {
                    write(&txn, table, changes).map_err(|error| database.explain("write a table", error))
                })?;
            }
        }
        let in_use = database.inner.in_use.load(Ordering::Relaxed);
        let in_use = in_use.saturating_add_signed(grown);
        set_in_use(&txn, in_use).map_err(|error| database.explain("write a table", error))?;
        database.finish(txn, durable)?;
        database.inner.in_use.store(in_use, Ordering::Relaxed);
        Ok(())
    }
}

/// Records the bytes in use within the transaction.
pub(super) fn set_in_use(txn: &WriteTransaction, bytes: u64) -> Result<(), redb::Error> {
    let mut own = txn.open_table(OWN)?;
    own.insert(IN_USE_KEY, bytes)?;
    Ok(())
}

/// Writes a table's changes. Returns by how many bytes its entries grew.
fn write(txn: &WriteTransaction, table: Table, changes: &Changes) -> Result<i64, redb::Error> {
    let mut open = txn.open_table(definition(table))?;
    let mut grown = 0;
    for (key, change) in changes {
        let size = |value: &[u8]| (key.len() + value.len()) as i64;
        let old = match change {
            Some(value) => {
                grown += size(value);
                open.insert(key.as_slice(), &value[..])?
            }
            None => open.remove(key.as_slice())?,
        };
        grown -= old.map_or(0, |old| size(old.value()));
    }
    Ok(grown)
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
        let mut changed: Box<dyn Iterator<Item = (&Vec<u8>, &Option<Bytes>)>> = {
            let range = self.changes[slot(table)].range::<[u8], _>((from, to));
            if reverse { Box::new(range.rev()) } else { Box::new(range) }
        };
        let mut next = changed.next();
        let mut ended = false;
        self.base.scan(table, from, to, reverse, &mut |key, value| {
            while let Some((own, change)) = next {
                let before = if reverse { &own[..] > key } else { &own[..] < key };
                if !before && own != key {
                    break;
                }
                let replaced = own == key;
                next = changed.next();
                if let Some(value) = change
                    && visit(own, value).is_break()
                {
                    ended = true;
                    return ControlFlow::Break(());
                }
                if replaced {
                    return ControlFlow::Continue(());
                }
            }
            let flow = visit(key, value);
            ended = flow.is_break();
            flow
        })?;
        while let Some((own, change)) = next.filter(|_| !ended) {
            next = changed.next();
            if let Some(value) = change {
                ended = visit(own, value).is_break();
            }
        }
        Ok(())
    }
}

impl TablesMut for WriteTxn {
    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), TablesError> {
        let value = Bytes::copy_from_slice(value);
        self.changes[slot(table)].insert(key.to_vec(), Some(value));
        Ok(())
    }

    fn delete(&mut self, table: Table, key: &[u8]) -> Result<(), TablesError> {
        self.changes[slot(table)].insert(key.to_vec(), None);
        Ok(())
    }
}
