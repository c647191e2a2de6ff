//! The queue behind locks and elections: a key `<name>/<lease id in hex>` for each who waits, and the oldest is first.
//!
//! The layout of the keys is that of etcd's `concurrency` package, so that its clients, which do the same by themselves, wait
//! in the same queue. Each waits for the key before its own and for its own: a place whose lease has ended is never won.

use std::sync::Arc;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::changes::Changes;
use super::kv::{self, write};
use super::lease;
use crate::api::users::{Credentials, anybody};
use crate::api::{Shared, status};
use crate::base::LeaseId;
use crate::base::limits::QUEUE_LEASE_SECONDS;
use crate::kv::{
    Compare, CompareResult, CompareTarget, Consistency, DeleteRangeRequest, EventKind, KeyValue, KvError, Op, Position,
    PutRequest, RangeRequest, Reply, SortOrder, SortTarget, Space, TxnOp, TxnOpReply, TxnReply, TxnRequest,
    is_system_lease, prefix_end,
};

/// Somebody who wants to be first.
pub struct Entrant {
    /// What its refusals speak of: `mutex`, `election`.
    pub what: &'static str,
    pub name: Bytes,
    /// 0: it gets one of its own.
    pub lease: i64,
    /// What its key says, also where the lease has a key there already. `None`: nothing, and such a key is left as it is.
    pub value: Option<Bytes>,
}

/// A place in a queue.
#[derive(Clone, Debug)]
pub struct Place {
    pub key: Bytes,
    pub lease: LeaseId,
    /// Revision in which the key was made. It rises from holder to holder: a fencing token.
    pub revision: i64,
    /// The lease was granted for this place alone.
    own_lease: bool,
    /// The key was made for this place; else an earlier call of the same lease waits or holds already.
    made: bool,
}

/// Waits until everybody before is gone. Who leaves while waiting (the future is dropped) leaves no key behind.
pub async fn enter(shared: &Arc<Shared>, who: &Credentials, entrant: Entrant) -> Result<(Position, Place), Status> {
    let who = shared.admit(who, &anybody).await.map_err(|error| status::failed(&error))?;
    // A task of its own: a write under way must be known to the end, or its key would be left behind.
    let gone = CancellationToken::new();
    let _leaving = gone.clone().drop_guard();
    let attempt = tokio::spawn(attempt(shared.clone(), who, entrant, gone));
    attempt.await.unwrap_or_else(|_| Err(status::stopping()))
}

async fn attempt(
    shared: Arc<Shared>,
    who: Credentials,
    entrant: Entrant,
    gone: CancellationToken,
) -> Result<(Position, Place), Status> {
    let (lease, own_lease) = lease_of(&shared, &who, &entrant).await?;
    let joined = match join(&shared, &who, &entrant, lease, own_lease).await {
        Ok(joined) => joined,
        Err(refusal) => {
            if own_lease {
                revoke(&shared, &who, lease).await;
            }
            return Err(refusal);
        }
    };
    let place = joined.place.clone();
    let waiting = wait_for_turn(&shared, &who, &entrant, joined);
    let waited = tokio::select! {
        biased;
        () = gone.cancelled() => Err(status::client_gone()),
        () = shared.stop.cancelled() => Err(status::stopping()),
        waited = waiting => waited,
    };
    match waited {
        Ok(position) => Ok((position, place)),
        Err(refusal) => {
            leave(&shared, &who, &place).await;
            Err(refusal)
        }
    }
}

/// The lease that was named, or a new one.
async fn lease_of(shared: &Arc<Shared>, who: &Credentials, entrant: &Entrant) -> Result<(LeaseId, bool), Status> {
    if entrant.lease == 0 {
        let granted = lease::Lease(shared.clone()).grant_any(who, QUEUE_LEASE_SECONDS * 1000).await?;
        return Ok((LeaseId(granted.id), true));
    }
    let lease = LeaseId(entrant.lease);
    if is_system_lease(lease) {
        return Err(status::refused(&KvError::LeaseNotFound));
    }
    Ok((lease, false))
}

/// The start of all keys of a queue.
pub fn prefix(name: &Bytes) -> Bytes {
    [name, &b"/"[..]].concat().into()
}

/// A range over the queue that finds the one key made first, or last, up to `revision` (0: any).
fn end_of_queue(name: &Bytes, sort_order: SortOrder, revision: i64) -> RangeRequest {
    let key = prefix(name);
    RangeRequest {
        range_end: prefix_end(&key),
        key,
        limit: 1,
        sort_order,
        sort_target: SortTarget::Create,
        max_create_revision: revision,
        ..RangeRequest::default()
    }
}

async fn range(
    shared: &Shared,
    who: &Credentials,
    request: RangeRequest,
) -> Result<(Position, Option<KeyValue>), Status> {
    let (position, reply) = kv::range(shared, who, request, Consistency::Linearizable).await?;
    Ok((position, reply.kvs.into_iter().next()))
}

/// Who is first, if anybody is.
pub async fn first(shared: &Shared, who: &Credentials, name: &Bytes) -> Result<(Position, Option<KeyValue>), Status> {
    range(shared, who, end_of_queue(name, SortOrder::Ascend, 0)).await
}

/// What joining a queue found.
struct Joined {
    position: Position,
    place: Place,
    /// Nobody is before.
    first: bool,
    /// What the key says that was there already.
    says: Option<Bytes>,
}

/// Makes the key, unless the lease has one there already.
async fn join(
    shared: &Shared,
    who: &Credentials,
    entrant: &Entrant,
    lease: LeaseId,
    own_lease: bool,
) -> Result<Joined, Status> {
    let key: Bytes = [&prefix(&entrant.name)[..], hex(lease).as_bytes()].concat().into();
    let value = entrant.value.clone().unwrap_or_default();
    let put = PutRequest { key: key.clone(), value, lease, ..PutRequest::default() };
    let own = RangeRequest { key: key.clone(), ..RangeRequest::default() };
    let owner = RangeRequest { keys_only: true, ..end_of_queue(&entrant.name, SortOrder::Ascend, 0) };
    let request = TxnRequest {
        compare: vec![made_at(&key, 0)],
        success: vec![TxnOp::Put(put), TxnOp::Range(owner.clone())],
        failure: vec![TxnOp::Range(own), TxnOp::Range(owner)],
    };
    let (position, reply) = txn(shared, who, request).await?;
    let made = reply.succeeded;
    let mut found = reply.replies.into_iter().map(|reply| match reply {
        TxnOpReply::Range(reply) => reply.kvs.into_iter().next(),
        _ => None,
    });
    let (Some(own), Some(Some(owner))) = (found.next(), found.next()) else {
        return Err(status::wrong_reply());
    };
    let revision = own.as_ref().map_or(position.revision, |own| own.create_revision);
    let place = Place { key, lease, revision, own_lease, made };
    Ok(Joined { position, place, first: owner.create_revision == revision, says: own.map(|own| own.value) })
}

async fn wait_for_turn(
    shared: &Arc<Shared>,
    who: &Credentials,
    entrant: &Entrant,
    joined: Joined,
) -> Result<Position, Status> {
    let Joined { mut position, place, first, says } = joined;
    if let (Some(says), Some(value)) = (says, &entrant.value)
        && says != value
    {
        position = replace(shared, who, &place.key, place.revision, place.lease, value.clone()).await?;
    }
    if first { Ok(position) } else { wait(shared, who, entrant, &place).await }
}

/// As Go's `%x` writes an id.
fn hex(lease: LeaseId) -> String {
    let sign = if lease.0 < 0 { "-" } else { "" };
    format!("{sign}{:x}", lease.0.unsigned_abs())
}

fn made_at(key: &Bytes, revision: i64) -> Compare {
    Compare {
        space: Space::User,
        key: key.clone(),
        range_end: Bytes::new(),
        result: CompareResult::Equal,
        target: CompareTarget::Create(revision),
    }
}

async fn txn(shared: &Shared, who: &Credentials, request: TxnRequest) -> Result<(Position, TxnReply), Status> {
    match write(shared, who, Op::Txn(request)).await? {
        (position, Reply::Txn(reply)) => Ok((position, reply)),
        _ => Err(status::wrong_reply()),
    }
}

/// Does `then` if the key is the one made at `revision`.
async fn if_made_at(
    shared: &Shared,
    who: &Credentials,
    key: &Bytes,
    revision: i64,
    then: TxnOp,
) -> Result<(Position, bool), Status> {
    let compare = vec![made_at(key, revision)];
    let request = TxnRequest { compare, success: vec![then], ..TxnRequest::default() };
    let (position, reply) = txn(shared, who, request).await?;
    Ok((position, reply.succeeded))
}

/// Waits until no key is older. The last look at the own key comes after that, through a quorum.
async fn wait(shared: &Arc<Shared>, who: &Credentials, entrant: &Entrant, place: &Place) -> Result<Position, Status> {
    loop {
        let older = end_of_queue(&entrant.name, SortOrder::Descend, place.revision - 1);
        let (looked, before) = range(shared, who, RangeRequest { keys_only: true, ..older }).await?;
        let own = RangeRequest { key: place.key.clone(), ..RangeRequest::default() };
        let (position, own) = range(shared, who, own).await?;
        if own.is_none_or(|kv| kv.create_revision != place.revision) {
            return Err(status::session_expired(entrant.what));
        }
        let Some(before) = before else { return Ok(position) };
        tokio::select! {
            gone = deleted(shared, who, before.key, looked.revision + 1) => gone?,
            gone = deleted(shared, who, place.key.clone(), looked.revision + 1) => gone?,
        }
    }
}

/// Waits until the key is deleted, from `revision` on, or might have been.
async fn deleted(shared: &Arc<Shared>, who: &Credentials, key: Bytes, revision: i64) -> Result<(), Status> {
    let changes = Changes::from(shared, who, key, Bytes::new(), revision).await?;
    let Some(mut changes) = changes else { return Ok(()) };
    while let Some(events) = changes.next().await? {
        if events.iter().any(|event| event.kind == EventKind::Delete) {
            break;
        }
    }
    Ok(())
}

/// Gives the key made at `revision` another value, if it is still that key. A lease of 0 leaves the key's own.
pub async fn replace(
    shared: &Shared,
    who: &Credentials,
    key: &Bytes,
    revision: i64,
    lease: LeaseId,
    value: Bytes,
) -> Result<Position, Status> {
    let ignore_lease = lease == LeaseId::NONE;
    let put = PutRequest { key: key.clone(), value, lease, ignore_lease, ..PutRequest::default() };
    match if_made_at(shared, who, key, revision, TxnOp::Put(put)).await? {
        (position, true) => Ok(position),
        _ => Err(status::not_leader()),
    }
}

/// Removes the key made at `revision`, if it is still that key.
pub async fn remove(shared: &Shared, who: &Credentials, key: &Bytes, revision: i64) -> Result<Position, Status> {
    let delete = DeleteRangeRequest { key: key.clone(), ..DeleteRangeRequest::default() };
    if_made_at(shared, who, key, revision, TxnOp::DeleteRange(delete)).await.map(|(position, _)| position)
}

/// Gives a place up. Where that cannot be written, the end of the lease does it.
async fn leave(shared: &Shared, who: &Credentials, place: &Place) {
    if place.own_lease {
        revoke(shared, who, place.lease).await;
    } else if place.made
        && let Err(error) = remove(shared, who, &place.key, place.revision).await
    {
        tracing::debug!(%error, "a place in a queue stays until its lease ends");
    }
}

async fn revoke(shared: &Shared, who: &Credentials, id: LeaseId) {
    if let Err(error) = write(shared, who, Op::LeaseRevoke { id }).await {
        tracing::debug!(%error, "a lease of a queue stays until it ends");
    }
}
