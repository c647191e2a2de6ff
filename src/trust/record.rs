//! How the cluster keeps what it trusts: JSON below `/trust/` in the system space, each record changed only by who has read it.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::kv::{
    Compare, CompareResult, CompareTarget, DeleteRangeRequest, KeyValue, PutRequest, RangeRequest, Space, TxnOp,
    TxnRequest, prefix_end,
};

/// Above all of them.
pub const PREFIX: &str = "/trust/";

/// Writes a record over what was read at `mod_revision` (0: there was none), with `more` in the same step.
pub fn put_over<T: Serialize>(key: Bytes, value: &T, mod_revision: i64, more: Vec<TxnOp>) -> TxnRequest {
    let unchanged = Compare {
        space: Space::System,
        key: key.clone(),
        range_end: Bytes::new(),
        result: CompareResult::Equal,
        target: CompareTarget::Mod(mod_revision),
    };
    let mut success = vec![put(key, value)];
    success.extend(more);
    TxnRequest { compare: vec![unchanged], success, failure: Vec::new() }
}

/// Writes a record whatever was there.
pub fn put<T: Serialize>(key: Bytes, value: &T) -> TxnOp {
    // Plain fields: there is nothing in them that JSON cannot hold.
    let value = serde_json::to_vec(value).unwrap_or_default().into();
    TxnOp::Put(PutRequest { space: Space::System, key, value, ..PutRequest::default() })
}

/// Takes a record away.
pub fn remove(key: Bytes) -> TxnOp {
    TxnOp::DeleteRange(DeleteRangeRequest { space: Space::System, key, ..DeleteRangeRequest::default() })
}

/// Asks for one record.
pub fn one(key: Bytes) -> RangeRequest {
    RangeRequest { space: Space::System, key, ..RangeRequest::default() }
}

/// Asks for all records below a prefix.
pub fn below(prefix: &'static str) -> RangeRequest {
    let range_end = prefix_end(prefix.as_bytes());
    RangeRequest { space: Space::System, key: prefix.into(), range_end, ..RangeRequest::default() }
}

/// The records among what a range has found whose keys begin so, each with the revision of its last change.
pub fn read<T: DeserializeOwned>(prefix: &str, found: &[KeyValue]) -> Vec<(T, i64)> {
    let found = found.iter().filter(|kv| kv.key.starts_with(prefix.as_bytes()));
    found.filter_map(|kv| Some((serde_json::from_slice(&kv.value).ok()?, kv.mod_revision))).collect()
}

/// Secrets and hashes as they are sent and kept.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
