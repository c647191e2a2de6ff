//! The agent's part in running timers once: it notes when they elapse, and has them go on from there. What is kept is `fleet::timer`'s to say.

use super::*;
use crate::fleet::timer;

/// Has a timer that is about to be started go on from its last run, where there is one to go on from.
pub(super) async fn resume(
    executor: &Arc<dyn Executor>,
    name: &str,
    since: Option<UnixMillis>,
) -> Result<(), ExecutorError> {
    match since {
        Some(at) => executor.resume(name, at).await,
        None => Ok(()),
    }
}

impl Desk<'_> {
    /// Notes when timers have elapsed.
    pub(super) fn note_elapsed(&mut self, cluster: &Cluster, wanted: &[Wanted]) {
        if self.retry_at.is_some() {
            return;
        }
        for (name, at) in timer::elapsed(cluster, wanted, &self.memory) {
            let moment = at.0.unsigned_abs();
            if self.noted.insert(Key::Elapsed(name.clone()), moment) == Some(moment) {
                continue;
            }
            let (store, note) = (self.agent.store.clone(), timer::note(cluster, &name, at));
            self.tasks.spawn(async move {
                let written = accepted(store.write(Op::Txn(note)).await, "noting that a timer has elapsed");
                Done::Noted(written.map(|reply| matches!(reply, Reply::Txn(reply) if reply.succeeded)))
            });
        }
    }
}
