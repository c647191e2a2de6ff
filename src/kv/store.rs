//! The door that every floor above uses: writes, reads, watches, leases and the cluster's state.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::alarm::Alarm;
use super::auth::Auth;
use super::command::{Applied, Op, Position};
use super::error::KvError;
use super::hash::{Hash, HashOf};
use super::members::{MemberChange, MemberChanged, MemberRefusal};
use super::past::{Past, PastRefusal, PastRequest};
use super::types::{Event, Lease, Member, RangeReply, RangeRequest, Space};
use super::v2;
use crate::base::{BoxFuture, ClusterId, LeaseId, MemberId};

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Consistency {
    /// Sees every write acknowledged before the read began; needs a quorum.
    #[default]
    Linearizable,
    /// Answers from the node's own state, which may be behind.
    Serializable,
}

/// Why the store did not answer. [`StoreError::Refused`] is the request's own fault, the rest are the cluster's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    #[error(transparent)]
    Refused(#[from] KvError),
    /// `missing` names each peer that does not answer and since when.
    #[error("no quorum: {reachable} of {voters} voters answer, {needed} are needed; missing: {missing}")]
    NoQuorum { reachable: usize, voters: usize, needed: usize, missing: String },
    #[error("no leader: an election is under way ({detail})")]
    NoLeader { detail: String },
    /// The outcome is unknown: the write may yet happen.
    #[error("request timed out after {waited:?} {doing}")]
    TimedOut { waited: Duration, doing: String },
    #[error("too many requests: {0}")]
    Overloaded(String),
    #[error("this node is stopping")]
    Stopping,
    /// Only the leader does this, and this node is not it.
    #[error("not the leader; the leader is {}", leader.map_or_else(|| "not known".to_owned(), |id| id.to_string()))]
    NotLeader { leader: Option<MemberId> },
    /// Leadership cannot go to `member`.
    #[error("{member} cannot lead: {why}")]
    CannotLead { member: MemberId, why: &'static str },
    /// A change of the members is refused.
    #[error(transparent)]
    Member(#[from] MemberRefusal),
    /// This kind of store cannot do it (a remote etcd, for example).
    #[error("not supported: {0}")]
    Unsupported(String),
    /// The store itself is broken; the node ends.
    #[error("{0}")]
    Broken(String),
}

/// Where a watch begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WatchStart {
    /// With the first change after the watch is made.
    #[default]
    Now,
    /// With the changes of this revision (inclusive), which may lie in the future.
    Revision(i64),
    /// With the change that took this v2 index (inclusive). User space only.
    V2Index(u64),
}

/// What to watch: one key, or the range from `key` to `range_end` (as in a range request).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatchRequest {
    pub space: Space,
    pub key: Bytes,
    pub range_end: Bytes,
    pub start: WatchStart,
}

/// Changes in their order. All events of one revision are in one batch; a batch may hold several revisions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatchBatch {
    /// Every event up to this revision has now been delivered. A batch without events reports progress.
    pub revision: i64,
    pub events: Vec<Event>,
}

/// Why a watch ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WatchEnd {
    /// What it asked for is gone; the oldest that can be watched is the revision after `revision`.
    #[error("required revision has been compacted (compacted to {revision})")]
    Compacted { revision: i64 },
    /// The oldest v2 index still known.
    #[error("the requested history has been cleared (oldest index {oldest})")]
    V2Cleared { oldest: u64 },
    /// The reader was too slow; it may watch again from `resume`.
    #[error("watcher fell behind; resume from revision {resume}")]
    TooSlow { resume: i64 },
    #[error("the store is closing: {0}")]
    Closed(String),
}

/// A running watch; dropping it ends it.
pub trait WatchStream: Send {
    /// Waits for the next batch. Cancel-safe: a dropped wait loses nothing.
    fn next(&mut self) -> BoxFuture<'_, Result<WatchBatch, WatchEnd>>;
    /// The store's position when the watch began.
    fn began(&self) -> Position;
    /// The newest revision of the space up to which this watch has nothing more to deliver, if it has caught up.
    fn caught_up(&self) -> Option<i64>;
}

/// A copy of a moment of the whole state, in pieces; dropping it ends it. What its bytes mean is `disk`'s to say.
pub trait SnapshotStream: Send {
    /// Bytes of all pieces together.
    fn bytes(&self) -> u64;
    /// The next piece; `None` at the end.
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, StoreError>>;
}

/// How a peer answered messages with log entries since this node began to look at it. Times are milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Appends {
    pub succeeded: u64,
    pub failed: u64,
    pub current_ms: f64,
    pub average_ms: f64,
    pub deviation_ms: f64,
    pub minimum_ms: f64,
    pub maximum_ms: f64,
}

/// How a peer is doing, as seen from this node.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerStatus {
    pub id: MemberId,
    pub name: String,
    /// `None`: it answers. Else: for how long it has not, and the last error.
    pub silent: Option<(Duration, String)>,
    pub appends: Appends,
}

/// The node and its cluster at a glance. Never waits.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status {
    pub cluster: ClusterId,
    pub member: MemberId,
    pub name: String,
    pub leader: Option<MemberId>,
    pub learner: bool,
    pub position: Position,
    pub raft_applied: u64,
    /// Bytes of the state file, and of what is in use within it.
    pub db_bytes: u64,
    pub db_bytes_in_use: u64,
    pub peers: Vec<PeerStatus>,
    /// Messages with log entries that leaders have sent to this node.
    pub appends_received: u64,
    /// Writes of the v2 API that this node has applied since it started.
    pub v2_writes: v2::Tally,
    /// The alarms that are raised in the cluster.
    pub alarms: Vec<Alarm>,
    /// What an operator of this node should know.
    pub warnings: Vec<String>,
}

/// The replicated store as seen from one node; any node serves any request.
///
/// Every future resolves within the bounds of `base::limits` with a reply or an error that names the cause.
pub trait Store: Send + Sync + 'static {
    /// Carries out a write on a quorum's disks. The refusal of a request is in [`Applied::result`].
    fn write(&self, op: Op) -> BoxFuture<'_, Result<Applied, StoreError>>;

    /// Reads a range.
    fn range(
        &self,
        request: RangeRequest,
        consistency: Consistency,
    ) -> BoxFuture<'_, Result<(Position, RangeReply), StoreError>>;

    /// Reads a path of the v2 view.
    fn v2_get(
        &self,
        request: v2::GetRequest,
        consistency: Consistency,
    ) -> BoxFuture<'_, Result<(Position, v2::Outcome), StoreError>>;

    /// Waits until this node's own state has every write acknowledged before the call; needs a quorum. What is read
    /// `Serializable` after it is as fresh as a linearizable read.
    fn catch_up(&self) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Users and roles as this node knows them: never older than what a read of its own state that is complete has seen.
    fn auth(&self) -> Arc<Auth>;

    /// Reads the past of keys: what was there at a moment, what changed, when and by whom.
    fn past(
        &self,
        _request: PastRequest,
        _consistency: Consistency,
    ) -> BoxFuture<'_, Result<Result<Past, PastRefusal>, StoreError>> {
        Box::pin(async { Err(StoreError::Unsupported("history with times".to_owned())) })
    }

    /// Starts a watch on this node's own state.
    fn watch(&self, request: WatchRequest) -> BoxFuture<'_, Result<Box<dyn WatchStream>, StoreError>>;

    /// Extends a lease at the leader, without a log entry. Returns its time to live in milliseconds; 0: no such lease.
    fn keep_alive(&self, lease: LeaseId) -> BoxFuture<'_, Result<i64, StoreError>>;

    /// A lease, its remaining milliseconds, and its keys of the user space if asked for. `None`: no such lease.
    #[allow(clippy::type_complexity)]
    fn lease_time_to_live(
        &self,
        lease: LeaseId,
        keys: bool,
    ) -> BoxFuture<'_, Result<Option<(Lease, i64, Vec<Bytes>)>, StoreError>>;

    /// All leases.
    fn leases(&self) -> BoxFuture<'_, Result<Vec<LeaseId>, StoreError>>;

    /// The members, from this node's own state.
    fn members(&self) -> BoxFuture<'_, Result<Vec<Member>, StoreError>>;

    /// The members after every change that was acknowledged before the call; needs a quorum.
    fn members_now(&self) -> BoxFuture<'_, Result<Vec<Member>, StoreError>> {
        self.members()
    }

    /// Changes the members, one change at a time, on whichever node it is asked.
    fn change_members(&self, _: MemberChange) -> BoxFuture<'_, Result<MemberChanged, StoreError>> {
        Box::pin(async { Err(StoreError::Unsupported("this store's members cannot be changed".to_owned())) })
    }

    /// The node and its cluster at a glance.
    fn status(&self) -> Status;

    /// Where this node's own state stands. Never waits.
    fn position(&self) -> Position {
        self.status().position
    }

    /// A hash by which members are compared, from this node's own state.
    fn hash(&self, of: HashOf) -> BoxFuture<'_, Result<Hash, StoreError>>;

    /// A copy of this node's own state at one moment. Writes go on meanwhile.
    fn snapshot(&self) -> BoxFuture<'_, Result<Box<dyn SnapshotStream>, StoreError>>;

    /// Has `to` lead in the place of this node, and completes when it does.
    fn move_leader(&self, to: MemberId) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Completes when this node's view of the leader differs from `known`.
    fn leader_changed(&self, known: Option<MemberId>) -> BoxFuture<'_, Option<MemberId>>;
}
