//! A watch on an etcd v3 endpoint: one stream each.

use futures_util::StreamExt as _;
use futures_util::stream;
use tonic::Streaming;

use super::convert;
use crate::base::{BoxFuture, with_causes};
use crate::kv::{Position, StoreError, WatchBatch, WatchEnd, WatchRequest, WatchStart, WatchStream};
use crate::wire::etcdserverpb::watch_request::RequestUnion;
use crate::wire::etcdserverpb::{WatchCreateRequest, WatchRequest as Request, WatchResponse as Response};

/// The stream that asks for one watch. It stays open: an etcd ends watches whose requests end.
pub(super) fn ask(
    request: WatchRequest,
) -> Result<impl futures_util::Stream<Item = Request> + Send + 'static, StoreError> {
    convert::user_space(request.space)?;
    let start_revision = match request.start {
        WatchStart::Now => 0,
        // 0 would mean "now", and a watch of all history begins at 1.
        WatchStart::Revision(revision) => revision.max(1),
        WatchStart::V2Index(_) => return Err(StoreError::Unsupported("an etcd's v3 API knows no v2 index".into())),
    };
    let create = WatchCreateRequest {
        key: request.key,
        range_end: request.range_end,
        start_revision,
        prev_kv: true,
        ..WatchCreateRequest::default()
    };
    let create = Request { request_union: Some(RequestUnion::CreateRequest(create)) };
    Ok(stream::once(async { create }).chain(stream::pending()))
}

/// A running watch.
pub(super) struct RemoteWatch {
    stream: Streaming<Response>,
    began: Position,
    /// Up to where everything has been delivered.
    delivered: Option<i64>,
    /// What a response carried after the batch that was handed out, if the watch ended within it.
    end: Option<WatchEnd>,
}

impl RemoteWatch {
    /// Waits for the endpoint's word that the watch exists.
    pub async fn open(mut stream: Streaming<Response>) -> Result<Self, StoreError> {
        let broken = |why: String| StoreError::Broken(format!("watching: {why}"));
        let first = stream.message().await.map_err(|status| broken(with_causes(&status)))?;
        let first = first.ok_or_else(|| broken("the stream ended before it began".into()))?;
        let began = convert::position(first.header.as_ref());
        Ok(Self { stream, began, delivered: None, end: ended(&first) })
    }

    async fn next_batch(&mut self) -> Result<WatchBatch, WatchEnd> {
        if let Some(end) = &self.end {
            return Err(end.clone());
        }
        let response = match self.stream.message().await {
            Ok(Some(response)) => response,
            Ok(None) => return Err(self.finish(WatchEnd::Closed("the endpoint ended the watch".into()))),
            Err(status) => return Err(self.finish(WatchEnd::Closed(with_causes(&status)))),
        };
        if let Some(end) = ended(&response) {
            return Err(self.finish(end));
        }
        let events: Vec<_> = response.events.into_iter().filter_map(convert::event).collect();
        // The header may be ahead of the events, which may still come in several responses.
        let newest = events.last().map(|event| event.kv.mod_revision);
        let revision = newest.unwrap_or_else(|| response.header.map_or(0, |header| header.revision));
        self.delivered = Some(revision);
        Ok(WatchBatch { revision, events })
    }

    fn finish(&mut self, end: WatchEnd) -> WatchEnd {
        self.end = Some(end.clone());
        end
    }
}

fn ended(response: &Response) -> Option<WatchEnd> {
    match (response.canceled, response.compact_revision) {
        (_, revision) if revision > 0 => Some(WatchEnd::Compacted { revision: revision - 1 }),
        (true, _) => Some(WatchEnd::Closed(response.cancel_reason.clone())),
        (false, _) => None,
    }
}

impl WatchStream for RemoteWatch {
    fn next(&mut self) -> BoxFuture<'_, Result<WatchBatch, WatchEnd>> {
        Box::pin(self.next_batch())
    }

    fn began(&self) -> Position {
        self.began
    }

    fn caught_up(&self) -> Option<i64> {
        self.delivered
    }
}
