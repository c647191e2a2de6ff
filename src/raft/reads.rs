//! Linearizable reads: one round of read index, or a look at the lease, serves all readers that wait when it begins.

use std::sync::Arc;
use std::time::Duration;

use openraft::{LinearizerOption, ReadPolicy};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::node::Node;
use super::peer::message::{Lane, Request, Response};
use crate::base::limits::{QUORUM_WAIT_MS_MAX, READERS_PENDING_MAX};
use crate::kv::StoreError;

/// How long one attempt may take; a further one may find another leader.
const ATTEMPT: Duration = Duration::from_millis(1_000);
/// Pause after an attempt that failed.
const AGAIN: Duration = Duration::from_millis(100);

type Waiter = oneshot::Sender<u64>;

/// The entrance to the rounds.
#[derive(Clone)]
pub struct Reads {
    queue: mpsc::Sender<Waiter>,
}

/// The rounds' own end.
pub struct Queue(mpsc::Receiver<Waiter>);

impl Reads {
    pub fn new() -> (Self, Queue) {
        let (queue, received) = mpsc::channel(READERS_PENDING_MAX);
        (Self { queue }, Queue(received))
    }

    /// The log index that a read beginning now must see applied.
    pub async fn index(&self, node: &Node, deadline: Instant) -> Result<u64, StoreError> {
        let (tell, told) = oneshot::channel();
        self.queue.try_send(tell).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                StoreError::Overloaded(format!("{READERS_PENDING_MAX} reads are waiting already"))
            }
            mpsc::error::TrySendError::Closed(_) => StoreError::Stopping,
        })?;
        match tokio::time::timeout_at(deadline, told).await {
            Ok(Ok(index)) => Ok(index),
            Ok(Err(_)) => Err(node.broken().unwrap_or(StoreError::Stopping)),
            Err(_) => Err(node.unavailable("reading")),
        }
    }

    /// Waits until a read sees every write that was acknowledged before it began.
    pub async fn linearize(&self, node: &Node) -> Result<(), StoreError> {
        let deadline = Instant::now() + Duration::from_millis(QUORUM_WAIT_MS_MAX);
        let index = self.index(node, deadline).await?;
        let mut progress = node.core.progress();
        let reached = progress.wait_for(|progress| progress.applied.is_some_and(|id| id.index >= index));
        match tokio::time::timeout_at(deadline, reached).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(StoreError::Stopping),
            Err(_) => Err(node.broken().unwrap_or_else(|| StoreError::TimedOut {
                waited: Duration::from_millis(QUORUM_WAIT_MS_MAX),
                doing: format!("until this member has applied the log up to {index}"),
            })),
        }
    }
}

/// Runs rounds until the node stops.
pub async fn run(node: Arc<Node>, Queue(mut queue): Queue) {
    let serving = async {
        let mut waiters: Vec<Waiter> = Vec::new();
        loop {
            if waiters.is_empty() {
                match queue.recv().await {
                    Some(waiter) => waiters.push(waiter),
                    None => return,
                }
            }
            // Whoever waits at this moment may use the attempt that begins now.
            while let Ok(waiter) = queue.try_recv() {
                waiters.push(waiter);
            }
            match attempt(&node).await {
                Some(index) => {
                    for waiter in waiters.drain(..) {
                        // Whoever no longer waits needs no answer.
                        let _ = waiter.send(index);
                    }
                }
                None => {
                    if node.broken().is_some() {
                        waiters.clear();
                    }
                    waiters.retain(|waiter| !waiter.is_closed());
                    let mut leads = node.lead.subscribe();
                    tokio::select! {
                        _ = leads.changed() => {}
                        () = tokio::time::sleep(AGAIN) => {}
                    }
                }
            }
        }
    };
    tokio::select! {
        () = node.stop.cancelled() => {}
        () = serving => {}
    }
}

/// One round, here or at the leader.
async fn attempt(node: &Node) -> Option<u64> {
    let lead = *node.lead.borrow();
    if lead.here {
        return here(node).await;
    }
    let leader = lead.known.filter(|leader| *leader != node.me.member)?;
    match node.peers.ask(leader, Lane::Client, &Request::ReadIndex, ATTEMPT).await {
        Ok(Response::ReadIndex(index)) => Some(index),
        _ => None,
    }
}

/// One round on the leader.
async fn here(node: &Node) -> Option<u64> {
    if let Some(lease) = &node.read_lease
        && let Some(index) = lease.index(&node.raft).await
    {
        return Some(index);
    }
    let option = LinearizerOption::from(ReadPolicy::ReadIndex).with_wait_timeout(ATTEMPT);
    let round = node.raft.get_read_linearizer(option);
    match tokio::time::timeout(ATTEMPT, round).await {
        Ok(Ok(linearizer)) => Some(linearizer.read_log_id().index()),
        _ => None,
    }
}
