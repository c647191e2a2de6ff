//! `/v2/members` and `/v2/machines`.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use hyper::{Method, StatusCode};

use super::keys::INSUFFICIENT;
use crate::api::http::{encoded, json, method_not_allowed};
use crate::api::users::{Credentials, administrator};
use crate::api::{Shared, status};
use crate::base::MemberId;
use crate::kv::{Member, MemberChange, MemberRefusal, StoreError};
use crate::wire::v2 as wire;

/// Largest body of a request that names a member's URLs.
const MEMBER_BODY_BYTES_MAX: usize = 64 << 10;

pub fn routes(shared: &Arc<Shared>) -> Router {
    let members = {
        let shared = shared.clone();
        any(async move |request: Request| answer(&shared, request).await)
    };
    let machines = {
        let shared = shared.clone();
        any(async move |request: Request| machines(&shared, request).await)
    };
    Router::new()
        .route("/v2/members", members.clone())
        .route("/v2/members/", members.clone())
        .route("/v2/members/{*id}", members)
        .route("/v2/machines", machines)
}

async fn answer(shared: &Shared, request: Request) -> Response {
    if !matches!(*request.method(), Method::GET | Method::POST | Method::DELETE | Method::PUT) {
        return method_not_allowed("GET,POST,DELETE,PUT");
    }
    if *request.method() != Method::GET {
        let who = Credentials::of_v2(&request);
        if shared.check(&who, &administrator).await.is_err() {
            return message(StatusCode::UNAUTHORIZED, INSUFFICIENT);
        }
    }
    shared.name_cluster(carry_out(shared, request).await)
}

async fn carry_out(shared: &Shared, request: Request) -> Response {
    let path = request.uri().path().trim_end_matches('/');
    let named = path.strip_prefix("/v2/members/");
    match (request.method(), named) {
        (&Method::GET, None) => match shared.store.members().await {
            Ok(members) => {
                let members = members.into_iter().map(member).collect();
                json(StatusCode::OK, encoded(&wire::Members { members }))
            }
            Err(error) => failed(&error),
        },
        (&Method::GET, Some("leader")) => leader(shared).await,
        (&Method::GET, Some(_)) => message(StatusCode::NOT_FOUND, "Not found"),
        (&Method::PUT, Some(id)) => {
            let id = id.to_owned();
            update(shared, &id, request).await
        }
        (&Method::DELETE, Some(id)) => remove(shared, id).await,
        (&Method::PUT | &Method::DELETE, None) => method_not_allowed(""),
        // As in etcd: what is behind the path of the members is of no account here.
        _ => add(shared, request).await,
    }
}

/// The peer URLs in the body of a request.
async fn peer_urls(request: Request) -> Result<Vec<String>, Response> {
    let kind = request.headers().get(hyper::header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if kind != "application/json" {
        let why = format!("Bad Content-Type {kind}, accept application/json");
        return Err(message(StatusCode::UNSUPPORTED_MEDIA_TYPE, &why));
    }
    let bad = |why: String| message(StatusCode::BAD_REQUEST, &why);
    let body = axum::body::to_bytes(request.into_body(), MEMBER_BODY_BYTES_MAX).await;
    let body = body.map_err(|error| bad(error.to_string()))?;
    let wanted: wire::MemberRequest = serde_json::from_slice(&body).map_err(|error| bad(error.to_string()))?;
    Ok(wanted.peer_urls)
}

async fn add(shared: &Shared, request: Request) -> Response {
    let peer_urls = match peer_urls(request).await {
        Ok(urls) => urls,
        Err(response) => return response,
    };
    match shared.store.change_members(MemberChange::Add { peer_urls, learner: false }).await {
        Ok(changed) => match changed.members.into_iter().find(|member| member.id == changed.id) {
            Some(added) => json(StatusCode::CREATED, encoded(&member(added))),
            None => message(StatusCode::INTERNAL_SERVER_ERROR, "the new member is not among the members"),
        },
        Err(error) => refused(&error, ""),
    }
}

async fn update(shared: &Shared, text: &str, request: Request) -> Response {
    let Some(id) = id(text) else { return message(StatusCode::NOT_FOUND, &format!("No such member: {text}")) };
    let peer_urls = match peer_urls(request).await {
        Ok(urls) => urls,
        Err(response) => return response,
    };
    match shared.store.change_members(MemberChange::Update { id, peer_urls }).await {
        Ok(_) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => refused(&error, text),
    }
}

async fn remove(shared: &Shared, text: &str) -> Response {
    let Some(id) = id(text) else { return message(StatusCode::NOT_FOUND, &format!("No such member: {text}")) };
    match shared.store.change_members(MemberChange::Remove { id }).await {
        Ok(_) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => refused(&error, text),
    }
}

fn id(text: &str) -> Option<MemberId> {
    u64::from_str_radix(text, 16).ok().map(MemberId)
}

/// A change that was not carried out, in the words of etcd's v2 API.
fn refused(error: &StoreError, id: &str) -> Response {
    match error {
        StoreError::Member(MemberRefusal::NotFound) => message(StatusCode::NOT_FOUND, &format!("No such member: {id}")),
        StoreError::Member(MemberRefusal::BadUrls) => message(StatusCode::BAD_REQUEST, &error.to_string()),
        StoreError::Member(MemberRefusal::IdTaken) => message(StatusCode::CONFLICT, "membership: ID exists"),
        StoreError::Member(MemberRefusal::UrlTaken) => message(StatusCode::CONFLICT, "membership: peerURL exists"),
        StoreError::Member(_) => message(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
        _ => failed(error),
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
