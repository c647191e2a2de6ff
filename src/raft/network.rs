//! openraft's way to the peers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{Stream, StreamExt};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{Backoff, RPCOption};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::storage::Snapshot;
use openraft::{OptionalSend, RaftNetworkFactory, RaftNetworkV2};

use super::machine::Core;
use super::peer::Peers;
use super::peer::message::{Lane, Request, Response};
use super::peer::session::PeerError;
use super::snapshot::{SnapshotData, Transfers, blocking};
use super::types::{CommittedLeader, LogId, Node, TypeConfig, Vote};
use crate::base::MemberId;
use crate::base::limits::SNAPSHOT_INSTALL_MS_MAX;

/// Messages with log entries that may be under way to one peer.
const APPENDS_IN_FLIGHT_MAX: usize = 8;
/// An answer to log entries may take so many times as long as any other, for it waits for the peer's disk: what is sent once more to a
/// disk that is slow makes it slower. That a peer is gone is seen by its connections.
const APPEND_PATIENCE: u32 = 5;
/// Pause after a peer could not be reached. The link has a growing pause of its own and fails at once during it.
const UNREACHABLE_PAUSE: Duration = Duration::from_millis(100);
/// Pause after a snapshot could not be sent, which costs more to try.
const SNAPSHOT_PAUSE: Duration = Duration::from_millis(1_000);

type BoxFuture<'a, T> = openraft::base::BoxFuture<'a, T>;
type BoxStream<'a, T> = openraft::base::BoxStream<'a, T>;
type Rpc<T> = Result<T, RPCError<TypeConfig>>;

/// Makes the ways to peers.
#[derive(Clone)]
pub struct Network {
    pub peers: Arc<Peers>,
    pub core: Arc<Core>,
    pub transfers: Arc<Transfers>,
    /// How long an answer may take that is not about log entries.
    pub patience: Duration,
}

/// The way to one peer.
pub struct Way {
    network: Network,
    to: MemberId,
    lane: Lane,
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Way;

    async fn new_client(&mut self, target: u64, node: &Node) -> Way {
        // A member that was added this moment is not among the peers yet.
        self.peers.ensure(MemberId(target), &node.addresses());
        self.way(target, Lane::Log)
    }

    async fn new_heartbeat_client(&mut self, target: u64, _node: &Node) -> Way {
        self.way(target, Lane::Control)
    }

    async fn new_snapshot_client(&mut self, target: u64, _node: &Node) -> Way {
        self.way(target, Lane::Bulk)
    }
}

impl Network {
    fn way(&self, target: u64, lane: Lane) -> Way {
        Way { network: self.clone(), to: MemberId(target), lane }
    }
}

impl Way {
    async fn ask(&self, lane: Lane, request: Request) -> Rpc<Response> {
        let patience = match lane {
            Lane::Log => APPEND_PATIENCE * self.network.patience,
            _ => self.network.patience,
        };
        let asked = self.network.peers.ask(self.to, lane, &request, patience);
        asked.await.map_err(|error| rpc_error(&error))
    }

    /// Sends log entries; how long the answer took is part of the peer's figures.
    async fn append(&self, rpc: AppendEntriesRequest<TypeConfig>) -> Rpc<AppendEntriesResponse<TypeConfig>> {
        let began = Instant::now();
        let answer = self.ask(self.lane, Request::Append(rpc)).await;
        self.network.peers.health.appended(self.to, answer.is_ok().then(|| began.elapsed()));
        match answer? {
            Response::Append(response) => Ok(response),
            _ => odd(),
        }
    }

    async fn send_snapshot(&self, vote: Vote) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let failed = |error: String| StreamingError::Network(NetworkError::from_string(error));
        let (transfers, core) = (self.network.transfers.clone(), self.network.core.clone());
        let mut outgoing = blocking(move || transfers.export(&core)).await.map_err(failed)?;
        let begin = Request::SnapshotBegin { vote, meta: outgoing.meta.clone(), bytes: outgoing.bytes };
        let Response::SnapshotBegun { transfer } = self.ask(Lane::Bulk, begin).await? else {
            return Err(failed("an answer of another kind".to_owned()));
        };
        let mut offset = 0;
        loop {
            let (back, data) = blocking(move || {
                let data = outgoing.next()?;
                Ok((outgoing, data))
            })
            .await
            .map_err(failed)?;
            outgoing = back;
            if data.is_empty() {
                break;
            }
            let sent = data.len() as u64;
            let chunk = Request::SnapshotChunk { transfer, offset, data };
            self.ask(Lane::Bulk, chunk).await?;
            offset += sent;
        }
        let end = Request::SnapshotEnd { transfer, crc: outgoing.crc() };
        let wait = Duration::from_millis(SNAPSHOT_INSTALL_MS_MAX);
        let answer = self.network.peers.ask(self.to, Lane::Bulk, &end, wait).await;
        match answer.map_err(|error| rpc_error(&error))? {
            Response::SnapshotInstalled(response) => {
                tracing::info!(peer = %self.to, bytes = offset, "sent a snapshot");
                Ok(response)
            }
            _ => Err(failed("an answer of another kind".to_owned())),
        }
    }
}

fn rpc_error(error: &PeerError) -> RPCError<TypeConfig> {
    match error {
        PeerError::NotSent(_) => RPCError::Unreachable(Unreachable::from_string(error)),
        _ => RPCError::Network(NetworkError::from_string(error)),
    }
}

fn odd<T>() -> Rpc<T> {
    Err(RPCError::Network(NetworkError::from_string("an answer of another kind")))
}

/// What an answer to entries says, in the terms of a stream; and whether further entries may follow it.
fn stream_result(
    response: AppendEntriesResponse<TypeConfig>,
    prev: Option<LogId>,
    last: Option<LogId>,
) -> (Rpc<StreamAppendResult<TypeConfig>>, bool) {
    let go_on = match &response {
        AppendEntriesResponse::Success => true,
        AppendEntriesResponse::PartialSuccess(matching) => *matching == last,
        AppendEntriesResponse::Conflict if prev.is_none() => return (odd(), false),
        _ => false,
    };
    (Ok(response.into_stream_result(prev, last)), go_on)
}

impl RaftNetworkV2<TypeConfig> for Way {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Rpc<AppendEntriesResponse<TypeConfig>> {
        self.append(rpc).await
    }

    /// Sends entries as they come, several messages under way, and yields the answers in order until one is not a success.
    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        _option: RPCOption,
    ) -> BoxFuture<'s, Rpc<BoxStream<'s, Rpc<StreamAppendResult<TypeConfig>>>>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        let this: &'s Self = self;
        let answers = input
            .map(move |request| async move {
                let prev = request.prev_log_id;
                let last = request.entries.last().map(|entry| entry.log_id).or(prev);
                match this.append(request).await {
                    Ok(response) => stream_result(response, prev, last),
                    Err(error) => (Err(error), false),
                }
            })
            .buffered(APPENDS_IN_FLIGHT_MAX);
        let until_failure = answers.scan(true, |going, (result, go_on)| {
            let item = going.then_some(result);
            *going &= go_on;
            std::future::ready(item)
        });
        Box::pin(async move {
            let stream: BoxStream<'s, _> = Box::pin(until_failure);
            Ok(stream)
        })
    }

    async fn vote(&mut self, rpc: VoteRequest<TypeConfig>, _option: RPCOption) -> Rpc<VoteResponse<TypeConfig>> {
        match self.ask(Lane::Control, Request::Vote(rpc)).await? {
            Response::Vote(response) => Ok(response),
            _ => odd(),
        }
    }

    async fn pre_vote(&mut self, rpc: VoteRequest<TypeConfig>, _option: RPCOption) -> Rpc<VoteResponse<TypeConfig>> {
        match self.ask(Lane::Control, Request::PreVote(rpc)).await? {
            Response::Vote(response) => Ok(response),
            _ => odd(),
        }
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        _snapshot: Snapshot<CommittedLeader, u64, Node, SnapshotData>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        tokio::select! {
            closed = cancel => Err(StreamingError::Closed(closed)),
            sent = self.send_snapshot(vote) => sent,
        }
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Rpc<TransferLeaderResponse<TypeConfig>> {
        match self.ask(Lane::Control, Request::TransferLeader(req)).await? {
            Response::TransferLeader(response) => Ok(response),
            _ => odd(),
        }
    }

    fn backoff(&self) -> Option<Backoff> {
        let pause = match self.lane {
            Lane::Bulk => SNAPSHOT_PAUSE,
            _ => UNREACHABLE_PAUSE,
        };
        Some(Backoff::new(std::iter::repeat(pause)))
    }
}
