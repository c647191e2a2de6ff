//! The keys of all resources at one revision, and the changes that follow.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::keys::{KeyChange, KeyChanges};
use crate::base::BoxFuture;
use crate::base::limits::{TEMPLATE_BATCHES_QUEUED_MAX, TEMPLATE_READ_KEYS_MAX};
use crate::confd::{Selection, path, range_of};
use crate::gotemplate::Str;
use crate::kv::{
    Consistency, EventKind, KeyValue, RangeRequest, Space, Store, StoreError, WatchBatch, WatchRequest, WatchStart,
};

/// Keys and values. Keys that are not UTF-8 are left out: no template could name them.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    pub revision: i64,
    pub keys: BTreeMap<String, Str>,
    /// Where the source tells a folder that is not there from an empty one: those that are there. A resource that asks for
    /// another one is refused its view, with the source's words.
    pub folders: Option<BTreeSet<String>>,
}

/// Reads all keys of `folders`, at one revision.
///
/// # Errors
/// The store's own.
pub async fn read(store: &dyn Store, folders: &[String]) -> Result<Snapshot, StoreError> {
    let mut snapshot = Snapshot::default();
    for folder in folders {
        let (mut key, range_end) = range_of(folder);
        loop {
            let request = RangeRequest {
                key: key.clone(),
                range_end: range_end.clone(),
                limit: TEMPLATE_READ_KEYS_MAX,
                revision: snapshot.revision,
                ..RangeRequest::default()
            };
            let (position, reply) = store.range(request, Consistency::Linearizable).await?;
            if snapshot.revision == 0 {
                snapshot.revision = position.revision;
            }
            let last = reply.kvs.last().map(|kv| kv.key.clone());
            reply.kvs.into_iter().for_each(|kv| snapshot.put(folder, kv));
            match last.filter(|_| reply.more) {
                Some(last) => key = successor(&last),
                None => break,
            }
        }
    }
    Ok(snapshot)
}

/// The smallest key after `key`.
fn successor(key: &[u8]) -> Bytes {
    let mut next = key.to_vec();
    next.push(0);
    next.into()
}

impl Snapshot {
    fn put(&mut self, folder: &str, kv: KeyValue) {
        if let Ok(key) = std::str::from_utf8(&kv.key)
            && path::within(key, folder)
        {
            self.keys.insert(key.to_owned(), Str::from(&kv.value[..]));
        }
    }

    /// Takes a change in and returns the keys that changed.
    pub(super) fn take(&mut self, change: KeyChange) -> Vec<String> {
        self.revision = self.revision.max(change.revision);
        let take = |(key, value): (String, Option<Str>)| {
            match value {
                Some(value) => self.keys.insert(key.clone(), value),
                None => self.keys.remove(&key),
            };
            key
        };
        change.keys.into_iter().map(take).collect()
    }

    /// Why a resource cannot have its keys.
    pub(super) fn refusal(&self, selection: &Selection) -> Option<String> {
        let folders = self.folders.as_ref()?;
        let there = |key: &String| key == "/" || folders.contains(key) || self.keys.contains_key(key);
        let missing = selection.keys().iter().find(|key| !there(key))?;
        Some(format!("100: Key not found ({missing}) [{}]", self.revision))
    }
}

/// The changes of several folders in one stream.
pub(super) struct Changes {
    receiver: mpsc::Receiver<Result<KeyChange, String>>,
    /// Ends the watches when it goes.
    _watches: JoinSet<()>,
}

impl Changes {
    /// Watches `folders` from the revision after `revision` on.
    pub async fn open(store: &dyn Store, folders: &[String], revision: i64) -> Result<Self, StoreError> {
        let (sender, receiver) = mpsc::channel(TEMPLATE_BATCHES_QUEUED_MAX);
        let mut watches = JoinSet::new();
        for folder in folders {
            let (key, range_end) = range_of(folder);
            let start = WatchStart::Revision(revision + 1);
            let mut watch = store.watch(WatchRequest { space: Space::User, key, range_end, start }).await?;
            let (sender, folder) = (sender.clone(), folder.clone());
            watches.spawn(async move {
                loop {
                    let next = watch.next().await.map_err(|end| end.to_string());
                    let ended = next.is_err();
                    let next = next.map(|batch| only_within(batch, &folder));
                    if sender.send(next).await.is_err() || ended {
                        return;
                    }
                }
            });
        }
        Ok(Self { receiver, _watches: watches })
    }
}

impl KeyChanges for Changes {
    fn next(&mut self) -> BoxFuture<'_, Result<KeyChange, String>> {
        Box::pin(async {
            loop {
                match self.receiver.recv().await {
                    // Progress alone is no news.
                    Some(Ok(change)) if change.keys.is_empty() => {}
                    Some(next) => return next,
                    None => return Err("its watches ended".to_owned()),
                }
            }
        })
    }
}

/// A range holds a few keys beside its folder.
fn only_within(batch: WatchBatch, folder: &str) -> KeyChange {
    let mut change = KeyChange { revision: batch.revision, ..KeyChange::default() };
    for event in batch.events {
        let Ok(key) = std::str::from_utf8(&event.kv.key) else { continue };
        if path::within(key, folder) {
            let value = (event.kind == EventKind::Put).then(|| Str::from(&event.kv.value[..]));
            change.written = change.written.or(event.made.map(|made| made.at));
            change.keys.push((key.to_owned(), value));
        }
    }
    change
}
