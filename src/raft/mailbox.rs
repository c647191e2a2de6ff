//! What waits for one watcher: bounded by itself, and together with what waits for all others.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::base::limits::{
    WATCH_BACKLOG_BYTES_MAX, WATCH_BACKLOG_EVENTS_MAX, WATCH_BACKLOGS_EVENTS_MAX, WATCH_BATCH_BYTES, WATCH_BATCH_EVENTS,
};
use crate::kv::store::{WatchBatch, WatchEnd};
use crate::kv::{Event, KeyValue};

/// A watcher's mailbox. The hub fills it, the watcher empties it.
pub struct Mailbox {
    /// Changes before this revision are not asked for.
    from_revision: i64,
    /// Changes before this v2 index are not asked for.
    from_index: u64,
    contents: Mutex<Contents>,
    filled: Notify,
}

struct Contents {
    batches: VecDeque<WatchBatch>,
    events: usize,
    /// Those of all watchers, these included.
    events_of_all: Arc<AtomicUsize>,
    /// Of the keys and values of those events.
    bytes: usize,
    /// Told when the batches are taken.
    end: Option<WatchEnd>,
}

impl Mailbox {
    /// `events_of_all`: the count of events that wait in any mailbox, which this one takes part in.
    pub fn new(from_revision: i64, from_index: u64, events_of_all: Arc<AtomicUsize>) -> Self {
        let contents = Mutex::new(Contents::new(events_of_all));
        Self { from_revision, from_index, contents, filled: Notify::new() }
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts in what `revision` changed. A watcher for which too much waits is cut off and told where to resume.
    pub fn deliver(&self, mut events: Vec<Event>, revision: i64) {
        events.retain(|event| event.kv.mod_revision >= self.from_revision && event.kv.v2_modified >= self.from_index);
        let mut contents = self.contents();
        if events.is_empty() || contents.end.is_some() {
            return;
        }
        contents.put(WatchBatch { revision, events });
        if contents.is_too_much() {
            contents.end = Some(WatchEnd::TooSlow { resume: contents.cut_off() });
        }
        drop(contents);
        self.filled.notify_one();
    }

    /// Nothing comes after what is in it.
    pub fn end(&self, end: WatchEnd) {
        self.contents().end.get_or_insert(end);
        self.filled.notify_one();
    }

    /// Whether nothing waits, and more may come.
    pub fn is_clear(&self) -> bool {
        let contents = self.contents();
        contents.batches.is_empty() && contents.end.is_none()
    }

    /// Waits for something and takes it.
    pub async fn next(&self) -> Result<WatchBatch, WatchEnd> {
        loop {
            {
                let mut contents = self.contents();
                if let Some(batch) = contents.take() {
                    return Ok(batch);
                }
                if let Some(end) = &contents.end {
                    return Err(end.clone());
                }
            }
            self.filled.notified().await;
            // Whoever can run goes first: where there is much to do, more comes together meanwhile and is told at once.
            tokio::task::yield_now().await;
        }
    }
}

impl Contents {
    fn new(events_of_all: Arc<AtomicUsize>) -> Self {
        Self { batches: VecDeque::new(), events: 0, events_of_all, bytes: 0, end: None }
    }

    fn put(&mut self, batch: WatchBatch) {
        self.bytes += bytes_of(&batch.events);
        self.events += batch.events.len();
        self.events_of_all.fetch_add(batch.events.len(), Ordering::Relaxed);
        self.batches.push_back(batch);
    }

    fn count_out(&mut self, events: usize, bytes: usize) {
        self.events -= events;
        self.events_of_all.fetch_sub(events, Ordering::Relaxed);
        self.bytes -= bytes;
    }

    /// Whether it is too much for a watcher that has not taken what came before: by itself, or because all those that wait for
    /// somebody are too many and this one is behind by more than it would be handed at once.
    fn is_too_much(&self) -> bool {
        let crowded = || self.events_of_all.load(Ordering::Relaxed) > WATCH_BACKLOGS_EVENTS_MAX;
        self.events > WATCH_BACKLOG_EVENTS_MAX
            || self.batches.len() > 1
                && (self.bytes > WATCH_BACKLOG_BYTES_MAX || self.events > WATCH_BATCH_EVENTS && crowded())
    }

    /// Lets go what waits. Returns the first revision of it.
    fn cut_off(&mut self) -> i64 {
        let first = self.batches.front().and_then(|batch| batch.events.first());
        let first = first.map_or(0, |event| event.kv.mod_revision);
        self.batches.clear();
        self.count_out(self.events, self.bytes);
        first
    }

    /// All that waits, as one batch, unless it is much: who is slow gets more at a time.
    fn take(&mut self) -> Option<WatchBatch> {
        let mut all = self.batches.pop_front()?;
        let mut bytes = bytes_of(&all.events);
        while let Some(next) = self.batches.front() {
            let more = bytes_of(&next.events);
            if bytes + more > WATCH_BATCH_BYTES || all.events.len() + next.events.len() > WATCH_BATCH_EVENTS {
                break;
            }
            bytes += more;
            let next = self.batches.pop_front()?;
            all.revision = next.revision;
            all.events.extend(next.events);
        }
        self.count_out(all.events.len(), bytes);
        Some(all)
    }
}

impl Drop for Contents {
    fn drop(&mut self) {
        self.count_out(self.events, self.bytes);
    }
}

fn bytes_of(events: &[Event]) -> usize {
    let kv = |kv: &KeyValue| kv.key.len() + kv.value.len();
    events.iter().map(|event| kv(&event.kv) + event.prev.as_ref().map_or(0, kv)).sum()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use futures_util::FutureExt;

    use super::*;
    use crate::kv::{EventKind, Space};

    fn events(count: usize, revision: i64, bytes: usize) -> Vec<Event> {
        let kv = KeyValue { value: vec![0; bytes].into(), mod_revision: revision, ..KeyValue::default() };
        let event = Event { space: Space::User, kind: EventKind::Put, kv, prev: None, v2: None, made: None };
        vec![event; count]
    }

    fn next(mailbox: &Mailbox) -> Option<Result<WatchBatch, WatchEnd>> {
        mailbox.next().now_or_never()
    }

    #[test]
    fn what_is_much_is_cut_off_unless_it_came_at_once() {
        let all = Arc::new(AtomicUsize::new(0));
        let mailbox = Mailbox::new(0, 0, all.clone());
        mailbox.deliver(events(1, 5, WATCH_BACKLOG_BYTES_MAX + 1), 5);
        assert_eq!(next(&mailbox).unwrap().unwrap().revision, 5);
        for revision in 6..=8 {
            mailbox.deliver(events(1, revision, WATCH_BACKLOG_BYTES_MAX / 2), revision);
        }
        assert_eq!(all.load(Ordering::Relaxed), 0);
        assert_eq!(next(&mailbox).unwrap(), Err(WatchEnd::TooSlow { resume: 6 }));
    }

    #[test]
    fn where_much_waits_for_all_those_are_cut_off_that_are_behind() {
        let all = Arc::new(AtomicUsize::new(WATCH_BACKLOGS_EVENTS_MAX));
        let (behind, near) = (Mailbox::new(0, 0, all.clone()), Mailbox::new(0, 0, all.clone()));
        for revision in 1..=3 {
            behind.deliver(events(WATCH_BATCH_EVENTS / 2, revision, 1), revision);
            near.deliver(events(1, revision, 1), revision);
        }
        assert_eq!(next(&behind).unwrap(), Err(WatchEnd::TooSlow { resume: 1 }));
        assert_eq!(next(&near).unwrap().unwrap().events.len(), 3);
        assert!(near.is_clear() && next(&near).is_none());
        near.deliver(events(1, 4, 1), 4);
        drop(near);
        assert_eq!(all.load(Ordering::Relaxed), WATCH_BACKLOGS_EVENTS_MAX);
    }
}
