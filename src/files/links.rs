//! Symbolic links at a destination, the copy that is kept of a file, and removals.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::stage::sync_folder;
use super::{FileError, split};
use crate::confd::{Md5, md5};

/// Links that are followed one after the other, as the kernel's limit.
const LINKS_MAX: usize = 40;

/// Where a path leads to through symbolic links, also where nothing is there yet.
///
/// # Errors
/// Links in a circle, or one that cannot be read.
pub fn resolve_links(dest: &Path) -> Result<PathBuf, FileError> {
    let mut at = dest.to_owned();
    for _ in 0..LINKS_MAX {
        match fs::read_link(&at) {
            Ok(target) => at = at.parent().unwrap_or(Path::new("/")).join(target),
            // Not a link (EINVAL), or nothing: it leads here.
            Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::NotFound) => {
                return Ok(at);
            }
            Err(source) => return Err(FileError::new("following the link", &at, source)),
        }
    }
    Err(FileError::new("following the link", dest, io::Error::other("it leads in a circle; point it to a file")))
}

/// Keeps what is at `dest` as `DEST.bak`, in place of what was kept before. Nothing is there: nothing is kept.
///
/// # Errors
/// A directory that may not be written, a full disk.
pub fn back_up(dest: &Path) -> Result<(), FileError> {
    let (folder, name) = split(dest)?;
    let (backup, new) =
        (folder.join(format!("{name}.bak")), folder.join(format!(".{name}.bak{}", rand::random::<u64>())));
    let linked = match fs::hard_link(dest, &new) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        // Another file system under the same name, or one without hard links.
        Err(_) => fs::copy(dest, &new).map(drop),
        Ok(()) => Ok(()),
    };
    let kept = linked.and_then(|()| fs::rename(&new, &backup));
    kept.map_err(|source| {
        // A leftover is harmless, and the error tells why there is one.
        let _ = fs::remove_file(&new);
        FileError::new("keeping a copy as", &backup, source)
    })
}

/// Removes a file if it still has the content that it was given; whether it is gone is returned.
///
/// # Errors
/// A file that cannot be read or removed.
pub fn remove_unchanged(dest: &Path, sum: Md5) -> Result<bool, FileError> {
    let failed = |source| FileError::new("removing", dest, source);
    match fs::read(dest) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(source) => return Err(failed(source)),
        Ok(content) if md5(&content) != sum => return Ok(false),
        Ok(_) => fs::remove_file(dest).map_err(failed)?,
    }
    sync_folder(dest)?;
    Ok(true)
}
