//! etcd 2's discovery service: `/new?size=N` makes a token, and at `/{token}` the first members of a cluster find each other.
//!
//! A token is the directory `/_etcd/registry/{token}` of the keyspace: requests at a token become requests of `/v2/keys`, so that
//! `--discovery http://HOST/{token}` and `--discovery http://HOST/v2/keys/_etcd/registry/{token}` are the same place. Only paths
//! that begin with 32 hexadecimal digits are taken. Source: the behaviour of discovery.etcd.io, and of etcd 2 and 3.4 as its clients.

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::http::uri::{Authority, PathAndQuery};
use hyper::{Method, Request, StatusCode, Uri};

use super::body::{self, BodyError};
use super::http::{encoded, json, method_not_allowed, not_found, run, text};
use super::status;
use super::v2::form::{Form, takes_body};
use crate::base::Random;
use crate::base::limits::{DISCOVERY_ANSWER_BYTES_MAX, DISCOVERY_FORM_BYTES_MAX};
use crate::wire::v2::{Answer, Failure};

const KEYS: &str = "/v2/keys";
const REGISTRY: &str = "/_etcd/registry";
const SIZE: &str = "_config/size";
/// For how many members a token is that nobody said a number for.
const SIZE_DEFAULT: &str = "3";
const TOKEN_DIGITS: usize = 32;

/// What a path asks of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked<'a> {
    New,
    /// The token, and what stands behind it.
    Token(&'a str, &'a str),
}

impl<'a> Asked<'a> {
    /// `None`: the path is not the service's.
    pub fn of(path: &'a str) -> Option<Self> {
        let bare = path.strip_prefix('/')?;
        if bare == "new" {
            return Some(Self::New);
        }
        let (token, below) = bare.split_once('/').unwrap_or((bare, ""));
        let digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        (token.len() == TOKEN_DIGITS && token.bytes().all(digit)).then_some(Self::Token(token, below))
    }
}

/// The service over the routes of `/v2/keys`.
pub(super) struct Discovery<'a> {
    pub keys: &'a Router,
    pub random: &'a dyn Random,
}

impl Discovery<'_> {
    pub async fn answer(&self, request: Request<Body>) -> Response {
        let uri = request.uri().clone();
        match Asked::of(uri.path()) {
            None => not_found(),
            Some(Asked::New) => self.make(request).await,
            Some(Asked::Token(token, below)) => {
                let base = base(&request).unwrap_or_else(|| "http://HOST:2379".to_owned());
                let of = Token { token, headers: credentials(request.headers()), base, discovery: self };
                of.answer(below, request).await
            }
        }
    }

    /// `/new`: the answer is the URL of a new token, on the host that was asked.
    async fn make(&self, request: Request<Body>) -> Response {
        if !matches!(*request.method(), Method::GET | Method::PUT | Method::POST) {
            return method_not_allowed("GET,PUT,POST");
        }
        let Some(base) = base(&request) else {
            return text(StatusCode::BAD_REQUEST, "the request names no host for the token's URL");
        };
        let headers = credentials(request.headers());
        let size = match size(request).await {
            Ok(size) => size,
            Err(why) => return text(StatusCode::BAD_REQUEST, &why),
        };
        let token = format!("{:016x}{:016x}", self.random.next_u64(), self.random.next_u64());
        let target = format!("{KEYS}{REGISTRY}/{token}/{SIZE}?prevExist=false&value={size}");
        let made = self.ask(Method::PUT, &target, &headers).await;
        match made.status {
            StatusCode::CREATED => format!("{base}/{token}").into_response(),
            code => text(code, &format!("Unable to generate token: {}", made.failure().cause)),
        }
    }

    /// A request of `/v2/keys`, in the name of who asks.
    async fn ask(&self, method: Method, target: &str, headers: &HeaderMap) -> Told {
        let mut request = Request::new(Body::empty());
        *request.method_mut() = method;
        *request.headers_mut() = headers.clone();
        match target.parse() {
            Ok(uri) => *request.uri_mut() = uri,
            Err(error) => tracing::error!(%error, target, "a path of the registry is no URI"),
        }
        Told::of(run(self.keys, request).await).await
    }
}

/// One token, and who asks about it.
struct Token<'a> {
    token: &'a str,
    headers: HeaderMap,
    /// Where the asker reaches this node.
    base: String,
    discovery: &'a Discovery<'a>,
}

impl Token<'_> {
    fn path(&self, below: &str) -> String {
        format!("{REGISTRY}/{}/{below}", self.token).trim_end_matches('/').to_owned()
    }

    async fn answer(&self, below: &str, request: Request<Body>) -> Response {
        let below = below.trim_end_matches('/');
        let method = request.method().clone();
        let allowed = match below {
            SIZE => "GET,HEAD",
            "" => "GET,HEAD,PUT",
            member if !member.contains('/') => "GET,HEAD,PUT,DELETE",
            _ => return not_found(),
        };
        if !allowed.split(',').any(|allowed| allowed == method.as_str()) {
            return method_not_allowed(allowed);
        }
        let registers = method == Method::PUT && !below.is_empty() && !below.starts_with('_');
        if registers && let Some(refusal) = self.refusal_if_full(below).await {
            return refusal;
        }
        let answer = run(self.discovery.keys, self.of_keys(below, request)).await;
        match answer.status() {
            StatusCode::NOT_FOUND if matches!(below, "" | SIZE) => self.explained(below, answer, &self.unknown()).await,
            StatusCode::PRECONDITION_FAILED if registers => self.explained(below, answer, &self.registered()).await,
            _ => answer,
        }
    }

    /// The same request of `/v2/keys`.
    fn of_keys(&self, below: &str, mut request: Request<Body>) -> Request<Body> {
        let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
        match PathAndQuery::try_from(format!("{KEYS}{}{query}", self.path(below))) {
            Ok(target) => *request.uri_mut() = Uri::from(target),
            Err(error) => tracing::error!(%error, "a path of the registry is no URI"),
        }
        request
    }

    /// A registration beyond the size. Those of etcd look before they register; this is for whoever does not.
    async fn refusal_if_full(&self, member: &str) -> Option<Response> {
        let get = async |below: &str| {
            let target = format!("{KEYS}{}?quorum=true", self.path(below));
            self.discovery.ask(Method::GET, &target, &self.headers).await
        };
        let size: usize = get(SIZE).await.answer()?.node?.value?.trim().parse().ok()?;
        let listed = get("").await;
        let index = listed.index();
        let members = listed.answer()?.node?.nodes;
        let own = self.path(member);
        if members.len() < size || members.iter().any(|member| member.key == own) {
            return None;
        }
        let known: Vec<String> = members.into_iter().filter_map(|member| member.value).collect();
        let failure = Failure {
            error_code: status::V2_CLUSTER_FULL,
            cause: format!("the token has its {size} members ({}); {}", known.join(","), self.remedy()),
            index,
            ..Failure::default()
        };
        Some(refused(failure))
    }

    /// A refusal of `/v2/keys` with a cause that says what to do.
    async fn explained(&self, below: &str, answer: Response, why: &str) -> Response {
        let told = Told::of(answer).await;
        let cause = format!("{}: {why}", self.path(below));
        let body = encoded(&Failure { cause, ..told.failure() });
        let mut response = json(told.status, body);
        response.headers_mut().extend(told.headers);
        response
    }

    fn unknown(&self) -> String {
        let base = &self.base;
        format!("no such token in this cluster; take a new one: curl -X PUT '{base}/new?size={SIZE_DEFAULT}'")
    }

    fn registered(&self) -> String {
        format!("a member of this name and these URLs has registered before; {}", self.remedy())
    }

    fn remedy(&self) -> String {
        format!(
            "a token founds one cluster: to add or replace a member, `etcdctl member add` at the cluster that runs and start with \
             --initial-cluster-state existing; for a new cluster, take a new token: curl -X PUT '{}/new?size={SIZE_DEFAULT}'",
            self.base
        )
    }
}

/// An answer of `/v2/keys`, whole.
struct Told {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Told {
    async fn of(response: Response) -> Self {
        let (head, body) = response.into_parts();
        let body = body::read(body, DISCOVERY_ANSWER_BYTES_MAX).await.unwrap_or_default().to_vec();
        let mut headers = head.headers;
        headers.remove(header::CONTENT_LENGTH);
        Self { status: head.status, headers, body }
    }

    /// `None`: it is a bad one.
    fn answer(&self) -> Option<Answer> {
        self.status.is_success().then(|| serde_json::from_slice(&self.body).ok())?
    }

    fn failure(&self) -> Failure {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    fn index(&self) -> u64 {
        self.headers.get("x-etcd-index").and_then(|index| index.to_str().ok()?.parse().ok()).unwrap_or_default()
    }
}

fn refused(failure: Failure) -> Response {
    let (message, code) = status::v2(failure.error_code);
    let index = HeaderValue::from(failure.index);
    let mut response = json(code, encoded(&Failure { message: message.to_owned(), ..failure }));
    response.headers_mut().insert("x-etcd-index", index);
    response
}

/// `http://HOST:PORT` as the asker wrote it.
fn base(request: &Request<Body>) -> Option<String> {
    let named = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()?.parse::<Authority>().ok());
    let authority = request.uri().authority().cloned().or(named)?;
    Some(format!("http://{authority}"))
}

fn credentials(headers: &HeaderMap) -> HeaderMap {
    headers.get(header::AUTHORIZATION).map(|value| (header::AUTHORIZATION, value.clone())).into_iter().collect()
}

/// How many members the asker wants.
async fn size(request: Request<Body>) -> Result<u64, String> {
    let (head, body) = request.into_parts();
    let bytes = match takes_body(&head.method) {
        true => body::read(body, DISCOVERY_FORM_BYTES_MAX).await.map_err(|error: BodyError| error.to_string())?,
        false => bytes::Bytes::new(),
    };
    let kind = head.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let form = Form::parse(&head.method, head.uri.query().unwrap_or_default(), kind, &bytes)?;
    let size = form.get("size").filter(|size| !size.is_empty()).unwrap_or(SIZE_DEFAULT);
    match size.parse::<i64>() {
        Ok(number) if number > 0 => Ok(number.unsigned_abs()),
        Ok(_) => {
            Err(format!("size is {size}: write how many members the cluster begins with, for example /new?size=3"))
        }
        Err(_) => Err(format!("strconv.Atoi: parsing {size:?}: invalid syntax")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::api::test_store::{Talk, house};

    const TOKEN: &str = "00000000000010000000000000001001";

    fn body(answer: &str) -> &str {
        answer.split_once("\r\n\r\n").unwrap().1.trim_end()
    }

    #[test]
    fn only_what_looks_like_a_token_is_taken() {
        let upper = format!("/{}", "A".repeat(32));
        let long = format!("/{}", "a".repeat(33));
        for path in ["/", "/news", "/new/", "/version", "/v2/keys", upper.as_str(), long.as_str()] {
            assert_eq!(Asked::of(path), None, "{path}");
        }
        let (bare, member) = (format!("/{TOKEN}"), format!("/{TOKEN}/m"));
        assert_eq!(Asked::of("/new"), Some(Asked::New));
        assert_eq!(Asked::of(&bare), Some(Asked::Token(TOKEN, "")));
        assert_eq!(Asked::of(&member), Some(Asked::Token(TOKEN, "m")));
    }

    #[tokio::test]
    async fn a_token_is_made_filled_and_full() {
        let house = house().await;
        let (code, answer) = house.ask("PUT", "/new?size=2", "").await;
        assert_eq!(code, 200, "{answer}");
        let url = body(&answer);
        let token = url.strip_prefix("http://h/").unwrap();
        assert_eq!(token.len(), TOKEN_DIGITS);
        let cases = [
            ("GET", "/_config/size", "", 200, r#""value":"2""#),
            ("GET", "", "", 200, r#"{"action":"get","node":{"key":"/_etcd/registry/"#),
            ("PUT", "/a1?prevExist=false", "value=a=http://a:1", 201, r#""action":"create""#),
            (
                "PUT",
                "/a1?prevExist=false",
                "value=a=http://a:1",
                412,
                "has registered before; a token founds one cluster",
            ),
            ("PUT", "/_state?prevExist=false", "value=started", 201, r#""action":"create""#),
            ("PUT", "/b1?prevExist=false", "value=b=http://b:1", 201, r#""action":"create""#),
            ("PUT", "/c1?prevExist=false", "value=c=http://c:1", 403, r#"{"errorCode":103,"#),
            (
                "PUT",
                "/c1?prevExist=false",
                "value=c=http://c:1",
                403,
                "its 2 members (a=http://a:1,b=http://b:1); a token",
            ),
            ("PUT", "/c1", "value=c=http://c:1", 403, "curl -X PUT 'http://h/new?size=3'"),
            ("PUT", "/b1", "value=b=http://b:2", 200, r#""action":"set""#),
            ("GET", "/b1", "", 200, r#""value":"b=http://b:2""#),
            ("DELETE", "/a1", "", 200, r#""action":"delete""#),
            ("GET", "/a1", "", 404, r#""errorCode":100"#),
            ("PUT", "/_config/size", "value=9", 405, "Method Not Allowed"),
            ("POST", "", "value=9", 405, "Method Not Allowed"),
            ("GET", "/a/b", "", 404, "404 page not found"),
        ];
        for (method, below, form, code, expected) in cases {
            let found = house.ask(method, &format!("/{token}{below}"), form).await;
            assert!(found.0 == code && found.1.contains(expected), "{method} {below}: {found:?}");
        }
        let (code, answer) = house.ask("GET", &format!("/v2/keys/_etcd/registry/{token}"), "").await;
        assert!(code == 200 && answer.contains("/b1") && !answer.contains("_config"), "{answer}");
    }

    #[tokio::test]
    async fn what_is_not_there_or_makes_no_sense_is_told() {
        let house = house().await;
        let (code, answer) = house.ask("GET", &format!("/{TOKEN}/_config/size"), "").await;
        assert_eq!(code, 404);
        assert!(
            answer.to_lowercase().contains("x-etcd-index: ") && answer.contains("no such token in this cluster"),
            "{answer}"
        );
        let cases = [
            ("/new?size=x", "strconv.Atoi: parsing \"x\": invalid syntax"),
            ("/new?size=0", "size is 0: write how many"),
            ("/new?size=-3", "size is -3"),
        ];
        for (target, expected) in cases {
            let (code, answer) = house.ask("GET", target, "").await;
            assert!(code == 400 && answer.contains(expected), "{target}: {answer}");
        }
        assert_eq!(house.ask("DELETE", "/new", "").await.0, 405);
        // A size that a form gives, and none.
        for (form, expected) in [("size=5", "\"value\":\"5\""), ("", "\"value\":\"3\"")] {
            let (_, answer) = house.ask("PUT", "/new", form).await;
            let size = format!("{}/_config/size", body(&answer).strip_prefix("http://h").unwrap());
            assert!(house.ask("GET", &size, "").await.1.contains(expected));
        }
    }

    #[tokio::test]
    async fn who_waits_hears_each_registration_once() {
        let house = house().await;
        let (_, answer) = house.ask("GET", "/new?size=3", "").await;
        let token = body(&answer).strip_prefix("http://h").unwrap().to_owned();
        let mut waits = Talk::to(house.address).await;
        waits.say("GET", &format!("{token}?recursive=true&wait=true&stream=true"), "").await;
        waits.hear("200 OK").await;
        for member in ["a", "b"] {
            house.ask("PUT", &format!("{token}/{member}?prevExist=false"), &format!("value={member}")).await;
            waits.hear(&format!("\"value\":\"{member}\"")).await;
        }
        assert_eq!(waits.heard.matches("\"action\":\"create\"").count(), 2, "{}", waits.heard);
    }
}
