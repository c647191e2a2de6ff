//! The rollouts' loop: while this node leads it carries an apply on, batch by batch. Each step is written only over the
//! progress that it was made for, so that a deposed leader who does not know it yet changes nothing.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::follow::Follower;
use super::leading::while_leading;
use super::{Job, JobError, Stop, accepted};
use crate::base::{BoxFuture, Clock, MemberId};
use crate::fleet::rollout::{Step, Watchman};
use crate::kv::{Op, Reply, Store};

/// Rolls out while this node leads.
pub struct Rollouts {
    pub store: Arc<dyn Store>,
    pub member: MemberId,
    pub clock: Arc<dyn Clock>,
}

impl Job for Rollouts {
    fn name(&self) -> &'static str {
        "rollouts"
    }

    fn run(&mut self, mut stop: Stop) -> BoxFuture<'_, Result<(), JobError>> {
        Box::pin(async move {
            tokio::select! {
                () = stop.wait() => Ok(()),
                error = while_leading(&self.store, self.member, || self.lead()) => Err(error),
            }
        })
    }
}

impl Rollouts {
    async fn lead(&self) -> Result<Infallible, JobError> {
        let mut follower = Follower::open(&self.store).await?;
        let mut watchman = Watchman::default();
        let begun = Instant::now();
        loop {
            let now = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            match watchman.step(&follower.cluster, now, self.clock.now()) {
                None => {
                    follower.next().await?;
                }
                Some(Step::Wait { until, why }) => {
                    tracing::debug!("an apply waits: {why}");
                    let pause = Duration::from_millis(until.saturating_sub(now).max(1));
                    if let Ok(followed) = tokio::time::timeout(pause, follower.next()).await {
                        followed?;
                    }
                }
                Some(Step::Write(request)) => {
                    let written = accepted(self.store.write(Op::Txn(request)).await, "carrying an apply on")?;
                    if !matches!(written, Reply::Txn(reply) if reply.succeeded) {
                        tracing::debug!("the cluster changed while an apply was carried on; looking again");
                    }
                    // Its own change or somebody else's: either way there is news.
                    follower.next().await?;
                }
            }
        }
    }
}
