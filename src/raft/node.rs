//! The parts of a running node, shared by its tasks.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::Fatal;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::leader::Lead;
use super::machine::Core;
use super::peer::Peers;
use super::peer::guests::Guests;
use super::peer::handshake::Identity;
use super::probation::Probation;
use super::proposer::Proposer;
use super::read_lease::ReadLease;
use super::reads::Reads;
use super::seats::Seats;
use super::snapshot::Transfers;
use super::types::{Raft, StoredMembership, TypeConfig};
use super::upkeep::DiskView;
use crate::base::limits::QUORUM_WAIT_MS_MAX;
use crate::base::{Clock, MemberId};
use crate::kv::StoreError;

/// How long after it has let go of a request openraft's end is waited for.
const END_WAIT: Duration = Duration::from_millis(500);

/// The parts of a running node.
pub struct Node {
    pub me: Arc<Identity>,
    pub name: String,
    pub clock: Arc<dyn Clock>,
    pub raft: Raft,
    pub core: Arc<Core>,
    pub peers: Arc<Peers>,
    pub transfers: Arc<Transfers>,
    pub proposer: Proposer,
    pub reads: Reads,
    /// `None` where reads always ask a quorum.
    pub read_lease: Option<ReadLease>,
    pub seats: Seats,
    pub disk: DiskView,
    pub lead: watch::Sender<Lead>,
    pub guests: Arc<Guests>,
    pub probation: Probation,
    /// Held while the members are changed.
    pub changing: tokio::sync::Mutex<()>,
    /// Set when openraft has ended, in order or not.
    pub ended: OnceLock<StoreError>,
    /// How long a quorum's word keeps others from leading.
    pub lease: Duration,
    pub stop: CancellationToken,
    pub tasks: TaskTracker,
}

impl Node {
    /// Why this node can do nothing any more, if so.
    pub fn broken(&self) -> Option<StoreError> {
        if let Some(error) = self.ended.get() {
            return Some(error.clone());
        }
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        metrics.running_state.as_ref().err().map(ended)
    }

    /// Why openraft has let go of a request: mostly because it is about to end, which is noted in `ended` a little later.
    pub async fn let_go(&self) -> StoreError {
        let mut leads = self.lead.subscribe();
        let noted = leads.wait_for(|_| self.ended.get().is_some());
        // Whether it came in time or not shows in what is noted.
        let _ = tokio::time::timeout(END_WAIT, noted).await;
        self.ended.get().cloned().unwrap_or_else(|| StoreError::TimedOut {
            waited: END_WAIT,
            doing: "replicating; the request was dropped and may yet happen".to_owned(),
        })
    }

    /// The membership, as this node last heard.
    pub fn membership(&self) -> Arc<StoredMembership> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        metrics.membership_config.clone()
    }

    /// The voters, as this node last heard.
    pub fn voters(&self) -> Vec<MemberId> {
        self.membership().membership().voter_ids().map(MemberId).collect()
    }

    /// The voter that answers and whose log is the longest, for when this member no longer wants to lead.
    pub fn heir(&self) -> Option<u64> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let matched = |id: &u64| metrics.replication.as_ref().and_then(|all| *all.get(id)?);
        let voters = metrics.membership_config.membership().voter_ids();
        let others = voters.filter(|id| *id != self.me.member.0 && self.peers.health.answers(MemberId(*id)));
        others.max_by_key(|id| (matched(id).map(|id| id.index), *id))
    }

    /// Has the voter `to` stand for election in the place of this leader.
    pub async fn hand_over(&self, to: u64) -> Result<(), Fatal<TypeConfig>> {
        if let Some(lease) = &self.read_lease {
            lease.hand_over(self.raft.with_raft_state(|state| state.vote_ref().leader_id.term).await?);
        }
        self.raft.trigger().transfer_leader(to).await
    }

    /// Why a request got no answer in time.
    pub fn unavailable(&self, doing: &str) -> StoreError {
        if let Some(error) = self.broken() {
            return error;
        }
        let mut voters = self.voters();
        if voters.is_empty() {
            voters = self.peers.ids();
            voters.push(self.me.member);
        }
        let reachable = voters.iter().filter(|id| **id == self.me.member || self.peers.health.reachable(**id)).count();
        let needed = voters.len() / 2 + 1;
        if reachable < needed {
            return StoreError::NoQuorum {
                reachable,
                voters: voters.len(),
                needed,
                missing: self.peers.health.missing(),
            };
        }
        match self.lead.borrow().leader {
            None => StoreError::NoLeader {
                detail: format!(
                    "{reachable} of {} voters answer; missing: {}",
                    voters.len(),
                    self.peers.health.missing()
                ),
            },
            Some(leader) => StoreError::TimedOut {
                waited: Duration::from_millis(QUORUM_WAIT_MS_MAX),
                doing: format!("{doing} through the leader {leader}"),
            },
        }
    }
}

/// What the end of openraft means to a request.
pub fn ended(fatal: &Fatal<TypeConfig>) -> StoreError {
    match fatal {
        Fatal::Stopped => StoreError::Stopping,
        error => StoreError::Broken(format!("replication has failed: {error}; restart the node")),
    }
}
