//! `/v2/members` and `/v2/machines`.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use hyper::{Method, StatusCode};

use crate::api::http::{encoded, json, method_not_allowed};
use crate::api::{Shared, status};
use crate::kv::{Member, StoreError};
use crate::wire::v2 as wire;

pub fn routes(shared: &Arc<Shared>) -> Router {
    let members = {
        let shared = shared.clone();
        any(async move |request: Request| {
            let response = answer(&shared, request).await;
            shared.name_cluster(response)
        })
    };
    let machines = {
        let shared = shared.clone();
        any(async move |request: Request| machines(&shared, request).await)
    };
    Router::new()
        .route("/v2/members", members.clone())
        .route("/v2/members/", members.clone())
        .route("/v2/members/{id}", members)
        .route("/v2/machines", machines)
}

async fn answer(shared: &Shared, request: Request) -> Response {
    let path = request.uri().path().trim_end_matches('/');
    let named = path.strip_prefix("/v2/members/");
    match (request.method(), named) {
        (&Method::GET | &Method::HEAD, None) => match shared.store.members().await {
            Ok(members) => {
                let members = members.into_iter().map(member).collect();
                json(StatusCode::OK, encoded(&wire::Members { members }))
            }
            Err(error) => failed(&error),
        },
        (&Method::GET | &Method::HEAD, Some("leader")) => leader(shared).await,
        (&Method::GET | &Method::HEAD, Some(_)) => message(StatusCode::NOT_FOUND, "Not found"),
        (&Method::POST, None) | (&Method::PUT | &Method::DELETE, Some(_)) => {
            message(StatusCode::NOT_IMPLEMENTED, "not supported: the members are those of the configuration")
        }
        (&Method::PUT | &Method::DELETE, None) => method_not_allowed(""),
        _ => method_not_allowed("HEAD,GET,POST,PUT,DELETE"),
    }
}

async fn leader(shared: &Shared) -> Response {
    let Some(leader) = shared.store.status().leader else {
        return message(StatusCode::SERVICE_UNAVAILABLE, "During election");
    };
    match shared.store.members().await {
        Ok(members) => match members.into_iter().find(|member| member.id == leader) {
            Some(leader) => json(StatusCode::OK, encoded(&member(leader))),
            None => message(StatusCode::SERVICE_UNAVAILABLE, "During election"),
        },
        Err(error) => failed(&error),
    }
}

/// The addresses where clients are served, in the way of etcd 0.4.
async fn machines(shared: &Shared, request: Request) -> Response {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return method_not_allowed("GET,HEAD");
    }
    match shared.store.members().await {
        Ok(members) => {
            let mut urls: Vec<String> = members.into_iter().flat_map(|m| m.client_urls).collect();
            urls.sort();
            urls.join(", ").into_response()
        }
        Err(error) => failed(&error),
    }
}

fn member(member: Member) -> wire::Member {
    wire::Member {
        id: member.id.to_string(),
        name: member.name,
        peer_urls: member.peer_urls,
        client_urls: member.client_urls,
    }
}

fn failed(error: &StoreError) -> Response {
    let (_, code) = status::v2(status::v2_failed(error));
    message(code, &error.to_string())
}

/// A bad answer outside of the keys. etcd writes it without a newline.
pub(super) fn message(code: StatusCode, text: &str) -> Response {
    let mut body = encoded(&wire::Message { message: text.to_owned() });
    body.pop();
    json(code, body)
}
