//! The engine: the leader's planning loop. Woken by changes, it plans the whole cluster and writes what differs.
//!
//! Every node runs the job; only the leader plans. A plan is written on the condition that its parent is still the newest,
//! so a deposed leader that does not know it yet changes nothing.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use super::follow::Follower;
use super::leading::while_leading;
use super::{Job, JobError, Stop, accepted};
use crate::base::limits::FLEET_TXN_OPS_MAX;
use crate::base::{BoxFuture, Clock, MemberId};
use crate::fleet::fence::Absences;
use crate::fleet::{Counts, Plan, plan_at, transactions};
use crate::kv::{Op, Reply, Store};

/// Plans while this node leads.
pub struct Engine {
    pub store: Arc<dyn Store>,
    pub member: MemberId,
    pub clock: Arc<dyn Clock>,
    pub counts: Arc<Counts>,
}

/// Waits so many milliseconds, at least one; for ever where none are given.
async fn pause(ms: Option<i64>) {
    match ms {
        Some(ms) => tokio::time::sleep(Duration::from_millis(ms.max(1).unsigned_abs())).await,
        None => std::future::pending().await,
    }
}

impl Job for Engine {
    fn name(&self) -> &'static str {
        "engine"
    }

    fn run(&mut self, mut stop: Stop) -> BoxFuture<'_, Result<(), JobError>> {
        Box::pin(async move {
            tokio::select! {
                () = stop.wait() => Ok(()),
                error = while_leading(&self.store, self.member, || self.plan_for_ever()) => Err(error),
            }
        })
    }
}

impl Engine {
    async fn plan_for_ever(&self) -> Result<Infallible, JobError> {
        let mut follower = Follower::open(&self.store).await?;
        self.counts.leads(self.clock.now());
        let began = tokio::time::Instant::now();
        let forward = || u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut absences = Absences::default();
        let mut changed = Vec::new();
        loop {
            absences.look(&follower.cluster, &changed, forward());
            let now = self.clock.now();
            let plan = plan_at(&follower.cluster, now, &absences);
            let written = self.write(&plan).await?;
            self.counts.planned(&plan, written);
            if !written {
                tracing::debug!("the cluster changed while it was planned; planning again");
            }
            let by_clock = plan.look_again.map(|at| at.0.saturating_sub(now.0));
            let by_claims = plan.look_again_ms.map(|ms| i64::try_from(ms).unwrap_or(i64::MAX));
            changed.clear();
            tokio::select! {
                followed = follower.next() => changed = followed?,
                () = pause(by_clock.into_iter().chain(by_claims).min()) => {}
            }
        }
    }

    /// Whether all of it was written. Where it was not, something has changed, which the watch tells next.
    async fn write(&self, plan: &Plan) -> Result<bool, JobError> {
        for decision in &plan.decisions {
            tracing::info!("{decision}");
        }
        for txn in transactions(plan, FLEET_TXN_OPS_MAX) {
            match accepted(self.store.write(Op::Txn(txn)).await, "writing a plan")? {
                Reply::Txn(reply) if reply.succeeded => {}
                _ => return Ok(false),
            }
        }
        Ok(true)
    }
}
