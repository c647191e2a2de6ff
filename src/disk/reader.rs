//! One moment of the tables: owned, unmoved by later writes, free to send to another thread.

use std::ops::{Bound, ControlFlow, RangeBounds};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use redb::{AccessGuard, ReadOnlyTable, ReadTransaction};

use super::blocks;
use super::database::{Database, definition};
use super::error::{DiskError, guarded};
use super::memtable::{Changes, Memtable, merge};
use crate::kv::tables::Visit;
use crate::kv::{Table, Tables, TablesError};

type Opened = ReadOnlyTable<&'static [u8], &'static [u8]>;

/// As [`Visit`], but may fail.
pub(super) type TryVisit<'a, E> = dyn FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, E> + 'a;

/// The file as of a flush. Pages that it alone still sees are kept in the file until it is dropped.
pub(super) struct Base {
    txn: ReadTransaction,
    tables: [OnceLock<Opened>; Table::ALL.len()],
}

/// Where the tables of a moment are: in the file and in memory.
#[derive(Clone)]
pub(super) struct View {
    /// The number of the newest commit in it.
    pub commit: u64,
    pub active: Arc<Memtable>,
    /// What is being written into the file.
    pub frozen: Option<Arc<Memtable>>,
    pub base: Arc<Base>,
}

/// The tables as they were when it was made.
pub struct Snapshot {
    database: Database,
    view: Arc<View>,
}

impl Base {
    pub(super) fn new(txn: ReadTransaction) -> Arc<Self> {
        Arc::new(Self { txn, tables: Default::default() })
    }

    fn open(&self, database: &Database, table: Table) -> Result<&Opened, DiskError> {
        let slot = &self.tables[slot(table)];
        if let Some(opened) = slot.get() {
            return Ok(opened);
        }
        let opened = self.txn.open_table(definition(table)).map_err(|error| database.explain("open a table", error))?;
        Ok(slot.get_or_init(|| opened))
    }

    fn get(&self, database: &Database, table: Table, key: &[u8]) -> Result<Option<Bytes>, DiskError> {
        guarded(database.path(), || {
            let open = self.open(database, table)?;
            let found = match blocks::in_blocks(table) {
                true => blocks::get(open, key),
                false => open
                    .get(key)
                    .map(|found| found.map(|guard| Bytes::copy_from_slice(guard.value())))
                    .map_err(redb::Error::from),
            };
            found.map_err(|error| database.explain("read a table", error))
        })
    }

    /// Visits entries of the file alone.
    fn visit<E: From<DiskError>>(
        &self,
        database: &Database,
        table: Table,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
        reverse: bool,
        visit: &mut TryVisit<'_, E>,
    ) -> Result<(), E> {
        if !blocks::in_blocks(table) {
            return self.visit_records(database, table, bounds, reverse, visit);
        }
        let failed = |error: redb::Error| E::from(database.explain("read a table", error));
        // The block that `from` lies in may begin before it.
        let from = match bounds.0 {
            Bound::Included(from) | Bound::Excluded(from) => {
                let block = guarded(database.path(), || {
                    let open = self.open(database, table)?;
                    blocks::block_of(open, from).map_err(|error| database.explain("read a table", error))
                })?;
                block.unwrap_or_else(|| Bytes::copy_from_slice(from))
            }
            Bound::Unbounded => Bytes::new(),
        };
        let blocks = (Bound::Included(&from[..]), bounds.1);
        self.visit_records(database, table, blocks, reverse, &mut |_, block| {
            let entries =
                blocks::entries(block).filter(|entry| entry.as_ref().map_or(true, |(key, _)| within(key, bounds)));
            let mut entries = entries.collect::<Result<Vec<_>, _>>().map_err(failed)?;
            if reverse {
                entries.reverse();
            }
            for (key, value) in entries {
                if visit(key, value)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            Ok::<_, E>(ControlFlow::Continue(()))
        })
    }

    fn visit_records<E: From<DiskError>>(
        &self,
        database: &Database,
        table: Table,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
        reverse: bool,
        visit: &mut TryVisit<'_, E>,
    ) -> Result<(), E> {
        let failed = |error| database.explain("read a table", error);
        let path = database.path();
        let mut range = guarded(path, || self.open(database, table)?.range::<&[u8]>(bounds).map_err(failed))?;
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

/// Whether a key is within the bounds.
fn within(key: &[u8], bounds: (Bound<&[u8]>, Bound<&[u8]>)) -> bool {
    RangeBounds::<[u8]>::contains(&bounds, key)
}

impl Snapshot {
    pub(super) fn new(database: Database, view: Arc<View>) -> Self {
        Self { database, view }
    }

    fn find(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, DiskError> {
        let View { commit, active, frozen, base } = &*self.view;
        let frozen = || frozen.as_ref().and_then(|frozen| frozen.get(*commit, table, key));
        match active.get(*commit, table, key).or_else(frozen) {
            Some(change) => Ok(change),
            None => base.get(&self.database, table, key),
        }
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
        let none: Box<dyn Iterator<Item = _>> = Box::new(std::iter::empty());
        self.visit_under(none.peekable(), table, (from, to), reverse, visit)
    }

    /// Visits entries as they are after `changes`, which are within the bounds and in the order of the scan.
    pub(super) fn visit_under<'a, E: From<DiskError>>(
        &'a self,
        changes: Changes<'a>,
        table: Table,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
        reverse: bool,
        visit: &mut TryVisit<'_, E>,
    ) -> Result<(), E> {
        if empty(bounds.0, bounds.1) {
            return Ok(());
        }
        let View { commit, active, frozen, base } = &*self.view;
        let mut changes = merge(changes, active.changes(*commit, table, bounds, reverse), reverse);
        if let Some(frozen) = frozen {
            changes = merge(changes, frozen.changes(*commit, table, bounds, reverse), reverse);
        }
        let mut ended = false;
        base.visit(&self.database, table, bounds, reverse, &mut |key, value| {
            let before = |own: &[u8]| if reverse { own > key } else { own < key };
            while let Some((own, change)) = changes.next_if(|(own, _)| before(own) || own == key) {
                if let Some(value) = change
                    && visit(&own, &value)?.is_break()
                {
                    ended = true;
                    return Ok(ControlFlow::Break(()));
                }
                if own == key {
                    return Ok(ControlFlow::Continue(()));
                }
            }
            let flow = visit(key, value)?;
            ended = flow.is_break();
            Ok::<_, E>(flow)
        })?;
        for (own, change) in changes {
            if ended {
                break;
            }
            if let Some(value) = change {
                ended = visit(&own, &value)?.is_break();
            }
        }
        Ok(())
    }
}

impl Tables for Snapshot {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, TablesError> {
        Ok(self.find(table, key)?)
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
