//! Tells that something in some folders has changed: the kernel says so (inotify), nobody looks.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::Receiver;

use super::FileError;

/// How long a burst of changes may go on before it is told, and the silence that ends it: editors and packages write
/// several files.
const BURST_MAX: Duration = Duration::from_secs(2);
const BURST_QUIET: Duration = Duration::from_millis(100);
/// Folders that are watched; those beyond are not.
const FOLDERS_MAX: usize = 1_000;

/// Folders. What is added to them later is seen once this is made anew.
pub struct FolderWatch {
    events: Receiver,
}

impl FolderWatch {
    /// Watches `folders` with all below them, and `alone` without. For one that is not there yet the nearest folder above it
    /// tells. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// Where the kernel has no watch left to give (`fs.inotify.max_user_instances`, `max_user_watches`).
    pub fn open(folders: &[PathBuf], alone: &[PathBuf]) -> Result<Self, FileError> {
        let first = folders.first().or(alone.first()).map_or(Path::new("/"), PathBuf::as_path);
        let failed = |source: io::Error| FileError::new("watching", first, source);
        let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).map_err(|error| failed(error.into()))?;
        let mut found: Vec<PathBuf> = alone.iter().filter_map(|folder| nearest(folder)).collect();
        for folder in folders {
            walk(folder, &mut found);
            found.extend(nearest(folder));
        }
        found.sort();
        found.dedup();
        let flags = WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF;
        for folder in &found {
            match inotify::add_watch(&fd, folder, flags) {
                // Gone since it was found.
                Ok(_) | Err(rustix::io::Errno::NOENT) => {}
                Err(error) => return Err(FileError::new("watching", folder, error.into())),
            }
        }
        // Not a pipe, but read as one: as events come, without blocking.
        Ok(Self { events: Receiver::from_owned_fd_unchecked(fd).map_err(failed)? })
    }

    /// Completes once something has changed and it is quiet again.
    pub async fn changed(&mut self) {
        self.some().await;
        let quiet = async { while tokio::time::timeout(BURST_QUIET, self.some()).await.is_ok() {} };
        // A burst without an end is told as well.
        let _ = tokio::time::timeout(BURST_MAX, quiet).await;
    }

    async fn some(&mut self) {
        let mut buffer = [0; 4096];
        match self.events.read(&mut buffer).await {
            Ok(count) if count > 0 => {}
            // Nothing will ever be told again.
            _ => std::future::pending().await,
        }
    }
}

/// The folder itself, or the first above it that is there.
fn nearest(folder: &Path) -> Option<PathBuf> {
    folder.ancestors().find(|folder| folder.is_dir()).map(Path::to_owned)
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    if found.len() >= FOLDERS_MAX || !folder.is_dir() {
        return;
    }
    found.push(folder.to_owned());
    // A folder that cannot be read has nothing that could be loaded.
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            walk(&entry.path(), found);
        }
    }
}
