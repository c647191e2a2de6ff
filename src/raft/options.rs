//! What a node is started with, and what can be wrong then.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::peer::stream::PeerHandler;
use super::seats::Seats;
use crate::base::{Clock, ClusterId, MemberId, Random};
use crate::disk::{DiskError, RoomProbe, RoomRules};
use crate::kv::HistoryRule;
use crate::net::AddressError;
use crate::net::tls::{ClientTls, ServerTls};
use crate::wal::WalError;

/// One of the cluster's first members, or of those that a joining member found there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    pub id: MemberId,
    pub name: String,
    /// Where its peer listener is reached: `http://host:port` or `https://host:port`.
    pub urls: Vec<String>,
}

/// When the log is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotThresholds {
    /// Log entries after which a snapshot is made.
    pub entries: u64,
    /// Log entries that are kept behind it for members that are a little late.
    pub keep: u64,
    /// Bytes of commands after which a snapshot is made and the log cut, however few entries they are.
    pub bytes: u64,
}

impl Default for SnapshotThresholds {
    fn default() -> Self {
        Self { entries: 10_000, keep: 5_000, bytes: 256 << 20 }
    }
}

/// Where the other members come in.
pub struct PeerListener {
    /// Already bound.
    pub listener: tokio::net::TcpListener,
    /// How TLS is spoken there; `None`: it is not.
    pub tls: Option<Arc<ServerTls>>,
}

/// What a node is started with.
pub struct Options {
    pub cluster: ClusterId,
    pub member: MemberId,
    pub name: String,
    /// The members, this one included: the cluster's first ones, the same on all of them, or those that `joins` found.
    /// What the log says of the members later counts more.
    pub peers: Vec<Peer>,
    /// The cluster exists, and has taken this member up: it forms none and waits to be brought up to date.
    pub joins: bool,
    /// A folder for the log and the state alone; made if it is missing.
    pub data_dir: PathBuf,
    pub listeners: Vec<PeerListener>,
    /// How TLS is spoken to members whose URLs ask for it.
    pub dialling: Arc<ClientTls>,
    pub heartbeat_ms: u64,
    pub election_ms: u64,
    /// The leader answers reads on its lease, without asking a quorum. The same on every member; only where no member's clock
    /// ever stands still.
    pub lease_reads: bool,
    /// How many members vote.
    pub seats: Seats,
    /// How often the remaining time of a lease that has longer than this is noted in the log.
    pub lease_checkpoint: Duration,
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Random>,
    pub snapshot: SnapshotThresholds,
    /// Size of a segment of the log; two exist at any time.
    pub wal_segment_bytes: u64,
    /// Serves the calls of other members.
    pub handler: Arc<dyn PeerHandler>,
    /// How much history of clients' keys is kept.
    pub history: HistoryRule,
    /// Looks how much room there is where the data directory is.
    pub room: Arc<dyn RoomProbe>,
    pub room_rules: RoomRules,
}

/// Why a node did not start. Nothing was changed then.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("member {member} ({name}) is not among the initial members; add it to the initial cluster")]
    NotAMember { member: MemberId, name: String },
    #[error("member {0} is listed twice in the initial cluster; each needs a name and an address of its own")]
    ListedTwice(MemberId),
    #[error("peer {name}: {source}")]
    Address { name: String, source: AddressError },
    #[error(
        "heartbeat {heartbeat_ms} ms, election {election_ms} ms: the election timeout must be at least five heartbeats"
    )]
    Timing { heartbeat_ms: u64, election_ms: u64 },
    #[error(
        "data directory {}: it belongs to {found}, this node is {wanted}; point the node to its own directory, or start with an empty one",
        dir.display()
    )]
    Identity { dir: PathBuf, found: String, wanted: String },
    #[error("data directory {}: {why}; restore it from a backup, or remove it and let the member join anew", dir.display())]
    Incomplete { dir: PathBuf, why: String },
    #[error("data directory {}: {why}", dir.display())]
    Directory { dir: PathBuf, why: String },
    /// Source of the texts: etcd's, as it joins.
    #[error("{0}")]
    Join(String),
    #[error(transparent)]
    Log(#[from] WalError),
    #[error(transparent)]
    State(#[from] DiskError),
    #[error("replication could not be started: {0}")]
    Raft(String),
}
