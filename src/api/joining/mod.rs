//! `/node/v1`: the door by which machines join, the tokens that open it, certificates for people, and who vouches for all of them.
//!
//! | path | answer |
//! | --- | --- |
//! | `POST join` | [`Join`](wire::Join) in, [`Joined`](wire::Joined) out: for whoever has a token, and nothing else |
//! | `GET tokens` | [`Tokens`](wire::Tokens) |
//! | `POST tokens` | [`MakeToken`](wire::MakeToken) in, [`MadeToken`](wire::MadeToken) out |
//! | `DELETE tokens/ID` | 204: the token is revoked |
//! | `GET certificates` | [`Certificates`](wire::Certificates) |
//! | `DELETE certificates/NAME-OR-SERIAL` | [`Certificates`](wire::Certificates) that are taken no more from now on |
//! | `GET authority`, `?changed=REVISION` | [`AuthorityState`](wire::AuthorityState), at once or after the next change |
//! | `POST authority` | [`Rotate`](wire::Rotate) in, [`AuthorityState`](wire::AuthorityState) out: another authority takes over |
//! | `POST authority/finish` | [`Finish`](wire::Finish) in, the same out: the former one is trusted no more |
//! | `POST certificates` | [`Certify`](wire::Certify) in, [`Certified`](wire::Certified) out |
//!
//! It is there where the cluster has an authority of its own.

mod authority;
mod certificates;
mod join;
#[cfg(test)]
mod tests;
mod tokens;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{delete, get, post};
use hyper::{Request, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::http::{encoded, json};
use super::users::Credentials;
use super::{Shared, body, status};
use crate::base::limits::JOIN_BODY_BYTES_MAX;
use crate::kv::{KvError, MemberRefusal, StoreError};
use crate::net::tls::{ClusterIdentity, TlsError};
use crate::trust::Refusal;
use crate::wire::joining as wire;

/// Why something is not done.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("{0}")]
    Bad(String),
    #[error(transparent)]
    Token(#[from] Refusal),
    #[error("{0}")]
    Taken(String),
    #[error("{0}")]
    NotAllowed(String),
    #[error("no such token")]
    NoToken,
    #[error("no certificate that is good has this name or serial number; `node ctl cert list` has them")]
    NoCertificate,
    #[error(
        "this is the certificate that the member {0} shows. To take it from a machine that is to be none any more: `etcdctl member \
         remove`, which revokes it too"
    )]
    InUse(String),
    #[error("{0}")]
    Authority(String),
    /// The cluster takes no new member at this moment.
    #[error("the cluster takes no new member just now: {0}")]
    Later(MemberRefusal),
    #[error("this cluster has just been made and does not know its first token yet")]
    TooEarly,
    #[error(transparent)]
    Store(StoreError),
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Member(refusal @ (MemberRefusal::NotEnoughStarted | MemberRefusal::Unhealthy)) => {
                Self::Later(refusal)
            }
            StoreError::Member(MemberRefusal::BadUrls) => Self::Bad(MemberRefusal::BadUrls.to_string()),
            other => Self::Store(other),
        }
    }
}

impl From<KvError> for Failure {
    fn from(error: KvError) -> Self {
        Self::Store(StoreError::Refused(error))
    }
}

impl Failure {
    fn response(&self) -> Response {
        let code = status::joining(self);
        if code.is_server_error() {
            tracing::warn!(error = %self, "a request to /node/v1 failed");
        }
        let refused = wire::Refused { error: self.to_string(), later: code == StatusCode::SERVICE_UNAVAILABLE };
        json(code, encoded(&refused))
    }
}

/// The paths that are open to whoever reaches the node.
pub(super) fn open_routes(shared: &Arc<Shared>) -> Router {
    let Some(identity) = shared.identity.clone() else { return Router::new() };
    let (joins, certifies) = ((shared.clone(), identity.clone()), (shared.clone(), identity));
    Router::new()
        .route(
            wire::JOIN_PATH,
            post(move |request: Request<Body>| async move {
                let (shared, identity) = joins;
                answer(join::join(&shared, &identity, request).await)
            }),
        )
        // Who asks is looked at within: everybody may have his own.
        .route(
            wire::CERTIFICATES_PATH,
            post(move |request: Request<Body>| async move {
                let (shared, identity) = certifies;
                let who = Credentials::of_http(&request);
                answer(certificates::certify(&shared, &identity, &who, request).await)
            }),
        )
}

/// The paths for administrators.
pub(super) fn routes(shared: &Arc<Shared>) -> Router {
    let Some(identity) = shared.identity.clone() else { return Router::new() };
    let (listing, making, revoking) = (shared.clone(), (shared.clone(), identity.clone()), shared.clone());
    let tokens = get(move || async move { answer(tokens::list(&listing).await) }).post(
        move |request: Request<Body>| async move {
            let (shared, identity) = making;
            answer(tokens::make(&shared, &identity, request).await)
        },
    );
    let token = delete(move |Path(id): Path<String>| async move {
        match tokens::revoke(&revoking, &id).await {
            Ok(()) => StatusCode::NO_CONTENT.into_response(),
            Err(failure) => failure.response(),
        }
    });
    let (listing, revoking) = (shared.clone(), shared.clone());
    let certificates = get(move || async move { answer(certificates::list(&listing).await) });
    let certificate =
        delete(move |Path(word): Path<String>| async move { answer(certificates::revoke(&revoking, &word).await) });
    Router::new()
        .route(wire::TOKENS_PATH, tokens)
        .route(&format!("{}/{{id}}", wire::TOKENS_PATH), token)
        .route(wire::CERTIFICATES_PATH, certificates)
        .route(&format!("{}/{{word}}", wire::CERTIFICATES_PATH), certificate)
        .merge(authority_routes(shared, &identity))
}

fn authority_routes(shared: &Arc<Shared>, identity: &ClusterIdentity) -> Router {
    let both = || (shared.clone(), identity.clone());
    let (showing, rotating, finishing) = (both(), both(), both());
    let authority = get(move |request: Request<Body>| async move {
        let (shared, identity) = showing;
        answer(authority::show(&shared, &identity, request.uri().query()).await)
    })
    .post(move |request: Request<Body>| async move {
        let (shared, identity) = rotating;
        answer(authority::rotate(&shared, &identity, request).await)
    });
    let finish = post(move |request: Request<Body>| async move {
        let (shared, identity) = finishing;
        answer(authority::finish(&shared, &identity, request).await)
    });
    Router::new().route(wire::AUTHORITY_PATH, authority).route(wire::AUTHORITY_FINISH_PATH, finish)
}

fn answer<T: Serialize>(outcome: Result<T, Failure>) -> Response {
    match outcome {
        Ok(done) => json(StatusCode::OK, encoded(&done)),
        Err(failure) => failure.response(),
    }
}

/// The body of a request, which is JSON.
async fn read<T: DeserializeOwned>(request: Request<Body>) -> Result<T, Failure> {
    let bytes = body::read(request.into_body(), JOIN_BODY_BYTES_MAX).await;
    let bytes = bytes.map_err(|error| Failure::Bad(error.to_string()))?;
    serde_json::from_slice(&bytes).map_err(|error| Failure::Bad(error.to_string()))
}

/// Client URLs of the members that speak TLS.
async fn endpoints(shared: &Shared) -> Result<Vec<String>, Failure> {
    let members = shared.store.members().await?;
    let urls = members.into_iter().flat_map(|member| member.client_urls);
    Ok(urls.filter(|url| url.starts_with("https://")).collect())
}
