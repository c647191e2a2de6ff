//! The JSON gateway: the v3 API as `POST /v3/…` (and `/v3beta`, `/v3alpha`), over the handlers of gRPC.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use axum::routing::MethodRouter;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use hyper::header::{self, HeaderValue};
use hyper::{Method, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tonic::Status;
use tonic::metadata::MetadataMap;

use super::{Answers, auth, cluster, election, kv, lease, lock, maintenance, watch};
use crate::api::body;
use crate::api::http::{encoded, json, method_not_allowed, requires_leader};
use crate::api::users::{CertificateName, Credentials, Vouched, anybody};
use crate::api::{Shared, status};
use crate::wire::etcdserverpb as pb;
use crate::wire::v3electionpb::{self, election_server::Election};
use crate::wire::v3lockpb::lock_server::Lock;
use pb::auth_server::Auth;
use pb::cluster_server::Cluster;
use pb::kv_server::Kv;
use pb::lease_server::Lease;
use pb::maintenance_server::Maintenance;

/// Where the API is found; the older two are what clients of etcd 3.2 and 3.3 use.
const PREFIXES: [&str; 3] = ["/v3", "/v3beta", "/v3alpha"];
/// Base64 makes a request a third longer.
pub const BODY_BYTES_MAX: usize = crate::base::limits::GRPC_MESSAGE_BYTES_MAX * 3 / 2;

/// The method that a path of the gateway names, for example `kv/put`.
pub fn method(path: &str) -> Option<&str> {
    PREFIXES.iter().find_map(|prefix| path.strip_prefix(prefix)?.strip_prefix('/'))
}

/// A route whose handler is a unary method of a gRPC service.
macro_rules! call {
    ($shared:expr, $service:expr, $method:path) => {{
        let (shared, service) = ($shared.clone(), $service.clone());
        posts(move |request| {
            let (shared, service) = (shared.clone(), service.clone());
            async move {
                let asked = match call(&shared, request).await {
                    Ok(asked) => asked,
                    Err(refusal) => return refused(&refusal),
                };
                match $method(&service, asked).await {
                    Ok(answer) => answered(answer.get_ref()),
                    Err(refusal) => refused(&refusal),
                }
            }
        })
    }};
}

/// All paths.
pub fn routes(shared: &Arc<Shared>) -> Router {
    let s = shared;
    let kv = kv::Kv(s.clone());
    let lease = lease::Lease(s.clone());
    let cluster = cluster::Cluster(s.clone());
    let care = maintenance::Maintenance(s.clone());
    let auth = auth::Auth(s.clone());
    let lock = lock::Lock(s.clone());
    let election = election::Election(s.clone());
    let paths: Vec<(&str, MethodRouter)> = vec![
        ("kv/range", call!(s, kv, Kv::range)),
        ("kv/put", call!(s, kv, Kv::put)),
        ("kv/deleterange", call!(s, kv, Kv::delete_range)),
        ("kv/txn", call!(s, kv, Kv::txn)),
        ("kv/compaction", call!(s, kv, Kv::compact)),
        ("lease/grant", call!(s, lease, Lease::lease_grant)),
        ("lease/revoke", call!(s, lease, Lease::lease_revoke)),
        ("lease/timetolive", call!(s, lease, Lease::lease_time_to_live)),
        ("lease/leases", call!(s, lease, Lease::lease_leases)),
        ("kv/lease/revoke", call!(s, lease, Lease::lease_revoke)),
        ("kv/lease/timetolive", call!(s, lease, Lease::lease_time_to_live)),
        ("kv/lease/leases", call!(s, lease, Lease::lease_leases)),
        ("lease/keepalive", keep_alive(s, lease.clone())),
        ("watch", watching(s)),
        ("cluster/member/list", call!(s, cluster, Cluster::member_list)),
        ("cluster/member/add", call!(s, cluster, Cluster::member_add)),
        ("cluster/member/remove", call!(s, cluster, Cluster::member_remove)),
        ("cluster/member/update", call!(s, cluster, Cluster::member_update)),
        ("cluster/member/promote", call!(s, cluster, Cluster::member_promote)),
        ("maintenance/status", call!(s, care, Maintenance::status)),
        ("maintenance/alarm", call!(s, care, Maintenance::alarm)),
        ("maintenance/defragment", call!(s, care, Maintenance::defragment)),
        ("maintenance/hash", call!(s, care, Maintenance::hash)),
        ("maintenance/hashkv", call!(s, care, Maintenance::hash_kv)),
        ("maintenance/snapshot", copying(care.clone())),
        ("maintenance/transfer-leadership", call!(s, care, Maintenance::move_leader)),
        ("maintenance/downgrade", call!(s, care, Maintenance::downgrade)),
        ("auth/status", call!(s, auth, Auth::auth_status)),
        ("auth/authenticate", call!(s, auth, Auth::authenticate)),
        ("auth/enable", call!(s, auth, Auth::auth_enable)),
        ("auth/disable", call!(s, auth, Auth::auth_disable)),
        ("auth/user/add", call!(s, auth, Auth::user_add)),
        ("auth/user/get", call!(s, auth, Auth::user_get)),
        ("auth/user/list", call!(s, auth, Auth::user_list)),
        ("auth/user/delete", call!(s, auth, Auth::user_delete)),
        ("auth/user/changepw", call!(s, auth, Auth::user_change_password)),
        ("auth/user/grant", call!(s, auth, Auth::user_grant_role)),
        ("auth/user/revoke", call!(s, auth, Auth::user_revoke_role)),
        ("auth/role/add", call!(s, auth, Auth::role_add)),
        ("auth/role/get", call!(s, auth, Auth::role_get)),
        ("auth/role/list", call!(s, auth, Auth::role_list)),
        ("auth/role/delete", call!(s, auth, Auth::role_delete)),
        ("auth/role/grant", call!(s, auth, Auth::role_grant_permission)),
        ("auth/role/revoke", call!(s, auth, Auth::role_revoke_permission)),
        ("lock/lock", call!(s, lock, Lock::lock)),
        ("lock/unlock", call!(s, lock, Lock::unlock)),
        ("election/campaign", call!(s, election, Election::campaign)),
        ("election/proclaim", call!(s, election, Election::proclaim)),
        ("election/leader", call!(s, election, Election::leader)),
        ("election/observe", observing(s, election.clone())),
        ("election/resign", call!(s, election, Election::resign)),
    ];
    let mut router = Router::new();
    for prefix in PREFIXES {
        for (path, handler) in &paths {
            router = router.route(&format!("{prefix}/{path}"), handler.clone());
        }
    }
    router
}

/// A route that answers POST and refuses everything else.
fn posts<F, R>(handler: F) -> MethodRouter
where
    F: Fn(Request) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = Response> + Send,
{
    axum::routing::any(move |request: Request| {
        let handler = handler.clone();
        async move { if request.method() == Method::POST { handler(request).await } else { method_not_allowed("POST") } }
    })
}

/// One keep-alive, taken from the body.
fn keep_alive(shared: &Arc<Shared>, lease: lease::Lease) -> MethodRouter {
    let shared = shared.clone();
    posts(move |request| {
        let (shared, lease) = (shared.clone(), lease.clone());
        async move {
            let answer = async {
                let asked = call::<pb::LeaseKeepAliveRequest>(&shared, request).await?;
                shared.need(&asked, &anybody).await?;
                lease.keep_alive(asked.get_ref().id).await
            }
            .await;
            match answer {
                Ok(answer) => streamed(Body::from(line(&Ok(answer)))),
                Err(refusal) => refused(&refusal),
            }
        }
    })
}

/// One watch request, taken from the body; one line an answer until the client leaves.
fn watching(shared: &Arc<Shared>) -> MethodRouter {
    let shared = shared.clone();
    posts(move |request| {
        let shared = shared.clone();
        async move {
            let leader_required = requires_leader(request.headers());
            let asked = match call::<pb::WatchRequest>(&shared, request).await {
                Ok(asked) => asked,
                Err(refusal) => return refused(&refusal),
            };
            let who = Credentials::of_call(&asked);
            let requests = stream::iter([Ok(asked.into_inner())]).chain(stream::pending()).boxed();
            lines(watch::Watch(shared).open(requests, who, leader_required))
        }
    })
}

/// A copy of the state; one line a piece.
fn copying(care: maintenance::Maintenance) -> MethodRouter {
    posts(move |request: Request| {
        let care = care.clone();
        async move {
            let vouched = request.extensions().get::<Vouched>().is_some();
            let metadata = MetadataMap::from_headers(request.headers().clone());
            let who = if vouched { Credentials::of_http(&request) } else { Credentials::of_metadata(&metadata) };
            match care.copy(&who).await {
                Ok(pieces) => {
                    let lines = pieces.map(|piece| Ok::<_, std::convert::Infallible>(line(&piece)));
                    streamed(Body::from_stream(lines))
                }
                Err(refusal) => refused(&refusal),
            }
        }
    })
}

/// An election's leaders, one line each, until the client leaves.
fn observing(shared: &Arc<Shared>, election: election::Election) -> MethodRouter {
    let shared = shared.clone();
    posts(move |request| {
        let (shared, election) = (shared.clone(), election.clone());
        async move {
            match call::<v3electionpb::LeaderRequest>(&shared, request).await {
                Ok(asked) => {
                    let who = Credentials::of_call(&asked);
                    lines(election.watched(who, asked.into_inner().name))
                }
                Err(refusal) => refused(&refusal),
            }
        }
    })
}

fn lines<T: Serialize + 'static>(answers: Answers<T>) -> Response {
    let lines = answers.map(|answer| Ok::<_, std::convert::Infallible>(line(&answer)));
    streamed(Body::from_stream(lines))
}

/// The request as a call of gRPC: the message in the body, and the headers, among which the token is looked for. The client's
/// certificate comes along where it is [`Vouched`] for.
async fn call<T: DeserializeOwned + Default>(shared: &Shared, request: Request) -> Result<tonic::Request<T>, Status> {
    if requires_leader(request.headers()) && shared.store.status().leader.is_none() {
        return Err(status::no_leader());
    }
    let (parts, body) = request.into_parts();
    let bytes = body::read(body, BODY_BYTES_MAX).await;
    let bytes = bytes.map_err(|error| Status::invalid_argument(error.to_string()))?;
    let message = match bytes.is_empty() {
        true => T::default(),
        false => serde_json::from_slice(&bytes).map_err(|error| Status::invalid_argument(error.to_string()))?,
    };
    let mut extensions = tonic::Extensions::default();
    if let (Some(name), Some(Vouched)) = (parts.extensions.get::<CertificateName>(), parts.extensions.get()) {
        extensions.insert(name.clone());
    }
    Ok(tonic::Request::from_parts(MetadataMap::from_headers(parts.headers), extensions, message))
}

fn answered<T: Serialize>(answer: &T) -> Response {
    let mut body = encoded(answer);
    body.pop();
    let mut response = json(StatusCode::OK, body);
    mark(&mut response);
    response
}

/// gRPC's content type, which the gateway of etcd passes on.
fn mark(response: &mut Response) {
    let kind = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert("grpc-metadata-content-type", kind);
}

fn streamed(body: Body) -> Response {
    let mut response = Response::new(body);
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    mark(&mut response);
    response
}

/// A refusal in the words of the gateways of etcd 3.4 (`error`, `message`, `code`) and of 3.6 (`code`, `message`).
#[derive(Serialize)]
struct Refusal<'a> {
    error: &'a str,
    message: &'a str,
    code: i32,
}

fn refusal(status: &Status) -> Refusal<'_> {
    Refusal { error: status.message(), message: status.message(), code: status.code().into() }
}

fn refused(refused: &Status) -> Response {
    let mut body = encoded(&refusal(refused));
    body.pop();
    json(status::gateway(refused.code()), body)
}

/// One line of a stream.
pub fn line<T: Serialize>(answer: &Result<T, Status>) -> Bytes {
    #[derive(Serialize)]
    #[serde(rename_all = "lowercase")]
    enum Line<'a, T> {
        Result(&'a T),
        Error(Refusal<'a>),
    }
    let line = match answer {
        Ok(answer) => Line::Result(answer),
        Err(status) => Line::Error(refusal(status)),
    };
    encoded(&line).into()
}
