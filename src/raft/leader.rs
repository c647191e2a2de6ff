//! Who leads, as this node sees it.

use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;
use openraft::metrics::RaftServerMetrics;
use openraft::{Instant as _, RaftMetrics, ServerState};

use super::node::{Node, ended};
use super::types::{Raft, TypeConfig};
use crate::base::MemberId;
use crate::kv::StoreError;

/// How soon a leader that is not to be seen is looked for again.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Who leads, and in which term.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lead {
    /// The leader, if it is known to be alive: it answers, or, where it is this node, a quorum answers it.
    pub leader: Option<MemberId>,
    /// The leader of this term, alive or not: where requests go.
    pub known: Option<MemberId>,
    pub term: u64,
    /// This node is the leader, and has not been without a quorum for longer than an election takes.
    pub here: bool,
}

/// Follows openraft's view of the leader into `node.lead`, until openraft or the node ends.
pub async fn follow(node: Arc<Node>) {
    let mut changes = node.raft.server_metrics();
    let mut arrivals = node.peers.arrivals();
    let mut acknowledged = node.raft.metrics();
    loop {
        // What is looked at is what is waited for: openraft's other metrics change a little later.
        let (now, look_again) = look(&node, &changes.borrow_and_update());
        node.lead.send_if_modified(|old| {
            let news = *old != now;
            if old.here && !now.here && old.term == now.term {
                let missing = node.peers.health.missing();
                tracing::warn!(
                    "no quorum has answered for {:?}: stepped down as leader; missing: {missing}",
                    node.lease
                );
            }
            if old.leader != now.leader {
                match now.leader {
                    Some(leader) => tracing::info!(%leader, term = now.term, "leader is up"),
                    None => tracing::info!(term = now.term, "no leader"),
                }
            }
            *old = now;
            news
        });
        tokio::select! {
            () = node.stop.cancelled() => return,
            changed = changes.changed() => {
                if changed.is_err() {
                    return openraft_ended(&node).await;
                }
            }
            _ = arrivals.changed() => {}
            // The quorum's first word makes a new leader known to itself at once.
            _ = acknowledged.changed(), if now.here && now.leader.is_none() => {}
            () = tokio::time::sleep(look_again.unwrap_or_default()), if look_again.is_some() => {}
        }
    }
}

/// Notes why openraft has ended, for all who ask or wait.
async fn openraft_ended(node: &Node) {
    let error = match node.raft.with_raft_state(|_| ()).await {
        Err(fatal) => ended(&fatal),
        Ok(()) => StoreError::Stopping,
    };
    if error != StoreError::Stopping {
        tracing::error!("{error}");
    }
    node.ended.get_or_init(|| error);
    node.lead.send_replace(Lead::default());
}

/// The present view, and after what time it may be outdated without any other sign.
fn look(node: &Node, server: &RaftServerMetrics<TypeConfig>) -> (Lead, Option<Duration>) {
    let leading = server.state == ServerState::Leader;
    let known = server.current_leader.map(MemberId);
    let alive_for = match known {
        Some(_) if leading => lease_left(&node.raft.metrics().borrow_watched(), node.lease),
        Some(leader) => node.peers.health.trusted_for(leader),
        None => None,
    };
    // A leader that was elected this moment has no answer yet; one that has none any more leads nobody.
    let here = leading && (alive_for.is_some() || node.raft.metrics().borrow_watched().last_quorum_acked.is_none());
    let lead = Lead { leader: known.filter(|_| alive_for.is_some()), known, term: server.vote.leader_id.term, here };
    let look_again = known.map(|_| alive_for.unwrap_or(LOOK_AGAIN));
    (lead, look_again)
}

/// Whether this node leads and a quorum has confirmed it within `lease`, so that nobody else can lead yet.
pub fn confirmed(raft: &Raft, lease: Duration) -> bool {
    let metrics = raft.metrics();
    let metrics = metrics.borrow_watched();
    metrics.state == ServerState::Leader && lease_left(&metrics, lease).is_some()
}

/// How long the quorum's word still holds. A leader without other voters needs none.
fn lease_left(metrics: &RaftMetrics<TypeConfig>, lease: Duration) -> Option<Duration> {
    if metrics.membership_config.membership().voter_ids().count() == 1 {
        return Some(lease);
    }
    let age = metrics.last_quorum_acked?.into_inner().elapsed();
    lease.checked_sub(age).filter(|left| !left.is_zero())
}
