//! `/node/v1/program`: which program a node runs, and how it comes to run another one. While users are asked for it is root's, as all
//! routes that are given to the doors.
//!
//! | request | what it does |
//! | --- | --- |
//! | `GET program` | answers with [`NodeFacts`](crate::wire::program::NodeFacts) |
//! | `PUT program/SHA256?offset=N` | keeps a piece of a file, of which the node has N bytes |
//! | `POST program/SHA256?check=true` | runs the file for its version |
//! | `POST program/SHA256?trial_ms=N` | puts it in the place of the one that runs, and restarts the node with it; it has N milliseconds to serve |
//!
//! With `member=ID` they are for another member, to which the node hands them on.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query};
use axum::response::Response;
use axum::routing::{get, put};
use bytes::Bytes;
use hyper::{Request, StatusCode};
use serde::Deserialize;

use super::http::{encoded, json};
use super::users::Credentials;
use super::{body, status};
use crate::base::limits::{PROGRAM_PIECE_BYTES_MAX, PROGRAM_TRIAL_MS, PROGRAM_TRIAL_MS_MAX};
use crate::base::{BoxFuture, MemberId};
use crate::wire::program::{PROGRAM_PATH, Question, Refusal, Refused, Reply};

/// Who answers.
pub trait Programs: Send + Sync + 'static {
    /// Asks this node (`None`), or another member. `piece` goes with [`Question::Stage`].
    fn ask(&self, member: Option<MemberId>, question: Question, piece: Bytes) -> BoxFuture<'_, Result<Reply, Refusal>>;
}

#[derive(Deserialize)]
struct Asked {
    member: Option<String>,
    offset: Option<u64>,
    check: Option<bool>,
    trial_ms: Option<u64>,
}

/// The paths of this file.
pub fn routes(programs: Arc<dyn Programs>) -> Router {
    let (telling, staging) = (programs.clone(), programs.clone());
    let tell = move |Query(asked): Query<Asked>| async move {
        answer(ask(&telling, &asked, Question::Tell, Bytes::new()).await)
    };
    let stage = move |Path(sha256): Path<String>, Query(asked): Query<Asked>, request: Request<Body>| async move {
        let question = Question::Stage { sha256, offset: asked.offset.unwrap_or(0) };
        answer(match body::read(request.into_body(), PROGRAM_PIECE_BYTES_MAX).await {
            Ok(piece) => ask(&staging, &asked, question, piece).await,
            Err(error) => Err(Refusal::Bad(error.to_string())),
        })
    };
    let run = move |Path(sha256): Path<String>, Query(asked): Query<Asked>, request: Request<Body>| async move {
        let question = match asked.check {
            Some(true) => Question::Check { sha256 },
            _ => Question::Install {
                sha256,
                by: Credentials::of_http(&request).told(),
                trial_ms: asked.trial_ms.unwrap_or(PROGRAM_TRIAL_MS).min(PROGRAM_TRIAL_MS_MAX),
            },
        };
        answer(ask(&programs, &asked, question, Bytes::new()).await)
    };
    Router::new().route(PROGRAM_PATH, get(tell)).route(&format!("{PROGRAM_PATH}/{{sha256}}"), put(stage).post(run))
}

async fn ask(programs: &Arc<dyn Programs>, asked: &Asked, question: Question, piece: Bytes) -> Result<Reply, Refusal> {
    let member = match asked.member.as_deref().map(|id| (id, u64::from_str_radix(id, 16))) {
        None => None,
        Some((_, Ok(id))) => Some(MemberId(id)),
        Some((id, Err(_))) => return Err(Refusal::Bad(format!("`{id}` is no id of a member"))),
    };
    programs.ask(member, question, piece).await
}

fn answer(outcome: Result<Reply, Refusal>) -> Response {
    match outcome {
        Ok(reply) => json(StatusCode::OK, encoded(&reply)),
        Err(refusal) => json(status::program(&refusal), encoded(&Refused { error: refusal.to_string() })),
    }
}
