//! Reads that a leader answers without asking anybody, where it is told that it may.
//!
//! Whoever has acknowledged a leader votes for no other one for an election timeout. So for half of that time nobody else can
//! have acknowledged a write, as far as the members' clocks run at the same speed: not on machines that are put to sleep,
//! or moved while they run, with their clock standing still meanwhile. Two things would break the promise and are seen to:
//!
//! * a member forgets it when it restarts, so it votes for nobody in its first moments;
//! * a leader that hands over lets the others vote at once, so it answers no more on its lease in that term.
//!
//! Source: section 6.4.1 of the Raft dissertation; etcd's `ReadOnlyLeaseBased`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use openraft::LinearizerOption;
use tokio::time::Instant;

use super::types::Raft;

/// The lease of a member, for the time when it leads.
pub struct ReadLease {
    /// How long after a quorum's word the lease holds.
    age: Duration,
    /// When this member may vote again.
    votes_from: Instant,
    /// The last term in which this member has begun to hand leadership over.
    handed_over: AtomicU64,
}

impl ReadLease {
    /// For a member that starts now.
    pub fn new(election_ms: u64) -> Self {
        let age = Duration::from_millis(election_ms / 2);
        Self { age, votes_from: Instant::now() + age, handed_over: AtomicU64::new(0) }
    }

    /// The log index that a read beginning now must see applied, if this member leads and the lease holds.
    pub async fn index(&self, raft: &Raft) -> Option<u64> {
        let option = LinearizerOption::new(Some(self.age), false).with_wait_timeout(Duration::ZERO);
        let linearizer = raft.get_read_linearizer(option).await.ok()?;
        let read = linearizer.read_log_id();
        // Looked at last: while the note was not there, leadership was not yet given away either.
        let leads_on = read.committed_leader_id().term > self.handed_over.load(Ordering::SeqCst);
        leads_on.then(|| read.index())
    }

    /// Notes that leadership of `term` is about to be handed over.
    pub fn hand_over(&self, term: u64) {
        self.handed_over.fetch_max(term, Ordering::SeqCst);
    }

    /// Whether this member, which cannot know what it promised before it was started, may vote for another one.
    pub fn may_vote(&self) -> Result<(), String> {
        let left = self.votes_from.saturating_duration_since(Instant::now());
        match left.is_zero() {
            true => Ok(()),
            false => Err(format!("this member has just started and does not vote for another {left:?}")),
        }
    }

    /// Waits until this member may vote.
    pub async fn wait_for_votes(&self) {
        tokio::time::sleep_until(self.votes_from).await;
    }
}
