//! Requests while they arrive: all of a node share a budget of bytes, and each has its time.
//!
//! A body that is there as a whole with its first piece, as most are, costs nothing. Others draw their bytes from the budget
//! until they are answered, their beginnings from one of its own, so that large requests do not keep small ones out. Of
//! streams only the message that is under way counts.

use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::PollSemaphore;

use super::body::BodyError;
use super::bounds::Bounds;
use crate::base::limits::{BODY_BEGINNING_BYTES, GRPC_MESSAGE_BYTES_MAX};

/// The budget that the requests of a node share.
#[derive(Clone)]
pub(super) struct Room {
    bounds: Bounds,
    beginnings: Arc<Semaphore>,
    rests: Arc<Semaphore>,
}

/// What a request is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// One body of any kind.
    Plain,
    /// One message of gRPC.
    Call,
    /// Any number of messages of gRPC, over any time.
    Stream,
}

/// What becomes of a request while it arrives, for the one who answers it. Dropped with the answer.
#[derive(Default)]
pub(super) struct Arrival {
    /// Of the beginning, and of the rest.
    permits: Mutex<[Option<OwnedSemaphorePermit>; 2]>,
    failed: OnceLock<BodyError>,
}

impl Room {
    pub fn new(bounds: Bounds) -> Self {
        let budget = |bytes| Arc::new(Semaphore::new(bytes));
        Self { bounds, beginnings: budget(bounds.beginnings_bytes), rests: budget(bounds.bodies_bytes) }
    }

    /// The body, within bounds.
    pub fn receive(&self, body: Incoming, shape: Shape) -> (Body, Arc<Arrival>) {
        let arrival = Arc::new(Arrival::default());
        if body.is_end_stream() {
            return (Body::new(body), arrival);
        }
        (Body::new(Receiving::new(body, shape, self, arrival.clone())), arrival)
    }
}

impl Arrival {
    /// Why the request did not arrive as a whole, if that is known.
    pub fn failure(&self) -> Option<&BodyError> {
        self.failed.get()
    }

    fn hold(&self, pool: usize, permit: OwnedSemaphorePermit) {
        match &mut self.permits.lock().unwrap_or_else(PoisonError::into_inner)[pool] {
            Some(held) => held.merge(permit),
            none => *none = Some(permit),
        }
    }

    fn release(&self) {
        *self.permits.lock().unwrap_or_else(PoisonError::into_inner) = [None, None];
    }
}

/// A body on its way in.
struct Receiving<B> {
    inner: B,
    shape: Shape,
    bounds: Bounds,
    arrival: Arc<Arrival>,
    /// Budgets of the beginning and of the rest.
    pools: [PollSemaphore; 2],
    messages: Messages,
    /// Bytes since the request, or of a stream its message, began.
    received: usize,
    /// What has arrived and has no room yet, and since when.
    parked: Option<(Bytes, Instant)>,
    /// How long the request may yet wait for room in all.
    patience: Duration,
    /// When it was first waited for, and when the last bytes came.
    began: Option<Instant>,
    heard: Instant,
    clock: Option<Pin<Box<Sleep>>>,
}

impl<B> Receiving<B> {
    fn new(inner: B, shape: Shape, room: &Room, arrival: Arc<Arrival>) -> Self {
        Self {
            inner,
            shape,
            bounds: room.bounds,
            arrival,
            pools: [&room.beginnings, &room.rests].map(|pool| PollSemaphore::new(pool.clone())),
            messages: Messages::default(),
            received: 0,
            parked: None,
            patience: room.bounds.room,
            began: None,
            heard: Instant::now(),
            clock: None,
        }
    }

    fn fail<T>(&self, error: BodyError) -> Poll<Option<Result<T, BodyError>>> {
        tracing::debug!(%error, "a request does not arrive");
        self.arrival.release();
        let _ = self.arrival.failed.set(error.clone());
        Poll::Ready(Some(Err(error)))
    }

    /// Whether it is past `limit`; else the task is woken by then.
    fn is_late(&mut self, limit: Instant, cx: &mut Context<'_>) -> bool {
        let clock = self.clock.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(limit)));
        if clock.deadline() != limit {
            clock.as_mut().reset(limit);
        }
        clock.as_mut().poll(cx).is_ready()
    }

    /// Nothing more has come.
    fn wait<T>(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<T, BodyError>>> {
        if self.shape == Shape::Stream && self.received == 0 {
            return Poll::Pending;
        }
        let now = Instant::now();
        let began = *self.began.get_or_insert_with(|| {
            self.heard = now;
            now
        });
        let (silent, late) = (self.heard + self.bounds.body_silent, began + self.bounds.body);
        match self.is_late(silent.min(late), cx) {
            true if silent < late => self.fail(BodyError::Silent(self.bounds.body_silent)),
            true => self.fail(BodyError::TooSlow(self.bounds.body)),
            false => Poll::Pending,
        }
    }

    /// Lets what is parked go on as soon as there is room for it.
    fn admit(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some((data, since)) = self.parked.take() else {
            return Poll::Pending;
        };
        let pool = usize::from(self.received > BODY_BEGINNING_BYTES);
        match self.pools[pool].poll_acquire_many(cx, data.len() as u32) {
            Poll::Ready(Some(permit)) => {
                self.patience = self.patience.saturating_sub(since.elapsed());
                self.arrival.hold(pool, permit);
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Poll::Ready(None) => self.fail(BodyError::Broken("the doors are closed".to_owned())),
            Poll::Pending => {
                self.parked = Some((data, since));
                let budget = [self.bounds.beginnings_bytes, self.bounds.bodies_bytes][pool];
                match self.is_late(since + self.patience, cx) {
                    true => self.fail(BodyError::NoRoom(budget)),
                    false => Poll::Pending,
                }
            }
        }
    }

    /// Counts what has come. `true`: nothing more is owed now.
    fn count(&mut self, data: &[u8]) -> Result<bool, BodyError> {
        self.heard = Instant::now();
        self.received += data.len();
        if self.shape == Shape::Plain {
            return Ok(false);
        }
        let between = self.messages.follow(data)?;
        if self.shape == Shape::Stream && between {
            self.received = 0;
            self.began = None;
            self.arrival.release();
            return Ok(true);
        }
        Ok(false)
    }
}

impl<B> hyper::body::Body for Receiving<B>
where
    B: hyper::body::Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.parked.is_some() {
            return self.admit(cx);
        }
        let frame = match Pin::new(&mut self.inner).poll_frame(cx) {
            Poll::Pending => return self.wait(cx),
            Poll::Ready(frame) => frame,
        };
        let Some(frame) = frame else { return Poll::Ready(None) };
        let data = match frame.map(Frame::into_data) {
            Ok(Ok(data)) => data,
            Ok(Err(trailers)) => return Poll::Ready(Some(Ok(trailers))),
            Err(error) => return self.fail(BodyError::Broken(error.to_string())),
        };
        match self.count(&data) {
            Ok(settled) if settled || self.inner.is_end_stream() => Poll::Ready(Some(Ok(Frame::data(data)))),
            Ok(_) => {
                self.parked = Some((data, Instant::now()));
                Poll::Ready(ready!(self.admit(cx)))
            }
            Err(error) => self.fail(error),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.parked.is_none() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Where gRPC's messages begin and end: one byte of flags, four of length, most significant first, then so many bytes.
#[derive(Default)]
struct Messages {
    head: [u8; 5],
    /// So much of the head is known.
    known: usize,
    /// So much of the message is still to come.
    owed: usize,
}

impl Messages {
    /// Follows what has come; says whether it ends with a message.
    fn follow(&mut self, mut data: &[u8]) -> Result<bool, BodyError> {
        while !data.is_empty() {
            if self.known < self.head.len() {
                self.head[self.known] = data[0];
                self.known += 1;
                data = &data[1..];
                if self.known == self.head.len() {
                    let [_, length @ ..] = self.head;
                    self.owed = u32::from_be_bytes(length) as usize;
                    if self.owed > GRPC_MESSAGE_BYTES_MAX {
                        return Err(BodyError::MessageTooLarge(self.owed));
                    }
                }
            } else {
                let part = self.owed.min(data.len());
                self.owed -= part;
                data = &data[part..];
            }
            if self.known == self.head.len() && self.owed == 0 {
                self.known = 0;
            }
        }
        Ok(self.known == 0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn message(bytes: usize) -> Vec<u8> {
        let mut message = vec![0];
        message.extend_from_slice(&(bytes as u32).to_be_bytes());
        message.resize(5 + bytes, 7);
        message
    }

    proptest! {
        #[test]
        fn messages_are_told_apart_however_they_are_cut(
            sizes in proptest::collection::vec(0_usize..40, 1..8),
            cuts in proptest::collection::vec(1_usize..30, 1..40),
        ) {
            let all: Vec<u8> = sizes.iter().flat_map(|bytes| message(*bytes)).collect();
            let ends: Vec<usize> = sizes.iter().scan(0, |at, bytes| { *at += 5 + bytes; Some(*at) }).collect();
            let mut messages = Messages::default();
            let mut at = 0;
            for cut in cuts.iter().cycle() {
                let to = all.len().min(at + cut);
                let between = messages.follow(&all[at..to]).unwrap();
                prop_assert_eq!(between, ends.contains(&to));
                at = to;
                if at == all.len() {
                    break;
                }
            }
        }
    }

    #[test]
    fn a_message_that_announces_too_much_is_refused_by_its_head() {
        let head = [0, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(Messages::default().follow(&head), Err(BodyError::MessageTooLarge(u32::MAX as usize)));
    }
}
