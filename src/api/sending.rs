//! Answers while they leave: a large one is handed on in pieces, and what its client does not take is let go.
//!
//! Small answers and streams pass. Large ones wait for their clients for a time, which is short where all of a node together
//! are too many bytes. The connection lives on; the answer breaks off.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, ready};

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;

use super::bounds::Bounds;
use crate::base::limits::{ANSWER_LARGE_BYTES, ANSWER_PIECE_BYTES};

type Piece = Result<Frame<Bytes>, axum::Error>;

/// The large answers that clients have not taken to their ends.
pub(super) struct Unread {
    bounds: Bounds,
    bytes: AtomicUsize,
    /// There are too many bytes.
    crowded: Notify,
}

/// The client took nothing of its answer for too long.
#[derive(Debug, thiserror::Error)]
#[error("the client does not read its answer")]
struct NotTaken;

/// What a client has not taken of an answer.
struct Rest {
    /// `None`: let go.
    bytes: Option<Counted>,
    /// When the client took something last.
    taken: Instant,
}

/// Bytes that count as long as they take memory.
struct Counted {
    bytes: Bytes,
    size: usize,
    unread: Arc<Unread>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.unread.bytes.fetch_sub(self.size, Ordering::Relaxed);
    }
}

impl Unread {
    pub fn new(bounds: Bounds) -> Arc<Self> {
        Arc::new(Self { bounds, bytes: AtomicUsize::new(0), crowded: Notify::new() })
    }

    /// The body of an answer, within bounds.
    pub fn send(self: &Arc<Self>, body: Body) -> Body {
        let size = hyper::body::Body::size_hint(&body);
        match size.exact() {
            Some(exact) if exact <= ANSWER_LARGE_BYTES as u64 => body,
            _ => Body::new(Sending { inner: Some(body), unread: self.clone(), size, waiting: None, next: None }),
        }
    }

    fn is_crowded(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) > self.bounds.unread_bytes
    }

    fn hold(self: &Arc<Self>, bytes: Bytes) -> Waiting {
        let size = bytes.len();
        self.bytes.fetch_add(size, Ordering::Relaxed);
        if self.is_crowded() {
            self.crowded.notify_waiters();
        }
        let bytes = Counted { bytes, size, unread: self.clone() };
        let rest = Arc::new(Mutex::new(Rest { bytes: Some(bytes), taken: Instant::now() }));
        let watch = AbortOnDropHandle::new(tokio::spawn(self.clone().watch(Arc::downgrade(&rest))));
        Waiting { rest, _watch: watch }
    }

    /// Lets the rest go when nothing was taken of it for too long.
    async fn watch(self: Arc<Self>, rest: Weak<Mutex<Rest>>) {
        loop {
            let crowded = self.crowded.notified();
            let Some(taken) = rest.upgrade().map(|rest| locked(&rest).taken) else { return };
            let bound = if self.is_crowded() { self.bounds.unread_when_crowded } else { self.bounds.unread };
            tokio::select! {
                () = sleep_until(taken + bound) => {}
                () = crowded => continue,
            }
            let Some(rest) = rest.upgrade() else { return };
            let mut rest = locked(&rest);
            if rest.taken == taken {
                rest.bytes = None;
                tracing::debug!("an answer that its client does not read is let go");
                return;
            }
        }
    }
}

/// A rest, watched until it is dropped.
struct Waiting {
    rest: Arc<Mutex<Rest>>,
    _watch: AbortOnDropHandle<()>,
}

fn locked(rest: &Mutex<Rest>) -> MutexGuard<'_, Rest> {
    rest.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Waiting {
    /// A piece, and whether it is the last; `None`: it was let go.
    fn take(&self) -> Option<(Bytes, bool)> {
        let mut rest = locked(&self.rest);
        let left = &mut rest.bytes.as_mut()?.bytes;
        let piece = left.split_to(left.len().min(ANSWER_PIECE_BYTES));
        let last = left.is_empty();
        rest.taken = Instant::now();
        // A copy, since the least part of it would keep all of the answer in memory.
        Some((Bytes::copy_from_slice(&piece), last))
    }
}

/// A body on its way out.
struct Sending {
    /// `None` once all of it is here.
    inner: Option<Body>,
    unread: Arc<Unread>,
    size: SizeHint,
    waiting: Option<Waiting>,
    /// What comes behind that.
    next: Option<Piece>,
}

impl Sending {
    fn poll_inner(&mut self, cx: &mut Context<'_>) -> Poll<Option<Piece>> {
        let Some(inner) = &mut self.inner else { return Poll::Ready(None) };
        let frame = ready!(hyper::body::Body::poll_frame(Pin::new(inner), cx));
        if frame.is_none() || hyper::body::Body::is_end_stream(inner) {
            // Its buffer would stay with it.
            self.inner = None;
        }
        Poll::Ready(frame)
    }

    /// Whether nothing but trailers comes behind what has come; looks ahead for that.
    fn is_complete(&mut self, cx: &mut Context<'_>) -> bool {
        match self.poll_inner(cx) {
            Poll::Pending => false,
            Poll::Ready(None) => true,
            Poll::Ready(Some(next)) => {
                let trailers = next.as_ref().is_ok_and(Frame::is_trailers);
                self.next = Some(next);
                if trailers {
                    self.inner = None;
                }
                trailers
            }
        }
    }
}

impl hyper::body::Body for Sending {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Piece>> {
        if let Some(waiting) = &self.waiting {
            let Some((piece, last)) = waiting.take() else {
                return Poll::Ready(Some(Err(axum::Error::new(NotTaken))));
            };
            if last {
                self.waiting = None;
            }
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        if let Some(next) = self.next.take() {
            return Poll::Ready(Some(next));
        }
        let frame = ready!(self.poll_inner(cx));
        let Some(Ok(frame)) = frame else { return Poll::Ready(frame) };
        match frame.into_data() {
            Ok(data) if data.len() > ANSWER_LARGE_BYTES && self.is_complete(cx) => {
                self.waiting = Some(self.unread.hold(data));
                self.poll_frame(cx)
            }
            Ok(data) => Poll::Ready(Some(Ok(Frame::data(data)))),
            Err(frame) => Poll::Ready(Some(Ok(frame))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.waiting.is_none()
            && self.next.is_none()
            && self.inner.as_ref().is_none_or(hyper::body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.size
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use http_body_util::BodyExt;

    use super::*;

    const LARGE: usize = 3 * ANSWER_LARGE_BYTES + 17;

    fn bounds(unread_bytes: usize, unread: u64, unread_when_crowded: u64) -> Bounds {
        let ms = Duration::from_millis;
        Bounds { unread_bytes, unread: ms(unread), unread_when_crowded: ms(unread_when_crowded), ..Bounds::default() }
    }

    fn large() -> Body {
        Body::from((0..LARGE).map(|at| at as u8).collect::<Vec<u8>>())
    }

    /// As gRPC sends it: the size is not known before, and trailers follow.
    fn call() -> Body {
        let trailers = Frame::trailers(hyper::HeaderMap::from_iter([(hyper::header::AGE, "1".parse().unwrap())]));
        let data = Frame::data(Bytes::from(vec![1; LARGE]));
        let frames = futures_util::stream::iter([data, trailers].map(Ok::<_, axum::Error>));
        Body::new(http_body_util::StreamBody::new(frames))
    }

    #[tokio::test]
    async fn large_answers_are_whole_with_their_length_and_trailers() {
        let unread = Unread::new(Bounds::default());
        let body = unread.send(large());
        assert_eq!(hyper::body::Body::size_hint(&body).exact(), Some(LARGE as u64));
        let taken = body.collect().await.unwrap().to_bytes();
        assert!(taken.iter().enumerate().all(|(at, byte)| *byte == at as u8) && taken.len() == LARGE);
        let mut body = unread.send(call());
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(first.len(), ANSWER_PIECE_BYTES);
        assert_eq!(unread.bytes.load(Ordering::Relaxed), LARGE);
        let rest = body.collect().await.unwrap();
        assert!(rest.trailers().is_some());
        assert_eq!(first.len() + rest.to_bytes().len(), LARGE);
        assert_eq!(unread.bytes.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn streams_are_not_cut_into_pieces() {
        let frames = [Frame::data(Bytes::from(vec![1; LARGE])), Frame::data(Bytes::from_static(b"more"))];
        let frames = futures_util::stream::iter(frames.map(Ok::<_, axum::Error>));
        let mut body = Unread::new(Bounds::default()).send(Body::new(http_body_util::StreamBody::new(frames)));
        for expected in [LARGE, 4] {
            assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap().len(), expected);
        }
        assert!(body.frame().await.is_none());
    }

    /// Waits until no more than so much is held, and looks that the answer breaks off.
    async fn breaks_off(unread: &Unread, left: usize, mut body: Body) {
        let gone = async {
            while unread.bytes.load(Ordering::Relaxed) > left {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), gone).await.unwrap();
        assert!(body.frame().await.unwrap().is_err());
    }

    #[tokio::test]
    async fn what_nobody_takes_is_let_go_in_time() {
        let unread = Unread::new(bounds(usize::MAX, 20, 20));
        let mut body = unread.send(call());
        body.frame().await.unwrap().unwrap();
        breaks_off(&unread, 0, body).await;
    }

    #[tokio::test]
    async fn what_nobody_takes_is_let_go_soon_where_it_is_much() {
        let unread = Unread::new(bounds(LARGE, 3_600_000, 20));
        let (mut first, mut second) = (unread.send(call()), unread.send(call()));
        first.frame().await.unwrap().unwrap();
        tokio::time::sleep(Duration::from_millis(60)).await;
        assert_eq!(unread.bytes.load(Ordering::Relaxed), LARGE);
        second.frame().await.unwrap().unwrap();
        breaks_off(&unread, LARGE, first).await;
        second.collect().await.unwrap();
    }
}
