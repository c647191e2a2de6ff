//! One resource's worker: it sleeps until a change concerns it, and tries again what failed.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::load::Target;
use super::pass::{Context, process};
use super::snapshot::Snapshot;
use crate::base::limits::{TEMPLATE_RETRY_MS_MAX, TEMPLATE_RETRY_MS_MIN};
use crate::confd::{Reads, View};

/// The door to a resource's worker. The worker ends when it goes.
pub(super) struct Worker {
    target: Arc<Target>,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    wake: Notify,
}

#[derive(Default)]
struct State {
    /// What the next pass renders; `None` until the store was read once.
    view: Option<Arc<View>>,
    /// Counts the views, so that it is known which one `reads` belongs to.
    generation: u64,
    /// What the template looked up when it rendered the view of this generation.
    reads: Option<(u64, Reads)>,
    closed: bool,
}

impl Shared {
    /// A panic under the lock ends the process, so the state is whole in any case.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Worker {
    /// Starts the worker of a resource. It waits for its first view.
    pub fn start(target: Arc<Target>, context: Arc<Context>, tasks: &mut JoinSet<()>) -> Self {
        let shared = Arc::new(Shared { state: Mutex::default(), wake: Notify::new() });
        tasks.spawn(work(target.clone(), context, shared.clone()));
        Self { target, shared }
    }

    /// Everything was read anew: the resource is looked at in any case.
    pub fn resync(&self, snapshot: &Snapshot) {
        let view = Arc::new(View::new(&self.target.selection, &snapshot.keys));
        let mut state = self.shared.state();
        state.view = Some(view);
        state.generation += 1;
        drop(state);
        self.shared.wake.notify_one();
    }

    /// Some keys changed: the resource gets its new view, and a pass if it looked one of them up.
    pub fn changed(&self, snapshot: &Snapshot, keys: &[String]) {
        let selection = &self.target.selection;
        let mine: BTreeSet<String> =
            keys.iter().filter(|key| selection.selects(key)).map(|key| selection.shown(key)).collect();
        if mine.is_empty() {
            return;
        }
        let view = Arc::new(View::new(selection, &snapshot.keys));
        let mut state = self.shared.state();
        let before = state.generation;
        state.view = Some(view);
        state.generation += 1;
        let after = state.generation;
        // Where a pass over the last view is still under way, what it looks up is not known yet.
        if let Some((generation, reads)) = state.reads.as_mut().filter(|(generation, _)| *generation == before)
            && !mine.iter().any(|key| reads.touched_by(key))
        {
            *generation = after;
            return;
        }
        drop(state);
        self.shared.wake.notify_one();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.shared.state().closed = true;
        self.shared.wake.notify_one();
    }
}

async fn work(target: Arc<Target>, context: Arc<Context>, shared: Arc<Shared>) {
    let first_pause = Duration::from_millis(TEMPLATE_RETRY_MS_MIN);
    let mut pause = first_pause;
    let mut failed = false;
    loop {
        tokio::select! {
            () = shared.wake.notified() => {}
            () = tokio::time::sleep(pause), if failed => pause = (pause * 2).min(Duration::from_millis(TEMPLATE_RETRY_MS_MAX)),
        }
        let (view, generation) = {
            let state = shared.state();
            if state.closed {
                return;
            }
            (state.view.clone(), state.generation)
        };
        let Some(view) = view else { continue };
        let pass = process(&context, &target, view).await;
        shared.state().reads = pass.reads.map(|reads| (generation, reads));
        failed = match pass.result {
            Ok(_) => {
                pause = first_pause;
                false
            }
            Err(error) => {
                let again = error.may_heal();
                let when = if again { format!("again in {pause:?}") } else { "again when its keys change".to_owned() };
                tracing::error!("{}: {error}; {when}", target.file.display());
                again
            }
        };
    }
}
