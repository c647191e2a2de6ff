//! The replicated store as the floors above see it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openraft::async_runtime::watch::WatchReceiver;
use tokio::sync::watch;
use tokio::time::Instant;

use super::hub;
use super::lease_keeper;
use super::maintenance;
use super::members;
use super::node::Node;
use super::peer::session::PeerError;
use super::peer::stream::{CallStream, PeerHandler};
use super::types::EncodedOp;
use super::upkeep;
use crate::base::limits::{OP_BYTES_MAX, QUORUM_WAIT_MS_MAX};
use crate::base::{BoxFuture, LeaseId, MemberId};
use crate::disk::Snapshot;
use crate::kv::auth::Auth;
use crate::kv::{
    self, Applied, Consistency, Hash, HashOf, KvError, Lease, Member, MemberChange, MemberChanged, Op, Past,
    PastRefusal, PastRequest, Position, RangeReply, RangeRequest, Reply, SnapshotStream, Status, Store, StoreError,
    TablesError, TxnRequest, WatchRequest, WatchStream, v2,
};

/// A member of the cluster with its own copy of the state.
pub struct RaftStore {
    pub(super) node: Arc<Node>,
    pub(super) handler: Arc<dyn PeerHandler>,
    pub(super) log: super::log_store::LogStore,
    pub(super) stopped: tokio::sync::Mutex<bool>,
}

impl RaftStore {
    /// Calls the [`PeerHandler`] of a member, this one included, and returns its answer as a stream.
    ///
    /// # Errors
    /// That the member is unknown or cannot be reached. What the handler refuses comes as the stream's first item.
    pub async fn call(&self, member: MemberId, payload: Bytes) -> Result<CallStream, PeerError> {
        let node = &self.node;
        if member == node.me.member {
            let handled = self.handler.handle(member, payload).await;
            return handled.map(CallStream::local).map_err(PeerError::Failed);
        }
        node.peers.call(member, payload, wait()).await
    }

    /// Makes the connections to all peers anew, without an interruption, so that they show this member's certificate as it is now.
    pub async fn renew_connections(&self) {
        self.node.peers.renew().await;
    }

    /// Completes when another change of the membership than that at `known` in the log is the last one that this member has applied.
    pub async fn members_changed(&self, known: Option<u64>) -> Option<u64> {
        let mut changes = self.node.raft.server_metrics();
        let mut progress = self.node.core.progress();
        loop {
            let at = changes.borrow_and_update().committed_membership_config.log_id().map(|id| id.index);
            if at != known && progress.wait_for(|done| done.applied.map(|id| id.index) >= at).await.is_ok() {
                return at;
            }
            if changes.changed().await.is_err() {
                // Replication has ended, and with it the node.
                return std::future::pending().await;
            }
        }
    }

    /// Term and index of the newest entry of this member's log, committed or not.
    pub fn log_end(&self) -> (u64, u64) {
        self.log.last().map_or((0, 0), |id| (id.leader_id.term, id.index))
    }

    /// Completes when this node can do nothing any more, with the reason; the process should then end.
    pub async fn broken(&self) -> String {
        let mut lead = self.node.lead.subscribe();
        loop {
            if let Some(error) = self.node.broken() {
                return error.to_string();
            }
            // The view of the leader changes when openraft ends.
            if lead.changed().await.is_err() {
                return "replication has ended".to_owned();
            }
        }
    }

    /// Completes when this member was removed from the cluster, with the reason; the process should then end for good.
    pub async fn removed(&self) -> String {
        self.node.peers.roll.expelled().await
    }

    /// Reads the state as of now, where blocking is allowed.
    async fn read<T: Send + 'static>(
        &self,
        quick: bool,
        read: impl FnOnce(&Snapshot) -> Result<T, TablesError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let database = self.node.core.database().map_err(|_| StoreError::Stopping)?;
        let work = move || {
            let snapshot = database.reader();
            read(&snapshot).map_err(|error| error.to_string())
        };
        let result = match quick {
            true => work(),
            false => match tokio::task::spawn_blocking(work).await {
                Ok(result) => result,
                Err(error) => Err(error.to_string()),
            },
        };
        result.map_err(StoreError::Broken)
    }

    async fn consistent(&self, consistency: Consistency) -> Result<(), StoreError> {
        match consistency {
            Consistency::Serializable => Ok(()),
            Consistency::Linearizable => self.node.reads.linearize(&self.node).await,
        }
    }

    async fn write_op(&self, op: &Op) -> Result<Applied, StoreError> {
        let encoded = EncodedOp::new(op).map_err(|error| StoreError::Broken(error.to_string()))?;
        if encoded.len() > OP_BYTES_MAX {
            return Err(StoreError::Refused(KvError::RequestTooLarge));
        }
        upkeep::admit(&self.node, op)?;
        let fate = self.node.proposer.submit(encoded)?;
        match tokio::time::timeout(wait(), fate).await {
            Ok(Ok(fate)) => fate,
            Ok(Err(_)) => Err(self.node.broken().unwrap_or(StoreError::Stopping)),
            Err(_) => Err(self.node.unavailable("writing")),
        }
    }

    async fn read_txn(&self, request: TxnRequest) -> Result<Applied, StoreError> {
        self.consistent(Consistency::Linearizable).await?;
        let (position, result) = self.read(false, move |snapshot| kv::read_txn(snapshot, &request)).await?;
        Ok(Applied { position, result: result.map(Reply::Txn) })
    }
}

fn wait() -> Duration {
    Duration::from_millis(QUORUM_WAIT_MS_MAX)
}

impl Store for RaftStore {
    fn write(&self, op: Op) -> BoxFuture<'_, Result<Applied, StoreError>> {
        Box::pin(async move {
            match op {
                // What changes nothing needs no place in the log, unless somebody's rights are to be checked there.
                Op::Txn(request) if request.reads_only() && !self.node.core.auth().enabled() => {
                    self.read_txn(request).await
                }
                op => self.write_op(&op).await,
            }
        })
    }

    fn range(
        &self,
        request: RangeRequest,
        consistency: Consistency,
    ) -> BoxFuture<'_, Result<(Position, RangeReply), StoreError>> {
        Box::pin(async move {
            self.consistent(consistency).await?;
            let quick = request.range_end.is_empty();
            let read = self.read(quick, move |snapshot| kv::range(snapshot, &request)).await?;
            Ok(read?)
        })
    }

    fn v2_get(
        &self,
        request: v2::GetRequest,
        consistency: Consistency,
    ) -> BoxFuture<'_, Result<(Position, v2::Outcome), StoreError>> {
        Box::pin(async move {
            self.consistent(consistency).await?;
            self.read(false, move |snapshot| v2::get(snapshot, &request)).await
        })
    }

    fn catch_up(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.consistent(Consistency::Linearizable))
    }

    fn auth(&self) -> Arc<Auth> {
        self.node.core.auth()
    }

    fn past(
        &self,
        request: PastRequest,
        consistency: Consistency,
    ) -> BoxFuture<'_, Result<Result<Past, PastRefusal>, StoreError>> {
        Box::pin(async move {
            self.consistent(consistency).await?;
            self.read(false, move |snapshot| kv::past(snapshot, &request)).await
        })
    }

    fn watch(&self, request: WatchRequest) -> BoxFuture<'_, Result<Box<dyn WatchStream>, StoreError>> {
        Box::pin(async move {
            let core = self.node.core.clone();
            let watching = tokio::task::spawn_blocking(move || hub::watch(&core, request));
            watching.await.unwrap_or_else(|error| Err(StoreError::Broken(error.to_string())))
        })
    }

    fn keep_alive(&self, lease: LeaseId) -> BoxFuture<'_, Result<i64, StoreError>> {
        Box::pin(lease_keeper::keep_alive(&self.node, lease))
    }

    fn lease_time_to_live(
        &self,
        lease: LeaseId,
        keys: bool,
    ) -> BoxFuture<'_, Result<Option<(Lease, i64, Vec<Bytes>)>, StoreError>> {
        Box::pin(lease_keeper::time_to_live(&self.node, lease, keys))
    }

    fn leases(&self) -> BoxFuture<'_, Result<Vec<LeaseId>, StoreError>> {
        Box::pin(async move {
            self.consistent(Consistency::Linearizable).await?;
            let ids = |state: &kv::State| state.leases().map(|record| record.lease.id).collect();
            let core = self.node.core.clone();
            let reading = tokio::task::spawn_blocking(move || core.with_state(ids));
            reading.await.map_err(|error| StoreError::Broken(error.to_string()))
        })
    }

    fn members(&self) -> BoxFuture<'_, Result<Vec<Member>, StoreError>> {
        Box::pin(async { members::all(&self.node) })
    }

    fn members_now(&self) -> BoxFuture<'_, Result<Vec<Member>, StoreError>> {
        Box::pin(async {
            self.consistent(Consistency::Linearizable).await?;
            members::all(&self.node)
        })
    }

    fn change_members(&self, change: MemberChange) -> BoxFuture<'_, Result<MemberChanged, StoreError>> {
        Box::pin(members::change(&self.node, change))
    }

    fn position(&self) -> Position {
        self.node.core.position()
    }

    fn status(&self) -> Status {
        let node = &self.node;
        let progress = *node.core.progress().borrow();
        let usage = node.core.database().ok().and_then(|database| database.usage().ok()).unwrap_or_default();
        let learner = members::is_learner(&node.membership(), node.me.member);
        Status {
            cluster: node.me.cluster,
            member: node.me.member,
            name: node.name.clone(),
            leader: node.lead.borrow().leader,
            learner,
            position: progress.position,
            raft_applied: progress.applied.map_or(0, |id| id.index),
            db_bytes: usage.on_disk,
            db_bytes_in_use: usage.in_use,
            peers: node.peers.health.peers(),
            appends_received: node.peers.health.appends_received(),
            v2_writes: *node.core.v2_writes(),
            alarms: node.core.alarms().to_vec(),
            warnings: node.disk.warning().into_iter().collect(),
        }
    }

    fn hash(&self, of: HashOf) -> BoxFuture<'_, Result<Hash, StoreError>> {
        Box::pin(async move { Ok(self.read(false, move |snapshot| kv::hash(snapshot, of)).await??) })
    }

    fn snapshot(&self) -> BoxFuture<'_, Result<Box<dyn SnapshotStream>, StoreError>> {
        Box::pin(maintenance::snapshot(&self.node))
    }

    fn move_leader(&self, to: MemberId) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(maintenance::move_leader(&self.node, to))
    }

    fn leader_changed(&self, known: Option<MemberId>) -> BoxFuture<'_, Option<MemberId>> {
        Box::pin(async move {
            let mut lead: watch::Receiver<_> = self.node.lead.subscribe();
            let changed = lead.wait_for(|lead| lead.leader != known).await;
            changed.ok().and_then(|lead| lead.leader)
        })
    }
}

/// How long a stop waits for its parts.
const STOP_WAIT: Duration = Duration::from_secs(5);

impl RaftStore {
    /// Ends the node in order: hands leadership over, ends watches and connections, makes the state durable, closes the files.
    pub async fn stop(&self) {
        let mut stopped = self.stopped.lock().await;
        if std::mem::replace(&mut *stopped, true) {
            return;
        }
        let node = &self.node;
        self.hand_over().await;
        node.core.hub.close("this node is stopping");
        let shutdown = node.raft.shutdown();
        if tokio::time::timeout(STOP_WAIT, shutdown).await.is_err() {
            tracing::warn!("replication did not end within {STOP_WAIT:?}");
        }
        node.stop.cancel();
        node.tasks.close();
        if tokio::time::timeout(STOP_WAIT, node.tasks.wait()).await.is_err() {
            tracing::warn!("the node's tasks did not end within {STOP_WAIT:?}");
        }
        let (core, log) = (node.core.clone(), self.log.clone());
        let closing = tokio::task::spawn_blocking(move || {
            let flushed = core.flush();
            core.close();
            log.close();
            flushed
        });
        if let Ok(Err(error)) = closing.await {
            // The log has it all; the next start applies it again.
            tracing::warn!("the state could not be made durable: {error}");
        }
    }

    /// Has another voter lead, if this one does and another one is reachable. What comes in goes to that one then.
    pub async fn hand_over(&self) {
        let node = &self.node;
        let mut lead = node.lead.subscribe();
        if !lead.borrow().here {
            return;
        }
        let Some(heir) = node.heir() else { return };
        let deadline = Instant::now() + node.lease;
        if node.hand_over(heir).await.is_err() {
            return;
        }
        let handed = lead.wait_for(|lead| lead.known.is_some_and(|known| known != node.me.member));
        match tokio::time::timeout_at(deadline, handed).await {
            Ok(_) => tracing::info!(heir = %MemberId(heir), "handed leadership over"),
            Err(_) => tracing::warn!(heir = %MemberId(heir), "leadership was not taken over in time"),
        }
    }
}

impl Drop for RaftStore {
    fn drop(&mut self) {
        // Whoever drops it without a stop gives up what a kill would cost as well.
        self.node.stop.cancel();
    }
}
