//! One open connection to a peer: many questions under way at once, each answered by its id.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::message::{Frame, Kind};
use super::stream::{CallStream, Piece};
use crate::base::limits::PEER_STREAM_WINDOW_CHUNKS;
use crate::net::{FrameReader, FrameWriter};

/// Frames that may wait to be written before senders wait.
const OUT_FRAMES_MAX: usize = 1_024;

/// A question got no answer. The kinds differ in what may have happened at the other side.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// It was never sent: nothing happened, it may be sent again.
    #[error("{0}")]
    NotSent(String),
    /// It was sent and the connection broke: anything may have happened.
    #[error("{0}")]
    Broken(String),
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// The peer answered that it failed.
    #[error("{0}")]
    Failed(String),
}

enum Waiter {
    Answer(oneshot::Sender<Result<Bytes, PeerError>>),
    Stream(mpsc::Sender<Piece>),
}

#[derive(Default)]
struct Waiting {
    /// Why the connection ended, once it has.
    ended: Option<String>,
    by_id: HashMap<u64, Waiter>,
}

/// An open connection, as the side that opened it uses it.
pub struct Session {
    out: mpsc::Sender<Frame>,
    waiting: Mutex<Waiting>,
    next_id: AtomicU64,
    over: CancellationToken,
    /// Another connection has taken its place.
    retiring: AtomicBool,
    /// Somebody no longer waits.
    served: Notify,
}

impl Session {
    /// Runs an admitted connection. `heard` is called with every frame.
    pub fn start<R, W>(
        mut reader: FrameReader<R>,
        writer: FrameWriter<W>,
        stop: &CancellationToken,
        heard: impl Fn() + Send + 'static,
    ) -> Arc<Self>
    where
        R: AsyncRead + Unpin + Send + 'static,
        W: AsyncWrite + Unpin + Send + 'static,
    {
        let (out, frames) = mpsc::channel(OUT_FRAMES_MAX);
        let session = Arc::new(Self {
            out,
            waiting: Mutex::default(),
            next_id: AtomicU64::new(1),
            over: stop.child_token(),
            retiring: AtomicBool::new(false),
            served: Notify::new(),
        });
        let (writing, reading) = (session.clone(), session.clone());
        tokio::spawn(async move {
            let result = tokio::select! {
                () = writing.over.cancelled() => Ok(()),
                result = write_frames(writer, frames) => result,
            };
            writing.end(&result.err().unwrap_or_default());
        });
        tokio::spawn(async move {
            let reason = tokio::select! {
                () = reading.over.cancelled() => String::new(),
                reason = reading.read(&mut reader, heard) => reason,
            };
            reading.end(&reason);
        });
        session
    }

    /// Whether the connection has ended.
    pub fn is_over(&self) -> bool {
        self.over.is_cancelled()
    }

    /// Completes when the connection ends.
    pub async fn over(&self) {
        self.over.cancelled().await;
    }

    /// Ends the connection; all that wait are told `reason`.
    pub fn end(&self, reason: &str) {
        let by_id = {
            let mut waiting = self.waiting();
            let reason = match reason.is_empty() {
                true => "the connection ended",
                false => reason,
            };
            waiting.ended.get_or_insert_with(|| reason.to_owned());
            std::mem::take(&mut waiting.by_id)
        };
        self.over.cancel();
        let error = PeerError::Broken(self.ended());
        for waiter in by_id.into_values() {
            match waiter {
                // Those that no longer wait need no answer.
                Waiter::Answer(answer) => drop(answer.send(Err(error.clone()))),
                Waiter::Stream(pieces) => drop(pieces.try_send(Piece::Failed(error.clone()))),
            }
        }
    }

    /// Ends the connection once nobody waits on it, after `wait` in any case.
    pub async fn retire(&self, wait: Duration) {
        self.retiring.store(true, Ordering::Relaxed);
        let idle = async {
            loop {
                let served = self.served.notified();
                if self.waiting().by_id.is_empty() {
                    return;
                }
                served.await;
            }
        };
        // Whether all were answered or not, it ends.
        let _ = tokio::time::timeout(wait, idle).await;
        self.end("the connection was made anew");
    }

    /// Whether another connection has taken its place.
    pub fn is_retiring(&self) -> bool {
        self.retiring.load(Ordering::Relaxed)
    }

    fn ended(&self) -> String {
        let waiting = self.waiting();
        waiting.ended.clone().unwrap_or_default()
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enlist(&self, waiter: Waiter) -> Result<u64, PeerError> {
        let mut waiting = self.waiting();
        if let Some(reason) = &waiting.ended {
            return Err(PeerError::NotSent(reason.clone()));
        }
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        waiting.by_id.insert(id, waiter);
        Ok(id)
    }

    /// Nobody waits for `id` any longer.
    pub(super) fn forget(&self, id: u64) {
        self.waiting().by_id.remove(&id);
        self.served.notify_waiters();
    }

    /// Asks and waits for the answer.
    pub async fn ask(&self, kind: Kind, body: Bytes, wait: Duration) -> Result<Bytes, PeerError> {
        let (answer, answered) = oneshot::channel();
        let id = self.enlist(Waiter::Answer(answer))?;
        let guard = Enlisted { session: self, id };
        let asking = async {
            if self.out.send(Frame::new(kind, id, body)).await.is_err() {
                return Err(PeerError::NotSent(self.ended()));
            }
            match answered.await {
                Ok(result) => result,
                Err(_) => Err(PeerError::Broken("the connection ended".to_owned())),
            }
        };
        let result = tokio::time::timeout(wait, asking).await;
        drop(guard);
        result.unwrap_or(Err(PeerError::TimedOut(wait)))
    }

    /// Opens a stream.
    pub async fn open(self: &Arc<Self>, body: Bytes) -> Result<CallStream, PeerError> {
        // One place more than the window, for the end.
        let (pieces, received) = mpsc::channel(PEER_STREAM_WINDOW_CHUNKS + 1);
        let id = self.enlist(Waiter::Stream(pieces))?;
        let stream = CallStream::remote(self.clone(), id, received);
        match self.out.send(Frame::new(Kind::Open, id, body)).await {
            Ok(()) => Ok(stream),
            Err(_) => Err(PeerError::NotSent(self.ended())),
        }
    }

    /// Sends a frame that nobody waits for; where the connection is choked, a task waits in the caller's stead.
    pub(super) fn send_soon(&self, frame: Frame) {
        if let Err(mpsc::error::TrySendError::Full(frame)) = self.out.try_send(frame) {
            let (out, over) = (self.out.clone(), self.over.clone());
            tokio::spawn(async move {
                tokio::select! {
                    () = over.cancelled() => {}
                    _ = out.send(frame) => {}
                }
            });
        }
    }

    async fn read<R: AsyncRead + Unpin>(&self, reader: &mut FrameReader<R>, heard: impl Fn()) -> String {
        loop {
            let bytes = match reader.next().await {
                Ok(Some(bytes)) => bytes,
                Ok(None) => return "the peer closed the connection".to_owned(),
                Err(error) => return error.to_string(),
            };
            let Some(frame) = Frame::parse(bytes) else {
                return "the peer sent a frame of no known kind".to_owned();
            };
            heard();
            self.deliver(frame);
        }
    }

    fn deliver(&self, frame: Frame) {
        let mut waiting = self.waiting();
        match frame.kind {
            Kind::Response | Kind::Pong | Kind::Fail
                if matches!(waiting.by_id.get(&frame.id), Some(Waiter::Answer(_))) =>
            {
                if let Some(Waiter::Answer(answer)) = waiting.by_id.remove(&frame.id) {
                    // Whoever no longer waits needs no answer.
                    let _ = answer.send(Ok(frame.body));
                }
            }
            Kind::Chunk | Kind::End | Kind::Fail => {
                let piece = match frame.kind {
                    Kind::Chunk => Piece::Chunk(frame.body),
                    Kind::End => Piece::End,
                    _ => Piece::Failed(PeerError::Failed(String::from_utf8_lossy(&frame.body).into_owned())),
                };
                let last = !matches!(piece, Piece::Chunk(_));
                let Some(Waiter::Stream(pieces)) = waiting.by_id.get(&frame.id) else {
                    return;
                };
                // Full: the peer sends more than the window allows. Closed: the receiver has gone.
                let failed = pieces.try_send(piece).is_err();
                if failed || last {
                    waiting.by_id.remove(&frame.id);
                    self.served.notify_waiters();
                }
            }
            // Answers that nobody waits for any longer, and what only the connecting side may send.
            _ => {}
        }
    }
}

/// Takes the waiter off the list when the wait ends, however it ends.
struct Enlisted<'a> {
    session: &'a Session,
    id: u64,
}

impl Drop for Enlisted<'_> {
    fn drop(&mut self) {
        self.session.forget(self.id);
    }
}

/// Writes frames as they come, those that wait together in one go.
pub(super) async fn write_frames<W: AsyncWrite + Unpin>(
    mut writer: FrameWriter<W>,
    mut frames: mpsc::Receiver<Frame>,
) -> Result<(), String> {
    while let Some(frame) = frames.recv().await {
        let mut next = Some(frame);
        while let Some(frame) = next {
            let written = writer.write(&[&frame.head(), &frame.body]).await;
            written.map_err(|error| error.to_string())?;
            next = frames.try_recv().ok();
        }
        writer.flush().await.map_err(|error| error.to_string())?;
    }
    Ok(())
}
