//! Tables that are written at their end, in the file: many entries in one record.
//!
//! redb halves a full page, so that a table which only grows at its end fills its pages by half; and each insertion costs a
//! walk through the tree. So entries of such tables lie in blocks: the block's key is its first entry's, its value all
//! its entries in order, each length of the key `u16`, length of the value `u32`, key, value, integers little-endian.

use std::ops::Bound;

use bytes::Bytes;
use redb::{AccessGuard, ReadableTable, Table as Open};

use super::memtable::{Change, Changes};
use crate::kv::Table;

/// A block's bytes: what a page of 16 KiB takes, less what redb keeps there itself.
const BLOCK_BYTES: usize = (16 << 10) - 128;
const HEAD_BYTES: usize = 6;

type Entry = (Bytes, Bytes);

/// Whether the table lies in blocks.
pub(super) fn in_blocks(table: Table) -> bool {
    matches!(table, Table::Revisions | Table::V2Index)
}

/// A block that does not read as one.
fn malformed() -> redb::Error {
    redb::Error::Corrupted("a block of entries is malformed".to_owned())
}

/// The entries of a block, in order; an error where it is malformed.
pub(super) fn entries(block: &[u8]) -> impl Iterator<Item = Result<(&[u8], &[u8]), redb::Error>> {
    let mut rest = block;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let entry = take(&mut rest).ok_or_else(malformed);
        if entry.is_err() {
            rest = &[];
        }
        Some(entry)
    })
}

fn take<'a>(rest: &mut &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
    let (head, tail) = rest.split_at_checked(HEAD_BYTES)?;
    let key = usize::from(u16::from_le_bytes(head[..2].try_into().ok()?));
    let value = usize::try_from(u32::from_le_bytes(head[2..].try_into().ok()?)).ok()?;
    let (key, tail) = tail.split_at_checked(key)?;
    let (value, tail) = tail.split_at_checked(value)?;
    *rest = tail;
    Some((key, value))
}

fn size(key: &[u8], value: &[u8]) -> usize {
    HEAD_BYTES + key.len() + value.len()
}

/// A record of the file: a block's first key, and the block.
type Record<'a> = (AccessGuard<'a, &'static [u8]>, AccessGuard<'a, &'static [u8]>);

/// The block that holds `key` if it is in the table.
fn find<'a>(
    table: &'a impl ReadableTable<&'static [u8], &'static [u8]>,
    key: &[u8],
) -> Result<Option<Record<'a>>, redb::Error> {
    Ok(table.range::<&[u8]>((Bound::Unbounded, Bound::Included(key)))?.next_back().transpose()?)
}

/// The key of the block that holds `key` if it is in the table.
pub(super) fn block_of(
    table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    key: &[u8],
) -> Result<Option<Bytes>, redb::Error> {
    Ok(find(table, key)?.map(|(first, _)| Bytes::copy_from_slice(first.value())))
}

/// The value at `key`.
pub(super) fn get(
    table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    key: &[u8],
) -> Result<Option<Bytes>, redb::Error> {
    let Some((_, block)) = find(table, key)? else {
        return Ok(None);
    };
    for entry in entries(block.value()) {
        let (found, value) = entry?;
        if found >= key {
            return Ok((found == key).then(|| Bytes::copy_from_slice(value)));
        }
    }
    Ok(None)
}

/// Writes changes, which are in ascending order. Returns by how many bytes the entries grew.
pub(super) fn write(
    open: &mut Open<'_, &'static [u8], &'static [u8]>,
    mut changes: Changes<'_>,
) -> Result<i64, redb::Error> {
    let mut grown = 0;
    while let Some((first, _)) = changes.peek() {
        let copied =
            |(key, value): Record<'_>| (Bytes::copy_from_slice(key.value()), Bytes::copy_from_slice(value.value()));
        let block = find(open, first)?.map(copied);
        let next = open.range::<&[u8]>((Bound::Excluded(&first[..]), Bound::Unbounded))?.next().transpose()?;
        let next = next.map(|(key, _)| Bytes::copy_from_slice(key.value()));
        let mut old = Vec::new();
        if let Some((key, block)) = &block {
            for entry in entries(block) {
                let (key, value) = entry?;
                grown -= (key.len() + value.len()) as i64;
                old.push((block.slice_ref(key), block.slice_ref(value)));
            }
            open.remove(&key[..])?;
        }
        let of_block = std::iter::from_fn(|| changes.next_if(|(key, _)| next.as_ref().is_none_or(|next| key < next)));
        grown += write_entries(open, merged(old, of_block))?;
    }
    Ok(grown)
}

/// A block's entries after the changes, both in order.
fn merged(old: Vec<Entry>, changes: impl Iterator<Item = Change>) -> impl Iterator<Item = Entry> {
    let (mut old, mut changes) = (old.into_iter().peekable(), changes.peekable());
    std::iter::from_fn(move || {
        loop {
            let changed = match (old.peek(), changes.peek()) {
                (_, None) => return old.next(),
                (Some((present, _)), Some((key, _))) if present < key => return old.next(),
                (Some((present, _)), Some((key, _))) => present == key,
                (None, Some(_)) => false,
            };
            if changed {
                old.next();
            }
            let (key, change) = changes.next()?;
            if let Some(value) = change {
                return Some((key, value));
            }
        }
    })
}

/// Writes entries as blocks. Returns the bytes of their keys and values.
fn write_entries(
    open: &mut Open<'_, &'static [u8], &'static [u8]>,
    entries: impl Iterator<Item = Entry>,
) -> Result<i64, redb::Error> {
    let mut bytes = 0;
    let mut first = Bytes::new();
    let mut block = Vec::new();
    for (key, value) in entries {
        if !block.is_empty() && block.len() + size(&key, &value) > BLOCK_BYTES {
            open.insert(&first[..], block.as_slice())?;
            block.clear();
        }
        if block.is_empty() {
            first = key.clone();
        }
        bytes += (key.len() + value.len()) as i64;
        block.extend_from_slice(&u16::try_from(key.len()).map_err(|_| malformed())?.to_le_bytes());
        block.extend_from_slice(&u32::try_from(value.len()).map_err(|_| malformed())?.to_le_bytes());
        block.extend_from_slice(&key);
        block.extend_from_slice(&value);
    }
    if !block.is_empty() {
        open.insert(&first[..], block.as_slice())?;
    }
    Ok(bytes)
}
