//! From a wish to a container that runs.

use bollard::models::ContainerCreateBody;

use super::*;
use crate::docker::create;
use crate::docker::engine::Stage;
use crate::docker::host;
use crate::docker::image::{self, ImageError};
use crate::docker::secrets::Given;
use crate::unit::container::{Container, Readiness, Secret};
use crate::unit::file_condition;

/// What is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// What runs already goes on.
    Adopt,
    /// A new container.
    Fresh,
    /// The one that is there, so that its output stays in one place.
    Again,
}

/// Why nothing runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotStarted {
    /// There is no image, or no secret of that name: tried again whatever `Restart=` says, as the unit itself cannot help it.
    Lacking { sub: &'static str, reason: String },
    /// A condition of the unit's: it is passed over, as systemd does.
    Unmet(String),
    /// `Restart=` decides.
    Failed { sub: &'static str, reason: String },
}

fn lacking_image(reason: String) -> NotStarted {
    NotStarted::Lacking { sub: "image", reason }
}

fn failed(sub: &'static str) -> impl Fn(EngineError) -> NotStarted {
    move |error| NotStarted::Failed { sub, reason: error.to_string() }
}

impl Keeper {
    /// Starts the unit's container; its id.
    pub(super) async fn start(&mut self, wish: &Wish, how: How) -> Result<String, NotStarted> {
        let container = &wish.container;
        let life = &container.life;
        if let Some(unmet) = file_condition::unmet(&life.conditions, self.shared.options.holds) {
            return Err(NotStarted::Unmet(unmet.to_string()));
        }
        if !life.start_pre.is_empty() {
            self.tell("activating", "start-pre", "");
            let done = host::run(&self.shared, &self.name, life, &life.start_pre, life.start_timeout).await;
            done.map_err(|reason| NotStarted::Failed { sub: "start-pre", reason: format!("ExecStartPre: {reason}") })?;
        }
        let secrets = self.secrets(container).await?;
        let there = match how {
            How::Again => {
                self.find().await.filter(|seen| seen.hash == wish.file.hash && seen.secrets == secrets.versions)
            }
            How::Fresh | How::Adopt => None,
        };
        let id = match there {
            Some(seen) => seen.id,
            None => {
                self.have_image(container).await?;
                self.tell("activating", "create", "");
                self.remove_container().await;
                self.create(wish, &secrets).await?
            }
        };
        self.listen(container)?;
        self.tell("activating", "start", "");
        let started = self
            .change(|docker| {
                let id = id.clone();
                async move { engine::start(&docker, &id).await }
            })
            .await;
        started.map_err(failed("start"))?;
        self.missed = false;
        Ok(id)
    }

    /// Makes the place where the container tells that it is ready, if it is to tell.
    pub(super) fn listen(&mut self, container: &Container) -> Result<(), NotStarted> {
        self.shared.report(&self.name, |report| report.said.clear());
        self.notices = None;
        if container.readiness == Readiness::Told {
            let folders = &self.shared.notice_folders;
            let failed = |error: std::io::Error| NotStarted::Failed {
                sub: "notify",
                reason: format!("{}: {error}", folders.of_unit(&self.name).display()),
            };
            self.notices = Some(folders.listen(&self.name).map_err(failed)?);
        }
        Ok(())
    }

    async fn have_image(&mut self, container: &Container) -> Result<(), NotStarted> {
        loop {
            let docker = self.docker().await;
            self.tell("activating", "image", "");
            let (shared, name) = (self.shared.clone(), self.name.clone());
            let mut told = None;
            let done = image::ensure(&docker, &container.image, container.pull, |hundredths| {
                // In tenths: each is a write that the whole cluster hears of.
                let tenth = hundredths / 10 * 10;
                if told.replace(tenth) != Some(tenth) {
                    shared.report(&name, |report| {
                        report.state = state("activating", &format!("pulling-{tenth}%"));
                        report.reason = format!("pulling {}: {tenth} %", container.image);
                    });
                }
            })
            .await;
            match done {
                Ok(()) => return Ok(()),
                Err(ImageError::Engine(EngineError::Away(why))) => {
                    self.tell_away(&why);
                    tokio::time::sleep(Duration::from_millis(AGENT_RETRY_MS)).await;
                }
                Err(error) => return Err(lacking_image(error.to_string())),
            }
        }
    }

    /// The unit's secrets as they are now, put where its container finds them.
    async fn secrets(&mut self, container: &Container) -> Result<Given, NotStarted> {
        if container.secrets.is_empty() {
            return Ok(Given::default());
        }
        let lacking = |reason: String| NotStarted::Lacking { sub: "secret", reason };
        let mut source = self.shared.secrets.subscribe();
        let source = source.wait_for(Option::is_some).await.ok().and_then(|source| source.clone());
        let Some(source) = source else { std::future::pending().await };
        let mut read = Vec::new();
        for Secret { name, .. } in &container.secrets {
            let found = source.read(name).await.map_err(|error| lacking(error.to_string()))?;
            let absent = || lacking(format!("there is no secret {name}; make it with `node ctl secret create {name}`"));
            read.push(found.ok_or_else(absent)?);
        }
        self.shared.secret_files.give(&self.name, &container.secrets, &read).map_err(lacking)
    }

    async fn create(&mut self, wish: &Wish, secrets: &Given) -> Result<String, NotStarted> {
        let body = create::body(&wish.container, &wish.file, &self.shared.options.machine_id, secrets)
            .map_err(|reason| NotStarted::Failed { sub: "create", reason })?;
        let name = &wish.container.name;
        let mut created = self.create_once(name, &body).await;
        // Made by a call whose answer was lost: with it the container could be of an older text.
        if matches!(created, Err(EngineError::Conflict(_))) && !self.own().await.unwrap_or_default().is_empty() {
            self.remove_container().await;
            created = self.create_once(name, &body).await;
        }
        match created {
            // Taken away between the look and now.
            Err(EngineError::NotFound(reason)) if reason.contains("image") => Err(lacking_image(reason)),
            Err(EngineError::Conflict(reason)) => Err(NotStarted::Failed {
                sub: "create",
                reason: format!(
                    "{reason} (a container called {name} is there that is not this unit's: remove it, or give the unit another ContainerName=)"
                ),
            }),
            done => done.map_err(failed("create")),
        }
    }

    async fn create_once(&mut self, name: &str, body: &ContainerCreateBody) -> Result<String, EngineError> {
        self.change(|docker| {
            let (name, body) = (name.to_owned(), body.clone());
            async move { engine::create(&docker, &name, body).await }
        })
        .await
    }

    /// Stops a container that came up in part.
    pub(super) async fn kill(&mut self, id: &str) {
        let killed = self
            .change(|docker| {
                let id = id.to_owned();
                async move { engine::signal(&docker, &id, "SIGKILL").await }
            })
            .await;
        if let Err(error) = killed {
            tracing::warn!(unit = self.name, %error, "cannot kill a container");
            return;
        }
        self.await_end(id, Duration::from_millis(crate::base::limits::CONTAINER_KILL_MS_MAX)).await;
    }

    /// Waits until a container does not run any more, at most so long; whether it does not, and its exit code.
    pub(super) async fn await_end(&mut self, id: &str, limit: Duration) -> Option<Option<i32>> {
        let ended = async {
            loop {
                self.nudge.borrow_and_update();
                match self.look(id).await {
                    Ok(None) => return None,
                    Ok(Some(Seen { stage: Stage::Ended { code, .. }, .. })) => return Some(code),
                    Ok(Some(Seen { stage: Stage::Created, .. })) => return None,
                    Ok(Some(_)) => {}
                    Err(error) => tracing::warn!(unit = self.name, %error, "cannot look at a container"),
                }
                if self.nudge.changed().await.is_err() {
                    std::future::pending::<Infallible>().await;
                }
            }
        };
        tokio::time::timeout(limit, ended).await.ok()
    }
}
