//! The mark that a file was replaced and its reload has not succeeded yet: a hidden file beside it.
//!
//! It is made before the file is replaced and goes after the reload, so that a crash in between, a failed reload or a
//! restart never loses the reload: the next pass finds the mark although the file is in sync.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::{FileError, split};

/// The mark of one destination.
#[derive(Debug)]
pub struct Pending(PathBuf);

impl Pending {
    /// The mark of `dest`, whether or not it is set.
    ///
    /// # Errors
    /// A destination without a name.
    pub fn of(dest: &Path) -> Result<Self, FileError> {
        let (folder, name) = split(dest)?;
        Ok(Self(folder.join(format!(".{name}.reload-pending"))))
    }

    /// The mark of several files that are reloaded together, in `folder`; `name` tells it from others there.
    pub fn of_several(folder: &Path, name: &str) -> Self {
        Self(folder.join(format!(".{name}.reload-pending")))
    }

    /// Whether a reload is due.
    pub fn is_set(&self) -> bool {
        fs::symlink_metadata(&self.0).is_ok()
    }

    /// Sets the mark, durably with the next sync of the directory.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn set(&self) -> Result<(), FileError> {
        match File::create_new(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(FileError::new("writing", &self.0, error))
            }
            _ => Ok(()),
        }
    }

    /// Takes the mark away.
    ///
    /// # Errors
    /// Where it cannot be removed.
    pub fn clear(&self) -> Result<(), FileError> {
        match fs::remove_file(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(FileError::new("removing", &self.0, error)),
            _ => Ok(()),
        }
    }
}
