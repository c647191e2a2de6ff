//! The store of somebody else's cluster, through whichever of its endpoints answers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use tokio::sync::{Mutex, watch};
use tonic::{Code, Response, Status as Refusal};

use super::convert;
use super::error::{store_error, try_elsewhere};
use super::login::{Line, Login, line};
use super::watch::{RemoteWatch, ask};
use crate::base::limits::REMOTE_MESSAGE_BYTES_MAX;
use crate::base::{BoxFuture, LeaseId, MemberId};
use crate::kv::auth::Auth;
use crate::kv::{
    Applied, Consistency, Hash, HashOf, KvError, Lease, Member, Op, Position, RangeReply, RangeRequest, Reply,
    SnapshotStream, Space, Status, Store, StoreError, WatchRequest, WatchStream, v2,
};
use crate::net::Address;
use crate::wire::etcdserverpb as pb;
use crate::wire::etcdserverpb::cluster_client::ClusterClient;
use crate::wire::etcdserverpb::kv_client::KvClient;
use crate::wire::etcdserverpb::lease_client::LeaseClient;
use crate::wire::etcdserverpb::maintenance_client::MaintenanceClient;
use crate::wire::etcdserverpb::watch_client::WatchClient;

/// A store over the etcd v3 API. Cheap to clone.
///
/// There is no system space, no v2 view and no v2 index. Positions carry the revision and the Raft term only.
#[derive(Clone)]
pub struct RemoteStore(Arc<Inner>);

struct Inner {
    endpoints: Vec<Address>,
    /// How long one attempt at one endpoint may take.
    wait: Duration,
    login: Option<Login>,
    current: Mutex<Current>,
    status: watch::Sender<Status>,
}

/// The endpoint in use, and its channel once there is one.
struct Current {
    endpoint: usize,
    channel: Option<Line>,
}

/// Whether a request may be sent twice.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Repeat {
    Safe,
    /// Its first sending may have been carried out.
    Unsafe,
}

impl RemoteStore {
    /// A store behind `endpoints`, at least one; nothing is sent yet. Each attempt at one of them takes `wait` at most.
    pub fn new(endpoints: Vec<Address>, wait: Duration) -> Self {
        Self::with_login(endpoints, wait, None)
    }

    /// The same as somebody.
    pub fn with_login(endpoints: Vec<Address>, wait: Duration, login: Option<Login>) -> Self {
        let current = Mutex::new(Current { endpoint: 0, channel: None });
        Self(Arc::new(Inner { endpoints, wait, login, current, status: watch::channel(Status::default()).0 }))
    }

    /// Calls the endpoint in use, and the next ones where it does not answer and the request may be repeated.
    async fn call<T, F>(&self, doing: &str, repeat: Repeat, request: impl Fn(Line) -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<Response<T>, Refusal>>,
    {
        let inner = &*self.0;
        let mut last = StoreError::Broken(format!("{doing}: no endpoint is given"));
        let mut attempts = inner.endpoints.len();
        let mut logged_in_again = inner.login.is_none();
        while attempts > 0 {
            attempts -= 1;
            let (endpoint, channel) = match self.channel(doing).await {
                Ok(channel) => channel,
                Err(error) => return Err(error),
            };
            match tokio::time::timeout(inner.wait, request(channel)).await {
                Ok(Ok(response)) => return Ok(response.into_inner()),
                Ok(Err(refusal)) if refusal.code() == Code::Unauthenticated && !logged_in_again => {
                    // The token is over. What was refused for that was not carried out.
                    logged_in_again = true;
                    attempts += 1;
                    self.hang_up(endpoint).await;
                    continue;
                }
                Ok(Err(refusal)) => {
                    let told = format!("{doing} at {}", inner.endpoints[endpoint]);
                    last = store_error(&refusal, &told, inner.wait);
                    if !try_elsewhere(&refusal) {
                        return Err(last);
                    }
                }
                Err(_) => {
                    let doing = format!("{doing} at {}", inner.endpoints[endpoint]);
                    last = StoreError::TimedOut { waited: inner.wait, doing };
                }
            }
            self.leave(endpoint).await;
            if repeat == Repeat::Unsafe {
                return Err(last);
            }
        }
        Err(last)
    }

    /// The channel in use; else the first that opens, beginning with the endpoint whose turn it is.
    async fn channel(&self, doing: &str) -> Result<(usize, Line), StoreError> {
        let inner = &*self.0;
        let mut current = inner.current.lock().await;
        if let Some(channel) = &current.channel {
            return Ok((current.endpoint, channel.clone()));
        }
        let mut reasons = Vec::new();
        for _ in 0..inner.endpoints.len() {
            let address = &inner.endpoints[current.endpoint];
            match line(address, inner.wait, inner.login.as_ref()).await {
                Ok(channel) => {
                    current.channel = Some(channel.clone());
                    return Ok((current.endpoint, channel));
                }
                Err(error) => reasons.push(error.to_string()),
            }
            current.endpoint = (current.endpoint + 1) % inner.endpoints.len();
        }
        Err(StoreError::Broken(format!("{doing}: no endpoint can be reached: {}", reasons.join("; "))))
    }

    /// Has the next call open a channel of its own, unless another endpoint is in use by now.
    async fn hang_up(&self, endpoint: usize) {
        let mut current = self.0.current.lock().await;
        if current.endpoint == endpoint {
            current.channel = None;
        }
    }

    /// Turns to the next endpoint, unless somebody did so already.
    async fn leave(&self, endpoint: usize) {
        let mut current = self.0.current.lock().await;
        if current.endpoint == endpoint {
            current.endpoint = (endpoint + 1) % self.0.endpoints.len();
            current.channel = None;
        }
    }

    /// Notes what an answer tells about the cluster.
    fn seen(&self, header: Option<&pb::ResponseHeader>) -> Position {
        let position = convert::position(header);
        self.0.status.send_if_modified(|status| {
            let newer = position.revision > status.position.revision;
            if newer {
                status.position = position;
            }
            newer
        });
        position
    }

    /// Asks the endpoint in use how it is; [`Store::status`] tells what it said.
    ///
    /// # Errors
    /// Where none answers.
    pub async fn refresh_status(&self) -> Result<Status, StoreError> {
        let call = |channel| async move { MaintenanceClient::new(channel).status(pb::StatusRequest {}).await };
        let reply = self.call("asking for the status", Repeat::Safe, call).await?;
        let status = convert::status(&reply);
        self.0.status.send_replace(status.clone());
        Ok(status)
    }

    async fn write_op(&self, op: Op) -> Result<(Position, Reply), StoreError> {
        let doing = "writing";
        let once = Repeat::Unsafe;
        Ok(match op {
            Op::Put(request) => {
                let request = convert::put(request)?;
                let put = |channel| {
                    kv(channel, request.clone(), |mut client, request| async move { client.put(request).await })
                };
                let reply = self.call(doing, once, put).await?;
                (self.seen(reply.header.as_ref()), Reply::Put { prev: reply.prev_kv.map(convert::key_value) })
            }
            Op::DeleteRange(request) => {
                let request = convert::delete_range(request)?;
                let delete = |channel| {
                    kv(
                        channel,
                        request.clone(),
                        |mut client, request| async move { client.delete_range(request).await },
                    )
                };
                let reply = self.call(doing, once, delete).await?;
                let prev = reply.prev_kvs.into_iter().map(convert::key_value).collect();
                (self.seen(reply.header.as_ref()), Reply::DeleteRange { deleted: reply.deleted, prev })
            }
            Op::Txn(request) => {
                let request = convert::txn(request)?;
                let txn = |channel| {
                    kv(channel, request.clone(), |mut client, request| async move { client.txn(request).await })
                };
                let reply = self.call(doing, once, txn).await?;
                (self.seen(reply.header.as_ref()), Reply::Txn(convert::txn_reply(reply)))
            }
            Op::LeaseGrant { id, ttl_ms } => {
                let request = pb::LeaseGrantRequest { id: id.0, ttl: (ttl_ms + 999).div_euclid(1_000) };
                let grant = |channel| async move { LeaseClient::new(channel).lease_grant(request).await };
                let reply = self.call("granting a lease", once, grant).await?;
                let position = self.seen(reply.header.as_ref());
                (position, Reply::LeaseGrant { id: LeaseId(reply.id), ttl_ms: reply.ttl.saturating_mul(1_000) })
            }
            Op::LeaseRevoke { id } => {
                let request = pb::LeaseRevokeRequest { id: id.0 };
                let revoke = |channel| async move { LeaseClient::new(channel).lease_revoke(request).await };
                let reply = self.call("revoking a lease", once, revoke).await?;
                (self.seen(reply.header.as_ref()), Reply::LeaseRevoke)
            }
            Op::Compact { space: Space::User, revision } => {
                let request = pb::CompactionRequest { revision, physical: false };
                let compact =
                    |channel| kv(channel, request, |mut client, request| async move { client.compact(request).await });
                let reply = self.call("compacting", once, compact).await?;
                (self.seen(reply.header.as_ref()), Reply::Compact)
            }
            Op::V2(_) => return Err(StoreError::Unsupported("v2 writes to somebody else's etcd".into())),
            Op::Compact { .. }
            | Op::LeaseExpire { .. }
            | Op::LeaseCheckpoint { .. }
            | Op::MemberUpdate(_)
            | Op::Alarm(_)
            | Op::Auth(_)
            | Op::As { .. } => {
                return Err(StoreError::Unsupported("an etcd keeps its own members, users, leases and history".into()));
            }
        })
    }

    async fn keep_alive_once(&self, lease: LeaseId) -> Result<i64, StoreError> {
        let request = pb::LeaseKeepAliveRequest { id: lease.0 };
        let alive = |channel| async move {
            let answers = LeaseClient::new(channel).lease_keep_alive(stream::once(async move { request })).await?;
            let answer = answers.into_inner().message().await?;
            Ok(Response::new(answer.ok_or_else(|| Refusal::unavailable("the stream ended without an answer"))?))
        };
        let reply = self.call("keeping a lease alive", Repeat::Safe, alive).await?;
        self.seen(reply.header.as_ref());
        Ok(reply.ttl.max(0).saturating_mul(1_000))
    }

    async fn time_to_live(&self, lease: LeaseId, keys: bool) -> Result<Option<(Lease, i64, Vec<Bytes>)>, StoreError> {
        let request = pb::LeaseTimeToLiveRequest { id: lease.0, keys };
        let ask = |channel| async move { LeaseClient::new(channel).lease_time_to_live(request).await };
        let reply = match self.call("asking for a lease", Repeat::Safe, ask).await {
            Err(StoreError::Refused(KvError::LeaseNotFound)) => return Ok(None),
            other => other?,
        };
        if reply.ttl < 0 {
            return Ok(None);
        }
        let lease = Lease { id: lease, ttl_ms: reply.granted_ttl.saturating_mul(1_000) };
        Ok(Some((lease, reply.ttl.saturating_mul(1_000), reply.keys)))
    }

    async fn open_watch(&self, request: WatchRequest) -> Result<Box<dyn WatchStream>, StoreError> {
        // Asked once for nothing: what cannot be asked for is no endpoint's fault.
        drop(ask(request.clone())?);
        let open = |channel| {
            let request = request.clone();
            async move {
                let asked = ask(request).map_err(|error| Refusal::invalid_argument(error.to_string()))?;
                let mut client = WatchClient::new(channel).max_decoding_message_size(REMOTE_MESSAGE_BYTES_MAX);
                let stream = client.watch(asked).await?.into_inner();
                let watch = RemoteWatch::open(stream).await;
                Ok(Response::new(watch.map_err(|error| Refusal::unavailable(error.to_string()))?))
            }
        };
        let watch = self.call("watching", Repeat::Safe, open).await?;
        Ok(Box::new(watch))
    }
}

/// A call of the key-value service, which alone has large answers.
async fn kv<R, T, F>(
    channel: Line,
    request: R,
    call: impl FnOnce(KvClient<Line>, R) -> F,
) -> Result<Response<T>, Refusal>
where
    F: Future<Output = Result<Response<T>, Refusal>>,
{
    call(KvClient::new(channel).max_decoding_message_size(REMOTE_MESSAGE_BYTES_MAX), request).await
}

fn not_ours(what: &str) -> StoreError {
    StoreError::Unsupported(format!("{what} of somebody else's etcd"))
}

impl Store for RemoteStore {
    fn write(&self, op: Op) -> BoxFuture<'_, Result<Applied, StoreError>> {
        Box::pin(async move {
            match self.write_op(op).await {
                Ok((position, reply)) => Ok(Applied { position, result: Ok(reply) }),
                Err(StoreError::Refused(refusal)) => {
                    Ok(Applied { position: self.0.status.borrow().position, result: Err(refusal) })
                }
                Err(error) => Err(error),
            }
        })
    }

    fn range(
        &self,
        request: RangeRequest,
        consistency: Consistency,
    ) -> BoxFuture<'_, Result<(Position, RangeReply), StoreError>> {
        Box::pin(async move {
            let request = convert::range(request, consistency)?;
            let range = |channel| {
                kv(channel, request.clone(), |mut client, request| async move { client.range(request).await })
            };
            let reply = self.call("reading", Repeat::Safe, range).await?;
            Ok((self.seen(reply.header.as_ref()), convert::range_reply(reply)))
        })
    }

    fn v2_get(
        &self,
        _request: v2::GetRequest,
        _consistency: Consistency,
    ) -> BoxFuture<'_, Result<(Position, v2::Outcome), StoreError>> {
        Box::pin(async { Err(StoreError::Unsupported("v2 reads of somebody else's etcd".into())) })
    }

    fn catch_up(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async { Err(StoreError::Unsupported("a remote store has no state of its own".to_owned())) })
    }

    /// Whom the remote cluster lets do what is its own to check.
    fn auth(&self) -> Arc<Auth> {
        Arc::default()
    }

    fn watch(&self, request: WatchRequest) -> BoxFuture<'_, Result<Box<dyn WatchStream>, StoreError>> {
        Box::pin(self.open_watch(request))
    }

    fn keep_alive(&self, lease: LeaseId) -> BoxFuture<'_, Result<i64, StoreError>> {
        Box::pin(self.keep_alive_once(lease))
    }

    fn lease_time_to_live(
        &self,
        lease: LeaseId,
        keys: bool,
    ) -> BoxFuture<'_, Result<Option<(Lease, i64, Vec<Bytes>)>, StoreError>> {
        Box::pin(self.time_to_live(lease, keys))
    }

    fn leases(&self) -> BoxFuture<'_, Result<Vec<LeaseId>, StoreError>> {
        Box::pin(async move {
            let list = |channel| async move { LeaseClient::new(channel).lease_leases(pb::LeaseLeasesRequest {}).await };
            let reply = self.call("listing leases", Repeat::Safe, list).await?;
            Ok(reply.leases.into_iter().map(|lease| LeaseId(lease.id)).collect())
        })
    }

    fn members(&self) -> BoxFuture<'_, Result<Vec<Member>, StoreError>> {
        Box::pin(async move {
            let request = pb::MemberListRequest { linearizable: false };
            let list = |channel| async move { ClusterClient::new(channel).member_list(request).await };
            let reply = self.call("listing members", Repeat::Safe, list).await?;
            Ok(reply.members.into_iter().map(convert::member).collect())
        })
    }

    fn status(&self) -> Status {
        self.0.status.borrow().clone()
    }

    fn hash(&self, _: HashOf) -> BoxFuture<'_, Result<Hash, StoreError>> {
        Box::pin(async { Err(not_ours("hashes")) })
    }

    fn snapshot(&self) -> BoxFuture<'_, Result<Box<dyn SnapshotStream>, StoreError>> {
        Box::pin(async { Err(not_ours("snapshots")) })
    }

    fn move_leader(&self, _: MemberId) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async { Err(not_ours("changes of the leader")) })
    }

    fn leader_changed(&self, known: Option<MemberId>) -> BoxFuture<'_, Option<MemberId>> {
        Box::pin(async move {
            let mut status = self.0.status.subscribe();
            // The sender lives as long as this store, so there is a status to come.
            let changed = status.wait_for(|status| status.leader != known).await;
            changed.map_or(known, |status| status.leader)
        })
    }
}
