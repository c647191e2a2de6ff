//! The agent's part in `Exclusive=true`: claims, and how long units may run. What is to be done is `fleet::fence`'s to say.

use super::*;
use crate::fleet::fence::claims;
use crate::fleet::types::DesiredState;

/// Waits until a tenure is over; for ever without one.
pub(super) async fn tenure_ends(tenure: Option<Tenure>) {
    let Some(tenure) = tenure else { return std::future::pending().await };
    tokio::time::sleep(Duration::from_millis(boot_now().until(tenure.until) + 1)).await;
}

/// Exclusive units that are down when a node comes up may have been stopped because their time was over: their start counts for nothing.
pub(super) fn forget_starts(memory: &mut Memory, cluster: &Cluster) {
    let exclusive = cluster.units.values().filter(|unit| unit.requirements.placement.exclusive);
    for unit in exclusive {
        let rests = |local: &Local| !local.is_running() && !local.is_stopping();
        if memory.units.get(&unit.name).is_some_and(rests) {
            memory.not_started(&unit.name);
        }
    }
}

impl Desk<'_> {
    /// Tells the executor until when exclusive units may run, before any of them is started. Where it does not hear, none is.
    pub(super) async fn allow(&mut self, wanted: &mut [Wanted], tenure: Option<Tenure>) {
        let held = |name: &&String| self.memory.units.get(*name).is_some_and(|local| local.held.is_some());
        let units: Vec<String> = self.fence.may_run.iter().filter(held).cloned().collect();
        let now = boot_now();
        if let Some(tenure) = tenure {
            self.allowances.tell(&units, &self.memory, tenure.until, now);
        }
        self.allowances.settle(&mut self.memory, now);
        let Some(tenure) = tenure.filter(|_| !units.is_empty()) else { return };
        if let Err(error) = self.agent.executor.allow_until(units, tenure.until).await {
            tracing::warn!("exclusive units cannot be told how long they may run: {error}");
            self.try_later();
            for unit in wanted.iter_mut().filter(|unit| self.fence.may_run.contains(&unit.file.name)) {
                unit.desired = unit.desired.min(DesiredState::Loaded);
            }
            let refused = std::mem::take(&mut self.fence.may_run);
            self.fence.may_not.extend(refused);
        }
    }

    /// Makes and gives back claims on exclusive units, one batch at a time.
    pub(super) fn claim(&mut self, cluster: &Cluster, tenure: Option<Tenure>) {
        let Some(tenure) = tenure.filter(|_| !self.claiming && cluster.revision >= self.claimed_at) else { return };
        let claims = claims(cluster, &self.agent.machine, &self.memory, tenure);
        if claims.is_empty() || self.retry_at.is_some() {
            return;
        }
        self.claiming = true;
        let store = self.agent.store.clone();
        self.tasks.spawn(async move {
            let mut revision = 0;
            for txn in claims {
                let written = store.write(Op::Txn(txn)).await;
                revision = written.as_ref().map_or(revision, |applied| applied.position.system_revision);
                if let Err(error) = accepted(written, "claiming exclusive units") {
                    return Done::Claimed(Err(error));
                }
            }
            Done::Claimed(Ok(revision))
        });
    }
}
