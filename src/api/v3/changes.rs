//! Waiting for the next changes of keys, for the services that follow keys on a client's behalf.

use bytes::Bytes;
use tonic::Status;

use crate::api::{Shared, status};
use crate::kv::{Event, KvError, Space, StoreError, WatchEnd, WatchRequest, WatchStart, WatchStream};

/// A watch of a key, or of a range of keys.
pub struct Changes(Box<dyn WatchStream>);

impl Changes {
    /// Every change from `revision` on. `None`: it is compacted, and the keys are to be read anew.
    pub async fn from(shared: &Shared, key: Bytes, range_end: Bytes, revision: i64) -> Result<Option<Self>, Status> {
        let request = WatchRequest { space: Space::User, key, range_end, start: WatchStart::Revision(revision) };
        match shared.store.watch(request).await {
            Ok(events) => Ok(Some(Self(events))),
            Err(StoreError::Refused(KvError::Compacted { .. })) => Ok(None),
            Err(error) => Err(status::failed(&error)),
        }
    }

    /// The next changes, at least one. `None`: some were missed, and the keys are to be read anew.
    pub async fn next(&mut self) -> Result<Option<Vec<Event>>, Status> {
        loop {
            match self.0.next().await {
                Ok(batch) if batch.events.is_empty() => {}
                Ok(batch) => return Ok(Some(batch.events)),
                Err(WatchEnd::Compacted { .. } | WatchEnd::TooSlow { .. }) => return Ok(None),
                Err(WatchEnd::V2Cleared { .. } | WatchEnd::Closed(_)) => return Err(status::stopping()),
            }
        }
    }
}
