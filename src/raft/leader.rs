//! Who leads, as this node sees it.

use std::time::Duration;

use openraft::ServerState;
use openraft::async_runtime::watch::WatchReceiver;
use tokio::sync::watch;

use super::types::{Raft, TypeConfig};
use crate::base::MemberId;

/// Who leads, and in which term.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lead {
    pub leader: Option<MemberId>,
    pub term: u64,
    /// This node is the leader.
    pub here: bool,
}

/// Follows openraft's view of the leader into `lead`, until openraft ends. Returns why it ended.
pub async fn follow(raft: Raft, lead: watch::Sender<Lead>) {
    let mut metrics = raft.server_metrics();
    loop {
        let now = {
            let metrics = metrics.borrow_and_update();
            Lead {
                leader: metrics.current_leader.map(MemberId),
                term: metrics.vote.leader_id.term,
                here: metrics.state == ServerState::Leader,
            }
        };
        lead.send_if_modified(|old| {
            let news = *old != now;
            if news && old.leader != now.leader {
                match now.leader {
                    Some(leader) => tracing::info!(%leader, term = now.term, "leader elected"),
                    None => tracing::info!(term = now.term, "no leader"),
                }
            }
            *old = now;
            news
        });
        if metrics.changed().await.is_err() {
            lead.send_replace(Lead::default());
            return;
        }
    }
}

/// Whether this node leads and a quorum has confirmed it within `lease`, so that nobody else can lead yet.
pub fn confirmed(raft: &Raft, lease: Duration) -> bool {
    let metrics = raft.metrics();
    let metrics = metrics.borrow_watched();
    metrics.state == ServerState::Leader
        && (metrics.membership_config.membership().voter_ids().count() == 1
            || metrics.last_quorum_acked.is_some_and(|acked| instant_elapsed(acked) < lease))
}

type AckInstant = openraft::metrics::SerdeInstant<
    <<TypeConfig as openraft::RaftTypeConfig>::AsyncRuntime as openraft::AsyncRuntime>::Instant,
>;

fn instant_elapsed(instant: AckInstant) -> Duration {
    openraft::Instant::elapsed(&instant.into_inner())
}
