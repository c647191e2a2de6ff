//! How a machine's metadata is changed at run time.

use std::collections::BTreeMap;

use super::layout::{Key, encode};
use crate::base::{LeaseId, MachineId};
use crate::kv::TxnRequest;

/// One change of a machine's metadata, as fleet's `PATCH /machines` takes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetadataPatch {
    /// `add`, `replace` or `remove`.
    pub op: String,
    /// `/<machine id>/metadata/<key>`; the machine need not be present.
    pub path: String,
    /// Not empty, for `add` and `replace`.
    pub value: Option<String>,
}

/// Why a change of metadata is refused; the texts are those of fleet's API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    #[error("invalid op: expect add, remove, or replace")]
    Op,
    #[error("machine metadata path invalid")]
    Path,
    #[error("invalid value: add and replace require a value")]
    Value,
}

/// The transaction that makes all of the changes; where a key is named twice, the last counts. What is removed stays away
/// even if the machine's own configuration has it.
///
/// # Errors
/// The first change that is wrong; none is made then.
pub fn patch_metadata(patches: &[MetadataPatch]) -> Result<TxnRequest, PatchError> {
    let mut changes: BTreeMap<Key, String> = BTreeMap::new();
    for patch in patches {
        let removes = match patch.op.as_str() {
            "remove" => true,
            "add" | "replace" => false,
            _ => return Err(PatchError::Op),
        };
        let key = metadata_key(&patch.path).ok_or(PatchError::Path)?;
        let value = match patch.value.as_deref().filter(|v| !v.is_empty()) {
            _ if removes => "",
            Some(value) => value,
            None => return Err(PatchError::Value),
        };
        changes.insert(key, value.to_owned());
    }
    let puts = changes.iter().map(|(key, value)| key.put(encode(value), LeaseId::NONE));
    Ok(TxnRequest { success: puts.collect(), ..TxnRequest::default() })
}

fn metadata_key(path: &str) -> Option<Key> {
    let parts: Vec<&str> = path.split('/').collect();
    let plain = |text: &str| {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
        !text.is_empty() && text.bytes().all(allowed)
    };
    match parts.as_slice() {
        ["", id, "metadata", key] if plain(id) && plain(key) => {
            Some(Key::Metadata(MachineId((*id).to_owned()), (*key).to_owned()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::testkit::{Store, id};
    use super::*;

    #[test]
    fn patch_machines() {
        let patch = |op: &str, path: &str, value: Option<&str>| MetadataPatch {
            op: op.into(),
            path: path.into(),
            value: value.map(Into::into),
        };
        let bad = [
            (patch("set", "/m1/metadata/a", Some("1")), PatchError::Op),
            (patch("add", "/m1/a", Some("1")), PatchError::Path),
            (patch("add", "m1/metadata/a", Some("1")), PatchError::Path),
            (patch("add", "/m1/metadata/a b", Some("1")), PatchError::Path),
            (patch("add", "/m1/metadata/a/b", Some("1")), PatchError::Path),
            (patch("remove", "/m1/metadata/", None), PatchError::Path),
            (patch("add", "/m1/metadata/a", None), PatchError::Value),
            (patch("replace", "/m1/metadata/a", Some("")), PatchError::Value),
        ];
        for (patch, error) in bad {
            assert_eq!(patch_metadata(&[patch]), Err(error));
        }
        let mut store = Store::default();
        store.machine("m1", &[("a", "1"), ("b", "1")]);
        let good = [
            patch("add", "/m1/metadata/c-d.e_f", Some("x")),
            patch("replace", "/m1/metadata/a", Some("2")),
            patch("replace", "/m1/metadata/a", Some("3")),
            patch("remove", "/m1/metadata/b", None),
            patch("add", "/absent/metadata/z", Some("1")),
        ];
        assert!(store.txn(&patch_metadata(&good).unwrap()));
        let cluster = store.cluster();
        let metadata: Vec<(&str, &str)> =
            cluster.machines[&id("m1")].metadata.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(metadata, [("a", "3"), ("c-d.e_f", "x")]);
    }
}
