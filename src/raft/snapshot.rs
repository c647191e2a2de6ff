//! Snapshots on their way: from the state to a file, in pieces to a peer, from a file into the state.
//!
//! What is sent may be newer than what openraft asked for: the state is exported when a peer needs it. That is sound, as
//! all of it is committed; the receiver is told exactly where it stands.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::machine::Core;
use super::types::{SnapshotMeta, Vote};
use crate::base::MemberId;
use crate::base::limits::SNAPSHOT_CHUNK_BYTES;

/// Where the content of a snapshot is.
pub enum SnapshotData {
    /// In this member's state.
    Own(Arc<Core>),
    /// In a file that a peer sent.
    File(TempFile),
}

impl SnapshotData {
    /// The content. Blocks.
    pub fn read(self) -> Result<Box<dyn Read>, String> {
        match self {
            Self::File(file) => Ok(Box::new(BufReader::new(file.reopen()?))),
            Self::Own(core) => {
                let mut bytes = Vec::new();
                core.export(&mut bytes)?;
                Ok(Box::new(io::Cursor::new(bytes)))
            }
        }
    }
}

/// Does what blocks where that is allowed.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string())?
}

/// A file that is removed when it is dropped.
pub struct TempFile {
    path: PathBuf,
    file: File,
}

impl TempFile {
    /// Makes the file. Blocks.
    pub fn create(path: PathBuf) -> Result<Self, String> {
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)
            .map_err(|error| format!("cannot make {}: {error}", path.display()))?;
        Ok(Self { path, file })
    }

    fn reopen(&self) -> Result<TempReader, String> {
        let file = File::open(&self.path).map_err(|error| format!("cannot read {}: {error}", self.path.display()))?;
        Ok(TempReader { file, path: self.path.clone() })
    }

    fn explain(&self, error: &io::Error) -> String {
        format!("snapshot file {}: {error}", self.path.display())
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        // A file that is left behind is removed at the next start.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Reads a file that outlives its name.
struct TempReader {
    file: File,
    path: PathBuf,
}

impl Read for TempReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.file.read(buf).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", self.path.display())))
    }
}

/// The folder that snapshots pass through.
pub struct Transfers {
    folder: PathBuf,
    next: AtomicU64,
    incoming: Mutex<HashMap<MemberId, Incoming>>,
}

/// A snapshot that a peer is sending. A new one of the same peer takes its place.
struct Incoming {
    transfer: u64,
    vote: Vote,
    meta: SnapshotMeta,
    bytes: u64,
    received: u64,
    crc: crc32fast::Hasher,
    file: TempFile,
}

/// A snapshot that has arrived whole.
pub struct Arrived {
    pub vote: Vote,
    pub meta: SnapshotMeta,
    pub file: TempFile,
}

/// A snapshot ready to be sent.
pub struct Outgoing {
    pub meta: SnapshotMeta,
    pub bytes: u64,
    file: TempFile,
    crc: crc32fast::Hasher,
}

impl Transfers {
    /// Empties `folder` of what an earlier run left. Blocks.
    pub fn open(folder: &Path) -> io::Result<Self> {
        match std::fs::remove_dir_all(folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        std::fs::create_dir_all(folder)?;
        Ok(Self { folder: folder.to_owned(), next: AtomicU64::new(1), incoming: Mutex::default() })
    }

    fn file(&self) -> Result<(u64, TempFile), String> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let file = TempFile::create(self.folder.join(format!("{number}.snapshot")))?;
        Ok((number, file))
    }

    /// Writes the state to a file. Blocks.
    pub fn export(&self, core: &Core) -> Result<Outgoing, String> {
        let (_, file) = self.file()?;
        let mut writer = BufWriter::with_capacity(SNAPSHOT_CHUNK_BYTES, &file.file);
        let meta = core.export(&mut writer)?;
        writer.flush().map_err(|error| file.explain(&error))?;
        drop(writer);
        let bytes = file.file.metadata().map_err(|error| file.explain(&error))?.len();
        (&file.file).seek(SeekFrom::Start(0)).map_err(|error| file.explain(&error))?;
        Ok(Outgoing { meta, bytes, file, crc: crc32fast::Hasher::new() })
    }

    /// A peer begins to send. Returns the number of the transfer. Blocks.
    pub fn begin(&self, from: MemberId, vote: Vote, meta: SnapshotMeta, bytes: u64) -> Result<u64, String> {
        let (transfer, file) = self.file()?;
        let incoming = Incoming { transfer, vote, meta, bytes, received: 0, crc: crc32fast::Hasher::new(), file };
        self.incoming.lock().unwrap_or_else(PoisonError::into_inner).insert(from, incoming);
        Ok(transfer)
    }

    /// The next piece. Blocks.
    pub fn chunk(&self, from: MemberId, transfer: u64, offset: u64, data: &[u8]) -> Result<(), String> {
        let mut all = self.incoming.lock().unwrap_or_else(PoisonError::into_inner);
        let incoming = all
            .get_mut(&from)
            .filter(|incoming| incoming.transfer == transfer)
            .ok_or("there is no such transfer of a snapshot")?;
        let end = incoming.received + data.len() as u64;
        if offset != incoming.received || end > incoming.bytes {
            return Err(format!("a piece of a snapshot came at {offset}, {} was expected", incoming.received));
        }
        (&incoming.file.file).write_all(data).map_err(|error| incoming.file.explain(&error))?;
        incoming.crc.update(data);
        incoming.received = end;
        Ok(())
    }

    /// The last piece has been sent. Returns the snapshot if all of it is there and right.
    pub fn end(&self, from: MemberId, transfer: u64, crc: u32) -> Result<Arrived, String> {
        let mut all = self.incoming.lock().unwrap_or_else(PoisonError::into_inner);
        let incoming = match all.remove(&from) {
            Some(incoming) if incoming.transfer == transfer => incoming,
            Some(other) => {
                all.insert(from, other);
                return Err("there is no such transfer of a snapshot".to_owned());
            }
            None => return Err("there is no such transfer of a snapshot".to_owned()),
        };
        if incoming.received != incoming.bytes || incoming.crc.finalize() != crc {
            return Err("a snapshot arrived damaged".to_owned());
        }
        Ok(Arrived { vote: incoming.vote, meta: incoming.meta, file: incoming.file })
    }
}

impl Outgoing {
    /// The next piece; empty at the end. Blocks.
    pub fn next(&mut self) -> Result<Bytes, String> {
        let mut data = Vec::new();
        (&self.file.file)
            .take(SNAPSHOT_CHUNK_BYTES as u64)
            .read_to_end(&mut data)
            .map_err(|error| self.file.explain(&error))?;
        self.crc.update(&data);
        Ok(data.into())
    }

    /// The CRC-32 of all pieces read so far.
    pub fn crc(&self) -> u32 {
        self.crc.clone().finalize()
    }
}
