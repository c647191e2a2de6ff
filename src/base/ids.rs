//! Ids as types, so that one is never taken for another.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha1::{Digest, Sha1};

/// A Raft member. Computed from its peer URLs and the cluster token as etcd computes it; printed as hex without padding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MemberId(pub u64);

/// A cluster. Computed from its first members' ids as etcd computes it; printed as hex without padding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ClusterId(pub u64);

/// A lease; positive, 0 means "no lease".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LeaseId(pub i64);

/// A host, by the 32 hex digits of its `/etc/machine-id`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MachineId(pub String);

fn first_eight(digest: &[u8]) -> u64 {
    digest.iter().take(8).fold(0, |number, byte| (number << 8) | u64::from(*byte))
}

impl MemberId {
    /// The id of a founding member: the first eight bytes of the SHA-1 of its sorted peer URLs and the cluster's token,
    /// as etcd computes it.
    pub fn computed(peer_urls: &[String], cluster_token: &str) -> Self {
        Self::hashed(peer_urls, cluster_token)
    }

    /// The id of a member that joins a running cluster: its sorted peer URLs and the seconds since 1970 in the token's
    /// stead, as etcd computes it.
    pub fn computed_at(peer_urls: &[String], unix_seconds: i64) -> Self {
        Self::hashed(peer_urls, &unix_seconds.to_string())
    }

    fn hashed(peer_urls: &[String], salt: &str) -> Self {
        let mut sorted: Vec<&str> = peer_urls.iter().map(String::as_str).collect();
        sorted.sort_unstable();
        let mut hash = Sha1::new();
        sorted.iter().for_each(|url| hash.update(url));
        hash.update(salt);
        Self(first_eight(&hash.finalize()))
    }
}

impl ClusterId {
    /// The first eight bytes of the SHA-1 of the founding members' sorted ids, as etcd computes it.
    pub fn computed(members: impl Iterator<Item = MemberId>) -> Self {
        let mut sorted: Vec<MemberId> = members.collect();
        sorted.sort_unstable();
        let mut hash = Sha1::new();
        sorted.iter().for_each(|member| hash.update(member.0.to_be_bytes()));
        Self(first_eight(&hash.finalize()))
    }
}

impl LeaseId {
    /// No lease.
    pub const NONE: LeaseId = LeaseId(0);
}

impl MachineId {
    /// The first eight digits and `...`, as `fleetctl` shows a machine where `--full` is not given.
    pub fn short(&self) -> String {
        let head: String = self.0.chars().take(8).collect();
        format!("{head}...")
    }
}

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Display for MachineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
