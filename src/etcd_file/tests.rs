//! Files as etcd writes them, whole and broken.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

use super::{EtcdFile, EtcdFileError, Intake, Report, compacted, load, status};
use crate::base::LeaseId;
use crate::bolt::BoltWriter;
use crate::disk::Database;
use crate::kv::{self, PastIndex, RangeRequest};
use crate::wire::mvccpb::KeyValue;
use crate::wire::stored::{StoredLease, encode};

type Buckets = BTreeMap<&'static str, BTreeMap<Vec<u8>, Vec<u8>>>;

fn at(main: i64, sub: u64) -> Vec<u8> {
    [&main.to_be_bytes()[..], b"_", &sub.to_be_bytes()].concat()
}

fn put(key: &'static str, revision: i64, create: i64, version: i64, lease: i64) -> (Vec<u8>, Vec<u8>) {
    let kv = KeyValue {
        key: key.into(),
        value: "v".into(),
        create_revision: create,
        mod_revision: revision,
        version,
        lease,
    };
    (at(revision, 0), encode(&kv))
}

fn deletion(key: &'static str, revision: i64, sub: u64) -> (Vec<u8>, Vec<u8>) {
    let kv = KeyValue { key: key.into(), ..KeyValue::default() };
    ([at(revision, sub), b"t".to_vec()].concat(), encode(&kv))
}

/// What an etcd has that was compacted at 4.
fn buckets() -> Buckets {
    let lease = StoredLease { id: 9, ttl: 60, remaining_ttl: 0 };
    BTreeMap::from([
        ("alarm", BTreeMap::new()),
        ("auth", BTreeMap::from([(b"authEnabled".to_vec(), vec![1])])),
        ("authRoles", BTreeMap::from([(b"root".to_vec(), vec![])])),
        ("authUsers", BTreeMap::from([(b"root".to_vec(), vec![]), (b"u".to_vec(), vec![])])),
        ("cluster", BTreeMap::from([(b"clusterVersion".to_vec(), b"3.6.0".to_vec())])),
        (
            "key",
            BTreeMap::from([
                put("a", 3, 2, 2, 0),
                put("b", 4, 4, 1, 9),
                put("c", 5, 5, 1, 0),
                deletion("a", 6, 0),
                deletion("c", 6, 1),
                put("a", 7, 7, 1, 9),
            ]),
        ),
        ("lease", BTreeMap::from([(9i64.to_be_bytes().to_vec(), encode(&lease))])),
        ("members", BTreeMap::from([(b"8e9e".to_vec(), br#"{"id":1,"name":"old"}"#.to_vec())])),
        ("meta", BTreeMap::from([(b"finishedCompactRev".to_vec(), at(4, 0)), (b"term".to_vec(), vec![0; 8])])),
        ("newer", BTreeMap::new()),
    ])
}

fn bytes(buckets: &Buckets, sealed: bool) -> Vec<u8> {
    let mut writer = BoltWriter::new(std::io::Cursor::new(Vec::new())).unwrap();
    for (name, keys) in buckets {
        writer.bucket(name.as_bytes()).unwrap();
        keys.iter().for_each(|(key, value)| writer.put(key, value).unwrap());
    }
    let mut bytes = writer.finish().unwrap().0.into_inner();
    if sealed {
        let sum = Sha256::digest(&bytes);
        bytes.extend_from_slice(&sum);
    }
    bytes
}

fn take(folder: &Path, bytes: &[u8]) -> Result<(Report, Database), EtcdFileError> {
    let path = folder.join("db");
    std::fs::write(&path, bytes).unwrap();
    let file = EtcdFile::open(&path)?;
    status(&file)?;
    let state = folder.join(format!("state-{}", rand::random::<u64>()));
    let database = Database::open(&state, true).unwrap();
    let mut intake = Intake::new(&database, 1, compacted(&file)?)?;
    let mut report = load(&file, &mut intake, PastIndex::Next)?;
    report.loaded = intake.finish(report.revision)?;
    Ok((report, database))
}

#[test]
fn a_file_is_taken_and_what_is_left_is_told() {
    let folder = tempfile::tempdir().unwrap();
    for sealed in [true, false] {
        let (report, database) = take(folder.path(), &bytes(&buckets(), sealed)).unwrap();
        assert_eq!((report.revision, report.compacted, report.sealed), (7, 4, sealed));
        assert_eq!((report.loaded.changes, report.loaded.deletions, report.loaded.leases), (4, 2, 1));
        assert_eq!((report.auth_enabled, report.users, report.roles, report.alarms), (true, 2, 1, 0));
        assert_eq!(
            (report.members, report.version, report.unknown),
            (vec!["old".to_owned()], Some("3.6.0".to_owned()), vec!["newer".to_owned()])
        );
        let request = RangeRequest { key: "\0".into(), range_end: "\0".into(), revision: 5, ..RangeRequest::default() };
        let (position, reply) = kv::range(&database.reader(), &request).unwrap().unwrap();
        assert_eq!(position.revision, 7);
        let kvs: Vec<_> = reply.kvs.iter().map(|kv| (&kv.key[..], kv.mod_revision, kv.version, kv.lease)).collect();
        assert_eq!(kvs, [(&b"a"[..], 3, 2, LeaseId::NONE), (b"b", 4, 1, LeaseId(9)), (b"c", 5, 1, LeaseId::NONE)]);
    }
}

#[test]
fn what_contradicts_itself_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let with = |bucket: &'static str, (key, value): (Vec<u8>, Vec<u8>)| {
        let mut buckets = buckets();
        buckets.entry(bucket).or_default().insert(key, value);
        buckets
    };
    let without = |bucket: &'static str, key: &[u8]| {
        let mut buckets = buckets();
        buckets.entry(bucket).or_default().remove(key);
        buckets
    };
    let (seven, eight) = (at(7, 0), at(8, 0));
    let cases = [
        ("what it was before is missing", with("key", put("lost", 8, 5, 2, 0))),
        ("it is deleted and was not there", with("key", deletion("lost", 8, 0))),
        ("says revision 7, version 1", with("key", (eight.clone(), put("a", 7, 7, 1, 0).1))),
        ("revision 8: ", with("key", (eight, vec![0xff; 9]))),
        ("is no revision", with("key", (b"zzz".to_vec(), vec![]))),
        ("neither that of a put nor of a deletion", with("key", ([at(8, 0), b"x".to_vec()].concat(), vec![]))),
        (
            "says that it is",
            with("lease", (8i64.to_be_bytes().to_vec(), encode(&StoredLease { id: 7, ttl: 1, remaining_ttl: 0 }))),
        ),
        ("seconds to live", with("lease", (0i64.to_be_bytes().to_vec(), vec![]))),
        ("is no revision", with("meta", (b"scheduledCompactRev".to_vec(), vec![1]))),
        ("it is deleted and was not there", without("key", &at(5, 0))),
    ];
    for (expected, buckets) in cases {
        let refused = take(folder.path(), &bytes(&buckets, true)).err().map(|error| error.to_string());
        assert!(refused.as_ref().is_some_and(|why| why.contains(expected)), "{expected}: {refused:?}");
    }
    // What is missing at the end cannot be known.
    assert!(take(folder.path(), &bytes(&without("key", &seven), true)).is_ok());
    let mut no_keys = buckets();
    no_keys.remove("key");
    assert!(matches!(take(folder.path(), &bytes(&no_keys, true)), Err(EtcdFileError::Foreign(_))));
}

#[test]
fn a_file_that_an_etcd_has_open_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    std::fs::write(&path, bytes(&buckets(), false)).unwrap();
    let held = File::open(&path).unwrap();
    held.lock().unwrap();
    assert!(matches!(EtcdFile::open(&path), Err(EtcdFileError::InUse)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whatever is wrong with a member's file, it is answered.
    #[test]
    fn nonsense_is_answered(changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..30)) {
        let folder = tempfile::tempdir().unwrap();
        let mut nonsense = bytes(&buckets(), false);
        // The pages that begin the file have a checksum; all behind them says anything.
        let from = 2 * 4096;
        for (at, byte) in changes {
            let at = from + at.index(nonsense.len() - from);
            nonsense[at] = byte;
        }
        let _ = take(folder.path(), &nonsense);
    }
}
