//! Which of the members that joined vote: at most so many, and another one in the place of one that is gone for good.
//!
//! A member that joins by a token stands for a vote. It follows, serves clients and runs units; the leader lets it vote when it has
//! caught up and there is room. A voter that has not answered for long loses its vote to one that stands, and stands itself when it
//! comes back. Voters change by one at a time: the new one comes before the lost one goes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;

use super::members::{Next, Proposed, caught_up, change_ends, effective, propose};
use super::node::Node;
use super::types::{self, Membership};
use crate::base::MemberId;

/// How many vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seats {
    /// Members beyond these stand. The same on every member.
    pub voters_max: usize,
    /// A voter that is silent for so long is gone for good.
    pub lost_after: Duration,
}

impl Default for Seats {
    fn default() -> Self {
        Self { voters_max: 5, lost_after: Duration::from_secs(300) }
    }
}

/// How often the leader looks, while somebody stands.
const LOOK: Duration = Duration::from_secs(1);

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Promote(u64),
    Demote(u64),
}

/// Decides: `ready` stands and has caught up, `lost` votes and is gone, `spare` votes and once stood.
fn step(voters: usize, max: usize, ready: Option<u64>, lost: Option<u64>, spare: Option<u64>) -> Option<Step> {
    match (ready, lost, spare) {
        (Some(ready), ..) if voters < max => Some(Step::Promote(ready)),
        (_, Some(lost), _) if voters > max => Some(Step::Demote(lost)),
        (_, None, Some(spare)) if voters > max => Some(Step::Demote(spare)),
        (Some(ready), Some(_), _) if voters == max => Some(Step::Promote(ready)),
        _ => None,
    }
}

/// Fills the seats, while this member leads.
pub async fn fill(node: Arc<Node>) {
    let filling = async {
        let mut changes = node.raft.server_metrics();
        let mut leads = node.lead.subscribe();
        loop {
            let stored = changes.borrow_and_update().membership_config.clone();
            let here = leads.borrow_and_update().here;
            let somebody_stands = stored.membership().nodes().any(|(_, member)| member.stands);
            if here && somebody_stands {
                if let Err(why) = fill_one(&node).await {
                    tracing::debug!("who votes stays as it is: {why}");
                }
                tokio::time::sleep(LOOK).await;
                continue;
            }
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                changed = leads.changed() => if changed.is_err() { return },
            }
        }
    };
    tokio::select! {
        () = node.stop.cancelled() => {}
        () = filling => {}
    }
}

async fn fill_one(node: &Node) -> Result<(), String> {
    let _alone = node.changing.lock().await;
    let stored = effective(node).await?;
    let now = stored.membership();
    let voters: BTreeSet<u64> = now.voter_ids().collect();
    let standing = |(id, member): (&u64, &types::Node)| member.stands.then_some(*id);
    let ready = now.nodes().filter_map(standing).find(|id| !voters.contains(id) && caught_up(node, MemberId(*id)));
    let silent = node.peers.health.peers();
    let gone = |id: &u64| {
        let peer = silent.iter().find(|peer| peer.id.0 == *id);
        peer.and_then(|peer| peer.silent.as_ref()).is_some_and(|(since, _)| *since >= node.seats.lost_after)
    };
    let lost = voters.iter().copied().find(gone);
    let spare = now.nodes().filter_map(standing).find(|id| voters.contains(id) && *id != node.me.member.0);
    let Some(step) = step(voters.len(), node.seats.voters_max, ready, lost, spare) else { return Ok(()) };
    let id = match step {
        Step::Promote(id) | Step::Demote(id) => MemberId(id),
    };
    match propose(node, &stored, change(now, &voters, step)?, change_ends()).await {
        Proposed::Done => {
            match step {
                Step::Promote(_) => tracing::info!(member = %id, "a member that stands votes now"),
                Step::Demote(_) => tracing::warn!(member = %id, "a member that is gone loses its vote"),
            }
            Ok(())
        }
        Proposed::NotLeader => Err("this member no longer leads".to_owned()),
        Proposed::Later => Err("the change before it is not committed yet".to_owned()),
        Proposed::Unknown(why) => Err(why),
    }
}

/// What a step comes to. Who voted from the beginning is made one that stands first, in an entry of its own: openraft takes no
/// entry that changes what is said of a member together with the voters.
fn change(now: &Membership, voters: &BTreeSet<u64>, step: Step) -> Result<Next, String> {
    let (id, voters) = match step {
        Step::Promote(id) => (id, voters.iter().copied().chain([id]).collect()),
        Step::Demote(id) => match now.get_node(&id).filter(|member| member.votes) {
            Some(member) => {
                let stands = types::Node { votes: false, stands: true, ..member.clone() };
                return Ok(Next::Move(MemberId(id), stands));
            }
            None => (id, voters.iter().copied().filter(|voter| *voter != id).collect::<BTreeSet<u64>>()),
        },
    };
    let nodes: BTreeMap<u64, types::Node> = now.nodes().map(|(id, member)| (*id, member.clone())).collect();
    let next = Membership::new(vec![voters], nodes).map_err(|error| error.to_string())?;
    Ok(Next::Append(MemberId(id), next))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_voter_comes_before_a_lost_one_goes() {
        use Step::{Demote, Promote};
        let cases = [
            // Room is filled, whether somebody is lost or not.
            ((1, 3, Some(7), None, None), Some(Promote(7))),
            ((2, 3, Some(7), Some(1), None), Some(Promote(7))),
            // Nobody is ready: nobody loses a vote for nothing.
            ((3, 3, None, Some(1), Some(2)), None),
            ((3, 3, Some(7), None, Some(2)), None),
            ((3, 3, Some(7), Some(1), None), Some(Promote(7))),
            ((4, 3, None, Some(1), Some(2)), Some(Demote(1))),
            // The lost one came back in between.
            ((4, 3, None, None, Some(2)), Some(Demote(2))),
            // Members that an operator has added to vote do vote.
            ((4, 3, Some(7), None, None), None),
        ];
        for ((voters, max, ready, lost, spare), expected) in cases {
            assert_eq!(
                step(voters, max, ready, lost, spare),
                expected,
                "{voters} of {max}: {ready:?} {lost:?} {spare:?}"
            );
        }
    }
}
