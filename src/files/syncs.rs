//! Syncs of directories that many files move into at the same time: whoever waits while one sync is under way shares the
//! next one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::folders::{FileError, split};
use super::stage::sync_folder;

/// The directories that were synced so far.
#[derive(Default)]
pub struct FolderSyncs(Mutex<BTreeMap<PathBuf, Arc<Gate>>>);

/// One directory: numbered wishes, and up to which they are fulfilled.
#[derive(Default)]
struct Gate {
    wished: AtomicU64,
    fulfilled: tokio::sync::Mutex<u64>,
}

impl FolderSyncs {
    /// Makes the names in the directory of `dest`, as they are now, durable.
    ///
    /// # Errors
    /// A disk that is broken.
    pub async fn sync(&self, dest: &Path) -> Result<(), FileError> {
        let (folder, _) = split(dest)?;
        let gate = {
            let mut gates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            gates.entry(folder.to_owned()).or_default().clone()
        };
        let wish = gate.wished.fetch_add(1, Ordering::SeqCst) + 1;
        let mut fulfilled = gate.fulfilled.lock().await;
        if *fulfilled >= wish {
            return Ok(());
        }
        // Everyone who has wished by now has moved its file already.
        let wished = gate.wished.load(Ordering::SeqCst);
        let dest = dest.to_owned();
        let synced = tokio::task::spawn_blocking(move || sync_folder(&dest)).await;
        synced.map_err(|error| FileError::new("syncing", folder, std::io::Error::other(error)))??;
        *fulfilled = wished;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn those_who_wait_share_a_sync() {
        let folder = tempfile::tempdir().unwrap();
        let syncs = FolderSyncs::default();
        let dest = folder.path().join("x");
        let all = (0..100).map(|_| syncs.sync(&dest));
        assert!(futures_util::future::join_all(all).await.iter().all(Result::is_ok));
        let gate = syncs.0.lock().unwrap().values().next().unwrap().clone();
        assert_eq!(*gate.fulfilled.lock().await, 100);
        assert!(syncs.sync(&folder.path().join("none/x")).await.is_err());
    }
}
