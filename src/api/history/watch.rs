//! The watch of this door: a line of JSON for each change, from any moment that history still has.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use hyper::header;

use super::query::Query;
use super::{Failure, read, render};
use crate::api::Shared;
use crate::api::http::encoded;
use crate::api::users::{Credentials, reading};
use crate::kv::{
    Moment, PastOf, PastRefusal, PastRequest, Space, WatchBatch, WatchEnd, WatchRequest, WatchStart, WatchStream,
};
use crate::wire::history as wire;

/// Begins a watch; its lines follow in the body.
pub(super) async fn open(shared: &Arc<Shared>, who: &Credentials, query: &Query) -> Result<Response, Failure> {
    let (key, range_end) = query.range()?;
    let who = shared.admit(who, &reading(key.clone(), range_end.clone())).await.map_err(Failure::Store)?;
    let start = start(shared, &who, &key, query.moment("from")?).await?;
    let request = WatchRequest { space: Space::User, key, range_end, start };
    let events = shared.store.watch(request.clone()).await.map_err(Failure::Store)?;
    let from = match start {
        WatchStart::Revision(revision) => revision,
        _ => events.began().revision + 1,
    };
    let first = line(&wire::News { from: Some(from), ..wire::News::default() });
    let watch = Watch { shared: shared.clone(), who, request, events, first: Some(first), over: false };
    let lines = stream::unfold(watch, async |mut watch| {
        let lines = watch.next().await?;
        Some((Ok::<_, Infallible>(lines), watch))
    });
    let kind = (header::CONTENT_TYPE, "application/x-ndjson");
    Ok(([kind], Body::from_stream(lines)).into_response())
}

/// The first revision to tell of: what was made after a time begins with the revision after the newest by then.
async fn start(shared: &Shared, who: &Credentials, key: &Bytes, from: Moment) -> Result<WatchStart, Failure> {
    if from == Moment::Now {
        return Ok(WatchStart::Now);
    }
    let asked = PastRequest {
        space: Space::User,
        key: key.clone(),
        range_end: Bytes::new(),
        of: PastOf::State(from),
        items_max: 1,
        bytes_max: 0,
    };
    match (read(shared, who, asked).await, from) {
        (Ok(past), Moment::Time(_)) => Ok(WatchStart::Revision(past.to.revision + 1)),
        (Ok(past), _) => Ok(WatchStart::Revision(past.to.revision)),
        // It waits for what is to come.
        (Err(Failure::Past(PastRefusal::Future { .. })), Moment::Revision(revision)) => {
            Ok(WatchStart::Revision(revision))
        }
        (Err(failure), _) => Err(failure),
    }
}

struct Watch {
    shared: Arc<Shared>,
    who: Credentials,
    request: WatchRequest,
    events: Box<dyn WatchStream>,
    first: Option<Bytes>,
    over: bool,
}

impl Watch {
    /// The next lines; `None` ends the body.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        while !self.over {
            let batch = tokio::select! {
                batch = self.events.next() => batch,
                () = self.shared.stop.cancelled() => Err(WatchEnd::Closed("this node is stopping".to_owned())),
            };
            match batch {
                Ok(batch) if batch.events.is_empty() => {}
                Ok(batch) => return Some(self.told(&batch).await),
                Err(WatchEnd::TooSlow { resume }) => {
                    self.request.start = WatchStart::Revision(resume);
                    match self.shared.store.watch(self.request.clone()).await {
                        Ok(events) => self.events = events,
                        Err(error) => return Some(self.end(&error)),
                    }
                }
                Err(end) => return Some(self.end(&end)),
            }
        }
        None
    }

    /// The lines of a batch, as long as the reader may read.
    async fn told(&mut self, batch: &WatchBatch) -> Bytes {
        let needs = reading(self.request.key.clone(), self.request.range_end.clone());
        match self.shared.check(&self.who, &needs).await {
            Ok(()) => lines(batch),
            Err(error) => self.end(&error),
        }
    }

    fn end(&mut self, why: &dyn std::fmt::Display) -> Bytes {
        self.over = true;
        line(&wire::News { error: Some(why.to_string()), ..wire::News::default() })
    }
}

fn lines(batch: &WatchBatch) -> Bytes {
    let told = |event| wire::News { change: Some(render::change(event, event.prev.as_ref())), ..wire::News::default() };
    let lines: Vec<Bytes> = batch.events.iter().map(|event| line(&told(event))).collect();
    lines.concat().into()
}

fn line(news: &wire::News) -> Bytes {
    encoded(news).into()
}
