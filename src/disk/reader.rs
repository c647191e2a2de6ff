//! One moment of the tables: owned, unmoved by later writes, free to send to another thread.

use std::ops::{Bound, ControlFlow};
use std::sync::OnceLock;

use bytes::Bytes;
use redb::{AccessGuard, ReadOnlyTable, ReadTransaction};

use super::database::{Database, definition};
use super::error::{DiskError, guarded};
use crate::kv::tables::Visit;
use crate::kv::{Table, Tables, TablesError};

type Opened = ReadOnlyTable<&'static [u8], &'static [u8]>;

/// As [`Visit`], but may fail.
pub(super) type TryVisit<'a, E> = dyn FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, E> + 'a;

/// The tables as they were when it was made. Pages that it alone still sees are kept in the file until it is dropped.
pub struct Snapshot {
    database: Database,
    txn: ReadTransaction,
    tables: [OnceLock<Opened>; Table::ALL.len()],
}

impl Snapshot {
    pub(super) fn new(database: Database, txn: ReadTransaction) -> Self {
        Self { database, txn, tables: Default::default() }
    }

    fn open(&self, table: Table) -> Result<&Opened, DiskError> {
        let slot = &self.tables[slot(table)];
        if let Some(opened) = slot.get() {
            return Ok(opened);
        }
        let opened =
            self.txn.open_table(definition(table)).map_err(|error| self.database.explain("open a table", error))?;
        Ok(slot.get_or_init(|| opened))
    }

    /// Visits entries; the visitor may fail with an error of its own kind.
    pub(super) fn visit<E: From<DiskError>>(
        &self,
        table: Table,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        reverse: bool,
        visit: &mut TryVisit<'_, E>,
    ) -> Result<(), E> {
        if empty(from, to) {
            return Ok(());
        }
        let failed = |error| self.database.explain("read a table", error);
        let path = self.database.path();
        let mut range = guarded(path, || self.open(table)?.range::<&[u8]>((from, to)).map_err(failed))?;
        loop {
            // The values are looked at within the guard too: damage may show only there.
            let next = guarded(path, || {
                let next = if reverse { range.next_back() } else { range.next() };
                let entry = next.transpose().map_err(failed)?;
                let readable = |(key, value): &(AccessGuard<_>, AccessGuard<_>)| {
                    let _: (&[u8], &[u8]) = (key.value(), value.value());
                };
                Ok(entry.inspect(readable))
            })?;
            let Some((key, value)) = next else {
                return Ok(());
            };
            if visit(key.value(), value.value())?.is_break() {
                return Ok(());
            }
        }
    }
}

impl Tables for Snapshot {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, TablesError> {
        Ok(guarded(self.database.path(), || {
            let found = self.open(table)?.get(key).map_err(|error| self.database.explain("read a table", error))?;
            Ok(found.map(|guard| Bytes::copy_from_slice(guard.value())))
        })?)
    }

    fn scan(
        &self,
        table: Table,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        reverse: bool,
        visit: &mut Visit<'_>,
    ) -> Result<(), TablesError> {
        let visit = &mut |key: &[u8], value: &[u8]| Ok::<_, DiskError>(visit(key, value));
        Ok(self.visit(table, from, to, reverse, visit)?)
    }
}

/// Position of a table in [`Table::ALL`].
pub(super) fn slot(table: Table) -> usize {
    table as usize
}

/// Whether the bounds leave nothing between them; sorted maps do not take such bounds.
pub(super) fn empty(from: Bound<&[u8]>, to: Bound<&[u8]>) -> bool {
    match (from, to) {
        (Bound::Included(from), Bound::Included(to)) => from > to,
        (Bound::Included(from) | Bound::Excluded(from), Bound::Excluded(to))
        | (Bound::Excluded(from), Bound::Included(to)) => from >= to,
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
    }
}
