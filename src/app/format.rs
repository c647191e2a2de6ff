//! The format of a node's data, kept beside them, so that an earlier program leaves data alone that it could not go on with.

use std::io;
use std::path::Path;

use crate::base::DATA_FORMAT;
use crate::disk;

/// Within the data directory: one number.
const FILE: &str = "format";

/// The format of the data in `dir`; that of this program where nothing says.
///
/// # Errors
/// A file that cannot be read, or holds something else.
pub fn of(dir: &Path) -> io::Result<u32> {
    match std::fs::read_to_string(dir.join(FILE)) {
        Ok(text) => text.trim().parse().map_err(|_| io::Error::other(format!("{FILE} holds no number"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(DATA_FORMAT),
        Err(error) => Err(error),
    }
}

/// Takes the data in `dir` up: from now on they are of this program's format. `Some`: they are of a later one, which is told, and
/// nothing was changed.
///
/// # Errors
/// What cannot be read or written.
pub fn take_up(dir: &Path) -> io::Result<Option<u32>> {
    let found = of(dir)?;
    if found > DATA_FORMAT {
        return Ok(Some(found));
    }
    if found < DATA_FORMAT || !dir.join(FILE).exists() {
        disk::replace(&dir.join(FILE), format!("{DATA_FORMAT}\n").as_bytes())?;
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn later_data_are_left_alone_and_earlier_ones_taken_up() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(FILE);
        for (before, later) in [(None, None), (Some(0), None), (Some(DATA_FORMAT), None), (Some(99), Some(99))] {
            if let Some(before) = before {
                std::fs::write(&file, format!("{before}\n")).unwrap();
            }
            assert_eq!(take_up(dir.path()).unwrap(), later, "{before:?}");
            assert_eq!(of(dir.path()).unwrap(), later.unwrap_or(DATA_FORMAT), "{before:?}");
        }
        std::fs::write(&file, "many").unwrap();
        assert!(take_up(dir.path()).unwrap_err().to_string().contains("format holds no number"));
    }
}
