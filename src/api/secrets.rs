//! `/secrets/v1`: what the cluster keeps for containers (`Secret=`). It is set and removed here, and never told.
//!
//! | request | answer |
//! | --- | --- |
//! | `GET /secrets/v1` | `{"secrets": [{"name", "version"}…]}`: how often each has been set |
//! | `PUT /secrets/v1/NAME` | the body's bytes are kept; 409 where there is one, unless `?replace=true` |
//! | `DELETE /secrets/v1/NAME` | it is removed |

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::response::Response;
use axum::routing::{get, put};
use hyper::Request;
use hyper::StatusCode;
use serde_json::{Value, json};

use super::body;
use super::http::{encoded, json as answer};
use super::status;
use crate::base::limits::{SECRET_BYTES_MAX, SECRETS_MAX};
use crate::fleet::secrets;
use crate::kv::{Consistency, Op, Reply, Store, StoreError};
use crate::unit::container::is_secret_name;

/// Why something is not done.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("`{0}` is no secret's name; use letters, digits, \"_\", \".\" and \"-\"")]
    Name(String),
    #[error("{0}")]
    Body(#[from] body::BodyError),
    #[error("there is a secret `{0}` already; replace it with --replace")]
    Exists(String),
    #[error("there is no secret `{0}`")]
    Absent(String),
    #[error("{SECRETS_MAX} secrets are kept already; remove some")]
    Full,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The paths of this file.
pub fn routes(store: Arc<dyn Store>) -> Router {
    let (listing, removing) = (store.clone(), store.clone());
    let keep_one = move |Path(name): Path<String>, request: Request<Body>| async move {
        said(keep(&*store, &name, request).await)
    };
    let remove_one = move |Path(name): Path<String>| async move { said(remove(&*removing, &name).await) };
    Router::new()
        .route("/secrets/v1", get(move || async move { said(list(&*listing).await) }))
        .route("/secrets/v1/{name}", put(keep_one).delete(remove_one))
}

fn said(outcome: Result<Value, Failure>) -> Response {
    match outcome {
        Ok(value) => answer(StatusCode::OK, encoded(&value)),
        Err(failure) => answer(status::secret_refused(&failure), encoded(&json!({ "error": failure.to_string() }))),
    }
}

async fn list(store: &dyn Store) -> Result<Value, Failure> {
    let (_, found) = store.range(secrets::all(), Consistency::Linearizable).await?;
    let all = found.kvs.iter().filter_map(secrets::listed);
    Ok(json!({ "secrets": all.map(|(name, version)| json!({"name": name, "version": version})).collect::<Vec<_>>() }))
}

async fn keep(store: &dyn Store, name: &str, request: Request<Body>) -> Result<Value, Failure> {
    if !is_secret_name(name) {
        return Err(Failure::Name(name.to_owned()));
    }
    let replace = request.uri().query() == Some("replace=true");
    let value = body::read(request.into_body(), SECRET_BYTES_MAX).await?;
    let (_, kept) = store.range(secrets::all(), Consistency::Linearizable).await?;
    let others = kept.kvs.iter().filter_map(secrets::listed).filter(|(other, _)| *other != name).count();
    if others >= SECRETS_MAX {
        return Err(Failure::Full);
    }
    let written = store.write(Op::Txn(secrets::put(name, value, replace))).await?.result.map_err(StoreError::from)?;
    match written {
        Reply::Txn(done) if done.succeeded => Ok(json!({ "name": name })),
        _ => Err(Failure::Exists(name.to_owned())),
    }
}

async fn remove(store: &dyn Store, name: &str) -> Result<Value, Failure> {
    let removed = store.write(Op::DeleteRange(secrets::remove(name))).await?.result.map_err(StoreError::from)?;
    match removed {
        Reply::DeleteRange { deleted: 1, .. } => Ok(json!({ "name": name })),
        _ => Err(Failure::Absent(name.to_owned())),
    }
}
