//! Secrets of containers as the cluster keeps them, in the system space: `/secrets/NAME` → the bytes. Not below fleet's own keys, so
//! that nobody who follows the cluster hears of them, and no request of a client reads them.

use bytes::Bytes;

use crate::kv::{
    Compare, CompareResult, CompareTarget, DeleteRangeRequest, KeyValue, PutRequest, RangeRequest, Space, TxnOp,
    TxnRequest, prefix_end,
};

const PREFIX: &str = "/secrets/";

fn key(name: &str) -> Bytes {
    format!("{PREFIX}{name}").into()
}

/// Asks for one, with its bytes.
pub fn find(name: &str) -> RangeRequest {
    RangeRequest { space: Space::System, key: key(name), ..RangeRequest::default() }
}

/// Asks for all of them, without their bytes.
pub fn all() -> RangeRequest {
    let range_end = prefix_end(PREFIX.as_bytes());
    RangeRequest { space: Space::System, key: PREFIX.into(), range_end, keys_only: true, ..RangeRequest::default() }
}

/// Keeps one; without `replace` only where there is none of this name.
pub fn put(name: &str, value: Bytes, replace: bool) -> TxnRequest {
    let absent = Compare {
        space: Space::System,
        key: key(name),
        range_end: Bytes::new(),
        result: CompareResult::Equal,
        target: CompareTarget::Create(0),
    };
    let put = PutRequest { space: Space::System, key: key(name), value, ..PutRequest::default() };
    let compare = if replace { Vec::new() } else { vec![absent] };
    TxnRequest { compare, success: vec![TxnOp::Put(put)], failure: Vec::new() }
}

/// Removes one.
pub fn remove(name: &str) -> DeleteRangeRequest {
    DeleteRangeRequest { space: Space::System, key: key(name), ..DeleteRangeRequest::default() }
}

/// The name of one that was found, and how often it has been set.
pub fn listed(found: &KeyValue) -> Option<(&str, i64)> {
    let name = std::str::from_utf8(&found.key).ok()?.strip_prefix(PREFIX)?;
    Some((name, found.version))
}
