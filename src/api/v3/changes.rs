//! Waiting for the next changes of keys, for the services that follow keys on a client's behalf.

use std::sync::Arc;

use bytes::Bytes;
use tonic::Status;

use crate::api::users::{Credentials, reading};
use crate::api::{Shared, status};
use crate::kv::{Event, KvError, Space, StoreError, WatchEnd, WatchRequest, WatchStart, WatchStream};

/// A watch of a key, or of a range of keys, by somebody who may read them.
pub struct Changes {
    stream: Box<dyn WatchStream>,
    key: Bytes,
    range_end: Bytes,
    shared: Arc<Shared>,
    who: Credentials,
}

impl Changes {
    /// Every change from `revision` on. `None`: it is compacted, and the keys are to be read anew.
    pub async fn from(
        shared: &Arc<Shared>,
        who: &Credentials,
        key: Bytes,
        range_end: Bytes,
        revision: i64,
    ) -> Result<Option<Self>, Status> {
        let (shared, who) = (shared.clone(), who.clone());
        let start = WatchStart::Revision(revision);
        let request = WatchRequest { space: Space::User, key: key.clone(), range_end: range_end.clone(), start };
        match shared.store.watch(request).await {
            Ok(stream) => Ok(Some(Self { stream, key, range_end, shared, who })),
            Err(StoreError::Refused(KvError::Compacted { .. })) => Ok(None),
            Err(error) => Err(status::failed(&error)),
        }
    }

    /// The next changes, at least one. `None`: some were missed, and the keys are to be read anew.
    pub async fn next(&mut self) -> Result<Option<Vec<Event>>, Status> {
        loop {
            match self.stream.next().await {
                Ok(batch) if batch.events.is_empty() => {}
                Ok(batch) => {
                    let needs = reading(self.key.clone(), self.range_end.clone());
                    self.shared.check(&self.who, &needs).await.map_err(|error| status::failed(&error))?;
                    return Ok(Some(batch.events));
                }
                Err(WatchEnd::Compacted { .. } | WatchEnd::TooSlow { .. }) => return Ok(None),
                Err(WatchEnd::V2Cleared { .. } | WatchEnd::Closed(_)) => return Err(status::stopping()),
            }
        }
    }
}
