//! The proposal batcher: what waits while entries are under way goes into the next entry together.
//!
//! On the leader a batch becomes one log entry, on others one message to the leader. A batch that certainly was not
//! proposed waits for a leader and goes out again; one that perhaps was is never repeated.

use std::sync::Arc;
use std::time::Duration;

use openraft::errors::ClientWriteError;
use openraft::impls::OneshotResponder;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::Instant;

use super::node::Node;
use super::peer::message::{Lane, Request, Response, WriteOutcome};
use super::peer::session::PeerError;
use super::types::{Batch, EncodedOp};
use crate::base::MemberId;
use crate::base::limits::{
    BATCH_AHEAD_COMMANDS, BATCH_BYTES_MAX, BATCH_COMMANDS_MAX, BATCHES_IN_FLIGHT_MAX, PROPOSALS_PENDING_MAX,
    QUORUM_WAIT_MS_MAX,
};
use crate::kv::{Applied, StoreError};

/// Pause before a batch tries again where no change of the leader is seen, for example after the leader's lease ran out.
const AGAIN: Duration = Duration::from_millis(100);

/// An operation that waits for its fate.
pub struct Proposal {
    pub op: EncodedOp,
    pub reply: oneshot::Sender<Result<Applied, StoreError>>,
}

/// The entrance to the batcher.
#[derive(Clone)]
pub struct Proposer {
    queue: mpsc::Sender<Proposal>,
}

/// The batcher's own end.
pub struct Queue(mpsc::Receiver<Proposal>);

impl Proposer {
    pub fn new() -> (Self, Queue) {
        let (queue, received) = mpsc::channel(PROPOSALS_PENDING_MAX);
        (Self { queue }, Queue(received))
    }

    /// Puts an operation into the queue. The receiver resolves to its fate.
    pub fn submit(&self, op: EncodedOp) -> Result<oneshot::Receiver<Result<Applied, StoreError>>, StoreError> {
        let (reply, fate) = oneshot::channel();
        match self.queue.try_send(Proposal { op, reply }) {
            Ok(()) => Ok(fate),
            Err(mpsc::error::TrySendError::Full(_)) => {
                Err(StoreError::Overloaded(format!("{PROPOSALS_PENDING_MAX} writes are waiting already")))
            }
            Err(mpsc::error::TrySendError::Closed(_)) => Err(StoreError::Stopping),
        }
    }
}

/// Makes batches until the node stops.
pub async fn run(node: Arc<Node>, Queue(mut queue): Queue) {
    let places = Arc::new(Semaphore::new(BATCHES_IN_FLIGHT_MAX));
    loop {
        let first = tokio::select! {
            () = node.stop.cancelled() => break,
            first = queue.recv() => first,
        };
        let Some(first) = first else { break };
        let Some(place) = place(&places, queue.len()).await else {
            break;
        };
        let batch = gather(first, &mut queue);
        if batch.is_empty() {
            continue;
        }
        let working = node.clone();
        node.tasks.spawn(async move {
            carry(&working, batch).await;
            drop(place);
        });
    }
    queue.close();
    while let Some(proposal) = queue.recv().await {
        // Whoever no longer waits needs no answer.
        let _ = proposal.reply.send(Err(StoreError::Stopping));
    }
}

/// A place among the batches under way. Few commands wait until none is under way, so that more come together: a batch
/// costs each member more than a command does. Many go ahead beside it. `None`: the batcher has ended.
async fn place(places: &Arc<Semaphore>, waiting: usize) -> Option<OwnedSemaphorePermit> {
    let all = BATCHES_IN_FLIGHT_MAX as u32;
    if waiting >= BATCH_AHEAD_COMMANDS {
        return places.clone().acquire_owned().await.ok();
    }
    let mut place = places.clone().acquire_many_owned(all).await.ok()?;
    drop(place.split(BATCHES_IN_FLIGHT_MAX - 1));
    Some(place)
}

/// All that waits, as far as one entry takes it, without those that nobody waits for any longer.
fn gather(first: Proposal, queue: &mut mpsc::Receiver<Proposal>) -> Vec<Proposal> {
    let mut batch = Vec::new();
    let mut bytes = 0;
    let mut next = Some(first);
    while let Some(proposal) = next {
        if !proposal.reply.is_closed() {
            bytes += proposal.op.len();
            batch.push(proposal);
        }
        if batch.len() >= BATCH_COMMANDS_MAX || bytes >= BATCH_BYTES_MAX {
            break;
        }
        next = queue.try_recv().ok();
    }
    batch
}

/// What became of an attempt.
enum Attempt {
    /// Every proposal has its answer.
    Done,
    /// Certainly not proposed.
    Again(Vec<Proposal>),
}

/// Brings a batch to its end, within the time that a quorum is waited for.
async fn carry(node: &Node, mut batch: Vec<Proposal>) {
    let deadline = Instant::now() + Duration::from_millis(QUORUM_WAIT_MS_MAX);
    let mut leads = node.lead.subscribe();
    loop {
        let lead = *leads.borrow_and_update();
        let attempt = match lead.known {
            _ if lead.here => propose(node, batch).await,
            Some(leader) if leader != node.me.member => forward(node, leader, batch, deadline).await,
            _ => Attempt::Again(batch),
        };
        batch = match attempt {
            Attempt::Done => return,
            Attempt::Again(batch) => batch,
        };
        batch.retain(|proposal| !proposal.reply.is_closed());
        if batch.is_empty() {
            return;
        }
        if node.stop.is_cancelled() {
            return answer_all(batch, &StoreError::Stopping);
        }
        if let Some(error) = node.broken() {
            return answer_all(batch, &error);
        }
        if Instant::now() >= deadline {
            let error = node.unavailable("writing");
            return answer_all(batch, &error);
        }
        tokio::select! {
            () = node.stop.cancelled() => {}
            _ = leads.changed() => {}
            () = tokio::time::sleep(AGAIN) => {}
        }
    }
}

fn answer_all(batch: Vec<Proposal>, error: &StoreError) {
    for proposal in batch {
        // Whoever no longer waits needs no answer.
        let _ = proposal.reply.send(Err(error.clone()));
    }
}

/// Makes the batch a log entry and waits until it is applied here.
async fn propose(node: &Node, batch: Vec<Proposal>) -> Attempt {
    let joined = Batch::join(node.clock.now(), batch.iter().map(|proposal| &proposal.op));
    let entry = match joined {
        Ok(entry) => entry,
        Err(error) => {
            answer_all(batch, &StoreError::Broken(error.to_string()));
            return Attempt::Done;
        }
    };
    let (responder, response) = OneshotResponder::new_pair();
    let sent = node.raft.client_write_ff(entry, Some(responder)).await;
    let unknown = |doing: &str| StoreError::TimedOut { waited: Duration::ZERO, doing: doing.to_owned() };
    if let Err(fatal) = sent {
        answer_all(batch, &super::node::ended(&fatal));
        return Attempt::Done;
    }
    match response.await {
        Ok(Ok(applied)) => {
            for (proposal, applied) in batch.into_iter().zip(applied.data) {
                // Whoever no longer waits needs no answer.
                let _ = proposal.reply.send(Ok(applied));
            }
        }
        Ok(Err(ClientWriteError::ForwardToLeader(_))) => return Attempt::Again(batch),
        Ok(Err(error)) => answer_all(batch, &unknown(&format!("the leader changed: {error}"))),
        Err(_) => answer_all(batch, &node.let_go().await),
    }
    Attempt::Done
}

/// Sends the batch to the leader and waits for its word.
async fn forward(node: &Node, leader: MemberId, batch: Vec<Proposal>, deadline: Instant) -> Attempt {
    let ops = batch.iter().map(|proposal| proposal.op.clone()).collect();
    // The leader gives up by itself first; its word is better than none.
    let wait = deadline.saturating_duration_since(Instant::now()) + AGAIN;
    let asked = node.peers.ask(leader, Lane::Client, &Request::Write(ops), wait).await;
    match asked {
        Ok(Response::Write(outcomes)) if outcomes.len() == batch.len() => {
            for (proposal, outcome) in batch.into_iter().zip(outcomes) {
                let fate = match outcome {
                    WriteOutcome::Applied(applied) => Ok(*applied),
                    WriteOutcome::Overloaded(why) => Err(StoreError::Overloaded(why)),
                    WriteOutcome::Unknown(why) => Err(StoreError::TimedOut {
                        waited: Duration::from_millis(QUORUM_WAIT_MS_MAX),
                        doing: format!("at the leader {leader}: {why}"),
                    }),
                };
                // Whoever no longer waits needs no answer.
                let _ = proposal.reply.send(fate);
            }
            Attempt::Done
        }
        Ok(Response::NotLeader) | Err(PeerError::NotSent(_)) => Attempt::Again(batch),
        other => {
            let why = match other {
                Err(error) => error.to_string(),
                Ok(_) => "an answer of another kind".to_owned(),
            };
            let error = StoreError::TimedOut {
                waited: Duration::from_millis(QUORUM_WAIT_MS_MAX),
                doing: format!("waiting for the leader {leader}, the write may yet happen: {why}"),
            };
            answer_all(batch, &error);
            Attempt::Done
        }
    }
}
