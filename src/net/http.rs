//! An HTTP/1.1 client for a node's doors, over TCP or a unix socket: one connection a request, answers whole or as a stream.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;

use super::{Address, ConnectError, connect};
use crate::base::with_causes;

/// How long a connection may take to come about.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

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
    let name = address.to_string();
    let connection = connect(address, CONNECT_WITHIN).await?;
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(connection)).await;
    let (mut sender, driver) = handshake.map_err(|error| broken(&name, "opening HTTP", &error))?;
    tokio::spawn(driver);
    let uri: Uri = path.parse().map_err(|error| broken(&name, "making the request", &error))?;
    // A whole URL goes to a proxy.
    let host = uri.authority().map_or_else(|| address.host(), ToString::to_string);
    let mut request = Request::builder().method(method).uri(uri).header(HOST, host);
    if let Some(value) = authorization {
        request = request.header(AUTHORIZATION, value);
    }
    let content = body.map_or_else(Bytes::new, |(kind, content)| {
        request.headers_mut().map(|headers| kind.parse().map(|kind| headers.insert(CONTENT_TYPE, kind)));
        Bytes::from(content)
    });
    let request = request.body(Full::new(content)).map_err(|error| broken(&name, "making the request", &error))?;
    let response: Response<Incoming> =
        sender.send_request(request).await.map_err(|error| broken(&name, "waiting for an answer", &error))?;
    let (head, body) = response.into_parts();
    Ok(Streamed { status: head.status, headers: head.headers, address: name, body })
}

impl Streamed {
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
}

fn broken(address: &str, doing: &'static str, error: &dyn std::error::Error) -> HttpError {
    HttpError::Broken { address: address.to_owned(), doing, reason: with_causes(error) }
}
