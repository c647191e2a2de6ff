//! Snapshots as a stream: every table in checked chunks, so that a damaged or cut copy is refused as a whole.
//!
//! Layout, integers little-endian: the header `corenode-state` and a version byte; then chunks of length `u32`, CRC-32 `u32`
//! and that many bytes. The first byte of a chunk says what it is: [`ENTRIES`], then the length and name of a table and its
//! entries, each key length `u32`, value length `u32`, key, value; or [`END`], then the number of entries `u64` and the
//! CRC-32 `u32` over the checksums of all chunks before.

use std::io::{Read, Write};
use std::ops::{Bound, ControlFlow};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use redb::WriteTransaction;

use super::database::{Database, definition};
use super::error::{DiskError, guarded};
use super::flush::{set_in_use, write};
use super::memtable::Change;
use super::reader::{Snapshot, View};
use crate::base::limits::{STATE_EXPORT_CHUNK_BYTES, STATE_EXPORT_CHUNK_BYTES_MAX};
use crate::kv::{Table, TablesError};

const MAGIC: &[u8; 14] = b"corenode-state";
const VERSION: u8 = 1;
const ENTRIES: u8 = 1;
const END: u8 = 2;

impl Database {
    /// Writes all tables of a snapshot to `out`. Flush the database first if the copy stands for the log before it.
    pub fn export(&self, snapshot: &Snapshot, out: &mut dyn Write) -> Result<(), DiskError> {
        let mut export = Export { out, entries: 0, total: crc32fast::Hasher::new() };
        export.raw(MAGIC)?;
        export.raw(&[VERSION])?;
        for table in Table::ALL {
            export.table(snapshot, table)?;
        }
        export.end()
    }

    /// Replaces all tables by what `source` holds, durably, in one transaction; readers see all of it or none.
    ///
    /// # Errors
    /// [`DiskError::Snapshot`] if it is damaged, cut or of another version. The tables are then as they were.
    pub fn import(&self, source: &mut dyn Read) -> Result<(), DiskError> {
        let _alone = self.inner.flushing.lock().unwrap_or_else(PoisonError::into_inner);
        let _turn = self.turn();
        let txn = self.inner.redb.begin_write().map_err(|error| self.explain("begin a write", error))?;
        for table in Table::ALL {
            txn.delete_table(definition(table))
                .and_then(|_| txn.open_table(definition(table)).map(drop))
                .map_err(|error| self.explain("clear a table", error))?;
        }
        let mut chunks = Chunks::begin(source)?;
        let mut bytes = 0;
        while let Some(chunk) = chunks.next()? {
            bytes += self.write_chunk(&txn, &mut chunks, &chunk.into())?;
        }
        set_in_use(&txn, bytes).map_err(|error| self.explain("write a table", error))?;
        self.finish(txn)?;
        self.inner.in_use.store(bytes, Ordering::Relaxed);
        let base = self.base()?;
        self.change_view(|view| *view = View { commit: view.commit + 1, active: Arc::default(), frozen: None, base });
        Ok(())
    }

    /// Writes a chunk's entries. Returns how many bytes they are.
    fn write_chunk(&self, txn: &WriteTransaction, chunks: &mut Chunks<'_>, chunk: &Bytes) -> Result<u64, DiskError> {
        let (table, mut rest) = chunks.table(chunk)?;
        let mut entries = Vec::new();
        while let Some((key, value)) = chunks.entry(&mut rest)? {
            entries.push((chunk.slice_ref(key), Some(chunk.slice_ref(value))));
        }
        let entries: Box<dyn Iterator<Item = Change>> = Box::new(entries.into_iter());
        let written = guarded(self.path(), || {
            write(txn, table, entries.peekable()).map_err(|error| self.explain("write a table", error))
        })?;
        Ok(u64::try_from(written).unwrap_or_default())
    }
}

/// What is called for each entry of a snapshot; an error ends the reading.
pub type SeeEntry<'a> = dyn FnMut(Table, &[u8], &[u8]) -> Result<(), TablesError> + 'a;

/// Reads the snapshot in `source` to its end, checks it and shows its entries, table by table in the order of keys. What was
/// shown is only to be believed once all is read.
///
/// # Errors
/// [`DiskError::Snapshot`] if it is damaged, cut or of another version, or what `visit` objects to.
pub fn read_snapshot(source: &mut dyn Read, visit: &mut SeeEntry<'_>) -> Result<(), DiskError> {
    let mut chunks = Chunks::begin(source)?;
    while let Some(chunk) = chunks.next()? {
        let (table, mut rest) = chunks.table(&chunk)?;
        while let Some((key, value)) = chunks.entry(&mut rest)? {
            visit(table, key, value).map_err(|error| chunks.damaged(&error.to_string()))?;
        }
    }
    Ok(())
}

struct Export<'a> {
    out: &'a mut dyn Write,
    entries: u64,
    total: crc32fast::Hasher,
}

impl Export<'_> {
    fn raw(&mut self, bytes: &[u8]) -> Result<(), DiskError> {
        self.out.write_all(bytes).map_err(|error| DiskError::Snapshot(format!("cannot be written: {error}")))
    }

    fn chunk(&mut self, chunk: &[u8]) -> Result<(), DiskError> {
        let crc = crc32fast::hash(chunk).to_le_bytes();
        self.total.update(&crc);
        self.raw(&(chunk.len() as u32).to_le_bytes())?;
        self.raw(&crc)?;
        self.raw(chunk)
    }

    fn table(&mut self, snapshot: &Snapshot, table: Table) -> Result<(), DiskError> {
        let mut head = vec![ENTRIES, table.name().len() as u8];
        head.extend_from_slice(table.name().as_bytes());
        let mut chunk = head.clone();
        snapshot.visit(table, Bound::Unbounded, Bound::Unbounded, false, &mut |key, value| {
            let size = 8 + key.len() + value.len();
            if chunk.len() > head.len() && chunk.len() + size > STATE_EXPORT_CHUNK_BYTES {
                self.chunk(&chunk)?;
                chunk.truncate(head.len());
            }
            chunk.extend_from_slice(&(key.len() as u32).to_le_bytes());
            chunk.extend_from_slice(&(value.len() as u32).to_le_bytes());
            chunk.extend_from_slice(key);
            chunk.extend_from_slice(value);
            self.entries += 1;
            Ok::<_, DiskError>(ControlFlow::Continue(()))
        })?;
        if chunk.len() > head.len() {
            self.chunk(&chunk)?;
        }
        Ok(())
    }

    fn end(mut self) -> Result<(), DiskError> {
        let mut chunk = vec![END];
        chunk.extend_from_slice(&self.entries.to_le_bytes());
        chunk.extend_from_slice(&self.total.clone().finalize().to_le_bytes());
        self.chunk(&chunk)?;
        self.out.flush().map_err(|error| DiskError::Snapshot(format!("cannot be written: {error}")))
    }
}

/// A snapshot that is being read, chunk by chunk.
struct Chunks<'a> {
    source: &'a mut dyn Read,
    entries: u64,
    total: crc32fast::Hasher,
}

impl<'a> Chunks<'a> {
    /// Reads the header.
    fn begin(source: &'a mut dyn Read) -> Result<Self, DiskError> {
        let mut this = Self { source, entries: 0, total: crc32fast::Hasher::new() };
        let mut header = [0; MAGIC.len() + 1];
        this.raw(&mut header)?;
        match header.split_last() {
            Some((&VERSION, magic)) if magic == MAGIC => Ok(this),
            Some((version, magic)) if magic == MAGIC => {
                Err(DiskError::Snapshot(format!("has format {version}, this program reads {VERSION}")))
            }
            _ => Err(DiskError::Snapshot("is not a corenode snapshot".to_owned())),
        }
    }

    fn raw(&mut self, bytes: &mut [u8]) -> Result<(), DiskError> {
        self.source.read_exact(bytes).map_err(|error| {
            DiskError::Snapshot(match error.kind() {
                std::io::ErrorKind::UnexpectedEof => {
                    format!("ends early, after {} entries", self.entries)
                }
                _ => format!("cannot be read: {error}"),
            })
        })
    }

    /// The next chunk of entries; `None` at the end, with all totals right.
    fn next(&mut self) -> Result<Option<Vec<u8>>, DiskError> {
        let mut number = [0; 4];
        self.raw(&mut number)?;
        let length = u32::from_le_bytes(number) as usize;
        self.raw(&mut number)?;
        if length == 0 || length > STATE_EXPORT_CHUNK_BYTES_MAX {
            return Err(self.damaged("a chunk's length is out of bounds"));
        }
        let mut chunk = vec![0; length];
        self.raw(&mut chunk)?;
        if crc32fast::hash(&chunk) != u32::from_le_bytes(number) {
            return Err(self.damaged("a chunk's checksum is wrong"));
        }
        if chunk[0] == END {
            let mut expected = vec![END];
            expected.extend_from_slice(&self.entries.to_le_bytes());
            expected.extend_from_slice(&self.total.clone().finalize().to_le_bytes());
            return if chunk == expected { Ok(None) } else { Err(self.damaged("chunks are missing")) };
        }
        self.total.update(&number);
        Ok(Some(chunk))
    }

    /// The table that a chunk's entries belong to, and their bytes.
    fn table<'c>(&self, chunk: &'c [u8]) -> Result<(Table, &'c [u8]), DiskError> {
        let mut rest = chunk;
        if take(&mut rest, 1) != Some(&[ENTRIES]) {
            return Err(self.damaged(MALFORMED));
        }
        let name = take(&mut rest, 1)
            .and_then(|length| take(&mut rest, usize::from(length[0])))
            .ok_or_else(|| self.damaged(MALFORMED))?;
        let table = Table::ALL.into_iter().find(|table| table.name().as_bytes() == name).ok_or_else(|| {
            let name = String::from_utf8_lossy(name);
            DiskError::Snapshot(format!("has a table {name} that this program does not know"))
        })?;
        Ok((table, rest))
    }

    /// The next entry of a chunk.
    #[allow(clippy::type_complexity)]
    fn entry<'c>(&mut self, rest: &mut &'c [u8]) -> Result<Option<(&'c [u8], &'c [u8])>, DiskError> {
        if rest.is_empty() {
            return Ok(None);
        }
        let entry = take_length(rest)
            .zip(take_length(rest))
            .and_then(|(key, value)| Some((take(rest, key)?, take(rest, value)?)))
            .ok_or_else(|| self.damaged(MALFORMED))?;
        self.entries += 1;
        Ok(Some(entry))
    }

    fn damaged(&self, cause: &str) -> DiskError {
        DiskError::Snapshot(format!("is damaged after {} entries: {cause}", self.entries))
    }
}

const MALFORMED: &str = "a chunk is malformed";

/// Cuts `length` bytes off the front.
fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (head, tail) = rest.split_at_checked(length)?;
    *rest = tail;
    Some(head)
}

fn take_length(rest: &mut &[u8]) -> Option<usize> {
    let bytes = take(rest, 4)?.try_into().ok()?;
    usize::try_from(u32::from_le_bytes(bytes)).ok()
}
