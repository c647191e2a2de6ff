//! Where every request comes in: gRPC or HTTP, path cleaning, CORS, and which handler gets it.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
#[cfg(feature = "scheduler")]
use axum::routing::get;
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, StatusCode, Uri};
use serde::Serialize;
use tower::ServiceExt;

use super::body::BodyError;
use super::bounds::Bounds;
use super::discovery::{Asked, Discovery};
use super::receiving::{Room, Shape};
use super::rights::Right;
use super::sending::Unread;
use super::users::{CertificateName, Credentials, Vouched, anybody};
use super::{Shared, history, info, joining, status, v2, v3};
use crate::kv::auth::{Auth, ROOT};
use crate::wire::joining::JOIN_PATH;
use crate::wire::json as go_json;
use crate::wire::v2::PATH_KEPT;

/// The way in; cheap to clone.
#[derive(Clone)]
pub(super) struct Entry {
    shared: Arc<Shared>,
    room: Room,
    unread: Arc<Unread>,
    grpc: Router,
    http: Router,
    way: Way,
}

/// How those who come in by a listener, or one of them, are known.
#[derive(Clone, Default)]
pub(super) enum Way {
    /// By what they say.
    #[default]
    Open,
    /// By the mode of a unix socket.
    Socket,
    /// By a certificate with this name.
    Certificate(CertificateName),
    /// The same, and the cluster itself gave the certificate out.
    OwnCertificate(CertificateName),
    /// By nothing, where the cluster gives certificates out.
    Stranger,
}

/// With a request that came in by a unix socket.
#[derive(Clone, Copy)]
struct OnSocket;

/// With a request that was let in: who makes it.
#[derive(Clone, Default)]
#[cfg_attr(not(feature = "scheduler"), expect(dead_code, reason = "only commands in units ask for it"))]
pub(super) struct Caller {
    /// `None`: whoever may open the socket, or anybody while users are not asked for.
    pub user: Option<String>,
    /// It came by a unix socket.
    pub local: bool,
}

/// Where users log in.
const LOGIN_PATHS: [&str; 2] = ["/etcdserverpb.Auth/Authenticate", "/v3/auth/authenticate"];

/// Routes that change the cluster itself: while users are asked for, they are for those who have the [`Right`], and whom a socket's
/// mode lets in.
fn guarded(shared: &Arc<Shared>, routes: Router) -> Router {
    let shared = shared.clone();
    routes.layer(middleware::from_fn(move |mut request: Request<Body>, next: Next| {
        let shared = shared.clone();
        async move {
            let who = Credentials::of_http(&request);
            let local = request.extensions().get::<OnSocket>().is_some();
            let right = Right::needed(request.method(), &decode(request.uri().path()).unwrap_or_default());
            let needs = move |auth: &Auth, user: &str| right.check(auth, user);
            match if local { Ok(None) } else { shared.whoever(&who, &needs).await } {
                Ok(user) => {
                    request.extensions_mut().insert(Caller { user, local });
                    next.run(request).await
                }
                Err(error) => {
                    let code = status::not_administrator(&error);
                    let message = format!(
                        "users are asked for: this takes a user with {}, or a unix socket of the node ({error})",
                        right.told()
                    );
                    let body = serde_json::json!({"error": {"code": code.as_u16(), "message": message}});
                    json(code, body.to_string())
                }
            }
        }
    }))
}

/// What is served.
impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entry(&self.grpc).entry(&self.http).finish()
    }
}

impl Entry {
    pub fn new(shared: &Arc<Shared>, extra: Router, bounds: Bounds) -> Self {
        let http = guarded(shared, extra.merge(joining::routes(shared)))
            .merge(joining::open_routes(shared))
            .merge(info::routes(shared))
            .merge(history::routes(shared))
            .merge(v2::routes(shared))
            .merge(v3::gateway::routes(shared));
        #[cfg(feature = "template")]
        let http = http.merge(super::templates::routes(shared));
        let http = http.fallback(async || not_found());
        Self::over(shared, v3::routes(shared), http, bounds)
    }

    /// The way in to `routes` alone.
    #[cfg(feature = "scheduler")]
    pub fn only(shared: &Arc<Shared>, routes: Router, bounds: Bounds) -> Self {
        let metrics = shared.clone();
        let metrics = get(async move || super::metrics::answer_without_store(&metrics));
        let http = guarded(shared, routes).route("/metrics", metrics).fallback(async || not_found());
        Self::over(shared, Router::new(), http, bounds)
    }

    fn over(shared: &Arc<Shared>, grpc: Router, http: Router, bounds: Bounds) -> Self {
        let (room, unread) = (Room::new(bounds), Unread::new(bounds));
        Self { shared: shared.clone(), room, unread, grpc, http, way: Way::Open }
    }

    /// The same for those who come in this way.
    pub fn by(self, way: Way) -> Self {
        Self { way, ..self }
    }

    /// Notes with a request how its sender is known; a refusal where he is not and needs to be.
    async fn receive(&self, request: &mut Request<Incoming>) -> Option<Response> {
        let extensions = request.extensions_mut();
        match &self.way {
            Way::Open => {}
            Way::Socket => {
                extensions.insert(OnSocket);
                // Where the cluster has an authority of its own, whoever is let in by a socket is its administrator.
                if self.shared.identity.is_some() {
                    extensions.insert(CertificateName(ROOT.into()));
                    extensions.insert(Vouched);
                }
            }
            Way::Certificate(name) => drop(extensions.insert(name.clone())),
            Way::OwnCertificate(name) => {
                extensions.insert(name.clone());
                extensions.insert(Vouched);
            }
            Way::Stranger => return self.keep_out(request).await,
        }
        None
    }

    /// Who comes without a certificate may ask to join. Where users are asked for, he may log in, and do what a user may.
    async fn keep_out(&self, request: &Request<Incoming>) -> Option<Response> {
        let path = request.uri().path();
        if path == JOIN_PATH {
            return None;
        }
        if self.shared.store.auth().enabled() {
            let who = Credentials::of_http(request);
            if LOGIN_PATHS.contains(&path) || self.shared.check(&who, &anybody).await.is_ok() {
                return None;
            }
        }
        tracing::info!(path = path.chars().take(64).collect::<String>(), "a request without a certificate is refused");
        Some(match is_grpc(request.headers()) {
            true => status::no_certificate().into_http(),
            false => {
                let body = serde_json::json!({"error": status::NO_CERTIFICATE, "message": status::NO_CERTIFICATE});
                json(StatusCode::UNAUTHORIZED, body.to_string())
            }
        })
    }

    pub async fn answer(&self, mut request: Request<Incoming>) -> Response {
        // Most paths have no escape that could be wrong.
        let path = request.uri().path();
        if path.contains('%') && decode(path).is_none() {
            return malformed();
        }
        if let Some(refusal) = self.receive(&mut request).await {
            return refusal;
        }
        let grpc = is_grpc(request.headers());
        let shape = match grpc {
            true if v3::takes_stream(request.uri().path()) => Shape::Stream,
            true => Shape::Call,
            false => Shape::Plain,
        };
        let (parts, body) = request.into_parts();
        let (body, arrival) = self.room.receive(body, shape);
        let request = Request::from_parts(parts, body);
        let mut response = match grpc {
            true => self.answer_grpc(request).await,
            false => self.answer_http(request).await,
        };
        // Where the request did not arrive, that is the answer, whatever the handler made of it.
        if let Some(failure) = arrival.failure() {
            response = if grpc { status::unreceived(failure).into_http() } else { unreceived(failure) };
        }
        if !grpc {
            allow_origins(response.headers_mut());
        }
        response.map(|body| self.unread.send(body))
    }

    async fn answer_grpc(&self, request: Request<Body>) -> Response {
        if requires_leader(request.headers()) && self.shared.store.status().leader.is_none() {
            return status::no_leader().into_http();
        }
        run(&self.grpc, request).await
    }

    async fn answer_http(&self, request: Request<Body>) -> Response {
        if self.ignores_certificate(&request) {
            let why = "CommonName of client sending a request against gateway will be ignored and not used as expected";
            return text(StatusCode::BAD_REQUEST, why);
        }
        if request.method() == Method::OPTIONS {
            return StatusCode::OK.into_response();
        }
        let Some(path) = decode(request.uri().path()) else { return malformed() };
        let clean = clean(&path);
        if clean != path {
            return moved(request.method(), request.uri(), &clean);
        }
        if Asked::of(request.uri().path()).is_some() {
            let discovery = Discovery { keys: &self.http, random: &*self.shared.random };
            return discovery.answer(request).await;
        }
        if v3::websocket::is_asked_for(&request) {
            return v3::websocket::answer(&self.shared, &self.http, request).await;
        }
        run(&self.http, request).await
    }

    /// Whether a client comes to the gateway with a certificate that names a user, while users are asked for: the gateway takes
    /// tokens only, and as etcd's it says so rather than taking him for nobody.
    fn ignores_certificate(&self, request: &Request<Body>) -> bool {
        let gateway = v3::gateway::method(request.uri().path()).is_some();
        let vouched = request.extensions().get::<Vouched>().is_some();
        let named = || request.extensions().get::<CertificateName>().is_some_and(|name| !name.0.is_empty());
        gateway && !vouched && named() && self.shared.store.auth().enabled()
    }
}

pub(super) async fn run(router: &Router, request: Request<Body>) -> Response {
    match router.clone().oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    kind.is_some_and(|kind| kind.starts_with(b"application/grpc"))
}

/// Whether the client wants an error rather than an answer from a node without a leader.
pub(super) fn requires_leader(headers: &HeaderMap) -> bool {
    headers.get("hasleader").is_some_and(|v| v == "true")
}

/// A path with its percent escapes undone; `None` if one is malformed. What is no UTF-8 is replaced.
pub(super) fn decode(path: &str) -> Option<String> {
    unescape(path, false).ok()
}

/// Undoes percent escapes (and `+` for a space in forms).
///
/// # Errors
/// The malformed escape, up to three characters of it.
pub(super) fn unescape(text: &str, form: bool) -> Result<String, String> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'%' => {
                let digit = |i: usize| bytes.get(i).and_then(|b| (*b as char).to_digit(16));
                let (Some(high), Some(low)) = (digit(at + 1), digit(at + 2)) else {
                    let rest = &bytes[at..bytes.len().min(at + 3)];
                    return Err(String::from_utf8_lossy(rest).into_owned());
                };
                out.push((high * 16 + low) as u8);
                at += 3;
            }
            b'+' if form => {
                out.push(b' ');
                at += 1;
            }
            other => {
                out.push(other);
                at += 1;
            }
        }
    }
    Ok(String::from_utf8_lossy(&out).into_owned())
}

/// The path without `//`, `.` and `..`; a slash at its end stays. As Go's `http.ServeMux` has it.
fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            other => parts.push(other),
        }
    }
    let mut out = String::from("/");
    out.push_str(&parts.join("/"));
    if path.ends_with('/') && out != "/" {
        out.push('/');
    }
    out
}

fn moved(method: &Method, uri: &Uri, path: &str) -> Response {
    let mut to = percent_encoding::utf8_percent_encode(path, PATH_KEPT).to_string();
    if let Some(query) = uri.query() {
        to = format!("{to}?{query}");
    }
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    if matches!(*method, Method::GET | Method::HEAD) {
        let shown = to.replace('&', "&amp;").replace('"', "&#34;");
        *response.body_mut() = format!("<a href=\"{shown}\">Moved Permanently</a>.\n\n").into();
        let html = HeaderValue::from_static("text/html; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, html);
    }
    if let Ok(to) = HeaderValue::try_from(to) {
        response.headers_mut().insert(header::LOCATION, to);
    }
    response
}

fn allow_origins(headers: &mut HeaderMap) {
    const ALLOW: [(HeaderName, &str); 3] = [
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "accept, content-type, authorization"),
        (header::ACCESS_CONTROL_ALLOW_METHODS, "POST, GET, OPTIONS, PUT, DELETE"),
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
    ];
    for (name, value) in ALLOW {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// A line of plain text, as Go's `http.Error` sends it.
pub(super) fn text(code: StatusCode, line: &str) -> Response {
    let nosniff = (header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    (code, [nosniff], format!("{line}\n")).into_response()
}

/// What Go's server says of a request that it cannot read, before anybody else hears of it.
fn malformed() -> Response {
    (StatusCode::BAD_REQUEST, [(header::CONNECTION, "close")], "400 Bad Request").into_response()
}

pub(super) fn not_found() -> Response {
    text(StatusCode::NOT_FOUND, "404 page not found")
}

/// The request did not arrive as a whole.
fn unreceived(failure: &BodyError) -> Response {
    text(status::unreceived_http(failure), &failure.to_string())
}

/// The method is not one of `allowed` (comma between them; empty: not said).
pub(super) fn method_not_allowed(allowed: &'static str) -> Response {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed");
    if !allowed.is_empty() {
        let headers = response.headers_mut();
        headers.insert(header::ALLOW, HeaderValue::from_static(allowed));
    }
    response
}

/// A line of JSON as Go's `json.Encoder` writes it.
pub(super) fn encoded<T: Serialize>(value: &T) -> Vec<u8> {
    go_json::to_vec(value).unwrap_or_else(|error| {
        tracing::error!(%error, "an answer cannot be written as JSON");
        b"{}\n".to_vec()
    })
}

/// A body of JSON.
pub(super) fn json(code: StatusCode, body: impl Into<Bytes>) -> Response {
    let kind = (header::CONTENT_TYPE, "application/json");
    (code, [kind], Body::from(body.into())).into_response()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn paths_are_cleaned_as_go_does() {
        let cases = [
            ("/", "/"),
            ("", "/"),
            ("//", "/"),
            ("/v2/keys//a/../b", "/v2/keys/b"),
            ("/v2/keys/", "/v2/keys/"),
            ("/v2/keys/a/./", "/v2/keys/a/"),
            ("/../..", "/"),
            ("/a/..", "/"),
            ("/..a/b..", "/..a/b.."),
        ];
        for (path, expected) in cases {
            assert_eq!(clean(path), expected, "{path}");
        }
    }

    #[test]
    fn escapes_are_undone_or_named() {
        assert_eq!(unescape("a%20b+c", true).unwrap(), "a b c");
        assert_eq!(unescape("a%20b+c", false).unwrap(), "a b+c");
        assert_eq!(unescape("%zz1", true).unwrap_err(), "%zz");
        assert_eq!(unescape("a%4", true).unwrap_err(), "%4");
        assert_eq!(unescape("%ff", true).unwrap(), "\u{fffd}");
        assert_eq!(unescape("%c3%a9", true).unwrap(), "é");
    }
}
