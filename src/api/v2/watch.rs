//! `wait=true`: long polls and streams of events over the store's watch.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use hyper::header::{self, HeaderValue};
use tokio::time::{Instant, timeout_at};

use super::keys::{Keys, failed, mark, reads};
use super::{render, stats};
use crate::api::http::encoded;
use crate::api::users::Credentials;
use crate::api::{Shared, status};
use crate::base::limits::V2_HISTORY_WAIT_MS_MAX;
use crate::kv::auth::{Auth, AuthError};
use crate::kv::v2::{Failure, groups, watch_match, watch_range};
use crate::kv::{Position, Space, WatchBatch, WatchEnd, WatchRequest, WatchStart, WatchStream};

/// What is to be watched.
pub struct Watched {
    pub path: String,
    pub recursive: bool,
    /// Go on after the first event.
    pub stream: bool,
    /// From this index on; 0: from now on.
    pub since: u64,
}

/// Starts a watch and answers at once with the headers; events follow in the body.
pub async fn open(keys: &Keys, who: &Credentials, watched: Watched) -> Response {
    let Watched { path, recursive, stream, since } = watched;
    let who = match keys.shared.admit(who, &sees(&path, recursive)).await {
        Ok(who) => who,
        Err(error) => return keys.broken(&error),
    };
    let newest = keys.shared.store.position().v2_index;
    let request = watch_request(&path, since, newest);
    let events = match keys.shared.store.watch(request.clone()).await {
        Ok(events) => events,
        Err(error) => return keys.broken(&error),
    };
    let began = events.began();
    let mut poll = Poll {
        shared: keys.shared.clone(),
        request,
        events,
        who,
        path,
        recursive,
        stream,
        began_index: began.v2_index,
        ready: Vec::new(),
        over: false,
        _counted: keys.stats.count_watcher(),
    };
    if since > 0
        && since <= began.v2_index
        && let Err(end) = poll.look_into_history().await
    {
        return refused(&end, since, &began);
    }
    let body = stream::unfold(poll, async |mut poll| {
        let line = poll.next().await?;
        Some((Ok::<_, Infallible>(line), poll))
    });
    let mut response = Response::new(Body::from_stream(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    mark(headers, &began);
    response
}

/// Seeing the changes of a path, and with `recursive` those below it.
fn sees(path: &str, recursive: bool) -> impl Fn(&Auth, &str) -> Result<(), AuthError> + Send + Sync {
    let (itself, below) = (reads(path, false), reads(path, true));
    move |auth, user| {
        itself(auth, user)?;
        if recursive { below(auth, user) } else { Ok(()) }
    }
}

/// A watch of the past is told of the end of every directory above its path, even where nothing was below it at that
/// path; the keys of those events may be anywhere.
fn watch_request(path: &str, since: u64, newest: u64) -> WatchRequest {
    let past = since > 0 && since <= newest;
    let (key, range_end) = watch_range(if past { "/" } else { path });
    WatchRequest {
        space: Space::User,
        key,
        range_end,
        start: match since {
            0 => WatchStart::Now,
            index => WatchStart::V2Index(index),
        },
    }
}

/// The history that was asked for is gone, or the watch cannot begin.
fn refused(end: &WatchEnd, since: u64, began: &Position) -> Response {
    let (code, cause) = match end {
        WatchEnd::V2Cleared { oldest } => {
            (status::V2_INDEX_CLEARED, format!("the requested history has been cleared [{oldest}/{since}]"))
        }
        other => (status::V2_WATCHER_CLEARED, other.to_string()),
    };
    failed(Failure { code, cause, index: began.v2_index })
}

/// One client that waits.
struct Poll {
    shared: Arc<Shared>,
    request: WatchRequest,
    events: Box<dyn WatchStream>,
    who: Credentials,
    path: String,
    recursive: bool,
    stream: bool,
    /// What took this index or an earlier one is history.
    began_index: u64,
    /// Lines to be sent, the last first.
    ready: Vec<Bytes>,
    over: bool,
    _counted: stats::Counted,
}

impl Poll {
    /// Reads until something is found, everything old is read, or the bound is reached: whether the history is still
    /// there is part of the answer's first line.
    async fn look_into_history(&mut self) -> Result<(), WatchEnd> {
        let deadline = Instant::now() + Duration::from_millis(V2_HISTORY_WAIT_MS_MAX);
        while self.ready.is_empty() && self.events.caught_up().is_none() {
            match timeout_at(deadline, self.events.next()).await {
                Ok(batch) => self.take(batch?),
                Err(_) => break,
            }
        }
        Ok(())
    }

    /// The next line; `None` ends the body, after which clients ask again.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if self.over {
                return None;
            }
            if let Some(line) = self.ready.pop() {
                self.over = !self.stream;
                return Some(line);
            }
            let batch = tokio::select! {
                batch = self.events.next() => batch,
                () = self.shared.stop.cancelled() => return None,
            };
            match batch {
                Ok(batch) => {
                    // Who may no longer see it asks again, and is told.
                    self.shared.check(&self.who, &sees(&self.path, self.recursive)).await.ok()?;
                    self.take(batch);
                }
                Err(WatchEnd::TooSlow { resume }) => {
                    self.request.start = WatchStart::Revision(resume);
                    self.events = self.shared.store.watch(self.request.clone()).await.ok()?;
                }
                Err(end) => {
                    tracing::info!(%end, "a v2 watch ends");
                    return None;
                }
            }
        }
    }

    fn take(&mut self, batch: WatchBatch) {
        let lines = groups(&batch.events).filter_map(|group| {
            let index = group.first()?.v2.as_ref()?.index;
            let past = index <= self.began_index;
            let answer = watch_match(&self.path, self.recursive, past, group)?;
            Some(Bytes::from(encoded(&render::answer(answer))))
        });
        self.ready = lines.collect();
        self.ready.reverse();
    }
}
