//! From the file's buckets to changes and leases, and what there is besides.

use std::ops::ControlFlow;

use serde_json::Value;

use super::{EtcdFile, EtcdFileError, Intake};
use crate::base::LeaseId;
use crate::bolt::Content;
use crate::kv::{Loaded, PastChange, PastIndex};
use crate::wire::stored;

/// Buckets whose content is taken over or told of.
const KNOWN: [&str; 10] =
    ["alarm", "auth", "authRoles", "authUsers", "cluster", "key", "lease", "members", "members_removed", "meta"];
/// Bytes of a revision as a key, without the mark of a deletion.
const REVISION_BYTES: usize = 17;

/// What a file holds besides keys and leases, and how far its history goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub loaded: Loaded,
    /// The newest revision.
    pub revision: i64,
    /// History before it cannot be read; 0: all of it is there.
    pub compacted: i64,
    /// Whether the file had a checksum.
    pub sealed: bool,
    pub auth_enabled: bool,
    pub users: u64,
    pub roles: u64,
    pub alarms: u64,
    /// The old cluster's members: names, or ids of those without.
    pub members: Vec<String>,
    /// The version that the old cluster said it had.
    pub version: Option<String>,
    /// Buckets that no etcd up to 3.6 has.
    pub unknown: Vec<String>,
}

/// The compaction mark, which says from where on a file's history is whole.
///
/// # Errors
/// Damage.
pub fn compacted(file: &EtcdFile) -> Result<i64, EtcdFileError> {
    let mut mark = 0;
    each(file, "meta", |key, value| {
        if matches!(key, b"finishedCompactRev" | b"scheduledCompactRev") {
            mark = mark.max(revision(value)?.0);
        }
        Ok(())
    })?;
    Ok(mark)
}

/// Takes leases and keys with their history over. Every change gets `index`, see [`PastIndex`].
///
/// # Errors
/// Damage, and data that contradicts itself.
pub fn load(file: &EtcdFile, intake: &mut Intake<'_>, index: PastIndex) -> Result<Report, EtcdFileError> {
    let mut report = survey(file)?;
    report.compacted = compacted(file)?;
    each(file, "lease", |key, value| {
        let id = key.try_into().map(i64::from_be_bytes).map_err(|_| damaged("a lease's number is cut"))?;
        let lease = stored::lease(value).map_err(|why| damaged(&format!("lease {id:016x}: {why}")))?;
        if lease.id != id {
            return Err(damaged(&format!("lease {id:016x} says that it is {:016x}", lease.id)));
        }
        intake.lease(LeaseId(id), lease.ttl)
    })?;
    each(file, "key", |key, value| {
        let (change, at) = change(key, value, index)?;
        report.revision = at;
        intake.change(change)
    })?;
    report.revision = report.revision.max(report.compacted);
    Ok(report)
}

/// A change, and its revision.
fn change(key: &[u8], value: &[u8], v2: PastIndex) -> Result<(PastChange, i64), EtcdFileError> {
    let (main, sub) = revision(key)?;
    let wrong = |why: String| damaged(&format!("revision {main}: {why}"));
    let deleted = match &key[REVISION_BYTES..] {
        [] => false,
        [b't'] => true,
        _ => return Err(wrong("its mark is neither that of a put nor of a deletion".to_owned())),
    };
    let kv = stored::key_value(value).map_err(wrong)?;
    let plain = PastChange { revision: main, sub, key: kv.key, v2, ..PastChange::default() };
    if deleted {
        return Ok((plain, main));
    }
    if kv.mod_revision != main || kv.version < 1 {
        return Err(wrong(format!("its record says revision {}, version {}", kv.mod_revision, kv.version)));
    }
    let change = PastChange {
        value: kv.value,
        create_revision: kv.create_revision,
        version: kv.version,
        lease: LeaseId(kv.lease),
        ..plain
    };
    Ok((change, main))
}

/// Reads a revision: main and sub.
pub(super) fn revision(bytes: &[u8]) -> Result<(i64, u32), EtcdFileError> {
    let number = |at: usize| bytes.get(at..at + 8).and_then(|part| part.try_into().ok()).map(u64::from_be_bytes);
    let main = number(0).and_then(|main| i64::try_from(main).ok());
    let sub = number(9).and_then(|sub| u32::try_from(sub).ok());
    match (main, bytes.get(8), sub) {
        (Some(main), Some(b'_'), Some(sub)) if bytes.len() >= REVISION_BYTES => Ok((main, sub)),
        _ => Err(damaged(&format!("\"{}\" is no revision", bytes.escape_ascii()))),
    }
}

/// Counts what is not taken over.
fn survey(file: &EtcdFile) -> Result<Report, EtcdFileError> {
    let mut report = Report { sealed: file.sum.is_some(), ..Report::default() };
    let mut has_keys = false;
    file.bolt.visit(&file.bolt.root(), &mut |name, content| {
        let name = String::from_utf8_lossy(name).into_owned();
        let bucket = matches!(content, Content::Bucket(_));
        has_keys |= bucket && name == "key";
        if !bucket || !KNOWN.contains(&name.as_str()) {
            report.unknown.push(name);
        }
        Ok::<_, EtcdFileError>(ControlFlow::Continue(()))
    })?;
    if !has_keys {
        return Err(EtcdFileError::Foreign("it has no bucket `key`".to_owned()));
    }
    each(file, "auth", |key, value| {
        report.auth_enabled |= key == b"authEnabled" && value == [1];
        Ok(())
    })?;
    for (bucket, count) in
        [("authUsers", &mut report.users), ("authRoles", &mut report.roles), ("alarm", &mut report.alarms)]
    {
        each(file, bucket, |_, _| {
            *count += 1;
            Ok(())
        })?;
    }
    each(file, "members", |id, value| {
        let told: Value = serde_json::from_slice(value).unwrap_or_default();
        let name = told["name"].as_str().filter(|name| !name.is_empty()).map(str::to_owned);
        report.members.push(name.unwrap_or_else(|| String::from_utf8_lossy(id).into_owned()));
        Ok(())
    })?;
    each(file, "cluster", |key, value| {
        if key == b"clusterVersion" {
            report.version = Some(String::from_utf8_lossy(value).into_owned());
        }
        Ok(())
    })?;
    Ok(report)
}

/// Visits the keys of a bucket, if there is one.
fn each(
    file: &EtcdFile,
    bucket: &str,
    mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), EtcdFileError>,
) -> Result<(), EtcdFileError> {
    let Some(found) = file.bolt.bucket(bucket.as_bytes())? else { return Ok(()) };
    file.bolt.visit(&found, &mut |key, content| match content {
        Content::Value(value) => visit(key, value).map(|()| ControlFlow::Continue(())),
        Content::Bucket(_) => Err(damaged(&format!("bucket `{bucket}` has a bucket in it"))),
    })
}

fn damaged(why: &str) -> EtcdFileError {
    EtcdFileError::Damaged(format!("it is damaged: {why}"))
}
