//! A unit's keeper: brings its container to what is wanted, one step after the other, and looks anew whenever it is woken.

mod life;
mod starting;
mod stopping;

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bollard::Docker;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use super::engine::{self, EngineError, Seen};
use super::notices::Notices;
use super::report::state;
use super::shared::{Goal, Link, Shared, Wish};
use crate::base::limits::AGENT_RETRY_MS;
use crate::fleet::executor::ActiveState;

/// Works for one unit until it is forgotten.
pub struct Keeper {
    shared: Arc<Shared>,
    name: String,
    wish: watch::Receiver<Wish>,
    nudge: watch::Receiver<u64>,
    link: watch::Receiver<Link>,
    /// A call that must come to its end whatever is wanted by then.
    pending: Option<JoinHandle<()>>,
    /// The engine was away since the container was last seen to run.
    missed: bool,
    /// Where a container with `Notify=true` tells that it is ready.
    notices: Option<Notices>,
}

impl Keeper {
    pub fn new(shared: Arc<Shared>, name: &str, wish: watch::Receiver<Wish>, nudge: watch::Receiver<u64>) -> Self {
        let link = shared.link.subscribe();
        Self { shared, name: name.to_owned(), wish, nudge, link, pending: None, missed: false, notices: None }
    }

    /// Does what is wanted, until the unit is forgotten.
    pub async fn run(mut self) {
        let mut wishes = self.wish.clone();
        loop {
            self.settle().await;
            let wish = self.wish.borrow_and_update().clone();
            let changed = wishes.wait_for(|now| now.goal != wish.goal);
            let open = match wish.goal {
                Goal::Up(run) => tokio::select! {
                    changed = changed => changed.is_ok(),
                    never = self.keep_up(run, &wish) => match never {},
                },
                // Not interrupted: what is half stopped is stopped to its end before it starts again.
                Goal::Down => {
                    self.bring_down(&wish).await;
                    changed.await.is_ok()
                }
                Goal::Gone => {
                    self.bring_down(&wish).await;
                    self.remove_container().await;
                    !self.forget()
                }
            };
            if !open {
                return;
            }
        }
    }

    /// Forgets the unit, unless it was loaded again meanwhile.
    fn forget(&self) -> bool {
        if self.wish.borrow().goal != Goal::Gone {
            return false;
        }
        self.shared.secret_files.take_back(&self.name);
        self.shared.notice_folders.remove(&self.name);
        if let Err(error) = self.shared.store.remove(&self.name) {
            tracing::error!(unit = self.name, %error, "cannot remove a container's unit");
        }
        self.shared.forget(&self.name);
        true
    }

    /// Sets the unit's state, and why it is so. What it has published it keeps until its container has ended.
    fn tell(&self, active: &str, sub: &str, reason: impl Into<String>) {
        let reason = reason.into();
        self.shared.report(&self.name, |report| {
            let ended = matches!(active, "inactive" | "failed") || matches!(sub, "exited" | "auto-restart");
            let ports = if ended { Vec::new() } else { std::mem::take(&mut report.state.ports) };
            report.state = ActiveState { ports, ..state(active, sub) };
            report.reason = reason;
        });
    }

    /// A line for the unit's journal.
    fn note(&self, words: &str) {
        self.shared.note(&self.name, "node", words);
    }

    /// The engine, once it answers.
    async fn docker(&mut self) -> Docker {
        loop {
            let link = self.link.borrow_and_update().clone();
            match link {
                Link::Up(docker) => return docker,
                Link::Away(why) => self.tell_away(&why),
            }
            if self.link.changed().await.is_err() {
                std::future::pending::<Infallible>().await;
            }
        }
    }

    fn tell_away(&mut self, why: &str) {
        self.missed = true;
        self.shared.report(&self.name, |report| {
            if !matches!(report.state.active.as_str(), "inactive" | "failed") {
                report.state.sub = "engine-away".to_owned();
            }
            report.reason = format!("the container engine is away: {why}");
        });
    }

    /// Tells that the engine is away, and waits until it may be back.
    async fn wait_away(&mut self, why: &str) {
        self.tell_away(why);
        tokio::select! {
            _ = self.link.changed() => {}
            () = tokio::time::sleep(Duration::from_millis(AGENT_RETRY_MS)) => {}
        }
    }

    /// Makes a call, again each time that the engine comes back without having answered it.
    async fn call<T, F>(&mut self, call: impl Fn(Docker) -> F) -> Result<T, EngineError>
    where
        F: Future<Output = Result<T, EngineError>>,
    {
        loop {
            let docker = self.docker().await;
            match call(docker).await {
                Err(EngineError::Away(why)) => self.wait_away(&why).await,
                done => return done,
            }
        }
    }

    /// The same for a call that changes something: it comes to its end even where this future does not.
    async fn change<T, F>(&mut self, call: impl Fn(Docker) -> F) -> Result<T, EngineError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, EngineError>> + Send + 'static,
    {
        loop {
            let docker = self.docker().await;
            let (answer, answered) = oneshot::channel();
            let changing = call(docker);
            self.pending = Some(tokio::spawn(async move {
                let _ = answer.send(changing.await);
            }));
            let done = answered.await.unwrap_or_else(|_| Err(EngineError::Away("the call was given up".to_owned())));
            self.pending = None;
            match done {
                Err(EngineError::Away(why)) => self.wait_away(&why).await,
                done => return done,
            }
        }
    }

    /// Waits for a change that was under way when the goal changed.
    async fn settle(&mut self) {
        if let Some(pending) = self.pending.take() {
            let _ = pending.await;
        }
    }

    /// The unit's containers, of which there is one at most unless somebody meddled.
    async fn own(&mut self) -> Result<Vec<String>, EngineError> {
        let (machine, name) = (self.shared.options.machine_id.clone(), self.name.clone());
        let listed = self
            .call(|docker| {
                let (machine, name) = (machine.clone(), name.clone());
                async move { engine::list(&docker, &machine, Some(&name)).await }
            })
            .await?;
        Ok(listed.into_iter().map(|container| container.id).collect())
    }

    async fn look(&mut self, id: &str) -> Result<Option<Seen>, EngineError> {
        self.call(|docker| {
            let id = id.to_owned();
            async move { engine::look(&docker, &id).await }
        })
        .await
    }

    /// The unit's container, looked at; `None`: there is none, or the engine does not say.
    async fn find(&mut self) -> Option<Seen> {
        let mut found = None;
        for id in self.own().await.unwrap_or_default() {
            if let Ok(Some(seen)) = self.look(&id).await {
                let runs = matches!(seen.stage, engine::Stage::Running(_));
                if runs || found.is_none() {
                    found = Some(seen);
                }
            }
        }
        found
    }

    async fn remove_container(&mut self) {
        for id in self.own().await.unwrap_or_default() {
            let removed = self
                .change(|docker| {
                    let id = id.clone();
                    async move { engine::remove(&docker, &id).await }
                })
                .await;
            if let Err(error) = removed {
                tracing::error!(unit = self.name, %error, "cannot remove a container");
            }
        }
    }
}
