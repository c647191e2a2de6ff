//! The directory of one unit: its text, its last report, its journal, the lock and the socket of its shim.
//!
//! Files are replaced in one step, so that a node killed at any moment leaves the old or the new one. A directory without
//! a readable `unit.json` is half-written and means nothing; one whose name begins with a dot is being removed.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use super::protocol::Report;
use crate::fleet::executor::UnitFile;

const UNIT: &str = "unit.json";
const REPORT: &str = "report.json";
const LOCK: &str = "lock";
const SOCKET: &str = "socket";

/// The machine on which units run: what specifiers and the journal need to know of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// 32 hex digits.
    pub machine_id: String,
    pub hostname: String,
    /// The kernel's, 32 hex digits.
    pub boot_id: String,
}

/// `unit.json`: all that a shim is given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredUnit {
    pub unit: UnitFile,
    pub host: Host,
}

/// The directory of one unit.
#[derive(Clone, Debug)]
pub struct UnitDir {
    path: PathBuf,
}

impl UnitDir {
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the unit's text is kept.
    pub fn unit_path(&self) -> PathBuf {
        self.path.join(UNIT)
    }

    /// Writes the unit, making the directory where there is none.
    ///
    /// # Errors
    /// The disk's.
    pub fn write_unit(&self, unit: &StoredUnit) -> io::Result<()> {
        std::fs::create_dir_all(&self.path)?;
        self.write(UNIT, &serde_json::to_vec(unit)?, true)
    }

    /// # Errors
    /// There is none, or it cannot be read or understood.
    pub fn read_unit(&self) -> io::Result<StoredUnit> {
        Ok(serde_json::from_slice(&std::fs::read(self.path.join(UNIT))?)?)
    }

    /// Writes what is to be known once the shim is gone. It has to outlive the shim, not the machine.
    ///
    /// # Errors
    /// The disk's.
    pub fn write_report(&self, report: &Report) -> io::Result<()> {
        self.write(REPORT, &serde_json::to_vec(report)?, false)
    }

    /// The last report, if there is one.
    pub fn read_report(&self) -> Option<Report> {
        serde_json::from_slice(&std::fs::read(self.path.join(REPORT)).ok()?).ok()
    }

    fn write(&self, name: &str, bytes: &[u8], durable: bool) -> io::Result<()> {
        let new = self.path.join(format!("{name}.new"));
        let mut file = File::create(&new)?;
        file.write_all(bytes)?;
        if durable {
            file.sync_all()?;
        }
        std::fs::rename(&new, self.path.join(name))?;
        if durable {
            File::open(&self.path)?.sync_all()?;
        }
        Ok(())
    }

    /// Waits for the lock that only the one shim of the unit holds, until its end.
    ///
    /// # Errors
    /// The lock file cannot be opened.
    pub fn lock(&self) -> io::Result<File> {
        let file = self.open_lock()?;
        rustix::fs::flock(&file, FlockOperation::LockExclusive)?;
        Ok(file)
    }

    /// The same, unless somebody else holds it: `None`.
    ///
    /// # Errors
    /// As [`UnitDir::lock`].
    pub fn try_lock(&self) -> io::Result<Option<File>> {
        let file = self.open_lock()?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether a shim holds the lock.
    pub fn is_locked(&self) -> bool {
        self.path.exists() && self.try_lock().is_ok_and(|lock| lock.is_none())
    }

    fn open_lock(&self) -> io::Result<File> {
        OpenOptions::new().write(true).create(true).truncate(false).open(self.path.join(LOCK))
    }

    /// Listens on the unit's socket. Only for the holder of the lock: what an earlier one left is taken away.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub fn listen(&self) -> io::Result<std::os::unix::net::UnixListener> {
        let (_dir, path) = self.short_path()?;
        let new = path.join("socket.new");
        let _ = std::fs::remove_file(&new);
        let listener = std::os::unix::net::UnixListener::bind(&new)?;
        listener.set_nonblocking(true)?;
        std::fs::rename(&new, path.join(SOCKET))?;
        Ok(listener)
    }

    /// Connects to the unit's shim.
    ///
    /// # Errors
    /// There is none.
    pub fn connect(&self) -> io::Result<std::os::unix::net::UnixStream> {
        let (_dir, path) = self.short_path()?;
        let stream = std::os::unix::net::UnixStream::connect(path.join(SOCKET))?;
        stream.set_nonblocking(true)?;
        Ok(stream)
    }

    /// The directory under a name that fits into a socket's address (107 bytes), valid as long as the handle lives.
    fn short_path(&self) -> io::Result<(File, PathBuf)> {
        let dir = File::open(&self.path)?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd()));
        Ok((dir, path))
    }

    /// Removes the directory and all in it: first out of the way in one step, then file by file.
    ///
    /// # Errors
    /// The disk's.
    pub fn remove(&self) -> io::Result<()> {
        let Some((parent, name)) = self.path.parent().zip(self.path.file_name()) else {
            return Ok(());
        };
        let gone = parent.join(format!(".{}", name.to_string_lossy()));
        let _ = std::fs::remove_dir_all(&gone);
        match std::fs::rename(&self.path, &gone) {
            Ok(()) => std::fs::remove_dir_all(&gone),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// The units kept below `state_dir`, after removing what is half-written or half-removed.
///
/// # Errors
/// The directory is there but cannot be read.
pub fn scan(state_dir: &Path) -> io::Result<Vec<(UnitDir, StoredUnit)>> {
    let entries = match std::fs::read_dir(state_dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if !path.is_dir() {
            continue;
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let dir = UnitDir::new(path.clone());
        match dir.read_unit() {
            Ok(stored) if stored.unit.name == name => found.push((dir, stored)),
            _ if name.starts_with('.') || !dir.is_locked() => {
                tracing::info!(path = %path.display(), "removing what is left of a unit");
                if let Err(error) = std::fs::remove_dir_all(&path) {
                    tracing::warn!(path = %path.display(), %error, "cannot remove what is left of a unit");
                }
            }
            Ok(_) | Err(_) => {
                tracing::warn!(path = %path.display(), "a unit's shim runs but its unit.json cannot be read: left alone");
            }
        }
    }
    found.sort_by(|a, b| a.1.unit.name.cmp(&b.1.unit.name));
    Ok(found)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn stored(name: &str) -> StoredUnit {
        StoredUnit {
            unit: UnitFile {
                name: name.to_owned(),
                text: "[Service]\nExecStart=/bin/true\n".to_owned(),
                hash: "0".repeat(40),
            },
            host: Host::default(),
        }
    }

    #[test]
    fn half_written_and_half_removed_directories_are_cleaned() {
        let state = tempfile::tempdir().unwrap();
        let at = |name: &str| UnitDir::new(state.path().join(name));
        at("whole.service").write_unit(&stored("whole.service")).unwrap();
        std::fs::create_dir(state.path().join("empty.service")).unwrap();
        std::fs::create_dir(state.path().join("torn.service")).unwrap();
        std::fs::write(state.path().join("torn.service/unit.json.new"), "{\"un").unwrap();
        at(".removed.service").write_unit(&stored("removed.service")).unwrap();
        at("other.service").write_unit(&stored("renamed.service")).unwrap();
        let found = scan(state.path()).unwrap();
        let names: Vec<&str> = found.iter().map(|(_, s)| s.unit.name.as_str()).collect();
        assert_eq!(names, ["whole.service"]);
        let left: Vec<_> = std::fs::read_dir(state.path()).unwrap().collect();
        assert_eq!(left.len(), 1);
        assert!(scan(&state.path().join("none")).unwrap().is_empty());
    }

    #[test]
    fn sockets_work_under_long_names() {
        let state = tempfile::tempdir().unwrap();
        let name = format!("{}.service", "x".repeat(240));
        let dir = UnitDir::new(state.path().join(&name));
        dir.write_unit(&stored(&name)).unwrap();
        assert!(dir.connect().is_err());
        let held = dir.lock().unwrap();
        assert!(dir.is_locked());
        let _listener = dir.listen().unwrap();
        dir.connect().unwrap();
        drop(held);
        assert!(!dir.is_locked());
        dir.remove().unwrap();
        dir.remove().unwrap();
        assert!(scan(state.path()).unwrap().is_empty());
    }
}
