//! The resources and the keys that they read, kept up to date.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Shop;
use super::keys::{KeyChange, KeyChanges, Keys, Views};
use super::load::{LoadError, Loaded, load};
use super::snapshot::Snapshot;
use super::worker::{Burst, Worker};
use crate::base::UnixMillis;
use crate::base::limits::{JOB_BACKOFF_MS_MAX, JOB_BACKOFF_MS_MIN, TEMPLATE_BURST_MS_MAX, TEMPLATE_BURST_QUIET_MS};
use crate::confd::cover;
use crate::files::FolderWatch;
use crate::jobs::JobError;

/// Follows keys and the confdir.
pub(super) struct Reconciler {
    keys: Arc<dyn Keys>,
    confdir: PathBuf,
    prefix: String,
    shop: Arc<Shop>,
    folders: Vec<String>,
    workers: Vec<Worker>,
}

impl Reconciler {
    pub fn new(keys: Arc<dyn Keys>, confdir: PathBuf, prefix: String, shop: Arc<Shop>) -> Self {
        Self { keys, confdir, prefix, shop, folders: Vec::new(), workers: Vec::new() }
    }

    /// Loads, follows the keys, and loads again when a file of the confdir changes.
    pub async fn follow_for_ever(&mut self) {
        loop {
            // Watched before it is read: what changes meanwhile is seen.
            let watched = [self.confdir.join("conf.d"), self.confdir.join("templates")];
            let mut watch = match FolderWatch::open(&watched, std::slice::from_ref(&self.confdir)) {
                Ok(watch) => Some(watch),
                Err(error) => {
                    tracing::warn!("changes of {} are not seen before a restart: {error}", self.confdir.display());
                    None
                }
            };
            self.load().await;
            let changed = async {
                match &mut watch {
                    Some(watch) => watch.changed().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = changed => tracing::info!("{} has changed; loading it anew", self.confdir.display()),
                () = self.follow_keys() => {}
            }
        }
    }

    /// Ends all workers, each after the pass that it is at.
    pub async fn close(self) {
        let handles: Vec<_> = self.workers.into_iter().filter_map(Worker::close).collect();
        for handle in handles {
            // How it ended does not matter any more.
            let _ = handle.await;
        }
    }

    /// Loads the resources. The workers of those that are as they were stay; the others' end after the pass they are at.
    async fn load(&mut self) {
        let loaded = self.read_confdir().await;
        loaded.tell();
        if let Some(board) = &self.shop.board {
            let targets = loaded.targets.iter().map(|target| target.name.as_str());
            let names: BTreeSet<&str> =
                targets.chain(loaded.broken.iter().map(|broken| broken.name.as_str())).collect();
            board.retain(&names);
            loaded.broken.iter().for_each(|broken| board.broken(broken));
        }
        self.folders = cover(loaded.targets.iter().map(|target| &target.selection));
        let old = std::mem::take(&mut self.workers).into_iter();
        let mut old: BTreeMap<String, Worker> = old.map(|worker| (worker.target.name.clone(), worker)).collect();
        for target in loaded.targets {
            let worker = match old.remove(&target.name) {
                Some(worker) if worker.target == target => worker,
                changed => Worker::start(target, self.shop.clone(), changed.and_then(Worker::close)),
            };
            self.workers.push(worker);
        }
    }

    async fn read_confdir(&self) -> Loaded {
        let (confdir, prefix) = (self.confdir.clone(), self.prefix.clone());
        let loaded = tokio::task::spawn_blocking(move || load(&confdir, &prefix)).await;
        match loaded {
            Ok(Ok(loaded)) => {
                if loaded.targets.is_empty() {
                    tracing::info!("Found no templates in {}", self.confdir.display());
                }
                loaded
            }
            Ok(Err(LoadError::NoConfdir(confdir))) => {
                tracing::info!("no templates: there is no {}", confdir.display());
                Loaded::default()
            }
            Ok(Err(error)) => {
                tracing::error!("no templates: {error}");
                Loaded::default()
            }
            Err(error) => {
                tracing::error!("no templates: loading them was cut off: {error}");
                Loaded::default()
            }
        }
    }

    /// Reads, follows, and reads again when the store went away or the watch could not keep up.
    async fn follow_keys(&self) {
        if self.workers.is_empty() {
            std::future::pending::<()>().await;
        }
        let mut pause = Duration::from_millis(JOB_BACKOFF_MS_MIN);
        loop {
            let (snapshot, changes) = match self.open().await {
                Ok(opened) => opened,
                Err(error) => {
                    tracing::warn!("templates keep their last good files: {error}; again in {pause:?}");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_millis(JOB_BACKOFF_MS_MAX));
                    continue;
                }
            };
            pause = Duration::from_millis(JOB_BACKOFF_MS_MIN);
            let end = self.follow(snapshot, changes).await;
            tracing::info!("templates read all their keys again: {end}");
        }
    }

    async fn open(&self) -> Result<(Snapshot, Box<dyn KeyChanges>), JobError> {
        let snapshot = self.keys.read(&self.folders).await;
        let snapshot = snapshot.map_err(|error| JobError::new("reading the keys of templates", error))?;
        let changes = self.keys.follow(&self.folders, snapshot.revision).await;
        let changes = changes.map_err(|error| JobError::new("watching the keys of templates", error))?;
        Ok((snapshot, changes))
    }

    /// Hands everything out, then every burst of changes to whom it concerns. Returns why the watch ended.
    async fn follow(&self, mut snapshot: Snapshot, mut changes: Box<dyn KeyChanges>) -> String {
        let mut views = Views::of(&snapshot);
        for worker in &self.workers {
            worker.resync(views.get(&worker.target.selection), snapshot.revision);
        }
        if self.folders.is_empty() {
            // Resources without keys are rendered once; there is nothing to wait for.
            std::future::pending::<()>().await;
        }
        loop {
            let first = match changes.next().await {
                Ok(first) => first,
                Err(end) => return end,
            };
            let (heard, mut written) = (Instant::now(), first.written);
            let mut keys = snapshot.take(first);
            let ended = collect_burst(&mut *changes, &mut snapshot, &mut keys, &mut written).await;
            keys.sort_unstable();
            keys.dedup();
            self.hand_out(&snapshot, &Burst { keys: &keys, revision: snapshot.revision, written, heard });
            if let Some(end) = ended {
                return end;
            }
        }
    }

    fn hand_out(&self, snapshot: &Snapshot, burst: &Burst<'_>) {
        let mut views = Views::of(snapshot);
        for worker in &self.workers {
            let mine = worker.concerns(burst);
            if !mine.is_empty() {
                worker.changed(views.get(&worker.target.selection), &mine, burst);
            }
        }
    }
}

/// Takes in what follows at once, so that one render answers all of it. Returns why the watch ended, if it did.
async fn collect_burst(
    changes: &mut dyn KeyChanges,
    snapshot: &mut Snapshot,
    keys: &mut Vec<String>,
    written: &mut Option<UnixMillis>,
) -> Option<String> {
    let end = Instant::now() + Duration::from_millis(TEMPLATE_BURST_MS_MAX);
    loop {
        let quiet = Instant::now() + Duration::from_millis(TEMPLATE_BURST_QUIET_MS);
        let next: Result<KeyChange, String> = match tokio::time::timeout_at(quiet.min(end), changes.next()).await {
            Ok(next) => next,
            Err(_) => return None,
        };
        match next {
            Ok(change) => {
                *written = written.or(change.written);
                keys.extend(snapshot.take(change));
            }
            Err(end) => return Some(end),
        }
    }
}
