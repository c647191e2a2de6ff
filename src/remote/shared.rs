//! A cluster's own state within somebody else's etcd: the system space is what lies below one prefix of the clients' keys,
//! and who leads is whoever holds a key there on a lease.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::store::RemoteStore;
use crate::base::{BoxFuture, LeaseId, MemberId};
use crate::kv::auth::Auth;
use crate::kv::{
    Applied, Compare, CompareResult, CompareTarget, Consistency, DeleteRangeRequest, Hash, HashOf, KeyValue, Lease,
    Member, Op, Position, PutRequest, RangeReply, RangeRequest, Reply, SnapshotStream, Space, Status, Store,
    StoreError, TxnOp, TxnOpReply, TxnReply, TxnRequest, WatchBatch, WatchEnd, WatchRequest, WatchStart, WatchStream,
    prefix_end, v2,
};

/// What of a lease's id is kept: an etcd of ours has the rest for its own leases.
const LEASE_ID_BITS: i64 = 0xffff_ffff_ffff;
/// Before the next try where the etcd does not answer.
const RETRY: Duration = Duration::from_secs(1);

/// How to stand for leader.
#[derive(Clone, Debug)]
pub struct Candidacy {
    /// This one, among all that share the prefix.
    pub member: MemberId,
    /// How long a leader that has vanished counts as one.
    pub ttl: Duration,
    /// Only look who leads.
    pub never: bool,
}

/// The store of a cluster that keeps its etcd. There is no user space in it.
pub struct SharedStore {
    inner: RemoteStore,
    prefix: Bytes,
    member: MemberId,
    leader: watch::Sender<Option<MemberId>>,
    campaign: JoinHandle<()>,
}

impl SharedStore {
    /// A store below `prefix`. Must be called within a tokio runtime; stands for leader until it is dropped.
    pub fn new(inner: RemoteStore, prefix: &str, candidacy: Candidacy) -> Arc<Self> {
        let leader = watch::Sender::new(None);
        let key = Bytes::from(format!("{prefix}/leader"));
        let member = candidacy.member;
        let campaign = Campaign { store: inner.clone(), key, candidacy, leader: leader.clone() };
        let campaign = tokio::spawn(campaign.run());
        Arc::new(Self { inner, prefix: Bytes::from(prefix.to_owned()), member, leader, campaign })
    }

    fn below(&self, key: &[u8]) -> Bytes {
        [&self.prefix, key].concat().into()
    }

    fn range_end(&self, end: &[u8]) -> Bytes {
        match end {
            b"" => Bytes::new(),
            b"\0" => prefix_end(&self.prefix),
            end => self.below(end),
        }
    }

    /// A key that every write here changes, so that removals leave a revision too.
    fn mark(&self) -> Bytes {
        self.below(b"/changed")
    }

    fn kv(&self, mut kv: KeyValue) -> KeyValue {
        kv.key = kv.key.slice(self.prefix.len().min(kv.key.len())..);
        kv
    }

    fn put(&self, request: PutRequest) -> PutRequest {
        PutRequest { space: Space::User, key: self.below(&request.key), lease: outer(request.lease), ..request }
    }

    fn delete(&self, request: DeleteRangeRequest) -> DeleteRangeRequest {
        let (key, range_end) = (self.below(&request.key), self.range_end(&request.range_end));
        DeleteRangeRequest { space: Space::User, key, range_end, ..request }
    }

    fn reading(&self, request: RangeRequest) -> RangeRequest {
        let (key, range_end) = (self.below(&request.key), self.range_end(&request.range_end));
        RangeRequest { space: Space::User, key, range_end, ..request }
    }

    fn txn(&self, request: TxnRequest) -> TxnRequest {
        let compare = |compare: Compare| Compare {
            space: Space::User,
            key: self.below(&compare.key),
            range_end: self.range_end(&compare.range_end),
            target: match compare.target {
                CompareTarget::Lease(lease) => CompareTarget::Lease(outer(lease)),
                other => other,
            },
            ..compare
        };
        let op = |op: TxnOp| match op {
            TxnOp::Range(request) => TxnOp::Range(self.reading(request)),
            TxnOp::Put(request) => TxnOp::Put(self.put(request)),
            TxnOp::DeleteRange(request) => TxnOp::DeleteRange(self.delete(request)),
            TxnOp::Txn(request) => TxnOp::Txn(self.txn(request)),
        };
        TxnRequest {
            compare: request.compare.into_iter().map(compare).collect(),
            success: request.success.into_iter().map(op).collect(),
            failure: request.failure.into_iter().map(op).collect(),
        }
    }

    fn told(&self, reply: TxnReply) -> TxnReply {
        let one = |reply: TxnOpReply| match reply {
            TxnOpReply::Range(found) => TxnOpReply::Range(self.found(found)),
            TxnOpReply::Put { prev } => TxnOpReply::Put { prev: prev.map(|kv| self.kv(kv)) },
            TxnOpReply::DeleteRange { deleted, prev } => {
                TxnOpReply::DeleteRange { deleted, prev: prev.into_iter().map(|kv| self.kv(kv)).collect() }
            }
            TxnOpReply::Txn(nested) => TxnOpReply::Txn(self.told(nested)),
        };
        TxnReply { succeeded: reply.succeeded, replies: reply.replies.into_iter().map(one).collect() }
    }

    fn found(&self, reply: RangeReply) -> RangeReply {
        RangeReply { kvs: reply.kvs.into_iter().map(|kv| self.kv(kv)).collect(), ..reply }
    }

    async fn write_op(&self, op: Op) -> Result<Applied, StoreError> {
        let mark = TxnOp::Put(PutRequest { key: self.mark(), ..PutRequest::default() });
        let sent = match op {
            Op::Txn(request) => {
                let mut request = self.txn(request);
                if request.success.iter().any(|op| !matches!(op, TxnOp::Range(_))) {
                    request.success.push(mark);
                }
                Op::Txn(request)
            }
            Op::LeaseGrant { id, ttl_ms } => Op::LeaseGrant { id: outer(id), ttl_ms },
            Op::LeaseRevoke { id } => Op::LeaseRevoke { id: outer(id) },
            _ => return Err(StoreError::Unsupported("this store takes transactions and leases only".to_owned())),
        };
        let applied = self.inner.write(sent).await?;
        let result = applied.result.map(|reply| match reply {
            Reply::Txn(reply) => Reply::Txn(self.told(reply)),
            other => other,
        });
        Ok(Applied { position: system(applied.position), result })
    }

    /// Where the newest change below the prefix was made.
    async fn newest(&self) -> Result<i64, StoreError> {
        let request = RangeRequest { key: self.mark(), ..RangeRequest::default() };
        let (_, reply) = self.inner.range(request, Consistency::Linearizable).await?;
        Ok(reply.kvs.first().map_or(0, |kv| kv.mod_revision))
    }
}

impl Drop for SharedStore {
    fn drop(&mut self) {
        self.campaign.abort();
    }
}

fn outer(lease: LeaseId) -> LeaseId {
    LeaseId(lease.0 & LEASE_ID_BITS)
}

/// The revisions of an etcd are those of the system space.
fn system(position: Position) -> Position {
    Position { system_revision: position.revision, ..position }
}

fn no_users() -> StoreError {
    StoreError::Unsupported("only the cluster's own state is here; ask the etcd for keys".to_owned())
}

/// A watch below the prefix.
struct SharedWatch {
    inner: Box<dyn WatchStream>,
    prefix_len: usize,
}

impl WatchStream for SharedWatch {
    fn next(&mut self) -> BoxFuture<'_, Result<WatchBatch, WatchEnd>> {
        Box::pin(async move {
            let mut batch = self.inner.next().await?;
            for event in &mut batch.events {
                event.space = Space::System;
                for kv in std::iter::once(&mut event.kv).chain(&mut event.prev) {
                    kv.key = kv.key.slice(self.prefix_len.min(kv.key.len())..);
                }
            }
            Ok(batch)
        })
    }

    fn began(&self) -> Position {
        system(self.inner.began())
    }

    fn caught_up(&self) -> Option<i64> {
        self.inner.caught_up()
    }
}

/// Standing for leader, for as long as the store is there.
struct Campaign {
    store: RemoteStore,
    key: Bytes,
    candidacy: Candidacy,
    leader: watch::Sender<Option<MemberId>>,
}

impl Campaign {
    async fn run(self) {
        loop {
            if let Err(error) = self.term().await {
                tracing::warn!("who leads is not known: {error}");
            }
            self.leader.send_replace(None);
            tokio::time::sleep(RETRY).await;
        }
    }

    /// One leader's time, seen from here: our own, or somebody else's to its end.
    async fn term(&self) -> Result<(), StoreError> {
        if !self.candidacy.never
            && let Some(lease) = self.stand().await?
        {
            self.leader.send_replace(Some(self.candidacy.member));
            self.stay(lease).await;
            return Ok(());
        }
        let request = RangeRequest { key: self.key.clone(), ..RangeRequest::default() };
        let (position, reply) = self.store.range(request, Consistency::Linearizable).await?;
        let holder =
            reply.kvs.first().and_then(|kv| u64::from_str_radix(std::str::from_utf8(&kv.value).ok()?, 16).ok());
        self.leader.send_replace(holder.map(MemberId));
        let start = WatchStart::Revision(position.revision + 1);
        let request = WatchRequest { key: self.key.clone(), start, ..WatchRequest::default() };
        let mut watch = self.store.watch(request).await?;
        watch.next().await.map(drop).map_err(|end| StoreError::Broken(end.to_string()))
    }

    /// The lease that leads now; `None`: somebody else does.
    async fn stand(&self) -> Result<Option<LeaseId>, StoreError> {
        let ttl_ms = i64::try_from(self.candidacy.ttl.as_millis()).unwrap_or(i64::MAX);
        let granted = self.store.write(Op::LeaseGrant { id: LeaseId::NONE, ttl_ms }).await?;
        let Reply::LeaseGrant { id, .. } = granted.result? else { return Err(no_users()) };
        let free = Compare {
            space: Space::User,
            key: self.key.clone(),
            range_end: Bytes::new(),
            result: CompareResult::Equal,
            target: CompareTarget::Create(0),
        };
        let value = format!("{:x}", self.candidacy.member.0).into();
        let put = PutRequest { key: self.key.clone(), value, lease: id, ..PutRequest::default() };
        let txn = TxnRequest { compare: vec![free], success: vec![TxnOp::Put(put)], failure: Vec::new() };
        let won = matches!(self.store.write(Op::Txn(txn)).await?.result?, Reply::Txn(reply) if reply.succeeded);
        if !won {
            self.store.write(Op::LeaseRevoke { id }).await?;
        }
        Ok(won.then_some(id))
    }

    /// Returns when the lease has ended, or may have.
    async fn stay(&self, lease: LeaseId) {
        let mut sure_until = tokio::time::Instant::now() + self.candidacy.ttl;
        let mut ticks = tokio::time::interval(self.candidacy.ttl / 3);
        loop {
            ticks.tick().await;
            let asked = tokio::time::Instant::now();
            match tokio::time::timeout_at(sure_until, self.store.keep_alive(lease)).await {
                Ok(Ok(0)) | Err(_) => return,
                Ok(Ok(_)) => sure_until = asked + self.candidacy.ttl,
                Ok(Err(error)) => tracing::warn!("keeping the lead: {error}"),
            }
            if tokio::time::Instant::now() >= sure_until {
                return;
            }
        }
    }
}

impl Store for SharedStore {
    fn write(&self, op: Op) -> BoxFuture<'_, Result<Applied, StoreError>> {
        Box::pin(self.write_op(op))
    }

    /// A count tells how far the state below the prefix has come; anything else, how far the etcd has.
    fn range(
        &self,
        request: RangeRequest,
        consistency: Consistency,
    ) -> BoxFuture<'_, Result<(Position, RangeReply), StoreError>> {
        Box::pin(async move {
            let counts = request.count_only;
            let (position, reply) = self.inner.range(self.reading(request), consistency).await?;
            let mut position = system(position);
            if counts {
                position.system_revision = self.newest().await?;
            }
            Ok((position, self.found(reply)))
        })
    }

    fn v2_get(&self, _: v2::GetRequest, _: Consistency) -> BoxFuture<'_, Result<(Position, v2::Outcome), StoreError>> {
        Box::pin(async { Err(no_users()) })
    }

    fn catch_up(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.inner.catch_up()
    }

    fn auth(&self) -> Arc<Auth> {
        self.inner.auth()
    }

    fn watch(&self, request: WatchRequest) -> BoxFuture<'_, Result<Box<dyn WatchStream>, StoreError>> {
        Box::pin(async move {
            let (key, range_end) = (self.below(&request.key), self.range_end(&request.range_end));
            let request = WatchRequest { space: Space::User, key, range_end, start: request.start };
            let inner = self.inner.watch(request).await?;
            Ok(Box::new(SharedWatch { inner, prefix_len: self.prefix.len() }) as Box<dyn WatchStream>)
        })
    }

    fn keep_alive(&self, lease: LeaseId) -> BoxFuture<'_, Result<i64, StoreError>> {
        self.inner.keep_alive(outer(lease))
    }

    fn lease_time_to_live(
        &self,
        lease: LeaseId,
        keys: bool,
    ) -> BoxFuture<'_, Result<Option<(Lease, i64, Vec<Bytes>)>, StoreError>> {
        self.inner.lease_time_to_live(outer(lease), keys)
    }

    fn leases(&self) -> BoxFuture<'_, Result<Vec<LeaseId>, StoreError>> {
        self.inner.leases()
    }

    fn members(&self) -> BoxFuture<'_, Result<Vec<Member>, StoreError>> {
        self.inner.members()
    }

    fn status(&self) -> Status {
        Status { member: self.member, leader: *self.leader.borrow(), ..self.inner.status() }
    }

    fn hash(&self, of: HashOf) -> BoxFuture<'_, Result<Hash, StoreError>> {
        self.inner.hash(of)
    }

    fn snapshot(&self) -> BoxFuture<'_, Result<Box<dyn SnapshotStream>, StoreError>> {
        self.inner.snapshot()
    }

    fn move_leader(&self, to: MemberId) -> BoxFuture<'_, Result<(), StoreError>> {
        self.inner.move_leader(to)
    }

    fn leader_changed(&self, known: Option<MemberId>) -> BoxFuture<'_, Option<MemberId>> {
        let mut leader = self.leader.subscribe();
        Box::pin(async move {
            // The sender lives as long as this store.
            leader.wait_for(|leader| *leader != known).await.map_or(known, |leader| *leader)
        })
    }
}
