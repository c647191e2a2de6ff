//! The keys of all resources at one revision, and the changes that follow.

use std::collections::BTreeMap;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::base::limits::{TEMPLATE_BATCHES_QUEUED_MAX, TEMPLATE_READ_KEYS_MAX};
use crate::confd::{path, range_of};
use crate::gotemplate::Str;
use crate::kv::{
    Consistency, EventKind, KeyValue, RangeRequest, Space, Store, StoreError, WatchBatch, WatchRequest, WatchStart,
};

/// Keys and values. Keys that are not UTF-8 are left out: no template could name them.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    pub revision: i64,
    pub keys: BTreeMap<String, Str>,
}

/// One step on from a snapshot, of one folder.
pub(super) type Change = WatchBatch;

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
    pub(super) fn take(&mut self, change: Change) -> Vec<String> {
        let mut changed = Vec::with_capacity(change.events.len());
        for event in change.events {
            let Ok(key) = std::str::from_utf8(&event.kv.key) else { continue };
            match event.kind {
                EventKind::Put => self.keys.insert(key.to_owned(), Str::from(&event.kv.value[..])),
                EventKind::Delete => self.keys.remove(key),
            };
            changed.push(key.to_owned());
        }
        self.revision = self.revision.max(change.revision);
        changed
    }
}

/// The changes of several folders in one stream.
pub(super) struct Changes {
    receiver: mpsc::Receiver<Result<Change, String>>,
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

    /// The next change. Cancel-safe.
    pub async fn next(&mut self) -> Result<Change, String> {
        loop {
            match self.receiver.recv().await {
                // Progress alone is no news.
                Some(Ok(change)) if change.events.is_empty() => {}
                Some(next) => return next,
                None => return Err("its watches ended".to_owned()),
            }
        }
    }
}

/// A range holds a few keys beside its folder.
fn only_within(mut batch: WatchBatch, folder: &str) -> WatchBatch {
    batch.events.retain(|event| std::str::from_utf8(&event.kv.key).is_ok_and(|key| path::within(key, folder)));
    batch
}
