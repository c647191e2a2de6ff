//! `max_parallel`: machines queue in the store for their turn at a resource. The first so many go, the others wait for one
//! of them to be done. A machine's place hangs on a lease of its own: who is lost gives up its place within seconds.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::base::limits::{TEMPLATE_TURN_LEASE_MS, TEMPLATE_TURN_WAIT_MS_MAX};
use crate::base::{LeaseId, MachineId};
use crate::confd::turn_prefix;
use crate::jobs::{JobError, accepted};
use crate::kv::{
    Consistency, KeyValue, Op, PutRequest, RangeRequest, Space, Store, WatchRequest, WatchStart, prefix_end,
    system_lease,
};

/// Where this machine queues.
#[derive(Clone)]
pub struct Turns {
    pub store: Arc<dyn Store>,
    pub machine: MachineId,
}

/// A turn, kept until it is released; a process that ends loses it with its lease.
pub struct Turn {
    store: Arc<dyn Store>,
    lease: LeaseId,
    keeper: JoinHandle<()>,
    /// Since when it is held.
    pub since: Instant,
}

/// This machine's place in a queue.
enum Place {
    /// It is one of the first.
    Turn,
    /// Behind these machines, as far as they hold it up; the system space's revision at which that was so.
    Behind(Vec<String>, i64),
    Lost,
}

impl Turns {
    /// Waits until fewer than `most` machines are before this one. `told` hears who is waited for, each time that changes.
    ///
    /// # Errors
    /// A store that does not answer, or no turn within [`TEMPLATE_TURN_WAIT_MS_MAX`]: who holds it up.
    pub async fn take(&self, resource: &str, most: usize, told: impl Fn(&str)) -> Result<Turn, String> {
        let mut turn = self.queue(resource).await.map_err(|error| error.to_string())?;
        let bound = Duration::from_millis(TEMPLATE_TURN_WAIT_MS_MAX);
        let last = std::sync::Mutex::new(String::new());
        let note = |behind: &str| {
            told(behind);
            last.lock().unwrap_or_else(std::sync::PoisonError::into_inner).replace_range(.., behind);
        };
        let waited = tokio::time::timeout(bound, self.wait(resource, most, note)).await;
        let failed = match waited {
            Ok(Ok(())) => {
                turn.since = Instant::now();
                return Ok(turn);
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => {
                let behind = last.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
                format!("no turn within {bound:?}, max_parallel is {most}: {behind}")
            }
        };
        turn.release().await;
        Err(failed)
    }

    /// Enters the queue, at its end.
    async fn queue(&self, resource: &str) -> Result<Turn, JobError> {
        let doing = "queueing for a turn";
        let (store, lease) = (self.store.clone(), system_lease(rand::random()));
        let grant = Op::LeaseGrant { id: lease, ttl_ms: TEMPLATE_TURN_LEASE_MS };
        accepted(store.write(grant).await, doing)?;
        let keeper = tokio::spawn(keep(store.clone(), lease));
        let turn = Turn { store, lease, keeper, since: Instant::now() };
        let key = format!("{}{}", turn_prefix(resource), self.machine);
        let put = PutRequest { space: Space::System, key: key.into(), lease, ..PutRequest::default() };
        accepted(self.store.write(Op::Put(put)).await, doing)?;
        Ok(turn)
    }

    async fn wait(&self, resource: &str, most: usize, told: impl Fn(&str)) -> Result<(), JobError> {
        let doing = "waiting for a turn";
        loop {
            let (behind, revision) = match self.place(resource, most).await? {
                Place::Turn => return Ok(()),
                Place::Lost => return Err(JobError::new(doing, "the place in the queue was lost with its lease")),
                Place::Behind(behind, revision) => (behind, revision),
            };
            told(&format!("waits for its turn behind {}", behind.join(", ")));
            let prefix = turn_prefix(resource);
            let start = WatchStart::Revision(revision + 1);
            let (key, range_end) = (prefix.clone().into(), prefix_end(prefix.as_bytes()));
            let request = WatchRequest { space: Space::System, key, range_end, start };
            let mut watch = self.store.watch(request).await.map_err(|error| JobError::new(doing, error))?;
            watch.next().await.map_err(|error| JobError::new(doing, error))?;
        }
    }

    async fn place(&self, resource: &str, most: usize) -> Result<Place, JobError> {
        let prefix = turn_prefix(resource);
        let (key, range_end) = (prefix.clone().into(), prefix_end(prefix.as_bytes()));
        let request = RangeRequest { space: Space::System, key, range_end, ..RangeRequest::default() };
        let read = self.store.range(request, Consistency::Linearizable).await;
        let (position, reply) = read.map_err(|error| JobError::new("waiting for a turn", error))?;
        let mut queue = reply.kvs;
        queue.sort_by_key(|kv| kv.create_revision);
        let machine = |kv: &KeyValue| String::from_utf8_lossy(&kv.key[prefix.len()..]).into_owned();
        Ok(match queue.iter().position(|kv| machine(kv) == self.machine.0) {
            None => Place::Lost,
            Some(at) if at < most => Place::Turn,
            Some(_) => Place::Behind(queue.iter().take(most).map(machine).collect(), position.system_revision),
        })
    }
}

/// Keeps a lease alive; a store that does not answer is asked again.
async fn keep(store: Arc<dyn Store>, lease: LeaseId) {
    let mut ticks = tokio::time::interval(Duration::from_millis(TEMPLATE_TURN_LEASE_MS.unsigned_abs() / 3));
    loop {
        ticks.tick().await;
        if let Ok(0) = store.keep_alive(lease).await {
            return;
        }
    }
}

impl Turn {
    /// Gives the turn to the next machine.
    pub async fn release(self) {
        if let Err(error) = self.store.write(Op::LeaseRevoke { id: self.lease }).await {
            tracing::warn!("giving up a turn: {error}; it ends by itself with its lease");
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}
