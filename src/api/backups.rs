//! `/backup/v1`: the cluster's backups, as JSON. While users are asked for it is root's, as all routes that are given to the doors.
//!
//! `GET` answers where they go, how often, and which there are; `POST` makes one now; `GET /backup/v1/NAME` reads one from its
//! beginning to its end and says what it holds.

use std::sync::Arc;

use axum::Router;
use axum::extract::Path;
use axum::response::Response;
use axum::routing::get;
use hyper::StatusCode;
use serde_json::{Value, json};

use super::http::{encoded, json as answer};
use super::status::backup_failed;
use crate::backup::{BackupError, Backups, Found, Listed, Name};

/// The paths of this file. `None`: no place for backups is set at this node, and every path says so.
pub fn routes(backups: Option<Arc<Backups>>) -> Router {
    let Some(backups) = backups else {
        return Router::new().route("/backup/v1", get(unset).post(unset)).route("/backup/v1/{name}", get(unset));
    };
    let (listing, making) = (backups.clone(), backups.clone());
    Router::new()
        .route("/backup/v1", {
            get(move || async move { said(list(&listing).await) })
                .post(move || async move { said(make(&making).await) })
        })
        .route(
            "/backup/v1/{name}",
            get(move |Path(name): Path<String>| async move { said(verify(&backups, &name).await) }),
        )
}

async fn unset() -> Response {
    let error = "this node has no place for backups; set backup.to in its configuration, on every node alike";
    answer(StatusCode::NOT_FOUND, encoded(&json!({ "error": error })))
}

fn said(outcome: Result<Value, BackupError>) -> Response {
    match outcome {
        Ok(value) => answer(StatusCode::OK, encoded(&value)),
        Err(error) => answer(backup_failed(&error), encoded(&json!({ "error": error.to_string() }))),
    }
}

async fn list(backups: &Backups) -> Result<Value, BackupError> {
    let all = backups.list().await?;
    Ok(json!({
        "to": backups.place(),
        "every_s": backups.rules.every.map(|every| every.as_secs()),
        "keep": backups.rules.keep,
        "failure": backups.failure(),
        "backups": all.iter().map(listed).collect::<Vec<_>>(),
    }))
}

fn listed(one: &Listed) -> Value {
    let Listed { name, bytes } = one;
    json!({"name": name.to_string(), "cluster": name.cluster.to_string(), "made_ms": name.made.0, "bytes": bytes})
}

/// It goes on when its caller does not wait.
async fn make(backups: &Arc<Backups>) -> Result<Value, BackupError> {
    let backups = backups.clone();
    let made = tokio::spawn(async move { backups.make().await }).await;
    let (one, found) = made.map_err(|error| BackupError::Remote(format!("making a backup: {error}")))??;
    Ok(json!({ "made": listed(&one), "holds": holds(&found) }))
}

async fn verify(backups: &Backups, name: &str) -> Result<Value, BackupError> {
    let name: Name = name.parse()?;
    Ok(json!({ "name": name.to_string(), "holds": holds(&backups.verify(&name).await?) }))
}

fn holds(found: &Found) -> Value {
    json!({
        "revision": found.census.revision,
        "compacted": found.census.compacted,
        "keys": found.census.keys,
        "raft_index": found.census.raft_index,
        "bytes": found.bytes,
        "sha256": found.sum_hex(),
    })
}
