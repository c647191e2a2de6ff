//! What a file is at present.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::FileError;
use crate::confd::{DestFacts, md5};

/// Owner, mode and checksum of a file, through symbolic links. `None`: there is none.
///
/// # Errors
/// A directory, a device or the like, or a file that cannot be read.
pub fn facts(path: &Path) -> Result<Option<DestFacts>, FileError> {
    let error = |source| FileError::new("reading", path, source);
    let Some(metadata) = present(path).map_err(error)? else { return Ok(None) };
    if !metadata.is_file() {
        let what = if metadata.is_dir() { "it is a directory" } else { "it is not a regular file" };
        return Err(error(io::Error::other(format!("{what}; dest must name a file"))));
    }
    let bytes = fs::read(path).map_err(error)?;
    Ok(Some(DestFacts { uid: metadata.uid(), gid: metadata.gid(), mode: metadata.mode() & 0o7777, md5: md5(&bytes) }))
}

/// A file's permission bits. `None`: there is none.
///
/// # Errors
/// Where it cannot be looked at.
pub fn mode_of(path: &Path) -> Result<Option<u32>, FileError> {
    let metadata = present(path).map_err(|source| FileError::new("reading", path, source))?;
    Ok(metadata.map(|metadata| metadata.mode() & 0o7777))
}

fn present(path: &Path) -> io::Result<Option<Metadata>> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
