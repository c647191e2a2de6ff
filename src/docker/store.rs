//! Units' texts on disk, one file each, and whether they are to run: what a node that comes back goes by, with the engine or without.

use std::fs::File;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::fleet::executor::UnitFile;

/// One unit's file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    pub unit: UnitFile,
    /// Whether a start was the last that was asked for.
    pub up: bool,
    /// The kernel's at that time: nothing runs on over a reboot of the machine.
    pub boot_id: String,
}

/// The folder of them.
#[derive(Clone, Debug)]
pub struct Store {
    dir: PathBuf,
}

impl Store {
    /// Makes the folder where it is missing; texts may hold secrets.
    ///
    /// # Errors
    /// It can neither be found nor made.
    pub fn open(dir: &Path) -> io::Result<Self> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        Ok(Self { dir: dir.to_owned() })
    }

    /// Writes a unit in one step.
    ///
    /// # Errors
    /// The disk's.
    pub fn write(&self, stored: &Stored) -> io::Result<()> {
        let new = self.dir.join(format!(".{}", stored.unit.name));
        std::fs::write(&new, serde_json::to_vec(stored)?)?;
        File::open(&new)?.sync_all()?;
        std::fs::rename(&new, self.path(&stored.unit.name))
    }

    /// Forgets a unit.
    ///
    /// # Errors
    /// The disk's; that there is no such unit is none.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        match std::fs::remove_file(self.path(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// All units, those passed over that cannot be read.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn all(&self) -> io::Result<Vec<Stored>> {
        let mut all = Vec::new();
        for entry in std::fs::read_dir(&self.dir)? {
            let path = entry?.path();
            // What was being written when the node died.
            if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.')) {
                let _ = std::fs::remove_file(&path);
                continue;
            }
            match std::fs::read(&path).map(|bytes| serde_json::from_slice(&bytes)) {
                Ok(Ok(stored)) => all.push(stored),
                Ok(Err(error)) => tracing::warn!(path = %path.display(), %error, "a container's unit cannot be read"),
                Err(error) => tracing::warn!(path = %path.display(), %error, "a container's unit cannot be read"),
            }
        }
        Ok(all)
    }

    /// Where a unit's file lies.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}
