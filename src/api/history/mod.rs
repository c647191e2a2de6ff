//! `/kv/v1`: history for people, as JSON. Keys as they were, a key's changes, differences, and a watch from any moment.
//!
//! | `GET` | parameters | answers |
//! | --- | --- | --- |
//! | `keys` | `key`, `prefix`, `at` | the keys at a moment |
//! | `history` | `key` | the key's changes, the newest first |
//! | `diff` | `from`, `to`, `key`, `prefix` | the keys that were not the same at both moments |
//! | `watch` | `key`, `prefix`, `from` | one line of JSON for each change, the first of them from `from` on, for ever |
//!
//! A moment is a revision or a time (RFC 3339); without one it is now. `prefix=true` means all keys that begin with `key`.
//! `limit` and `page` (what `next` said) cut the first three into pages. Bodies are those of [`wire::history`](crate::wire::history).

mod failure;
mod query;
pub(super) mod render;
#[cfg(test)]
mod tests;
mod watch;

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use axum::routing::{MethodRouter, any};
use bytes::Bytes;
use hyper::{Method, StatusCode};

pub use failure::Failure;
use query::{Query, Token};

use super::Shared;
use super::http::{encoded, json, method_not_allowed};
use super::users::{Credentials, reading};
use crate::base::limits::{PAST_PAGE_BYTES, PAST_PAGE_ITEMS};
use crate::kv::{Consistency, Moment, Past, PastOf, PastRequest, Space};

/// What is asked for.
#[derive(Clone, Copy)]
enum Asked {
    Keys,
    History,
    Diff,
    Watch,
}

/// The paths of this room.
pub(super) fn routes(shared: &Arc<Shared>) -> Router {
    Router::new()
        .route("/kv/v1/keys", route(shared, Asked::Keys))
        .route("/kv/v1/history", route(shared, Asked::History))
        .route("/kv/v1/diff", route(shared, Asked::Diff))
        .route("/kv/v1/watch", route(shared, Asked::Watch))
}

fn route(shared: &Arc<Shared>, asked: Asked) -> MethodRouter {
    let shared = shared.clone();
    any(move |request: Request| {
        let shared = shared.clone();
        async move {
            if request.method() != Method::GET {
                return method_not_allowed("GET");
            }
            let who = Credentials::of_http(&request);
            let query = request.uri().query().unwrap_or_default();
            match answer(&shared, &who, asked, query).await {
                Ok(response) => response,
                Err(failure) => failure.response(),
            }
        }
    })
}

async fn answer(shared: &Arc<Shared>, who: &Credentials, asked: Asked, query: &str) -> Result<Response, Failure> {
    let query = Query::parse(query)?;
    let of = match asked {
        Asked::Keys => PastOf::State(query.moment("at")?),
        Asked::Diff => PastOf::Difference(query.moment("from")?, query.moment("to")?),
        Asked::History => PastOf::Changes { before: 0 },
        Asked::Watch => return watch::open(shared, who, &query).await,
    };
    let mut request = request(&query, of)?;
    if let Some(page) = query.page()? {
        turn(&mut request, page)?;
    }
    let past = read(shared, who, request).await?;
    Ok(json(StatusCode::OK, encoded(&render::page(&past, of))))
}

/// What is asked of the store.
fn request(query: &Query, of: PastOf) -> Result<PastRequest, Failure> {
    let (key, range_end) = match of {
        PastOf::State(_) => query.range()?,
        PastOf::Difference(..) => query.range_or_all()?,
        PastOf::Changes { .. } => (query.key()?, Bytes::new()),
    };
    let items_max = query.number("limit")?.unwrap_or(PAST_PAGE_ITEMS).clamp(1, PAST_PAGE_ITEMS);
    Ok(PastRequest { space: Space::User, key, range_end, of, items_max, bytes_max: PAST_PAGE_BYTES })
}

/// Goes on where another page ended, at the moments that it told of.
fn turn(request: &mut PastRequest, page: Token) -> Result<(), Failure> {
    match (&mut request.of, page) {
        (PastOf::Changes { before }, Token::Before(revision)) => *before = revision,
        (PastOf::State(at), Token::Key { to, key, .. }) if !request.range_end.is_empty() && key >= request.key => {
            *at = Moment::Revision(to);
            request.key = key;
        }
        (PastOf::Difference(since, at), Token::Key { from, to, key }) if key >= request.key => {
            (*since, *at) = (Moment::Revision(from), Moment::Revision(to));
            request.key = key;
        }
        _ => return Err(Failure::Bad("page: it is not of such a request".to_owned())),
    }
    Ok(())
}

/// The one way to the past.
async fn read(shared: &Shared, who: &Credentials, request: PastRequest) -> Result<Past, Failure> {
    let needs = reading(request.key.clone(), request.range_end.clone());
    let past = |consistency| shared.store.past(request, consistency);
    let past = shared.read_as(who, Consistency::Linearizable, &needs, past).await;
    past.map_err(Failure::Store)?.map_err(Failure::Past)
}
