//! `Register=`: keeps users' keys that tell where this machine's containers are reached, on a lease of its own: a machine that
//! is lost is found no more when it is missed. What somebody else does to them by hand is put right.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::select_all;
use tokio::time::MissedTickBehavior;

use super::follow::Follower;
use super::{Job, JobError, Stop, accepted};
use crate::base::{BoxFuture, LeaseId, Random};
use crate::fleet::registrations::registrations;
use crate::fleet::types::Machine;
use crate::kv::{
    Compare, CompareResult, CompareTarget, DeleteRangeRequest, Event, EventKind, Op, PutRequest, Space, Store, TxnOp,
    TxnRequest, WatchRequest, WatchStream, user_lease,
};

/// Keeps this machine's registrations.
pub struct Register {
    pub store: Arc<dyn Store>,
    pub random: Arc<dyn Random>,
    pub machine: Machine,
    pub ttl_ms: i64,
    pub kept: Kept,
}

/// What was written, and the lease that it hangs on.
#[derive(Default)]
pub struct Kept {
    lease: Option<LeaseId>,
    values: BTreeMap<String, String>,
    /// Of each key that is wanted.
    watches: BTreeMap<String, Box<dyn WatchStream>>,
}

impl Job for Register {
    fn name(&self) -> &'static str {
        "register"
    }

    /// Nothing is taken back when the node stops: its containers go on, and it may be back before the lease ends.
    fn run(&mut self, mut stop: Stop) -> BoxFuture<'_, Result<(), JobError>> {
        Box::pin(async move {
            tokio::select! {
                () = stop.wait() => Ok(()),
                error = self.keep_up() => Err(error),
            }
        })
    }
}

impl Register {
    /// Ends only with an error.
    async fn keep_up(&mut self) -> JobError {
        let mut follower = match Follower::open(&self.store).await {
            Ok(follower) => follower,
            Err(error) => return error,
        };
        let mut ticks = tokio::time::interval(Duration::from_millis(self.ttl_ms.unsigned_abs() / 3));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let settled = self.settle(&registrations(&follower.cluster, &self.machine)).await;
            if let Err(error) = &settled {
                tracing::warn!("{error}; it is tried again");
            }
            tokio::select! {
                followed = follower.next() => if let Err(error) = followed {
                    return error;
                },
                key = meddled(&mut self.kept.watches) => {
                    self.kept.watches.remove(&key);
                    self.kept.values.remove(&key);
                }
                _ = ticks.tick(), if self.kept.lease.is_some() || settled.is_err() => self.keep_alive().await,
            }
        }
    }

    async fn keep_alive(&mut self) {
        let Some(lease) = self.kept.lease else { return };
        match self.store.keep_alive(lease).await {
            Ok(0) => {
                tracing::warn!("the lease of this machine's registrations has ended; they are written anew");
                self.kept = Kept::default();
            }
            Ok(_) => {}
            Err(error) => tracing::warn!("keeping this machine's registrations alive: {error}"),
        }
    }

    /// Brings what is written to what is wanted. After an error all of it is done anew, which changes nothing where it was done.
    async fn settle(&mut self, wanted: &BTreeMap<String, String>) -> Result<(), JobError> {
        let doing = "registering this machine's containers";
        if self.kept.values == *wanted {
            return Ok(());
        }
        if wanted.is_empty() {
            let ended = std::mem::take(&mut self.kept).lease;
            return match ended {
                Some(id) => accepted(self.store.write(Op::LeaseRevoke { id }).await, doing).map(drop),
                None => Ok(()),
            };
        }
        let lease = match self.kept.lease {
            Some(lease) => lease,
            None => {
                let id = user_lease(self.random.next_u64());
                accepted(self.store.write(Op::LeaseGrant { id, ttl_ms: self.ttl_ms }).await, doing)?;
                *self.kept.lease.insert(id)
            }
        };
        self.watch(wanted).await?;
        for change in changes(&self.kept.values, wanted, lease) {
            accepted(self.store.write(Op::Txn(change)).await, doing)?;
        }
        self.kept.values.clone_from(wanted);
        Ok(())
    }

    /// Watches the keys that are wanted, from before they are written.
    async fn watch(&mut self, wanted: &BTreeMap<String, String>) -> Result<(), JobError> {
        self.kept.watches.retain(|key, _| wanted.contains_key(key));
        for key in wanted.keys() {
            if !self.kept.watches.contains_key(key) {
                let request = WatchRequest { key: key.clone().into(), ..WatchRequest::default() };
                let watch = self.store.watch(request).await;
                let watch = watch.map_err(|error| JobError::new("watching this machine's registrations", error))?;
                self.kept.watches.insert(key.clone(), watch);
            }
        }
        Ok(())
    }
}

/// The next key that somebody has overwritten or removed. What hangs on a lease is another machine's, with which nobody quarrels.
async fn meddled(watches: &mut BTreeMap<String, Box<dyn WatchStream>>) -> String {
    let by_hand = |event: &Event| event.kind == EventKind::Delete || event.kv.lease == LeaseId::NONE;
    let next = watches.iter_mut().map(|(key, watch)| {
        Box::pin(async move {
            // A watch that ends may have missed something.
            while watch.next().await.is_ok_and(|batch| !batch.events.iter().any(by_hand)) {}
            key.clone()
        })
    });
    let next: Vec<_> = next.collect();
    if next.is_empty() {
        return std::future::pending().await;
    }
    select_all(next).await.0
}

/// What leads from one set of registrations to another. A key that is another machine's by now is not taken away.
fn changes(from: &BTreeMap<String, String>, to: &BTreeMap<String, String>, lease: LeaseId) -> Vec<TxnRequest> {
    let gone = from.keys().filter(|key| !to.contains_key(*key)).map(|key| {
        let key = bytes::Bytes::from(key.clone());
        let ours = Compare {
            space: Space::User,
            key: key.clone(),
            range_end: bytes::Bytes::new(),
            result: CompareResult::Equal,
            target: CompareTarget::Lease(lease),
        };
        let delete = TxnOp::DeleteRange(DeleteRangeRequest { key, ..DeleteRangeRequest::default() });
        TxnRequest { compare: vec![ours], success: vec![delete], failure: Vec::new() }
    });
    let new = to.iter().filter(|(key, value)| from.get(*key) != Some(*value)).map(|(key, value)| {
        let (key, value) = (key.clone().into(), value.clone().into());
        let put = TxnOp::Put(PutRequest { space: Space::User, key, value, lease, ..PutRequest::default() });
        TxnRequest { success: vec![put], ..TxnRequest::default() }
    });
    gone.chain(new).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_changes_is_written_and_only_ones_own_is_removed() {
        let of = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        let (from, to) = (of(&[("/a", "1"), ("/b", "2"), ("/c", "3")]), of(&[("/b", "2"), ("/c", "4"), ("/d", "5")]));
        let changes = changes(&from, &to, LeaseId(7));
        let words: Vec<String> = changes
            .iter()
            .map(|change| match change.success.as_slice() {
                [TxnOp::Put(put)] => format!("put {:?}={:?} {}", put.key, put.value, put.lease.0),
                [TxnOp::DeleteRange(delete)] => format!("delete {:?} if {:?}", delete.key, change.compare[0].target),
                other => format!("{other:?}"),
            })
            .collect();
        assert_eq!(words, [r#"delete b"/a" if Lease(LeaseId(7))"#, r#"put b"/c"=b"4" 7"#, r#"put b"/d"=b"5" 7"#]);
    }
}
