//! The template reconciler: each resource of a confdir is rendered when keys that it reads change, and at no other time.
//!
//! One watch per folder of keys serves all resources. A burst of changes is one render. Every resource has a worker of its
//! own, so that a reload that hangs delays nobody else. While the store is away the last good files stay; when it is back,
//! everything is looked at once. What failed for a reason outside of the keys is tried again with growing pauses.

mod load;
mod outside;
mod pass;
mod snapshot;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod worker;

pub use load::{LoadError, Loaded, Target, load};
pub use pass::{Context, Options, Outcome, Pass, PassError, process};
pub use snapshot::{Snapshot, read};

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use self::snapshot::{Change, Changes};
use self::worker::Worker;
use super::{Job, JobError, Stop};
use crate::base::BoxFuture;
use crate::base::limits::{JOB_BACKOFF_MS_MAX, JOB_BACKOFF_MS_MIN, TEMPLATE_BURST_MS_MAX, TEMPLATE_BURST_QUIET_MS};
use crate::confd::{Selection, cover};
use crate::kv::Store;

/// The job. Resources are loaded when it starts.
pub struct Templates {
    store: Arc<dyn Store>,
    confdir: PathBuf,
    prefix: String,
    options: Options,
}

impl Job for Templates {
    fn name(&self) -> &'static str {
        "templates"
    }

    fn run(&mut self, mut stop: Stop) -> BoxFuture<'_, Result<(), JobError>> {
        Box::pin(async move {
            let targets = self.load().await?;
            if targets.is_empty() {
                stop.wait().await;
                return Ok(());
            }
            let mut workers = JoinSet::new();
            let mut reconciler = Reconciler::new(self.store.clone(), targets, self.options, &mut workers);
            tokio::select! {
                () = stop.wait() => {}
                () = reconciler.follow_for_ever() => {}
            }
            // A pass under way may end; whoever stops the jobs bounds the wait.
            drop(reconciler);
            while workers.join_next().await.is_some() {}
            Ok(())
        })
    }
}

impl Templates {
    /// Renders the resources of `confdir` (which holds `conf.d/` and `templates/`) from the keys of `store`. `prefix`, if
    /// not empty, replaces the prefix of every resource.
    pub fn new(store: Arc<dyn Store>, confdir: PathBuf, prefix: String) -> Self {
        Self { store, confdir, prefix, options: Options::default() }
    }

    /// The same with other options.
    #[must_use]
    pub fn with(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// The resources that can be used; what is wrong with the others is told.
    async fn load(&self) -> Result<Vec<Arc<Target>>, JobError> {
        let (confdir, prefix) = (self.confdir.clone(), self.prefix.clone());
        let loaded = tokio::task::spawn_blocking(move || load(&confdir, &prefix)).await;
        let loaded = match loaded.map_err(|error| JobError::new("loading template resources", error))? {
            Ok(loaded) => loaded,
            Err(LoadError::NoConfdir(confdir)) => {
                tracing::info!("no templates: there is no {}", confdir.display());
                return Ok(Vec::new());
            }
            Err(error) => {
                tracing::error!("no templates: {error}");
                return Ok(Vec::new());
            }
        };
        loaded.tell();
        if loaded.targets.is_empty() {
            tracing::info!("Found no templates in {}", self.confdir.display());
        }
        Ok(loaded.targets)
    }
}

/// The resources and the keys that they read, kept up to date.
struct Reconciler {
    store: Arc<dyn Store>,
    folders: Vec<String>,
    workers: Vec<Worker>,
}

impl Reconciler {
    fn new(store: Arc<dyn Store>, targets: Vec<Arc<Target>>, options: Options, tasks: &mut JoinSet<()>) -> Self {
        let selections: Vec<&Selection> = targets.iter().map(|target| &target.selection).collect();
        let folders = cover(selections);
        let context = Arc::new(Context::new(options));
        let workers = targets.into_iter().map(|target| Worker::start(target, context.clone(), tasks)).collect();
        Self { store, folders, workers }
    }

    /// Reads, follows, and reads again when the store went away or the watch could not keep up.
    async fn follow_for_ever(&mut self) {
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

    async fn open(&self) -> Result<(Snapshot, Changes), JobError> {
        let snapshot = read(&*self.store, &self.folders).await;
        let snapshot = snapshot.map_err(|error| JobError::new("reading the keys of templates", error))?;
        let changes = Changes::open(&*self.store, &self.folders, snapshot.revision).await;
        let changes = changes.map_err(|error| JobError::new("watching the keys of templates", error))?;
        Ok((snapshot, changes))
    }

    /// Hands everything out, then every burst of changes to whom it concerns. Returns why the watch ended.
    async fn follow(&self, mut snapshot: Snapshot, mut changes: Changes) -> String {
        self.workers.iter().for_each(|worker| worker.resync(&snapshot));
        if self.folders.is_empty() {
            // Resources without keys are rendered once; there is nothing to wait for.
            std::future::pending::<()>().await;
        }
        loop {
            let first = match changes.next().await {
                Ok(first) => first,
                Err(end) => return end,
            };
            let mut keys = snapshot.take(first);
            let ended = collect_burst(&mut changes, &mut snapshot, &mut keys).await;
            keys.sort_unstable();
            keys.dedup();
            if !keys.is_empty() {
                self.workers.iter().for_each(|worker| worker.changed(&snapshot, &keys));
            }
            if let Some(end) = ended {
                return end;
            }
        }
    }
}

/// Takes in what follows at once, so that one render answers all of it. Returns why the watch ended, if it did.
async fn collect_burst(changes: &mut Changes, snapshot: &mut Snapshot, keys: &mut Vec<String>) -> Option<String> {
    let end = Instant::now() + Duration::from_millis(TEMPLATE_BURST_MS_MAX);
    loop {
        let quiet = Instant::now() + Duration::from_millis(TEMPLATE_BURST_QUIET_MS);
        let next: Result<Change, String> = match tokio::time::timeout_at(quiet.min(end), changes.next()).await {
            Ok(next) => next,
            Err(_) => return None,
        };
        match next {
            Ok(change) => keys.extend(snapshot.take(change)),
            Err(end) => return Some(end),
        }
    }
}
