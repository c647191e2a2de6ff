//! The cluster as the store has it, followed change by change: read once, then told.

use std::sync::Arc;

use super::JobError;
use crate::fleet::Cluster;
use crate::fleet::layout::{Key, PREFIX};
use crate::kv::{Space, Store, WatchRequest, WatchStart, WatchStream, prefix_end};

/// A [`Cluster`] that keeps up with the store.
pub struct Follower {
    pub cluster: Cluster,
    watch: Box<dyn WatchStream>,
}

impl Follower {
    /// Reads the cluster and goes on from there: no change is missed, none is seen twice.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn open(store: &Arc<dyn Store>) -> Result<Self, JobError> {
        let read = Cluster::read(&**store).await;
        let cluster = read.map_err(|error| JobError::new("reading the cluster's machines and units", error))?;
        let (key, range_end) = (PREFIX.as_bytes().into(), prefix_end(PREFIX.as_bytes()));
        let start = WatchStart::Revision(cluster.revision + 1);
        let watch = store.watch(WatchRequest { space: Space::System, key, range_end, start }).await;
        let watch = watch.map_err(|error| JobError::new("watching the cluster's machines and units", error))?;
        Ok(Self { cluster, watch })
    }

    /// Waits for the next changes and takes them in. Cancel-safe.
    ///
    /// # Errors
    /// Where the watch ended; open a new follower.
    pub async fn next(&mut self) -> Result<Vec<Key>, JobError> {
        let batch = self.watch.next().await;
        let batch = batch.map_err(|end| JobError::new("watching the cluster's machines and units", end))?;
        Ok(batch.events.iter().filter_map(|event| self.cluster.apply(event)).collect())
    }
}
