//! Sources that only say that something has changed: what it is, is found by reading them again.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use crate::base::BoxFuture;
use crate::gotemplate::Str;
use crate::jobs::templates::{KeyChange, KeyChanges, Keys, Snapshot};

/// A source of that kind.
pub(super) trait Readable: Send + Sync + 'static {
    /// The keys below `folders`.
    fn read<'a>(&'a self, folders: &'a [String]) -> BoxFuture<'a, Result<Snapshot, String>>;

    /// Completes when something below `folders` may have changed since `revision`, also before this was asked.
    fn changed<'a>(&'a self, folders: &'a [String], revision: i64) -> BoxFuture<'a, Result<(), String>>;
}

/// The source, and what was read of it last.
pub(super) struct Reread<R> {
    source: Arc<R>,
    last: Mutex<Snapshot>,
}

impl<R: Readable> Reread<R> {
    /// Nothing is read yet.
    pub fn new(source: R) -> Self {
        Self { source: Arc::new(source), last: Mutex::default() }
    }
}

impl<R: Readable> Keys for Reread<R> {
    fn read<'a>(&'a self, folders: &'a [String]) -> BoxFuture<'a, Result<Snapshot, String>> {
        Box::pin(async move {
            let snapshot = self.source.read(folders).await?;
            *self.last.lock().unwrap_or_else(PoisonError::into_inner) = snapshot.clone();
            Ok(snapshot)
        })
    }

    fn follow<'a>(
        &'a self,
        folders: &'a [String],
        _revision: i64,
    ) -> BoxFuture<'a, Result<Box<dyn KeyChanges>, String>> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let changes = Rereading { source: self.source.clone(), folders: folders.to_vec(), last };
        Box::pin(async move { Ok(Box::new(changes) as Box<dyn KeyChanges>) })
    }
}

struct Rereading<R> {
    source: Arc<R>,
    folders: Vec<String>,
    last: Snapshot,
}

impl<R: Readable> KeyChanges for Rereading<R> {
    fn next(&mut self) -> BoxFuture<'_, Result<KeyChange, String>> {
        Box::pin(async {
            loop {
                self.source.changed(&self.folders, self.last.revision).await?;
                let now = self.source.read(&self.folders).await?;
                if now.folders != self.last.folders {
                    return Err("folders came or went".to_owned());
                }
                let change = difference(&self.last, &now);
                self.last = now;
                if !change.keys.is_empty() {
                    return Ok(change);
                }
            }
        })
    }
}

/// What leads from one snapshot to another.
fn difference(before: &Snapshot, now: &Snapshot) -> KeyChange {
    let names: BTreeSet<&String> = before.keys.keys().chain(now.keys.keys()).collect();
    let changed = |name: &&String| before.keys.get(*name) != now.keys.get(*name);
    let keys: Vec<(String, Option<Str>)> =
        names.into_iter().filter(changed).map(|name| (name.clone(), now.keys.get(name).cloned())).collect();
    KeyChange { revision: now.revision, written: None, keys }
}
