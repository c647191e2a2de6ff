//! Opens a connection to an [`Address`] within a time, trying each address that the name has.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;

use super::address::Address;
use super::resolve::{ResolveError, resolve};
use super::tls::Protocol;

/// No connection came about.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    #[error("cannot connect to {address}: {source}")]
    Refused { address: String, source: io::Error },
    #[error("cannot connect to {address}: no answer within {waited:?}")]
    TimedOut { address: String, waited: Duration },
}

/// An open connection of any kind.
#[derive(Debug)]
pub enum Connection {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Unix(UnixStream),
}

/// Connects to `address`, trying its IP addresses one after the other, all within `wait`. Within TLS, HTTP/1.1 is asked for.
///
/// # Errors
/// [`ConnectError`] of the last address tried.
pub async fn connect(address: &Address, wait: Duration) -> Result<Connection, ConnectError> {
    connect_speaking(Protocol::Http1, address, wait).await
}

/// The same for what speaks this protocol, which is asked for within TLS.
///
/// # Errors
/// [`ConnectError`] of the last address tried.
pub async fn connect_speaking(
    protocol: Protocol,
    address: &Address,
    wait: Duration,
) -> Result<Connection, ConnectError> {
    match tokio::time::timeout(wait, open(protocol, address, wait)).await {
        Ok(result) => result,
        Err(_) => Err(ConnectError::TimedOut { address: address.to_string(), waited: wait }),
    }
}

async fn open(protocol: Protocol, address: &Address, wait: Duration) -> Result<Connection, ConnectError> {
    let refused = |source| ConnectError::Refused { address: address.to_string(), source };
    match address {
        Address::Unix(path) => UnixStream::connect(path).await.map(Connection::Unix).map_err(refused),
        Address::Tcp { host, port } => {
            let found = resolve(host).await?;
            open_first(&found, *port, wait).await.map(Connection::Tcp).map_err(refused)
        }
        Address::Tls { host, port, tls } => {
            let found = resolve(host).await?;
            let stream = open_first(&found, *port, wait).await.map_err(refused)?;
            let secured = tls.connect(stream, host, protocol).await.map_err(refused)?;
            Ok(Connection::Tls(Box::new(secured)))
        }
    }
}

/// Each address gets an equal share of the time, so that a dead first one does not hide a live second.
async fn open_first(found: &[IpAddr], port: u16, wait: Duration) -> io::Result<TcpStream> {
    let share = wait / u32::try_from(found.len().max(1)).unwrap_or(u32::MAX);
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for ip in found {
        let one = TcpStream::connect(SocketAddr::new(*ip, port));
        match tokio::time::timeout(share, one).await {
            Ok(Ok(stream)) => {
                // Small frames must not wait for each other; a failure to set it costs only time.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(error)) => last = error,
            Err(_) => last = io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {share:?}")),
        }
    }
    Err(last)
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Connection::Tcp(s) => Pin::new(s).poll_read(cx, buf),
            Connection::Tls(s) => Pin::new(s).poll_read(cx, buf),
            Connection::Unix(s) => Pin::new(s).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Connection::Tcp(s) => Pin::new(s).poll_write(cx, buf),
            Connection::Tls(s) => Pin::new(s).poll_write(cx, buf),
            Connection::Unix(s) => Pin::new(s).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Connection::Tcp(s) => Pin::new(s).poll_write_vectored(cx, bufs),
            Connection::Tls(s) => Pin::new(s).poll_write_vectored(cx, bufs),
            Connection::Unix(s) => Pin::new(s).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Connection::Tls(s) => s.is_write_vectored(),
            Connection::Tcp(_) | Connection::Unix(_) => true,
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Connection::Tcp(s) => Pin::new(s).poll_flush(cx),
            Connection::Tls(s) => Pin::new(s).poll_flush(cx),
            Connection::Unix(s) => Pin::new(s).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Connection::Tcp(s) => Pin::new(s).poll_shutdown(cx),
            Connection::Tls(s) => Pin::new(s).poll_shutdown(cx),
            Connection::Unix(s) => Pin::new(s).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    const WAIT: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn reaches_tcp_and_unix() {
        let tcp = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address: Address = format!("localhost:{}", tcp.local_addr().unwrap().port()).parse().unwrap();
        let mut near = connect(&address, WAIT).await.unwrap();
        let (mut far, _) = tcp.accept().await.unwrap();
        near.write_all(b"hello").await.unwrap();
        let mut got = [0; 5];
        far.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"hello");

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let unix = tokio::net::UnixListener::bind(&path).unwrap();
        let mut near = connect(&Address::Unix(path), WAIT).await.unwrap();
        let (mut far, _) = unix.accept().await.unwrap();
        far.write_all(b"there").await.unwrap();
        near.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"there");
    }

    #[tokio::test]
    async fn a_refusal_names_the_address() {
        let tcp = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = tcp.local_addr().unwrap().port();
        drop(tcp);
        let address = Address::Tcp { host: "127.0.0.1".into(), port };
        let error = connect(&address, WAIT).await.unwrap_err().to_string();
        assert!(error.contains(&format!("127.0.0.1:{port}")), "{error}");
    }
}
