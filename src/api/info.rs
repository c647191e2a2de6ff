//! `/version`, `/health`, `/livez` and `/readyz`.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, any};
use bytes::Bytes;
use hyper::{Method, StatusCode};

use super::http::{json, method_not_allowed};
use super::{Shared, metrics, version};
use crate::kv::{AlarmKind, Consistency, RangeRequest};

/// The paths of this file.
pub(super) fn routes(shared: &Arc<Shared>) -> Router {
    let mut router = Router::new();
    for (path, checks) in [("/livez", LIVE), ("/readyz", READY)] {
        let all = gets(shared, async move |shared, query| checked(&shared, checks, &query).await);
        router = router.route(path, all);
        for check in checks {
            let one =
                gets(shared, async move |shared, query| checked(&shared, std::slice::from_ref(check), &query).await);
            router = router.route(&format!("{path}/{}", check.name()), one);
        }
    }
    router
        .route("/version", gets(shared, async |_, _| told_version()))
        .route("/health", gets(shared, async |shared, query| health(&shared, &query).await))
        .route("/metrics", gets(shared, async |shared, _| metrics::answer(&shared)))
}

/// A route for GET (and HEAD) only; the handler gets the query too.
fn gets<F, R>(shared: &Arc<Shared>, handler: F) -> MethodRouter
where
    F: Fn(Arc<Shared>, String) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = Response> + Send,
{
    let shared = shared.clone();
    any(move |request: Request| {
        let (handler, shared) = (handler.clone(), shared.clone());
        async move {
            if !matches!(*request.method(), Method::GET | Method::HEAD) {
                return method_not_allowed("GET");
            }
            let query = request.uri().query().unwrap_or_default().to_owned();
            handler(shared, query).await
        }
    })
}

fn told_version() -> Response {
    let body = format!("{{\"etcdserver\":\"{}\",\"etcdcluster\":\"{}\"}}", version::ETCD_SERVER, version::ETCD_CLUSTER);
    json(StatusCode::OK, body)
}

/// Why this node cannot serve, if it cannot: a read through a quorum (or of its own state) is tried.
async fn ailment(shared: &Shared, consistency: Consistency) -> Option<String> {
    if shared.store.status().leader.is_none() {
        return Some("RAFT NO LEADER".to_owned());
    }
    unreadable(shared, consistency).await
}

/// Why a read fails, if it does.
async fn unreadable(shared: &Shared, consistency: Consistency) -> Option<String> {
    let probe = RangeRequest { key: Bytes::from_static(b"health"), count_only: true, ..RangeRequest::default() };
    let read = shared.store.range(probe, consistency).await;
    read.err().map(|error| error.to_string())
}

/// An alarm that is raised and not `excluded`, in etcd's words.
fn alarm(shared: &Shared, excluded: impl Fn(&str) -> bool) -> Option<String> {
    let alarms = shared.store.status().alarms;
    let mut names = alarms.iter().map(|alarm| match alarm.kind {
        AlarmKind::NoSpace => "NOSPACE",
        AlarmKind::Corrupt => "CORRUPT",
    });
    names.find(|name| !excluded(name)).map(|name| format!("ALARM {name}"))
}

async fn health(shared: &Shared, query: &str) -> Response {
    let local = query.split('&').any(|part| part == "serializable=true");
    let consistency = if local { Consistency::Serializable } else { Consistency::Linearizable };
    let excluded = |name: &str| query.split('&').any(|part| part.strip_prefix("exclude=") == Some(name));
    let alarm = alarm(shared, excluded);
    let ailment = match alarm {
        Some(alarm) => Some(alarm),
        None => ailment(shared, consistency).await,
    };
    let (code, well, reason) = match ailment {
        None => (StatusCode::OK, "true", String::new()),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, "false", reason),
    };
    let reason = serde_json::Value::from(reason);
    json(code, format!("{{\"health\":\"{well}\",\"reason\":{reason}}}"))
}

/// What `/livez` and `/readyz` look at, under etcd's names.
#[derive(Clone, Copy)]
enum Check {
    SerializableRead,
    LinearizableRead,
    /// Data whose checksum does not fit is never served, so this one cannot fail while the rest does not.
    DataCorruption,
    NonLearner,
}

const LIVE: &[Check] = &[Check::SerializableRead];
const READY: &[Check] = &[Check::DataCorruption, Check::SerializableRead, Check::LinearizableRead, Check::NonLearner];

impl Check {
    fn name(self) -> &'static str {
        match self {
            Check::SerializableRead => "serializable_read",
            Check::LinearizableRead => "linearizable_read",
            Check::DataCorruption => "data_corruption",
            Check::NonLearner => "non_learner",
        }
    }

    /// Why it fails, if it does.
    async fn failure(self, shared: &Shared) -> Option<String> {
        match self {
            Check::SerializableRead => unreadable(shared, Consistency::Serializable).await,
            Check::LinearizableRead => ailment(shared, Consistency::Linearizable).await,
            Check::DataCorruption => None,
            Check::NonLearner => shared.store.status().learner.then(|| "not supported for learner".to_owned()),
        }
    }
}

/// All checks but those that `exclude=` names; a line each where one fails or `verbose` is asked for.
async fn checked(shared: &Shared, checks: &[Check], query: &str) -> Response {
    let mut lines = String::new();
    let mut well = true;
    for check in checks {
        let name = check.name();
        if query.split('&').any(|part| part.strip_prefix("exclude=") == Some(name)) {
            let _ = writeln!(lines, "[+]{name} excluded: ok");
            continue;
        }
        match check.failure(shared).await {
            None => {
                let _ = writeln!(lines, "[+]{name} ok");
            }
            Some(reason) => {
                well = false;
                let _ = writeln!(lines, "[-]{name} failed: {reason}");
            }
        }
    }
    let verbose = query.split('&').any(|part| part.split('=').next() == Some("verbose"));
    match (well, verbose) {
        (false, _) => (StatusCode::SERVICE_UNAVAILABLE, lines).into_response(),
        (true, true) => (StatusCode::OK, format!("{lines}ok\n")).into_response(),
        (true, false) => (StatusCode::OK, "ok\n").into_response(),
    }
}
