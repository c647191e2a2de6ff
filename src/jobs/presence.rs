//! A machine's presence: a lease that this node keeps alive, and the machine's record that hangs on it.
//!
//! Keep-alives are answered from the leader's memory, so an idle machine writes nothing. When the lease is lost after all —
//! a stall longer than it, a quorum away too long — the machine announces itself anew and its units are adopted, not touched.
//! Where the cluster was recovered after the loss of a quorum, the record waits for its machine on a lease with more time than it has
//! ever asked for.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::{Job, JobError, Stop, accepted};
use crate::base::{BootMillis, BoxFuture, LeaseId, Random};
use crate::fleet::Tenure;
use crate::fleet::layout::{self, Key};
use crate::fleet::types::Machine;
use crate::kv::{
    Consistency, KeyValue, Op, RangeRequest, Reply, Space, Store, StoreError, TxnRequest, WatchRequest, WatchStart,
    system_lease,
};
use crate::process::boot_now;

/// Keeps this machine in the list of machines.
pub struct Presence {
    pub store: Arc<dyn Store>,
    pub random: Arc<dyn Random>,
    pub machine: Machine,
    pub ttl_ms: i64,
    /// Told the lease that the machine's keys hang on, each time that there is a new one.
    pub lease: watch::Sender<Option<LeaseId>>,
    /// Told until when the lease lasts at least, each time that this has become later.
    pub tenure: watch::Sender<Option<Tenure>>,
    /// Told why this node must not go on, if another one has the same machine-id.
    pub fatal: watch::Sender<Option<String>>,
}

impl Job for Presence {
    fn name(&self) -> &'static str {
        "presence"
    }

    fn run(&mut self, mut stop: Stop) -> BoxFuture<'_, Result<(), JobError>> {
        Box::pin(async move {
            let ended = tokio::select! {
                () = stop.wait() => None,
                error = self.announce_for_ever() => Some(error),
            };
            match ended {
                Some(error) => Err(error),
                None => {
                    self.withdraw().await;
                    Ok(())
                }
            }
        })
    }
}

impl Presence {
    /// Ends only with an error.
    async fn announce_for_ever(&mut self) -> JobError {
        loop {
            if let Err(error) = self.announce().await {
                return error;
            }
            self.keep_alive().await;
            tracing::warn!("this machine's lease has ended; announcing it anew");
        }
    }

    /// Grants a lease and writes the machine's record on it, unless another node holds the record.
    async fn announce(&mut self) -> Result<(), JobError> {
        let key = Key::Machine(self.machine.id.clone());
        let found = self.wait_until_ours(&key).await?;
        let seen = found.as_ref().map_or(0, |kv| kv.mod_revision);
        let asked = boot_now();
        let former = found.as_ref().map_or(LeaseId::NONE, |kv| kv.lease);
        let id = match self.resumed(found).await {
            Some(id) => id,
            None => self.grant().await?,
        };
        let txn = TxnRequest {
            compare: vec![key.unchanged(seen)],
            success: vec![key.put(layout::encode(&self.machine), id)],
            failure: Vec::new(),
        };
        match accepted(self.store.write(Op::Txn(txn)).await, "announcing this machine")? {
            Reply::Txn(reply) if reply.succeeded => {
                self.lease.send_replace(Some(id));
                self.prolong(id, asked, self.ttl_ms);
                if former != LeaseId::NONE && former != id {
                    // What is left on it is of data that are gone. It ends by itself, too.
                    let _ = self.store.write(Op::LeaseRevoke { id: former }).await;
                }
                Ok(())
            }
            _ => Err(JobError::new("announcing this machine", "its record changed at the same moment")),
        }
    }

    async fn grant(&self) -> Result<LeaseId, JobError> {
        let id = system_lease(self.random.next_u64());
        let granted = self.store.write(Op::LeaseGrant { id, ttl_ms: self.ttl_ms }).await;
        accepted(granted, "granting this machine's lease")?;
        Ok(id)
    }

    /// The lease of this node's earlier life, where that is alive: the machine was never away.
    async fn resumed(&self, found: Option<KeyValue>) -> Option<LeaseId> {
        let found = found?;
        let lease = found.lease;
        let record: Machine = layout::decode(&Key::Machine(self.machine.id.clone()), &found.value).ok()?;
        if record.owner != self.machine.owner {
            return None;
        }
        let alive = lease != LeaseId::NONE && self.store.keep_alive(lease).await.ok()? == self.ttl_ms;
        alive.then_some(lease)
    }

    /// The store has answered a request for so long a lease, made at `asked`.
    fn prolong(&self, lease: LeaseId, asked: BootMillis, ttl_ms: i64) {
        let until = asked.plus_ms(ttl_ms.min(self.ttl_ms).unsigned_abs());
        self.tenure.send_replace(Some(Tenure { lease, until }));
    }

    /// The machine's record, where there is none, or one of this node's own, or one that nobody has kept up since the cluster was
    /// recovered. One of another node that stays for longer than a lease lasts means that two machines have one id.
    async fn wait_until_ours(&self, key: &Key) -> Result<Option<KeyValue>, JobError> {
        let doing = "reading this machine's record";
        let request = RangeRequest { space: Space::System, key: key.bytes(), ..RangeRequest::default() };
        let read = self.store.range(request, Consistency::Linearizable).await;
        let (position, reply) = read.map_err(|error| JobError::new(doing, error))?;
        let Some(kv) = reply.kvs.first() else { return Ok(None) };
        let holder: Machine = layout::decode(key, &kv.value).map_err(|error| JobError::new(doing, error))?;
        if holder.owner == self.machine.owner || self.waits(kv.lease).await? {
            return Ok(Some(kv.clone()));
        }
        let start = WatchStart::Revision(position.system_revision + 1);
        let request = WatchRequest { space: Space::System, key: key.bytes(), start, ..WatchRequest::default() };
        let mut watch = self.store.watch(request).await.map_err(|error| JobError::new(doing, error))?;
        // Twice its lease: the holder may be gone already, and a leader may have changed meanwhile.
        let patience = Duration::from_millis(self.ttl_ms.unsigned_abs() * 2 + 1_000);
        match tokio::time::timeout(patience, watch.next()).await {
            Ok(Ok(_)) => Err(JobError::new("announcing this machine", "its record was another node's until now")),
            Ok(Err(end)) => Err(JobError::new(doing, end)),
            Err(_) => {
                let reason = format!(
                    "machine-id {} is in use by another node of this cluster ({}, version {}); give each machine its own: \
                     remove /etc/machine-id and run `systemd-machine-id-setup`, or set fleet.machine_id",
                    self.machine.id, holder.primary_ip, holder.version
                );
                self.fatal.send_replace(Some(reason.clone()));
                Err(JobError::new("announcing this machine", reason))
            }
        }
    }

    /// Whether a lease has more time than a keep-alive gives: nobody has asked for one since the cluster was recovered.
    async fn waits(&self, lease: LeaseId) -> Result<bool, JobError> {
        let told = self.store.lease_time_to_live(lease, false).await;
        let told = told.map_err(|error| JobError::new("asking for the lease of this machine's record", error))?;
        Ok(told.is_some_and(|(lease, left_ms, _)| left_ms > lease.ttl_ms))
    }

    /// Returns when the lease is gone.
    async fn keep_alive(&self) {
        let lease = *self.lease.borrow();
        let Some(lease) = lease else { return };
        let ask = || self.store.keep_alive(lease);
        extend(self.ttl_ms, ask, |asked, ttl_ms| self.prolong(lease, asked, ttl_ms)).await;
    }

    /// Nothing is taken back when the node stops: its units go on running, and it may be back before the lease ends.
    async fn withdraw(&self) {
        let lease = *self.lease.borrow();
        if let Some(lease) = lease {
            // A last sign of life: the whole lease is there for the restart. Without an answer the lease is shorter.
            let _ = tokio::time::timeout(Duration::from_millis(500), self.store.keep_alive(lease)).await;
        }
    }
}

/// Has a lease extended three times in the time that it lasts, until it is gone; tells each answer, and when it was asked for. A store that
/// does not answer is asked again in time for the lease.
async fn extend<F>(ttl_ms: i64, ask: impl Fn() -> F, mut extended: impl FnMut(BootMillis, i64))
where
    F: Future<Output = Result<i64, StoreError>>,
{
    let third = Duration::from_millis(ttl_ms.unsigned_abs() / 3);
    let mut ticks = tokio::time::interval(third);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let asked = boot_now();
        match tokio::time::timeout(third, ask()).await {
            Ok(Ok(0)) => return,
            Ok(Ok(ttl_ms)) => extended(asked, ttl_ms),
            Ok(Err(error)) => tracing::warn!("keeping this machine's lease alive: {error}"),
            Err(_) => tracing::warn!("keeping this machine's lease alive: no answer within {third:?}; asking again"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Short: what is never answered is waited for.
    const TTL_MS: i64 = 60;

    /// Has a store extend a lease that answers the n-th request so, until it says that the lease is gone: how often it was asked, and how
    /// often the lease was extended.
    async fn kept<F>(answer: impl Fn(u32) -> F) -> (u32, u32)
    where
        F: Future<Output = Result<i64, StoreError>>,
    {
        let (asked, extended) = (Cell::new(0), Cell::new(0));
        let ask = || {
            asked.set(asked.get() + 1);
            answer(asked.get())
        };
        extend(TTL_MS, ask, |_, ttl_ms| {
            assert_eq!(ttl_ms, TTL_MS);
            extended.set(extended.get() + 1);
        })
        .await;
        (asked.get(), extended.get())
    }

    #[tokio::test]
    async fn a_request_that_is_never_answered_is_made_again() {
        let answer = |request| async move {
            match request {
                2 => std::future::pending().await,
                5 => Ok(0),
                _ => Ok(TTL_MS),
            }
        };
        assert_eq!(kept(answer).await, (5, 3));
    }

    #[tokio::test]
    async fn a_store_that_refuses_is_asked_again_until_the_lease_is_gone() {
        let answer = |request| async move {
            match request {
                4 => Ok(0),
                _ => Err(StoreError::NoLeader { detail: "for now".to_owned() }),
            }
        };
        assert_eq!(kept(answer).await, (4, 0));
    }
}
