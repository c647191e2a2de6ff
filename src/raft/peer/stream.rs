//! Streams between members: opened by a payload, served in pieces, ended when either side hangs up.

use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::message::{Frame, Kind};
use super::session::{PeerError, Session};
use crate::base::limits::PEER_STREAM_WINDOW_CHUNKS;
use crate::base::{BoxFuture, MemberId};
use std::sync::Arc;

/// Serves what other members ask of this one through [`RaftStore::call`](crate::raft::RaftStore::call).
pub trait PeerHandler: Send + Sync + 'static {
    /// Answers a call with a stream of pieces, or with the reason why not.
    fn handle(&self, from: MemberId, payload: Bytes) -> BoxFuture<'_, Result<Box<dyn PeerStream>, String>>;
}

/// The pieces of an answer. Dropped when the caller hangs up.
pub trait PeerStream: Send {
    /// The next piece, at most `PEER_FRAME_BYTES_MAX` long; `None` at the end.
    fn next(&mut self) -> BoxFuture<'_, Option<Result<Bytes, String>>>;
}

/// A handler for members that serve no calls.
pub struct NoCalls;

impl PeerHandler for NoCalls {
    fn handle(&self, _from: MemberId, _payload: Bytes) -> BoxFuture<'_, Result<Box<dyn PeerStream>, String>> {
        Box::pin(async { Err("this member serves no calls".to_owned()) })
    }
}

/// An answer of one piece.
pub struct OnePiece(Option<Bytes>);

impl OnePiece {
    /// As a handler gives it.
    pub fn boxed(piece: impl Into<Bytes>) -> Box<dyn PeerStream> {
        Box::new(Self(Some(piece.into())))
    }
}

impl PeerStream for OnePiece {
    fn next(&mut self) -> BoxFuture<'_, Option<Result<Bytes, String>>> {
        Box::pin(async { self.0.take().map(Ok) })
    }
}

/// What the connection delivers to the receiver of a stream.
pub(super) enum Piece {
    Chunk(Bytes),
    End,
    Failed(PeerError),
}

/// The receiving end of a stream. Dropping it hangs up.
pub struct CallStream {
    source: Source,
}

enum Source {
    Remote { session: Arc<Session>, id: u64, pieces: mpsc::Receiver<Piece>, over: bool },
    Local(Box<dyn PeerStream>),
}

impl CallStream {
    pub(super) fn remote(session: Arc<Session>, id: u64, pieces: mpsc::Receiver<Piece>) -> Self {
        Self { source: Source::Remote { session, id, pieces, over: false } }
    }

    /// A stream served by this member itself.
    pub(crate) fn local(stream: Box<dyn PeerStream>) -> Self {
        Self { source: Source::Local(stream) }
    }

    /// The next piece; `None` at the end. Cancel-safe for streams of other members.
    pub async fn next(&mut self) -> Option<Result<Bytes, PeerError>> {
        match &mut self.source {
            Source::Local(stream) => stream.next().await.map(|item| item.map_err(PeerError::Failed)),
            Source::Remote { over: true, .. } => None,
            Source::Remote { session, id, pieces, over } => match pieces.recv().await {
                Some(Piece::Chunk(bytes)) => {
                    session.send_soon(Frame::new(Kind::Credit, *id, Bytes::new()));
                    Some(Ok(bytes))
                }
                Some(Piece::Failed(error)) => {
                    *over = true;
                    Some(Err(error))
                }
                Some(Piece::End) => {
                    *over = true;
                    None
                }
                None => {
                    *over = true;
                    Some(Err(PeerError::Broken("the connection ended".to_owned())))
                }
            },
        }
    }
}

impl Drop for CallStream {
    fn drop(&mut self) {
        if let Source::Remote { session, id, over, .. } = &self.source {
            session.forget(*id);
            if !over {
                session.send_soon(Frame::new(Kind::Cancel, *id, Bytes::new()));
            }
        }
    }
}

/// The serving side's hold on a stream that it runs.
pub(super) struct Running {
    credits: Arc<Semaphore>,
    cancel: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    /// Serves the call `open` and writes its pieces to `out`.
    pub fn start(
        handler: Arc<dyn PeerHandler>,
        from: MemberId,
        open: Frame,
        out: mpsc::Sender<Frame>,
        stop: &CancellationToken,
    ) -> Self {
        let credits = Arc::new(Semaphore::new(PEER_STREAM_WINDOW_CHUNKS));
        let cancel = stop.child_token();
        let (window, stopped) = (credits.clone(), cancel.clone());
        let task = tokio::spawn(async move {
            let id = open.id;
            let serving = serve(handler, from, open, &out, &window);
            let last = tokio::select! {
                biased;
                () = stopped.cancelled() => return,
                last = serving => last,
            };
            let frame = match last {
                Ok(()) => Frame::new(Kind::End, id, Bytes::new()),
                Err(reason) => Frame::new(Kind::Fail, id, reason.into()),
            };
            // A failure means that the connection is gone, and the caller with it.
            let _ = out.send(frame).await;
        });
        Self { credits, cancel, task }
    }

    /// The receiver took a piece. More than the window is never granted, whatever it claims.
    pub fn credit(&self) {
        if self.credits.available_permits() < PEER_STREAM_WINDOW_CHUNKS {
            self.credits.add_permits(1);
        }
    }

    pub fn finished(&self) -> bool {
        self.task.is_finished()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

async fn serve(
    handler: Arc<dyn PeerHandler>,
    from: MemberId,
    open: Frame,
    out: &mpsc::Sender<Frame>,
    window: &Semaphore,
) -> Result<(), String> {
    let mut stream = handler.handle(from, open.body).await?;
    loop {
        match window.acquire().await {
            Ok(permit) => permit.forget(),
            Err(_) => return Ok(()),
        }
        match stream.next().await {
            None => return Ok(()),
            Some(Err(reason)) => return Err(reason),
            Some(Ok(bytes)) => {
                let sent = out.send(Frame::new(Kind::Chunk, open.id, bytes)).await;
                if sent.is_err() {
                    return Ok(());
                }
            }
        }
    }
}
