//! The staged file: written whole beside its destination under a name of its own, then moved there or removed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::owner::Owner;
use super::{FileError, split};
use crate::confd::{Wanted, md5};

/// Attempts to find a free name; each is one of 2^64.
const NAMES_TRIED_MAX: usize = 16;

/// A file beside its destination. Dropped, it is removed, unless it was moved or shall be kept.
#[derive(Debug)]
pub struct Staged {
    path: PathBuf,
    dest: PathBuf,
    file: File,
    content: Vec<u8>,
    remove: bool,
}

impl Staged {
    /// Writes `content` to `.<name><random>` in the directory of `dest`, with mode and owner. An owner that may not be
    /// set is left as it is and told in [`Staged::wanted`]'s answer, as confd does.
    ///
    /// # Errors
    /// A directory that is not there or may not be written, a full disk.
    pub fn create(dest: &Path, content: Vec<u8>, mode: u32, owner: Owner) -> Result<Self, FileError> {
        let (folder, name) = split(dest)?;
        let (path, file) = create_beside(folder, &name)?;
        let mut staged = Self { path, dest: dest.to_owned(), file, content, remove: true };
        staged.fill(mode, owner).map_err(|source| FileError::new("writing", &staged.path, source))?;
        Ok(staged)
    }

    fn fill(&mut self, mode: u32, owner: Owner) -> io::Result<()> {
        self.file.write_all(&self.content)?;
        if let Err(error) = std::os::unix::fs::fchown(&self.file, Some(owner.uid), Some(owner.gid)) {
            let Owner { uid, gid } = owner;
            tracing::warn!("{} cannot be given to user {uid} and group {gid}: {error}", self.dest.display());
        }
        // After the owner: a change of it takes set-user-id bits away.
        self.file.set_permissions(fs::Permissions::from_mode(mode))
    }

    /// Where it is staged.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the destination would be, as the staged file is.
    ///
    /// # Errors
    /// Where it cannot be looked at.
    pub fn wanted(&self) -> Result<Wanted, FileError> {
        let metadata = self.file.metadata().map_err(|source| FileError::new("reading", &self.path, source))?;
        let (uid, gid, mode) = (metadata.uid(), metadata.gid(), metadata.mode() & 0o7777);
        Ok(Wanted { uid, gid, mode, md5: md5(&self.content) })
    }

    /// Where it goes to.
    pub fn dest(&self) -> &Path {
        &self.dest
    }

    /// What is in it.
    pub fn content(&self) -> &[u8] {
        &self.content
    }

    /// Leaves the staged file where it is when this value goes.
    pub fn keep(&mut self) {
        self.remove = false;
    }

    /// The device of the file system that it lies on.
    ///
    /// # Errors
    /// Where it cannot be looked at.
    pub(super) fn device(&self) -> Result<u64, FileError> {
        let metadata = self.file.metadata().map_err(|source| FileError::new("reading", &self.path, source))?;
        Ok(metadata.dev())
    }

    /// The open file once more.
    ///
    /// # Errors
    /// Too many open files.
    pub(super) fn handle(&self) -> Result<File, FileError> {
        self.file.try_clone().map_err(|source| FileError::new("opening", &self.path, source))
    }

    /// Brings the content to the disk, so that a power cut after the move loses nothing.
    ///
    /// # Errors
    /// A disk that is full or broken.
    pub fn sync(&self) -> Result<(), FileError> {
        self.file.sync_all().map_err(|source| FileError::new("writing", &self.path, source))
    }

    /// Puts the file in its place: in one step, or, where the destination is a mount point, by writing it in place.
    ///
    /// # Errors
    /// A destination that is a directory or cannot be replaced; it is then as it was, but for a write in place that
    /// broke off.
    pub fn replace(self) -> Result<(), FileError> {
        let dest = self.dest.clone();
        drop(self.move_in()?);
        sync_folder(&dest)
    }

    /// The same, but that the new name is durable only with the next sync of the directory. What was there before is returned.
    ///
    /// # Errors
    /// As of [`Staged::replace`].
    pub fn move_in(mut self) -> Result<Replaced, FileError> {
        let replaced = Replaced::open(&self.dest);
        match fs::rename(&self.path, &self.dest) {
            Ok(()) => {
                self.remove = false;
                Ok(replaced)
            }
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                tracing::debug!("Rename failed - target is likely a mount. Trying to write instead");
                self.write_in_place().map_err(|source| FileError::new("writing in place", &self.dest, source))?;
                Ok(replaced)
            }
            Err(source) => Err(FileError::new("replacing", &self.dest, source)),
        }
    }

    fn write_in_place(&self) -> io::Result<()> {
        let metadata = self.file.metadata()?;
        let mut dest = OpenOptions::new().write(true).truncate(true).open(&self.dest)?;
        dest.write_all(&self.content)?;
        std::os::unix::fs::fchown(&dest, Some(metadata.uid()), Some(metadata.gid()))?;
        dest.set_permissions(metadata.permissions())?;
        dest.sync_all()
    }
}

/// A file that was replaced. Its blocks are freed when this value goes, which may take as long as a sync (with the mount option
/// `discard` the disk is told of them first): nobody need wait for it.
#[derive(Debug)]
#[must_use]
pub struct Replaced {
    _file: Option<OwnedFd>,
}

impl Replaced {
    fn open(dest: &Path) -> Self {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Self { _file: rustix::fs::open(dest, flags, Mode::empty()).ok() }
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if self.remove {
            // A leftover is harmless: it has a name of its own and is never read.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn create_beside(folder: &Path, name: &str) -> Result<(PathBuf, File), FileError> {
    let mut last = io::Error::from(io::ErrorKind::AlreadyExists);
    for _ in 0..NAMES_TRIED_MAX {
        let path = folder.join(format!(".{name}{}", rand::random::<u64>()));
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Ok(file) => return Ok((path, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => last = error,
            Err(error) => return Err(FileError::new("staging a file in", folder, error)),
        }
    }
    Err(FileError::new("staging a file in", folder, last))
}

/// Makes the new name durable.
pub(super) fn sync_folder(dest: &Path) -> Result<(), FileError> {
    let (folder, _) = split(dest)?;
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|source| FileError::new("syncing", folder, source))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::files::resolve_owner;

    #[test]
    fn a_mount_point_is_written_in_place() {
        let folder = tempfile::tempdir().unwrap();
        let dest = folder.path().join("hosts");
        fs::write(&dest, "a longer old text").unwrap();
        let before = fs::metadata(&dest).unwrap().ino();
        let staged = Staged::create(&dest, b"new".to_vec(), 0o600, resolve_owner(None, None).unwrap()).unwrap();
        staged.write_in_place().unwrap();
        assert_eq!(fs::read(&dest).unwrap(), b"new");
        let after = fs::metadata(&dest).unwrap();
        assert_eq!((after.ino(), after.mode() & 0o7777), (before, 0o600));
    }
}
