//! Refusals that every member computes alike. The texts are those that etcd's clients match on.

use serde::{Deserialize, Serialize};

use super::auth::AuthError;

/// Why a request cannot be carried out. Source of the texts: etcd's `rpctypes` (their `etcdserver: ` prefix is added at the door).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum KvError {
    #[error("key is not provided")]
    EmptyKey,
    #[error("key not found")]
    KeyNotFound,
    #[error("value is provided")]
    ValueProvided,
    #[error("lease is provided")]
    LeaseProvided,
    #[error("too many operations in txn request")]
    TooManyOps,
    #[error("duplicate key given in txn request")]
    DuplicateKey,
    #[error("invalid sort option")]
    InvalidSortOption,
    /// `revision`: the oldest that can still be read is the one after it.
    #[error("mvcc: required revision has been compacted")]
    Compacted { revision: i64 },
    #[error("mvcc: required revision is a future revision")]
    FutureRevision,
    #[error("requested lease not found")]
    LeaseNotFound,
    #[error("lease already exists")]
    LeaseExists,
    #[error("too large lease TTL")]
    LeaseTtlTooLarge,
    /// An alarm says that there is no room, or the disk of the member that was asked does.
    #[error("mvcc: database space exceeded")]
    NoSpace,
    /// An alarm says that the members' data differ.
    #[error("corrupt cluster")]
    Corrupt,
    #[error("request is too large")]
    RequestTooLarge,
    /// Users, roles or permissions are in the way.
    #[error(transparent)]
    Auth(#[from] AuthError),
}
