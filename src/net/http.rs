//! An HTTP/1.1 client for a node's doors, over TCP or a unix socket: one connection a request, answers whole or as a stream.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION,
    UPGRADE,
};
use hyper::upgrade::Upgraded;
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;

use super::lines::LineBuffer;
use super::{Address, ConnectError, connect};
use crate::base::with_causes;

/// How long a connection may take to come about.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// Longest line of an answer that is read by lines: a key and two values, escaped.
const LINE_BYTES_MAX: usize = 64 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("{address}: {doing}: {reason}")]
    Broken { address: String, doing: &'static str, reason: String },
    #[error("{address}: no answer within {waited:?}")]
    TimedOut { address: String, waited: Duration },
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// An answer whose body is still coming.
pub struct Streamed {
    pub status: StatusCode,
    pub headers: HeaderMap,
    address: String,
    body: Incoming,
    lines: LineBuffer,
}

/// The value of `Authorization` for `NAME:PASSWORD`.
pub fn basic(name_and_password: &str) -> String {
    format!("Basic {}", STANDARD.encode(name_and_password))
}

/// Sends a request and reads the whole answer within `wait`.
///
/// # Errors
/// [`HttpError`] naming the address.
pub async fn call(
    address: &Address,
    method: Method,
    path: &str,
    body: Option<(&str, Vec<u8>)>,
    wait: Duration,
) -> Result<Answer, HttpError> {
    call_as(None, address, method, path, body, wait).await
}

/// The same with a value for the header `Authorization`.
///
/// # Errors
/// [`HttpError`] naming the address.
pub async fn call_as(
    authorization: Option<&str>,
    address: &Address,
    method: Method,
    path: &str,
    body: Option<(&str, Vec<u8>)>,
    wait: Duration,
) -> Result<Answer, HttpError> {
    let whole = async {
        let streamed = open_as(authorization, address, method, path, body).await?;
        let (status, headers, name) = (streamed.status, streamed.headers, streamed.address);
        let collected = streamed.body.collect().await;
        let body = collected.map_err(|error| broken(&name, "reading the answer", &error))?.to_bytes();
        Ok(Answer { status, headers, body })
    };
    let timed_out = |_| HttpError::TimedOut { address: address.to_string(), waited: wait };
    tokio::time::timeout(wait, whole).await.map_err(timed_out)?
}

/// Sends a request and returns once the answer's head is here. Its body may take for ever.
///
/// # Errors
/// [`HttpError`] naming the address.
pub async fn open(
    address: &Address,
    method: Method,
    path: &str,
    body: Option<(&str, Vec<u8>)>,
) -> Result<Streamed, HttpError> {
    open_as(None, address, method, path, body).await
}

/// The same with a value for the header `Authorization`.
///
/// # Errors
/// [`HttpError`] naming the address.
pub async fn open_as(
    authorization: Option<&str>,
    address: &Address,
    method: Method,
    path: &str,
    body: Option<(&str, Vec<u8>)>,
) -> Result<Streamed, HttpError> {
    let headers = authorization.map(|value| (AUTHORIZATION, value.to_owned()));
    let response = send(address, method, path, headers.into_iter(), body).await?;
    Ok(Streamed::of(address, response))
}

/// What comes of asking to go on by websockets.
pub enum Websocket {
    /// The connection, on which its frames are all that follows.
    Open(TokioIo<Upgraded>),
    Refused(Streamed),
}

/// Asks a node to go on by websockets.
///
/// # Errors
/// [`HttpError`] naming the address.
pub async fn open_websocket(
    authorization: Option<&str>,
    address: &Address,
    path: &str,
) -> Result<Websocket, HttpError> {
    let asked = [
        (CONNECTION, "Upgrade".to_owned()),
        (UPGRADE, "websocket".to_owned()),
        (SEC_WEBSOCKET_VERSION, "13".to_owned()),
        // It is to keep old proxies from answering out of what they remember; nobody checks what it is.
        (SEC_WEBSOCKET_KEY, STANDARD.encode(rand::random::<[u8; 16]>())),
    ];
    let headers = asked.into_iter().chain(authorization.map(|value| (AUTHORIZATION, value.to_owned())));
    let response = send(address, Method::GET, path, headers, None).await?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(Websocket::Refused(Streamed::of(address, response)));
    }
    let upgraded = hyper::upgrade::on(response).await;
    let upgraded = upgraded.map_err(|error| broken(&address.to_string(), "upgrading", &error))?;
    Ok(Websocket::Open(TokioIo::new(upgraded)))
}

async fn send(
    address: &Address,
    method: Method,
    path: &str,
    headers: impl Iterator<Item = (HeaderName, String)>,
    body: Option<(&str, Vec<u8>)>,
) -> Result<Response<Incoming>, HttpError> {
    let name = address.to_string();
    let connection = connect(address, CONNECT_WITHIN).await?;
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(connection)).await;
    let (mut sender, driver) = handshake.map_err(|error| broken(&name, "opening HTTP", &error))?;
    tokio::spawn(driver.with_upgrades());
    let uri: Uri = path.parse().map_err(|error| broken(&name, "making the request", &error))?;
    // A whole URL goes to a proxy.
    let host = uri.authority().map_or_else(|| address.host(), ToString::to_string);
    let mut request = Request::builder().method(method).uri(uri).header(HOST, host);
    for (header, value) in headers {
        request = request.header(header, value);
    }
    let content = body.map_or_else(Bytes::new, |(kind, content)| {
        request.headers_mut().map(|headers| kind.parse().map(|kind| headers.insert(CONTENT_TYPE, kind)));
        Bytes::from(content)
    });
    let request = request.body(Full::new(content)).map_err(|error| broken(&name, "making the request", &error))?;
    sender.send_request(request).await.map_err(|error| broken(&name, "waiting for an answer", &error))
}

impl Streamed {
    fn of(address: &Address, response: Response<Incoming>) -> Self {
        let (head, body) = response.into_parts();
        let (address, lines) = (address.to_string(), LineBuffer::default());
        Self { status: head.status, headers: head.headers, address, body, lines }
    }

    /// All of the body that is left.
    ///
    /// # Errors
    /// [`HttpError::Broken`] where the connection broke off.
    pub async fn rest(mut self) -> Result<Vec<u8>, HttpError> {
        let mut body = Vec::new();
        while let Some(chunk) = self.next().await? {
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    /// The next piece of the body; `None` at its end.
    ///
    /// # Errors
    /// [`HttpError::Broken`] where the connection broke off.
    pub async fn next(&mut self) -> Result<Option<Bytes>, HttpError> {
        while let Some(frame) = self.body.frame().await {
            let frame = frame.map_err(|error| broken(&self.address, "reading the answer", &error))?;
            if let Ok(data) = frame.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    /// The next lines of the body as they come, at least one; `None` at its end. What comes after the last line's end is none.
    /// Cancel-safe: what was read is kept.
    ///
    /// # Errors
    /// [`HttpError::Broken`] where the connection broke off, or a line is longer than any that a node sends.
    pub async fn lines(&mut self) -> Result<Option<Vec<Bytes>>, HttpError> {
        while let Some(piece) = self.next().await? {
            let lines = self.lines.take_in(&piece);
            if !lines.is_empty() {
                return Ok(Some(lines));
            }
            if self.lines.waiting_bytes() > LINE_BYTES_MAX {
                let reason = format!("a line of more than {LINE_BYTES_MAX} bytes");
                return Err(HttpError::Broken { address: self.address.clone(), doing: "reading the answer", reason });
            }
        }
        Ok(None)
    }
}

fn broken(address: &str, doing: &'static str, error: &dyn std::error::Error) -> HttpError {
    HttpError::Broken { address: address.to_owned(), doing, reason: with_causes(error) }
}
