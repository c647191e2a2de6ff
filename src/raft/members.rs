//! Members come and go: what is asked of the leader, what it refuses, and how everybody follows.
//!
//! A new member follows as a learner until it has caught up, whatever was asked for; then the leader lets it vote. Each
//! change of the voters is by one member, so that old and new quorums overlap. Source of the refusals: etcd's
//! `strict-reconfig-check` and its learner rules, as etcd 3.4 answers.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{ChangeMembershipError, ClientWriteError, RaftError};
use openraft::raft::Precondition;
use openraft::{ChangeMembers, EntryPayload, Membership};
use tokio::time::Instant;

use super::leader;
use super::node::Node;
use super::peer::message::{Lane, Request, Response};
use super::peer::session::PeerError;
use super::types::{self, StoredMembership};
use crate::base::MemberId;
use crate::base::limits::{LEARNERS_MAX, MEMBERS_MAX, QUORUM_WAIT_MS_MAX};
use crate::kv::{self, Member, MemberChange, MemberChanged, MemberRefusal, StoreError};
use crate::net::Address;

/// Pause after an attempt that failed.
const AGAIN: Duration = Duration::from_millis(100);

/// What the log holds of the members.
type Members = Membership<u64, types::Node>;

/// The fate of a change at the leader.
type Outcome = Result<MemberChanged, MemberRefusal>;

/// All members by id, with what they said of themselves, as far as this member has applied the log.
pub fn all(node: &Node) -> Result<Vec<Member>, StoreError> {
    let read = || {
        let snapshot = node.core.database()?.reader();
        kv::members(&snapshot).map_err(|error| error.to_string())
    };
    let (_, stored) = node.core.recorded();
    let known = read().map_err(StoreError::Broken)?;
    let member = |(id, raft): (&u64, &types::Node)| {
        let id = MemberId(*id);
        let told = known.iter().find(|member| member.id == id).cloned().unwrap_or_default();
        Member { id, peer_urls: raft.urls.clone(), learner: is_learner(&stored, id), ..told }
    };
    Ok(stored.membership().nodes().map(member).collect())
}

/// Whether a member is one that follows only. One that is to vote as soon as it has caught up is none.
pub fn is_learner(stored: &StoredMembership, id: MemberId) -> bool {
    let membership = stored.membership();
    membership.get_node(&id.0).is_some_and(|node| !node.votes) && membership.voter_ids().all(|voter| voter != id.0)
}

/// Has the leader carry out a change, wherever it is.
pub async fn change(node: &Arc<Node>, change: MemberChange) -> Result<MemberChanged, StoreError> {
    let wait = Duration::from_millis(QUORUM_WAIT_MS_MAX);
    let deadline = Instant::now() + wait;
    let mut leads = node.lead.subscribe();
    loop {
        let lead = *leads.borrow_and_update();
        if lead.here {
            if let Some(outcome) = change_here(node, &change).await.map_err(unknown)? {
                return Ok(outcome?);
            }
        } else if let Some(leader) = lead.known.filter(|leader| *leader != node.me.member) {
            let request = Request::ChangeMembers(change.clone());
            match node.peers.ask(leader, Lane::Client, &request, wait + AGAIN).await {
                Ok(Response::ChangeMembers(outcome)) => return Ok(outcome?),
                Ok(Response::NotLeader) | Err(PeerError::NotSent(_)) => {}
                Ok(_) => return Err(StoreError::Broken("an answer of another kind".to_owned())),
                Err(error) => return Err(unknown(error.to_string())),
            }
        }
        if node.stop.is_cancelled() {
            return Err(StoreError::Stopping);
        }
        if Instant::now() >= deadline {
            return Err(node.unavailable("changing the members"));
        }
        tokio::select! {
            () = node.stop.cancelled() => {}
            _ = leads.changed() => {}
            () = tokio::time::sleep(AGAIN) => {}
        }
    }
}

fn unknown(why: String) -> StoreError {
    StoreError::TimedOut {
        waited: Duration::from_millis(QUORUM_WAIT_MS_MAX),
        doing: format!("changing the members, which may yet happen: {why}"),
    }
}

/// Carries a change out, if this member leads for certain. `None`: it does not, and nothing was done. `Err`: nobody knows.
pub async fn change_here(node: &Arc<Node>, change: &MemberChange) -> Result<Option<Outcome>, String> {
    let deadline = change_ends();
    let Ok(_alone) = tokio::time::timeout_at(deadline, node.changing.lock()).await else {
        return Err("another change of the members is under way".to_owned());
    };
    // The same through all attempts, so that none of them is taken for another member.
    let added = match change {
        MemberChange::Add { peer_urls, .. } | MemberChange::Join { peer_urls } => {
            MemberId::computed_at(peer_urls, node.clock.now().0.div_euclid(1_000))
        }
        _ => MemberId(0),
    };
    while Instant::now() < deadline {
        if !leader::confirmed(&node.raft, node.lease) {
            return Ok(None);
        }
        let stored = effective(node).await?;
        let next = match plan(node, stored.membership(), change, added) {
            Ok(next) => next,
            Err(refusal) => return Ok(Some(Err(refusal))),
        };
        let id = next.id();
        match propose(node, &stored, next, deadline).await {
            Proposed::Done => {
                tracing::info!(member = %id, "{}", done(change));
                let members = all(node).map_err(|error| error.to_string())?;
                return Ok(Some(Ok(MemberChanged { id, members })));
            }
            Proposed::NotLeader => return Ok(None),
            // The one before is not committed yet.
            Proposed::Later => tokio::time::sleep(AGAIN).await,
            Proposed::Unknown(why) => return Err(why),
        }
    }
    Err("the change before it is not committed yet".to_owned())
}

fn done(change: &MemberChange) -> &'static str {
    match change {
        MemberChange::Add { learner: true, .. } => "a learner was added",
        MemberChange::Add { .. } => "a member was added; it votes as soon as it has caught up",
        MemberChange::Join { .. } => "a member joined; it votes when it has caught up and there is room",
        MemberChange::Remove { .. } => "a member was removed",
        MemberChange::Update { .. } => "a member's addresses were changed",
        MemberChange::Promote { .. } => "a learner was promoted",
    }
}

/// What goes into the log.
pub(super) enum Next {
    /// Members come, go or begin to vote.
    Append(MemberId, Members),
    /// A member's addresses change.
    Move(MemberId, types::Node),
}

impl Next {
    fn id(&self) -> MemberId {
        match self {
            Self::Append(id, _) | Self::Move(id, _) => *id,
        }
    }
}

pub(super) enum Proposed {
    Done,
    NotLeader,
    Later,
    Unknown(String),
}

/// The members as the newest entry of the log has them. What openraft's metrics say may be older than the last change that it
/// has confirmed, and the next change would undo that one.
pub(super) async fn effective(node: &Node) -> Result<Arc<StoredMembership>, String> {
    let read = node.raft.with_raft_state(|state| state.membership_state.effective().clone());
    read.await.map_err(|error| error.to_string())
}

/// The moment until which a change that begins now may take.
pub(super) fn change_ends() -> Instant {
    Instant::now() + Duration::from_millis(QUORUM_WAIT_MS_MAX)
}

/// Writes what comes after `stored`, unless something else has come after that. A quorum that says nothing until `deadline` is not
/// waited for: others wait for their turn.
pub(super) async fn propose(node: &Node, stored: &StoredMembership, next: Next, deadline: Instant) -> Proposed {
    let writing = async {
        match next {
            Next::Append(_, membership) => {
                let after = Precondition::LastMembershipLogId { last_membership_log_id: *stored.log_id() };
                node.raft.append_membership(membership, EntryPayload::Blank, [after]).await.map(drop)
            }
            Next::Move(id, moved) => {
                let nodes = [(id.0, moved)].into();
                node.raft.change_membership(ChangeMembers::SetNodes(nodes), false).await.map(drop)
            }
        }
    };
    let Ok(result) = tokio::time::timeout_at(deadline, writing).await else {
        return Proposed::Unknown(node.unavailable("changing the members").to_string());
    };
    match result {
        Ok(()) => Proposed::Done,
        Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_))) => Proposed::NotLeader,
        Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(
            ChangeMembershipError::InProgress(_) | ChangeMembershipError::UncommittedLeaderLog(_),
        ))) => Proposed::Later,
        Err(RaftError::APIError(ClientWriteError::PreconditionFailed(_))) => Proposed::Later,
        Err(error) => Proposed::Unknown(error.to_string()),
    }
}

/// What a change comes to, or why it is refused.
fn plan(node: &Node, now: &Members, change: &MemberChange, added: MemberId) -> Result<Next, MemberRefusal> {
    let voters: BTreeSet<u64> = now.voter_ids().collect();
    let append = |id: MemberId, voters: BTreeSet<u64>, nodes: Vec<(u64, types::Node)>| {
        let nodes: std::collections::BTreeMap<u64, types::Node> = nodes.into_iter().collect();
        // Every voter is among the nodes and there is at least one: both are seen to below.
        let membership = Membership::new(vec![voters], nodes).map_err(|_| MemberRefusal::NotEnoughStarted)?;
        Ok(Next::Append(id, membership))
    };
    let nodes = || now.nodes().map(|(id, node)| (*id, node.clone())).collect::<Vec<_>>();
    match change {
        MemberChange::Add { peer_urls, learner } => {
            check_urls(peer_urls)?;
            let census = Census::take(node, now);
            if !learner && !census.may_add() {
                return Err(MemberRefusal::NotEnoughStarted);
            }
            if !census.healthy(node) {
                return Err(MemberRefusal::Unhealthy);
            }
            if now.get_node(&added.0).is_some() || node.peers.roll.farewell(added).is_some() {
                return Err(MemberRefusal::IdTaken);
            }
            check_free(now, peer_urls, added)?;
            let learners = now.nodes().filter(|(id, node)| !node.votes && !node.stands && !voters.contains(id)).count();
            if *learner && learners >= LEARNERS_MAX {
                return Err(MemberRefusal::TooManyLearners);
            }
            if now.nodes().count() >= MEMBERS_MAX {
                return Err(MemberRefusal::Unhealthy);
            }
            let mut nodes = nodes();
            nodes.push((added.0, types::Node { urls: peer_urls.clone(), votes: !learner, stands: false }));
            append(added, voters, nodes)
        }
        MemberChange::Join { peer_urls } => {
            check_urls(peer_urls)?;
            if now.get_node(&added.0).is_some() || node.peers.roll.farewell(added).is_some() {
                return Err(MemberRefusal::IdTaken);
            }
            check_free(now, peer_urls, added)?;
            if now.nodes().count() >= MEMBERS_MAX {
                return Err(MemberRefusal::Unhealthy);
            }
            let mut nodes = nodes();
            nodes.push((added.0, types::Node { urls: peer_urls.clone(), votes: false, stands: true }));
            append(added, voters, nodes)
        }
        MemberChange::Remove { id } => {
            let Some(leaving) = now.get_node(&id.0) else { return Err(MemberRefusal::NotFound) };
            let census = Census::take(node, now);
            if (leaving.votes || voters.contains(&id.0)) && !census.may_remove(*id) {
                return Err(MemberRefusal::NotEnoughStarted);
            }
            let rest: BTreeSet<u64> = voters.iter().copied().filter(|voter| *voter != id.0).collect();
            if voters.contains(&id.0) {
                let up = rest.iter().filter(|voter| answers(node, MemberId(**voter))).count();
                if up < rest.len() / 2 + 1 {
                    return Err(MemberRefusal::Unhealthy);
                }
            }
            append(*id, rest, nodes().into_iter().filter(|(node, _)| *node != id.0).collect())
        }
        MemberChange::Update { id, peer_urls } => {
            let Some(moving) = now.get_node(&id.0) else { return Err(MemberRefusal::NotFound) };
            check_urls(peer_urls)?;
            check_free(now, peer_urls, *id)?;
            Ok(Next::Move(*id, types::Node { urls: peer_urls.clone(), ..moving.clone() }))
        }
        MemberChange::Promote { id } => {
            let Some(learner) = now.get_node(&id.0) else { return Err(MemberRefusal::NotFound) };
            if voters.contains(&id.0) {
                return Err(MemberRefusal::NotALearner);
            }
            // Who is to vote as soon as it has caught up is a voter to etcd, which asks for that first.
            if !in_sync(node, *id) {
                return Err(MemberRefusal::NotInSync);
            }
            if learner.votes {
                return Err(MemberRefusal::NotALearner);
            }
            if !Census::take(node, now).may_add() {
                return Err(MemberRefusal::NotEnoughStarted);
            }
            let mut voters = voters;
            voters.insert(id.0);
            append(*id, voters, nodes())
        }
    }
}

fn check_urls(urls: &[String]) -> Result<(), MemberRefusal> {
    let usable = |url: &String| {
        url.contains("://") && matches!(Address::from_url(url), Ok(Address::Tcp { .. } | Address::Tls { .. }))
    };
    match !urls.is_empty() && urls.iter().all(usable) {
        true => Ok(()),
        false => Err(MemberRefusal::BadUrls),
    }
}

/// Whether nobody but `own` has any of the URLs.
fn check_free(now: &Members, urls: &[String], own: MemberId) -> Result<(), MemberRefusal> {
    let taken = |(id, node): (&u64, &types::Node)| *id != own.0 && node.urls.iter().any(|url| urls.contains(url));
    match now.nodes().any(taken) {
        true => Err(MemberRefusal::UrlTaken),
        false => Ok(()),
    }
}

/// The members that vote or are to, and which of them have ever started, as etcd counts them.
struct Census {
    voting: Vec<MemberId>,
    started: Vec<MemberId>,
}

impl Census {
    fn take(node: &Node, now: &Members) -> Self {
        let voters: BTreeSet<u64> = now.voter_ids().collect();
        let voting = now.nodes().filter(|(id, node)| node.votes || voters.contains(id));
        let voting: Vec<MemberId> = voting.map(|(id, _)| MemberId(*id)).collect();
        let named = |id: &MemberId| all(node).is_ok_and(|all| all.iter().any(|m| m.id == *id && !m.name.is_empty()));
        let started = voting.iter().copied().filter(named).collect();
        Self { voting, started }
    }

    /// Whether a quorum has started once another member has come.
    fn may_add(&self) -> bool {
        let (started, all) = (self.started.len(), self.voting.len() + 1);
        // The second member of a cluster of one comes while nobody else can have started.
        (started == 1 && all == 2) || started > all / 2
    }

    /// Whether a quorum of the others has started.
    fn may_remove(&self, id: MemberId) -> bool {
        let others = |list: &[MemberId]| list.iter().filter(|other| **other != id).count();
        others(&self.started) > others(&self.voting) / 2
    }

    /// Whether every member that votes or is to answers.
    fn healthy(&self, node: &Node) -> bool {
        self.voting.iter().all(|id| answers(node, *id))
    }
}

fn answers(node: &Node, id: MemberId) -> bool {
    id == node.me.member || node.peers.health.answers(id)
}

/// Whether a follower has nine tenths of this leader's log, as etcd asks of a learner before it may vote.
fn in_sync(node: &Node, id: MemberId) -> bool {
    progress(node, id).is_some_and(|(has, last)| has >= last - last / 10) && node.peers.health.answers(id)
}

/// How far a follower's log is known to agree with this leader's, and where this leader's ends.
fn progress(node: &Node, id: MemberId) -> Option<(u64, u64)> {
    let metrics = node.raft.metrics();
    let metrics = metrics.borrow_watched();
    let matched = metrics.replication.as_ref()?.get(&id.0)?.as_ref()?.index;
    Some((matched, metrics.last_log_index?))
}

/// Lets members vote that are to and have caught up, while this member leads.
pub async fn promote(node: Arc<Node>) {
    let promoting = async {
        let mut changes = node.raft.server_metrics();
        let mut leads = node.lead.subscribe();
        loop {
            let stored = changes.borrow_and_update().membership_config.clone();
            let here = leads.borrow_and_update().here;
            let voters: BTreeSet<u64> = stored.membership().voter_ids().collect();
            let waits = stored.membership().nodes().find(|(id, node)| node.votes && !voters.contains(id));
            match waits.filter(|_| here) {
                Some((id, _)) => {
                    let id = MemberId(*id);
                    if let Err(why) = promote_one(&node, id).await {
                        tracing::debug!(member = %id, "does not vote yet: {why}");
                    }
                    // The next one, or the same one further on.
                    tokio::select! {
                        changed = changes.changed() => if changed.is_err() { return },
                        () = tokio::time::sleep(AGAIN) => {}
                    }
                }
                None => tokio::select! {
                    changed = changes.changed() => if changed.is_err() { return },
                    changed = leads.changed() => if changed.is_err() { return },
                },
            }
        }
    };
    tokio::select! {
        () = node.stop.cancelled() => {}
        () = promoting => {}
    }
}

/// Log entries that a member may lack and yet begin to vote: what is under way while others write.
const CAUGHT_UP_ENTRIES: u64 = 256;

/// Whether a follower lacks nothing but what is under way.
pub(super) fn caught_up(node: &Node, id: MemberId) -> bool {
    progress(node, id).is_some_and(|(has, last)| last - has.min(last) <= CAUGHT_UP_ENTRIES) && answers(node, id)
}

async fn promote_one(node: &Node, id: MemberId) -> Result<(), String> {
    let _alone = node.changing.lock().await;
    if !caught_up(node, id) {
        return Err("it has not caught up".to_owned());
    }
    let stored = effective(node).await?;
    let now = stored.membership();
    if !now.get_node(&id.0).is_some_and(|member| member.votes) {
        return Err("it has been removed".to_owned());
    }
    let voters: BTreeSet<u64> = now.voter_ids().chain([id.0]).collect();
    let nodes: std::collections::BTreeMap<_, _> = now.nodes().map(|(id, node)| (*id, node.clone())).collect();
    let next = Membership::new(vec![voters], nodes).map_err(|error| error.to_string())?;
    match propose(node, &stored, Next::Append(id, next), change_ends()).await {
        Proposed::Done => {
            tracing::info!(member = %id, "a member has caught up and votes now");
            Ok(())
        }
        Proposed::NotLeader => Err("this member no longer leads".to_owned()),
        Proposed::Later => Err("the change before it is not committed yet".to_owned()),
        Proposed::Unknown(why) => Err(why),
    }
}

/// Follows the membership: dials those that came or moved, sends those away that were removed, and stops this member if it
/// is one of them.
pub async fn follow(node: Arc<Node>) {
    let following = async {
        let mut changes = node.raft.server_metrics();
        let mut progress = node.core.progress();
        // What an earlier life knew.
        note_removed(&node);
        loop {
            let (effective, committed) = {
                let metrics = changes.borrow_and_update();
                (metrics.membership_config.clone(), metrics.committed_membership_config.clone())
            };
            settle(&node, &effective);
            let index = committed.log_id().map(|id| id.index);
            let applied = progress.wait_for(|at| at.applied.map(|id| id.index) >= index);
            tokio::select! {
                applied = applied => match applied {
                    Ok(_) => {}
                    Err(_) => return,
                },
                changed = changes.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => return,
                },
            }
            note_removed(&node);
            if changes.changed().await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = node.stop.cancelled() => {}
        () = following => {}
    }
}

/// Dials the members of `stored`. A membership without this member is from before it came: what it was started with
/// counts for more.
fn settle(node: &Node, stored: &StoredMembership) {
    let membership = stored.membership();
    if membership.get_node(&node.me.member.0).is_none() {
        return;
    }
    let others = membership.nodes().filter(|(id, _)| **id != node.me.member.0);
    node.peers.settle(&others.map(|(id, node)| (MemberId(*id), node.addresses())).collect());
}

/// Takes from the state who is called how and who was removed.
fn note_removed(node: &Node) {
    let read = || {
        let snapshot = node.core.database()?.reader();
        let removed = kv::removed_members(&snapshot).map_err(|error| error.to_string())?;
        let members = kv::members(&snapshot).map_err(|error| error.to_string())?;
        Ok::<_, String>((removed, members))
    };
    let (removed, members) = match read() {
        Ok(read) => read,
        Err(error) => return tracing::warn!("the members cannot be read: {error}"),
    };
    let known = node.peers.ids();
    for member in members.iter().filter(|member| known.contains(&member.id)) {
        node.peers.health.enlist(member.id, &member.name);
    }
    for id in node.peers.roll.set_removed(removed) {
        node.guests.dismiss(id);
    }
    if let Some(farewell) = node.peers.roll.farewell(node.me.member) {
        node.tasks.spawn(leave(node.lead.subscribe(), node.peers.clone(), node.lease, farewell));
    }
}

/// Gives the others time to take over from a leader that removed itself, and to learn that it did.
async fn leave(
    mut lead: tokio::sync::watch::Receiver<leader::Lead>,
    peers: Arc<super::peer::Peers>,
    lease: Duration,
    farewell: String,
) {
    // Whether it was taken over or not, this member goes.
    let _ = tokio::time::timeout(2 * lease, lead.wait_for(|lead| !lead.here)).await.is_ok();
    peers.roll.expel(&farewell);
}
