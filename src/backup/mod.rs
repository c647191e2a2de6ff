//! Backups: copies of the cluster's state in a folder or in a bucket of an S3-compatible store.
//!
//! A backup is what `snapshot save` writes, named by its time and cluster. It is written beside its place, synced, read back and
//! checked, and only then gets its name. What backups there are is asked of the place itself: nothing is kept about them elsewhere.

mod check;
mod credentials;
mod folder;
mod name;
mod s3;
mod staged;
mod target;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;

pub use check::{Found, SnapshotError, look};
pub use name::Name;
pub use staged::Staged;
pub use target::{S3Terms, Target};

use crate::base::{Clock, MemberId, UnixMillis};
use crate::kv::{Store, StoreError};
use crate::wire::seal::Sealer;

/// Whose files those are that are only looked at: no member has this id.
const LOOKING: MemberId = MemberId(0);

/// What can go wrong with a backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{place}: {doing}: {cause}")]
    Io { place: String, doing: &'static str, cause: std::io::Error },
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The text names the store, what was asked of it and what it said.
    #[error("{0}")]
    Remote(String),
    #[error("`{0}` is no name of a backup; `node ctl backup list` shows what there is")]
    Name(String),
    #[error("{place}: there is no backup {name}; `node ctl backup list` shows what there is")]
    Absent { place: String, name: String },
}

impl BackupError {
    fn io(place: impl std::fmt::Display, doing: &'static str, cause: std::io::Error) -> Self {
        Self::Io { place: place.to_string(), doing, cause }
    }
}

/// A backup in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub name: Name,
    pub bytes: u64,
}

/// When backups are made, and how many are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// `None`: only when somebody asks for one.
    pub every: Option<Duration>,
    /// Of each cluster's; `None`: all.
    pub keep: Option<usize>,
}

/// Makes, lists and checks one cluster's backups from one of its nodes.
pub struct Backups {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    target: Target,
    pub rules: Rules,
    /// Where copies are put together that do not come to lie in a folder.
    scratch: PathBuf,
    /// Held while one is made.
    making: tokio::sync::Mutex<()>,
    failure: Mutex<Option<String>>,
}

impl Backups {
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, target: Target, rules: Rules, scratch: PathBuf) -> Self {
        Self { store, clock, target, rules, scratch, making: tokio::sync::Mutex::default(), failure: Mutex::default() }
    }

    /// Where they are, as it was set.
    pub fn place(&self) -> String {
        self.target.to_string()
    }

    /// Why the last one that was to be made was not; `None`: it was.
    pub fn failure(&self) -> Option<String> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, failure: Option<String>) {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = failure;
    }

    /// Removes what an earlier life of the node has left where copies are put together. Before anything else is done.
    ///
    /// # Errors
    /// [`BackupError`] naming the file or the folder.
    pub fn tidy_up(&self) -> Result<(), BackupError> {
        staged::sweep(&self.scratch, LOOKING)
    }

    /// When the newest one of this cluster was made.
    ///
    /// # Errors
    /// [`BackupError`] naming the place; the next one cannot be made then.
    pub async fn newest(&self) -> Result<Option<UnixMillis>, BackupError> {
        let own = self.own().await;
        if let Err(error) = &own {
            self.note(Some(error.to_string()));
        }
        Ok(own?.last().map(|listed| listed.name.made))
    }

    /// Makes a backup of all that was acknowledged before the call, and removes those that are too many.
    ///
    /// # Errors
    /// [`BackupError`]; nothing of the backup is left then.
    pub async fn make(&self) -> Result<(Listed, Found), BackupError> {
        let _alone = self.making.lock().await;
        let made = self.copy().await;
        self.note(made.as_ref().err().map(ToString::to_string));
        let made = made?;
        tracing::info!(backup = %made.0.name, bytes = made.0.bytes, "a backup is in {}", self.target);
        if let Err(error) = self.prune().await {
            tracing::warn!("backups that are too many cannot be removed: {error}");
        }
        Ok(made)
    }

    async fn copy(&self) -> Result<(Listed, Found), BackupError> {
        self.store.catch_up().await?;
        let name = Name { made: self.clock.now(), cluster: self.store.status().cluster };
        let staging = self.target.staging(&self.scratch);
        let owner = self.store.status().member;
        staged::sweep(&staging, owner)?;
        let staged = staged::within(&staging, owner)?;
        self.write(&staged).await?;
        let found = check(staged.path().to_owned()).await?;
        let bytes = found.bytes;
        self.target.put(&name, staged).await?;
        Ok((Listed { name, bytes }, found))
    }

    /// Writes the state as it is now, sealed, onto the disk.
    async fn write(&self, staged: &Staged) -> Result<(), BackupError> {
        let failed = |cause| BackupError::io(staged.path().display(), "writing a copy of the state", cause);
        let mut source = self.store.snapshot().await?;
        let mut out = tokio::fs::File::create(staged.path()).await.map_err(failed)?;
        let mut sealer = Sealer::default();
        while let Some(piece) = source.next().await? {
            sealer.piece(&piece);
            out.write_all(&piece).await.map_err(failed)?;
        }
        out.write_all(&sealer.seal()).await.map_err(failed)?;
        out.flush().await.map_err(failed)?;
        out.sync_all().await.map_err(failed)
    }

    /// All that there are, of other clusters too, the oldest first.
    ///
    /// # Errors
    /// [`BackupError`] naming the place.
    pub async fn list(&self) -> Result<Vec<Listed>, BackupError> {
        self.target.list().await
    }

    /// Those of this cluster.
    async fn own(&self) -> Result<Vec<Listed>, BackupError> {
        let cluster = self.store.status().cluster;
        let mut all = self.list().await?;
        all.retain(|listed| listed.name.cluster == cluster);
        Ok(all)
    }

    /// Reads a backup from its beginning to its end and checks all of it.
    ///
    /// # Errors
    /// [`BackupError`]: what is wrong with it.
    pub async fn verify(&self, name: &Name) -> Result<Found, BackupError> {
        self.target.verify(name, &self.scratch).await
    }

    async fn prune(&self) -> Result<(), BackupError> {
        let Some(keep) = self.rules.keep else { return Ok(()) };
        let own = self.own().await?;
        for listed in &own[..own.len().saturating_sub(keep)] {
            self.target.remove(&listed.name).await?;
            tracing::info!(backup = %listed.name, "removed, as newer ones are kept");
        }
        Ok(())
    }
}

/// As [`look`], where blocking is allowed.
async fn check(file: PathBuf) -> Result<Found, BackupError> {
    let failed = |error: tokio::task::JoinError| BackupError::Remote(format!("checking a backup: {error}"));
    Ok(tokio::task::spawn_blocking(move || look(&file)).await.map_err(failed)??)
}
