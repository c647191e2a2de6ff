//! Small files beside the tables, replaced in one step: a crash leaves the former or the new one, whole.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

/// Has the file at `path` hold `bytes`, durably. What a crash leaves of it has `.new` behind its name, and is overwritten by the next
/// replacement. Blocks.
///
/// # Errors
/// The disk's.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(".new");
    let mut file = File::create(&draft)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    put_in_place(draft.as_ref(), path)
}

/// Gives what is on the disk its name, which is on the disk then too. Blocks.
///
/// # Errors
/// The disk's.
pub fn put_in_place(staged: &Path, path: &Path) -> io::Result<()> {
    std::fs::rename(staged, path)?;
    sync_folder_of(path)
}

/// Makes durable that `path` was made, renamed or removed. Blocks.
///
/// # Errors
/// The disk's.
pub fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let (file, draft) = (dir.path().join("place.json"), dir.path().join("place.json.new"));
        replace(&file, b"first").unwrap();
        // What a crash has left is longer than what follows.
        std::fs::write(&draft, "half of something").unwrap();
        replace(&file, b"second").unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"second");
        assert!(!draft.exists());
        std::fs::create_dir(&draft).unwrap();
        replace(&file, b"third").unwrap_err();
        assert_eq!(std::fs::read(&file).unwrap(), b"second");
        replace(&dir.path().join("absent/place.json"), b"").unwrap_err();
    }

    #[test]
    fn a_name_without_a_folder_lies_in_the_current_one() {
        sync_folder_of(Path::new("place.json")).unwrap();
    }
}
