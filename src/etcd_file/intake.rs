//! A history on its way into an empty database: a little at a time, so that memory does not grow with it.

use super::EtcdFileError;
use crate::base::limits::STATE_LOAD_BYTES;
use crate::base::{LeaseId, UnixMillis};
use crate::disk::{Database, WriteTxn};
use crate::kv::{KeyValue, Loaded, Loader, PastChange};

/// Loads leases and changes into a database that nobody else uses. What is in it before [`Intake::finish`] is nothing yet.
pub struct Intake<'a> {
    database: &'a Database,
    /// `None`: the next change begins one.
    txn: Option<WriteTxn>,
    bytes: usize,
    pub loader: Loader,
}

impl<'a> Intake<'a> {
    /// Begins with an empty database, for a cluster of so many members. See [`Loader::new`].
    ///
    /// # Errors
    /// Those of the database.
    pub fn new(database: &'a Database, members: usize, compacted: i64) -> Result<Self, EtcdFileError> {
        let loader = Loader::new(&database.reader(), members, compacted)?;
        Ok(Self { database, txn: None, bytes: 0, loader })
    }

    /// Grants a lease.
    ///
    /// # Errors
    /// A lease that cannot be.
    pub fn lease(&mut self, id: LeaseId, ttl_seconds: i64) -> Result<(), EtcdFileError> {
        let (txn, loader) = self.open()?;
        loader.lease(txn, id, ttl_seconds)?;
        self.grown(64)
    }

    /// Makes the lease of a v2 node. See [`Loader::v2_lease`].
    ///
    /// # Errors
    /// Those of the database.
    pub fn v2_lease(&mut self, index: u64, ttl_seconds: i64, ends: UnixMillis) -> Result<LeaseId, EtcdFileError> {
        let (txn, loader) = self.open()?;
        Ok(loader.v2_lease(txn, index, ttl_seconds, ends)?)
    }

    /// Takes over a change.
    ///
    /// # Errors
    /// A change that cannot have come after those before it.
    pub fn change(&mut self, change: PastChange) -> Result<(), EtcdFileError> {
        let bytes = 256 + 2 * change.key.len() + change.value.len();
        let (txn, loader) = self.open()?;
        loader.change(txn, change)?;
        self.grown(bytes)
    }

    /// Takes over what a key is, without what it was before; in any order.
    ///
    /// # Errors
    /// Numbers that contradict each other.
    pub fn present(&mut self, change: PastChange) -> Result<(), EtcdFileError> {
        let bytes = 256 + 2 * change.key.len() + change.value.len();
        let (txn, loader) = self.open()?;
        loader.present(txn, change)?;
        self.grown(bytes)
    }

    /// What a key is by now.
    ///
    /// # Errors
    /// Those of the database.
    pub fn value(&mut self, key: &[u8]) -> Result<Option<KeyValue>, EtcdFileError> {
        let (txn, loader) = self.open()?;
        Ok(loader.value(txn, key)?)
    }

    /// Notes when a directory of the v2 view was made.
    ///
    /// # Errors
    /// Those of the database.
    pub fn v2_directory(&mut self, path: &str, created: u64) -> Result<(), EtcdFileError> {
        let (txn, loader) = self.open()?;
        Ok(loader.v2_directory(txn, path, created)?)
    }

    fn grown(&mut self, bytes: usize) -> Result<(), EtcdFileError> {
        self.bytes += bytes;
        if self.bytes >= STATE_LOAD_BYTES {
            self.bytes = 0;
            self.txn.take().map_or(Ok(()), |txn| txn.commit(true))?;
        }
        Ok(())
    }

    fn open(&mut self) -> Result<(&mut WriteTxn, &mut Loader), EtcdFileError> {
        let txn = match self.txn.take() {
            Some(txn) => txn,
            None => self.database.begin()?,
        };
        Ok((self.txn.insert(txn), &mut self.loader))
    }

    /// Ends the history at `revision` at the earliest.
    ///
    /// # Errors
    /// Those of the database.
    pub fn finish(self, revision: i64) -> Result<Loaded, EtcdFileError> {
        let Self { database, txn, loader, .. } = self;
        let mut txn = match txn {
            Some(txn) => txn,
            None => database.begin()?,
        };
        let loaded = loader.finish(&mut txn, revision)?;
        txn.commit(true)?;
        Ok(loaded)
    }
}
