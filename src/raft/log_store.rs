//! openraft's log, kept in `wal/`: the newest entries in memory, all of them on disk.
//!
//! The order of calls is the order of the WAL's queue, so votes and entries are never reordered against each other.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use openraft::impls::leader_id_std::LeaderId;
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::vote::RaftLeaderId;
use openraft::{EntryPayload, LogState, OptionalSend, RaftLogReader};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

use super::types::{Batch, Entry, LogId, Node, TypeConfig, Vote};
use crate::base::limits::{LOG_CACHE_BYTES_MAX, PEER_APPEND_BYTES_MAX};
use crate::wal::{self, Wal, WalError};

/// First byte of what this room puts into the WAL.
const RECORD_VERSION: u8 = 1;
/// What an entry costs in memory besides its body.
const ENTRY_OVERHEAD_BYTES: usize = 64;

/// The log. Clones share it.
#[derive(Clone)]
pub struct LogStore {
    shared: Arc<Shared>,
}

struct Shared {
    /// `None` once it is closed.
    wal: Mutex<Option<Arc<Wal>>>,
    log: Mutex<Log>,
    owed: Mutex<Owed>,
}

/// Appends that the disk has not acknowledged.
#[derive(Default)]
struct Owed {
    appends: usize,
    /// When the first of them came, or the disk last acknowledged one: a disk that is slow goes on, one that hangs does not.
    since: Option<Instant>,
}

/// What is in memory of the log.
#[derive(Default)]
struct Log {
    /// The newest entries without gaps, up to the last one.
    recent: VecDeque<Entry>,
    recent_bytes: usize,
    /// Entries below this index are acknowledged by the disk and may leave memory.
    flushed: u64,
    /// Counts truncations: an acknowledgement from before one says nothing about what came after.
    epoch: u64,
    last: Option<LogId>,
    purged: Option<LogId>,
    vote: Option<Vote>,
    committed: Option<LogId>,
}

impl Owed {
    fn add(&mut self) {
        self.appends += 1;
        self.since.get_or_insert_with(Instant::now);
    }

    fn acknowledge(&mut self) {
        self.appends = self.appends.saturating_sub(1);
        self.since = (self.appends > 0).then(Instant::now);
    }
}

impl LogStore {
    /// The log that `wal` holds.
    ///
    /// # Errors
    /// Where a record is not one that this version can read.
    pub fn new(wal: Wal, recovered: wal::Recovered) -> io::Result<Self> {
        let purged = recovered.purged.as_ref().map(|p| decode(&p.id)).transpose()?;
        let vote = recovered.vote.as_deref().map(decode).transpose()?;
        let committed = recovered.committed.as_deref().map(decode).transpose()?;
        let mut log = Log { last: purged, purged, vote, committed, ..Log::default() };
        for entry in &recovered.entries {
            log.push(decode_entry(entry)?);
        }
        log.flushed = next_index(log.last);
        log.evict();
        Ok(Self {
            shared: Arc::new(Shared {
                wal: Mutex::new(Some(Arc::new(wal))),
                log: Mutex::new(log),
                owed: Mutex::default(),
            }),
        })
    }

    /// For how long the disk, which owes its word on an append, has said nothing.
    pub fn held_up(&self) -> Option<Duration> {
        self.owed().since.map(|since| since.elapsed())
    }

    /// Where it ends.
    pub fn last(&self) -> Option<LogId> {
        self.log().last
    }

    fn owed(&self) -> MutexGuard<'_, Owed> {
        self.shared.owed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Occupies the log's thread until `hold` is dropped, as a disk that hangs does.
    #[cfg(test)]
    pub fn hang(&self, hold: std::sync::mpsc::Receiver<()>) {
        let vote = self.log().vote.expect("there was an election");
        let wal = self.wal().expect("the log is open");
        wal.save_vote(encode(&vote).expect("a vote is encoded"), Box::new(move |_| hold.recv().unwrap_or_default()));
    }

    /// Writes what waits and gives the directory free. The log is of no use afterwards. Blocks.
    pub fn close(&self) {
        let wal = self.shared.wal.lock();
        let wal = wal.unwrap_or_else(PoisonError::into_inner).take();
        drop(wal);
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.shared.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wal(&self) -> io::Result<Arc<Wal>> {
        let wal = self.shared.wal.lock();
        let wal = wal.unwrap_or_else(PoisonError::into_inner).clone();
        wal.ok_or_else(|| WalError::Closed.into())
    }

    /// The entries of `start..end` as far as `max_bytes` go, at least one if there is one.
    pub(super) async fn read(&self, start: u64, end: u64, max_bytes: usize) -> io::Result<Vec<Entry>> {
        let recent_from = {
            let log = self.log();
            let first = log.recent_from();
            if start >= first {
                return Ok(log.range(start, end, max_bytes));
            }
            first
        };
        let wal = self.wal()?;
        let older = tokio::task::spawn_blocking(move || wal.read(start..end.min(recent_from), max_bytes))
            .await
            .map_err(io::Error::other)??;
        let mut entries = older.iter().map(decode_entry).collect::<io::Result<Vec<_>>>()?;
        let next = entries.last().map_or(start, |entry| entry.log_id.index + 1);
        let bytes: usize = older.iter().map(|entry| entry.payload.len()).sum();
        // Where the disk has nothing before them, the log begins with those in memory.
        if (entries.is_empty() || next >= recent_from) && bytes < max_bytes {
            entries.extend(self.log().range(next, end, max_bytes - bytes));
        }
        Ok(entries)
    }
}

impl Log {
    fn push(&mut self, entry: Entry) {
        self.last = Some(entry.log_id);
        self.recent_bytes += weight(&entry);
        self.recent.push_back(entry);
    }

    /// The first index that memory has; the next one if it has none.
    fn recent_from(&self) -> u64 {
        let first = self.recent.front().map(|entry| entry.log_id.index);
        first.unwrap_or_else(|| next_index(self.last))
    }

    fn range(&self, start: u64, end: u64, max_bytes: usize) -> Vec<Entry> {
        let skip = usize::try_from(start.saturating_sub(self.recent_from())).unwrap_or(usize::MAX);
        let mut bytes = 0;
        self.recent
            .iter()
            .skip(skip)
            .take_while(|entry| {
                let first = bytes == 0;
                bytes += weight(entry);
                entry.log_id.index < end && (first || bytes <= max_bytes)
            })
            .cloned()
            .collect()
    }

    /// Lets the oldest entries go that the disk has, while there are more than memory should hold.
    fn evict(&mut self) {
        while self.recent_bytes > LOG_CACHE_BYTES_MAX {
            match self.recent.front() {
                Some(entry) if entry.log_id.index < self.flushed => self.drop_first(),
                _ => return,
            }
        }
    }

    fn drop_first(&mut self) {
        if let Some(entry) = self.recent.pop_front() {
            self.recent_bytes -= weight(&entry);
        }
    }

    fn truncate_after(&mut self, kept: Option<LogId>) {
        let end = next_index(kept);
        while let Some(entry) = self.recent.pop_back_if(|entry| entry.log_id.index >= end) {
            self.recent_bytes -= weight(&entry);
        }
        if kept < self.last {
            self.last = kept.max(self.purged);
        }
        self.flushed = self.flushed.min(end);
        self.epoch += 1;
    }

    fn purge(&mut self, upto: LogId) {
        while self.recent.front().is_some_and(|entry| entry.log_id.index <= upto.index) {
            self.drop_first();
        }
        self.purged = self.purged.max(Some(upto));
        self.last = self.last.max(self.purged);
        self.flushed = self.flushed.max(upto.index + 1);
    }
}

fn next_index(id: Option<LogId>) -> u64 {
    id.map_or(0, |id| id.index + 1)
}

fn weight(entry: &Entry) -> usize {
    ENTRY_OVERHEAD_BYTES
        + match &entry.payload {
            EntryPayload::Normal(batch) => batch.len(),
            _ => 0,
        }
}

pub(super) fn encode<T: Serialize>(value: &T) -> io::Result<Bytes> {
    let bytes = postcard::to_extend(value, vec![RECORD_VERSION]);
    bytes.map(Bytes::from).map_err(io::Error::other)
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    match bytes.split_first() {
        Some((&RECORD_VERSION, body)) => postcard::from_bytes(body).map_err(unreadable),
        _ => Err(unreadable("unknown version")),
    }
}

fn unreadable(why: impl std::fmt::Display) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("a record of the log cannot be read: {why}; was it written by a newer version?"),
    )
}

/// The kinds of entries in the WAL, behind the version byte.
const BLANK: u8 = 0;
const NORMAL: u8 = 1;
const MEMBERSHIP: u8 = 2;

fn encode_entry(entry: &Entry) -> io::Result<wal::Entry> {
    let mut payload = BytesMut::new();
    payload.put_u8(RECORD_VERSION);
    let payload = match &entry.payload {
        EntryPayload::Blank => {
            payload.put_u8(BLANK);
            payload.freeze()
        }
        EntryPayload::Normal(batch) => {
            payload.reserve(1 + batch.len());
            payload.put_u8(NORMAL);
            payload.put_slice(batch.bytes());
            payload.freeze()
        }
        EntryPayload::Membership(membership) => {
            payload.put_u8(MEMBERSHIP);
            let bytes = postcard::to_extend(membership, payload.to_vec());
            bytes.map_err(io::Error::other)?.into()
        }
    };
    Ok(wal::Entry { index: entry.log_id.index, term: entry.log_id.leader_id.term, payload })
}

fn decode_entry(stored: &wal::Entry) -> io::Result<Entry> {
    let payload = match *stored.payload.as_ref() {
        [RECORD_VERSION, BLANK] => EntryPayload::Blank,
        [RECORD_VERSION, NORMAL, ..] => EntryPayload::Normal(Batch::from_bytes(stored.payload.slice(2..))),
        [RECORD_VERSION, MEMBERSHIP, ref body @ ..] => {
            EntryPayload::Membership(postcard::from_bytes::<openraft::Membership<u64, Node>>(body).map_err(unreadable)?)
        }
        _ => return Err(unreadable("unknown kind")),
    };
    Ok(Entry {
        log_id: LogId { leader_id: LeaderId::new(stored.term, 0).to_committed(), index: stored.index },
        payload,
    })
}

/// Waits for the WAL's word.
async fn done(submit: impl FnOnce(wal::Callback)) -> io::Result<()> {
    let (tell, told) = oneshot::channel();
    submit(Box::new(move |result| {
        // Whoever no longer waits need not know.
        let _ = tell.send(result);
    }));
    match told.await {
        Ok(result) => result.map_err(io::Error::from),
        Err(_) => Err(WalError::Closed.into()),
    }
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(start) => start + 1,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(end) => end + 1,
            Bound::Excluded(end) => *end,
            Bound::Unbounded => u64::MAX,
        };
        self.read(start, end, usize::MAX).await
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.log().vote)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, io::Error> {
        self.read(start, end, PEER_APPEND_BYTES_MAX).await
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let log = self.log();
        Ok(LogState { last_purged_log_id: log.purged, last_log_id: log.last })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let (wal, bytes) = (self.wal()?, encode(vote)?);
        done(|callback| wal.save_vote(bytes, callback)).await?;
        self.log().vote = Some(*vote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        if let Some(committed) = committed {
            self.wal()?.save_committed(encode(&committed)?);
            self.log().committed = Some(committed);
        }
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.log().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let wal = self.wal()?;
        let (stored, end, epoch) = {
            let mut log = self.log();
            let mut stored = Vec::new();
            for entry in entries {
                stored.push(encode_entry(&entry)?);
                log.push(entry);
            }
            log.evict();
            (stored, next_index(log.last), log.epoch)
        };
        let store = self.clone();
        self.owed().add();
        wal.append(
            stored,
            Box::new(move |result| {
                store.owed().acknowledge();
                if result.is_ok() {
                    let mut log = store.log();
                    if log.epoch == epoch {
                        log.flushed = log.flushed.max(end);
                    }
                }
                callback.io_completed(result.map_err(io::Error::from));
            }),
        );
        Ok(())
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        let wal = self.wal()?;
        self.log().truncate_after(last_log_id);
        let kept = last_log_id.map(|id| id.index);
        done(|callback| wal.truncate_after(kept, callback)).await
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        let wal = self.wal()?;
        let purged = wal::Purged { index: log_id.index, id: encode(&log_id)? };
        self.log().purge(log_id);
        done(|callback| wal.purge_to(purged, callback)).await
    }
}
