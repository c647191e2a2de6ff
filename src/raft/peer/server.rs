//! The peer listener: admits peers, answers their questions, runs their streams.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{FuturesOrdered, FuturesUnordered};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::guests::{Guests, Seat};
use super::handshake::{HandshakeError, Hello, Identity, Roster, Visitor, admit, introduce};
use super::health::Health;
use super::message::{Frame, Kind, Lane, Request, Response, decode, encode};
use super::roll::Roll;
use super::session::write_frames;
use super::strangers::{Strangers, Wait};
use super::stream::{PeerHandler, Running};
use crate::base::limits::{
    PEER_CONNECTIONS_MAX, PEER_FRAME_BYTES_MAX, PEER_HANDSHAKE_BYTES_MAX, PEER_HANDSHAKE_MS_MAX, PEER_REQUESTS_MAX,
    PEER_STREAMS_MAX,
};
use crate::base::{BoxFuture, MemberId};
use crate::net::tls::{Accepted, ServerTls};
use crate::net::{FrameReader, FrameWriter};
use crate::raft::PeerListener;

/// Pause after a failure to accept, which is mostly for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Why one that waits is sent away.
const DISPLACED: &str = "it did not say who it is before many others came";
/// Answers that may wait to be written before further questions wait.
const OUT_FRAMES_MAX: usize = 256;

/// Answers the questions of peers.
pub trait PeerService: Send + Sync + 'static {
    fn answer(&self, from: MemberId, request: Request) -> BoxFuture<'static, Response>;

    /// The cluster, for one who wants to join it.
    fn roster(&self) -> BoxFuture<'static, Roster>;
}

/// What a connection needs.
#[derive(Clone)]
pub struct Server {
    pub me: Arc<Identity>,
    pub health: Arc<Health>,
    pub guests: Arc<Guests>,
    pub strangers: Arc<Strangers>,
    pub roll: Arc<Roll>,
    pub service: Arc<dyn PeerService>,
    pub handler: Arc<dyn PeerHandler>,
    pub stop: CancellationToken,
    pub tasks: TaskTracker,
}

impl Server {
    /// Accepts connections until told to stop.
    pub async fn run(self, PeerListener { listener, tls }: PeerListener) {
        let places = Arc::new(Semaphore::new(PEER_CONNECTIONS_MAX));
        loop {
            let accepted = tokio::select! {
                () = self.stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, remote)) => {
                    let (server, wait, places) = (self.clone(), self.strangers.receive(), places.clone());
                    let tls = tls.clone();
                    self.tasks.spawn(async move { server.open(stream, tls.as_deref(), remote, wait, &places).await });
                }
                Err(error) => {
                    tracing::warn!("peer listener: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// A connection from its beginning on, within TLS where that is spoken here.
    async fn open(
        &self,
        stream: TcpStream,
        tls: Option<&ServerTls>,
        remote: SocketAddr,
        wait: Wait,
        places: &Semaphore,
    ) {
        // Answers must not wait for each other; a failure to set it costs only time.
        let _ = stream.set_nodelay(true);
        let Some(tls) = tls else {
            let (read, write) = stream.into_split();
            return self.connection(read, write, (remote, None), wait, places).await;
        };
        let patience = Duration::from_millis(PEER_HANDSHAKE_MS_MAX);
        let accepted = tokio::select! {
            () = self.stop.cancelled() => return,
            () = wait.displaced() => return self.refused("displaced", remote, DISPLACED),
            accepted = tokio::time::timeout(patience, tls.accept(stream)) => accepted,
        };
        match accepted {
            Ok(Ok(Accepted { stream, revoked, shown, .. })) => {
                let (read, write) = tokio::io::split(stream);
                let barred = revoked.as_deref();
                tokio::select! {
                    () = self.connection(read, write, (remote, barred), wait, places) => {}
                    why = tls.withdrawn(shown) => self.refused("withdrawn", remote, &why),
                }
            }
            Ok(Err(error)) => self.refused("no TLS", remote, &error.to_string()),
            Err(_) => self.refused("no TLS", remote, &format!("no TLS within {patience:?}")),
        }
    }

    /// `barred`: see [`admit`].
    async fn connection<R, W>(
        &self,
        read: R,
        write: W,
        (remote, barred): (SocketAddr, Option<&str>),
        wait: Wait,
        places: &Semaphore,
    ) where
        R: AsyncRead + Unpin + Send,
        W: AsyncWrite + Unpin + Send + 'static,
    {
        let mut reader = FrameReader::new(read, PEER_HANDSHAKE_BYTES_MAX);
        let mut writer = FrameWriter::new(write);
        let admitted = tokio::select! {
            () = self.stop.cancelled() => return,
            () = wait.displaced() => return self.refused("displaced", remote, DISPLACED),
            admitted = admit(&self.me, (&self.roll, barred), &self.guests, &mut reader, &mut writer) => admitted,
        };
        match admitted {
            Ok(Visitor::Stranger) => {
                let roster = self.service.roster().await;
                if let Err(error) = introduce(roster, &mut writer).await {
                    tracing::debug!(%remote, "a stranger left before the answer: {error}");
                }
            }
            Ok(Visitor::Peer(hello, seat)) => {
                drop(wait);
                let Ok(_place) = places.try_acquire() else {
                    return self.refused("crowded", remote, &format!("{PEER_CONNECTIONS_MAX} are open already"));
                };
                reader.set_limit(PEER_FRAME_BYTES_MAX);
                self.health.heard(hello.from);
                if let Err(reason) = self.converse(&hello, &seat, reader, writer).await {
                    tracing::warn!(peer = %hello.from, %remote, "peer connection closed: {reason}");
                }
            }
            Err(HandshakeError::Rejected { from, reason }) => {
                self.health.failed(from, &reason);
                self.refused("rejected", remote, &reason);
            }
            Err(error) => self.refused("no peer", remote, &error.to_string()),
        }
    }

    /// Tells the log of a connection that is refused, but not of each where there are many.
    fn refused(&self, cause: &'static str, remote: SocketAddr, reason: &str) {
        match self.strangers.is_news(cause) {
            Some(0) => tracing::warn!(%remote, "peer connection refused: {reason}"),
            Some(more) => {
                tracing::warn!(%remote, more, "peer connection refused: {reason}; and more for such reasons since")
            }
            None => {}
        }
    }

    /// Serves an admitted connection until it ends. `Err`: the peer broke the rules.
    async fn converse<R, W>(
        &self,
        hello: &Hello,
        seat: &Seat,
        mut reader: FrameReader<R>,
        writer: FrameWriter<W>,
    ) -> Result<(), String>
    where
        R: AsyncRead + Unpin + Send,
        W: AsyncWrite + Unpin + Send + 'static,
    {
        let over = self.stop.child_token();
        let _end = over.clone().drop_guard();
        let (out, frames) = mpsc::channel(OUT_FRAMES_MAX);
        let writing = over.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = writing.cancelled() => {}
                // An error means that the peer has gone; the reading side sees it too.
                _ = write_frames(writer, frames) => writing.cancel(),
            }
        });
        let mut work = Work::new(hello.lane);
        let mut streams: HashMap<u64, Running> = HashMap::new();
        loop {
            let frame = tokio::select! {
                () = over.cancelled() => return Ok(()),
                () = seat.dismissed() => return Ok(()),
                Some(answer) = work.next() => {
                    if out.send(answer).await.is_err() {
                        return Ok(());
                    }
                    continue;
                }
                frame = reader.next(), if work.len() < PEER_REQUESTS_MAX => frame,
            };
            let bytes = match frame {
                Ok(Some(bytes)) => bytes,
                // How a connection is lost is no news; that a peer is silent is told by its health.
                Ok(None) | Err(crate::net::FrameError::Io(_) | crate::net::FrameError::CutOff) => return Ok(()),
                Err(error) => return Err(error.to_string()),
            };
            self.health.heard(hello.from);
            seat.heard();
            let frame = Frame::parse(bytes).ok_or("a frame of no known kind")?;
            match frame.kind {
                Kind::Request => {
                    let request = decode(&frame.body)?;
                    work.push(self.answer(hello.from, frame.id, request));
                }
                Kind::Ping => {
                    let pong = Frame::new(Kind::Pong, frame.id, Bytes::new());
                    if out.send(pong).await.is_err() {
                        return Ok(());
                    }
                }
                Kind::Open => {
                    streams.retain(|_, running| !running.finished());
                    if streams.len() >= PEER_STREAMS_MAX {
                        let why = format!("{PEER_STREAMS_MAX} streams are open already");
                        let fail = Frame::new(Kind::Fail, frame.id, why.into());
                        // A failure to send means that the connection has ended, which the next read shows.
                        let _ = out.send(fail).await;
                        continue;
                    }
                    let id = frame.id;
                    let running = Running::start(self.handler.clone(), hello.from, frame, out.clone(), &over);
                    streams.insert(id, running);
                }
                Kind::Credit => {
                    if let Some(running) = streams.get(&frame.id) {
                        running.credit();
                    }
                }
                Kind::Cancel => drop(streams.remove(&frame.id)),
                other => return Err(format!("a frame of kind {other:?}, which only answers may have")),
            }
        }
    }

    fn answer(&self, from: MemberId, id: u64, request: Request) -> BoxFuture<'static, Frame> {
        let answering = self.service.answer(from, request);
        Box::pin(async move {
            let response = answering.await;
            let body = encode(&response).or_else(|error| encode(&Response::Failed(error)));
            Frame::new(Kind::Response, id, body.unwrap_or_default())
        })
    }
}

/// Questions that are being answered: log entries in their order, others as they come.
enum Work {
    Ordered(FuturesOrdered<BoxFuture<'static, Frame>>),
    Unordered(FuturesUnordered<BoxFuture<'static, Frame>>),
}

impl Work {
    fn new(lane: Lane) -> Self {
        match lane {
            Lane::Log => Self::Ordered(FuturesOrdered::new()),
            _ => Self::Unordered(FuturesUnordered::new()),
        }
    }

    fn push(&mut self, answer: BoxFuture<'static, Frame>) {
        match self {
            Self::Ordered(work) => work.push_back(answer),
            Self::Unordered(work) => work.push(answer),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Ordered(work) => work.len(),
            Self::Unordered(work) => work.len(),
        }
    }

    async fn next(&mut self) -> Option<Frame> {
        match self {
            Self::Ordered(work) => work.next().await,
            Self::Unordered(work) => work.next().await,
        }
    }
}
