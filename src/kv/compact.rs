//! Compaction: a command moves the mark, below which reads are refused; a background job removes what the mark let go.
//!
//! The mark at revision C keeps, of every key, what it was at C, and all changes from C on. Removal follows the history from
//! where it last stopped: each change up to C makes the key's change before it superfluous, and a deletion before C itself.

use std::ops::{Bound, ControlFlow};

use bytes::Bytes;

use super::error::KvError;
use super::layout::{self, At, Head};
use super::state::{Marks, State, slot};
use super::tables::{Table, Tables, TablesError, TablesMut, try_scan};
use super::types::Space;

/// Moves the mark of a space. Written to the tables by the command that does it.
pub(super) fn mark(state: &mut State, space: Space, revision: i64) -> Result<(), KvError> {
    let compacted = state.marks.compacted(space);
    if revision <= compacted {
        return Err(KvError::Compacted { revision: compacted });
    }
    if revision > state.marks.revision(space) {
        return Err(KvError::FutureRevision);
    }
    state.marks.compacted[slot(space)] = revision;
    Ok(())
}

/// What one step of removal did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CompactStep {
    /// Changes looked at.
    pub seen: usize,
    /// Records removed.
    pub removed: usize,
    /// Whether there is more to do up to the mark.
    pub more: bool,
}

/// Removes what the space's mark let go, looking at no more than about `max` changes (a revision is not split).
///
/// Remembers in the tables where it stopped. Changes nothing that can still be read, so members may differ in when they do it.
pub fn compact_step(tables: &mut dyn TablesMut, space: Space, max: usize) -> Result<CompactStep, TablesError> {
    let mark = Marks::load(tables)?.compacted(space);
    let through = compacted_through(tables, space)?;
    let mut step = CompactStep::default();
    if through >= mark {
        return Ok(step);
    }
    let batch = changes(tables, space, through, mark, max)?;
    step.more = batch.more;
    step.seen = batch.changes.len();
    for (at, record) in &batch.changes {
        step.removed += remove(tables, space, mark, *at, record)?;
    }
    let reached = if batch.more { batch.reached } else { mark };
    tables.put(Table::Meta, layout::meta_compacted_through(space), &reached.to_be_bytes())?;
    Ok(step)
}

/// The revision whose changes were looked at last.
fn compacted_through<T: Tables + ?Sized>(tables: &T, space: Space) -> Result<i64, TablesError> {
    match tables.get(Table::Meta, layout::meta_compacted_through(space))? {
        Some(bytes) => bytes[..]
            .try_into()
            .map(i64::from_be_bytes)
            .map_err(|_| TablesError("the compaction progress is damaged: restore this member".to_owned())),
        None => Ok(0),
    }
}

struct Batch {
    changes: Vec<(At, Bytes)>,
    /// The last revision in it, complete.
    reached: i64,
    more: bool,
}

/// The changes from revision `from` (again, for deletions that were at the last mark) to `to`, both inclusive.
fn changes<T: Tables + ?Sized>(tables: &T, space: Space, from: i64, to: i64, max: usize) -> Result<Batch, TablesError> {
    let first = layout::change_key(space, At { main: from, sub: 0 });
    let end = layout::change_key(space, At { main: to.saturating_add(1), sub: 0 });
    let mut batch = Batch { changes: Vec::new(), reached: from, more: false };
    try_scan(tables, Table::Revisions, Bound::Included(&first), Bound::Excluded(&end), |key, record| {
        let at = layout::change_at(key)?;
        // Past the first revision, which the step before has seen, so that each step gets on.
        if batch.changes.len() >= max && at.main > batch.reached && batch.reached > from {
            batch.more = true;
            return Ok(ControlFlow::Break(()));
        }
        batch.reached = at.main;
        batch.changes.push((at, Bytes::copy_from_slice(record)));
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(batch)
}

/// Removes what the change at `at` makes superfluous. Returns how many records went.
fn remove(tables: &mut dyn TablesMut, space: Space, mark: i64, at: At, record: &[u8]) -> Result<usize, TablesError> {
    let change = layout::decode_change(record)?;
    let mut removed = 0;
    if let Some(prev) = change.prev {
        let key = layout::change_key(space, prev);
        if tables.get(Table::Revisions, &key)?.is_some() {
            tables.delete(Table::Revisions, &key)?;
            removed += 1;
        }
    }
    if at.main >= mark {
        return Ok(removed);
    }
    if space == Space::User {
        tables.delete(Table::V2Index, &change.v2_modified.to_be_bytes())?;
    }
    if change.version == 0 {
        tables.delete(Table::Revisions, &layout::change_key(space, at))?;
        removed += 1;
        if layout::head(tables, space, change.key)?.is_some_and(|head: Head| head.at == at) {
            tables.delete(Table::Keys, &layout::head_key(space, change.key))?;
        }
    }
    Ok(removed)
}
