//! Keys from YAML and JSON files, as confd's file backend has them.

use std::path::{Path, PathBuf};

use tokio::sync::Mutex;

use super::reread::Readable;
use crate::base::{BoxFuture, glob};
use crate::confd::{flatten, path};
use crate::files::FolderWatch;
use crate::gotemplate::Str;
use crate::jobs::templates::Snapshot;

/// Largest file that is read.
const FILE_BYTES_MAX: u64 = 64 << 20;
/// Files that are read.
const FILES_MAX: usize = 10_000;

/// Files, and folders of files.
pub(super) struct FileKeys {
    places: Vec<PathBuf>,
    /// Which names count in folders; as in a shell.
    filter: String,
    /// Opened before the first read, so that no change is missed; made anew after each change.
    watch: Mutex<Option<FolderWatch>>,
}

impl FileKeys {
    /// Nothing is read yet.
    pub fn new(places: Vec<PathBuf>, filter: String) -> Self {
        Self { places, filter, watch: Mutex::default() }
    }

    fn open_watch(&self) -> Result<FolderWatch, String> {
        let (folders, files): (Vec<PathBuf>, Vec<PathBuf>) =
            self.places.iter().cloned().partition(|place| place.is_dir());
        // Editors replace files, so the folder tells.
        let parent = |file: &PathBuf| {
            file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned()
        };
        let parents: Vec<PathBuf> = files.iter().map(parent).collect();
        FolderWatch::open(&folders, &parents).map_err(|error| error.to_string())
    }
}

/// All keys of these files; those of a later one count where two have the same.
///
/// # Errors
/// A file that cannot be read, or is no YAML, with the place.
pub(super) fn keys_of(places: &[PathBuf], filter: &str) -> Result<Snapshot, String> {
    let mut snapshot = Snapshot::default();
    let mut found = Vec::new();
    for place in places {
        find(place, filter, &mut found, true)?;
    }
    for file in found {
        let told = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
        let length = std::fs::metadata(&file).map_err(|error| told(&error))?.len();
        if length > FILE_BYTES_MAX {
            return Err(told(&format!("it has {length} bytes; the most is {FILE_BYTES_MAX}")));
        }
        let text = std::fs::read_to_string(&file).map_err(|error| told(&error))?;
        let keys = flatten(&text).map_err(|error| format!("{}:{error}", file.display()))?;
        snapshot.keys.extend(keys.into_iter().map(|(key, value)| (key, Str::from(value))));
    }
    Ok(snapshot)
}

fn find(place: &Path, filter: &str, found: &mut Vec<PathBuf>, named: bool) -> Result<(), String> {
    let told = |error: std::io::Error| format!("{}: {error}", place.display());
    if std::fs::metadata(place).map_err(told)?.is_dir() {
        let entries = std::fs::read_dir(place).and_then(Iterator::collect::<std::io::Result<Vec<_>>>).map_err(told)?;
        let mut paths: Vec<PathBuf> = entries.iter().map(std::fs::DirEntry::path).collect();
        paths.sort();
        return paths.iter().try_for_each(|path| find(path, filter, found, false));
    }
    let name = place.file_name().unwrap_or_default().to_string_lossy();
    if named || glob::matches(filter, &name).map_err(|error| format!("filter: {error}"))? {
        if found.len() >= FILES_MAX {
            return Err(format!("{}: more than {FILES_MAX} files", place.display()));
        }
        found.push(place.to_owned());
    }
    Ok(())
}

impl Readable for FileKeys {
    fn read<'a>(&'a self, folders: &'a [String]) -> BoxFuture<'a, Result<Snapshot, String>> {
        Box::pin(async move {
            *self.watch.lock().await = Some(self.open_watch()?);
            let (places, filter) = (self.places.clone(), self.filter.clone());
            let read = tokio::task::spawn_blocking(move || keys_of(&places, &filter)).await;
            let mut snapshot = read.map_err(|error| error.to_string())??;
            snapshot.keys.retain(|key, _| folders.iter().any(|folder| path::within(key, folder)));
            Ok(snapshot)
        })
    }

    fn changed<'a>(&'a self, _: &'a [String], _: i64) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            let mut watch = self.watch.lock().await;
            match watch.as_mut() {
                Some(watch) => watch.changed().await,
                None => *watch = Some(self.open_watch()?),
            }
            Ok(())
        })
    }
}
