//! gRPC statuses of an etcd as errors of a store.

use std::time::Duration;

use tonic::{Code, Status};

use crate::base::with_causes;
use crate::kv::{KvError, StoreError};

/// Refusals that an etcd tells by its texts. The revision of a compaction is not among what it tells.
const REFUSALS: &[KvError] = &[
    KvError::EmptyKey,
    KvError::KeyNotFound,
    KvError::ValueProvided,
    KvError::LeaseProvided,
    KvError::TooManyOps,
    KvError::DuplicateKey,
    KvError::InvalidSortOption,
    KvError::Compacted { revision: 0 },
    KvError::FutureRevision,
    KvError::LeaseNotFound,
    KvError::LeaseExists,
    KvError::LeaseTtlTooLarge,
    KvError::RequestTooLarge,
    KvError::NoSpace,
    KvError::Corrupt,
];

/// What a status means to whoever asked `doing` and waited at most `waited`.
pub(super) fn store_error(status: &Status, doing: &str, waited: Duration) -> StoreError {
    let text = status.message().strip_prefix("etcdserver: ").unwrap_or(status.message());
    if let Some(refusal) = REFUSALS.iter().find(|refusal| refusal.to_string() == text) {
        return StoreError::Refused(refusal.clone());
    }
    let told = || format!("{doing}: {}", with_causes(status));
    match status.code() {
        _ if text.starts_with("request timed out") => StoreError::TimedOut { waited, doing: doing.to_owned() },
        Code::DeadlineExceeded => StoreError::TimedOut { waited, doing: doing.to_owned() },
        Code::Unavailable if text.starts_with("no leader") => StoreError::NoLeader { detail: doing.to_owned() },
        Code::ResourceExhausted => StoreError::Overloaded(told()),
        Code::Unimplemented => StoreError::Unsupported(told()),
        _ => StoreError::Broken(told()),
    }
}

/// Whether another endpoint may do better.
pub(super) fn try_elsewhere(status: &Status) -> bool {
    // A connection that breaks shows as unknown or cancelled, depending on when.
    matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Cancelled | Code::DeadlineExceeded)
}
