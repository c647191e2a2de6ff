//! One watch of a stream: takes batches from the store and turns them into answers.

use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::convert;
use super::outbox::Outbox;
use super::watch::watch_refused;
use crate::api::users::{Credentials, reading};
use crate::api::{Shared, status};
use crate::base::limits::REQUEST_BYTES_MAX;
use crate::kv::auth::Auth;
use crate::kv::{EventKind, WatchBatch, WatchEnd, WatchRequest, WatchStart, WatchStream};
use crate::wire::etcdserverpb as pb;

/// What a watch is told by its stream.
pub enum Order {
    /// End, and say so.
    Cancel,
    /// Answer with the revision up to which everything is delivered, once that is the newest.
    Progress(oneshot::Sender<i64>),
}

/// One watch.
pub struct Watching {
    id: i64,
    request: WatchRequest,
    who: Credentials,
    /// Users and roles under which it was last found to be allowed.
    auth: Arc<Auth>,
    no_put: bool,
    no_delete: bool,
    prev_kv: bool,
    fragment: bool,
    progress_notify: bool,
    shared: Arc<Shared>,
    outbox: Outbox,
}

impl Watching {
    pub fn new(
        id: i64,
        create: &pb::WatchCreateRequest,
        request: WatchRequest,
        who: Credentials,
        shared: Arc<Shared>,
        outbox: Outbox,
    ) -> Self {
        use pb::watch_create_request::FilterType;
        let filtered = |kind: FilterType| create.filters().any(|filter| filter == kind);
        Self {
            id,
            request,
            who,
            auth: Arc::default(),
            no_put: filtered(FilterType::Noput),
            no_delete: filtered(FilterType::Nodelete),
            prev_kv: create.prev_kv,
            fragment: create.fragment,
            progress_notify: create.progress_notify,
            shared,
            outbox,
        }
    }

    /// Delivers until it is cancelled, its history is gone or the stream ends.
    pub async fn run(mut self, mut events: Box<dyn WatchStream>, mut inbox: mpsc::Receiver<Order>) {
        let mut waiting: Vec<oneshot::Sender<i64>> = Vec::new();
        let pause = notice_pause(self.shared.watch_progress, self.shared.random.next_u64());
        let mut next_notice = Instant::now() + pause;
        loop {
            if !waiting.is_empty()
                && let Some(revision) = events.caught_up()
            {
                for reply in waiting.drain(..) {
                    let _ = reply.send(revision);
                }
            }
            let going_on = tokio::select! {
                batch = events.next() => match batch {
                    Ok(batch) => {
                        let spoke = !batch.events.is_empty();
                        if spoke {
                            next_notice = Instant::now() + pause;
                        }
                        self.still_allowed().await && self.deliver(batch).await
                    }
                    Err(end) => match self.resume(end).await {
                        Some(resumed) => {
                            events = resumed;
                            true
                        }
                        None => false,
                    },
                },
                order = inbox.recv() => match order {
                    Some(Order::Progress(reply)) => {
                        waiting.push(reply);
                        true
                    }
                    Some(Order::Cancel) => {
                        self.send(self.ended("")).await;
                        false
                    }
                    None => false,
                },
                () = sleep_until(next_notice), if self.progress_notify => {
                    next_notice = Instant::now() + pause;
                    match events.caught_up() {
                        Some(revision) => self.send(self.answer(revision)).await,
                        None => true,
                    }
                }
            };
            if !going_on {
                return;
            }
        }
    }

    /// Whether the watch may go on under the users and roles of now; else it says why it ends.
    async fn still_allowed(&mut self) -> bool {
        let auth = self.shared.store.auth();
        if Arc::ptr_eq(&auth, &self.auth) {
            return true;
        }
        let needs = reading(self.request.key.clone(), self.request.range_end.clone());
        match self.shared.check(&self.who, &needs).await {
            Ok(()) => {
                self.auth = auth;
                true
            }
            Err(error) => {
                self.send(self.ended(&watch_refused(&error))).await;
                false
            }
        }
    }

    /// Sends an answer; `false` if the client is gone.
    async fn send(&self, answer: pb::WatchResponse) -> bool {
        self.outbox.send(answer).await.is_ok()
    }

    fn answer(&self, revision: i64) -> pb::WatchResponse {
        let mut header = self.shared.header_now();
        header.revision = revision;
        pb::WatchResponse { header: Some(header), watch_id: self.id, ..pb::WatchResponse::default() }
    }

    fn ended(&self, reason: &str) -> pb::WatchResponse {
        pb::WatchResponse {
            header: Some(self.shared.header_now()),
            watch_id: self.id,
            canceled: true,
            cancel_reason: reason.to_owned(),
            ..pb::WatchResponse::default()
        }
    }

    async fn deliver(&self, batch: WatchBatch) -> bool {
        let wanted = batch.events.into_iter().filter(|event| match event.kind {
            EventKind::Put => !self.no_put,
            EventKind::Delete => !self.no_delete,
        });
        let mut answer = self.answer(batch.revision);
        answer.events = wanted.map(|event| convert::event(event, self.prev_kv)).collect();
        if answer.events.is_empty() {
            return true;
        }
        if !self.fragment || answer.encoded_len() <= REQUEST_BYTES_MAX {
            return self.send(answer).await;
        }
        self.deliver_in_fragments(answer).await
    }

    /// Pieces below the size of a request (a single event may be larger); all but the last are marked.
    async fn deliver_in_fragments(&self, mut whole: pb::WatchResponse) -> bool {
        let mut events = std::mem::take(&mut whole.events).into_iter().peekable();
        let empty = whole.encoded_len();
        while events.peek().is_some() {
            let mut piece = whole.clone();
            let mut size = empty;
            while let Some(event) = events.next_if(|event| {
                size += event.encoded_len() + 8;
                size <= REQUEST_BYTES_MAX || size == empty + event.encoded_len() + 8
            }) {
                piece.events.push(event);
            }
            piece.fragment = events.peek().is_some();
            if !self.send(piece).await {
                return false;
            }
        }
        true
    }

    /// Goes on where the store cut the watch off for being slow; else says why it ends.
    async fn resume(&mut self, end: WatchEnd) -> Option<Box<dyn WatchStream>> {
        let reason = match end {
            WatchEnd::TooSlow { resume } => {
                self.request.start = WatchStart::Revision(resume);
                match self.shared.store.watch(self.request.clone()).await {
                    Ok(resumed) => return Some(resumed),
                    Err(error) => status::failed(&error),
                }
            }
            WatchEnd::Compacted { revision } => {
                self.send(compacted(&self.shared, self.id, revision)).await;
                return None;
            }
            end @ (WatchEnd::V2Cleared { .. } | WatchEnd::Closed(_)) => {
                tracing::info!(%end, "a watch ends");
                status::stopping()
            }
        };
        // The client opens a new stream, perhaps at another node, and goes on from its last revision.
        self.outbox.fail(reason).await;
        None
    }
}

/// How long a watch is silent before it tells how far it is: up to a tenth longer than agreed, by chance, so that watches made
/// together do not all speak together.
fn notice_pause(agreed: Duration, chance: u64) -> Duration {
    agreed + agreed.mul_f64((chance % 1000) as f64 / 10_000.0)
}

/// The end of a watch whose history is gone. Its header has no revision, as etcd's has none.
pub fn compacted(shared: &Shared, id: i64, revision: i64) -> pb::WatchResponse {
    let mut header = shared.header_now();
    header.revision = 0;
    pb::WatchResponse {
        header: Some(header),
        watch_id: id,
        canceled: true,
        compact_revision: revision,
        ..pb::WatchResponse::default()
    }
}
