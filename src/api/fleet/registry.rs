//! `/v2/keys/_coreos.com/fleet`: the cluster as scripts read it from fleet's keys in etcd. It is shown and never written: what
//! is to change goes by fleet's API, which checks it.
//!
//! Indexes are revisions of the cluster's own state, which is no part of clients' keys.

use std::collections::BTreeMap;

use axum::extract::Request;
use axum::response::Response;
use hyper::{Method, StatusCode};

use super::Api;
use crate::api::http::{decode, encoded, json, method_not_allowed};
use crate::api::status;
use crate::api::v2::form::Form;
use crate::api::v2::keys::{KEYS, METHODS, failed, mark};
use crate::api::v2::render;
use crate::api::v2::request::{self, Asked};
use crate::fleet::registry::{Entry, PREFIX, registry};
use crate::kv::Position;
use crate::kv::v2::{Action, Answer, Failure, Node};

const WRITTEN: &str = "what is below /_coreos.com/fleet is shown and cannot be written; use fleetctl, or /fleet/v1";
const WATCHED: &str = "what is below /_coreos.com/fleet is shown and cannot be waited for; use GET /fleet/v1/watch";

/// The paths, in the router's notation.
pub(super) fn paths() -> [String; 3] {
    ["", "/", "/{*rest}"].map(|rest| format!("{KEYS}{PREFIX}{rest}"))
}

impl Api {
    /// Any request for these keys.
    pub(super) async fn registry(&self, request: Request) -> Response {
        match *request.method() {
            Method::GET | Method::HEAD => {
                let asked = understand(&request);
                drop(request);
                match asked {
                    Ok((path, recursive)) => self.show(path, recursive).await.unwrap_or_else(failed),
                    Err(failure) => failed(failure),
                }
            }
            Method::PUT | Method::POST | Method::DELETE => failed(bad(status::V2_READ_ONLY, WRITTEN)),
            _ => method_not_allowed(METHODS),
        }
    }

    async fn show(&self, path: String, recursive: bool) -> Result<Response, Failure> {
        let leader = self.store.status().leader;
        let read = self.view.read(|cluster| (registry(cluster, leader), cluster.revision)).await;
        let (keys, revision) = read.map_err(|error| bad(status::v2_failed(&error), error.to_string()))?;
        let index = revision.unsigned_abs();
        let node = node(&keys, path.strip_prefix(PREFIX).unwrap_or_default(), true, recursive);
        let node = node.ok_or(Failure { code: status::V2_NOT_FOUND, cause: path, index })?;
        let answer = Answer { action: Action::Get, node, prev_node: None, refresh: false };
        let mut response = json(StatusCode::OK, encoded(&render::answer(answer)));
        mark(response.headers_mut(), &Position { v2_index: index, ..self.store.position() });
        Ok(response)
    }
}

/// The path that is to be shown, and whether with all that is below it.
fn understand(request: &Request) -> Result<(String, bool), Failure> {
    let query = request.uri().query().unwrap_or_default();
    let form = Form::parse(request.method(), query, None, &[]).map_err(|cause| bad(status::V2_INVALID_FORM, cause))?;
    let path = decode(request.uri().path()).unwrap_or_default();
    let path = path.strip_prefix(KEYS).unwrap_or_default().trim_end_matches('/');
    match request::parse(request.method(), path, &form) {
        Ok(Asked::Get { recursive, .. }) => Ok((path.to_owned(), recursive)),
        Ok(_) => Err(bad(status::V2_INVALID_FORM, WATCHED)),
        Err(error) => Err(bad(error.code, error.cause)),
    }
}

fn bad(code: u16, cause: impl Into<String>) -> Failure {
    Failure { code, cause: cause.into(), index: 0 }
}

/// The node of a path below the prefix, with what is in it if `open`, and with all below that if `recursive`.
fn node(keys: &BTreeMap<String, Entry>, path: &str, open: bool, recursive: bool) -> Option<Node> {
    let told = |entry: &Entry, node: Node| {
        let index = entry.revision.unsigned_abs();
        Node { path: format!("{PREFIX}{path}"), created_index: index, modified_index: index, ..node }
    };
    if let Some(entry) = keys.get(path) {
        return Some(told(entry, Node { value: Some(entry.value.clone().into()), ..Node::default() }));
    }
    let inside = format!("{path}/");
    let below = || keys.range(inside.clone()..).take_while(|(key, _)| key.starts_with(&inside));
    let oldest = below().map(|(_, entry)| entry).min_by_key(|entry| entry.revision)?;
    let mut nodes = Vec::new();
    if open {
        let name = |key: &str| key[inside.len()..].split('/').next().map(|name| format!("{inside}{name}"));
        let mut names: Vec<String> = below().filter_map(|(key, _)| name(key)).collect();
        names.dedup();
        nodes = names.iter().filter_map(|name| node(keys, name, recursive, recursive)).collect();
    }
    Some(told(oldest, Node { dir: true, nodes, ..Node::default() }))
}
