//! What goes through the log: a command, stamped by its proposer, and the reply that every member computes alike.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::alarm::{Alarm, AlarmChange};
use super::auth;
use super::error::KvError;
use super::types::{DeleteRangeRequest, KeyValue, Member, PutRequest, RangeReply, Space, TxnReply, TxnRequest};
use super::v2;
use crate::base::{LeaseId, UnixMillis};

/// One write, complete: whoever applies it needs no clock and no chance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// When the proposer took it, by the proposer's wall clock.
    pub stamp: UnixMillis,
    pub op: Op,
}

/// What a command does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    Put(PutRequest),
    DeleteRange(DeleteRangeRequest),
    Txn(TxnRequest),
    /// A write of the v2 API, decided where it is applied.
    V2(v2::WriteRequest),
    /// `id` is chosen by the proposer, never 0 here. `ttl_ms` is already within bounds.
    LeaseGrant {
        id: LeaseId,
        ttl_ms: i64,
    },
    LeaseRevoke {
        id: LeaseId,
    },
    /// The leader found these leases ended. v2 reports their keys as `expire`.
    LeaseExpire {
        ids: Vec<LeaseId>,
    },
    /// So many milliseconds these leases still had, or `None`: their full time, from the next keep-alive on.
    LeaseCheckpoint {
        left: Vec<(LeaseId, Option<i64>)>,
    },
    /// History up to `revision` may go.
    Compact {
        space: Space,
        revision: i64,
    },
    /// A member made itself known, or changed its name or addresses.
    MemberUpdate(Member),
    /// An alarm is raised or ends.
    Alarm(AlarmChange),
    /// Users and roles change.
    Auth(auth::Change),
    /// What a user asked for when users and roles stood at `auth_revision`. Checked where it is applied; never within
    /// another. All else comes from inside the cluster, or from a time when users were not asked for.
    As {
        user: String,
        auth_revision: u64,
        op: Box<Op>,
    },
}

/// The answer to a command that was carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    Put {
        prev: Option<KeyValue>,
    },
    DeleteRange {
        deleted: i64,
        prev: Vec<KeyValue>,
    },
    Txn(TxnReply),
    V2(v2::Outcome),
    LeaseGrant {
        id: LeaseId,
        ttl_ms: i64,
    },
    LeaseRevoke,
    LeaseExpire,
    LeaseCheckpoint,
    Compact,
    MemberUpdate,
    Auth,
    /// The alarm that was raised, or that ended; `None`: there was none to end.
    Alarm(Option<Alarm>),
    /// Answers a range that was sent as a write (v2 `quorum` reads, ranges within transactions).
    Range(RangeReply),
}

/// Where the store stood when a request was answered. Headers of all dialects are made from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Revision of the user space.
    pub revision: i64,
    /// Revision of the system space.
    pub system_revision: i64,
    /// etcd v2's index.
    pub v2_index: u64,
    pub raft_index: u64,
    pub raft_term: u64,
}

/// A command's fate: where the store stood after it, and the reply or the refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    pub position: Position,
    pub result: Result<Reply, KvError>,
}

impl Op {
    /// What is to be done, whoever asked for it.
    pub fn bare(&self) -> &Op {
        match self {
            Self::As { op, .. } => op,
            op => op,
        }
    }

    /// A put into the user space, as a shorthand.
    pub fn put(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        Self::Put(PutRequest { key: key.into(), value: value.into(), ..PutRequest::default() })
    }
}
