//! A container's life as its unit's: started, watched, and what its end leads to.

use std::collections::VecDeque;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::starting::{How, NotStarted};
use super::*;
use crate::base::limits::{CONTAINER_SETTLED_MS, IMAGE_PAUSE_MS};
use crate::docker::checks;
use crate::docker::engine::{Pulse, Stage};
use crate::docker::host;
use crate::docker::shared::ADOPTED;
use crate::unit::container::{Kind, OnUnhealthy, Readiness};
use crate::unit::notify::Note;

/// How a life ended.
#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    Exited {
        code: i32,
        out_of_memory: bool,
    },
    /// It went down while the engine was away: that was not its own doing.
    WithEngine,
    /// Somebody removed the container.
    Removed,
    Unhealthy,
    NotStarted(NotStarted),
}

/// In `Restart=`, what did not come from the program counts as a program that was killed.
const AS_IF_KILLED: i32 = 137;
/// What Podman and Docker end with where a container cannot be started.
const NOT_STARTED: i32 = 125;

/// What the keeper remembers from one life to the next.
#[derive(Default)]
struct Lives {
    short: u32,
    lacking: u32,
    starts: VecDeque<Instant>,
}

impl Keeper {
    /// Keeps the container running, by the unit's rules.
    pub(super) async fn keep_up(&mut self, run: u64, wish: &Wish) -> Infallible {
        let mut lives = Lives::default();
        let mut how = if run == ADOPTED { How::Adopt } else { How::Fresh };
        loop {
            let begun = Instant::now();
            lives.starts.push_back(begun);
            let end = self.live(wish, how).await;
            if begun.elapsed() >= Duration::from_millis(CONTAINER_SETTLED_MS) {
                lives.short = 0;
            }
            how = self.after(wish, end, &mut lives).await;
        }
    }

    async fn live(&mut self, wish: &Wish, how: How) -> End {
        let (id, announced) = match how {
            How::Adopt => match self.find().await {
                Some(Seen { stage: Stage::Ended { code, out_of_memory }, .. }) => {
                    return End::Exited { code, out_of_memory };
                }
                Some(Seen { id, stage: Stage::Running(_), .. }) => {
                    // It may have told that it is ready while nobody listened, and then it counts as ready.
                    if let Err(error) = self.listen(&wish.container) {
                        tracing::warn!(unit = self.name, ?error, "what a container tells is not heard");
                    }
                    (id, true)
                }
                Some(Seen { stage: Stage::Created, .. }) | None => return End::Removed,
            },
            how => match self.start(wish, how).await {
                Ok(id) => (id, false),
                Err(not_started) => return End::NotStarted(not_started),
            },
        };
        self.shared.report(&self.name, |report| report.container = Some(id.clone()));
        let end = self.watch(wish, &id, announced).await;
        let life = &wish.container.life;
        if !life.stop_post.is_empty() && end != End::WithEngine {
            self.tell("deactivating", "stop-post", "");
            if let Err(reason) = host::run(&self.shared, &self.name, life, &life.stop_post, life.stop_timeout).await {
                self.note(&format!("ExecStopPost: {reason}"));
            }
        }
        end
    }

    /// Follows a container that was started, until it ends.
    async fn watch(&mut self, wish: &Wish, id: &str, mut announced: bool) -> End {
        let life = &wish.container.life;
        let mut deadline = life.start_timeout.map(|limit| Instant::now() + limit);
        let mut ready = announced || wish.container.readiness != Readiness::Told;
        // They end with this future.
        let mut checks = JoinSet::new();
        loop {
            self.nudge.borrow_and_update();
            match self.look(id).await {
                Ok(None) => return End::Removed,
                Ok(Some(Seen { stage: Stage::Ended { code, out_of_memory }, .. })) => {
                    self.shared.report(&self.name, |report| report.exit_code = Some(code));
                    let done = life.kind == Kind::Oneshot && code == 0;
                    ready = ready || self.notices.as_ref().is_some_and(Notices::tell_ready);
                    if !ready && !self.missed && code == 0 && life.kind == Kind::Running {
                        let reason = "it ended before it told that it is ready (Notify=true)".to_owned();
                        return End::NotStarted(NotStarted::Failed { sub: "protocol", reason });
                    }
                    return if self.missed && !done { End::WithEngine } else { End::Exited { code, out_of_memory } };
                }
                Ok(Some(Seen { stage: Stage::Running(pulse), ports, .. })) => {
                    self.missed = false;
                    let published = match wish.container.is_in_hosts_network() {
                        true => wish.container.ports.clone(),
                        false => engine::published(&wish.container.ports, &ports),
                    };
                    self.shared.report(&self.name, |report| report.state.ports = published);
                    if pulse != Pulse::Unasked && checks.is_empty() {
                        let docker = self.docker().await;
                        checks.spawn(checks::drive(self.shared.clone(), docker, self.name.clone(), id.to_owned()));
                    }
                    if let Err(end) = self.felt(wish, id, pulse, ready, &mut announced).await {
                        return end;
                    }
                }
                // Still to be started.
                Ok(Some(_)) => {}
                Err(error) => tracing::warn!(unit = self.name, %error, "cannot look at a container"),
            }
            if !self.until_news(&mut ready, &mut deadline, announced).await {
                self.kill(id).await;
                let limit = life.start_timeout.unwrap_or_default();
                let reason = format!("not up within {limit:?} (TimeoutStartSec=)");
                return End::NotStarted(NotStarted::Failed { sub: "timeout", reason });
            }
        }
    }

    /// Waits until there is a reason to look at the container again; `false`: it has taken too long to come up.
    async fn until_news(&mut self, ready: &mut bool, deadline: &mut Option<Instant>, announced: bool) -> bool {
        loop {
            let late = async {
                match deadline.filter(|_| !announced) {
                    Some(deadline) => tokio::time::sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            let told = async {
                match &self.notices {
                    Some(notices) => notices.next().await,
                    None => std::future::pending().await,
                }
            };
            let notes = tokio::select! {
                changed = self.nudge.changed() => match changed {
                    Ok(()) => return true,
                    Err(_) => std::future::pending().await,
                },
                () = late => return false,
                told = told => match told {
                    Ok(notes) => notes,
                    Err(error) => {
                        tracing::warn!(unit = self.name, %error, "what a container tells is not heard");
                        self.notices = None;
                        continue;
                    }
                },
            };
            let was_ready = *ready;
            for note in notes {
                match note {
                    Note::Ready => *ready = true,
                    Note::Status(text) => self.shared.report(&self.name, |report| report.said = text),
                    Note::ExtendTimeoutMs(ms) => {
                        *deadline = deadline
                            .and_then(|at| Some(at.max(Instant::now().checked_add(Duration::from_millis(ms))?)));
                    }
                    Note::Stopping | Note::MainPid(_) => {}
                }
            }
            if *ready != was_ready {
                return true;
            }
        }
    }

    /// Takes in that the container runs, and how it is.
    async fn felt(
        &mut self,
        wish: &Wish,
        id: &str,
        pulse: Pulse,
        ready: bool,
        announced: &mut bool,
    ) -> Result<(), End> {
        let life = &wish.container.life;
        match pulse {
            _ if life.kind == Kind::Oneshot => self.tell("activating", "start", ""),
            Pulse::Starting if !*announced => self.tell("activating", "health-starting", "its health is not known yet"),
            Pulse::Unasked if wish.container.readiness == Readiness::Healthy => {
                self.kill(id).await;
                let reason = "Notify=healthy: neither the unit nor its image has a health check; write HealthCmd=";
                return Err(End::NotStarted(NotStarted::Failed { sub: "health", reason: reason.to_owned() }));
            }
            Pulse::Unasked | Pulse::Healthy | Pulse::Starting if !ready => {
                self.tell("activating", "start", "it has not told yet that it is ready (Notify=true)");
            }
            Pulse::Unasked | Pulse::Healthy | Pulse::Starting => {
                if !std::mem::replace(announced, true) {
                    self.post_start(wish, id).await?;
                }
                self.tell("active", "running", "");
            }
            Pulse::Unhealthy => {
                let why = self.ill_because(id).await;
                match wish.container.on_unhealthy {
                    OnUnhealthy::Nothing => self.tell("active", "unhealthy", why),
                    OnUnhealthy::Kill | OnUnhealthy::Stop => {
                        self.note(&format!("{why}; it is stopped (HealthOnFailure=)"));
                        self.kill(id).await;
                        return Err(End::Unhealthy);
                    }
                }
            }
        }
        Ok(())
    }

    async fn post_start(&mut self, wish: &Wish, id: &str) -> Result<(), End> {
        let life = &wish.container.life;
        if life.start_post.is_empty() {
            return Ok(());
        }
        self.tell("activating", "start-post", "");
        match host::run(&self.shared, &self.name, life, &life.start_post, life.start_timeout).await {
            Ok(()) => Ok(()),
            Err(reason) => {
                self.kill(id).await;
                let reason = format!("ExecStartPost: {reason}");
                Err(End::NotStarted(NotStarted::Failed { sub: "start-post", reason }))
            }
        }
    }

    async fn ill_because(&mut self, id: &str) -> String {
        let asked = self
            .call(|docker| {
                let id = id.to_owned();
                async move { engine::last_check(&docker, &id).await }
            })
            .await;
        match asked.ok().flatten() {
            Some(said) => format!("its health check fails: {said}"),
            None => "its health check fails".to_owned(),
        }
    }

    /// What an end leads to; returns when the container is to be started, with how.
    async fn after(&mut self, wish: &Wish, end: End, lives: &mut Lives) -> How {
        let life = &wish.container.life;
        let (code, reason) = match end {
            End::NotStarted(NotStarted::Lacking { sub, reason }) => return self.wait_for(sub, &reason, lives).await,
            End::NotStarted(NotStarted::Unmet(condition)) => {
                let reason = format!("not started: {condition} is not met");
                self.note(&reason);
                self.tell("inactive", "dead", reason);
                return self.until_somebody_starts_it().await;
            }
            End::WithEngine => {
                self.note("the container ended while the engine was away; it is started again");
                self.tell("activating", "auto-restart", "the container ended with the engine");
                return How::Again;
            }
            End::Exited { code, out_of_memory } => {
                self.shared.report(&self.name, |report| report.exit_code = Some(code));
                let memory = if out_of_memory { ", out of memory (Memory=)" } else { "" };
                (code, format!("exit code {code}{memory}"))
            }
            End::Removed => (AS_IF_KILLED, "the container was removed, not by this node".to_owned()),
            End::Unhealthy => (AS_IF_KILLED, "it was unhealthy (HealthOnFailure=)".to_owned()),
            End::NotStarted(NotStarted::Failed { sub, reason }) => (NOT_STARTED, format!("{sub}: {reason}")),
        };
        lives.lacking = 0;
        let good = life.is_success(code);
        if !life.restarts(code) {
            if !good {
                self.note(&reason);
            }
            match (good, life.remain_after_exit) {
                (true, true) => self.tell("active", "exited", reason),
                (true, false) => self.tell("inactive", "dead", reason),
                (false, _) => self.tell("failed", "failed", reason),
            }
            return self.until_somebody_starts_it().await;
        }
        if let Some(limit) = self.limit_hit(wish, lives) {
            self.note(&format!("{reason}; {limit}"));
            self.tell("failed", "start-limit-hit", format!("{reason}; {limit}"));
            return self.until_somebody_starts_it().await;
        }
        lives.short = lives.short.saturating_add(1);
        let pause = life.pause(lives.short);
        self.note(&format!("{reason}; started again in {pause:?}"));
        self.shared.report(&self.name, |report| report.restarts = report.restarts.saturating_add(1));
        self.tell("activating", "auto-restart", format!("{reason}; started again in {pause:?}"));
        tokio::time::sleep(pause).await;
        How::Again
    }

    async fn wait_for(&mut self, sub: &str, reason: &str, lives: &mut Lives) -> How {
        let (shortest, longest) = IMAGE_PAUSE_MS;
        let pause = Duration::from_millis((shortest << lives.lacking.min(16)).min(longest));
        lives.lacking = lives.lacking.saturating_add(1);
        let reason = format!("{reason}; tried again in {pause:?}");
        self.note(&reason);
        self.tell("failed", sub, reason);
        tokio::time::sleep(pause).await;
        How::Fresh
    }

    /// `StartLimitBurst=` starts within `StartLimitIntervalSec=`, where the unit asks for it.
    fn limit_hit(&self, wish: &Wish, lives: &mut Lives) -> Option<String> {
        let (burst, within) = wish.container.life.start_limit?;
        while lives.starts.front().is_some_and(|start| start.elapsed() > within) {
            lives.starts.pop_front();
        }
        let hit = burst > 0 && lives.starts.len() >= burst as usize;
        hit.then(|| format!("started {} times within {within:?} (StartLimitBurst=)", lives.starts.len()))
    }

    /// It is over, unless somebody starts the container past the node: then it is the unit's again.
    async fn until_somebody_starts_it(&mut self) -> How {
        loop {
            if self.nudge.changed().await.is_err() {
                std::future::pending::<Infallible>().await;
            }
            if self.find().await.is_some_and(|seen| matches!(seen.stage, Stage::Running(_))) {
                return How::Adopt;
            }
        }
    }
}
