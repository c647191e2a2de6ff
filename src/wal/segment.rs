//! One file of the log: its name, its header, how it comes into being, and the directory around it.
//!
//! A segment is written under a temporary name, zero-filled, given its header, synced and only then renamed: a file with a segment's
//! name always has a good header. Zero-filling ahead makes the later syncs cheap, as neither size nor blocks change any more.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::WalError;
use super::frame::{le_u32, le_u64, u32_of};
use crate::base::limits::WAL_IDENTITY_BYTES_MAX;

/// Where the first frame lies. A page of its own: it is never rewritten together with frames.
pub(super) const SEGMENT_HEADER_BYTES: usize = 4_096;
const MAGIC: &[u8; 8] = b"coreWAL\n";
const FORMAT_VERSION: u32 = 1;
const IDENTITY_AT: usize = 32;
/// Bytes of zeros synced at a time, so that filling ahead never floods the disk's queue.
const FILL_CHUNK_BYTES: u64 = 1 << 20;
/// Bytes of zeros written at a time: a page. From larger writes the kernel makes pages of that size in its cache, and the
/// small writes that follow would each make a large page dirty, which the next sync has to look through.
const FILL_WRITE_BYTES: usize = 4 << 10;
/// On a full disk the fill is halved down to this before it is an error.
const FILL_BYTES_MIN: u64 = 64 << 10;
const SUFFIX: &str = ".wal";
const TEMPORARY_SUFFIX: &str = ".wal.tmp";
const LOCK_NAME: &str = "lock";

/// An open segment.
#[derive(Debug)]
pub(super) struct Segment {
    pub seq: u64,
    pub path: PathBuf,
    pub file: File,
    /// Zero-filled bytes, which is when the next segment's turn comes. A frame that is larger than a whole segment goes beyond.
    pub capacity: u64,
}

impl Segment {
    /// Makes segment `seq`, zero-filled up to `bytes` or to what the disk has room for. `stop` abandons the work.
    pub fn create(dir: &Path, seq: u64, identity: &[u8], bytes: u64, stop: &AtomicBool) -> Result<Segment, WalError> {
        let temporary = dir.join(format!("{seq:016x}{TEMPORARY_SUFFIX}"));
        let path = dir.join(format!("{seq:016x}{SUFFIX}"));
        let made = Self::fill(&temporary, seq, identity, bytes, stop).and_then(|(file, capacity)| {
            fs::rename(&temporary, &path).map_err(WalError::io("rename", &temporary))?;
            sync_dir(dir)?;
            Ok(Segment { seq, path, file, capacity })
        });
        if made.is_err() {
            // The next open removes it too; here it gives its room back at once.
            let _ = fs::remove_file(&temporary);
        }
        made
    }

    fn fill(path: &Path, seq: u64, identity: &[u8], bytes: u64, stop: &AtomicBool) -> Result<(File, u64), WalError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)
            .map_err(WalError::io("create", path))?;
        let mut capacity = bytes.max(SEGMENT_HEADER_BYTES as u64);
        while let Err(error) = write_zeros(&file, capacity, stop) {
            if !is_full(&error) || capacity / 2 < FILL_BYTES_MIN {
                return Err(WalError::io("zero-fill", path)(error));
            }
            file.set_len(0).map_err(WalError::io("shrink", path))?;
            capacity /= 2;
            tracing::warn!(path = %path.display(), bytes = capacity, "little room on the disk: the log's next segment is made smaller");
        }
        file.write_all_at(&encode_header(seq, identity), 0)
            .and_then(|()| file.sync_all())
            .map_err(WalError::io("write the header of", path))?;
        Ok((file, capacity))
    }

    /// Opens an existing segment and returns it with its whole contents. The header must be that of segment `seq` of the node `identity`.
    pub fn open(path: &Path, seq: u64, identity: &[u8]) -> Result<(Segment, Vec<u8>), WalError> {
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(WalError::io("open", path))?;
        let bytes = fs::read(path).map_err(WalError::io("read", path))?;
        check_header(path, &bytes, seq, identity)?;
        let segment = Segment { seq, path: path.to_owned(), file, capacity: bytes.len() as u64 };
        Ok((segment, bytes))
    }
}

/// Whether a write failed for want of room.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn write_zeros(file: &File, bytes: u64, stop: &AtomicBool) -> io::Result<()> {
    let zeros = [0; FILL_WRITE_BYTES];
    let mut at = 0;
    while at < bytes {
        if stop.load(Ordering::Relaxed) {
            return Err(io::Error::other("the log is being closed"));
        }
        let chunk_end = bytes.min(at + FILL_CHUNK_BYTES);
        while at < chunk_end {
            let page = (chunk_end - at).min(FILL_WRITE_BYTES as u64);
            file.write_all_at(&zeros[..page as usize], at)?;
            at += page;
        }
        file.sync_data()?;
    }
    Ok(())
}

/// The first page: magic, version, identity's length, number, checksum, identity, zeros.
fn encode_header(seq: u64, identity: &[u8]) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    out.extend_from_slice(&u32_of(identity.len()).to_le_bytes());
    out.extend_from_slice(&seq.to_le_bytes());
    let crc = header_checksum(&out, identity);
    out.extend_from_slice(&crc.to_le_bytes());
    out.resize(IDENTITY_AT, 0);
    out.extend_from_slice(identity);
    out.resize(SEGMENT_HEADER_BYTES, 0);
    out
}

fn header_checksum(fixed: &[u8], identity: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(fixed);
    hasher.update(identity);
    hasher.finalize()
}

fn check_header(path: &Path, bytes: &[u8], seq: u64, identity: &[u8]) -> Result<(), WalError> {
    let bad = |why| WalError::corrupt(path, 0, why);
    let header = bytes.get(..SEGMENT_HEADER_BYTES).ok_or_else(|| bad("the file is shorter than a segment's header"))?;
    if &header[..8] != MAGIC {
        return Err(bad("the file is no segment of this log"));
    }
    let version = le_u32(header, 8);
    if version != FORMAT_VERSION {
        return Err(WalError::Version { file: path.to_owned(), found: version, known: FORMAT_VERSION });
    }
    let length = le_u32(header, 12) as usize;
    let found = header
        .get(IDENTITY_AT..IDENTITY_AT.saturating_add(length))
        .filter(|_| length <= WAL_IDENTITY_BYTES_MAX)
        .ok_or_else(|| bad("the header's identity is too long"))?;
    if header_checksum(&header[..24], found) != le_u32(header, 24) {
        return Err(bad("the header's checksum does not match"));
    }
    if le_u64(header, 16) != seq {
        return Err(bad("the header has another number than the file's name"));
    }
    if found != identity {
        return Err(WalError::Identity {
            file: path.to_owned(),
            found: found.escape_ascii().to_string(),
            wanted: identity.escape_ascii().to_string(),
        });
    }
    Ok(())
}

/// Makes the directory if need be and takes its lock, which lasts as long as the returned file.
pub(super) fn lock_dir(dir: &Path) -> Result<File, WalError> {
    if !dir.is_dir() {
        fs::create_dir_all(dir).map_err(WalError::io("create", dir))?;
        if let Some(parent) = dir.parent().filter(|parent| parent.is_dir()) {
            sync_dir(parent)?;
        }
    }
    let path = dir.join(LOCK_NAME);
    let file =
        OpenOptions::new().write(true).create(true).truncate(false).open(&path).map_err(WalError::io("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(WalError::InUse { dir: dir.to_owned() }),
        Err(TryLockError::Error(error)) => Err(WalError::io("lock", &path)(error)),
    }
}

/// The segments of a directory in their order, by number and path. Removes what an interrupted creation left.
pub(super) fn list(dir: &Path) -> Result<Vec<(u64, PathBuf)>, WalError> {
    let mut found = Vec::new();
    for item in fs::read_dir(dir).map_err(WalError::io("list", dir))? {
        let path = item.map_err(WalError::io("list", dir))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.ends_with(TEMPORARY_SUFFIX) {
            fs::remove_file(&path).map_err(WalError::io("remove", &path))?;
        } else if let Some(digits) = name.strip_suffix(SUFFIX) {
            let seq = u64::from_str_radix(digits, 16)
                .ok()
                .filter(|seq| format!("{seq:016x}") == digits)
                .ok_or_else(|| WalError::corrupt(&path, 0, "the file's name is no segment's"))?;
            found.push((seq, path));
        }
    }
    found.sort();
    Ok(found)
}

/// Makes what was created, renamed or removed in `dir` durable.
pub(super) fn sync_dir(dir: &Path) -> Result<(), WalError> {
    File::open(dir).and_then(|file| file.sync_all()).map_err(WalError::io("sync", dir))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn create(dir: &Path, seq: u64, bytes: u64) -> Segment {
        Segment::create(dir, seq, b"c1/n1", bytes, &AtomicBool::new(false)).unwrap()
    }

    #[test]
    fn a_segment_is_zero_filled_and_opens_again() {
        let dir = tempfile::tempdir().unwrap();
        let made = create(dir.path(), 10, 10_000);
        assert_eq!(made.capacity, 10_000);
        fs::write(dir.path().join("000000000000000b.wal.tmp"), b"half").unwrap();
        assert_eq!(list(dir.path()).unwrap(), [(10, made.path.clone())]);
        assert!(!dir.path().join("000000000000000b.wal.tmp").exists());
        let (again, bytes) = Segment::open(&made.path, 10, b"c1/n1").unwrap();
        assert_eq!(again.capacity, 10_000);
        assert!(bytes[SEGMENT_HEADER_BYTES..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn a_header_is_checked() {
        let dir = tempfile::tempdir().unwrap();
        let made = create(dir.path(), 1, 0);
        let refused = Segment::open(&made.path, 1, b"c1/n2").unwrap_err();
        assert!(matches!(refused, WalError::Identity { .. }));
        assert!(refused.to_string().contains("c1/n1"), "{refused}");
        assert!(Segment::open(&made.path, 2, b"c1/n1").is_err());
        let good = fs::read(&made.path).unwrap();
        for at in [0, 9, 13, 17, 25, 33] {
            let mut bad = good.clone();
            bad[at] ^= 4;
            fs::write(&made.path, bad).unwrap();
            assert!(Segment::open(&made.path, 1, b"c1/n1").is_err(), "byte {at} is not checked");
        }
        fs::write(&made.path, &good[..100]).unwrap();
        assert!(Segment::open(&made.path, 1, b"c1/n1").is_err());
    }

    #[test]
    fn a_stopped_creation_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Segment::create(dir.path(), 1, b"", 100, &AtomicBool::new(true)).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
