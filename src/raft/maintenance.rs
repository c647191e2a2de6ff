//! What operators ask of a member: copies of its state, and another leader.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use super::node::Node;
use super::snapshot::Outgoing;
use crate::base::limits::{CLIENT_SNAPSHOTS_MAX, QUORUM_WAIT_MS_MAX};
use crate::base::{BoxFuture, MemberId};
use crate::kv::{SnapshotStream, StoreError};

/// A copy of the state on its way to a client. It is in a file of its own, so that a slow reader holds nothing up.
struct Copy {
    bytes: u64,
    /// `None` at the end, and after a failure.
    outgoing: Option<Outgoing>,
    _permit: OwnedSemaphorePermit,
}

/// Copies the state as it is now.
pub async fn snapshot(node: &Node) -> Result<Box<dyn SnapshotStream>, StoreError> {
    let permit = node.transfers.for_clients().try_acquire_owned().map_err(|_| {
        StoreError::Overloaded(format!("{CLIENT_SNAPSHOTS_MAX} snapshots of this node are being read already"))
    })?;
    let (transfers, core) = (node.transfers.clone(), node.core.clone());
    let outgoing = blocking(move || transfers.export(&core)).await?;
    Ok(Box::new(Copy { bytes: outgoing.bytes, outgoing: Some(outgoing), _permit: permit }))
}

impl SnapshotStream for Copy {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn next(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, StoreError>> {
        Box::pin(async {
            let Some(mut outgoing) = self.outgoing.take() else {
                return Ok(None);
            };
            let (outgoing, data) = blocking(move || outgoing.next().map(|data| (outgoing, data))).await?;
            if data.is_empty() {
                return Ok(None);
            }
            self.outgoing = Some(outgoing);
            Ok(Some(data))
        })
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, StoreError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(error.to_string())).map_err(StoreError::Broken)
}

/// Has `to` lead in the place of this member. Writes that come meanwhile wait for the new leader.
pub async fn move_leader(node: &Node, to: MemberId) -> Result<(), StoreError> {
    let mut lead = node.lead.subscribe();
    let now = *lead.borrow_and_update();
    if !now.here {
        return Err(StoreError::NotLeader { leader: now.known });
    }
    if !node.voters().contains(&to) {
        return Err(StoreError::CannotLead { member: to, why: "it is no voting member" });
    }
    if to == node.me.member {
        return Ok(());
    }
    if !node.peers.health.reachable(to) {
        return Err(StoreError::CannotLead { member: to, why: "it does not answer" });
    }
    if node.hand_over(to.0).await.is_err() {
        return Err(node.let_go().await);
    }
    let wait = Duration::from_millis(QUORUM_WAIT_MS_MAX);
    let moved = lead.wait_for(|lead| !lead.here && lead.leader.is_some());
    let new = match tokio::time::timeout(wait, moved).await {
        Ok(Ok(lead)) => lead.leader,
        Ok(Err(_)) => return Err(StoreError::Stopping),
        Err(_) => None,
    };
    match new {
        Some(leader) if leader == to => {
            tracing::info!(%leader, "leadership was moved");
            Ok(())
        }
        Some(leader) => {
            tracing::warn!(%leader, wanted = %to, "leadership went to another member");
            Err(StoreError::CannotLead { member: to, why: "another member was elected" })
        }
        None => {
            // openraft takes no writes any more once it has begun to hand over: a new term ends that.
            let here = node.lead.borrow().here;
            if here && node.raft.trigger().elect(false).await.is_err() {
                return Err(node.let_go().await);
            }
            Err(StoreError::TimedOut { waited: wait, doing: format!("until {to} leads") })
        }
    }
}
