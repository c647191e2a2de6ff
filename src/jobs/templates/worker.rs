//! One resource's worker: it sleeps until a change concerns it, lets changes gather where that is asked for, makes its
//! passes, tells of them, and tries again what failed.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::Shop;
use super::board::{located, now, since};
use super::load::Target;
use super::pass::{Outcome, Pass, PassError, micros, pass};
use super::reload::{Group, told};
use super::turns::Turn;
use crate::base::UnixMillis;
use crate::base::limits::{TEMPLATE_RETRY_MS_MAX, TEMPLATE_RETRY_MS_MIN, TEMPLATE_TURN_KEPT_MS_MAX};
use crate::confd::{CAUSES_TOLD_MAX, Change, Lookup, Reads, State, Trouble, View};

/// The door to a resource's worker. The worker ends when it goes.
pub(super) struct Worker {
    pub target: Arc<Target>,
    shared: Arc<Shared>,
    handle: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<Desk>,
    wake: Notify,
    group: Option<Arc<Group>>,
}

#[derive(Default)]
struct Desk {
    /// What the next pass renders; `None` until the store was read once.
    view: Option<Arc<View>>,
    revision: i64,
    /// Counts the views, so that it is known which one `reads` belongs to.
    generation: u64,
    /// What the template looked up when it rendered the view of this generation.
    reads: Option<(u64, Reads)>,
    cause: Cause,
    /// Whether a pass is under way or awaited; then the group knows of it.
    busy: bool,
    closed: bool,
}

/// Why the next pass is made.
#[derive(Clone, Default)]
struct Cause {
    keys: BTreeSet<String>,
    written: Option<UnixMillis>,
    /// When the first and the last change was heard of.
    first: Option<Instant>,
    last: Option<Instant>,
    /// Everything was read anew: nothing is to gather.
    resync: bool,
}

/// A burst of changes.
pub(super) struct Burst<'a> {
    pub keys: &'a [String],
    pub revision: i64,
    pub written: Option<UnixMillis>,
    pub heard: Instant,
}

impl Shared {
    /// A panic under the lock ends the process, so the state is whole in any case.
    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the worker; its group waits for it from now on.
    fn wake(&self, mut desk: MutexGuard<'_, Desk>) {
        if let Some(group) = self.group.as_ref().filter(|_| !desk.busy) {
            group.enter();
        }
        desk.busy = true;
        drop(desk);
        self.wake.notify_one();
    }
}

impl Worker {
    /// Starts the worker of a resource, once `before` has ended. It waits for its first view.
    pub fn start(target: Arc<Target>, shop: Arc<Shop>, before: Option<JoinHandle<()>>) -> Self {
        let group = target.resource.reload_group.as_deref().map(|name| shop.group(name));
        let shared = Arc::new(Shared { state: Mutex::default(), wake: Notify::new(), group });
        let work = Work { target: target.clone(), shop, shared: shared.clone(), turn: None };
        let handle = tokio::spawn(async move {
            if let Some(before) = before {
                // How it ended does not matter: it touches the file no more.
                let _ = before.await;
            }
            work.run().await;
        });
        Self { target, shared, handle: Some(handle) }
    }

    /// Ends the worker after the pass that it is at; the handle completes then.
    pub fn close(mut self) -> Option<JoinHandle<()>> {
        self.handle.take()
    }

    /// Everything was read anew: the resource is looked at in any case.
    pub fn resync(&self, view: Arc<View>, revision: i64) {
        let mut desk = self.shared.desk();
        (desk.view, desk.revision) = (Some(view), revision);
        desk.generation += 1;
        desk.cause.resync = true;
        desk.cause.first.get_or_insert_with(Instant::now);
        self.shared.wake(desk);
    }

    /// The keys of a burst that this resource asks for, as its template names them.
    pub fn concerns(&self, burst: &Burst<'_>) -> BTreeSet<String> {
        let selection = &self.target.selection;
        burst.keys.iter().filter(|key| selection.selects(key)).map(|key| selection.shown(key)).collect()
    }

    /// Some keys changed: the resource gets its new view, and a pass if it looked one of them up.
    pub fn changed(&self, view: Arc<View>, mine: &BTreeSet<String>, burst: &Burst<'_>) {
        let mut desk = self.shared.desk();
        let before = desk.generation;
        (desk.view, desk.revision) = (Some(view), burst.revision);
        desk.generation += 1;
        let after = desk.generation;
        // Where a pass over the last view is still under way, what it looks up is not known yet.
        if let Some((generation, reads)) = desk.reads.as_mut().filter(|(generation, _)| *generation == before)
            && !mine.iter().any(|key| reads.touched_by(key))
        {
            *generation = after;
            return;
        }
        let cause = &mut desk.cause;
        let selection = &self.target.selection;
        let keys = burst.keys.iter().filter(|key| selection.selects(key));
        cause.keys.extend(keys.take(CAUSES_TOLD_MAX.saturating_sub(cause.keys.len())).cloned());
        cause.written = cause.written.or(burst.written);
        cause.first.get_or_insert(burst.heard);
        cause.last = Some(burst.heard);
        self.shared.wake(desk);
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.shared.desk().closed = true;
        self.shared.wake.notify_one();
    }
}

struct Work {
    target: Arc<Target>,
    shop: Arc<Shop>,
    shared: Arc<Shared>,
    /// Kept over passes while a reload fails.
    turn: Option<Turn>,
}

/// What a pass renders.
struct Task {
    view: Arc<View>,
    revision: i64,
    generation: u64,
    cause: Cause,
}

impl Work {
    async fn run(mut self) {
        let first_pause = Duration::from_millis(TEMPLATE_RETRY_MS_MIN);
        let mut pause = first_pause;
        let mut again: Option<Duration> = None;
        loop {
            tokio::select! {
                () = self.shared.wake.notified() => {}
                () = tokio::time::sleep(again.unwrap_or_default()), if again.is_some() => {}
            }
            if self.gather().await {
                break;
            }
            let Some(task) = self.take_up() else { continue };
            let ended = self.one(&task).await;
            let put_off = ended.reload_in;
            again = match &ended.result {
                Ok(_) => {
                    pause = first_pause;
                    put_off
                }
                Err(error) => {
                    let again = error.may_heal().then_some(pause);
                    let when = match again {
                        Some(pause) => format!("again in {pause:?}"),
                        None => "again when its keys change".to_owned(),
                    };
                    match error {
                        PassError::Waits(_) => tracing::info!("{}: {error}", self.target.file.display()),
                        error => tracing::error!("{}: {error}; {when}", self.target.file.display()),
                    }
                    pause = (pause * 2).min(Duration::from_millis(TEMPLATE_RETRY_MS_MAX));
                    again
                }
            };
            self.tell(&task, &ended);
        }
        if let Some(turn) = self.turn.take() {
            turn.release().await;
        }
        // Its group waits for it no more.
        if let Some(group) = self.shared.group.as_ref().filter(|_| self.shared.desk().busy) {
            group.leave(&self.shop.context, None);
        }
    }

    /// Waits until changes have gathered; whether the worker is to end.
    async fn gather(&self) -> bool {
        loop {
            let due = {
                let desk = self.shared.desk();
                if desk.closed {
                    return true;
                }
                let cause = &desk.cause;
                match (self.target.resource.debounce, cause.first, cause.last) {
                    (Some(debounce), Some(first), Some(last)) if !cause.resync => {
                        first + debounce.due(Duration::ZERO, last - first)
                    }
                    _ => return false,
                }
            };
            tokio::select! {
                () = tokio::time::sleep_until(due) => return self.shared.desk().closed,
                () = self.shared.wake.notified() => {}
            }
        }
    }

    /// What there is to do now.
    fn take_up(&self) -> Option<Task> {
        let mut desk = self.shared.desk();
        let view = desk.view.clone()?;
        if let Some(group) = self.shared.group.as_ref().filter(|_| !desk.busy) {
            group.enter();
        }
        desk.busy = true;
        Some(Task {
            view,
            revision: desk.revision,
            generation: desk.generation,
            cause: std::mem::take(&mut desk.cause),
        })
    }

    /// One pass, with its turn and its group's reload.
    async fn one(&mut self, task: &Task) -> Pass {
        let began = Instant::now();
        let waited = task.cause.first.map_or(0, |first| micros(first).saturating_sub(micros(began)));
        let mut ended = self.pass_in_turn(task).await;
        ended.steps.wait_us = waited;
        {
            let mut desk = self.shared.desk();
            desk.reads = ended.reads.clone().map(|reads| (task.generation, reads));
            desk.busy = false;
        }
        if let Some(group) = &self.shared.group {
            let due = ended.group_due.then(|| self.target.clone());
            if let Some(mut waiting) = group.leave(&self.shop.context, due) {
                let reload = Instant::now();
                let group_ended = waiting.wait_for(Option::is_some).await.map(|ended| ended.clone());
                ended.steps.reload_us = Some(micros(reload));
                ended.reloaded = self.target.resource.reload.as_ref().map(told);
                match group_ended {
                    Ok(Some(Ok(put_off))) => ended.reload_in = put_off,
                    Ok(Some(Err(error))) => ended.result = Err(PassError::Reload(error)),
                    Ok(None) | Err(_) => {
                        ended.result = Err(PassError::Interrupted("the group's reload was cut off".into()))
                    }
                }
            }
        }
        ended
    }

    async fn pass_in_turn(&mut self, task: &Task) -> Pass {
        let (context, target) = (&self.shop.context, &self.target);
        let (Some(turns), Some(most)) = (&context.turns, target.resource.max_parallel) else {
            return pass(context, target, task.view.clone(), true).await;
        };
        let mut ended = pass(context, target, task.view.clone(), self.turn.is_some()).await;
        if matches!(ended.result, Ok(Outcome::NeedsTurn)) {
            let behind = |message: &str| {
                self.shop.update(target, |status| {
                    status.state = State::Waiting;
                    let file = target.file.to_string_lossy();
                    status.trouble = Some(Trouble::new(&file, message, since(Some(status), message)));
                });
            };
            match turns.take(&target.name, most, behind).await {
                Ok(turn) => self.turn = Some(turn),
                Err(error) => {
                    ended.result = Err(PassError::Turn(error));
                    return ended;
                }
            }
            // What is rendered in turn is what the keys are by now.
            let view = self.shared.desk().view.clone().unwrap_or_else(|| task.view.clone());
            ended = pass(context, target, view, true).await;
        }
        let keep = matches!(ended.result, Err(PassError::Reload(_)))
            && self
                .turn
                .as_ref()
                .is_some_and(|turn| turn.since.elapsed() < Duration::from_millis(TEMPLATE_TURN_KEPT_MS_MAX));
        if !keep && let Some(turn) = self.turn.take() {
            turn.release().await;
        }
        ended
    }

    /// Puts the end of a pass on the board.
    fn tell(&self, task: &Task, ended: &Pass) {
        self.shop.ended(&self.target, ended.files.len(), |status| {
            if let Some(reads) = &ended.reads {
                status.reads = Lookup::list(reads, self.target.selection.prefix());
            }
            (status.revision, status.at, status.steps) = (task.revision, now(), ended.steps);
            let failed = ended.result.as_ref().err();
            let message = failed.map(ToString::to_string);
            status.trouble = match (failed, &message) {
                (Some(error), Some(message)) => Some(located(&self.target, status, error, message)),
                _ => None,
            };
            status.state = match failed {
                Some(PassError::Waits(_)) => State::Waiting,
                Some(_) => State::Failed,
                None if ended.reload_in.is_some() => State::Reloading,
                None => State::Ok,
            };
            if !ended.files.is_empty() || ended.reloaded.is_some() || (failed.is_some() && !task.cause.keys.is_empty())
            {
                status.remember(Change {
                    revision: task.revision,
                    keys: task.cause.keys.iter().cloned().collect(),
                    written: task.cause.written,
                    at: status.at,
                    files: ended.files.clone(),
                    reload: ended.reloaded.clone(),
                    steps: ended.steps,
                    failed: message,
                });
            }
        });
    }
}
