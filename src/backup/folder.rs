//! Backups in a folder of this machine, which may be one that machines share.

use std::io;
use std::path::{Path, PathBuf};

use super::staged::Staged;
use super::{BackupError, Listed, Name};
use crate::disk;

/// The folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder(pub PathBuf);

impl Folder {
    fn failed(&self, doing: &'static str) -> impl FnOnce(io::Error) -> BackupError {
        move |cause| BackupError::io(self.0.display(), doing, cause)
    }

    pub fn file(&self, name: &Name) -> PathBuf {
        self.0.join(name.to_string())
    }

    /// A file of this folder gets its name.
    pub fn put(&self, name: &Name, staged: &Staged) -> Result<(), BackupError> {
        disk::put_in_place(staged.path(), &self.file(name)).map_err(self.failed("putting a backup in its place"))
    }

    /// What has a backup's name. A folder that is not there yet has none.
    pub fn list(&self) -> Result<Vec<Listed>, BackupError> {
        let doing = "looking for backups";
        let entries = match std::fs::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(self.failed(doing)(error)),
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.map_err(self.failed(doing))?;
            let Ok(name) = entry.file_name().to_string_lossy().parse() else { continue };
            match entry.metadata() {
                Ok(metadata) => found.push(Listed { name, bytes: metadata.len() }),
                // Another node has removed it in between.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(self.failed(doing)(error)),
            }
        }
        Ok(found)
    }

    pub fn copy(&self, name: &Name, into: &Path) -> Result<(), BackupError> {
        match std::fs::copy(self.file(name), into).and_then(|_| std::fs::File::open(into)?.sync_all()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(self.absent(name)),
            copied => copied.map_err(self.failed("copying a backup")),
        }
    }

    pub fn remove(&self, name: &Name) -> Result<(), BackupError> {
        match std::fs::remove_file(self.file(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.map_err(self.failed("removing a backup")),
        }
    }

    pub fn absent(&self, name: &Name) -> BackupError {
        BackupError::Absent { place: self.0.display().to_string(), name: name.to_string() }
    }
}
