//! `/v2/keys`.

use std::sync::Arc;

use axum::extract::Request;
use axum::response::Response;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, StatusCode};

use super::form::{self, Form};
use super::render;
use super::request::{self, Asked};
use super::stats::Stats;
use super::{INDEX, RAFT_INDEX, RAFT_TERM, watch};
use crate::api::body::{self, BodyError};
use crate::api::http::{decode, encoded, json, method_not_allowed};
use crate::api::users::{Credentials, reading};
use crate::api::{Shared, status};
use crate::base::limits::REQUEST_BYTES_MAX;
use crate::kv::auth::{self, Auth, AuthError};
use crate::kv::v2::{Action, Failure, GetRequest, Outcome, WriteRequest};
use crate::kv::{Consistency, KvError, Op, Position, Reply, StoreError, V2Action};
use crate::wire::v2 as wire;

/// Where the keys are.
pub(in crate::api) const KEYS: &str = "/v2/keys";
/// What etcd says to those who may not, and to those who do not say who they are.
pub(super) const INSUFFICIENT: &str = "Insufficient credentials";
/// What may be asked of them.
pub(in crate::api) const METHODS: &str = "HEAD,GET,PUT,POST,DELETE";
/// Percent escapes make a value three times longer.
const BODY_BYTES_MAX: usize = 3 * REQUEST_BYTES_MAX + 4096;

/// The handler.
#[derive(Clone)]
pub struct Keys {
    pub(super) shared: Arc<Shared>,
    pub(super) stats: Arc<Stats>,
}

impl Keys {
    pub fn new(shared: &Arc<Shared>, stats: &Arc<Stats>) -> Self {
        Self { shared: shared.clone(), stats: stats.clone() }
    }

    pub async fn answer(&self, request: Request) -> Response {
        let known =
            matches!(*request.method(), Method::HEAD | Method::GET | Method::PUT | Method::POST | Method::DELETE);
        if !known {
            return method_not_allowed(METHODS);
        }
        let who = Credentials::of_v2(&request);
        let response = match self.understand(request).await {
            Ok((path, asked)) => self.obey(&who, path, asked).await,
            Err(failure) => failed(failure),
        };
        self.shared.name_cluster(response)
    }

    async fn understand(&self, request: Request) -> Result<(String, Asked), Failure> {
        let (parts, body) = request.into_parts();
        let bad = |code, cause| Failure { code, cause, index: 0 };
        let invalid = |cause| bad(status::V2_INVALID_FORM, cause);
        let path = decode(parts.uri.path())
            .and_then(|path| path.strip_prefix(KEYS).map(key_path))
            .ok_or_else(|| invalid("incorrect key prefix".to_owned()))?;
        let bytes = if form::takes_body(&parts.method) {
            body::read(body, BODY_BYTES_MAX).await
        } else {
            Ok(bytes::Bytes::new())
        };
        let bytes = bytes.map_err(|error| match error {
            BodyError::TooLarge(_) => invalid("http: POST too large".to_owned()),
            other => invalid(other.to_string()),
        })?;
        let kind = parts.headers.get(header::CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok());
        let query = parts.uri.query().unwrap_or_default();
        let form = Form::parse(&parts.method, query, kind, &bytes).map_err(invalid)?;
        let asked = request::parse(&parts.method, &path, &form);
        asked.map(|asked| (path, asked)).map_err(|error| bad(error.code, error.cause))
    }

    async fn obey(&self, who: &Credentials, path: String, asked: Asked) -> Response {
        match asked {
            Asked::Get { recursive, sorted, quorum } => {
                let now = self.shared.clock.now();
                let request = GetRequest { path, recursive, sorted, now };
                self.get(who, request, quorum).await
            }
            Asked::Watch { recursive, stream, since } => {
                let asked = watch::Watched { path, recursive, stream, since };
                watch::open(self, who, asked).await
            }
            Asked::Write { request, no_value_on_success } => self.write(who, request, no_value_on_success).await,
        }
    }

    async fn get(&self, who: &Credentials, request: GetRequest, quorum: bool) -> Response {
        let consistency = if quorum { Consistency::Linearizable } else { Consistency::Serializable };
        let path = request.path.clone();
        let some =
            |auth: &Auth, user: &str| reads(&path, false)(auth, user).or_else(|_| reads(&path, true)(auth, user));
        let read = |consistency| self.shared.store.v2_get(request, consistency);
        match self.shared.read_as(who, consistency, &some, read).await {
            Ok((position, outcome)) => {
                // Only the answer tells whether it shows one key or all below it.
                if let Ok(answer) = &outcome
                    && let Err(error) = self.shared.check(who, &reads(&path, answer.node.dir)).await
                {
                    return self.broken(&error);
                }
                self.stats.count_get(&outcome);
                self.told(&position, outcome, false)
            }
            Err(error) => self.broken(&error),
        }
    }

    async fn write(&self, who: &Credentials, request: WriteRequest, no_value_on_success: bool) -> Response {
        if size(&request) > REQUEST_BYTES_MAX {
            return self.broken(&StoreError::Refused(KvError::RequestTooLarge));
        }
        let applied = match self.shared.write_as(who, Op::V2(request.clone())).await {
            Ok(applied) => applied,
            Err(error) => return self.broken(&error),
        };
        match applied.result {
            Ok(Reply::V2(mut outcome)) => {
                if let Ok(answer) = &mut outcome
                    && let Some(prev) = &mut answer.prev_node
                    && self.shared.check(who, &reads(&request.path, prev.dir)).await.is_err()
                {
                    // Who may write is not shown for it what was there.
                    (prev.value, prev.nodes) = (None, Vec::new());
                }
                self.told(&applied.position, outcome, no_value_on_success)
            }
            Ok(_) => failed(Failure {
                code: 300,
                cause: status::wrong_reply().message().to_owned(),
                index: applied.position.v2_index,
            }),
            Err(refusal) => self.broken(&StoreError::Refused(refusal)),
        }
    }

    fn told(&self, position: &Position, outcome: Outcome, no_value_on_success: bool) -> Response {
        let answer = match outcome {
            Ok(answer) => answer,
            Err(failure) => return failed(failure),
        };
        let code = if render::is_creation(&answer) { StatusCode::CREATED } else { StatusCode::OK };
        let bare = no_value_on_success && sets_value(answer.action);
        let mut body = render::answer(answer);
        if bare {
            (body.node, body.prev_node) = (None, None);
        }
        let mut response = json(code, encoded(&body));
        mark(response.headers_mut(), position);
        response
    }

    /// The store did not answer.
    pub(super) fn broken(&self, error: &StoreError) -> Response {
        let cause = match error {
            StoreError::Refused(KvError::Auth(_)) => INSUFFICIENT.to_owned(),
            other => other.to_string(),
        };
        failed(Failure { code: status::v2_failed(error), cause, index: 0 })
    }
}

/// Reading a path, which may be a directory.
pub(super) fn reads(path: &str, dir: bool) -> impl Fn(&Auth, &str) -> Result<(), AuthError> + Send + Sync {
    let (key, range_end) = auth::v2_reads(path, dir);
    reading(key, range_end)
}

/// What remains behind the prefix, as the name of a node.
fn key_path(rest: &str) -> String {
    let trimmed = rest.trim_end_matches('/');
    if trimmed.is_empty() { "/".to_owned() } else { trimmed.to_owned() }
}

fn size(request: &WriteRequest) -> usize {
    use crate::kv::v2::Write;
    let value = match &request.write {
        Write::Set { value, .. }
        | Write::Create { value, .. }
        | Write::Update { value, .. }
        | Write::CompareAndSwap { value, .. }
        | Write::CreateInOrder { value, .. } => value.len(),
        Write::Delete { .. } | Write::CompareAndDelete { .. } => 0,
    };
    request.path.len() + value
}

fn sets_value(action: Action) -> bool {
    use V2Action::{CompareAndSwap, Create, Set, Update};
    matches!(action, Action::Change(Set | Create | Update | CompareAndSwap))
}

/// Where the store stood, in etcd's headers.
pub(in crate::api) fn mark(headers: &mut HeaderMap, position: &Position) {
    set(headers, INDEX, position.v2_index);
    set(headers, RAFT_INDEX, position.raft_index);
    set(headers, RAFT_TERM, position.raft_term);
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: u64) {
    headers.insert(name, HeaderValue::from(value));
}

/// A bad answer, without what etcd tells of Raft.
pub(in crate::api) fn failed(failure: Failure) -> Response {
    let (message, code) = status::v2(failure.code);
    let body = wire::Failure {
        error_code: failure.code,
        message: message.to_owned(),
        cause: failure.cause,
        index: failure.index,
    };
    let mut response = json(code, encoded(&body));
    set(response.headers_mut(), INDEX, failure.index);
    response
}
