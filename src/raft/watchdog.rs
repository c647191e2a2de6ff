//! A leader whose disk hangs gives up leadership: entries still reach a quorum without it, but nothing that it is asked for
//! itself would ever be answered, and its heartbeats would keep the others from electing a better one.

use std::sync::Arc;
use std::time::Duration;

use super::log_store::LogStore;
use super::node::Node;
use crate::base::MemberId;

/// Watches the disk while this member leads others.
pub async fn watch(node: Arc<Node>, log: LogStore) {
    // An election costs one election timeout: a disk that hangs for two is worth it.
    let (look_every, patience) = (node.lease / 2, 2 * node.lease);
    let watching = async {
        let mut leads = node.lead.subscribe();
        loop {
            let led = leads.wait_for(|lead| lead.here).await.is_ok();
            if !led {
                return;
            }
            tokio::time::sleep(look_every).await;
            let here = node.lead.borrow().here;
            if let Some(held_up) = log.held_up().filter(|held_up| here && *held_up > patience) {
                give_up(&node, &log, held_up).await;
            }
        }
    };
    tokio::select! {
        () = node.stop.cancelled() => {}
        () = watching => {}
    }
}

async fn give_up(node: &Node, log: &LogStore, held_up: Duration) {
    let patience = 2 * node.lease;
    let Some(heir) = node.heir() else {
        tracing::warn!("the log's disk has not answered for {held_up:?}, and no other member could lead");
        return tokio::time::sleep(patience).await;
    };
    tracing::warn!(heir = %MemberId(heir), "the log's disk has not answered for {held_up:?}: giving leadership up");
    if node.hand_over(heir).await.is_err() {
        return;
    }
    let mut leads = node.lead.subscribe();
    while tokio::time::timeout(patience, leads.wait_for(|lead| !lead.here)).await.is_err() {
        // openraft takes no writes any more once it has begun to hand over: where nobody took over and the disk is back, a
        // new term ends that.
        if log.held_up().is_none() {
            // An error means that replication has ended.
            let _ = node.raft.trigger().elect(false).await;
            return;
        }
    }
}
