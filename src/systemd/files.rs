//! The directory of the units held here: one file for each, under its name, as systemd is to read it.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::base::limits::UNIT_DIR_NAME_BYTES_MAX;
use crate::unit::{UnitName, UnitText, name};

/// Suffixes that the API takes and that systemd no longer knows.
const GONE_TYPES: [&str; 2] = ["busname", "snapshot"];

/// A unit found in the directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub name: String,
    /// Of the text as it is in the file.
    pub hash: String,
}

/// Whether systemd can hold a unit of that name.
///
/// # Errors
/// Why it cannot.
pub fn check_name(unit: &str) -> Result<(), String> {
    name::validate(unit).map_err(|error| error.to_string())?;
    let parts = UnitName::new(unit);
    if parts.is_template() {
        return Err("it is a template: load an instance of it".to_owned());
    }
    if unit.starts_with('.') {
        return Err("its name begins with a dot, which systemd does not take".to_owned());
    }
    if GONE_TYPES.contains(&parts.suffix) {
        return Err(format!("systemd has no units of type {:?} any more", parts.suffix));
    }
    if unit.len() > UNIT_DIR_NAME_BYTES_MAX {
        return Err(format!("its name is longer than {UNIT_DIR_NAME_BYTES_MAX} bytes"));
    }
    Ok(())
}

/// Makes the directory where it is missing.
pub fn make_dir(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o755).create(dir)
}

/// Where a unit's text is.
pub fn path(dir: &Path, unit: &str) -> PathBuf {
    dir.join(unit)
}

/// A unit's text; `None`: there is no such file.
pub fn read(dir: &Path, unit: &str) -> io::Result<Option<String>> {
    match fs::read(path(dir, unit)) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Puts a unit's text under its name in one step. The directory is in memory (`/run`), so nothing is synced.
pub fn write(dir: &Path, unit: &str, text: &str) -> io::Result<()> {
    let temporary = dir.join(format!(".{unit}.new"));
    let written = write_new(&temporary, text).and_then(|()| fs::rename(&temporary, path(dir, unit)));
    if written.is_err() {
        // What is left of it is removed at the next start, where that fails too.
        let _ = fs::remove_file(&temporary);
    }
    written
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o644).open(path)?;
    file.write_all(text.as_bytes())
}

/// Removes a unit's text; that there is none is fine.
pub fn remove(dir: &Path, unit: &str) -> io::Result<()> {
    match fs::remove_file(path(dir, unit)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The units in the directory. What a write that was cut off has left is removed; anything else that is no unit is left
/// alone.
pub fn scan(dir: &Path) -> io::Result<Vec<Found>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if name.starts_with('.') && name.ends_with(".new") {
            fs::remove_file(entry.path())?;
            continue;
        }
        if let Err(reason) = check_name(&name) {
            tracing::warn!(path = %entry.path().display(), "is in the directory of units and is none: {reason}");
            continue;
        }
        let Some(text) = read(dir, &name)? else { continue };
        // A text that cannot be parsed was not written by us: no hash fits it, so it will be replaced.
        let hash = UnitText::parse(&text).map(|text| text.hash()).unwrap_or_default();
        found.push(Found { name, hash });
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn names_that_systemd_can_hold() {
        let long = format!("{}.service", "a".repeat(243));
        let refused =
            ["a@.service", ".service", ".a.service", "a.busname", "a", "a/b.service", "../a.service", long.as_str()];
        for name in refused {
            assert!(check_name(name).is_err(), "{name}");
        }
        for name in ["a.service", "a@1.service", "a.timer", "-.mount", &long[1..]] {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
    }

    #[test]
    fn units_are_found_again_with_their_hashes() {
        let dir = tempfile::tempdir().unwrap();
        let text = "[Service]\nExecStart=/bin/bash -c \"while true; do echo Hello, World!; sleep 1; done\"\n";
        write(dir.path(), "b.service", "[Service]\nExecStart=/bin/old\n").unwrap();
        write(dir.path(), "b.service", text).unwrap();
        write(dir.path(), "a@1.service", "[Service\n").unwrap();
        fs::write(dir.path().join(".c.service.new"), "[Serv").unwrap();
        fs::write(dir.path().join("README"), "").unwrap();
        let found = scan(dir.path()).unwrap();
        let hash = "3750b3e9f3962a56c7582929426e9abb012754cf";
        let expected = [("a@1.service", ""), ("b.service", hash)];
        assert_eq!(found, expected.map(|(name, hash)| Found { name: name.to_owned(), hash: hash.to_owned() }));
        assert!(!dir.path().join(".c.service.new").exists());
        assert!(dir.path().join("README").exists());
        let mode = fs::metadata(dir.path().join("b.service")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o644);
        remove(dir.path(), "b.service").unwrap();
        remove(dir.path(), "b.service").unwrap();
        assert_eq!(read(dir.path(), "b.service").unwrap(), None);
    }

    #[test]
    fn a_write_that_fails_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("a.service")).unwrap();
        assert!(write(dir.path(), "a.service", "[Unit]\n").is_err());
        assert!(!dir.path().join(".a.service.new").exists());
    }
}
