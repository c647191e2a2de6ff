//! History: the changes from a revision on, in order, for watches that start in the past or fell behind.

use std::ops::{Bound, ControlFlow};

use bytes::Bytes;

use super::layout::{self, At, in_range};
use super::state::Marks;
use super::tables::{Table, Tables, TablesError, try_scan};
use super::types::{Event, Space};

/// Which changes to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryRequest {
    pub space: Space,
    /// Key or range, as in a range request.
    pub key: Bytes,
    pub range_end: Bytes,
    /// The first revision, inclusive.
    pub from_revision: i64,
    /// Stop at the end of the revision with which this many events are found.
    pub events_max: usize,
    /// Stop at the end of the revision with which so many bytes of their keys and values are found.
    pub bytes_max: usize,
    /// Stop at the end of the revision with which this many changes of any key are seen.
    pub changes_max: usize,
}

/// A part of the history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// In order; no revision is split.
    pub events: Vec<Event>,
    /// Everything up to this revision, inclusive, has been read.
    pub through: i64,
    /// The newest revision at that moment; the history is complete if `through` has reached it.
    pub newest: i64,
}

/// The history asked for is compacted; the oldest revision that can be watched is `compacted`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("required revision has been compacted (compacted to {compacted})")]
pub struct HistoryCompacted {
    pub compacted: i64,
}

/// Reads a part of the history on one moment of the tables. `prev` of an event is missing where the revision before it is compacted.
pub fn history(
    tables: &dyn Tables,
    request: &HistoryRequest,
) -> Result<Result<History, HistoryCompacted>, TablesError> {
    let marks = Marks::load(tables)?;
    let compacted = marks.compacted(request.space);
    if request.from_revision < compacted {
        return Ok(Err(HistoryCompacted { compacted }));
    }
    let newest = marks.revision(request.space);
    let mut found =
        History { events: Vec::new(), through: newest.max(request.from_revision.saturating_sub(1)), newest };
    let changes = select(tables, request, &mut found)?;
    for (at, record) in changes {
        let change = layout::decode_change(&record)?;
        let mut event = change.event(request.space, at, &record);
        if let Some(prev) = change.prev
            && at.main > compacted
        {
            event.prev = layout::value_at(tables, request.space, prev)?;
        }
        found.events.push(event);
    }
    Ok(Ok(found))
}

/// The records of the changes in question; sets `through` if it had to stop before the newest revision.
fn select(tables: &dyn Tables, request: &HistoryRequest, found: &mut History) -> Result<Vec<(At, Bytes)>, TablesError> {
    let at = |main| At { main, sub: 0 };
    let from = layout::change_key(request.space, at(request.from_revision.max(0)));
    let end = layout::change_key(request.space, at(i64::MAX));
    let mut selected: Vec<(At, Bytes)> = Vec::new();
    let (mut seen, mut bytes) = (0, 0);
    let mut last = 0;
    try_scan(tables, Table::Revisions, Bound::Included(&from), Bound::Excluded(&end), |key, record| {
        let (at, change) = (layout::change_at(key)?, layout::decode_change(record)?);
        let full = selected.len() >= request.events_max || bytes >= request.bytes_max || seen >= request.changes_max;
        if full && at.main > last && seen > 0 {
            found.through = at.main - 1;
            return Ok(ControlFlow::Break(()));
        }
        last = at.main;
        seen += 1;
        if in_range(change.key, &request.key, &request.range_end) {
            bytes += record.len();
            selected.push((at, Bytes::copy_from_slice(record)));
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(selected)
}

/// Where a v2 index lies in the history of the user space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexPlace {
    /// Changes with this index or a later one begin at this revision.
    Revision(i64),
    /// The index is not taken yet; a watch waits for it.
    Future,
    /// Compacted. `oldest` is the oldest index that is still known.
    Cleared { oldest: u64 },
}

/// The first revision with changes of v2 index `index` or later.
pub fn revision_of_index(tables: &dyn Tables, index: u64) -> Result<IndexPlace, TablesError> {
    let marks = Marks::load(tables)?;
    if index > marks.v2_index {
        return Ok(IndexPlace::Future);
    }
    let compacted = marks.compacted(Space::User);
    let mut place = IndexPlace::Future;
    try_scan(tables, Table::V2Index, Bound::Included(&index.to_be_bytes()), Bound::Unbounded, |_, main| {
        let main = main.try_into().map_err(|_| TablesError("a record of table v2-index is damaged".to_owned()))?;
        place = IndexPlace::Revision(i64::from_be_bytes(main));
        Ok(ControlFlow::Break(()))
    })?;
    if compacted == 0 {
        return Ok(place);
    }
    let oldest = oldest_index(tables, compacted)?.unwrap_or(marks.v2_index + 1);
    Ok(if index < oldest { IndexPlace::Cleared { oldest } } else { place })
}

/// The v2 index of the first change at or after revision `from` of the user space.
fn oldest_index(tables: &dyn Tables, from: i64) -> Result<Option<u64>, TablesError> {
    let mut oldest = None;
    let from = layout::change_key(Space::User, At { main: from, sub: 0 });
    let end = layout::change_key(Space::User, At { main: i64::MAX, sub: 0 });
    try_scan(tables, Table::Revisions, Bound::Included(&from), Bound::Excluded(&end), |_, record| {
        oldest = Some(layout::decode_change(record)?.v2_modified);
        Ok(ControlFlow::Break(()))
    })?;
    Ok(oldest)
}
