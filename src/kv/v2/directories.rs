//! Which directories the v2 view has: one record each, kept in step with every change of a key of the user space.
//!
//! Rules of the view:
//! * A key is shown as the file of its path if it is a path: it starts with `/`, has no empty, `.` or `..` component, does
//!   not end in `/`, is UTF-8 and within the limits of length and depth. All other keys but markers are not in the view.
//! * A key that is a path and a `/` is a marker: it makes the directory of that path exist, whatever its value.
//! * A directory exists while it has a marker or a key shown below it. A path that is a directory shows no value: a key
//!   of the same name, which only v3 can make, is not in the view until the directory is gone.

use serde::{Deserialize, Serialize};

use crate::base::limits::{V2_PATH_BYTES_MAX, V2_PATH_COMPONENTS_MAX};
use crate::kv::layout;
use crate::kv::tables::{Table, Tables, TablesError, TablesMut};

/// A directory of the view. The root has no record: it always exists.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::kv) struct Directory {
    /// v2's `createdIndex`; directories never change theirs, nor their `modifiedIndex`.
    pub created: u64,
    /// Files and directories directly in it.
    pub children: u64,
    /// Whether its marker key exists.
    pub marker: bool,
}

/// What a key is to the view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::kv) enum Shown<'a> {
    /// The file of this path.
    File(&'a str),
    /// The marker of the directory of this path.
    Marker(&'a str),
    Outside,
}

/// What `key` is to the view.
pub(in crate::kv) fn shown(key: &[u8]) -> Shown<'_> {
    let (body, marker) = match key {
        [body @ .., b'/'] => (body, true),
        body => (body, false),
    };
    match std::str::from_utf8(body) {
        Ok(path) if is_path(path) && marker => Shown::Marker(path),
        Ok(path) if is_path(path) => Shown::File(path),
        _ => Shown::Outside,
    }
}

/// Whether `path` can be the name of a node other than the root.
pub(in crate::kv) fn is_path(path: &str) -> bool {
    let Some(body) = path.strip_prefix('/') else {
        return false;
    };
    let mut components = 0;
    path.len() <= V2_PATH_BYTES_MAX
        && body.split('/').all(|component| {
            components += 1;
            components <= V2_PATH_COMPONENTS_MAX && !matches!(component, "" | "." | "..")
        })
}

/// The directory that `path` lies in; empty for the root.
pub(in crate::kv) fn parent(path: &str) -> &str {
    path.rfind('/').map_or("", |slash| &path[..slash])
}

/// The directory at `path`, if there is one (the root has no record).
pub(in crate::kv) fn get<T: Tables + ?Sized>(tables: &T, path: &[u8]) -> Result<Option<Directory>, TablesError> {
    match tables.get(Table::V2Directories, path)? {
        Some(bytes) => Ok(Some(layout::decode(&bytes, "a record of table v2-directories")?)),
        None => Ok(None),
    }
}

/// A key came into being, by the change with this index.
pub(in crate::kv) fn added(tables: &mut dyn TablesMut, key: &[u8], index: u64) -> Result<(), TablesError> {
    let fresh = || Directory { created: index, ..Directory::default() };
    let mut path = match shown(key) {
        Shown::Outside => return Ok(()),
        Shown::File(path) => path,
        Shown::Marker(path) => {
            let known = get(tables, path.as_bytes())?;
            let mut directory = known.clone().unwrap_or_else(fresh);
            directory.marker = true;
            save(tables, path, &directory)?;
            if known.is_some() {
                return Ok(());
            }
            path
        }
    };
    loop {
        path = parent(path);
        if path.is_empty() {
            return Ok(());
        }
        let known = get(tables, path.as_bytes())?;
        let mut directory = known.clone().unwrap_or_else(fresh);
        directory.children += 1;
        save(tables, path, &directory)?;
        if known.is_some() {
            return Ok(());
        }
    }
}

/// Notes when a directory was made, for one that was there before its keys came here.
pub(in crate::kv) fn date(tables: &mut dyn TablesMut, path: &str, created: u64) -> Result<(), TablesError> {
    match get(tables, path.as_bytes())? {
        Some(directory) => save(tables, path, &Directory { created, ..directory }),
        None => Ok(()),
    }
}

/// A key ceased to be. Directories without a marker go with their last child.
pub(in crate::kv) fn removed(tables: &mut dyn TablesMut, key: &[u8]) -> Result<(), TablesError> {
    let mut path = match shown(key) {
        Shown::Outside => return Ok(()),
        Shown::File(path) => path,
        Shown::Marker(path) => {
            let mut directory = get(tables, path.as_bytes())?.unwrap_or_default();
            directory.marker = false;
            if !save_or_drop(tables, path, &directory)? {
                return Ok(());
            }
            path
        }
    };
    loop {
        path = parent(path);
        if path.is_empty() {
            return Ok(());
        }
        let mut directory = get(tables, path.as_bytes())?.unwrap_or_default();
        directory.children = directory.children.saturating_sub(1);
        if !save_or_drop(tables, path, &directory)? {
            return Ok(());
        }
    }
}

fn save(tables: &mut dyn TablesMut, path: &str, directory: &Directory) -> Result<(), TablesError> {
    tables.put(Table::V2Directories, path.as_bytes(), &layout::encode(directory)?)
}

/// Saves the directory, or drops it if nothing keeps it; true if dropped.
fn save_or_drop(tables: &mut dyn TablesMut, path: &str, directory: &Directory) -> Result<bool, TablesError> {
    if directory.marker || directory.children > 0 {
        save(tables, path, directory)?;
        return Ok(false);
    }
    tables.delete(Table::V2Directories, path.as_bytes())?;
    Ok(true)
}
