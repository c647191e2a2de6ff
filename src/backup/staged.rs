//! Files that are put together beside their place, and are gone unless they got their name.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::BackupError;
use crate::base::MemberId;

/// A file that is removed unless it was renamed.
pub struct Staged(PathBuf);

impl Staged {
    /// A name beside `file`.
    pub fn beside(file: &Path, suffix: &str) -> Self {
        let mut name = file.as_os_str().to_owned();
        name.push(suffix);
        Self(PathBuf::from(name))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // It is not there any more when all went well.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// An empty file of this member's in `folder`, which is made if it is not there. Nobody else may read it: it is to hold every
/// key's value.
pub(super) fn within(folder: &Path, owner: MemberId) -> Result<Staged, BackupError> {
    let failed = |cause| BackupError::io(folder.display(), "making a file", cause);
    std::fs::create_dir_all(folder).map_err(failed)?;
    let path = folder.join(format!(".backup-{owner}-{:016x}.part", rand::random::<u64>()));
    File::options().write(true).create_new(true).mode(0o600).open(&path).map_err(failed)?;
    Ok(Staged(path))
}

/// Removes what this member has left of backups that it did not finish. Only while it makes and checks none.
pub(super) fn sweep(folder: &Path, owner: MemberId) -> Result<(), BackupError> {
    let failed = |cause| BackupError::io(folder.display(), "removing what was left behind", cause);
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    let own = format!(".backup-{owner}-");
    for entry in entries {
        let entry = entry.map_err(failed)?;
        if entry.file_name().to_string_lossy().starts_with(&own) {
            std::fs::remove_file(entry.path()).map_err(failed)?;
        }
    }
    Ok(())
}
