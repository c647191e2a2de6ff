//! Opening the state, beginning reads and writes.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use redb::{Durability, ReadableDatabase, TableDefinition};

use super::error::{DiskError, explain, guarded};
use super::reader::{Base, Snapshot, View};
use super::write::{TableChanges, WriteTxn};
use crate::base::limits::{STATE_CACHE_BYTES_MAX, STATE_FLUSH_WAIT_MS, STATE_MEMORY_BYTES_MAX};
use crate::kv::Table;

/// The tables of kv: bytes to bytes.
pub(super) type Definition = TableDefinition<'static, &'static [u8], &'static [u8]>;

/// What this room keeps beside kv's tables: name → number.
pub(super) const OWN: TableDefinition<'static, &'static str, u64> = TableDefinition::new("disk");

/// Version of the layout of the tables in the file.
const LAYOUT: u64 = 1;
const LAYOUT_KEY: &str = "layout";
pub(super) const IN_USE_KEY: &str = "bytes-in-use";

/// kv's table in the file.
pub(super) fn definition(table: Table) -> Definition {
    TableDefinition::new(table.name())
}

/// Sizes of the state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of the file.
    pub on_disk: u64,
    /// Bytes of all keys and values in the tables, as of the last flush.
    pub in_use: u64,
    /// Bytes of memory that what is not in the file yet takes, about.
    pub in_memory: u64,
}

/// The state: a file, and in memory what was committed since its last flush. Cheap to clone; one writer at a time,
/// readers never wait.
#[derive(Clone)]
pub struct Database {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) redb: redb::Database,
    pub(super) path: PathBuf,
    pub(super) in_use: AtomicU64,
    pub(super) view: Mutex<Arc<View>>,
    /// Whether a writer is at work.
    writing: Mutex<bool>,
    /// A writer is done, or a flush.
    settled: Condvar,
    /// One flush at a time.
    pub(super) flushing: Mutex<()>,
    /// How many wait for a flush.
    pub(super) hurried: AtomicUsize,
    /// What the first write that failed met. redb refuses all that follow without saying why.
    failed: OnceLock<String>,
}

/// The right to commit or to freeze the memtable; ends when it is dropped.
pub(super) struct Turn(Database);

impl Drop for Turn {
    fn drop(&mut self) {
        *self.0.inner.writing.lock().unwrap_or_else(PoisonError::into_inner) = false;
        self.0.inner.settled.notify_all();
    }
}

impl Database {
    /// Opens the state file; makes it if it is missing and `create` says so.
    ///
    /// # Errors
    /// [`DiskError`] that names the file, what is wrong with it and the way out. Nothing is changed then.
    pub fn open(path: &Path, create: bool) -> Result<Self, DiskError> {
        guarded(path, || Self::open_file(path, create))
    }

    fn open_file(path: &Path, create: bool) -> Result<Self, DiskError> {
        let mut builder = redb::Builder::new();
        builder.set_cache_size(STATE_CACHE_BYTES_MAX);
        let opened = if create { builder.create(path) } else { builder.open(path) };
        let redb = opened.map_err(|error| explain(path, "open it", error))?;
        let in_use = prepare(&redb, path)?;
        let base = Base::new(redb.begin_read().map_err(|error| explain(path, "begin a read", error))?);
        let view = View { commit: 0, active: Arc::default(), frozen: None, base };
        Ok(Self {
            inner: Arc::new(Inner {
                redb,
                path: path.to_owned(),
                in_use: AtomicU64::new(in_use),
                view: Mutex::new(Arc::new(view)),
                writing: Mutex::new(false),
                settled: Condvar::new(),
                flushing: Mutex::new(()),
                hurried: AtomicUsize::new(0),
                failed: OnceLock::new(),
            }),
        })
    }

    /// Begins a write transaction; waits for the one that is open, if any, and for the disk where memory is full.
    pub fn begin(&self) -> Result<WriteTxn, DiskError> {
        self.wait_for_memory()?;
        let turn = self.turn();
        Ok(WriteTxn::new(self.clone(), self.reader(), turn))
    }

    /// The tables as of the last commit, durable or not.
    pub fn reader(&self) -> Snapshot {
        Snapshot::new(self.clone(), self.view())
    }

    pub(super) fn view(&self) -> Arc<View> {
        self.inner.view.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until nobody else writes.
    pub(super) fn turn(&self) -> Turn {
        let writing = self.inner.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let free = self.inner.settled.wait_while(writing, |writing| *writing);
        *free.unwrap_or_else(PoisonError::into_inner) = true;
        Turn(self.clone())
    }

    /// Waits while both the disk is behind and memory has taken its share.
    fn wait_for_memory(&self) -> Result<(), DiskError> {
        let full = || {
            let view = self.view();
            view.frozen.is_some() && view.active.bytes() > STATE_MEMORY_BYTES_MAX
        };
        let until = Instant::now() + Duration::from_millis(STATE_FLUSH_WAIT_MS);
        let mut writing = self.inner.writing.lock().unwrap_or_else(PoisonError::into_inner);
        while full() {
            let path = || self.inner.path.clone();
            if let Some(cause) = self.inner.failed.get() {
                return Err(DiskError::Failed { path: path(), cause: cause.clone() });
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let cause = format!("the disk has not taken what waits within {STATE_FLUSH_WAIT_MS} ms");
                return Err(DiskError::Io { path: path(), doing: "begin a write", cause });
            }
            writing = self.inner.settled.wait_timeout(writing, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }

    /// Tells those who wait that a flush has ended.
    pub(super) fn settled(&self) {
        let _writing = self.inner.writing.lock().unwrap_or_else(PoisonError::into_inner);
        self.inner.settled.notify_all();
    }

    /// Makes a transaction's changes visible at once; only who has the turn does so.
    pub(super) fn publish(&self, changes: [TableChanges; Table::ALL.len()]) {
        let view = self.view();
        let commit = view.commit + 1;
        for (table, changes) in Table::ALL.into_iter().zip(changes) {
            if !changes.is_empty() {
                view.active.insert(commit, table, changes);
            }
        }
        self.change_view(|view| view.commit = commit);
    }

    /// Has new readers see something else.
    pub(super) fn change_view(&self, change: impl FnOnce(&mut View)) {
        let mut present = self.inner.view.lock().unwrap_or_else(PoisonError::into_inner);
        let mut view = View::clone(&present);
        change(&mut view);
        *present = Arc::new(view);
    }

    /// The file's size and how much of it is used.
    pub fn usage(&self) -> Result<Usage, DiskError> {
        let file = std::fs::metadata(&self.inner.path).map_err(|error| DiskError::Io {
            path: self.inner.path.clone(),
            doing: "read its size",
            cause: error.to_string(),
        })?;
        let view = self.view();
        let in_memory = view.active.bytes() + view.frozen.as_ref().map_or(0, |frozen| frozen.bytes());
        Ok(Usage {
            on_disk: file.len(),
            in_use: self.inner.in_use.load(Ordering::Relaxed),
            in_memory: in_memory as u64,
        })
    }

    /// Bytes of memory that the next flush will write down, about.
    pub fn memory_bytes(&self) -> usize {
        self.view().active.bytes()
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    pub(super) fn explain(&self, doing: &'static str, error: impl Into<redb::Error>) -> DiskError {
        let error = error.into();
        if let redb::Error::Io(cause) = &error {
            self.inner.failed.get_or_init(|| cause.to_string());
        }
        match (error, self.inner.failed.get()) {
            (redb::Error::PreviousIo, Some(cause)) => {
                DiskError::Failed { path: self.inner.path.clone(), cause: cause.clone() }
            }
            (error, _) => explain(&self.inner.path, doing, error),
        }
    }

    /// Commits durably, with redb's allocator state, so that a crash after it needs no walk through the file.
    pub(super) fn finish(&self, mut txn: redb::WriteTransaction) -> Result<(), DiskError> {
        txn.set_durability(Durability::Immediate).map_err(|error| self.explain("set the durability", error))?;
        txn.set_quick_repair(true);
        guarded(&self.inner.path, || txn.commit().map_err(|error| self.explain("commit a write", error)))
    }
}

/// Makes the tables that are missing and checks the layout. Returns the bytes in use.
fn prepare(redb: &redb::Database, path: &Path) -> Result<u64, DiskError> {
    if let Some(in_use) = prepared(redb, path)? {
        return Ok(in_use);
    }
    let failed = |error: redb::Error| explain(path, "make its tables", error);
    let mut txn = redb.begin_write().map_err(|error| failed(error.into()))?;
    txn.set_quick_repair(true);
    {
        let mut own = txn.open_table(OWN).map_err(|error| failed(error.into()))?;
        own.insert(LAYOUT_KEY, LAYOUT).map_err(|error| failed(error.into()))?;
        own.insert(IN_USE_KEY, 0).map_err(|error| failed(error.into()))?;
    }
    for table in Table::ALL {
        txn.open_table(definition(table)).map_err(|error| failed(error.into()))?;
    }
    txn.commit().map_err(|error| failed(error.into()))?;
    Ok(0)
}

/// The bytes in use, if the tables are there.
fn prepared(redb: &redb::Database, path: &Path) -> Result<Option<u64>, DiskError> {
    let failed = |error: redb::Error| explain(path, "read its tables", error);
    let txn = redb.begin_read().map_err(|error| failed(error.into()))?;
    let own = match txn.open_table(OWN) {
        Ok(own) => own,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
        Err(error) => return Err(failed(error.into())),
    };
    let number = |key| match own.get(key) {
        Ok(value) => Ok(value.map(|guard| guard.value())),
        Err(error) => Err(failed(error.into())),
    };
    match number(LAYOUT_KEY)? {
        Some(LAYOUT) => {}
        other => {
            return Err(DiskError::Format {
                path: path.to_owned(),
                format: other.and_then(|n| u8::try_from(n).ok()).unwrap_or(0),
            });
        }
    }
    for table in Table::ALL {
        txn.open_table(definition(table)).map_err(|error| failed(error.into()))?;
    }
    Ok(Some(number(IN_USE_KEY)?.unwrap_or(0)))
}
