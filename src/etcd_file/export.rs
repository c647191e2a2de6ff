//! The way out: a snapshot of ours as a database of etcd's, which `etcdctl snapshot restore` takes.
//!
//! Our tables come in an order in which etcd's buckets can be written one after the other, so neither is ever in memory.
//! Members are left out, as the restore replaces them; what is not users' is not told.

use std::fs::File;
use std::io::{BufWriter, Read, Seek as _, SeekFrom, Write as _};

use sha2::{Digest as _, Sha256};

use super::EtcdFileError;
use crate::base::UnixMillis;
use crate::bolt::{BoltError, BoltWriter};
use crate::disk::read_snapshot;
use crate::kv::{PastChange, TablesError, Told, told};
use crate::wire::mvccpb::KeyValue;
use crate::wire::stored::{StoredLease, encode};

/// What is read or written at a time.
const PIECE_BYTES: usize = 1 << 20;
/// Buckets before the first that is filled, and after the last: etcd expects them to be there.
const BEFORE: [&str; 5] = ["alarm", "auth", "authRoles", "authUsers", "cluster"];

/// How much was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    pub changes: u64,
    pub leases: u64,
    pub revision: i64,
    pub compacted: i64,
    /// Bytes of the file, its checksum included.
    pub bytes: u64,
}

/// Writes what `source`, a snapshot without its seal, holds into `out`, an empty file open for reading and writing. `now`
/// is for leases that end at a certain time.
///
/// # Errors
/// A snapshot that is damaged, and a file that cannot be written; the file is of no use then.
pub fn export(source: &mut dyn Read, out: &File, now: UnixMillis) -> Result<Exported, EtcdFileError> {
    let mut writer = Writer {
        bolt: BoltWriter::new(BufWriter::with_capacity(PIECE_BYTES, out))?,
        bucket: "",
        exported: Exported::default(),
        last: 0,
        now,
    };
    for name in BEFORE {
        writer.bolt.bucket(name.as_bytes())?;
    }
    writer.reach("key")?;
    read_snapshot(source, &mut |table, key, value| {
        let Some(told) = told(table, key, value)? else { return Ok(()) };
        writer.take(told).map_err(|error| TablesError(error.to_string()))
    })?;
    writer.end(out)
}

struct Writer<'a> {
    bolt: BoltWriter<BufWriter<&'a File>>,
    bucket: &'static str,
    exported: Exported,
    /// Revision of the last change.
    last: i64,
    now: UnixMillis,
}

impl Writer<'_> {
    fn reach(&mut self, bucket: &'static str) -> Result<(), BoltError> {
        if self.bucket != bucket {
            self.bucket = bucket;
            self.bolt.bucket(bucket.as_bytes())?;
        }
        Ok(())
    }

    fn take(&mut self, told: Told) -> Result<(), BoltError> {
        match told {
            Told::Change(change) => {
                self.exported.changes += 1;
                self.last = change.revision;
                let (key, value) = record(change);
                self.bolt.put(&key, &value)
            }
            Told::Lease(record) => {
                self.reach("lease")?;
                self.exported.leases += 1;
                // A v2 lease has an end, which etcd's leases do not: it gets the time that it still has.
                let ms = record.ends.map_or(record.lease.ttl_ms, |ends| ends.0.saturating_sub(self.now.0));
                let id = record.lease.id.0;
                let lease = StoredLease { id, ttl: (ms.max(1) + 999) / 1000, remaining_ttl: 0 };
                self.bolt.put(&id.to_be_bytes(), &encode(&lease))
            }
            Told::Revisions { newest, compacted } => {
                self.exported.revision = newest;
                self.exported.compacted = compacted;
                Ok(())
            }
        }
    }

    fn end(mut self, mut out: &File) -> Result<Exported, EtcdFileError> {
        self.reach("lease")?;
        self.bolt.bucket(b"members")?;
        self.bolt.bucket(b"members_removed")?;
        self.bolt.bucket(b"meta")?;
        let mark = revision(self.exported.compacted, 0);
        if self.exported.compacted > 0 {
            // etcd then does the removal that may be left here. A mark behind all changes is the newest revision.
            let done = self.exported.compacted > self.last;
            self.bolt.put(if done { b"finishedCompactRev" } else { b"scheduledCompactRev" }, &mark)?;
        }
        let (_, bytes) = self.bolt.finish()?;
        let mut sum = Sha256::new();
        let mut buffer = vec![0; PIECE_BYTES];
        out.seek(SeekFrom::Start(0))?;
        loop {
            match out.read(&mut buffer)? {
                0 => break,
                read => sum.update(&buffer[..read]),
            }
        }
        let sum = sum.finalize();
        out.write_all(&sum)?;
        out.sync_all()?;
        self.exported.bytes = bytes + sum.len() as u64;
        Ok(self.exported)
    }
}

fn revision(main: i64, sub: u32) -> Vec<u8> {
    [&main.to_be_bytes()[..], b"_", &u64::from(sub).to_be_bytes()].concat()
}

fn record(change: PastChange) -> (Vec<u8>, Vec<u8>) {
    let mut key = revision(change.revision, change.sub);
    let mut kv = KeyValue { key: change.key, ..KeyValue::default() };
    if change.version == 0 {
        key.push(b't');
    } else {
        kv.value = change.value;
        kv.create_revision = change.create_revision;
        kv.mod_revision = change.revision;
        kv.version = change.version;
        kv.lease = change.lease.0;
    }
    (key, encode(&kv))
}
