//! Opening the state file, beginning reads and writes, making them durable.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use redb::{Durability, ReadableDatabase, TableDefinition};

use super::error::{DiskError, explain, guarded};
use super::reader::Snapshot;
use super::write::WriteTxn;
use crate::base::limits::STATE_CACHE_BYTES_MAX;
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
    /// Bytes of all keys and values in the tables.
    pub in_use: u64,
}

/// The state file. Cheap to clone; one writer at a time, readers never wait.
#[derive(Clone)]
pub struct Database {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) redb: redb::Database,
    pub(super) path: PathBuf,
    pub(super) in_use: AtomicU64,
    /// What the first write that failed met. redb refuses all that follow without saying why.
    failed: OnceLock<String>,
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
        Ok(Self {
            inner: Arc::new(Inner {
                redb,
                path: path.to_owned(),
                in_use: AtomicU64::new(in_use),
                failed: OnceLock::new(),
            }),
        })
    }

    /// Begins a write transaction; waits for the one that is open, if any.
    pub fn begin(&self) -> Result<WriteTxn, DiskError> {
        let txn = self.inner.redb.begin_write().map_err(|error| self.explain("begin a write", error))?;
        Ok(WriteTxn::new(self.clone(), txn, self.reader()?))
    }

    /// The tables as of the last commit, durable or not.
    pub fn reader(&self) -> Result<Snapshot, DiskError> {
        let txn = self.inner.redb.begin_read().map_err(|error| self.explain("begin a read", error))?;
        Ok(Snapshot::new(self.clone(), txn))
    }

    /// Makes every commit so far durable, in such a way that the next start needs no repair.
    pub fn flush(&self) -> Result<(), DiskError> {
        let txn = self.inner.redb.begin_write().map_err(|error| self.explain("begin a write", error))?;
        self.finish(txn, true)
    }

    /// The file's size and how much of it is used.
    pub fn usage(&self) -> Result<Usage, DiskError> {
        let file = std::fs::metadata(&self.inner.path).map_err(|error| DiskError::Io {
            path: self.inner.path.clone(),
            doing: "read its size",
            cause: error.to_string(),
        })?;
        Ok(Usage { on_disk: file.len(), in_use: self.inner.in_use.load(Ordering::Relaxed) })
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

    /// Commits. A durable commit keeps redb's allocator state, so that a crash after it needs no walk through the file.
    pub(super) fn finish(&self, mut txn: redb::WriteTransaction, durable: bool) -> Result<(), DiskError> {
        let durability = if durable { Durability::Immediate } else { Durability::None };
        txn.set_durability(durability).map_err(|error| self.explain("set the durability", error))?;
        txn.set_quick_repair(durable);
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
