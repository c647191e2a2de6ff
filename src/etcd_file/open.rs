//! Opening: which file it is, whether somebody else is writing it, and whether it is as it was saved.

use std::fs::{File, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::EtcdFileError;
use crate::bolt::Bolt;

/// Bytes of the sum that a snapshot ends with. A database is made of blocks.
const SUM_BYTES: u64 = 32;
const BLOCK_BYTES: u64 = 512;
/// What is read of a file at a time.
const READ_BYTES: usize = 1 << 20;
/// bbolt's magic number, behind the head of its first page.
const MAGIC: u32 = 0xED0C_DAED;
/// Where a member keeps its database.
const IN_DATA_DIR: &str = "member/snap/db";

/// A database that is open, its checksum checked where it has one.
pub struct EtcdFile {
    pub bolt: Bolt<File>,
    pub path: PathBuf,
    /// The SHA-256 at its end; `None`: it is a member's own file, which has none.
    pub sum: Option<[u8; SUM_BYTES as usize]>,
    /// Bytes of the file.
    pub bytes: u64,
}

/// Whose a file is, as far as its beginning tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    Etcd,
    Ours,
    Other,
}

/// Looks at the beginning of a file.
///
/// # Errors
/// Those of reading.
pub fn kind(file: &File) -> io::Result<FileKind> {
    let mut head = [0; 24];
    match file.read_exact_at(&mut head, 0) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(FileKind::Other),
        read => read?,
    }
    Ok(match head {
        head if head[16..20] == MAGIC.to_le_bytes() => FileKind::Etcd,
        head if head.starts_with(b"corenode-state") => FileKind::Ours,
        _ => FileKind::Other,
    })
}

impl EtcdFile {
    /// Opens a snapshot, a member's database, or that in a member's data directory.
    ///
    /// # Errors
    /// [`EtcdFileError`], with nothing taken from it.
    pub fn open(path: &Path) -> Result<Self, EtcdFileError> {
        let path = if path.is_dir() { path.join(IN_DATA_DIR) } else { path.to_owned() };
        Self::of(File::open(&path)?, path)
    }

    /// Takes a file that is open; `path` names it in errors.
    ///
    /// # Errors
    /// As [`EtcdFile::open`].
    pub fn of(file: File, path: PathBuf) -> Result<Self, EtcdFileError> {
        match file.try_lock_shared() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(EtcdFileError::InUse),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        let bytes = file.metadata()?.len();
        match kind(&file)? {
            FileKind::Etcd => {}
            FileKind::Ours => return Err(EtcdFileError::Ours),
            FileKind::Other => return Err(EtcdFileError::Foreign("it does not begin as one".to_owned())),
        }
        let sum = match bytes % BLOCK_BYTES {
            0 => None,
            SUM_BYTES => Some(check_sum(&file, bytes - SUM_BYTES)?),
            _ => return Err(EtcdFileError::Cut(bytes)),
        };
        let content = bytes - sum.map_or(0, |_| SUM_BYTES);
        Ok(Self { bolt: Bolt::open(file, content)?, path, sum, bytes })
    }
}

fn check_sum(mut file: &File, content: u64) -> Result<[u8; SUM_BYTES as usize], EtcdFileError> {
    let mut sum = Sha256::new();
    let mut buffer = vec![0; READ_BYTES];
    file.seek(SeekFrom::Start(0))?;
    let mut rest = file.take(content);
    loop {
        let read = rest.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        sum.update(&buffer[..read]);
    }
    let mut found = [0; SUM_BYTES as usize];
    file.read_exact_at(&mut found, content)?;
    if found[..] == sum.finalize()[..] { Ok(found) } else { Err(EtcdFileError::Sum) }
}
