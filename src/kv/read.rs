//! Ranges: the newest state and any revision that is not compacted.

use std::cmp::Reverse;
use std::ops::ControlFlow;

use bytes::Bytes;

use super::command::Position;
use super::error::KvError;
use super::layout::{self, Head};
use super::state::Marks;
use super::stop::{self, Stop};
use super::tables::{Table, Tables, TablesError, try_scan};
use super::types::{KeyValue, RangeReply, RangeRequest, SortOrder, SortTarget};

/// Carries out a range on one moment of the tables; the position is that moment's.
pub fn range(
    tables: &dyn Tables,
    request: &RangeRequest,
) -> Result<Result<(Position, RangeReply), KvError>, TablesError> {
    let marks = Marks::load(tables)?;
    let read = check(&marks, request).map_err(Stop::from).and_then(|()| Ok(read(tables, request)?));
    Ok(stop::split(read)?.map(|reply| (marks.position(), reply)))
}

/// Whether the range can be read at all.
pub(super) fn check(marks: &Marks, request: &RangeRequest) -> Result<(), KvError> {
    if request.key.is_empty() {
        return Err(KvError::EmptyKey);
    }
    let compacted = marks.compacted(request.space);
    if request.revision > marks.revision(request.space) {
        return Err(KvError::FutureRevision);
    }
    if request.revision > 0 && request.revision < compacted {
        return Err(KvError::Compacted { revision: compacted });
    }
    Ok(())
}

/// A key that a range found: its numbers, and its value as far as it had to be looked up.
struct Found {
    key: Bytes,
    head: Head,
    value: Option<KeyValue>,
}

/// Carries out a range that has passed [`check`].
pub(super) fn read<T: Tables + ?Sized>(tables: &T, request: &RangeRequest) -> Result<RangeReply, TablesError> {
    let (mut found, count) =
        if request.revision > 0 { collect_past(tables, request)? } else { collect(tables, request)? };
    let mut reply = RangeReply { count, ..RangeReply::default() };
    if request.count_only {
        return Ok(reply);
    }
    if request.sort_target == SortTarget::Value {
        for entry in &mut found {
            look_up(tables, request, entry)?;
        }
    }
    sort(request, &mut found);
    if let Some(limit) = limit(request) {
        reply.more = found.len() > limit;
        found.truncate(limit);
    }
    reply.kvs.reserve_exact(found.len());
    for mut entry in found {
        reply.kvs.push(finish(tables, request, &mut entry)?);
    }
    Ok(reply)
}

/// The request's limit, if it has one.
fn limit(request: &RangeRequest) -> Option<usize> {
    usize::try_from(request.limit).ok().filter(|limit| *limit > 0)
}

/// How many entries need to be kept of a scan in the order of keys.
fn needed(request: &RangeRequest) -> usize {
    let in_scan_order = request.sort_target == SortTarget::Key && request.sort_order != SortOrder::Descend;
    match limit(request) {
        _ if request.count_only => 0,
        Some(limit) if in_scan_order => limit.saturating_add(1),
        _ => usize::MAX,
    }
}

/// The live keys of the newest revision that pass the filters, up to what is needed, and the total in the range.
fn collect<T: Tables + ?Sized>(tables: &T, request: &RangeRequest) -> Result<(Vec<Found>, i64), TablesError> {
    let mut found = Vec::new();
    let mut count = 0;
    let needed = needed(request);
    scan_heads(tables, request, &mut |key, head| {
        if head.live() {
            count += 1;
            if found.len() < needed && passes(request, &head) {
                found.push(Found { key: Bytes::copy_from_slice(key), head, value: None });
            }
        }
    })?;
    Ok((found, count))
}

/// As [`collect`], at `request.revision`.
fn collect_past<T: Tables + ?Sized>(tables: &T, request: &RangeRequest) -> Result<(Vec<Found>, i64), TablesError> {
    let mut heads = Vec::new();
    scan_heads(tables, request, &mut |key, head| {
        heads.push((Bytes::copy_from_slice(key), head));
    })?;
    let mut found = Vec::new();
    let mut count = 0;
    let needed = needed(request);
    for (key, head) in heads {
        let Some((head, value)) = head_at(tables, request, head)? else {
            continue;
        };
        count += 1;
        if found.len() < needed && passes(request, &head) {
            found.push(Found { key, head, value });
        }
    }
    Ok((found, count))
}

/// Follows a key's chain of changes back to the request's revision. `None`: the key did not exist then.
fn head_at<T: Tables + ?Sized>(
    tables: &T,
    request: &RangeRequest,
    head: Head,
) -> Result<Option<(Head, Option<KeyValue>)>, TablesError> {
    if head.at.main <= request.revision {
        return Ok(head.live().then_some((head, None)));
    }
    let mut next = Some(head.at);
    while let Some(at) = next {
        let Some(record) = layout::change_record(tables, request.space, at)? else {
            return Ok(None);
        };
        let change = layout::decode_change(&record)?;
        if at.main > request.revision {
            next = change.prev;
            continue;
        }
        let kv = change.event(request.space, at, &record).kv;
        let head = Head::of(at, &kv);
        return Ok(head.live().then_some((head, Some(kv))));
    }
    Ok(None)
}

/// Calls `visit` for each key of the request's range that the tables know, deleted ones included, in the order of keys.
fn scan_heads<T: Tables + ?Sized>(
    tables: &T,
    request: &RangeRequest,
    visit: &mut dyn FnMut(&[u8], Head),
) -> Result<(), TablesError> {
    if request.range_end.is_empty() {
        if let Some(head) = layout::head(tables, request.space, &request.key)? {
            visit(&request.key, head);
        }
        return Ok(());
    }
    let Some((from, to)) = layout::key_bounds(request.space, &request.key, &request.range_end) else {
        return Ok(());
    };
    try_scan(tables, Table::Keys, layout::as_slice(&from), layout::as_slice(&to), |key, value| {
        visit(&key[1..], layout::decode(value, "a record of table keys")?);
        Ok(ControlFlow::Continue(()))
    })
}

/// Whether a key is within the request's bounds on revisions.
fn passes(request: &RangeRequest, head: &Head) -> bool {
    let within = |value: i64, min: i64, max: i64| (min == 0 || value >= min) && (max == 0 || value <= max);
    within(head.at.main, request.min_mod_revision, request.max_mod_revision)
        && within(head.create, request.min_create_revision, request.max_create_revision)
}

/// Sorts what was found in the order of keys as the request asks. Equals stay in the order of their keys, downwards too.
fn sort(request: &RangeRequest, found: &mut [Found]) {
    fn by<K: Ord>(found: &mut [Found], down: bool, key: impl Fn(&Found) -> K) {
        match down {
            false => found.sort_by_cached_key(key),
            true => found.sort_by_cached_key(|entry| Reverse(key(entry))),
        }
    }
    let down = request.sort_order == SortOrder::Descend;
    match request.sort_target {
        SortTarget::Key if down => found.reverse(),
        SortTarget::Key => {}
        SortTarget::Version => by(found, down, |entry| entry.head.version),
        SortTarget::Create => by(found, down, |entry| entry.head.create),
        SortTarget::Mod => by(found, down, |entry| entry.head.at.main),
        SortTarget::Value => by(found, down, |entry| entry.value.as_ref().map(|kv| kv.value.clone())),
    }
}

/// Reads an entry's value if it is not there yet.
fn look_up<T: Tables + ?Sized>(tables: &T, request: &RangeRequest, entry: &mut Found) -> Result<(), TablesError> {
    if entry.value.is_none() {
        entry.value = layout::value_at(tables, request.space, entry.head.at)?;
    }
    Ok(())
}

/// The entry as the reply shows it.
fn finish<T: Tables + ?Sized>(tables: &T, request: &RangeRequest, entry: &mut Found) -> Result<KeyValue, TablesError> {
    if request.keys_only {
        return Ok(KeyValue {
            key: std::mem::take(&mut entry.key),
            value: Bytes::new(),
            create_revision: entry.head.create,
            mod_revision: entry.head.at.main,
            version: entry.head.version,
            lease: entry.head.lease,
            v2_created: entry.head.v2_created,
            v2_modified: entry.head.v2_modified,
        });
    }
    look_up(tables, request, entry)?;
    entry.value.take().ok_or_else(|| {
        TablesError(format!("revision {} of a key is missing: restore this member from its peers", entry.head.at.main))
    })
}

/// The live keys in a range, in their order.
pub(super) fn live_keys<T: Tables + ?Sized>(tables: &T, request: &RangeRequest) -> Result<Vec<Bytes>, TablesError> {
    let (found, _) = collect(tables, request)?;
    Ok(found.into_iter().map(|entry| entry.key).collect())
}
