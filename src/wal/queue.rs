//! The queue in front of the writer: unbounded waiting is refused by making callers wait.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::{Callback, Entry, Purged, WalError};
use crate::base::limits::WAL_QUEUE_BYTES_MAX;

/// What a caller wants written.
#[derive(Debug)]
pub(super) enum Op {
    Append(Vec<Entry>),
    Vote(Bytes),
    Committed(Bytes),
    /// Cuts off the entries from this index on.
    Truncate(u64),
    Purge(Purged),
}

/// An operation and whom to tell when it is durable.
pub(super) struct Request {
    pub op: Op,
    pub done: Option<Callback>,
}

impl Request {
    /// Tells the caller. A panic of the callback is its owner's and does not stop the log for the others.
    pub fn finish(self, result: Result<(), WalError>) {
        if let Some(done) = self.done
            && catch_unwind(AssertUnwindSafe(|| done(result))).is_err()
        {
            tracing::error!("a callback of the log panicked");
        }
    }

    fn bytes(&self) -> usize {
        match &self.op {
            Op::Append(entries) => entries.iter().map(|entry| 64 + entry.payload.len()).sum(),
            Op::Vote(bytes) | Op::Committed(bytes) => 64 + bytes.len(),
            Op::Truncate(_) => 64,
            Op::Purge(purged) => 64 + purged.id.len(),
        }
    }
}

#[derive(Default)]
struct Inner {
    waiting: VecDeque<Request>,
    bytes: usize,
    closed: bool,
}

/// A first-in-first-out queue with a limit in bytes.
#[derive(Default)]
pub(super) struct Queue {
    inner: Mutex<Inner>,
    arrived: Condvar,
    taken: Condvar,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics while it holds the lock, so what is behind it is whole.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a request. When too much waits, `may_wait` lets the caller wait until the writer took some: it always does,
    /// also after a failure, so the wait lasts one write to the disk. After the close the request comes back.
    pub fn put(&self, request: Request, may_wait: bool) -> Result<(), Request> {
        let bytes = request.bytes();
        let mut inner = self.lock();
        while may_wait && inner.bytes > WAL_QUEUE_BYTES_MAX && !inner.closed {
            inner = self.taken.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
        if inner.closed {
            return Err(request);
        }
        inner.bytes += bytes;
        inner.waiting.push_back(request);
        drop(inner);
        self.arrived.notify_one();
        Ok(())
    }

    /// Waits for requests and takes what is there, up to about `max_bytes`. None: the queue is closed and empty.
    pub fn take(&self, max_bytes: usize) -> Option<Vec<Request>> {
        let mut inner = self.lock();
        while inner.waiting.is_empty() {
            if inner.closed {
                return None;
            }
            inner = self.arrived.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
        let mut batch = Vec::new();
        let mut bytes = 0;
        while let Some(request) = inner.waiting.pop_front() {
            bytes += request.bytes();
            batch.push(request);
            if bytes >= max_bytes {
                break;
            }
        }
        inner.bytes = inner.bytes.saturating_sub(bytes);
        drop(inner);
        self.taken.notify_all();
        Some(batch)
    }

    /// Lets nothing more in. What waits is still handed out.
    pub fn close(&self) {
        self.lock().closed = true;
        self.arrived.notify_all();
        self.taken.notify_all();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::sync::Arc;

    fn request(bytes: usize) -> Request {
        Request { op: Op::Vote(vec![0; bytes].into()), done: None }
    }

    #[test]
    fn a_full_queue_makes_callers_wait_until_something_is_taken() {
        let queue = Arc::new(Queue::default());
        assert!(queue.put(request(WAL_QUEUE_BYTES_MAX), true).is_ok());
        assert!(queue.put(request(1), false).is_ok());
        let waiter = Arc::clone(&queue);
        let waits = std::thread::spawn(move || waiter.put(request(2), true).is_ok());
        assert_eq!(queue.take(1).unwrap().len(), 1);
        assert!(waits.join().unwrap());
        assert_eq!(queue.take(usize::MAX).unwrap().len(), 2);
    }

    #[test]
    fn a_closed_queue_hands_out_the_rest_and_takes_nothing() {
        let queue = Queue::default();
        assert!(queue.put(request(1), true).is_ok());
        queue.close();
        assert!(queue.put(request(1), true).is_err());
        assert_eq!(queue.take(1).unwrap().len(), 1);
        assert!(queue.take(1).is_none());
    }
}
