//! Websockets on the JSON gateway, as etcd's gateway has them: each message of the client is a request of the stream, each
//! answer a message of text. A path without a stream takes one message and gives its answer.
//!
//! A browser cannot set headers: the token may come as a subprotocol (`Bearer, TOKEN`) or in the cookie `token`.
//! Source: the behaviour of etcd 3.4's `/v3/watch` and `/v3/lease/keepalive`.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::ws::{Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::extract::{FromRequestParts, Request};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream::{BoxStream, SplitSink};
use futures_util::{SinkExt, Stream, StreamExt, stream};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};
use serde::de::DeserializeOwned;
use tokio::sync::OwnedSemaphorePermit;
use tonic::Status;
use tonic::metadata::MetadataMap;
use tower::ServiceExt;

use super::gateway::{BODY_BYTES_MAX, line, method};
use super::{lease, watch};
use crate::api::http::{requires_leader, text};
use crate::api::users::{Credentials, anybody};
use crate::api::{Shared, body, status};
use crate::wire::etcdserverpb as pb;

const BEARER: &str = "Bearer";

/// Whether a request asks to go on as a websocket of the gateway.
pub fn is_asked_for(request: &Request) -> bool {
    let upgrade = request.headers().get(header::UPGRADE);
    let websocket = upgrade.is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"));
    websocket && request.method() == Method::GET && method(request.uri().path()).is_some()
}

/// Goes on as a websocket; `http` answers where there is no stream.
pub async fn answer(shared: &Arc<Shared>, http: &Router, request: Request) -> Response {
    let Ok(place) = shared.websockets.clone().try_acquire_owned() else {
        return text(StatusCode::SERVICE_UNAVAILABLE, "too many websockets are open");
    };
    let (mut parts, _) = request.into_parts();
    let upgrade = match WebSocketUpgrade::from_request_parts(&mut parts, &()).await {
        Ok(upgrade) => upgrade,
        Err(refusal) => return refusal.into_response(),
    };
    take_token(&mut parts.headers);
    let (shared, http) = (shared.clone(), http.clone());
    let upgrade = upgrade.protocols([BEARER]).max_message_size(BODY_BYTES_MAX).max_frame_size(BODY_BYTES_MAX);
    upgrade.on_upgrade(|socket| converse(shared, http, parts, socket, place))
}

/// The token as a header, wherever it came.
fn take_token(headers: &mut HeaderMap) {
    let named = |headers: &HeaderMap, name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let protocol = named(headers, header::SEC_WEBSOCKET_PROTOCOL);
    let protocol = protocol.and_then(|listed| {
        let (first, token) = listed.split_once(',')?;
        (first.trim() == BEARER).then(|| token.trim().to_owned())
    });
    let cookie = || {
        let cookies = named(headers, header::COOKIE)?;
        let token = cookies.split(';').find_map(|cookie| cookie.trim().strip_prefix("token="));
        token.map(str::to_owned)
    };
    if let Some(token) = protocol.or_else(cookie)
        && let Ok(value) = HeaderValue::try_from(format!("{BEARER} {token}"))
    {
        headers.insert(header::AUTHORIZATION, value);
    }
}

async fn converse(shared: Arc<Shared>, http: Router, parts: Parts, socket: WebSocket, _place: OwnedSemaphorePermit) {
    let (to, from) = socket.split();
    let messages = from.filter_map(async |message| match message {
        Ok(Message::Text(text)) => Some(Bytes::from(text)),
        Ok(Message::Binary(bytes)) => Some(bytes),
        _ => None,
    });
    let who = Credentials::of_metadata(&MetadataMap::from_headers(parts.headers.clone()));
    match method(parts.uri.path()).unwrap_or_default() {
        "watch" => {
            let requests = parsed(messages);
            let answers = watch::Watch(shared.clone()).open(requests, who, requires_leader(&parts.headers));
            send(&shared, to, answers.map(|answer| line(&answer)).boxed()).await;
        }
        "lease/keepalive" => {
            let answers = kept_alive(lease::Lease(shared.clone()), who, parsed(messages));
            send(&shared, to, answers.map(|answer| line(&answer)).boxed()).await;
        }
        _ => {
            let lines = stream::once(one_answer(http, parts, messages.boxed())).flatten();
            send(&shared, to, lines.boxed()).await;
        }
    }
}

/// Requests until the first message that is none.
fn parsed<T: DeserializeOwned + Send + 'static>(
    messages: impl Stream<Item = Bytes> + Send + 'static,
) -> BoxStream<'static, Result<T, Status>> {
    let requests = messages.map(|bytes| serde_json::from_slice(&bytes));
    requests
        .map(|request| request.map_err(|error| Status::invalid_argument(error.to_string())))
        .scan(false, |over, request| {
            let next = (!*over).then_some(request);
            *over = next.as_ref().is_none_or(Result::is_err);
            std::future::ready(next)
        })
        .boxed()
}

fn kept_alive(
    lease: lease::Lease,
    who: Credentials,
    requests: BoxStream<'static, Result<pb::LeaseKeepAliveRequest, Status>>,
) -> impl Stream<Item = Result<pb::LeaseKeepAliveResponse, Status>> + Send {
    let state = Some((lease, who, requests));
    stream::unfold(state, async |state| {
        let (lease, who, mut requests) = state?;
        let asked = requests.next().await?;
        let answer = async {
            let id = asked?.id;
            lease.0.check(&who, &anybody).await.map_err(|error| status::failed(&error))?;
            lease.keep_alive(id).await
        };
        match answer.await {
            Ok(answer) => Some((Ok(answer), Some((lease, who, requests)))),
            Err(refusal) => Some((Err(refusal), None)),
        }
    })
}

/// What the path answers to a `POST` of the first message, line by line.
async fn one_answer(
    http: Router,
    mut parts: Parts,
    mut messages: BoxStream<'static, Bytes>,
) -> BoxStream<'static, Bytes> {
    let Some(message) = messages.next().await else { return stream::empty().boxed() };
    parts.method = Method::POST;
    let response = match http.oneshot(Request::from_parts(parts, Body::from(message))).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    let read = body::read(response.into_body(), BODY_BYTES_MAX).await.unwrap_or_default();
    let lines: Vec<Bytes> = read.split(|byte| *byte == b'\n').map(Bytes::copy_from_slice).collect();
    stream::iter(lines.into_iter().filter(|line| !line.is_empty())).boxed()
}

/// Sends lines until their end, the client's or the node's, and closes.
async fn send(shared: &Shared, mut to: SplitSink<WebSocket, Message>, mut lines: BoxStream<'static, Bytes>) {
    let sending = async {
        while let Some(line) = lines.next().await {
            let line = line.strip_suffix(b"\n").map_or(line.clone(), |bare| line.slice_ref(bare));
            let Ok(text) = Utf8Bytes::try_from(line) else { return };
            if to.send(Message::Text(text)).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = shared.stop.cancelled() => {}
        () = sending => {}
    }
    // The client may have gone already.
    let _ = to.close().await;
}
