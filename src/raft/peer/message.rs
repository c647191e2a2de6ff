//! What peers say to each other. Every frame is a kind, an id that pairs answers with questions, and a body.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest, TransferLeaderResponse,
    VoteRequest, VoteResponse,
};
use serde::{Deserialize, Serialize};

use crate::base::LeaseId;
use crate::kv::{Applied, Lease, MemberChange, MemberChanged, MemberRefusal};
use crate::raft::probation::Memory;
use crate::raft::types::{EncodedOp, SnapshotMeta, TypeConfig, Vote};

/// Connections between two members are apart by what they carry, so that bulk does not delay what must be quick.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Lane {
    /// Heartbeats, votes, signs of life. Kept open.
    Control,
    /// Log entries, handled in their order.
    Log,
    /// Forwarded writes, reads and leases.
    Client,
    /// Snapshots and streams.
    Bulk,
}

impl Lane {
    pub const ALL: [Lane; 4] = [Lane::Control, Lane::Log, Lane::Client, Lane::Bulk];
}

/// Bytes before the body of a frame: kind and id.
pub const HEAD_BYTES: usize = 9;

/// What a frame is. Questions and openings come from the side that connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Body: [`Request`].
    Request = 1,
    /// Body: [`Response`].
    Response = 2,
    /// Opens a stream. Body: the caller's bytes.
    Open = 3,
    /// One piece of a stream. Body: the handler's bytes.
    Chunk = 4,
    /// The stream ended well. No body.
    End = 5,
    /// The stream or its opening failed. Body: the reason as text.
    Fail = 6,
    /// The receiver of a stream has room for one more piece. No body.
    Credit = 7,
    /// The receiver of a stream has gone. No body.
    Cancel = 8,
    /// A sign of life, asked for and given. No body.
    Ping = 9,
    Pong = 10,
}

/// A frame taken apart.
#[derive(Clone, Debug)]
pub struct Frame {
    pub kind: Kind,
    pub id: u64,
    pub body: Bytes,
}

impl Frame {
    pub fn new(kind: Kind, id: u64, body: Bytes) -> Self {
        Self { kind, id, body }
    }

    /// Kind and id as bytes.
    pub fn head(&self) -> [u8; HEAD_BYTES] {
        let mut head = [0; HEAD_BYTES];
        head[0] = self.kind as u8;
        head[1..].copy_from_slice(&self.id.to_be_bytes());
        head
    }

    /// Takes the bytes of a frame apart; `None` where they are none of this protocol.
    pub fn parse(mut bytes: Bytes) -> Option<Self> {
        if bytes.len() < HEAD_BYTES {
            return None;
        }
        let kind = match bytes.get_u8() {
            1 => Kind::Request,
            2 => Kind::Response,
            3 => Kind::Open,
            4 => Kind::Chunk,
            5 => Kind::End,
            6 => Kind::Fail,
            7 => Kind::Credit,
            8 => Kind::Cancel,
            9 => Kind::Ping,
            10 => Kind::Pong,
            _ => return None,
        };
        let id = bytes.get_u64();
        Some(Self { kind, id, body: bytes })
    }
}

/// A question.
#[derive(Serialize, Deserialize)]
pub enum Request {
    Append(AppendEntriesRequest<TypeConfig>),
    Vote(VoteRequest<TypeConfig>),
    PreVote(VoteRequest<TypeConfig>),
    TransferLeader(TransferLeaderRequest<TypeConfig>),
    /// Announces a snapshot of `bytes` bytes.
    SnapshotBegin {
        vote: Vote,
        meta: SnapshotMeta,
        bytes: u64,
    },
    SnapshotChunk {
        transfer: u64,
        offset: u64,
        data: Bytes,
    },
    /// All was sent; `crc` is the CRC-32 of all of it. The answer comes when it is installed.
    SnapshotEnd {
        transfer: u64,
        crc: u32,
    },
    /// Writes for the leader to propose.
    Write(Vec<EncodedOp>),
    /// The log index that a linearizable read must have seen applied.
    ReadIndex,
    KeepAlive(LeaseId),
    LeaseTimeToLive {
        lease: LeaseId,
        keys: bool,
    },
    /// Whether the member belongs to a cluster that has come into being.
    IsFormed,
    /// What is known of the asking member's past. `instance` is the process that asks.
    Remember {
        instance: u64,
    },
    /// The leader is to have a quorum write an entry without the asking member.
    Vouch,
    /// A change of the members for the leader to carry out.
    ChangeMembers(MemberChange),
}

/// An answer.
#[derive(Serialize, Deserialize)]
pub enum Response {
    Append(AppendEntriesResponse<TypeConfig>),
    Vote(VoteResponse<TypeConfig>),
    TransferLeader(TransferLeaderResponse<TypeConfig>),
    /// The number by which the chunks name the transfer.
    SnapshotBegun {
        transfer: u64,
    },
    SnapshotChunk,
    SnapshotInstalled(SnapshotResponse<TypeConfig>),
    /// One for each operation.
    Write(Vec<WriteOutcome>),
    ReadIndex(u64),
    /// Milliseconds to live, 0: no such lease.
    KeepAlive(i64),
    LeaseTimeToLive(Option<(Lease, i64, Vec<Bytes>)>),
    /// The request was for a leader, and this member is none. Nothing was done.
    NotLeader,
    /// Why the request failed.
    Failed(String),
    IsFormed(bool),
    Remember(Memory),
    /// The entry that a quorum holds now.
    Vouched {
        term: u64,
        index: u64,
    },
    ChangeMembers(Result<MemberChanged, MemberRefusal>),
}

/// The fate of a forwarded operation.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum WriteOutcome {
    Applied(Box<Applied>),
    /// Not proposed: the leader has too many waiting.
    Overloaded(String),
    /// Perhaps proposed; nobody knows whether it will be applied.
    Unknown(String),
}

/// The body of a frame. A message that cannot be encoded would be an error of this program.
pub fn encode<T: Serialize>(message: &T) -> Result<Bytes, String> {
    let bytes = BytesMut::with_capacity(256).writer();
    postcard::to_io(message, bytes)
        .map(|writer| writer.into_inner().freeze())
        .map_err(|error| format!("a message could not be encoded: {error}"))
}

/// Reads the body of a frame.
pub fn decode<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, String> {
    postcard::from_bytes(body).map_err(|error| format!("a message could not be read: {error}"))
}
