//! Bringing what memory holds into the file: one sorted, durable transaction for many commits.

use std::ops::Bound;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use redb::{ReadableDatabase as _, WriteTransaction};

use super::blocks;
use super::database::{Database, IN_USE_KEY, OWN, definition};
use super::error::{DiskError, guarded};
use super::memtable::{Change, Changes, Memtable};
use super::reader::Base;
use crate::base::limits::STATE_FLUSH_BYTES;
use crate::kv::Table;

/// A gentle flush works for so long and then rests.
const WORK: Duration = Duration::from_millis(1);
const REST: Duration = Duration::from_millis(3);

impl Database {
    /// Makes every commit so far durable, in such a way that the next start needs no repair. Commits go on meanwhile.
    pub fn flush(&self) -> Result<(), DiskError> {
        self.inner.hurried.fetch_add(1, Ordering::Relaxed);
        let flushed = self.flush_gently();
        self.inner.hurried.fetch_sub(1, Ordering::Relaxed);
        flushed
    }

    /// As [`Database::flush`], with rests that leave the processor to requests, unless somebody waits or changes pile up.
    pub fn flush_gently(&self) -> Result<(), DiskError> {
        let _alone = self.inner.flushing.lock().unwrap_or_else(PoisonError::into_inner);
        // What a flush that failed left behind goes first.
        let left = self.view().frozen.clone();
        for frozen in [left, None] {
            if let Some(frozen) = frozen.or_else(|| self.freeze()) {
                let written = self.write_down(&frozen);
                self.settled();
                written?;
            }
        }
        Ok(())
    }

    /// Has commits go into a new memtable from now on. Returns the one before, if anything is in it.
    fn freeze(&self) -> Option<Arc<Memtable>> {
        let _turn = self.turn();
        let mut frozen = None;
        self.change_view(|view| {
            if !view.active.is_empty() {
                frozen = Some(view.active.clone());
                view.frozen = frozen.clone();
                view.active = Arc::default();
            }
        });
        frozen
    }

    /// Writes the frozen memtable into the file and has readers find it there.
    fn write_down(&self, frozen: &Memtable) -> Result<(), DiskError> {
        let txn = self.inner.redb.begin_write().map_err(|error| self.explain("begin a write", error))?;
        let mut grown = 0;
        for table in Table::ALL {
            let changes = frozen.changes(u64::MAX, table, (Bound::Unbounded, Bound::Unbounded), false);
            let mut worked = Instant::now();
            let paced: Box<dyn Iterator<Item = Change>> = Box::new(changes.inspect(|_| self.rest(&mut worked)));
            let changes = paced.peekable();
            grown += guarded(self.path(), || {
                write(&txn, table, changes).map_err(|error| self.explain("write a table", error))
            })?;
        }
        let in_use = self.inner.in_use.load(Ordering::Relaxed).saturating_add_signed(grown);
        set_in_use(&txn, in_use).map_err(|error| self.explain("write a table", error))?;
        self.finish(txn)?;
        self.inner.in_use.store(in_use, Ordering::Relaxed);
        let base = self.base()?;
        self.change_view(|view| {
            view.frozen = None;
            view.base = base;
        });
        Ok(())
    }

    /// Rests where a share of work is done since the last time.
    fn rest(&self, worked: &mut Instant) {
        if worked.elapsed() < WORK {
            return;
        }
        let urgent = self.inner.hurried.load(Ordering::Relaxed) > 0 || self.memory_bytes() >= STATE_FLUSH_BYTES;
        if !urgent {
            std::thread::sleep(REST);
        }
        *worked = Instant::now();
    }

    /// The file as it is now.
    pub(super) fn base(&self) -> Result<Arc<Base>, DiskError> {
        let txn = self.inner.redb.begin_read().map_err(|error| self.explain("begin a read", error))?;
        Ok(Base::new(txn))
    }
}

/// Records the bytes in use within the transaction.
pub(super) fn set_in_use(txn: &WriteTransaction, bytes: u64) -> Result<(), redb::Error> {
    let mut own = txn.open_table(OWN)?;
    own.insert(IN_USE_KEY, bytes)?;
    Ok(())
}

/// Writes a table's changes, which are in ascending order. Returns by how many bytes its entries grew.
pub(super) fn write(txn: &WriteTransaction, table: Table, mut changes: Changes<'_>) -> Result<i64, redb::Error> {
    if changes.peek().is_none() {
        return Ok(0);
    }
    let mut open = txn.open_table(definition(table))?;
    if blocks::in_blocks(table) {
        return blocks::write(&mut open, changes);
    }
    let mut grown = 0;
    for (key, change) in changes {
        let size = |value: &[u8]| (key.len() + value.len()) as i64;
        let old = match &change {
            Some(value) => {
                grown += size(value);
                open.insert(&key[..], &value[..])?
            }
            None => open.remove(&key[..])?,
        };
        grown -= old.map_or(0, |old| size(old.value()));
    }
    Ok(grown)
}
