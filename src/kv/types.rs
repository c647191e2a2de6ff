//! The values that requests, replies and events are made of. Field meanings follow etcd's v3 API.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::base::{LeaseId, UnixMillis};

/// Which of the two keyspaces a request speaks of. Each has revisions of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Space {
    /// What clients of the etcd v2 and v3 APIs see.
    #[default]
    User,
    /// The cluster's own state: machines, units, states, members. No client request reaches it.
    System,
}

/// A key, its value and its history in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyValue {
    pub key: Bytes,
    pub value: Bytes,
    /// Revision of the last creation; 0 in a delete event.
    pub create_revision: i64,
    /// Revision of the last change.
    pub mod_revision: i64,
    /// Changes since the creation, starting at 1; 0 in a delete event.
    pub version: i64,
    /// The lease that the key is attached to, or [`LeaseId::NONE`].
    pub lease: LeaseId,
    /// etcd v2's `createdIndex`.
    pub v2_created: u64,
    /// etcd v2's `modifiedIndex`.
    pub v2_modified: u64,
}

/// What happened to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventKind {
    Put,
    Delete,
}

/// The v2 verb that an event is reported under. A v3 put is `Set` (`Create` is v2's own word), a v3 delete is `Delete`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum V2Action {
    Set,
    Create,
    Update,
    CompareAndSwap,
    Delete,
    CompareAndDelete,
    Expire,
}

/// How a change looks through the v2 API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct V2Note {
    pub action: V2Action,
    /// The index of the change; all events of one v2 request share it.
    pub index: u64,
    /// The v2 path that the request named, for example the directory whose removal removed this key.
    pub path: Bytes,
    /// Whether `path` is a directory.
    pub dir: bool,
    /// Takes an index, wakes no v2 watcher: a `refresh`, or a v3 change that the v2 view does not show.
    pub silent: bool,
    /// The directory's `createdIndex` if `path` is one, else 0.
    pub created: u64,
    /// When the node at `path` ends after the change, and the seconds until then counted from the change.
    pub expiration: Option<(UnixMillis, i64)>,
    /// The same of the node that was there before.
    pub prev_expiration: Option<(UnixMillis, i64)>,
}

/// One change of one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    pub space: Space,
    pub kind: EventKind,
    /// After the change. A delete carries only the key, `mod_revision` and `v2_modified`.
    pub kv: KeyValue,
    /// Before the change; `None` where the key did not exist (or, in history, where it is compacted).
    pub prev: Option<KeyValue>,
    /// Set in the user space only.
    pub v2: Option<V2Note>,
    /// `None` where the store does not tell, for example a remote etcd.
    pub made: Option<Made>,
}

/// When a change was made, and by whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    /// By the clock of whoever proposed it, and never before the change before it.
    pub at: UnixMillis,
    /// The user who asked for it, where users are asked for.
    pub author: Option<Arc<str>>,
}

/// Put: one key. See etcd's `PutRequest`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutRequest {
    pub space: Space,
    pub key: Bytes,
    pub value: Bytes,
    pub lease: LeaseId,
    pub prev_kv: bool,
    pub ignore_value: bool,
    pub ignore_lease: bool,
}

/// Delete: a key, or the range from `key` to `range_end` (`\0`: everything from `key` on). See etcd's `DeleteRangeRequest`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteRangeRequest {
    pub space: Space,
    pub key: Bytes,
    pub range_end: Bytes,
    pub prev_kv: bool,
}

/// The field that a range is sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SortTarget {
    #[default]
    Key,
    Version,
    Create,
    Mod,
    Value,
}

/// The direction of a sort; `None` is the order of the keys (ascending for any other target).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SortOrder {
    #[default]
    None,
    Ascend,
    Descend,
}

/// Range. See etcd's `RangeRequest`; a bound of 0 and a limit of 0 mean "none".
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangeRequest {
    pub space: Space,
    pub key: Bytes,
    pub range_end: Bytes,
    pub limit: i64,
    /// 0: the newest.
    pub revision: i64,
    pub sort_order: SortOrder,
    pub sort_target: SortTarget,
    pub keys_only: bool,
    pub count_only: bool,
    pub min_mod_revision: i64,
    pub max_mod_revision: i64,
    pub min_create_revision: i64,
    pub max_create_revision: i64,
}

/// What a range found. `count` is the total in the range, whatever the limit and filters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangeReply {
    pub kvs: Vec<KeyValue>,
    pub more: bool,
    pub count: i64,
}

/// The relation that a comparison asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CompareResult {
    Equal,
    Greater,
    Less,
    NotEqual,
}

/// The field that a comparison looks at, with the value to compare it with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CompareTarget {
    Version(i64),
    Create(i64),
    Mod(i64),
    Value(Bytes),
    Lease(LeaseId),
}

/// One condition of a transaction, on a key or on every key of a range.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compare {
    pub space: Space,
    pub key: Bytes,
    pub range_end: Bytes,
    pub result: CompareResult,
    pub target: CompareTarget,
}

/// One operation of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TxnOp {
    Range(RangeRequest),
    Put(PutRequest),
    DeleteRange(DeleteRangeRequest),
    Txn(TxnRequest),
}

/// If all of `compare` hold, `success` runs, else `failure`. May span both spaces.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TxnRequest {
    pub compare: Vec<Compare>,
    pub success: Vec<TxnOp>,
    pub failure: Vec<TxnOp>,
}

/// The answer to one operation of a transaction, in the order of the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TxnOpReply {
    Range(RangeReply),
    Put { prev: Option<KeyValue> },
    DeleteRange { deleted: i64, prev: Vec<KeyValue> },
    Txn(TxnReply),
}

/// Which branch ran, and its answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TxnReply {
    pub succeeded: bool,
    pub replies: Vec<TxnOpReply>,
}

/// A lease as the state machine keeps it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    pub id: LeaseId,
    /// Time to live as granted, in seconds; sub-second presence leases of the system space use `ttl_ms`.
    pub ttl_ms: i64,
}

/// A Raft member as clients see it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    pub id: crate::base::MemberId,
    /// Empty until the member has started for the first time.
    pub name: String,
    pub peer_urls: Vec<String>,
    pub client_urls: Vec<String>,
    pub learner: bool,
}

/// The end of the range of all keys that start with `prefix`: the prefix with its last byte that is not 0xff incremented;
/// `\0` (everything from the key on) where there is none. As etcd's `clientv3.GetPrefixRangeEnd`.
pub fn prefix_end(prefix: &[u8]) -> Bytes {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return Bytes::from(end);
        }
    }
    Bytes::from_static(b"\0")
}
