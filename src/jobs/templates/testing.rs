//! A store in memory for the tests of templates: keys, history, watches, and a switch that takes it away.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::sync::watch;

use crate::base::{BoxFuture, LeaseId, MemberId};
use crate::kv::auth::Auth;
use crate::kv::{
    Applied, Consistency, Event, EventKind, Hash, HashOf, KeyValue, Lease, Member, Op, Position, RangeReply,
    RangeRequest, SnapshotStream, Space, Status, Store, StoreError, WatchBatch, WatchEnd, WatchRequest, WatchStart,
    WatchStream, in_range, v2,
};

#[derive(Default)]
struct Inner {
    revision: i64,
    keys: BTreeMap<Bytes, KeyValue>,
    history: Vec<Event>,
    down: bool,
    /// Watches of an earlier epoch have ended.
    epoch: u64,
    reads: u64,
}

/// The double.
pub(super) struct MemoryStore {
    inner: Arc<Mutex<Inner>>,
    moved: watch::Sender<()>,
}

impl MemoryStore {
    pub fn new() -> Arc<Self> {
        let inner = Inner { revision: 1, ..Inner::default() };
        Arc::new(Self { inner: Arc::new(Mutex::new(inner)), moved: watch::channel(()).0 })
    }

    fn change<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        let outcome = change(&mut self.inner.lock().unwrap());
        self.moved.send_replace(());
        outcome
    }

    /// Sets and removes (`None`) keys, in one revision.
    pub fn set(&self, changes: &[(&str, Option<&str>)]) {
        self.change(|inner| {
            inner.revision += 1;
            for (key, value) in changes {
                let (key, mod_revision) = (Bytes::from((*key).to_owned()), inner.revision);
                let value_bytes = Bytes::from(value.unwrap_or_default().to_owned());
                let kv = KeyValue { key: key.clone(), value: value_bytes, mod_revision, ..KeyValue::default() };
                let kind = if value.is_some() { EventKind::Put } else { EventKind::Delete };
                match kind {
                    EventKind::Put => inner.keys.insert(key, kv.clone()),
                    EventKind::Delete => inner.keys.remove(&key),
                };
                inner.history.push(Event { space: Space::User, kind, kv, prev: None, v2: None, made: None });
            }
        });
    }

    pub fn put(&self, key: &str, value: &str) {
        self.set(&[(key, Some(value))]);
    }

    /// Takes the store away, ending all watches, or brings it back.
    pub fn down(&self, down: bool) {
        self.change(|inner| {
            inner.down = down;
            inner.epoch += 1;
        });
    }

    /// How often it was read.
    pub fn reads(&self) -> u64 {
        self.inner.lock().unwrap().reads
    }
}

struct MemoryWatch {
    inner: Arc<Mutex<Inner>>,
    moved: watch::Receiver<()>,
    request: WatchRequest,
    next: i64,
    epoch: u64,
}

impl WatchStream for MemoryWatch {
    fn next(&mut self) -> BoxFuture<'_, Result<WatchBatch, WatchEnd>> {
        Box::pin(async move {
            loop {
                self.moved.borrow_and_update();
                {
                    let inner = self.inner.lock().unwrap();
                    if inner.epoch != self.epoch {
                        return Err(WatchEnd::Closed("gone".into()));
                    }
                    let (key, end) = (&self.request.key, &self.request.range_end);
                    let wanted =
                        |event: &&Event| event.kv.mod_revision >= self.next && in_range(&event.kv.key, key, end);
                    let events: Vec<Event> = inner.history.iter().filter(wanted).cloned().collect();
                    self.next = inner.revision + 1;
                    if !events.is_empty() {
                        return Ok(WatchBatch { revision: inner.revision, events });
                    }
                }
                if self.moved.changed().await.is_err() {
                    return Err(WatchEnd::Closed("dropped".into()));
                }
            }
        })
    }

    fn began(&self) -> Position {
        Position::default()
    }

    fn caught_up(&self) -> Option<i64> {
        None
    }
}

fn unused<T: Send + 'static>() -> BoxFuture<'static, Result<T, StoreError>> {
    Box::pin(async { Err(StoreError::Unsupported("this store is for tests of templates".into())) })
}

impl Store for MemoryStore {
    fn write(&self, _op: Op) -> BoxFuture<'_, Result<Applied, StoreError>> {
        unused()
    }

    fn range(
        &self,
        request: RangeRequest,
        _: Consistency,
    ) -> BoxFuture<'_, Result<(Position, RangeReply), StoreError>> {
        let answer = self.change(|inner| {
            if inner.down {
                return Err(StoreError::NoLeader { detail: "taken away".into() });
            }
            inner.reads += 1;
            let found: Vec<KeyValue> =
                inner.keys.values().filter(|kv| in_range(&kv.key, &request.key, &request.range_end)).cloned().collect();
            let limit = usize::try_from(request.limit).unwrap();
            let more = limit > 0 && found.len() > limit;
            let count = i64::try_from(found.len()).unwrap();
            let kvs = found.into_iter().take(if limit == 0 { usize::MAX } else { limit }).collect();
            Ok((Position { revision: inner.revision, ..Position::default() }, RangeReply { kvs, more, count }))
        });
        Box::pin(async move { answer })
    }

    fn v2_get(&self, _: v2::GetRequest, _: Consistency) -> BoxFuture<'_, Result<(Position, v2::Outcome), StoreError>> {
        unused()
    }

    fn catch_up(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        unused()
    }

    fn auth(&self) -> Arc<Auth> {
        Arc::default()
    }

    fn watch(&self, request: WatchRequest) -> BoxFuture<'_, Result<Box<dyn WatchStream>, StoreError>> {
        let inner = self.inner.lock().unwrap();
        let next = match request.start {
            WatchStart::Revision(revision) => revision,
            _ => inner.revision + 1,
        };
        let (epoch, down) = (inner.epoch, inner.down);
        let moved = self.moved.subscribe();
        let stream = MemoryWatch { inner: self.inner.clone(), moved, request, next, epoch };
        Box::pin(async move {
            match down {
                true => Err(StoreError::NoLeader { detail: "taken away".into() }),
                false => Ok(Box::new(stream) as Box<dyn WatchStream>),
            }
        })
    }

    fn keep_alive(&self, _: LeaseId) -> BoxFuture<'_, Result<i64, StoreError>> {
        unused()
    }

    fn lease_time_to_live(
        &self,
        _: LeaseId,
        _: bool,
    ) -> BoxFuture<'_, Result<Option<(Lease, i64, Vec<Bytes>)>, StoreError>> {
        unused()
    }

    fn leases(&self) -> BoxFuture<'_, Result<Vec<LeaseId>, StoreError>> {
        unused()
    }

    fn hash(&self, _: HashOf) -> BoxFuture<'_, Result<Hash, StoreError>> {
        unused()
    }

    fn snapshot(&self) -> BoxFuture<'_, Result<Box<dyn SnapshotStream>, StoreError>> {
        unused()
    }

    fn move_leader(&self, _: MemberId) -> BoxFuture<'_, Result<(), StoreError>> {
        unused()
    }

    fn members(&self) -> BoxFuture<'_, Result<Vec<Member>, StoreError>> {
        unused()
    }

    fn status(&self) -> Status {
        Status::default()
    }

    fn leader_changed(&self, _: Option<MemberId>) -> BoxFuture<'_, Option<MemberId>> {
        Box::pin(std::future::pending())
    }
}
