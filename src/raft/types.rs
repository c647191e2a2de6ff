//! The types that openraft is set up with, and the body of a log entry.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use openraft::impls::leader_id_std::LeaderId;
use openraft::vote::RaftLeaderId;
use openraft::{EntryPayload, RaftTypeConfig};
use serde::{Deserialize, Serialize};

use crate::base::UnixMillis;
use crate::kv::{Applied, Command, Op};
use crate::net::Address;

/// openraft's parameters: standard Raft with one leader a term, member ids as node ids.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct TypeConfig;

impl RaftTypeConfig for TypeConfig {
    type D = Batch;
    type R = Vec<Applied>;
    type NodeId = u64;
    type Node = Node;
    type Term = u64;
    type LeaderId = LeaderId<u64, u64>;
    type Vote = openraft::Vote<Self::LeaderId>;
    type Payload = EntryPayload<Batch, u64, Node>;
    type Entry = Entry;
    #[allow(deprecated)] // The crate that it moved to is no dependency of ours; this is the same type.
    type AsyncRuntime = openraft::impls::TokioRuntime;
    type Responder<T>
        = openraft::impls::OneshotResponder<Self, T>
    where
        T: Send + 'static;
    type Batch<T>
        = openraft::impls::InlineBatch<T>
    where
        T: Send + 'static;
    type ErrorSource = openraft::impls::BoxedErrorSource;
}

pub type CommittedLeader = <LeaderId<u64, u64> as openraft::vote::RaftLeaderId>::Committed;
pub type LogId = openraft::LogId<CommittedLeader>;
pub type Vote = openraft::Vote<LeaderId<u64, u64>>;
pub type Entry = openraft::Entry<CommittedLeader, EntryPayload<Batch, u64, Node>>;
pub type StoredMembership = openraft::StoredMembership<CommittedLeader, u64, Node>;
pub type Membership = openraft::Membership<u64, Node>;
pub type SnapshotMeta = openraft::SnapshotMeta<CommittedLeader, u64, Node>;
pub type Raft = openraft::Raft<TypeConfig, super::state_machine::StateMachine>;

/// A place in the log.
pub fn log_id(term: u64, index: u64) -> LogId {
    LogId { leader_id: LeaderId::new(term, 0).to_committed(), index }
}

/// What the membership in the log says of a member.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Where its peer listener is reached.
    pub urls: Vec<String>,
    /// A member that is to vote as soon as it has caught up. A learner stays one until somebody promotes it.
    pub votes: bool,
    /// A member that may vote where there is room among the voters.
    pub stands: bool,
}

impl Node {
    /// Where it is dialled: those of its URLs that can be.
    pub fn addresses(&self) -> Vec<Address> {
        self.urls.iter().filter_map(|url| Address::from_url(url).ok()).collect()
    }
}

/// First byte of every batch. A newer format gets another number; an unknown one is refused.
const BATCH_VERSION: u8 = 1;

/// The body of a log entry: a version byte and the commands that were proposed together, in postcard.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Batch(Bytes);

/// A batch is not one that this version can read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("log entry cannot be read: {0}; was it written by a newer version?")]
pub struct BatchError(String);

/// An operation, encoded by whoever asked for it, so that the batcher only has to join bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EncodedOp(Bytes);

impl EncodedOp {
    pub fn new(op: &Op) -> Result<Self, BatchError> {
        let bytes = postcard::to_allocvec(op).map_err(|error| BatchError(error.to_string()))?;
        Ok(Self(bytes.into()))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The operation, if it is one that this version can read; asked of what comes from another member.
    pub fn decode(&self) -> Result<Op, BatchError> {
        postcard::from_bytes(&self.0).map_err(|error| BatchError(error.to_string()))
    }
}

impl Batch {
    /// Joins `ops`, all stamped with `stamp`. The bytes are those of a `Vec<Command>`: postcard writes a sequence as its
    /// length and its elements, and a struct as its fields.
    pub fn join<'a>(stamp: UnixMillis, ops: impl ExactSizeIterator<Item = &'a EncodedOp>) -> Result<Self, BatchError> {
        let encode = |error: postcard::Error| BatchError(error.to_string());
        let stamp = postcard::to_allocvec(&stamp).map_err(encode)?;
        let count = postcard::to_allocvec(&ops.len()).map_err(encode)?;
        let mut bytes = BytesMut::with_capacity(4096);
        bytes.put_u8(BATCH_VERSION);
        bytes.extend_from_slice(&count);
        for op in ops {
            bytes.extend_from_slice(&stamp);
            bytes.extend_from_slice(&op.0);
        }
        Ok(Self(bytes.freeze()))
    }

    /// The commands.
    pub fn commands(&self) -> Result<Vec<Command>, BatchError> {
        match self.0.split_first() {
            Some((&BATCH_VERSION, body)) => postcard::from_bytes(body).map_err(|error| BatchError(error.to_string())),
            Some((version, _)) => Err(BatchError(format!("unknown version {version}"))),
            None => Err(BatchError("it is empty".to_owned())),
        }
    }

    /// A batch as it was read from the log; looked at when it is applied.
    pub fn from_bytes(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// Its bytes in the log.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// Its size in the log.
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "batch of {} bytes", self.0.len())
    }
}

impl fmt::Display for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "batch of {} bytes", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::base::LeaseId;

    #[test]
    fn a_joined_batch_is_a_vector_of_commands() {
        let ops = [Op::put("a", "1"), Op::LeaseRevoke { id: LeaseId(7) }, Op::put(vec![0xff; 300], vec![0; 70_000])];
        for count in 0..=ops.len() {
            let encoded: Vec<_> = ops[..count].iter().map(|op| EncodedOp::new(op).unwrap()).collect();
            let batch = Batch::join(UnixMillis(-5), encoded.iter()).unwrap();
            let expected: Vec<_> =
                ops[..count].iter().map(|op| Command { stamp: UnixMillis(-5), op: op.clone() }).collect();
            assert_eq!(batch.commands().unwrap(), expected);
        }
    }

    #[test]
    fn a_foreign_batch_is_refused() {
        assert!(Batch(Bytes::new()).commands().is_err());
        let error = Batch(Bytes::from_static(&[9, 0])).commands().unwrap_err();
        assert!(error.to_string().contains("version 9"), "{error}");
        assert!(EncodedOp(Bytes::from_static(&[200, 1])).decode().is_err());
    }
}
