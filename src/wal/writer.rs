//! The one thread that writes: drain the queue, check, one write, one fdatasync, callbacks in order.

use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::frame::{self, Kind, Record, padded_bytes, u32_of};
use super::index::{Index, Loc};
use super::keeper::Keeper;
use super::queue::{Op, Queue, Request};
use super::recover::{Held, Opened};
use super::segment::{SEGMENT_HEADER_BYTES, Segment};
use super::state::State;
use super::{Counters, Entry, Options, WalError, check_limit};
use crate::base::limits::{WAL_BATCH_BYTES_MAX, WAL_ENTRY_BYTES_MAX, WAL_MARK_BYTES_MAX, WAL_SLOW_SYNC_MS};

/// What becomes visible to readers after the write.
enum Step {
    Push(u64, Loc),
    Truncate(u64),
    Purge(u64),
}

pub(super) struct Writer {
    queue: Arc<Queue>,
    index: Arc<Mutex<Index>>,
    counters: Arc<Counters>,
    keeper: Keeper,
    /// The log as it will be when all that is staged is written.
    state: State,
    held: VecDeque<Held>,
    active: Arc<Segment>,
    /// Where `staged` goes in the active segment.
    at: usize,
    /// Below this offset the active segment is synced.
    durable: usize,
    staged: Vec<u8>,
    steps: Vec<Step>,
    failed: Option<WalError>,
    /// Given free last, when the keeper has ended too.
    _lock: File,
}

impl Writer {
    pub fn new(
        dir: &Path,
        options: Options,
        lock: File,
        opened: Opened,
        queue: &Arc<Queue>,
        counters: &Arc<Counters>,
    ) -> Result<Writer, WalError> {
        let keeper = Keeper::start(dir, options.identity, options.segment_bytes, opened.spare)?;
        keeper.prepare(opened.active.seq + 1);
        Ok(Writer {
            queue: Arc::clone(queue),
            index: Arc::new(Mutex::new(opened.index)),
            counters: Arc::clone(counters),
            keeper,
            state: opened.state,
            held: opened.held,
            active: opened.active,
            at: opened.end,
            durable: opened.end,
            staged: Vec::new(),
            steps: Vec::new(),
            failed: None,
            _lock: lock,
        })
    }

    /// The places of the written entries, shared with readers.
    pub fn index(&self) -> Arc<Mutex<Index>> {
        Arc::clone(&self.index)
    }

    /// Works until the queue is closed and empty.
    pub fn run(mut self) {
        let _refuse_the_rest = CloseOnExit(Arc::clone(&self.queue));
        self.unlink_purged();
        while let Some(batch) = self.queue.take(WAL_BATCH_BYTES_MAX) {
            self.process(batch);
        }
    }

    fn process(&mut self, batch: Vec<Request>) {
        let mut must_sync = false;
        let mut answers = Vec::with_capacity(batch.len());
        for request in batch {
            let checked = self.check(&request.op);
            if let (Err(error), None) = (&checked, &request.done) {
                tracing::warn!(%error, "a mark was not written to the log");
            }
            if checked.is_ok() && self.failed.is_none() {
                must_sync |= !matches!(request.op, Op::Committed(_));
                let staged = self.stage(&request.op);
                self.fail_on(staged);
            }
            answers.push((request, checked));
        }
        if self.failed.is_none() {
            let flushed = self.flush(must_sync);
            self.fail_on(flushed);
        }
        for (request, checked) in answers {
            request.finish(match &self.failed {
                Some(error) => Err(error.clone()),
                None => checked,
            });
        }
    }

    /// The first error is the last word: what the kernel could not write it may forget, and a later sync would not tell.
    fn fail_on(&mut self, result: Result<(), WalError>) {
        if let Err(error) = result {
            tracing::error!(%error, "the log has stopped: nothing is acknowledged any more");
            self.failed = Some(WalError::Failed { cause: Box::new(error) });
        }
    }

    /// Whether the log takes this, before any of it is staged.
    fn check(&self, op: &Op) -> Result<(), WalError> {
        let mark = |what, bytes: usize| check_limit(what, bytes as u64, WAL_MARK_BYTES_MAX as u64);
        match op {
            Op::Append(entries) => self.check_entries(entries),
            Op::Vote(vote) => mark("a vote", vote.len()),
            Op::Committed(committed) => mark("a committed mark", committed.len()),
            Op::Purge(purged) => mark("the id of what is purged", purged.id.len()),
            Op::Truncate(first_removed) if !self.state.may_truncate(*first_removed) => {
                Err(WalError::Purged { index: *first_removed, first: self.state.span.unwrap_or_default().0 })
            }
            Op::Truncate(_) => Ok(()),
        }
    }

    fn check_entries(&self, entries: &[Entry]) -> Result<(), WalError> {
        let mut expected = self.state.expected();
        for entry in entries {
            check_limit("an entry", entry.payload.len() as u64, WAL_ENTRY_BYTES_MAX as u64)?;
            if let Some(expected) = expected.filter(|expected| *expected != entry.index) {
                return Err(WalError::OutOfOrder { index: entry.index, expected });
            }
            expected = Some(entry.index.saturating_add(1));
        }
        Ok(())
    }

    fn stage(&mut self, op: &Op) -> Result<(), WalError> {
        match op {
            Op::Append(entries) => entries.iter().try_for_each(|entry| self.stage_entry(entry)),
            Op::Vote(vote) => {
                self.put(&Record::blob(Kind::Vote, vote.clone()))?;
                self.state.vote = Some(vote.clone());
                Ok(())
            }
            Op::Committed(committed) => {
                self.put(&Record::blob(Kind::Committed, committed.clone()))?;
                self.state.committed = Some(committed.clone());
                Ok(())
            }
            Op::Truncate(first_removed) => {
                if self.state.expected().is_some_and(|next| *first_removed < next) {
                    self.put(&Record::bare(Kind::Truncate, *first_removed))?;
                    self.state.truncate(*first_removed);
                    self.steps.push(Step::Truncate(*first_removed));
                }
                Ok(())
            }
            Op::Purge(purged) => {
                if self.state.purge_is_news(purged.index) {
                    self.put(&Record { index: purged.index, ..Record::blob(Kind::Purge, purged.id.clone()) })?;
                    self.state.purge(purged.clone());
                    self.steps.push(Step::Purge(purged.index));
                }
                Ok(())
            }
        }
    }

    fn stage_entry(&mut self, entry: &Entry) -> Result<(), WalError> {
        let offset = self.put(&Record {
            kind: Kind::Entry,
            index: entry.index,
            term: entry.term,
            payload: entry.payload.clone(),
        })?;
        let loc = Loc { segment: Arc::clone(&self.active), offset, payload_bytes: u32_of(entry.payload.len()) };
        self.state.push(entry.index);
        if let Some(held) = self.held.back_mut() {
            held.max_index = held.max_index.max(Some(entry.index));
        }
        self.steps.push(Step::Push(entry.index, loc));
        Ok(())
    }

    /// Stages a frame, in the next segment when this one has no room for it and a seal. Returns its offset.
    fn put(&mut self, record: &Record) -> Result<u32, WalError> {
        let begin = self.at + self.staged.len();
        let end = begin + padded_bytes(record.payload.len()) + padded_bytes(0);
        if begin > SEGMENT_HEADER_BYTES && end as u64 > self.active.capacity {
            self.roll()?;
        }
        if self.at + self.staged.len() == SEGMENT_HEADER_BYTES {
            self.encode(&Record::blob(Kind::Base, self.state.encode()));
        }
        Ok(self.encode(record))
    }

    fn encode(&mut self, record: &Record) -> u32 {
        let offset = u32_of(self.at + self.staged.len());
        let durable = u32_of(self.durable);
        frame::encode(record, self.active.seq, offset, durable, &mut self.staged);
        offset
    }

    /// Seals the active segment and goes on in the next one, which exists before the seal does. All of a segment is durable
    /// before anything is written to the next one.
    fn roll(&mut self) -> Result<(), WalError> {
        let next = self.active.seq + 1;
        let segment = Arc::new(self.keeper.take(next)?);
        self.encode(&Record::bare(Kind::Seal, next));
        self.write()?;
        self.sync()?;
        self.held.push_back(Held { segment: Arc::clone(&segment), max_index: None });
        self.active = segment;
        self.at = SEGMENT_HEADER_BYTES;
        self.durable = SEGMENT_HEADER_BYTES;
        self.keeper.prepare(next + 1);
        Ok(())
    }

    fn flush(&mut self, must_sync: bool) -> Result<(), WalError> {
        self.write()?;
        if must_sync && self.at > self.durable {
            self.sync()?;
        }
        let mut purged = false;
        let mut index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        for step in self.steps.drain(..) {
            match step {
                Step::Push(at, loc) => index.push(at, loc),
                Step::Truncate(first_removed) => index.truncate(first_removed),
                Step::Purge(last_removed) => {
                    index.purge(last_removed);
                    purged = true;
                }
            }
        }
        drop(index);
        if purged {
            self.unlink_purged();
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), WalError> {
        self.active
            .file
            .write_all_at(&self.staged, self.at as u64)
            .map_err(WalError::io("write", &self.active.path))?;
        self.at += self.staged.len();
        self.counters.written_bytes.fetch_add(self.staged.len() as u64, Ordering::Relaxed);
        self.staged.clear();
        self.staged.shrink_to(WAL_BATCH_BYTES_MAX);
        Ok(())
    }

    fn sync(&mut self) -> Result<(), WalError> {
        let begin = Instant::now();
        self.active.file.sync_data().map_err(WalError::io("sync", &self.active.path))?;
        let took = begin.elapsed();
        if took.as_millis() > u128::from(WAL_SLOW_SYNC_MS) {
            tracing::warn!(
                path = %self.active.path.display(), millis = took.as_millis() as u64,
                "the log's disk is slow: writes of the whole cluster may wait for it"
            );
        }
        self.durable = self.at;
        self.counters.syncs.fetch_add(1, Ordering::Relaxed);
        self.counters.sync_micros.fetch_add(took.as_micros() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Gives the oldest segments away whose entries are all purged. One that follows them must have its base frame on
    /// disk: it carries the vote and the marks on.
    fn unlink_purged(&mut self) {
        let keep = if self.durable > SEGMENT_HEADER_BYTES { 1 } else { 2 };
        let purged = self.state.purged.as_ref().map(|purged| purged.index);
        while self.held.len() > keep
            && let Some(old) = self.held.pop_front_if(|held| purged.is_some() && held.max_index <= purged)
        {
            self.keeper.remove(old.segment);
        }
    }
}

/// Tells those who still wait when the writer is gone, for whatever reason.
struct CloseOnExit(Arc<Queue>);

impl Drop for CloseOnExit {
    fn drop(&mut self) {
        self.0.close();
        while let Some(batch) = self.0.take(WAL_BATCH_BYTES_MAX) {
            for request in batch {
                request.finish(Err(WalError::Closed));
            }
        }
    }
}
