//! What has been committed and is not in the file yet: changes in the order of their keys, each with the number of the
//! commit that made it, so that a reader of an earlier moment does not see later ones.
//!
//! The words are those of log-structured stores: changes go into the active memtable; a flush freezes it, writes it into
//! the file and drops it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::iter::Peekable;
use std::ops::Bound;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use bytes::Bytes;

use super::reader::slot;
use crate::kv::Table;

/// A key and what became of it; `None` is a deletion.
pub(super) type Change = (Bytes, Option<Bytes>);

/// Changes in the order of their keys (descending if the scan is), one a key.
pub(super) type Changes<'a> = Peekable<Box<dyn Iterator<Item = Change> + 'a>>;

/// Bytes that an entry takes beside its key and value: its place in a node, and two allocations.
const ENTRY_BYTES: usize = 160;

/// Newer changes of a key stand before older ones.
type Key = (Bytes, Reverse<u64>);
type Entries = BTreeMap<Key, Option<Bytes>>;

/// Entries that a scan copies while it keeps the writer waiting.
const SCAN_ENTRIES: usize = 128;
const NEWEST: Reverse<u64> = Reverse(u64::MAX);
const OLDEST: Reverse<u64> = Reverse(0);

/// Changes of any number of commits.
#[derive(Default)]
pub(super) struct Memtable {
    tables: [RwLock<Entries>; Table::ALL.len()],
    bytes: AtomicUsize,
}

impl Memtable {
    /// Adds the changes that the commit `commit` makes to a table. Readers of that moment are only let in when all of
    /// its tables have theirs.
    pub(super) fn insert(&self, commit: u64, table: Table, changes: impl IntoIterator<Item = Change>) {
        let mut bytes = 0;
        let mut entries = self.tables[slot(table)].write().unwrap_or_else(PoisonError::into_inner);
        for (key, change) in changes {
            bytes += ENTRY_BYTES + key.len() + change.as_ref().map_or(0, Bytes::len);
            entries.insert((key, Reverse(commit)), change);
        }
        drop(entries);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn entries(&self, table: Table) -> RwLockReadGuard<'_, Entries> {
        self.tables[slot(table)].read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes of memory that it takes, about.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes() == 0
    }

    /// What the newest commit up to `commit` did to a key; the outer `None`: nothing.
    pub(super) fn get(&self, commit: u64, table: Table, key: &[u8]) -> Option<Option<Bytes>> {
        let entries = self.entries(table);
        if entries.is_empty() {
            return None;
        }
        let from = (Bytes::copy_from_slice(key), Reverse(commit));
        let ((found, _), change) = entries.range((Bound::Included(from), Bound::Unbounded)).next()?;
        (found == key).then(|| change.clone())
    }

    /// What the newest commit up to `commit` did to each key within the bounds.
    pub(super) fn changes(
        &self,
        commit: u64,
        table: Table,
        (from, to): (Bound<&[u8]>, Bound<&[u8]>),
        reverse: bool,
    ) -> Changes<'_> {
        let key = |key: &[u8], commit| (Bytes::copy_from_slice(key), commit);
        let from = match from {
            Bound::Included(from) => Bound::Included(key(from, NEWEST)),
            Bound::Excluded(from) => Bound::Excluded(key(from, OLDEST)),
            Bound::Unbounded => Bound::Unbounded,
        };
        let to = match to {
            Bound::Included(to) => Bound::Included(key(to, OLDEST)),
            Bound::Excluded(to) => Bound::Excluded(key(to, NEWEST)),
            Bound::Unbounded => Bound::Unbounded,
        };
        let scan = Scan { memtable: self, table, from, to, reverse, waiting: VecDeque::new() };
        let visible = scan.filter(move |((_, Reverse(made)), _)| *made <= commit);
        let visible = visible.map(|((key, _), change)| (key, change));
        let changes: Box<dyn Iterator<Item = Change>> = match reverse {
            false => Box::new(first_of_each(visible)),
            true => Box::new(last_of_each(visible)),
        };
        changes.peekable()
    }
}

/// The entries of a table within bounds, copied some at a time.
struct Scan<'a> {
    memtable: &'a Memtable,
    table: Table,
    from: Bound<Key>,
    to: Bound<Key>,
    reverse: bool,
    waiting: VecDeque<(Key, Option<Bytes>)>,
}

impl Scan<'_> {
    fn copy_some(&mut self) {
        if self.is_over() {
            return;
        }
        let entries = self.memtable.entries(self.table);
        let range = entries.range((self.from.clone(), self.to.clone()));
        let copy = |(key, change): (&Key, &Option<Bytes>)| (key.clone(), change.clone());
        match self.reverse {
            false => self.waiting.extend(range.take(SCAN_ENTRIES).map(copy)),
            true => self.waiting.extend(range.rev().take(SCAN_ENTRIES).map(copy)),
        }
        if let Some((last, _)) = self.waiting.back() {
            let rest = if self.reverse { &mut self.to } else { &mut self.from };
            *rest = Bound::Excluded(last.clone());
        }
    }

    /// Whether the bounds leave nothing between them; a sorted map does not take such bounds.
    fn is_over(&self) -> bool {
        match (&self.from, &self.to) {
            (Bound::Included(from), Bound::Included(to)) => from > to,
            (Bound::Included(from) | Bound::Excluded(from), Bound::Included(to) | Bound::Excluded(to)) => from >= to,
            (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        }
    }
}

impl Iterator for Scan<'_> {
    type Item = (Key, Option<Bytes>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.waiting.is_empty() {
            self.copy_some();
        }
        self.waiting.pop_front()
    }
}

/// The first of the changes of each key.
fn first_of_each<'a>(changes: impl Iterator<Item = Change> + 'a) -> impl Iterator<Item = Change> + 'a {
    let mut last = None;
    changes.filter(move |(key, _)| {
        let first = last.as_ref() != Some(key);
        last = Some(key.clone());
        first
    })
}

/// The last of the changes of each key.
fn last_of_each<'a>(changes: impl Iterator<Item = Change> + 'a) -> impl Iterator<Item = Change> + 'a {
    let mut changes = changes.peekable();
    std::iter::from_fn(move || {
        let mut change = changes.next()?;
        while let Some(newer) = changes.next_if(|(key, _)| *key == change.0) {
            change = newer;
        }
        Some(change)
    })
}

/// Both in the order of keys; where both know a key, `newer` counts.
pub(super) fn merge<'a>(mut newer: Changes<'a>, mut older: Changes<'a>, reverse: bool) -> Changes<'a> {
    if newer.peek().is_none() {
        return older;
    }
    if older.peek().is_none() {
        return newer;
    }
    let merged = std::iter::from_fn(move || {
        let (Some((first, _)), Some((second, _))) = (newer.peek(), older.peek()) else {
            return newer.next().or_else(|| older.next());
        };
        let order = if reverse { second.cmp(first) } else { first.cmp(second) };
        if order.is_eq() {
            older.next();
        }
        if order.is_le() { newer.next() } else { older.next() }
    });
    let merged: Box<dyn Iterator<Item = Change>> = Box::new(merged);
    merged.peekable()
}
