//! The Raft log on disk: an append-only, segmented write-ahead log for entries, vote and marks.
//!
//! One thread owns all of it. It drains whatever waits in its queue into one write and one fdatasync and then runs the
//! callbacks in the order of the calls; there are no timers. Nothing is ever written in place: cutting entries off and purging
//! them are records too, and a purge unlinks whole segments. A second thread makes the next segment ahead of time.
//!
//! What a callback has acknowledged is there after `kill -9` and after a loss of power. What was not acknowledged may
//! be there or not, but always as a prefix of what was asked for. After a failed write or sync nothing is acknowledged
//! any more until the directory is opened again: the kernel may have dropped the pages it could not write.
//!
//! One loss cannot be told from a torn write: bytes going bad in the very last write of the log, with nothing written after it.

mod frame;
mod index;
mod keeper;
mod queue;
mod recover;
mod segment;
mod state;
mod writer;

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod wal_tests;

use std::fs::File;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use bytes::Bytes;

use crate::base::limits::{WAL_IDENTITY_BYTES_MAX, WAL_SEGMENT_BYTES, WAL_SEGMENT_BYTES_MAX};
use index::Index;
use queue::{Op, Queue, Request};
use recover::Opened;

/// Runs on the writer's thread once the request is durable or has failed; must be quick and must not block.
pub type Callback = Box<dyn FnOnce(Result<(), WalError>) + Send>;

/// One log entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub index: u64,
    pub term: u64,
    pub payload: Bytes,
}

/// The end of what is purged: its index, and the caller's own form of its log id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purged {
    pub index: u64,
    pub id: Bytes,
}

/// How a log is opened.
#[derive(Debug, Clone)]
pub struct Options {
    /// Cluster and node in any form: written into each segment and compared at each open. At most 1024 bytes.
    pub identity: Bytes,
    /// Size of a segment; 64 MiB by default, a small one suits development clusters. Two segments exist at any time.
    pub segment_bytes: u64,
}

impl Options {
    /// The defaults for the log of the node `identity`.
    pub fn new(identity: impl Into<Bytes>) -> Options {
        Options { identity: identity.into(), segment_bytes: WAL_SEGMENT_BYTES }
    }
}

/// What the log held when it was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovered {
    /// No log was there: a new one was begun.
    pub fresh: bool,
    /// The entries that are neither cut off nor purged, without gaps.
    pub entries: Vec<Entry>,
    pub vote: Option<Bytes>,
    pub committed: Option<Bytes>,
    pub purged: Option<Purged>,
    /// The identity in the segments, which is that of the options.
    pub identity: Bytes,
}

/// Figures since the open, for metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Completed fdatasyncs of the writer.
    pub syncs: u64,
    /// Microseconds spent in them.
    pub sync_micros: u64,
    /// Bytes of frames written.
    pub written_bytes: u64,
}

#[derive(Debug, Default)]
struct Counters {
    syncs: AtomicU64,
    sync_micros: AtomicU64,
    written_bytes: AtomicU64,
}

/// Why the log refuses.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum WalError {
    #[error(
        "the log directory {} is in use by another process: stop that one or choose another directory",
        dir.display()
    )]
    InUse { dir: PathBuf },
    #[error(
        "{} belongs to the node {found}, this is the node {wanted}: point this node to its own data directory",
        file.display()
    )]
    Identity { file: PathBuf, found: String, wanted: String },
    #[error("{} has format {found}, this program knows format {known}: run the version that wrote it", file.display())]
    Version { file: PathBuf, found: u32, known: u32 },
    #[error(
        "the log is corrupt: {} at offset {offset}: {why}; remove this node's data directory and let it join its peers again as a new member",
        file.display()
    )]
    Corrupt { file: PathBuf, offset: u64, why: String },
    #[error("cannot {what} {}: {source}{}", path.display(), advice(source))]
    Io { what: &'static str, path: PathBuf, source: Arc<io::Error> },
    #[error("the log has stopped after an error and acknowledges nothing more until the node restarts: {cause}")]
    Failed { cause: Box<WalError> },
    #[error("index {index} does not continue the log, which goes on at {expected}")]
    OutOfOrder { index: u64, expected: u64 },
    #[error("the entries from {index} on cannot be cut off: those below {first} are purged")]
    Purged { index: u64, first: u64 },
    #[error("{bytes} bytes for {what} are more than the log takes ({limit})")]
    TooLarge { what: &'static str, bytes: u64, limit: u64 },
    #[error("the log is closed")]
    Closed,
}

/// What to do about an error of the operating system, when that is known.
fn advice(error: &io::Error) -> &'static str {
    if segment::is_full(error) { ": free some room on this disk, then restart the node" } else { "" }
}

impl WalError {
    /// Wraps an I/O error: `what` is a verb, `path` its object.
    fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> WalError {
        move |source| WalError::Io { what, path: path.to_owned(), source: Arc::new(source) }
    }

    /// The nearest kind of an I/O error.
    pub fn kind(&self) -> io::ErrorKind {
        match self {
            WalError::Io { source, .. } => source.kind(),
            WalError::Failed { cause } => cause.kind(),
            WalError::Corrupt { .. } => io::ErrorKind::InvalidData,
            WalError::OutOfOrder { .. } | WalError::Purged { .. } | WalError::TooLarge { .. } => {
                io::ErrorKind::InvalidInput
            }
            _ => io::ErrorKind::Other,
        }
    }

    fn corrupt(file: &Path, offset: u64, why: impl Into<String>) -> WalError {
        WalError::Corrupt { file: file.to_owned(), offset, why: why.into() }
    }
}

impl From<WalError> for io::Error {
    fn from(error: WalError) -> io::Error {
        io::Error::new(error.kind(), error)
    }
}

/// An open log. Dropping it writes what still waits, then gives the directory free.
pub struct Wal {
    queue: Arc<Queue>,
    index: Arc<Mutex<Index>>,
    counters: Arc<Counters>,
    writer: Option<JoinHandle<()>>,
}

impl Wal {
    /// Opens the log in `dir`, or begins one there, and takes the directory's lock. A torn end is cut off.
    ///
    /// # Errors
    /// `InUse`, `Identity`, `Version`, `Corrupt`, `TooLarge` or `Io`. A log that is refused is left as it is.
    pub fn open(dir: &Path, options: Options) -> Result<(Wal, Recovered), WalError> {
        check_limit("the identity", options.identity.len() as u64, WAL_IDENTITY_BYTES_MAX as u64)?;
        check_limit("a segment", options.segment_bytes, WAL_SEGMENT_BYTES_MAX)?;
        let lock = segment::lock_dir(dir)?;
        let (opened, recovered) = recover::recover(dir, &options)?;
        Ok((Wal::start(dir, options, lock, opened)?, recovered))
    }

    fn start(dir: &Path, options: Options, lock: File, opened: Opened) -> Result<Wal, WalError> {
        let queue = Arc::new(Queue::default());
        let counters = Arc::new(Counters::default());
        let writer = writer::Writer::new(dir, options, lock, opened, &queue, &counters)?;
        let index = writer.index();
        let thread = thread::Builder::new()
            .name("wal-writer".into())
            .spawn(move || writer.run())
            .map_err(WalError::io("start the writer of", dir))?;
        Ok(Wal { queue, index, counters, writer: Some(thread) })
    }

    /// Appends entries, which must continue the log: all of them or, with an error, none.
    /// Waits when more than `WAL_QUEUE_BYTES_MAX` is queued.
    pub fn append(&self, entries: Vec<Entry>, done: Callback) {
        self.submit(Op::Append(entries), Some(done));
    }

    /// Replaces the vote.
    pub fn save_vote(&self, vote: impl Into<Bytes>, done: Callback) {
        self.submit(Op::Vote(vote.into()), Some(done));
    }

    /// Replaces the committed mark. It is written in its turn but not synced for its own sake: after a loss of power an older one
    /// may be found. It is never newer than the entries before it.
    pub fn save_committed(&self, committed: impl Into<Bytes>) {
        self.submit(Op::Committed(committed.into()), None);
    }

    /// Cuts off the entries after `last_kept`; None cuts off all. What is purged cannot be cut.
    pub fn truncate_after(&self, last_kept: Option<u64>, done: Callback) {
        let first_removed = last_kept.map_or(0, |kept| kept.saturating_add(1));
        self.submit(Op::Truncate(first_removed), Some(done));
    }

    /// Removes the entries up to and with `purged.index`, which may lie beyond the end of the log (after a snapshot was
    /// installed): the log then goes on behind it. A purge to less than is purged already does nothing.
    pub fn purge_to(&self, purged: Purged, done: Callback) {
        self.submit(Op::Purge(purged), Some(done));
    }

    /// Reads the entries in `range` that are acknowledged and still there, as many as have `max_bytes` of payload together
    /// but at least one. Reads files: call it where blocking is allowed. Entries still queued are not seen.
    pub fn read(&self, range: impl RangeBounds<u64>, max_bytes: usize) -> Result<Vec<Entry>, WalError> {
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(start) => start.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(end) => end.saturating_add(1),
            Bound::Excluded(end) => *end,
            Bound::Unbounded => u64::MAX,
        };
        let places = self.index.lock().unwrap_or_else(PoisonError::into_inner).places(start..end, max_bytes);
        index::read_entries(&places)
    }

    /// Figures since the open.
    pub fn stats(&self) -> Stats {
        Stats {
            syncs: self.counters.syncs.load(Ordering::Relaxed),
            sync_micros: self.counters.sync_micros.load(Ordering::Relaxed),
            written_bytes: self.counters.written_bytes.load(Ordering::Relaxed),
        }
    }

    fn submit(&self, op: Op, done: Option<Callback>) {
        // A callback that calls back into the log must not wait for the thread it runs on.
        let may_wait = !self.on_writer_thread();
        if let Err(refused) = self.queue.put(Request { op, done }, may_wait) {
            refused.finish(Err(WalError::Closed));
        }
    }

    fn on_writer_thread(&self) -> bool {
        self.writer.as_ref().is_some_and(|writer| writer.thread().id() == thread::current().id())
    }
}

impl Drop for Wal {
    fn drop(&mut self) {
        self.queue.close();
        if !self.on_writer_thread()
            && let Some(writer) = self.writer.take()
        {
            // Were it to panic, the queue is closed and those who waited are told.
            let _ = writer.join();
        }
    }
}

impl std::fmt::Debug for Wal {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Wal").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

fn check_limit(what: &'static str, bytes: u64, limit: u64) -> Result<(), WalError> {
    if bytes > limit {
        return Err(WalError::TooLarge { what, bytes, limit });
    }
    Ok(())
}
