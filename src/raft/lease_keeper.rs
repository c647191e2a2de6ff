//! Leases between members: keep-alives and questions go to the leader, ends are proposed by it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openraft::impls::OneshotResponder;
use openraft::impls::leader_id_std::LeaderId;
use openraft::vote::RaftLeaderId;
use tokio::time::Instant;

use super::leader;
use super::leases::NotLeading;
use super::node::Node;
use super::peer::message::{Lane, Request, Response};
use super::types::{Batch, CommittedLeader, EncodedOp};
use crate::base::LeaseId;
use crate::base::limits::QUORUM_WAIT_MS_MAX;
use crate::kv::{self, Lease, Op, Space, StoreError};

/// How long one question to the leader may take; a further one may find another leader.
const ATTEMPT: Duration = Duration::from_millis(1_000);
/// Pause after an attempt that failed.
const AGAIN: Duration = Duration::from_millis(100);

/// What is told of a lease: it, its remaining milliseconds, its keys.
pub type Found = Option<(Lease, i64, Vec<Bytes>)>;

/// Takes up the leases when this member has come to lead and has applied its term's first entry; lays them down when it no longer leads.
pub async fn take_up(node: Arc<Node>) {
    let mut leads = node.lead.subscribe();
    let mut progress = node.core.progress();
    let following = async {
        loop {
            let lead = *leads.borrow_and_update();
            let applied = progress.borrow_and_update().applied;
            let wanted = lead.here.then_some(lead.term);
            let leases = &node.core.leases;
            if leases.term() != wanted {
                leases.retire();
                if wanted.is_some() && applied.map(|id| id.leader_id.term) == wanted {
                    node.core.with_state(|state| leases.lead(lead.term, state));
                }
            }
            let settled = leases.term() == wanted;
            tokio::select! {
                changed = leads.changed() => if changed.is_err() { return },
                changed = progress.changed(), if !settled => if changed.is_err() { return },
            }
        }
    };
    tokio::select! {
        () = node.stop.cancelled() => {}
        () = following => {}
    }
    node.core.leases.retire();
}

/// Proposes the ends of leases that ran out.
pub async fn expire(node: Arc<Node>) {
    let expiring = async {
        loop {
            let (term, ids) = node.core.leases.expired().await;
            tracing::debug!(count = ids.len(), "leases ended");
            if let Err(error) = propose_end(&node, term, ids).await {
                // They come up again as long as this member leads.
                tracing::warn!("the end of leases could not be proposed: {error}");
            }
        }
    };
    tokio::select! {
        () = node.stop.cancelled() => {}
        () = expiring => {}
    }
}

/// Notes the remaining times of long leases in the log, so that another leader goes on from there. Without such leases it writes nothing.
pub async fn checkpoint(node: Arc<Node>) {
    let noting = async {
        loop {
            node.core.leases.checkpoint_due().await;
            let _alone = node.core.leases.noting().await;
            let Some((term, left)) = node.core.leases.take_checkpoints() else { continue };
            let left: Vec<_> = left.into_iter().map(|(id, left_ms)| (id, Some(left_ms))).collect();
            if !left.is_empty()
                && let Err(error) = propose(&node, term, Op::LeaseCheckpoint { left }, "noting leases' times").await
            {
                // A new leader then gives these leases more time than they have, which they may bear.
                tracing::warn!("the remaining times of leases could not be noted: {error}");
            }
        }
    };
    tokio::select! {
        () = node.stop.cancelled() => {}
        () = noting => {}
    }
}

/// Takes the note of a lease's remaining time back, before it is promised more. `false`: that cannot be done here.
async fn take_note_back(node: &Node, id: LeaseId) -> bool {
    let leases = &node.core.leases;
    if leases.noted(id).is_none() {
        return true;
    }
    let _alone = leases.noting().await;
    let Some(term) = leases.noted(id) else { return true };
    let op = Op::LeaseCheckpoint { left: vec![(id, None)] };
    match propose(node, term, op, "extending a lease").await {
        Ok(()) => {
            leases.forget_note(id);
            true
        }
        Err(error) => {
            tracing::debug!("the note of a lease's remaining time stays: {error}");
            false
        }
    }
}

async fn propose_end(node: &Node, term: u64, ids: Vec<LeaseId>) -> Result<(), String> {
    propose(node, term, Op::LeaseExpire { ids }, "ending leases").await
}

/// Proposes past the batcher, and in this term only: another leader has times of its own.
async fn propose(node: &Node, term: u64, op: Op, doing: &str) -> Result<(), String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let op = EncodedOp::new(&op).map_err(|error| text(&error))?;
    let batch = Batch::join(node.clock.now(), std::iter::once(&op)).map_err(|error| text(&error))?;
    let leader: CommittedLeader = LeaderId::new(term, node.me.member.0).to_committed();
    let (responder, response) = OneshotResponder::new_pair();
    let write = node.raft.write(batch).with_leader(leader).responder(responder);
    write.await.map_err(|error| text(&error))?;
    let wait = Duration::from_millis(QUORUM_WAIT_MS_MAX);
    match tokio::time::timeout(wait, response).await {
        Ok(Ok(Ok(_))) => Ok(()),
        Ok(Ok(Err(error))) => Err(text(&error)),
        Ok(Err(_)) => Err("replication has ended".to_owned()),
        Err(_) => Err(node.unavailable(doing).to_string()),
    }
}

/// Extends a lease, if this member leads for certain. `None`: it does not.
async fn keep_alive_here(node: &Node, lease: LeaseId) -> Option<i64> {
    if !leader::confirmed(&node.raft, node.lease) {
        return None;
    }
    if !take_note_back(node, lease).await || !leader::confirmed(&node.raft, node.lease) {
        return None;
    }
    node.core.leases.keep_alive(lease).ok()
}

/// Tells of a lease, if this member leads for certain. `None`: it does not.
async fn time_to_live_here(node: &Node, id: LeaseId, keys: bool) -> Result<Option<Found>, String> {
    if !leader::confirmed(&node.raft, node.lease) {
        return Ok(None);
    }
    let (lease, left) = match node.core.leases.remaining_ms(id) {
        Ok(Some(found)) => found,
        Ok(None) => return Ok(Some(None)),
        Err(NotLeading) => return Ok(None),
    };
    let keys = match keys {
        true => user_keys(node, id).await?,
        false => Vec::new(),
    };
    Ok(Some(Some((lease, left, keys))))
}

async fn user_keys(node: &Node, id: LeaseId) -> Result<Vec<Bytes>, String> {
    let database = node.core.database()?;
    let read = move || {
        let snapshot = database.reader();
        kv::lease_keys(&snapshot, id).map_err(|error| error.to_string())
    };
    let keys = tokio::task::spawn_blocking(read).await.map_err(|error| error.to_string())??;
    let user = keys.into_iter().filter(|(space, _)| *space == Space::User);
    Ok(user.map(|(_, key)| key).collect())
}

/// Answers a question about a lease, if this member leads for certain. `None`: it does not.
pub async fn answer_here(node: &Node, request: &Request) -> Result<Option<Response>, String> {
    match *request {
        Request::KeepAlive(lease) => Ok(keep_alive_here(node, lease).await.map(Response::KeepAlive)),
        Request::LeaseTimeToLive { lease, keys } => {
            let found = time_to_live_here(node, lease, keys).await?;
            Ok(found.map(Response::LeaseTimeToLive))
        }
        _ => Err("not a question about a lease".to_owned()),
    }
}

/// Extends a lease, wherever the leader is.
pub async fn keep_alive(node: &Node, lease: LeaseId) -> Result<i64, StoreError> {
    match at_leader(node, "extending a lease", Request::KeepAlive(lease)).await? {
        Response::KeepAlive(ttl_ms) => Ok(ttl_ms),
        _ => Err(StoreError::Broken("an answer of another kind".to_owned())),
    }
}

/// Tells of a lease, wherever the leader is.
pub async fn time_to_live(node: &Node, lease: LeaseId, keys: bool) -> Result<Found, StoreError> {
    let request = Request::LeaseTimeToLive { lease, keys };
    match at_leader(node, "asking for a lease", request).await? {
        Response::LeaseTimeToLive(found) => Ok(found),
        _ => Err(StoreError::Broken("an answer of another kind".to_owned())),
    }
}

/// Has the leader answer, this member or another one, within the time that a quorum is waited for.
async fn at_leader(node: &Node, doing: &str, request: Request) -> Result<Response, StoreError> {
    let deadline = Instant::now() + Duration::from_millis(QUORUM_WAIT_MS_MAX);
    let mut leads = node.lead.subscribe();
    loop {
        let lead = *leads.borrow_and_update();
        if lead.here {
            if let Some(response) = answer_here(node, &request).await.map_err(StoreError::Broken)? {
                return Ok(response);
            }
        } else if let Some(leader) = lead.known.filter(|leader| *leader != node.me.member) {
            match node.peers.ask(leader, Lane::Client, &request, ATTEMPT).await {
                Ok(Response::NotLeader) | Err(_) => {}
                Ok(response) => return Ok(response),
            }
        }
        if node.stop.is_cancelled() {
            return Err(StoreError::Stopping);
        }
        if Instant::now() >= deadline {
            return Err(node.unavailable(doing));
        }
        tokio::select! {
            () = node.stop.cancelled() => {}
            _ = leads.changed() => {}
            () = tokio::time::sleep(AGAIN) => {}
        }
    }
}
