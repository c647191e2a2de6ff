//! Where each entry lies, and reading entries back from the files.

use std::collections::VecDeque;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;

use super::frame::{self, Found, Kind, padded_bytes};
use super::segment::Segment;
use super::{Entry, WalError};

/// Neighbouring frames are read together up to this size.
const READ_BYTES: usize = 1 << 20;

/// The place of one entry's frame. Holds the file, so that a reader is not disturbed when the segment is unlinked.
#[derive(Debug, Clone)]
pub(super) struct Loc {
    pub segment: Arc<Segment>,
    pub offset: u32,
    pub payload_bytes: u32,
}

impl Loc {
    fn end(&self) -> usize {
        self.offset as usize + padded_bytes(self.payload_bytes as usize)
    }
}

/// The places of all entries that are written and neither cut off nor purged.
#[derive(Debug, Default)]
pub(super) struct Index {
    first: u64,
    locs: VecDeque<Loc>,
}

impl Index {
    /// Entry `index`, the next one, lies at `loc`.
    pub fn push(&mut self, index: u64, loc: Loc) {
        if self.locs.is_empty() {
            self.first = index;
        }
        self.locs.push_back(loc);
    }

    /// Forgets the entries from `first_removed` on.
    pub fn truncate(&mut self, first_removed: u64) {
        self.locs.truncate(self.position(first_removed));
    }

    /// Forgets the entries up to and with `last_removed`.
    pub fn purge(&mut self, last_removed: u64) {
        let count = self.position(last_removed.saturating_add(1));
        self.locs.drain(..count);
        self.first += count as u64;
    }

    /// Entries held below `index`.
    fn position(&self, index: u64) -> usize {
        let distance = index.saturating_sub(self.first);
        usize::try_from(distance).map_or(self.locs.len(), |count| count.min(self.locs.len()))
    }

    /// The places of the entries in `range`, as many as fit in `max_bytes` of payload but at least one.
    pub fn places(&self, range: Range<u64>, max_bytes: usize) -> Vec<Loc> {
        let (from, to) = (self.position(range.start), self.position(range.end));
        let mut total = 0usize;
        let mut places: Vec<Loc> = Vec::new();
        for loc in self.locs.range(from..to.max(from)) {
            total = total.saturating_add(loc.payload_bytes as usize);
            if total > max_bytes && !places.is_empty() {
                break;
            }
            places.push(loc.clone());
        }
        places
    }
}

/// Reads the entries at `places`, neighbours together.
pub(super) fn read_entries(places: &[Loc]) -> Result<Vec<Entry>, WalError> {
    let mut entries = Vec::with_capacity(places.len());
    let mut rest = places;
    while let Some(head) = rest.first() {
        let joined = 1 + rest
            .windows(2)
            .take_while(|pair| {
                Arc::ptr_eq(&pair[0].segment, &pair[1].segment)
                    && pair[0].end() == pair[1].offset as usize
                    && pair[1].end() - head.offset as usize <= READ_BYTES
            })
            .count();
        let (run, later) = rest.split_at(joined);
        read_run(run, &mut entries)?;
        rest = later;
    }
    Ok(entries)
}

fn read_run(run: &[Loc], entries: &mut Vec<Entry>) -> Result<(), WalError> {
    let (Some(head), Some(last)) = (run.first(), run.last()) else {
        return Ok(());
    };
    let segment = &head.segment;
    let mut bytes = vec![0; last.end() - head.offset as usize];
    segment.file.read_exact_at(&mut bytes, u64::from(head.offset)).map_err(WalError::io("read", &segment.path))?;
    let bytes = Bytes::from(bytes);
    for loc in run {
        let at = (loc.offset - head.offset) as usize;
        match frame::decode(&bytes, at, segment.seq, loc.offset as usize) {
            Found::Frame(frame) if frame.kind == Kind::Entry => {
                entries.push(Entry { index: frame.index, term: frame.term, payload: bytes.slice_ref(frame.payload) })
            }
            _ => {
                return Err(WalError::corrupt(
                    &segment.path,
                    u64::from(loc.offset),
                    "an entry that was written there is no longer readable",
                ));
            }
        }
    }
    Ok(())
}
