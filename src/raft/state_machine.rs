//! The state machine as openraft sees it: entries in, replies out, snapshots by flushing.

use std::io;
use std::sync::Arc;

use futures_util::{Stream, StreamExt};
use openraft::storage::{EntryResponder, RaftStateMachine, Snapshot};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder};

use super::machine::Core;
use super::snapshot::SnapshotData;
use super::types::{CommittedLeader, Entry, LogId, Node, SnapshotMeta, StoredMembership, TypeConfig};

/// Entries that one transaction applies.
const ENTRIES_PER_TXN_MAX: usize = 64;

/// Bytes of commands that are applied without another thread: it takes less than to wake one, as a transaction stays in memory.
const APPLY_HERE_BYTES_MAX: usize = 16 << 10;

type OwnSnapshot = Snapshot<CommittedLeader, u64, Node, SnapshotData>;

fn body_bytes(entry: &Entry) -> usize {
    match &entry.payload {
        EntryPayload::Normal(batch) => batch.len(),
        EntryPayload::Blank | EntryPayload::Membership(_) => 0,
    }
}

/// openraft's handle on the core.
#[derive(Clone)]
pub struct StateMachine {
    pub core: Arc<Core>,
}

impl StateMachine {
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Core) -> Result<T, String> + Send + 'static,
    ) -> io::Result<T> {
        let core = self.core.clone();
        tokio::task::spawn_blocking(move || work(&core)).await.map_err(io::Error::other)?.map_err(io::Error::other)
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        Ok(self.core.recorded())
    }

    async fn apply<Strm>(&mut self, entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        let mut chunks = entries.ready_chunks(ENTRIES_PER_TXN_MAX);
        while let Some(chunk) = chunks.next().await {
            let mut entries = Vec::with_capacity(chunk.len());
            let mut responders = Vec::with_capacity(chunk.len());
            for item in chunk {
                let (entry, responder) = item?;
                entries.push(entry);
                responders.push(responder);
            }
            let bytes: usize = entries.iter().map(body_bytes).sum();
            let replies = match bytes <= APPLY_HERE_BYTES_MAX {
                true => self.core.apply(&entries).map_err(io::Error::other)?,
                false => self.blocking(move |core| core.apply(&entries)).await?,
            };
            for (responder, reply) in responders.into_iter().zip(replies) {
                if let Some(responder) = responder {
                    responder.send(reply);
                }
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: SnapshotData) -> Result<(), io::Error> {
        let meta = meta.clone();
        self.blocking(move |core| {
            let mut source = snapshot.read()?;
            core.install(&meta, &mut source)
        })
        .await
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<OwnSnapshot>, io::Error> {
        Ok(self.core.snapshot().map(|meta| Snapshot { meta, snapshot: SnapshotData::Own(self.core.clone()) }))
    }
}

/// A snapshot is the durable state itself: to build one is to flush. It becomes a file when a peer needs it.
impl RaftSnapshotBuilder<TypeConfig> for StateMachine {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> Result<OwnSnapshot, io::Error> {
        let meta = self.blocking(Core::flush).await?;
        self.core.vouch_for(&meta);
        Ok(Snapshot { meta, snapshot: SnapshotData::Own(self.core.clone()) })
    }
}
