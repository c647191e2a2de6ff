//! A member that starts without memory votes for nobody before it is clear that it has none to lose.
//!
//! What a member has voted for and what it has acknowledged lies on its disk. If the disk was emptied, its old promises still
//! count for the others, and it would break them: with another member down, writes that a quorum acknowledged could be lost.
//! So a member whose directory is new asks the others first:
//!
//! * None of those that answer, a quorum with this one, has met it before: it is new itself, or all is. It is free at once.
//! * Somebody has: its memory is gone. It takes part in nothing until the leader has brought a new entry onto the disks of a
//!   quorum without it. Whoever could still lead by this member's old vote lacks that entry, so the quorum will not elect
//!   it. From then on this member follows that leader's term and later ones, and once it holds the entry, it may vote.
//! * Or until all other voters have told how far they are, which is all that its promises can have led to. Then it may also
//!   vote, in a later term, for one that is as far as the furthest of them; a cluster of two could not go on otherwise.
//!
//! The mark `probation` in the directory, which comes before everything else, outlives restarts.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::members;
use super::node::Node;
use super::peer::message::{Lane, Request, Response};
use super::types::{self, LogId};
use crate::base::MemberId;
use crate::base::limits::QUORUM_WAIT_MS_MAX;
use crate::disk;

/// The mark's file.
const PROBATION_FILE: &str = "probation";
/// Pause between two rounds of questions.
const AGAIN: Duration = Duration::from_millis(100);
/// How long a question about the member's past may take to be answered before others are told to ask again.
const DECIDED_WITHIN: Duration = Duration::from_millis(500);

/// How far a member is trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It remembers all that it ever did.
    Trusted,
    /// Nobody has been asked yet.
    Unknown,
    /// Its memory is gone, and no quorum has spoken since.
    Amnesiac,
    /// It follows `term` and later ones until it has applied `index`. Where all others have spoken, `furthest` is how far
    /// they are: who is as far may have its vote in a later term.
    Follows { term: u64, index: u64, furthest: Option<LogId> },
}

/// What a member knows of another one's past.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// The other one has taken part before.
    pub met: bool,
    /// The term of the one who tells, and where its log ends.
    pub term: u64,
    pub last: Option<LogId>,
    /// The members that it knows, and whether they vote.
    pub members: Vec<(MemberId, types::Node, bool)>,
}

/// A member's standing, and the mark of it.
pub struct Probation {
    mark: PathBuf,
    standing: watch::Sender<Standing>,
}

impl Probation {
    /// Sets the mark if the directory is `fresh`, and reads it.
    pub fn open(dir: &Path, fresh: bool) -> io::Result<Self> {
        let mark = dir.join(PROBATION_FILE);
        if fresh {
            std::fs::File::create(&mark)?.sync_all()?;
            disk::sync_folder_of(&mark)?;
        }
        let standing = if mark.exists() { Standing::Unknown } else { Standing::Trusted };
        Ok(Self { mark, standing: watch::Sender::new(standing) })
    }

    pub fn standing(&self) -> Standing {
        *self.standing.borrow()
    }

    /// The standing once the others have been asked, or a little later.
    async fn decided(&self) -> Standing {
        let mut standing = self.standing.subscribe();
        let decided = standing.wait_for(|standing| *standing != Standing::Unknown);
        match tokio::time::timeout(DECIDED_WITHIN, decided).await {
            Ok(Ok(standing)) => *standing,
            _ => self.standing(),
        }
    }

    /// Whether this member may vote in `term` for one whose log ends at `last`.
    pub async fn may_vote(&self, term: u64, last: Option<LogId>) -> Result<(), String> {
        match self.decided().await {
            Standing::Trusted => Ok(()),
            Standing::Follows { term: seen, furthest: Some(furthest), .. } if term > seen && last >= Some(furthest) => {
                Ok(())
            }
            _ => Err("this member has lost its data and does not vote until it has caught up".to_owned()),
        }
    }

    /// Whether this member may take entries from a leader of `term`.
    pub async fn may_follow(&self, term: u64) -> Result<(), String> {
        match self.decided().await {
            Standing::Trusted => Ok(()),
            Standing::Follows { term: least, .. } if term >= least => Ok(()),
            _ => Err("this member has lost its data and waits for a quorum of the others".to_owned()),
        }
    }

    /// Removes the mark for good. Blocks.
    fn clear(&self) -> io::Result<()> {
        std::fs::remove_file(&self.mark)?;
        disk::sync_folder_of(&self.mark)?;
        self.standing.send_replace(Standing::Trusted);
        Ok(())
    }
}

/// What this member knows of another one, of which `instance` asks.
pub async fn remember(node: &Node, other: MemberId, instance: u64) -> Result<Memory, String> {
    let state =
        node.raft.with_raft_state(|state| (state.vote_ref().leader_id.term, state.log_ids.last().copied())).await;
    let (term, last) = state.map_err(|error| error.to_string())?;
    let named = members::all(node).is_ok_and(|all| all.iter().any(|m| m.id == other && !m.name.is_empty()));
    let stored = node.membership();
    let voters: Vec<u64> = stored.membership().voter_ids().collect();
    let member = |(id, node): (&u64, &types::Node)| (MemberId(*id), node.clone(), voters.contains(id));
    Ok(Memory {
        // Before there was a leader, nobody can have forgotten anything.
        met: term > 0 && (named || node.guests.met_before(other, instance)),
        term,
        last,
        members: stored.membership().nodes().map(member).collect(),
    })
}

/// Has a quorum write an entry to its disks, if this member leads: for one who takes no part in it. The entry's term and index.
pub async fn vouch(node: &Node) -> Option<(u64, u64)> {
    if !node.lead.borrow().here {
        return None;
    }
    let entry = types::Batch::join(node.clock.now(), std::iter::empty()).ok()?;
    let written = node.raft.client_write(entry);
    match tokio::time::timeout(Duration::from_millis(QUORUM_WAIT_MS_MAX), written).await {
        Ok(Ok(response)) => Some((response.log_id.leader_id.term, response.log_id.index)),
        _ => None,
    }
}

/// Finds out how far this member may be trusted, and waits until it may be. Completes at once if there is no doubt.
pub async fn end(node: &Arc<Node>, election: Duration) {
    let probation = &node.probation;
    while probation.standing() != Standing::Trusted {
        let standing = match probation.standing() {
            Standing::Unknown => ask(node, election).await,
            Standing::Amnesiac => wait_for_quorum(node).await,
            Standing::Follows { term, index, .. } => {
                catch_up(node, index).await;
                tracing::info!(term, index, "this member has caught up and votes again");
                Standing::Trusted
            }
            Standing::Trusted => return,
        };
        if standing == Standing::Trusted {
            let node = node.clone();
            let cleared = tokio::task::spawn_blocking(move || node.probation.clear()).await;
            if let Ok(Err(error)) = cleared {
                tracing::error!("the mark `{PROBATION_FILE}` cannot be removed, this member does not vote: {error}");
                return;
            }
        } else {
            probation.standing.send_replace(standing);
        }
    }
    if let Some(lease) = &node.read_lease {
        lease.wait_for_votes().await;
    }
    node.raft.runtime_config().elect(true);
}

/// Asks all others until a quorum, this member included, has answered.
async fn ask(node: &Node, wait: Duration) -> Standing {
    let mut arrivals = node.peers.arrivals();
    loop {
        arrivals.mark_unchanged();
        let (peers, memories) = memories(node, wait).await;
        if memories.iter().any(|(_, memory)| memory.met) {
            tracing::warn!(
                "the data of this member is gone, the others know it; it takes part in nothing until a quorum of them \
                 has confirmed the log, and votes when it has caught up"
            );
            return Standing::Amnesiac;
        }
        // As many as it takes, with this one, to elect a leader.
        if memories.len() >= peers.div_ceil(2) {
            return Standing::Trusted;
        }
        tokio::select! {
            _ = arrivals.changed() => {}
            () = tokio::time::sleep(AGAIN) => {}
        }
    }
}

/// How many were asked, and what those remember that answered.
async fn memories(node: &Node, wait: Duration) -> (usize, Vec<(MemberId, Memory)>) {
    let request = Request::Remember { instance: node.me.instance };
    let peers = node.peers.ids();
    let asked = peers.iter().map(|id| node.peers.ask(*id, Lane::Control, &request, wait));
    let answers = futures_util::future::join_all(asked).await;
    let memories = peers.iter().zip(answers).filter_map(|(id, answer)| match answer {
        Ok(Response::Remember(memory)) => Some((*id, memory)),
        _ => None,
    });
    (peers.len(), memories.collect())
}

/// What the memories come to, if no other voter is missing among those who told them.
fn all_spoke(me: MemberId, memories: &[(MemberId, Memory)]) -> Option<Standing> {
    let spoke = |id: &MemberId| *id == me || memories.iter().any(|(other, _)| other == id);
    let mut known = memories.iter().flat_map(|(_, memory)| &memory.members);
    let furthest = memories.iter().filter_map(|(_, memory)| memory.last).max()?;
    let term = memories.iter().map(|(_, memory)| memory.term).max()?;
    let all = known.all(|(id, _, votes)| !votes || spoke(id));
    all.then_some(Standing::Follows { term, index: furthest.index, furthest: Some(furthest) })
}

/// Asks for a leader whose quorum holds a new entry without this member, or for all others.
async fn wait_for_quorum(node: &Arc<Node>) -> Standing {
    let wait = Duration::from_millis(QUORUM_WAIT_MS_MAX);
    loop {
        let (_, memories) = memories(node, wait).await;
        // Members that came after this one's settings were written.
        for (id, member, _) in memories.iter().flat_map(|(_, memory)| &memory.members) {
            node.peers.ensure(*id, &member.addresses());
        }
        if let Some(standing) = all_spoke(node.me.member, &memories) {
            return standing;
        }
        let asked = node
            .peers
            .ids()
            .into_iter()
            .map(|id| async move { node.peers.ask(id, Lane::Control, &Request::Vouch, wait).await });
        for answer in futures_util::future::join_all(asked).await {
            if let Ok(Response::Vouched { term, index }) = answer {
                return Standing::Follows { term, index, furthest: None };
            }
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Waits until the log is applied up to `index`.
async fn catch_up(node: &Node, index: u64) {
    let mut progress = node.core.progress();
    let reached = progress.wait_for(|progress| progress.applied.is_some_and(|id| id.index >= index));
    // The sender ends with the node, and this with it.
    let _ = reached.await;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use openraft::impls::leader_id_std::LeaderId;
    use openraft::vote::RaftLeaderId;

    fn log_id(term: u64, index: u64) -> LogId {
        LogId { leader_id: LeaderId::new(term, 0).to_committed(), index }
    }

    #[test]
    fn all_voters_must_have_spoken() {
        let member = |id, votes| (MemberId(id), types::Node::default(), votes);
        let memory = |term, last, members: &[(MemberId, types::Node, bool)]| Memory {
            met: true,
            term,
            last,
            members: members.to_vec(),
        };
        let three = [member(1, true), member(2, true), member(3, true), member(4, false)];
        let one = (MemberId(1), memory(3, Some(log_id(2, 9)), &three));
        let two = (MemberId(2), memory(2, Some(log_id(3, 4)), &[]));
        assert_eq!(all_spoke(MemberId(3), &[]), None);
        assert_eq!(all_spoke(MemberId(3), std::slice::from_ref(&one)), None);
        let furthest = Some(log_id(3, 4));
        assert_eq!(all_spoke(MemberId(3), &[one, two]), Some(Standing::Follows { term: 3, index: 4, furthest }));
    }

    #[tokio::test]
    async fn the_mark_outlives_restarts_until_it_is_cleared() {
        let dir = tempfile::tempdir().unwrap();
        let fresh = Probation::open(dir.path(), true).unwrap();
        assert_eq!(fresh.standing(), Standing::Unknown);
        assert!(fresh.may_vote(9, None).await.is_err() && fresh.may_follow(9).await.is_err());
        let again = Probation::open(dir.path(), false).unwrap();
        assert_eq!(again.standing(), Standing::Unknown);
        again.standing.send_replace(Standing::Follows { term: 4, index: 7, furthest: None });
        assert!(again.may_follow(3).await.is_err() && again.may_follow(4).await.is_ok());
        assert!(again.may_vote(5, Some(log_id(4, 9))).await.is_err());
        again.standing.send_replace(Standing::Follows { term: 4, index: 7, furthest: Some(log_id(3, 7)) });
        for (term, last, may) in [
            (4, Some(log_id(3, 7)), false),
            (5, Some(log_id(3, 6)), false),
            (5, Some(log_id(2, 9)), false),
            (5, None, false),
            (5, Some(log_id(3, 7)), true),
        ] {
            assert_eq!(again.may_vote(term, last).await.is_ok(), may, "{term} {last:?}");
        }
        again.clear().unwrap();
        assert!(again.may_vote(1, None).await.is_ok() && again.may_follow(0).await.is_ok());
        assert_eq!(Probation::open(dir.path(), false).unwrap().standing(), Standing::Trusted);
    }
}
