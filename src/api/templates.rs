//! `GET /templates/v1`: how every template resource on every machine is, as JSON: `{"templates": [STATUS…]}`, each a
//! [`Status`]. `?key=KEY` leaves those that read the key. While users are asked for, it is for who may read all keys.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use axum::routing::any;
use bytes::Bytes;

use hyper::{Method, StatusCode};
use serde_json::json;

use super::Shared;
use super::http::{encoded, json as answer_json, method_not_allowed, unescape};
use super::users::{Credentials, reading};
use crate::base::limits::TEMPLATE_READ_KEYS_MAX;
use crate::confd::{Status, status_prefix};
use crate::kv::{Consistency, RangeRequest, Space, StoreError, prefix_end};

/// The path of this file.
pub(super) fn routes(shared: &Arc<Shared>) -> Router {
    let shared = shared.clone();
    Router::new().route(
        "/templates/v1",
        any(move |request: Request| {
            let shared = shared.clone();
            // A body cannot be lent across threads, and there is none to read.
            let request = request.map(drop);
            async move { answer(&shared, &request).await }
        }),
    )
}

async fn answer(shared: &Shared, request: &hyper::Request<()>) -> Response {
    if *request.method() != Method::GET {
        return method_not_allowed("GET");
    }
    let refused = |status: StatusCode, error: String| answer_json(status, encoded(&json!({ "error": error })));
    let key = match key_of(request.uri().query().unwrap_or_default()) {
        Ok(key) => key,
        Err(error) => return refused(StatusCode::BAD_REQUEST, error),
    };
    match read(shared, &Credentials::of_http(request)).await {
        Ok(mut templates) => {
            if let Some(key) = key {
                templates.retain(|status| status.reads.iter().any(|read| read.touched_by(&key)));
            }
            answer_json(StatusCode::OK, encoded(&json!({ "templates": templates })))
        }
        Err(error @ StoreError::Refused(_)) => refused(StatusCode::FORBIDDEN, error.to_string()),
        Err(error) => refused(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
    }
}

fn key_of(query: &str) -> Result<Option<String>, String> {
    let found = query.split('&').find_map(|part| part.strip_prefix("key="));
    found.map(|text| unescape(text, true).map_err(|bad| format!("key: `{bad}` is no percent escape"))).transpose()
}

/// All of them, sorted by machine and name.
async fn read(shared: &Shared, who: &Credentials) -> Result<Vec<Status>, StoreError> {
    let (mut found, mut key) = (Vec::new(), Bytes::from_static(status_prefix()));
    loop {
        let needs = reading(Bytes::from_static(b"\0"), Bytes::from_static(b"\0"));
        let request = RangeRequest {
            space: Space::System,
            key: key.clone(),
            range_end: prefix_end(status_prefix()),
            limit: TEMPLATE_READ_KEYS_MAX,
            ..RangeRequest::default()
        };
        let range = |consistency| shared.store.range(request, consistency);
        let (_, reply) = shared.read_as(who, Consistency::Linearizable, &needs, range).await?;
        let last = reply.kvs.last().map(|kv| kv.key.clone());
        found.extend(reply.kvs.iter().filter_map(|kv| Status::decode(&kv.value)));
        match last.filter(|_| reply.more) {
            Some(last) => key = [&last[..], b"\0"].concat().into(),
            None => return Ok(found),
        }
    }
}
