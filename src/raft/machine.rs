//! The state machine's core: `kv/` applies, `disk/` keeps.
//!
//! What is applied together is one transaction, and with it goes the record of the last applied log id and the
//! membership. Transactions are not durable by themselves: the log holds what a crash loses of them. A flush follows a
//! second after the first change, or at once when much has changed, and before every snapshot, which is what lets the log go.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use openraft::EntryPayload;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::hub::Hub;
use super::leases::Leases;
use super::types::{Entry, LogId, Membership, SnapshotMeta, StoredMembership};
use crate::base::limits::{
    COMPACT_STEP_CHANGES, COMPACT_STEP_CHANGES_MAX, COMPACT_STEP_MICROS, STATE_FLUSH_BYTES, STATE_FLUSH_MS,
};
use crate::base::{LeaseId, MemberId};
use crate::disk::{Database, WriteTxn};
use crate::kv::auth::Auth;
use crate::kv::{
    self, Alarm, Applied, Event, LogPosition, Op, Position, Reply, Space, State, Table, Tables, TablesMut, v2,
};

/// Key of the raft record in the table of marks.
const META_RAFT: &[u8] = b"raft";
/// First byte of the raft record.
const RECORD_VERSION: u8 = 1;
/// After a step of compaction so many times its own time is left to others: at first, and when it has gone on for long
/// without coming to an end, since what is written meanwhile must not outrun it.
const COMPACT_REST: u32 = 3;
const COMPACT_REST_BEHIND: u32 = 1;
const COMPACT_BEHIND: Duration = Duration::from_secs(10);

/// What raft wants kept with the state.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Record {
    applied: Option<LogId>,
    membership: StoredMembership,
}

/// How far the state has come, for those who wait for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    pub applied: Option<LogId>,
    pub position: Position,
}

/// The state machine's core, shared by openraft's worker, readers and background tasks.
pub struct Core {
    /// `None` once it is closed.
    database: RwLock<Option<Database>>,
    inner: Mutex<Inner>,
    /// Set before what it goes with can be read, so that it is never older than what is read.
    auth: RwLock<Arc<Auth>>,
    progress: watch::Sender<Progress>,
    pub hub: Arc<Hub>,
    pub leases: Arc<Leases>,
    flush: Wake,
    compact: Notify,
    /// So many bytes of the log are a reason to cut it.
    log_bytes_max: u64,
    heavy: Notify,
    /// As the state has them.
    alarms: RwLock<Arc<[Alarm]>>,
    alarmed: AtomicBool,
    v2_writes: Mutex<v2::Tally>,
}

#[derive(Default)]
struct Wake {
    changed: Notify,
    urgent: Notify,
}

struct Inner {
    state: State,
    record: Record,
    /// Up to where the state is known to be durable: what a snapshot may stand for.
    snapshot: Option<SnapshotMeta>,
    /// Bytes of the log since it was last asked to be cut.
    log_bytes: u64,
    /// Memory may be ahead of the tables: a transaction is open, or one failed. Final if it stays.
    torn: bool,
}

/// What a transaction changed, to be told once it is committed.
#[derive(Default)]
struct Changes {
    events: Vec<Event>,
    leases: Vec<LeaseId>,
    compacted: bool,
    alarms: bool,
    bytes: usize,
    v2_writes: v2::Tally,
}

impl Core {
    /// Takes up the state that `database` holds.
    pub fn load(
        database: Database,
        hub: Arc<Hub>,
        leases: Arc<Leases>,
        log_bytes_max: u64,
    ) -> Result<Arc<Self>, String> {
        let (state, record) = load(&database)?;
        let snapshot = meta(&record);
        let progress = Progress { applied: record.applied, position: state.position() };
        hub.restart(progress.position);
        let alarms: Arc<[Alarm]> = state.alarms().into();
        Ok(Arc::new(Self {
            database: RwLock::new(Some(database)),
            auth: RwLock::new(state.auth().clone()),
            inner: Mutex::new(Inner { state, record, snapshot, log_bytes: 0, torn: false }),
            progress: watch::Sender::new(progress),
            hub,
            leases,
            flush: Wake::default(),
            compact: Notify::new(),
            log_bytes_max,
            heavy: Notify::new(),
            alarmed: AtomicBool::new(!alarms.is_empty()),
            alarms: RwLock::new(alarms),
            v2_writes: Mutex::default(),
        }))
    }

    /// The tables, until the node has stopped.
    pub fn database(&self) -> Result<Database, String> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        database.clone().ok_or_else(|| "the state is closed".to_owned())
    }

    /// Gives the state file free, as soon as those who read it are done.
    pub fn close(&self) {
        *self.database.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// A panic while it was held shows as `torn`.
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The core for those who change it or vouch for it.
    fn whole(&self) -> Result<MutexGuard<'_, Inner>, String> {
        let inner = self.inner();
        match inner.torn {
            false => Ok(inner),
            true => Err("the state could not be written; restart the node to take it up from the log".to_owned()),
        }
    }

    /// How far the state has come; changes with every transaction.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// Where the state stands.
    pub fn position(&self) -> Position {
        self.progress.borrow().position
    }

    /// Whether anything was ever applied.
    pub fn is_pristine(&self) -> bool {
        self.progress.borrow().applied.is_none()
    }

    /// Looks at the state while nothing is applied.
    pub fn with_state<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.inner().state)
    }

    /// Applies entries in one transaction. Blocks.
    pub fn apply(&self, entries: &[Entry]) -> Result<Vec<Vec<Applied>>, String> {
        let mut inner = self.whole()?;
        let database = self.database()?;
        let mut txn = database.begin().map_err(|error| error.to_string())?;
        inner.torn = true;
        for space in [Space::User, Space::System] {
            inner.state.set_heard(space, self.hub.heard(space));
        }
        let mut changes = Changes::default();
        let mut replies = Vec::with_capacity(entries.len());
        for entry in entries {
            replies.push(inner.apply_entry(&mut txn, entry, &mut changes)?);
        }
        save(&mut txn, &inner.record)?;
        self.publish_auth(&inner.state);
        txn.commit(false).map_err(|error| error.to_string())?;
        inner.torn = false;
        if database.memory_bytes() >= STATE_FLUSH_BYTES {
            self.flush.urgent.notify_one();
        }
        self.tell(&mut inner, changes);
        Ok(replies)
    }

    /// Users and roles.
    pub fn auth(&self) -> Arc<Auth> {
        self.auth.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn publish_auth(&self, state: &State) {
        let known = Arc::ptr_eq(&self.auth.read().unwrap_or_else(PoisonError::into_inner), state.auth());
        if !known {
            *self.auth.write().unwrap_or_else(PoisonError::into_inner) = state.auth().clone();
        }
    }

    /// Tells readers, watchers, the lease keeper and the background tasks. The lock keeps the order of transactions.
    fn tell(&self, inner: &mut Inner, changes: Changes) {
        inner.log_bytes += changes.bytes as u64;
        if inner.log_bytes >= self.log_bytes_max {
            inner.log_bytes = 0;
            self.heavy.notify_one();
        }
        *self.v2_writes() += changes.v2_writes;
        self.flush.changed.notify_one();
        self.leases.changed(&inner.state, &changes.leases);
        let position = inner.state.position();
        self.hub.publish(&changes.events, position);
        self.progress.send_replace(Progress { applied: inner.record.applied, position });
        if changes.compacted {
            self.compact.notify_one();
        }
        if changes.alarms {
            self.note_alarms(&inner.state);
        }
    }

    /// Writes of the v2 API since the start.
    pub fn v2_writes(&self) -> MutexGuard<'_, v2::Tally> {
        self.v2_writes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The alarms that are raised.
    pub fn alarms(&self) -> Arc<[Alarm]> {
        self.alarms.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether there are any.
    pub fn is_alarmed(&self) -> bool {
        self.alarmed.load(Ordering::Acquire)
    }

    fn note_alarms(&self, state: &State) {
        let alarms: Arc<[Alarm]> = state.alarms().into();
        let alarmed = !alarms.is_empty();
        *self.alarms.write().unwrap_or_else(PoisonError::into_inner) = alarms;
        self.alarmed.store(alarmed, Ordering::Release);
    }

    /// Makes the state durable. Blocks. What was applied before the call is durable after it.
    pub fn flush(&self) -> Result<SnapshotMeta, String> {
        let flushed = meta(&self.whole()?.record).unwrap_or_default();
        self.database()?.flush().map_err(|error| error.to_string())?;
        Ok(flushed)
    }

    fn flush_gently(&self) -> Result<(), String> {
        drop(self.whole()?);
        self.database()?.flush_gently().map_err(|error| error.to_string())
    }

    /// What was applied last, and the membership by then.
    pub fn recorded(&self) -> (Option<LogId>, StoredMembership) {
        let record = &self.inner().record;
        (record.applied, record.membership.clone())
    }

    /// Up to where a snapshot of this state stands, once there is one.
    pub fn snapshot(&self) -> Option<SnapshotMeta> {
        self.inner().snapshot.clone()
    }

    /// The state is durable up to `meta`: the log may go so far. An older mark than the present one changes nothing.
    pub fn vouch_for(&self, meta: &SnapshotMeta) {
        let snapshot = &mut self.inner().snapshot;
        if snapshot.as_ref().is_none_or(|present| present.last_log_id <= meta.last_log_id) {
            *snapshot = Some(meta.clone());
        }
    }

    /// As after a transaction that failed half-way.
    #[cfg(test)]
    pub fn tear(&self) {
        self.inner().torn = true;
    }

    /// Replaces the state by the snapshot in `source`. Blocks.
    pub fn install(&self, expected: &SnapshotMeta, source: &mut dyn io::Read) -> Result<(), String> {
        let mut inner = self.whole()?;
        let database = self.database()?;
        inner.torn = true;
        database.import(source).map_err(|error| error.to_string())?;
        let (state, record) = load(&database)?;
        if record.applied != expected.last_log_id {
            return Err(format!(
                "a snapshot says that it stands at {:?} and stands at {:?}",
                expected.last_log_id, record.applied
            ));
        }
        self.publish_auth(&state);
        *inner = Inner { state, snapshot: meta(&record), record, log_bytes: 0, torn: false };
        let position = inner.state.position();
        self.note_alarms(&inner.state);
        self.compact.notify_one();
        self.leases.reset(&inner.state);
        self.hub.restart(position);
        self.progress.send_replace(Progress { applied: inner.record.applied, position });
        Ok(())
    }

    /// Writes the present state to `out`. Returns what it stands for. Blocks.
    pub fn export(&self, out: &mut dyn io::Write) -> Result<SnapshotMeta, String> {
        let database = self.database()?;
        let snapshot = database.reader();
        let record = read_record(&snapshot)?;
        database.export(&snapshot, out).map_err(|error| error.to_string())?;
        meta(&record).ok_or_else(|| "there is no state yet".to_owned())
    }

    /// Flushes some time after each change, until told to stop. Idle, it does nothing.
    pub async fn keep_flushed(self: Arc<Self>, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.flush.changed.notified() => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.flush.urgent.notified() => {}
                () = tokio::time::sleep(Duration::from_millis(STATE_FLUSH_MS)) => {}
            }
            let core = self.clone();
            let flushed = tokio::task::spawn_blocking(move || core.flush_gently()).await;
            if let Ok(Err(error)) = flushed {
                // Nothing is lost yet: the log has it all, and a snapshot flushes again and fails loudly.
                tracing::error!("the state could not be made durable: {error}");
            }
        }
    }

    /// Completes when the log has become heavy, whatever the number of its entries.
    pub async fn log_heavy(&self) {
        self.heavy.notified().await;
    }

    /// Removes what compaction let go, a little at a time, until told to stop.
    pub async fn keep_compacted(self: Arc<Self>, stop: CancellationToken) {
        // What an earlier run left undone.
        self.compact.notify_one();
        let mut changes = COMPACT_STEP_CHANGES;
        let mut busy = None;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.compact.notified() => {}
            }
            let core = self.clone();
            let (more, took) = match tokio::task::spawn_blocking(move || core.compact_step(changes)).await {
                Ok(Ok(done)) => done,
                Ok(Err(error)) => {
                    tracing::error!("compaction: {error}");
                    continue;
                }
                Err(_) => continue,
            };
            if !more {
                busy = None;
                continue;
            }
            let since = *busy.get_or_insert_with(Instant::now);
            let rest = if since.elapsed() < COMPACT_BEHIND { COMPACT_REST } else { COMPACT_REST_BEHIND };
            self.compact.notify_one();
            changes = next_step(changes, took);
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(took * rest) => {}
            }
        }
    }

    /// Whether there is more to do, and for how long others could not write.
    fn compact_step(&self, changes: usize) -> Result<(bool, Duration), String> {
        let _inner = self.whole()?;
        let mut txn = self.database()?.begin().map_err(|error| error.to_string())?;
        // What was waited for here is a flush's time.
        let began = Instant::now();
        let mut more = false;
        let mut removed = 0;
        for space in [Space::User, Space::System] {
            let step = kv::compact_step(&mut txn, space, changes).map_err(|error| error.to_string())?;
            more |= step.more;
            removed += step.seen + step.removed;
        }
        if removed > 0 {
            txn.commit(false).map_err(|error| error.to_string())?;
            self.flush.changed.notify_one();
        }
        Ok((more, began.elapsed()))
    }
}

/// So many changes that a step takes about as long as it may.
fn next_step(changes: usize, took: Duration) -> usize {
    let aim = Duration::from_micros(COMPACT_STEP_MICROS);
    let next = if took > aim { changes / 2 } else { changes + changes / 4 };
    next.clamp(COMPACT_STEP_CHANGES / 8, COMPACT_STEP_CHANGES_MAX)
}

impl Inner {
    fn apply_entry(
        &mut self,
        txn: &mut WriteTxn,
        entry: &Entry,
        changes: &mut Changes,
    ) -> Result<Vec<Applied>, String> {
        let at = LogPosition { index: entry.log_id.index, term: entry.log_id.leader_id.term };
        let mut replies = Vec::new();
        match &entry.payload {
            EntryPayload::Normal(batch) => {
                let commands = batch.commands().map_err(|error| error.to_string())?;
                changes.bytes += batch.len();
                for command in &commands {
                    let (applied, events) =
                        kv::apply(&mut self.state, txn, command, at).map_err(|error| error.to_string())?;
                    changes.note(&command.op, &applied, &events);
                    changes.events.extend(events);
                    replies.push(applied);
                }
                if commands.is_empty() {
                    self.advance(txn, at)?;
                }
            }
            EntryPayload::Blank => self.advance(txn, at)?,
            EntryPayload::Membership(membership) => {
                let voters = membership.voter_ids().count();
                kv::bootstrap(&mut self.state, txn, voters).map_err(|error| error.to_string())?;
                self.advance(txn, at)?;
                for (id, _) in self.record.membership.membership().nodes() {
                    if membership.get_node(id).is_none() {
                        kv::remove_member(txn, MemberId(*id)).map_err(|error| error.to_string())?;
                    }
                }
                self.record.membership = StoredMembership::new(Some(entry.log_id), membership.clone());
            }
        }
        self.record.applied = Some(entry.log_id);
        Ok(replies)
    }

    fn advance(&mut self, txn: &mut WriteTxn, at: LogPosition) -> Result<(), String> {
        kv::advance(&mut self.state, txn, at).map_err(|error| error.to_string())
    }
}

impl Changes {
    /// Notes the leases that the command may have made, changed or ended, whether it let history go, and what v2 counts.
    fn note(&mut self, op: &Op, applied: &Applied, events: &[Event]) {
        match op.bare() {
            Op::LeaseRevoke { id } => self.leases.push(*id),
            Op::LeaseExpire { ids } => self.leases.extend(ids),
            Op::Compact { .. } => self.compacted = true,
            Op::Alarm(_) => self.alarms = true,
            _ => {}
        }
        self.v2_writes.note(op, applied, events);
        if let Ok(Reply::LeaseGrant { id, .. }) = &applied.result {
            self.leases.push(*id);
        }
        for event in events {
            let before = event.prev.as_ref().map(|kv| kv.lease);
            let both = [Some(event.kv.lease), before];
            let named = both.into_iter().flatten().filter(|id| *id != LeaseId::NONE);
            self.leases.extend(named);
        }
    }
}

/// Records in `txn` that the state stands at `at`, where a cluster with this membership begins.
pub(super) fn begin(txn: &mut WriteTxn, at: LogId, membership: Membership) -> Result<(), String> {
    save(txn, &Record { applied: Some(at), membership: StoredMembership::new(Some(at), membership) })
}

fn meta(record: &Record) -> Option<SnapshotMeta> {
    record
        .applied
        .map(|applied| SnapshotMeta { last_log_id: Some(applied), last_membership: record.membership.clone() })
}

fn load(database: &Database) -> Result<(State, Record), String> {
    let snapshot = database.reader();
    let state = State::load(&snapshot).map_err(|error| error.to_string())?;
    Ok((state, read_record(&snapshot)?))
}

fn read_record(tables: &dyn Tables) -> Result<Record, String> {
    let bytes = tables.get(Table::Meta, META_RAFT).map_err(|error| error.to_string())?;
    match bytes.as_deref().map(<[u8]>::split_first) {
        None => Ok(Record::default()),
        Some(Some((&RECORD_VERSION, body))) => {
            postcard::from_bytes(body).map_err(|error| format!("the state's raft record cannot be read: {error}"))
        }
        Some(_) => Err("the state's raft record is of an unknown version; use the program that wrote it".to_owned()),
    }
}

fn save(txn: &mut WriteTxn, record: &Record) -> Result<(), String> {
    let bytes = postcard::to_extend(record, vec![RECORD_VERSION])
        .map_err(|error| format!("the state's raft record cannot be written: {error}"))?;
    txn.put(Table::Meta, META_RAFT, &bytes).map_err(|error| error.to_string())
}
