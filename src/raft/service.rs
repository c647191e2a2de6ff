//! What this member answers when another one asks.

use std::sync::Arc;
use std::time::Duration;

use openraft::storage::Snapshot;
use tokio::time::Instant;

use super::lease_keeper;
use super::members;
use super::node::Node;
use super::peer::handshake::Roster;
use super::peer::message::{Request, Response, WriteOutcome};
use super::peer::server::PeerService;
use super::probation::{self, Standing};
use super::snapshot::{SnapshotData, blocking};
use super::types::{EncodedOp, SnapshotMeta, Vote};
use super::upkeep;
use crate::base::limits::{BATCH_COMMANDS_MAX, QUORUM_WAIT_MS_MAX};
use crate::base::{BoxFuture, MemberId};
use crate::kv::{Applied, StoreError};

/// Answers for a node.
pub struct Service(pub Arc<Node>);

impl PeerService for Service {
    fn answer(&self, from: MemberId, request: Request) -> BoxFuture<'static, Response> {
        let node = self.0.clone();
        Box::pin(async move { answer(&node, from, request).await.unwrap_or_else(Response::Failed) })
    }

    fn roster(&self) -> BoxFuture<'static, Roster> {
        let node = self.0.clone();
        Box::pin(async move {
            let members = members::all(&node).unwrap_or_else(|error| {
                tracing::warn!("the members cannot be told: {error}");
                Vec::new()
            });
            Roster { cluster: node.me.cluster, members }
        })
    }
}

/// Whether this member may take part in what is asked, as far as it remembers.
async fn standing(node: &Node, request: &Request) -> Result<(), String> {
    if let (Some(lease), Request::Vote(rpc) | Request::PreVote(rpc)) = (&node.read_lease, request)
        && !rpc.leadership_transfer
    {
        lease.may_vote()?;
    }
    // This is asked of every entry, and there is nothing to wait for in all but a member's first moments.
    if node.probation.standing() == Standing::Trusted {
        return Ok(());
    }
    match request {
        Request::Append(rpc) => node.probation.may_follow(rpc.vote.leader_id.term).await,
        Request::SnapshotBegin { vote, .. } => node.probation.may_follow(vote.leader_id.term).await,
        Request::Vote(rpc) | Request::PreVote(rpc) => {
            node.probation.may_vote(rpc.vote.leader_id.term, rpc.last_log_id).await
        }
        Request::TransferLeader(_) => node.probation.may_vote(0, None).await,
        _ => Ok(()),
    }
}

async fn answer(node: &Arc<Node>, from: MemberId, request: Request) -> Result<Response, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    standing(node, &request).await?;
    Ok(match request {
        Request::Append(rpc) => {
            node.peers.health.append_received();
            let response = node.raft.append_entries(rpc).await;
            Response::Append(response.map_err(|error| text(&error))?)
        }
        Request::Vote(rpc) => Response::Vote(node.raft.vote(rpc).await.map_err(|error| text(&error))?),
        Request::PreVote(rpc) => Response::Vote(node.raft.pre_vote(rpc).await.map_err(|error| text(&error))?),
        Request::TransferLeader(rpc) => {
            let response = node.raft.handle_transfer_leader(rpc).await;
            Response::TransferLeader(response.map_err(|error| text(&error))?)
        }
        Request::SnapshotBegin { vote, meta, bytes } => {
            let transfer = snapshot_begin(node, from, vote, meta, bytes).await?;
            Response::SnapshotBegun { transfer }
        }
        Request::SnapshotChunk { transfer, offset, data } => {
            let transfers = node.transfers.clone();
            blocking(move || transfers.chunk(from, transfer, offset, &data)).await?;
            Response::SnapshotChunk
        }
        Request::SnapshotEnd { transfer, crc } => snapshot_end(node, from, transfer, crc).await?,
        Request::Write(ops) => write(node, ops).await?,
        Request::ReadIndex => read_index(node).await,
        Request::IsFormed => Response::IsFormed(node.raft.is_initialized().await.map_err(|error| text(&error))?),
        Request::Remember { instance } => Response::Remember(probation::remember(node, from, instance).await?),
        Request::Vouch => match probation::vouch(node).await {
            Some((term, index)) => Response::Vouched { term, index },
            None => Response::NotLeader,
        },
        Request::ChangeMembers(change) => match members::change_here(node, &change).await? {
            Some(outcome) => Response::ChangeMembers(outcome),
            None => Response::NotLeader,
        },
        request @ (Request::KeepAlive(_) | Request::LeaseTimeToLive { .. }) => {
            let answered = lease_keeper::answer_here(node, &request).await?;
            answered.unwrap_or(Response::NotLeader)
        }
    })
}

async fn snapshot_begin(
    node: &Node,
    from: MemberId,
    vote: Vote,
    meta: SnapshotMeta,
    bytes: u64,
) -> Result<u64, String> {
    tracing::info!(peer = %from, bytes, "receiving a snapshot");
    let transfers = node.transfers.clone();
    blocking(move || transfers.begin(from, vote, meta, bytes)).await
}

async fn snapshot_end(node: &Node, from: MemberId, transfer: u64, crc: u32) -> Result<Response, String> {
    let arrived = node.transfers.end(from, transfer, crc)?;
    let snapshot = Snapshot { meta: arrived.meta, snapshot: SnapshotData::File(arrived.file) };
    let installed = node.raft.install_full_snapshot(arrived.vote, snapshot).await;
    let response = installed.map_err(|error| error.to_string())?;
    Ok(Response::SnapshotInstalled(response))
}

/// Proposes forwarded operations together with this member's own.
async fn write(node: &Node, ops: Vec<EncodedOp>) -> Result<Response, String> {
    if !node.lead.borrow().here {
        return Ok(Response::NotLeader);
    }
    if ops.len() > BATCH_COMMANDS_MAX {
        return Err(format!("{} operations in one message are too many", ops.len()));
    }
    let mut submitted = Vec::with_capacity(ops.len());
    for op in ops {
        let decoded = op.decode().map_err(|error| error.to_string())?;
        submitted.push((upkeep::admit(node, &decoded), op));
    }
    let submitted: Vec<_> = submitted
        .into_iter()
        .map(|(admitted, op)| admitted.map_err(StoreError::Refused).and_then(|()| node.proposer.submit(op)))
        .collect();
    let deadline = Instant::now() + Duration::from_millis(QUORUM_WAIT_MS_MAX);
    let mut outcomes = Vec::with_capacity(submitted.len());
    for fate in submitted {
        let fate = match fate {
            Ok(fate) => tokio::time::timeout_at(deadline, fate).await,
            Err(error) => Ok(Ok(Err(error))),
        };
        outcomes.push(match fate {
            Ok(Ok(Ok(applied))) => WriteOutcome::Applied(Box::new(applied)),
            Ok(Ok(Err(StoreError::Refused(refusal)))) => {
                let position = node.core.progress().borrow().position;
                WriteOutcome::Applied(Box::new(Applied { position, result: Err(refusal) }))
            }
            Ok(Ok(Err(StoreError::Overloaded(why)))) => WriteOutcome::Overloaded(why),
            Ok(Ok(Err(error))) => WriteOutcome::Unknown(error.to_string()),
            Ok(Err(_)) => WriteOutcome::Unknown("the leader is stopping".to_owned()),
            Err(_) => WriteOutcome::Unknown(node.unavailable("writing").to_string()),
        });
    }
    Ok(Response::Write(outcomes))
}

async fn read_index(node: &Node) -> Response {
    if !node.lead.borrow().here {
        return Response::NotLeader;
    }
    let deadline = Instant::now() + Duration::from_millis(QUORUM_WAIT_MS_MAX);
    match node.reads.index(node, deadline).await {
        Ok(index) => Response::ReadIndex(index),
        Err(error) => Response::Failed(error.to_string()),
    }
}
