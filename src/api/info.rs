//! `/version`, `/health`, `/livez`, `/readyz` and `/metrics`.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, any};
use bytes::Bytes;
use hyper::{Method, StatusCode, header};

use super::http::{json, method_not_allowed};
use super::{Shared, version};
use crate::kv::{Consistency, RangeRequest};

/// The paths of this file.
pub(super) fn routes(shared: &Arc<Shared>) -> Router {
    Router::new()
        .route("/version", gets(shared, async |_, _| told_version()))
        .route("/health", gets(shared, async |shared, query| health(&shared, &query).await))
        .route("/livez", gets(shared, async |_, _| (StatusCode::OK, "ok\n").into_response()))
        .route("/readyz", gets(shared, async |shared, _| ready(&shared).await))
        .route("/metrics", gets(shared, async |shared, _| metrics(&shared)))
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
    let probe = RangeRequest { key: Bytes::from_static(b"health"), count_only: true, ..RangeRequest::default() };
    let read = shared.store.range(probe, consistency).await;
    read.err().map(|error| error.to_string())
}

async fn health(shared: &Shared, query: &str) -> Response {
    let local = query.split('&').any(|part| part == "serializable=true");
    let consistency = if local { Consistency::Serializable } else { Consistency::Linearizable };
    let (code, well, reason) = match ailment(shared, consistency).await {
        None => (StatusCode::OK, "true", String::new()),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, "false", reason),
    };
    let reason = serde_json::Value::from(reason);
    json(code, format!("{{\"health\":\"{well}\",\"reason\":{reason}}}"))
}

async fn ready(shared: &Shared) -> Response {
    match ailment(shared, Consistency::Linearizable).await {
        None => (StatusCode::OK, "ok\n").into_response(),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

/// Prometheus text under etcd's metric names.
fn metrics(shared: &Shared) -> Response {
    let status = shared.store.status();
    let leader = status.leader.is_some();
    let leads = status.leader == Some(status.member);
    let silent = status.peers.iter().filter(|peer| peer.silent.is_some()).count();
    let gauges: [(&str, &str, u64); 8] = [
        ("etcd_server_has_leader", "Whether a leader is known.", leader.into()),
        ("etcd_server_is_leader", "Whether this member leads.", leads.into()),
        ("etcd_server_is_learner", "Whether this member is a learner.", status.learner.into()),
        ("etcd_server_proposals_applied_total", "Log entries applied.", status.raft_applied),
        (
            "etcd_debugging_mvcc_current_revision",
            "Newest revision of the keys.",
            u64::try_from(status.position.revision).unwrap_or(0),
        ),
        ("etcd_mvcc_db_total_size_in_bytes", "Size of the state file.", status.db_bytes),
        ("etcd_mvcc_db_total_size_in_use_in_bytes", "What of the state file is in use.", status.db_bytes_in_use),
        ("corenode_peers_silent", "Peers that do not answer.", silent as u64),
    ];
    let mut text = String::new();
    for (name, help, value) in gauges {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}");
    }
    let kind = (header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8");
    ([kind], text).into_response()
}
