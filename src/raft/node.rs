//! The parts of a running node, shared by its tasks.

use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::leader::Lead;
use super::machine::Core;
use super::peer::Peers;
use super::peer::handshake::Identity;
use super::proposer::Proposer;
use super::reads::Reads;
use super::snapshot::Transfers;
use super::types::{Raft, StoredMembership};
use crate::base::limits::QUORUM_WAIT_MS_MAX;
use crate::base::{Clock, MemberId};
use crate::kv::StoreError;

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
    pub lead: watch::Sender<Lead>,
    /// How long a quorum's word keeps others from leading.
    pub lease: Duration,
    pub stop: CancellationToken,
    pub tasks: TaskTracker,
}

impl Node {
    /// Why this node can do nothing any more, if so.
    pub fn broken(&self) -> Option<StoreError> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        match &metrics.running_state {
            Ok(()) => None,
            Err(openraft::errors::Fatal::Stopped) => Some(StoreError::Stopping),
            Err(error) => Some(StoreError::Broken(error.to_string())),
        }
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

    /// Why a request got no answer in time.
    pub fn unavailable(&self, doing: &str) -> StoreError {
        if let Some(error) = self.broken() {
            return error;
        }
        let mut voters = self.voters();
        if voters.is_empty() {
            voters.clone_from(&self.me.peers);
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
