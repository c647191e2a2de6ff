//! etcd's v2 API: `/v2/keys`, users and roles, members, machines and statistics, byte for byte as etcd answers.

mod auth;
pub(super) mod form;
pub(super) mod keys;
mod members;
pub(super) mod render;
pub(super) mod request;
mod stats;
#[cfg(test)]
mod tests;
mod watch;

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use axum::routing::any;
use hyper::header::{HeaderName, HeaderValue};

use super::Shared;

const CLUSTER_ID: HeaderName = HeaderName::from_static("x-etcd-cluster-id");
const INDEX: HeaderName = HeaderName::from_static("x-etcd-index");
const RAFT_INDEX: HeaderName = HeaderName::from_static("x-raft-index");
const RAFT_TERM: HeaderName = HeaderName::from_static("x-raft-term");

/// All paths.
pub fn routes(shared: &Arc<Shared>) -> Router {
    let stats = Arc::new(stats::Stats::new(shared));
    let keys = keys::Keys::new(shared, &stats);
    let keys = any(async move |request: Request| keys.answer(request).await);
    let mut router = Router::new();
    for path in ["/v2/keys", "/v2/keys/", "/v2/keys/{*path}"] {
        router = router.route(path, keys.clone());
    }
    router.merge(auth::routes(shared)).merge(members::routes(shared)).merge(stats::routes(&stats))
}

impl Shared {
    /// Says which cluster answered, as etcd does on keys and members, good answers and bad ones.
    fn name_cluster(&self, mut response: Response) -> Response {
        let id = self.ids().0.to_string();
        if let Ok(id) = HeaderValue::try_from(id) {
            response.headers_mut().insert(CLUSTER_ID, id);
        }
        response
    }
}
