//! The agent's part in running one-shots once: it notes which are done. What counts as done is `fleet::once`'s to say.

use super::*;
use crate::fleet::once;

impl Desk<'_> {
    /// Notes which one-shots are done.
    pub(super) fn note_finished(&mut self, cluster: &Cluster, wanted: &[Wanted]) {
        if self.retry_at.is_some() {
            return;
        }
        for (name, launch) in once::finished(cluster, wanted, &self.memory) {
            if self.noted.insert(Key::Done(name.clone()), launch) == Some(launch) {
                continue;
            }
            let (store, executor) = (self.agent.store.clone(), self.agent.executor.clone());
            let note = once::note(cluster, &name, launch, &self.agent.machine);
            self.tasks.spawn(async move {
                let idle = executor.is_idle(&name).await;
                let finished = match idle.map_err(|error| JobError::new("looking whether it is done", error)) {
                    Ok(true) => accepted(store.write(Op::Txn(note)).await, "noting that a one-shot is done")
                        .map(|reply| matches!(reply, Reply::Txn(reply) if reply.succeeded)),
                    other => other,
                };
                if finished.as_ref().is_ok_and(|noted| *noted) {
                    tracing::info!(unit = name, "has done its work, and no other machine does it again");
                }
                Done::Noted(finished)
            });
        }
    }
}
