//! The folders of files, and what goes wrong with either.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;

use std::path::{Path, PathBuf};

/// What went wrong with a file, and with which.
#[derive(Debug, thiserror::Error)]
#[error("{doing} {}: {source}", path.display())]
pub struct FileError {
    pub doing: &'static str,
    pub path: PathBuf,
    pub source: std::io::Error,
}

impl FileError {
    pub(super) fn new(doing: &'static str, path: &Path, source: std::io::Error) -> Self {
        Self { doing, path: path.to_owned(), source }
    }
}

/// Whether the directory of `dest` is there.
pub fn has_folder(dest: &Path) -> bool {
    split(dest).is_ok_and(|(folder, _)| folder.is_dir())
}

/// Makes the directory of `dest` and those above it, as far as they are missing, with mode 0755.
///
/// # Errors
/// A place where none may be made.
pub fn create_folders(dest: &Path) -> Result<(), FileError> {
    let (folder, _) = split(dest)?;
    let made = DirBuilder::new().recursive(true).mode(0o755).create(folder);
    made.map_err(|source| FileError::new("making the folder", folder, source))
}

/// A destination's directory and name.
pub(super) fn split(dest: &Path) -> Result<(&Path, String), FileError> {
    let name = dest.file_name().ok_or_else(|| {
        let source = std::io::Error::other("it has no file name; dest must name a file");
        FileError::new("writing", dest, source)
    })?;
    let folder = dest.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok((folder, name.to_string_lossy().into_owned()))
}
