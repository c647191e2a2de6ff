//! A limit on everything, in one place. Names end in their unit.

/// Largest client request, as etcd's `--max-request-bytes`.
pub const REQUEST_BYTES_MAX: usize = 1_572_864;
/// Operations in one transaction, as etcd's `--max-txn-ops`.
pub const TXN_OPS_MAX: usize = 128;
/// Shortest lease; etcd's is one and a half election timeouts, rounded up.
pub const LEASE_TTL_SECONDS_MIN: i64 = 2;
/// Longest lease, as etcd's.
pub const LEASE_TTL_SECONDS_MAX: i64 = 9_000_000_000;
/// Commands that one Raft entry may carry.
pub const BATCH_COMMANDS_MAX: usize = 4_096;
/// Bytes of commands that one Raft entry may carry before it is closed.
pub const BATCH_BYTES_MAX: usize = 1 << 20;
/// Commands that may wait for the batcher before writers are told to come back later.
pub const PROPOSALS_PENDING_MAX: usize = 65_536;
/// How long a write or a linearizable read may wait for a quorum.
pub const QUORUM_WAIT_MS_MAX: u64 = 4_000;
/// Unit text, as stored.
pub const UNIT_BYTES_MAX: usize = 512 * 1024;
/// One physical line of a unit file, as go-systemd's parser has it.
pub const UNIT_LINE_BYTES_MAX: usize = 2_048;
/// A unit's name.
pub const UNIT_NAME_BYTES_MAX: usize = 256;
/// Events that a slow watcher may have waiting before it is cut off and told where to resume.
pub const WATCH_BACKLOG_EVENTS_MAX: usize = 16_384;
/// One frame between peers.
pub const PEER_FRAME_BYTES_MAX: usize = 64 << 20;
