//! Syncs that files share which are replaced at the same time: whoever waits while one is under way shares the next one.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::folders::{FileError, split};
use super::stage::{Replaced, Staged, sync_folder};

/// Up to so many replacements sync their files each by itself; of more, all that wait are synced together.
const ALONE_MAX: usize = 4;
/// How long the sync of a file system waits for more files: each costs as much as hundreds of them.
const GATHERED_FOR: Duration = Duration::from_millis(5);
/// The sync of a file system writes what everybody has changed in it. Where that may be more than this, it is left alone.
const DIRTY_KIB_MAX: u64 = 128 << 10;
/// File systems of which a sync is as durable as one of each file: ext4, XFS, btrfs, F2FS, tmpfs and overlays. A FUSE, for one,
/// tells nothing of it to whoever serves its files.
const SYNCED_WHOLE: [u64; 6] = [0xef53, 0x5846_5342, 0x9123_683e, 0xf2f5_2010, 0x0102_1994, 0x794c_7630];

/// Threads that free files at the same time.
const FREED_AT_ONCE_MAX: usize = 2;

/// What is synced together.
pub struct Syncs {
    folders: Gates<PathBuf>,
    /// By the device that the files lie on.
    file_systems: Gates<u64>,
    replacing: AtomicUsize,
    freeing: Arc<Semaphore>,
}

impl Default for Syncs {
    fn default() -> Self {
        Self {
            folders: Gates::default(),
            file_systems: Gates::default(),
            replacing: AtomicUsize::new(0),
            freeing: Arc::new(Semaphore::new(FREED_AT_ONCE_MAX)),
        }
    }
}

impl Syncs {
    /// A replacement begins; it ends when the answer is dropped.
    pub fn enter(&self) -> Replacing<'_> {
        self.replacing.fetch_add(1, Ordering::Relaxed);
        Replacing(self)
    }

    /// Makes the names in the directory of `dest`, as they are now, durable.
    ///
    /// # Errors
    /// A disk that is broken.
    pub async fn folder(&self, dest: &Path) -> Result<(), FileError> {
        let (folder, _) = split(dest)?;
        let path = dest.to_owned();
        let synced = self.folders.pass(folder.to_owned(), Duration::ZERO, move || sync_folder(&path)).await;
        synced.map_err(|error| FileError::new("syncing", folder, io::Error::other(error)))?
    }

    /// Frees files that were replaced; nobody waits for the end of it.
    pub fn free(&self, replaced: Vec<Replaced>) {
        let freeing = self.freeing.clone();
        tokio::spawn(async move {
            // Closed never: whoever waits keeps the semaphore.
            let _turn = freeing.acquire().await;
            // How it ends does not matter: the files are gone from where they were.
            let _ = tokio::task::spawn_blocking(move || drop(replaced)).await;
        });
    }
}

/// One of those that replace files at the moment.
pub struct Replacing<'a>(&'a Syncs);

impl Replacing<'_> {
    /// Brings the files to the disk together with those of others, if many replace files at the moment and nothing speaks against
    /// it; otherwise nothing is done. Whether they are on the disk.
    ///
    /// # Errors
    /// A disk that is full or broken.
    pub async fn sync_with_others(&self, staged: &[Staged]) -> Result<bool, FileError> {
        let few = self.0.replacing.load(Ordering::Relaxed).max(staged.len()) <= ALONE_MAX;
        if few || dirty_kib().is_none_or(|dirty| dirty > DIRTY_KIB_MAX) {
            return Ok(false);
        }
        let mut file_systems: BTreeMap<u64, &Staged> = BTreeMap::new();
        for one in staged {
            file_systems.insert(one.device()?, one);
        }
        for (device, one) in file_systems {
            let failed = |error| FileError::new("syncing the file system of", one.path(), error);
            let file = one.handle()?;
            if !is_synced_whole(&file).map_err(failed)? {
                return Ok(false);
            }
            let sync = move || Ok(rustix::fs::syncfs(file)?);
            let synced = self.0.file_systems.pass(device, GATHERED_FOR, sync).await;
            synced.map_err(|error| failed(io::Error::other(error)))?.map_err(failed)?;
        }
        Ok(true)
    }
}

impl Drop for Replacing<'_> {
    fn drop(&mut self) {
        self.0.replacing.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How much of the machine's memory waits to be written to disks.
fn dirty_kib() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    text.lines().find_map(|line| line.strip_prefix("Dirty:")?.trim().strip_suffix(" kB")?.parse().ok())
}

fn is_synced_whole(file: &File) -> io::Result<bool> {
    let kind = rustix::fs::fstatfs(file.as_fd())?.f_type;
    Ok(SYNCED_WHOLE.iter().any(|known| i128::from(*known) == i128::from(kind)))
}

/// A gate for each thing that is synced.
struct Gates<K>(Mutex<BTreeMap<K, Arc<Gate>>>);

impl<K> Default for Gates<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

/// Numbered wishes, and up to which they are fulfilled.
#[derive(Default)]
struct Gate {
    wished: AtomicU64,
    fulfilled: tokio::sync::Mutex<u64>,
}

impl<K: Ord> Gates<K> {
    /// Returns after a sync of `key` that began after this was called: one's own, or that of another who waited too. One's own
    /// waits so long for others.
    async fn pass<E: Send + 'static>(
        &self,
        key: K,
        gathered_for: Duration,
        sync: impl FnOnce() -> Result<(), E> + Send + 'static,
    ) -> Result<Result<(), E>, tokio::task::JoinError> {
        let gate = self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default().clone();
        let wish = gate.wished.fetch_add(1, Ordering::SeqCst) + 1;
        let mut fulfilled = gate.fulfilled.lock().await;
        if *fulfilled >= wish {
            return Ok(Ok(()));
        }
        if !gathered_for.is_zero() {
            tokio::time::sleep(gathered_for).await;
        }
        // Everyone who has wished by now has done already what is to be synced.
        let wished = gate.wished.load(Ordering::SeqCst);
        let synced = tokio::task::spawn_blocking(sync).await?;
        if synced.is_ok() {
            *fulfilled = wished;
        }
        Ok(synced)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::files::resolve_owner;

    #[tokio::test]
    async fn those_who_wait_share_a_sync() {
        let gates = Gates::default();
        let made = Arc::new(AtomicUsize::new(0));
        let all = (0..100).map(|_| {
            let made = made.clone();
            gates.pass("key", Duration::ZERO, move || {
                made.fetch_add(1, Ordering::SeqCst);
                Ok::<(), ()>(())
            })
        });
        assert!(futures_util::future::join_all(all).await.iter().all(|passed| matches!(passed, Ok(Ok(())))));
        // One for the first, and one for all the others, who came meanwhile.
        assert!(made.load(Ordering::SeqCst) <= 2, "{made:?}");
        assert_eq!(gates.pass("key", Duration::ZERO, || Err("broken")).await.unwrap(), Err("broken"));
        assert_eq!(gates.pass("key", Duration::ZERO, || Err("still broken")).await.unwrap(), Err("still broken"));
    }

    #[tokio::test]
    async fn folders_are_synced_and_missing_ones_are_not() {
        let (folder, syncs) = (tempfile::tempdir().unwrap(), Syncs::default());
        let dest = folder.path().join("x");
        let all = (0..100).map(|_| syncs.folder(&dest));
        assert!(futures_util::future::join_all(all).await.iter().all(Result::is_ok));
        assert!(syncs.folder(&folder.path().join("none/x")).await.is_err());
    }

    #[tokio::test]
    async fn few_are_synced_by_themselves() {
        let (folder, syncs) = (tempfile::tempdir().unwrap(), Syncs::default());
        let staged = |count: usize| -> Vec<Staged> {
            let owner = resolve_owner(None, None).unwrap();
            let names = (0..count).map(|number| folder.path().join(number.to_string()));
            names.map(|dest| Staged::create(&dest, b"x".to_vec(), 0o644, owner).unwrap()).collect()
        };
        let one = syncs.enter();
        assert!(!one.sync_with_others(&staged(1)).await.unwrap());
        let others: Vec<_> = (0..ALONE_MAX).map(|_| syncs.enter()).collect();
        // Whether it is done depends on the file system and on how busy the machine is; that it does not fail does not.
        one.sync_with_others(&staged(1)).await.unwrap();
        one.sync_with_others(&staged(9)).await.unwrap();
        drop(others);
        assert!(!one.sync_with_others(&staged(1)).await.unwrap());
        drop(one);
        assert_eq!(syncs.replacing.load(Ordering::Relaxed), 0);
    }
}
