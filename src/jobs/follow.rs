//! The cluster as the store has it, followed change by change: read once, then told.

use std::sync::Arc;

use super::JobError;
use crate::fleet::Cluster;
use crate::fleet::layout::{Key, PREFIX};
use crate::kv::{Consistency, RangeRequest, Space, Store, WatchRequest, WatchStart, WatchStream, prefix_end};

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
        let doing = "reading the cluster's machines and units";
        let (key, range_end) = (PREFIX.as_bytes().into(), prefix_end(PREFIX.as_bytes()));
        let request = RangeRequest { space: Space::System, key, range_end, ..RangeRequest::default() };
        let (key, range_end) = (request.key.clone(), request.range_end.clone());
        let read = store.range(request, Consistency::Linearizable).await;
        let (position, reply) = read.map_err(|error| JobError::new(doing, error))?;
        let revision = position.system_revision;
        let cluster = Cluster::from_kvs(revision, reply.kvs.iter().map(|kv| (&kv.key, &kv.value, kv.mod_revision)));
        let start = WatchStart::Revision(revision + 1);
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
