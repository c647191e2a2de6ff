//! Listeners and connections: accepting, HTTP/1.1 or HTTP/2 by the first bytes, time limits, closing.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{Sleep, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::authority::Cleaner;
use super::bounds::Bounds;
use super::http::{Entry, Way};
use super::users::CertificateName;
use super::{Door, Listener};
use crate::base::limits::{
    CLIENT_SILENT_SECONDS_MAX, CONNECTION_WINDOW_BYTES, DOORS_CLOSE_MS_MAX, HEADER_BYTES_MAX, STREAM_WINDOW_BYTES,
    STREAMS_PER_CONNECTION_MAX,
};
use crate::net::tls::{Accepted, ServerTls, Shown};

/// A client's preface of HTTP/2, which tells it from HTTP/1.1, has this many bytes.
const PREFACE_BYTES: usize = 24;
/// What is read of a connection at once.
const READ_BYTES: usize = 8 * 1024;
/// After accepting failed (file descriptors ran out), how long until the next try.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts until `stop`; each connection is a task of `tasks`.
pub(super) async fn accept(
    listener: Listener,
    entry: Entry,
    bounds: Bounds,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    let room = Arc::new(Semaphore::new(bounds.connections));
    let server = Arc::new(server(bounds));
    let entry = if matches!(listener, Listener::Unix(_)) { entry.by(Way::Socket) } else { entry };
    loop {
        let next = async {
            let permit = room.clone().acquire_owned().await;
            (listener.accept().await, permit)
        };
        let (stream, permit) = tokio::select! {
            () = stop.cancelled() => return,
            next = next => next,
        };
        let (entry, server, stop, door) = (entry.clone(), server.clone(), stop.clone(), listener.door());
        match stream {
            Ok(stream) => {
                tasks.spawn(async move {
                    let _permit = permit;
                    let opened = tokio::select! {
                        () = stop.cancelled() => return,
                        opened = open(stream, door, bounds.headers) => opened,
                    };
                    let Opened { stream, way, shown } = match opened {
                        Ok(opened) => opened,
                        Err(error) => {
                            tracing::info!("a client is not let in: {error}");
                            return;
                        }
                    };
                    let entry = match way {
                        Some(way) => entry.by(way),
                        None => entry,
                    };
                    let over = stop.child_token();
                    tokio::select! {
                        () = converse(&server, Opening::new(stream, bounds), entry, over.clone()) => {}
                        () = withdrawn(shown, over.clone()) => {}
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a client connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// A connection within TLS, where that is spoken.
struct Opened {
    stream: Stream,
    /// How the client is known, where that differs from others of the listener.
    way: Option<Way>,
    shown: Option<(Arc<ServerTls>, Shown)>,
}

/// Speaks TLS where the door does.
async fn open(stream: Stream, door: Option<Door>, wait: Duration) -> io::Result<Opened> {
    let Some(door) = door else { return Ok(Opened { stream, way: None, shown: None }) };
    let accepting = tokio::time::timeout(wait, door.tls.accept(stream));
    let Accepted { stream, name, shown, .. } =
        accepting.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    let way = match name.map(|name| CertificateName(name.into())) {
        Some(name) if door.of_cluster => Way::OwnCertificate(name),
        None if door.of_cluster => Way::Stranger,
        Some(name) if door.users_by_name => Way::Certificate(name),
        _ => Way::Open,
    };
    Ok(Opened { stream: Box::pin(stream), way: Some(way), shown: Some((door.tls, shown)) })
}

/// Has the connection of a client end when he would be let in no more. Does not complete by itself.
async fn withdrawn(shown: Option<(Arc<ServerTls>, Shown)>, over: CancellationToken) {
    if let Some((tls, shown)) = shown {
        let why = tls.withdrawn(shown).await;
        tracing::info!("a client is let in no more: {why}");
        over.cancel();
    }
    std::future::pending().await
}

/// Serves one connection to its end. On `stop` it finishes what is under way, within a bound, and closes.
async fn converse(server: &auto::Builder<TokioExecutor>, stream: Opening, entry: Entry, stop: CancellationToken) {
    let service = service_fn(move |request: Request<Incoming>| {
        let entry = entry.clone();
        async move { Ok::<_, std::convert::Infallible>(entry.answer(request).await) }
    });
    let connection = server.serve_connection_with_upgrades(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            match tokio::time::timeout(Duration::from_millis(DOORS_CLOSE_MS_MAX), connection).await {
                Ok(ended) => ended,
                Err(_) => {
                    tracing::warn!("a client connection did not end in time and is dropped");
                    return;
                }
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error, "client connection ended");
    }
}

fn server(bounds: Bounds) -> auto::Builder<TokioExecutor> {
    let mut server = auto::Builder::new(TokioExecutor::new());
    server
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.headers)
        .max_buf_size(HEADER_BYTES_MAX)
        .title_case_headers(true);
    server
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(CLIENT_SILENT_SECONDS_MAX))
        .keep_alive_timeout(Duration::from_secs(CLIENT_SILENT_SECONDS_MAX))
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .max_header_list_size(HEADER_BYTES_MAX as u32);
    server
}

impl Listener {
    /// How those who come in here speak TLS, if they do.
    fn door(&self) -> Option<Door> {
        match self {
            Listener::Tls(_, door) => Some(door.clone()),
            Listener::Tcp(_) | Listener::Unix(_) => None,
        }
    }

    async fn accept(&self) -> io::Result<Stream> {
        match self {
            Listener::Tcp(listener) | Listener::Tls(listener, _) => {
                let (stream, _) = listener.accept().await?;
                notice_silence(&stream);
                Ok(Box::pin(stream))
            }
            Listener::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok(Box::pin(stream))
            }
        }
    }
}

/// Small answers leave at once, and a client that vanished during a long poll is noticed by the kernel's probes.
fn notice_silence(stream: &TcpStream) {
    use rustix::net::sockopt;
    let silent = Duration::from_secs(CLIENT_SILENT_SECONDS_MAX);
    let set = || -> io::Result<()> {
        stream.set_nodelay(true)?;
        sockopt::set_socket_keepalive(stream, true)?;
        sockopt::set_tcp_keepidle(stream, silent)?;
        sockopt::set_tcp_keepintvl(stream, silent / 3)?;
        sockopt::set_tcp_keepcnt(stream, 3)?;
        Ok(())
    };
    if let Err(error) = set() {
        tracing::debug!(%error, "cannot set keep-alive on a client connection");
    }
}

trait Io: AsyncRead + AsyncWrite + Send {}
impl<T: AsyncRead + AsyncWrite + Send> Io for T {}
type Stream = Pin<Box<dyn Io>>;

/// A connection whose first bytes must arrive in time: until they do, no other limit runs. Its client takes what it is sent,
/// too, or is gone.
struct Opening {
    stream: Stream,
    received: usize,
    deadline: Option<Pin<Box<Sleep>>>,
    unread: Duration,
    /// Runs while the client takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
    cleaner: Cleaner,
}

impl Opening {
    fn new(stream: Stream, bounds: Bounds) -> Self {
        let deadline = Some(Box::pin(sleep(bounds.first_bytes)));
        Self { stream, received: 0, deadline, unread: bounds.unread, stalled: None, cleaner: Cleaner::new() }
    }

    /// Notes whether the client takes what it is sent; an error when it has not for too long.
    fn sent<T>(&mut self, cx: &mut Context<'_>, sent: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if sent.is_ready() {
            self.stalled = None;
            return sent;
        }
        let unread = self.unread;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(unread)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl Opening {
    /// Reads what the client sends, as long as it does so in time.
    fn receive(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = self.stream.as_mut().poll_read(cx, buf);
        if let Some(deadline) = &mut self.deadline {
            if read.is_pending() {
                ready!(deadline.as_mut().poll(cx));
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            self.received += buf.filled().len() - before;
            if self.received >= PREFACE_BYTES {
                self.deadline = None;
            }
        }
        read
    }
}

impl AsyncRead for Opening {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.cleaner.is_done() {
                return self.receive(cx, buf);
            }
            if self.cleaner.take(buf) > 0 || buf.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            let mut space = [MaybeUninit::uninit(); READ_BYTES];
            let mut read = ReadBuf::uninit(&mut space);
            ready!(self.receive(cx, &mut read))?;
            if read.filled().is_empty() {
                self.cleaner.finish();
                self.cleaner.take(buf);
                return Poll::Ready(Ok(()));
            }
            self.cleaner.feed(read.filled());
        }
    }
}

impl AsyncWrite for Opening {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.deadline = None;
        let written = self.stream.as_mut().poll_write(cx, buf);
        self.sent(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = self.stream.as_mut().poll_flush(cx);
        self.sent(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.deadline = None;
        let written = self.stream.as_mut().poll_write_vectored(cx, bufs);
        self.sent(cx, written)
    }
}
