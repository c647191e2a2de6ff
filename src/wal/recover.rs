//! Opening a log: replay all segments, find the end, tell a torn write from corruption, and make what was found durable.
//!
//! The log ends at the first place without a good frame of the one segment that has no seal. Behind it there may be the
//! rest of a write that no sync had covered: it is zeroed. Anything else that is not as the writer leaves it is
//! corruption, and then nothing on disk is touched.

use std::collections::VecDeque;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bytes::Bytes;

use super::frame::{self, Found, Frame, Kind, u32_of};
use super::index::{Index, Loc};
use super::segment::{self, SEGMENT_HEADER_BYTES, Segment};
use super::state::State;
use super::{Entry, Options, Purged, Recovered, WalError};

/// The first segment of a new log is made while the caller waits, so it is small.
const FIRST_SEGMENT_BYTES_MAX: u64 = 1 << 20;

/// A segment of the log and the highest index of the entries in it, cut off ones included.
#[derive(Debug)]
pub(super) struct Held {
    pub segment: Arc<Segment>,
    pub max_index: Option<u64>,
}

/// What the writer goes on with.
#[derive(Debug)]
pub(super) struct Opened {
    pub state: State,
    pub index: Index,
    /// All segments in their order; the last one is written to.
    pub held: VecDeque<Held>,
    /// That last one.
    pub active: Arc<Segment>,
    /// Where the next frame goes in it.
    pub end: usize,
    /// An empty segment that comes next.
    pub spare: Option<Segment>,
}

/// Reads the log in `dir`, or begins one.
pub(super) fn recover(dir: &Path, options: &Options) -> Result<(Opened, Recovered), WalError> {
    let mut replay = Replay::default();
    let mut end: Option<End> = None;
    let mut spares: Vec<Segment> = Vec::new();
    for (seq, path) in segment::list(dir)? {
        replay.check_order(seq, spares.len(), &path)?;
        let (segment, bytes) = Segment::open(&path, seq, &options.identity)?;
        match &end {
            None => end = replay.scan(segment, &bytes)?,
            Some(_) if is_blank(&bytes) => spares.push(segment),
            Some(end) => {
                return Err(WalError::corrupt(
                    &end.segment.path,
                    end.at as u64,
                    format!("the log ends here, but {} was written later", path.display()),
                ));
            }
        }
    }
    let end = match end {
        Some(end) => end,
        None => replay.begin(dir, options)?,
    };
    replay.check_complete(&end)?;
    replay.settle(&end)?;
    // The writer makes one segment ahead; were there more, they would be in its way. The highest first: never a hole in the row.
    while spares.len() > 1
        && let Some(spare) = spares.pop()
    {
        std::fs::remove_file(&spare.path).map_err(WalError::io("remove", &spare.path))?;
    }
    Ok(replay.finish(end, spares.pop(), options))
}

fn is_blank(bytes: &[u8]) -> bool {
    bytes.get(SEGMENT_HEADER_BYTES..).is_none_or(|frames| frame::written_bytes(frames) == 0)
}

/// Where the log ends.
struct End {
    segment: Arc<Segment>,
    at: usize,
    /// End of what a torn write left behind `at`; at most `at` when it left nothing.
    torn_until: usize,
}

/// Frames whose sync may not have happened, or whose failed sync the kernel may have forgotten.
struct Unsettled {
    segment: Arc<Segment>,
    from: usize,
    to: usize,
}

#[derive(Default)]
struct Replay {
    state: State,
    entries: VecDeque<(Entry, Loc)>,
    held: VecDeque<Held>,
    unsettled: Option<Unsettled>,
}

impl Replay {
    fn check_order(&self, seq: u64, spares: usize, path: &Path) -> Result<(), WalError> {
        let expected = self.held.back().map(|held| held.segment.seq + 1 + spares as u64);
        if expected.is_some_and(|expected| expected != seq) {
            return Err(WalError::corrupt(path, 0, "the segment before this one is missing"));
        }
        Ok(())
    }

    /// The first segment of a new log.
    fn begin(&mut self, dir: &Path, options: &Options) -> Result<End, WalError> {
        if let Some(last) = self.held.back() {
            return Err(WalError::corrupt(
                &last.segment.path,
                last.segment.capacity,
                "the log goes on in a next segment, which is missing",
            ));
        }
        let bytes = options.segment_bytes.min(FIRST_SEGMENT_BYTES_MAX);
        let never = AtomicBool::new(false);
        let segment = Segment::create(dir, 1, &options.identity, bytes, &never)?;
        Ok(End { segment: self.hold(segment), at: SEGMENT_HEADER_BYTES, torn_until: 0 })
    }

    fn hold(&mut self, segment: Segment) -> Arc<Segment> {
        let segment = Arc::new(segment);
        self.held.push_back(Held { segment: Arc::clone(&segment), max_index: None });
        segment
    }

    /// Replays one segment. Returns where the log ends, when it ends here.
    fn scan(&mut self, segment: Segment, bytes: &[u8]) -> Result<Option<End>, WalError> {
        let segment = self.hold(segment);
        let mut at = SEGMENT_HEADER_BYTES;
        loop {
            let why = match frame::decode(bytes, at, segment.seq, at) {
                Found::Frame(frame) => {
                    self.apply(&frame, &segment, at).map_err(|why| WalError::corrupt(&segment.path, at as u64, why))?;
                    at += frame.padded;
                    self.unsettled = Some(Unsettled {
                        segment: Arc::clone(&segment),
                        from: (frame.durable as usize).max(SEGMENT_HEADER_BYTES),
                        to: at.min(bytes.len()),
                    });
                    if frame.kind == Kind::Seal {
                        return Ok(None);
                    }
                    continue;
                }
                Found::Nothing => "zeros",
                Found::Bad(why) => why,
            };
            let torn_until = frame::written_bytes(bytes);
            if let Some(proof) = frame::find_proof(bytes, segment.seq, at, torn_until) {
                let why = format!("{why}, but the frame at offset {proof} was written later");
                return Err(WalError::corrupt(&segment.path, at as u64, why));
            }
            return Ok(Some(End { segment, at, torn_until }));
        }
    }

    fn apply(&mut self, frame: &Frame<'_>, segment: &Arc<Segment>, at: usize) -> Result<(), &'static str> {
        if (frame.kind == Kind::Base) != (at == SEGMENT_HEADER_BYTES) {
            return Err("a segment begins with a base frame and has no other");
        }
        let payload = || Bytes::copy_from_slice(frame.payload);
        match frame.kind {
            Kind::Entry => {
                if self.state.expected().is_some_and(|expected| expected != frame.index) {
                    return Err("an entry whose index does not continue the log");
                }
                self.state.push(frame.index);
                if let Some(held) = self.held.back_mut() {
                    held.max_index = held.max_index.max(Some(frame.index));
                }
                let loc = Loc {
                    segment: Arc::clone(segment),
                    offset: u32_of(at),
                    payload_bytes: u32_of(frame.payload.len()),
                };
                let entry = Entry { index: frame.index, term: frame.term, payload: payload() };
                self.entries.push_back((entry, loc));
            }
            Kind::Vote => self.state.vote = Some(payload()),
            Kind::Committed => self.state.committed = Some(payload()),
            Kind::Truncate => {
                self.state.truncate(frame.index);
                while self.entries.pop_back_if(|(entry, _)| entry.index >= frame.index).is_some() {}
            }
            Kind::Purge => {
                self.state.purge(Purged { index: frame.index, id: payload() });
                while self.entries.pop_front_if(|(entry, _)| entry.index <= frame.index).is_some() {}
            }
            Kind::Base => {
                let state = State::decode(frame.payload).ok_or("a base frame that says nothing")?;
                if self.held.len() > 1 && state != self.state {
                    return Err("the segment does not continue the one before it");
                }
                self.state = state;
            }
            Kind::Seal => {}
        }
        Ok(())
    }

    /// Whether the entries that should be there are: a missing oldest segment shows only here.
    fn check_complete(&self, end: &End) -> Result<(), WalError> {
        let Some(oldest) = self.held.front().map(|held| &held.segment) else {
            return Ok(());
        };
        let (first, next) = self.state.span.unwrap_or_default();
        let all = self.entries.len() as u64 == next - first
            && self.entries.front().is_none_or(|(entry, _)| entry.index == first);
        // An oldest segment without frames must be the very first: the others begin with what came before them.
        let begun = end.at > SEGMENT_HEADER_BYTES || self.held.len() > 1 || oldest.seq == 1;
        if all && begun {
            return Ok(());
        }
        Err(WalError::corrupt(
            &oldest.path,
            0,
            "the segments before this one are missing, and not all their entries are purged",
        ))
    }

    /// Makes what was found durable. The frames since the last proven sync are written once more: after a failed sync the
    /// kernel may hold them in memory and believe them written.
    fn settle(&self, end: &End) -> Result<(), WalError> {
        if let Some(Unsettled { segment, from, to }) = &self.unsettled {
            let mut bytes = vec![0; to.saturating_sub(*from)];
            segment.file.read_exact_at(&mut bytes, *from as u64).map_err(WalError::io("read", &segment.path))?;
            write_and_sync(segment, &bytes, *from)?;
        }
        if end.torn_until > end.at {
            tracing::info!(
                path = %end.segment.path.display(), offset = end.at, bytes = end.torn_until - end.at,
                "cut an unfinished write off the log; it was never acknowledged"
            );
            write_and_sync(&end.segment, &vec![0; end.torn_until - end.at], end.at)?;
        }
        Ok(())
    }

    fn finish(self, end: End, spare: Option<Segment>, options: &Options) -> (Opened, Recovered) {
        let mut index = Index::default();
        let mut entries = Vec::with_capacity(self.entries.len());
        for (entry, loc) in self.entries {
            index.push(entry.index, loc);
            entries.push(entry);
        }
        let recovered = Recovered {
            fresh: self.state == State::default(),
            entries,
            vote: self.state.vote.clone(),
            committed: self.state.committed.clone(),
            purged: self.state.purged.clone(),
            identity: options.identity.clone(),
        };
        let opened = Opened { state: self.state, index, held: self.held, active: end.segment, end: end.at, spare };
        (opened, recovered)
    }
}

fn write_and_sync(segment: &Segment, bytes: &[u8], at: usize) -> Result<(), WalError> {
    segment
        .file
        .write_all_at(bytes, at as u64)
        .and_then(|()| segment.file.sync_all())
        .map_err(WalError::io("write", &segment.path))
}
