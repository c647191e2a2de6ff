//! The cluster as this node follows it: read once when it is first asked for, then kept up by one watch that serves all
//! requests. A request first asks the store how far it must have come, so that it sees every write before it.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{broadcast, watch};
use tokio::task::AbortHandle;

use super::failure::Failure;
use crate::base::limits::{FLEET_FEED_BATCHES_MAX, FLEET_VIEW_WAIT_MS_MAX, JOB_BACKOFF_MS_MAX, JOB_BACKOFF_MS_MIN};
use crate::fleet::{Cluster, Key};
use crate::kv::{
    Consistency, RangeRequest, Space, Store, StoreError, WatchBatch, WatchRequest, WatchStart, WatchStream,
};

/// The keys of one batch of changes. The values are in the view.
pub(super) type Changes = Arc<[Key]>;

/// Reads of the cluster, linearizable, without asking the store for all of it each time.
pub(super) struct View {
    shared: Arc<Shared>,
    follower: OnceLock<AbortHandle>,
}

struct Shared {
    store: Arc<dyn Store>,
    /// `None` while it is being read.
    cluster: Mutex<Option<Cluster>>,
    /// The revision of the system space that `cluster` has come to; 0 while there is none.
    revision: watch::Sender<i64>,
    changes: broadcast::Sender<Changes>,
}

impl View {
    pub fn new(store: Arc<dyn Store>) -> Self {
        let shared = Shared {
            store,
            cluster: Mutex::new(None),
            revision: watch::Sender::new(0),
            changes: broadcast::Sender::new(FLEET_FEED_BATCHES_MAX),
        };
        Self { shared: Arc::new(shared), follower: OnceLock::new() }
    }

    /// Reads the cluster as it is after every write that was acknowledged before.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn read<T>(&self, read: impl FnOnce(&Cluster) -> T) -> Result<T, StoreError> {
        if self.catch_up().await?
            && let Some(cluster) = self.shared.lock().as_ref()
        {
            return Ok(read(cluster));
        }
        Ok(read(&Cluster::read(&*self.shared.store).await?))
    }

    /// Reads the cluster, and hands out what changes from that moment on: nothing is missed, nothing told twice.
    ///
    /// # Errors
    /// Where the store does not answer, or this node does not follow it yet.
    pub async fn follow<T>(
        &self,
        read: impl FnOnce(&Cluster) -> T,
    ) -> Result<(T, broadcast::Receiver<Changes>), Failure> {
        self.catch_up().await?;
        match self.shared.lock().as_ref() {
            Some(cluster) => Ok((read(cluster), self.shared.changes.subscribe())),
            None => Err(Failure::NotReady),
        }
    }

    /// Reads the cluster as far as it has come; `None` while it is being read anew.
    pub fn now<T>(&self, read: impl FnOnce(&Cluster) -> T) -> Option<T> {
        self.shared.lock().as_ref().map(read)
    }

    /// Whether the view has come as far as the store is now, within a bound.
    async fn catch_up(&self) -> Result<bool, StoreError> {
        self.follower.get_or_init(|| tokio::spawn(keep_following(self.shared.clone())).abort_handle());
        let mut seen = self.shared.revision.subscribe();
        let key = Key::Plan.bytes();
        let probe = RangeRequest { space: Space::System, key, count_only: true, ..RangeRequest::default() };
        let (position, _) = self.shared.store.range(probe, Consistency::Linearizable).await?;
        let bound = Duration::from_millis(FLEET_VIEW_WAIT_MS_MAX);
        let caught_up = seen.wait_for(|revision| *revision >= position.system_revision);
        Ok(matches!(tokio::time::timeout(bound, caught_up).await, Ok(Ok(_))))
    }
}

impl Drop for View {
    fn drop(&mut self) {
        if let Some(follower) = self.follower.get() {
            follower.abort();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Option<Cluster>> {
        // Whoever panicked held a cluster that is whole or none at all.
        self.cluster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_in(&self, batch: &WatchBatch) {
        let mut cluster = self.lock();
        let Some(cluster) = cluster.as_mut() else { return };
        let keys: Changes = batch.events.iter().filter_map(|event| cluster.apply(event)).collect();
        if !keys.is_empty() {
            // Nobody listens: nobody is told.
            let _ = self.changes.send(keys);
        }
        let newest = batch.revision.max(cluster.revision);
        self.revision.send_replace(newest);
    }
}

async fn keep_following(shared: Arc<Shared>) {
    let mut pause = Duration::from_millis(JOB_BACKOFF_MS_MIN);
    loop {
        match open(&shared).await {
            Ok(watch) => {
                pause = Duration::from_millis(JOB_BACKOFF_MS_MIN);
                let reason = follow(&shared, watch).await;
                tracing::debug!(reason, "following the cluster anew");
            }
            Err(error) => tracing::debug!(%error, "cannot follow the cluster; again in {pause:?}"),
        }
        shared.revision.send_replace(0);
        *shared.lock() = None;
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(JOB_BACKOFF_MS_MAX));
    }
}

async fn open(shared: &Shared) -> Result<Box<dyn WatchStream>, StoreError> {
    let cluster = Cluster::read(&*shared.store).await?;
    let revision = cluster.revision;
    // All of the system space, so that the view comes as far as the space does.
    let request = WatchRequest {
        space: Space::System,
        key: Bytes::from_static(b"\0"),
        range_end: Bytes::from_static(b"\0"),
        start: WatchStart::Revision(revision + 1),
    };
    let watch = shared.store.watch(request).await?;
    *shared.lock() = Some(cluster);
    shared.revision.send_replace(revision);
    Ok(watch)
}

async fn follow(shared: &Shared, mut watch: Box<dyn WatchStream>) -> String {
    loop {
        match watch.next().await {
            Ok(batch) => shared.take_in(&batch),
            Err(end) => return end.to_string(),
        }
    }
}
