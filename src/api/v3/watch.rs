//! The service `etcdserverpb.Watch`: one stream, many watches, each a task of its own.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt, Stream, StreamExt};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tonic::{Code, Request, Response, Status, Streaming};

use super::Answers;
use super::outbox::{Gone, Outbox};
use super::watching::{Order, Watching};
use crate::api::http::requires_leader;
use crate::api::users::{Credentials, reading};
use crate::api::{Shared, status};
use crate::base::limits::{LEADERLESS_STREAM_MS_MAX, WATCH_PROGRESS_WAIT_MS_MAX, WATCHES_PER_STREAM_MAX};
use crate::kv::{KvError, Position, Space, Store, StoreError, WatchRequest, WatchStart};
use crate::wire::etcdserverpb as pb;

/// The id in answers that speak of no single watch.
const NO_WATCH: i64 = -1;
/// Orders that may wait for one watch.
const ORDERS_QUEUED_MAX: usize = 16;

#[derive(Clone)]
pub struct Watch(pub Arc<Shared>);

/// What the client sends.
pub type Requests = Pin<Box<dyn Stream<Item = Result<pb::WatchRequest, Status>> + Send>>;

#[tonic::async_trait]
impl pb::watch_server::Watch for Watch {
    type WatchStream = Answers<pb::WatchResponse>;

    async fn watch(
        &self,
        request: Request<Streaming<pb::WatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let who = Credentials::of_call(&request);
        let (metadata, _, requests) = request.into_parts();
        let leader_required = requires_leader(&metadata.into_headers());
        Ok(Response::new(self.open(requests.boxed(), who, leader_required)))
    }
}

impl Watch {
    /// Starts a stream of watches. It ends with `requests`, or when the answers are dropped.
    pub fn open(&self, requests: Requests, who: Credentials, leader_required: bool) -> Answers<pb::WatchResponse> {
        let (outbox, answers) = Outbox::new();
        let session = Session { shared: self.0.clone(), who, outbox, watches: HashMap::new(), next_id: 0 };
        tokio::spawn(session.run(requests, leader_required));
        answers
    }
}

/// One stream of a client.
struct Session {
    shared: Arc<Shared>,
    who: Credentials,
    outbox: Outbox,
    /// The way to give each watch its orders. Dropping it ends the watch.
    watches: HashMap<i64, mpsc::Sender<Order>>,
    next_id: i64,
}

impl Session {
    async fn run(mut self, mut requests: Requests, leader_required: bool) {
        let store = self.shared.store.clone();
        let leader_lost = async {
            if leader_required {
                leader_lost(&*store).await;
            } else {
                std::future::pending().await
            }
        };
        let mut leader_lost = std::pin::pin!(leader_lost.fuse());
        let stop = self.shared.stop.clone();
        loop {
            let farewell = tokio::select! {
                request = requests.next() => match request {
                    Some(Ok(request)) => match self.obey(request).await {
                        Ok(()) => continue,
                        Err(Gone) => return,
                    },
                    Some(Err(_)) | None => return,
                },
                () = self.outbox.closed() => return,
                () = stop.cancelled() => status::stopping(),
                () = &mut leader_lost => status::no_leader(),
            };
            self.outbox.try_fail(farewell);
            return;
        }
    }

    async fn obey(&mut self, request: pb::WatchRequest) -> Result<(), Gone> {
        use pb::watch_request::RequestUnion;
        match request.request_union {
            Some(RequestUnion::CreateRequest(create)) => self.create(create).await,
            Some(RequestUnion::CancelRequest(cancel)) => self.cancel(cancel.watch_id).await,
            Some(RequestUnion::ProgressRequest(_)) => self.report_progress().await,
            None => Ok(()),
        }
    }

    /// A watch that does not come to be: announced and cancelled in one answer.
    async fn refuse(&self, reason: impl Into<String>) -> Result<(), Gone> {
        self.outbox
            .send(pb::WatchResponse {
                header: Some(self.shared.header_now()),
                watch_id: NO_WATCH,
                created: true,
                canceled: true,
                cancel_reason: reason.into(),
                ..pb::WatchResponse::default()
            })
            .await
    }

    async fn create(&mut self, create: pb::WatchCreateRequest) -> Result<(), Gone> {
        let request = match watch_request(&create) {
            Ok(request) => request,
            Err(reason) => return self.refuse(reason).await,
        };
        let Some(id) = self.free_id(create.watch_id) else {
            return self.refuse("mvcc: duplicate watch ID provided on the WatchStream").await;
        };
        if self.watches.len() >= WATCHES_PER_STREAM_MAX {
            self.watches.retain(|_, orders| !orders.is_closed());
            if self.watches.len() >= WATCHES_PER_STREAM_MAX {
                let reason = format!("too many watches on one stream: {WATCHES_PER_STREAM_MAX}");
                return self.refuse(reason).await;
            }
        }
        let needs = reading(request.key.clone(), request.range_end.clone());
        let who = match self.shared.admit(&self.who, &needs).await {
            Ok(who) => who,
            Err(error) => return self.refuse(watch_refused(&error)).await,
        };
        match self.shared.store.watch(request.clone()).await {
            Ok(events) => {
                let began = events.began();
                self.announce(id, &began).await?;
                let (orders, inbox) = mpsc::channel(ORDERS_QUEUED_MAX);
                self.watches.insert(id, orders);
                let watching = Watching::new(id, &create, request, who, self.shared.clone(), self.outbox.clone());
                tokio::spawn(watching.run(events, inbox));
                Ok(())
            }
            Err(StoreError::Refused(KvError::Compacted { revision })) => {
                self.announce(id, &self.shared.store.position()).await?;
                self.outbox.send(super::watching::compacted(&self.shared, id, revision)).await
            }
            Err(error) => self.refuse(status::failed(&error).message()).await,
        }
    }

    async fn announce(&self, id: i64, position: &Position) -> Result<(), Gone> {
        self.outbox
            .send(pb::WatchResponse {
                header: Some(self.shared.header(position)),
                watch_id: id,
                created: true,
                ..pb::WatchResponse::default()
            })
            .await
    }

    /// The id that was asked for if nobody has it; for 0, the next free one.
    fn free_id(&mut self, asked: i64) -> Option<i64> {
        let taken = |id: &i64| self.watches.get(id).is_some_and(|orders| !orders.is_closed());
        if asked != 0 {
            return (!taken(&asked)).then_some(asked);
        }
        let mut id = self.next_id;
        while taken(&id) {
            id += 1;
        }
        self.next_id = id + 1;
        Some(id)
    }

    async fn cancel(&mut self, id: i64) -> Result<(), Gone> {
        if let Some(orders) = self.watches.remove(&id) {
            // The watch answers by itself, so that nothing of it comes after the answer.
            let _ = orders.send(Order::Cancel).await;
        }
        Ok(())
    }

    /// One answer for the whole stream: up to which revision every watch has delivered everything. Not given if
    /// a watch is still catching up at the end of the wait.
    async fn report_progress(&mut self) -> Result<(), Gone> {
        self.watches.retain(|_, orders| !orders.is_closed());
        let bound = Duration::from_millis(WATCH_PROGRESS_WAIT_MS_MAX);
        let Ok(Some(revision)) = timeout(bound, self.progress()).await else {
            return Ok(());
        };
        let mut header = self.shared.header_now();
        header.revision = revision;
        self.outbox
            .send(pb::WatchResponse { header: Some(header), watch_id: NO_WATCH, ..pb::WatchResponse::default() })
            .await
    }

    async fn progress(&self) -> Option<i64> {
        let mut replies = Vec::with_capacity(self.watches.len());
        for orders in self.watches.values() {
            let (reply, answer) = oneshot::channel();
            if orders.send(Order::Progress(reply)).await.is_ok() {
                replies.push(answer);
            }
        }
        let mut least = None;
        for reply in replies {
            // A watch that ended meanwhile has nothing more to deliver.
            if let Ok(revision) = reply.await {
                least = Some(least.map_or(revision, |least: i64| least.min(revision)));
            }
        }
        least.or_else(|| Some(self.shared.store.position().revision))
    }
}

/// What to watch, or why that makes no sense. An empty key is the first of all keys.
fn watch_request(create: &pb::WatchCreateRequest) -> Result<WatchRequest, String> {
    let first = bytes::Bytes::from_static(b"\0");
    let key = if create.key.is_empty() { first.clone() } else { create.key.clone() };
    let end = create.range_end.clone();
    if !end.is_empty() && end != first && key >= end {
        return Err("mvcc: watcher range is empty".to_owned());
    }
    let start = match create.start_revision {
        0 => WatchStart::Now,
        revision if revision < 0 => {
            return Err(format!("start revision {revision} is negative"));
        }
        revision => WatchStart::Revision(revision),
    };
    Ok(WatchRequest { space: Space::User, key, range_end: end, start })
}

/// A refusal as etcd writes it into an answer: in Go's words for an error of gRPC.
pub(super) fn watch_refused(error: &StoreError) -> String {
    let status = status::failed(error);
    match error {
        StoreError::Refused(KvError::Auth(_)) => {
            let code = match status.code() {
                Code::PermissionDenied => "PermissionDenied",
                Code::Unauthenticated => "Unauthenticated",
                _ => "InvalidArgument",
            };
            format!("rpc error: code = {code} desc = {}", status.message())
        }
        _ => status.message().to_owned(),
    }
}

/// Completes when there has been no leader for longer than a stream that requires one may bear.
async fn leader_lost(store: &dyn Store) {
    let bound = Duration::from_millis(LEADERLESS_STREAM_MS_MAX);
    let mut leader = store.status().leader;
    loop {
        leader = match leader {
            Some(_) => store.leader_changed(leader).await,
            None => match timeout(bound, store.leader_changed(None)).await {
                Ok(leader) => leader,
                Err(_) => return,
            },
        };
    }
}
