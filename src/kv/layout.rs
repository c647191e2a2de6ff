//! What the tables hold, byte by byte. Nothing outside this room reads or writes these bytes.
//!
//! | table | key | value |
//! | --- | --- | --- |
//! | `Revisions` | space `u8`, main `u64`, sub `u32` | [`Change`]: the key, its value and numbers, where its change before stands, its v2 note, when and by whom it was made |
//! | `Keys` | space `u8`, key | [`Head`]: where the key's newest change stands, with all its numbers but without its value |
//! | `V2Index` | index `u64` | main revision `u64` of the user space that took it |
//! | `V2Directories` | path | `v2::directories::Directory` |
//! | `Leases` | id `i64` | [`LeaseRecord`] |
//! | `LeaseKeys` | id `i64`, space `u8`, key | nothing |
//! | `Members` | id `u64` | [`Member`](super::Member) |
//! | `Auth` | `m` | `auth::Marks`: whether users are asked for, the auth revision |
//! | `Auth` | `u`, name | [`User`](super::auth::User) |
//! | `Auth` | `r`, name | [`Role`](super::auth::Role) |
//! | `Meta` | `marks` | `state::Marks`: revisions, compaction marks, v2 index, log position, checksum |
//! | `Meta` | `timeline-`, space `u8`, main `u64` | `timeline::Sample`: when the revision was taken, and sizes by then |
//! | `Meta` | `alarms` | the alarms that are raised |
//! | `Meta` | `compacted-through-SPACE` | main `u64` up to which the space's compaction has removed what it may |
//!
//! Integers in keys are big-endian, so that tables are in the order of their numbers. Records are a version byte,
//! postcard and a CRC-32, so that a value that the disk has changed is never served. A read of the newest is a scan of `Keys` and one lookup in `Revisions` for each value; a read of the past
//! walks each key's chain of changes back to its revision. A deleted key keeps its `Head` (version 0) until compaction.

use std::ops::Bound;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::tables::{Table, Tables, TablesError};
use super::timeline::change_bytes;
use super::types::{Event, EventKind, KeyValue, Lease, Made, Space, V2Action, V2Note};
use crate::base::{LeaseId, UnixMillis};

/// First byte of every record. Another one is refused.
const RECORD_VERSION: u8 = 1;

/// Key of the counters in `Meta`.
pub(super) const META_MARKS: &[u8] = b"marks";

/// Where a change stands in the history of its space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct At {
    pub main: i64,
    pub sub: u32,
}

/// Newest state of a key, without its value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    pub at: At,
    pub create: i64,
    /// 0: the key is deleted.
    pub version: i64,
    pub lease: LeaseId,
    pub v2_created: u64,
    pub v2_modified: u64,
    /// Bytes of the key and its value, as the sizes of history count them; 0: the key is deleted.
    pub bytes: u64,
}

/// One change of one key. `B` is [`Bytes`] to write and `&[u8]` to read without copies.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Change<B> {
    pub key: B,
    pub value: B,
    pub create: i64,
    /// 0: the key was deleted.
    pub version: i64,
    pub lease: LeaseId,
    pub v2_created: u64,
    pub v2_modified: u64,
    /// The key's change before this one, deletions included.
    pub prev: Option<At>,
    pub note: Option<StoredNote<B>>,
    /// Never before that of the change before it, of any key.
    pub stamp: UnixMillis,
    /// A user's name.
    pub author: Option<B>,
}

/// [`V2Note`] without what the change itself tells.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct StoredNote<B> {
    pub action: V2Action,
    /// `None`: the key itself.
    pub path: Option<B>,
    pub dir: bool,
    pub silent: bool,
    pub created: u64,
    pub expiration: Option<(UnixMillis, i64)>,
    pub prev_expiration: Option<(UnixMillis, i64)>,
}

/// A lease, and for those that v2 made, when it ends: v2's ends are fixed by the write, v3's move with keep-alives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRecord {
    pub lease: Lease,
    /// `None` for leases of the v3 API.
    pub ends: Option<UnixMillis>,
    /// What it still had when that was last noted; a new leader goes on from there. `None`: its full time.
    pub left_ms: Option<i64>,
}

impl Head {
    /// What the change at `at` makes of a key.
    pub(super) fn of(at: At, kv: &KeyValue) -> Self {
        Self {
            at,
            create: kv.create_revision,
            version: kv.version,
            lease: kv.lease,
            v2_created: kv.v2_created,
            v2_modified: kv.v2_modified,
            bytes: if kv.version > 0 { change_bytes(&kv.key, &kv.value) } else { 0 },
        }
    }

    pub(super) fn live(&self) -> bool {
        self.version > 0
    }
}

impl Change<&[u8]> {
    /// The key and value after the change; `record` is what the change was read from.
    fn key_value(&self, at: At, record: &Bytes) -> KeyValue {
        KeyValue {
            key: record.slice_ref(self.key),
            value: record.slice_ref(self.value),
            create_revision: self.create,
            mod_revision: at.main,
            version: self.version,
            lease: self.lease,
            v2_created: self.v2_created,
            v2_modified: self.v2_modified,
        }
    }

    /// The change as an event, without `prev`.
    pub(super) fn event(&self, space: Space, at: At, record: &Bytes) -> Event {
        let kind = if self.version > 0 { EventKind::Put } else { EventKind::Delete };
        let note = self.note.as_ref().map(|note| V2Note {
            action: note.action,
            index: self.v2_modified,
            path: record.slice_ref(note.path.unwrap_or(self.key)),
            dir: note.dir,
            silent: note.silent,
            created: note.created,
            expiration: note.expiration,
            prev_expiration: note.prev_expiration,
        });
        let author = self.author.map(|author| String::from_utf8_lossy(author).into());
        let made = Some(Made { at: self.stamp, author });
        Event { space, kind, kv: self.key_value(at, record), prev: None, v2: note, made }
    }
}

/// A record as bytes: version byte, postcard, CRC-32 of both.
pub(super) fn encode<T: Serialize>(record: &T) -> Result<Vec<u8>, TablesError> {
    let mut out = Vec::with_capacity(96);
    out.push(RECORD_VERSION);
    let mut out = postcard::to_extend(record, out)
        .map_err(|error| TablesError(format!("a record cannot be encoded: {error}")))?;
    let crc = crc32fast::hash(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    Ok(out)
}

/// Reads what [`encode`] wrote. `what` names the record in the error.
pub(super) fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8], what: &str) -> Result<T, TablesError> {
    let damaged = |cause: &str| TablesError(format!("{what} is damaged ({cause}): restore this member from its peers"));
    let (record, crc) = bytes.split_last_chunk().ok_or_else(|| damaged("cut short"))?;
    if crc32fast::hash(record) != u32::from_le_bytes(*crc) {
        return Err(damaged("wrong checksum"));
    }
    match record.split_first() {
        Some((&RECORD_VERSION, body)) => postcard::from_bytes(body).map_err(|error| damaged(&error.to_string())),
        Some((version, _)) => Err(TablesError(format!(
            "{what} has format {version}, this program knows {RECORD_VERSION}: use the program that wrote it"
        ))),
        None => Err(damaged("empty")),
    }
}

fn space_byte(space: Space) -> u8 {
    match space {
        Space::User => 0,
        Space::System => 1,
    }
}

/// Key of `Keys`.
pub(super) fn head_key(space: Space, key: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 + key.len());
    out.push(space_byte(space));
    out.extend_from_slice(key);
    out
}

/// Key of `Revisions`.
pub(super) fn change_key(space: Space, at: At) -> [u8; 13] {
    let mut out = [0; 13];
    out[0] = space_byte(space);
    out[1..9].copy_from_slice(&at.main.to_be_bytes());
    out[9..].copy_from_slice(&at.sub.to_be_bytes());
    out
}

/// Reads back [`change_key`].
pub(super) fn change_at(key: &[u8]) -> Result<At, TablesError> {
    let damaged = || TablesError("a key of table revisions is damaged".to_owned());
    let main = key.get(1..9).and_then(|b| b.try_into().ok());
    let sub = key.get(9..13).and_then(|b| b.try_into().ok());
    Ok(At { main: i64::from_be_bytes(main.ok_or_else(damaged)?), sub: u32::from_be_bytes(sub.ok_or_else(damaged)?) })
}

/// Key of `LeaseKeys`.
pub(super) fn lease_key(lease: LeaseId, space: Space, key: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(9 + key.len());
    out.extend_from_slice(&lease.0.to_be_bytes());
    out.push(space_byte(space));
    out.extend_from_slice(key);
    out
}

/// Reads back the space and key of [`lease_key`].
pub(super) fn lease_key_parts(stored: &[u8]) -> Result<(Space, &[u8]), TablesError> {
    match stored.get(8..).and_then(<[u8]>::split_first) {
        Some((0, key)) => Ok((Space::User, key)),
        Some((1, key)) => Ok((Space::System, key)),
        _ => Err(TablesError("a key of table lease-keys is damaged".to_owned())),
    }
}

/// Key in `Meta` of the revision up to which `space` is physically compacted.
pub(super) fn meta_compacted_through(space: Space) -> &'static [u8] {
    match space {
        Space::User => b"compacted-through-user",
        Space::System => b"compacted-through-system",
    }
}

/// Bounds of a range in `Keys`.
pub(super) type KeyBounds = (Bound<Vec<u8>>, Bound<Vec<u8>>);

/// Where in `Keys` the range of a request lies; `None` if it holds no key. `range_end`: empty is the key alone, `\0` everything from it on.
pub(super) fn key_bounds(space: Space, key: &[u8], range_end: &[u8]) -> Option<KeyBounds> {
    let from = head_key(space, key);
    match range_end {
        [] => Some((Bound::Included(from.clone()), Bound::Included(from))),
        [0] => Some((Bound::Included(from), Bound::Excluded(vec![space_byte(space) + 1]))),
        end if end <= key => None,
        end => Some((Bound::Included(from), Bound::Excluded(head_key(space, end)))),
    }
}

/// Borrows a bound.
pub(super) fn as_slice(bound: &Bound<Vec<u8>>) -> Bound<&[u8]> {
    match bound {
        Bound::Included(key) => Bound::Included(key),
        Bound::Excluded(key) => Bound::Excluded(key),
        Bound::Unbounded => Bound::Unbounded,
    }
}

/// Whether `key` lies in the range of a request.
pub fn in_range(key: &[u8], from: &[u8], range_end: &[u8]) -> bool {
    match range_end {
        [] => key == from,
        [0] => key >= from,
        end => key >= from && key < end,
    }
}

/// The newest state of a key, deleted or not.
pub(super) fn head<T: Tables + ?Sized>(tables: &T, space: Space, key: &[u8]) -> Result<Option<Head>, TablesError> {
    match tables.get(Table::Keys, &head_key(space, key))? {
        Some(bytes) => Ok(Some(decode(&bytes, "a record of table keys")?)),
        None => Ok(None),
    }
}

/// The bytes of the change at `at`; `None` if compaction has removed it.
pub(super) fn change_record<T: Tables + ?Sized>(
    tables: &T,
    space: Space,
    at: At,
) -> Result<Option<Bytes>, TablesError> {
    tables.get(Table::Revisions, &change_key(space, at))
}

/// Reads a change from its bytes.
pub(super) fn decode_change(record: &[u8]) -> Result<Change<&[u8]>, TablesError> {
    decode(record, "a record of table revisions")
}

/// The key and value that the change at `at` left; `None` if it was a deletion or compaction has removed it.
pub(super) fn value_at<T: Tables + ?Sized>(tables: &T, space: Space, at: At) -> Result<Option<KeyValue>, TablesError> {
    let Some(record) = change_record(tables, space, at)? else {
        return Ok(None);
    };
    let change = decode_change(&record)?;
    Ok((change.version > 0).then(|| change.key_value(at, &record)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_changed_or_cut_record_is_refused() {
        let head = Head { version: 7, lease: LeaseId(9), ..Head::default() };
        let bytes = encode(&head).unwrap();
        assert_eq!(decode::<Head>(&bytes, "it"), Ok(head));
        for at in 0..bytes.len() {
            assert!(decode::<Head>(&bytes[..at], "it").is_err(), "cut at {at}");
            for bit in 0..8 {
                let mut bytes = bytes.clone();
                bytes[at] ^= 1 << bit;
                assert!(decode::<Head>(&bytes, "it").is_err(), "bit {bit} of byte {at}");
            }
        }
        let mut other = bytes[..bytes.len() - 4].to_vec();
        other[0] = RECORD_VERSION + 1;
        other.extend_from_slice(&crc32fast::hash(&other).to_le_bytes());
        let error = decode::<Head>(&other, "it").unwrap_err().to_string();
        assert!(error.contains("it has format 2, this program knows 1"), "{error}");
    }
}
