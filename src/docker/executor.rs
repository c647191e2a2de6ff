//! The executor itself: which units there are, what is wished of them, what is told of them.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{OnceCell, watch};
use tokio::task::JoinHandle;

use super::engine::{self, Listed};
use super::exec;
use super::keeper::Keeper;
use super::logs;
use super::report::{self, Report, state};
use super::secrets::Secrets;
pub use super::shared::DockerOptions;
use super::shared::{ADOPTED, Entry, Goal, Link, Shared, Wish, now};
use super::store::{Store, Stored};
use super::watcher;
use crate::base::BoxFuture;
use crate::base::limits::{CONTAINER_ADOPT_MS_MAX, CONTAINER_CALL_MS_MAX};
use crate::fleet::executor::{
    ActiveState, Executor, ExecutorError, Held, JournalQuery, JournalStream, StateChange, StatusText, UnitFile,
};
use crate::fleet::session::{Command, Session};
use crate::unit::UnitText;
use crate::unit::container::{self, Container};

/// Lines of output that a status shows.
const STATUS_LINES: usize = 10;

/// Runs `.container` units. Dropping it leaves every container as it is.
pub struct DockerExecutor {
    shared: Arc<Shared>,
    watcher: JoinHandle<std::convert::Infallible>,
    adopted: OnceCell<()>,
    /// The number of the next start.
    next_run: AtomicU64,
}

impl DockerExecutor {
    /// An executor over what `options.dir` holds; the engine may be away.
    ///
    /// # Errors
    /// The folder can neither be found nor made.
    pub fn new(options: DockerOptions) -> io::Result<Self> {
        let store = Store::open(&options.dir)?;
        let shared = Arc::new(Shared::new(options, store));
        let watcher = tokio::spawn(watcher::run(shared.clone()));
        Ok(Self { shared, watcher, adopted: OnceCell::new(), next_run: AtomicU64::new(ADOPTED + 1) })
    }

    /// Tells where `Secret=` comes from; until then a container that has some waits.
    pub fn take_secrets_from(&self, secrets: Arc<dyn Secrets>) {
        self.shared.secrets.send_replace(Some(secrets));
    }

    /// Stops, removes and forgets every unit.
    ///
    /// # Errors
    /// The engine does not do it in time.
    pub async fn remove_all(&self) -> Result<(), ExecutorError> {
        self.ready().await?;
        let names: Vec<String> = self.shared.board().units.keys().cloned().collect();
        for name in &names {
            self.want(name, |_, _| Some(Goal::Gone))?;
        }
        // A keeper ends when its unit is gone.
        let mut keepers = std::mem::take(&mut self.shared.board().keepers);
        let waited = Duration::from_millis(CONTAINER_CALL_MS_MAX);
        let gone = tokio::time::timeout(waited, async { while keepers.join_next().await.is_some() {} }).await;
        gone.map_err(|_| ExecutorError::TimedOut { doing: format!("removing the containers of {names:?}"), waited })
    }

    /// Finds out what is there already, the first time that it is asked for anything.
    async fn ready(&self) -> Result<(), ExecutorError> {
        let adopting = self.adopted.get_or_try_init(|| async {
            let failed = |error: io::Error| ExecutorError::Failed {
                unit: "containers".to_owned(),
                doing: format!("reading {}", self.shared.options.dir.display()),
                reason: error.to_string(),
            };
            let listed = self.listed().await;
            let stored = self.shared.store.all().map_err(failed)?;
            let orphans = listed.iter().flatten().filter(|one| stored.iter().all(|s| s.unit.name != one.unit));
            let orphans: Vec<Stored> = orphans.map(|one| self.stored_of(one)).collect();
            for stored in stored.into_iter().chain(orphans) {
                self.adopt_one(&stored, listed.as_deref());
            }
            let board = self.shared.board();
            self.shared.secret_files.keep_only(|unit| board.units.contains_key(unit));
            self.shared.notice_folders.keep_only(|unit| board.units.contains_key(unit));
            Ok(())
        });
        adopting.await.copied()
    }

    /// The machine's containers; `None`: the engine does not say.
    async fn listed(&self) -> Option<Vec<Listed>> {
        let mut link = self.shared.link.subscribe();
        let within = Duration::from_millis(CONTAINER_ADOPT_MS_MAX);
        let asked = tokio::time::timeout(within, async {
            let docker = match &*link.wait_for(|link| matches!(link, Link::Up(_))).await.ok()? {
                Link::Up(docker) => docker.clone(),
                Link::Away(_) => return None,
            };
            engine::list(&docker, &self.shared.options.machine_id, None).await.ok()
        });
        asked.await.ok().flatten()
    }

    /// A unit of which only its container is left.
    fn stored_of(&self, listed: &Listed) -> Stored {
        let (name, text, hash) = (listed.unit.clone(), listed.text.clone(), listed.hash.clone());
        Stored { unit: UnitFile { name, text, hash }, up: listed.running, boot_id: self.shared.options.boot_id.clone() }
    }

    fn adopt_one(&self, stored: &Stored, listed: Option<&[Listed]>) {
        let file = &stored.unit;
        let container = match self.read(file) {
            Ok(container) => container,
            Err(error) => {
                tracing::warn!(unit = file.name, "a container's unit is passed over: {error}");
                return;
            }
        };
        let running = listed.is_some_and(|all| all.iter().any(|one| one.unit == file.name && one.running));
        let up = stored.up && (running || stored.boot_id == self.shared.options.boot_id);
        let state = match (up, running) {
            (_, true) => state("active", "running"),
            (true, false) => state("activating", "start"),
            (false, false) => state("inactive", "dead"),
        };
        self.enter(file, container, if up { Goal::Up(ADOPTED) } else { Goal::Down }, state);
    }

    fn enter(&self, file: &UnitFile, container: Container, goal: Goal, state: ActiveState) {
        let wish = watch::Sender::new(Wish { file: file.clone(), container: Arc::new(container), goal });
        let nudge = watch::Sender::new(0);
        let keeper = Keeper::new(self.shared.clone(), &file.name, wish.subscribe(), nudge.subscribe());
        let report = Report { state, since: now(), ..Report::default() };
        let (notes, noted) = (VecDeque::new(), watch::Sender::new(0));
        self.shared.enter(&file.name, Entry { wish, nudge, report, notes, noted });
        let mut board = self.shared.board();
        // Of units that are gone.
        while board.keepers.try_join_next().is_some() {}
        board.keepers.spawn(keeper.run());
    }

    fn read(&self, file: &UnitFile) -> Result<Container, ExecutorError> {
        let refuse = |reason: String| ExecutorError::Unsupported { unit: file.name.clone(), reason };
        let text = UnitText::parse(&file.text).map_err(|error| refuse(error.to_string()))?;
        container::read(&text, &self.shared.options.specifiers(&file.name)).map_err(|error| refuse(error.to_string()))
    }

    fn load_one(&self, file: &UnitFile) -> Result<(), ExecutorError> {
        let container = self.read(file)?;
        self.is_there_an_engine(&file.name)?;
        for words in &container.not_done {
            tracing::warn!(unit = file.name, "{words}");
        }
        let known = {
            let board = self.shared.board();
            board.units.get(&file.name).map(|entry| entry.wish.borrow().goal.clone())
        };
        let up = matches!(known, Some(Goal::Up(_)));
        self.keep(file, up)?;
        let not_done = container.not_done.join("\n");
        match known {
            None => self.enter(file, container, Goal::Down, state("inactive", "dead")),
            Some(_) => {
                let board = self.shared.board();
                if let Some(entry) = board.units.get(&file.name) {
                    entry.wish.send_modify(|wish| {
                        wish.file = file.clone();
                        wish.container = Arc::new(container);
                        if wish.goal == Goal::Gone {
                            wish.goal = Goal::Down;
                        }
                    });
                }
            }
        }
        self.shared.note(&file.name, "node", &not_done);
        Ok(())
    }

    /// A machine without an engine says so, and is asked again: one may be installed at any time.
    fn is_there_an_engine(&self, unit: &str) -> Result<(), ExecutorError> {
        match &*self.shared.link.borrow() {
            Link::Away(why) if !self.shared.options.socket.exists() => Err(ExecutorError::Failed {
                unit: unit.to_owned(),
                doing: "looking for a container engine".to_owned(),
                reason: why.clone(),
            }),
            _ => Ok(()),
        }
    }

    fn keep(&self, file: &UnitFile, up: bool) -> Result<(), ExecutorError> {
        let stored = Stored { unit: file.clone(), up, boot_id: self.shared.options.boot_id.clone() };
        self.shared.store.write(&stored).map_err(|error| ExecutorError::Failed {
            unit: file.name.clone(),
            doing: format!("writing {}", self.shared.store.path(&file.name).display()),
            reason: error.to_string(),
        })
    }

    /// Changes what is wanted of a unit, on disk first.
    fn want(&self, name: &str, goal: impl FnOnce(&Goal, &ActiveState) -> Option<Goal>) -> Result<(), ExecutorError> {
        let not_loaded = || ExecutorError::NotLoaded { unit: name.to_owned() };
        let (file, goal) = {
            let board = self.shared.board();
            let entry = board.units.get(name).ok_or_else(not_loaded)?;
            let wish = entry.wish.borrow();
            match goal(&wish.goal, &entry.report.state) {
                Some(goal) => (wish.file.clone(), goal),
                None => return Ok(()),
            }
        };
        self.keep(&file, matches!(goal, Goal::Up(_)))?;
        let starting = matches!(goal, Goal::Up(_));
        {
            let board = self.shared.board();
            let entry = board.units.get(name).ok_or_else(not_loaded)?;
            entry.wish.send_modify(|wish| wish.goal = goal);
        }
        if starting {
            // Told before the start is answered, so that what is seen next is not the state from before it.
            self.shared.report(name, |report| report.state = state("activating", "start"));
        }
        Ok(())
    }

    fn start_one(&self, name: &str) -> Result<(), ExecutorError> {
        let run = self.next_run.fetch_add(1, Ordering::Relaxed);
        self.want(name, |goal, state| match goal {
            Goal::Gone => None,
            Goal::Up(_) if !matches!(state.active.as_str(), "inactive" | "failed") => None,
            _ => Some(Goal::Up(run)),
        })
    }

    async fn status_of(&self, name: &str) -> StatusText {
        let Some((container, report)) = ({
            let board = self.shared.board();
            board.units.get(name).map(|entry| (entry.wish.borrow().container.clone(), entry.report.clone()))
        }) else {
            return StatusText { text: format!("Unit {name} could not be found.\n"), exit_code: 4 };
        };
        let query = JournalQuery { lines: Some(STATUS_LINES), ..JournalQuery::default() };
        let mut last = Vec::new();
        if let Ok(mut stream) = logs::open(&self.shared, name, query) {
            while let Some(Ok(lines)) = stream.next().await {
                last.extend(lines);
            }
        }
        let path = self.shared.store.path(name).display().to_string();
        report::status(name, &container.life.description, &path, &container.image, &report, &last)
    }
}

impl Drop for DockerExecutor {
    fn drop(&mut self) {
        self.watcher.abort();
        self.shared.board().keepers.abort_all();
    }
}

impl Executor for DockerExecutor {
    fn name(&self) -> &'static str {
        "docker"
    }

    fn adopt(&self) -> BoxFuture<'_, Result<Vec<Held>, ExecutorError>> {
        Box::pin(async {
            self.ready().await?;
            let board = self.shared.board();
            let held = board.units.iter().map(|(name, entry)| Held {
                name: name.clone(),
                hash: entry.wish.borrow().file.hash.clone(),
                state: entry.report.state.clone(),
            });
            Ok(held.collect())
        })
    }

    fn load(&self, units: Vec<UnitFile>) -> BoxFuture<'_, Vec<Result<(), ExecutorError>>> {
        Box::pin(async move {
            if let Err(error) = self.ready().await {
                return units.iter().map(|_| Err(error.clone())).collect();
            }
            units.iter().map(|unit| self.load_one(unit)).collect()
        })
    }

    fn start<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), ExecutorError>> {
        Box::pin(async {
            self.ready().await?;
            self.start_one(name)
        })
    }

    fn stop<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), ExecutorError>> {
        Box::pin(async {
            self.ready().await?;
            self.want(name, |goal, _| matches!(goal, Goal::Up(_)).then_some(Goal::Down))
        })
    }

    fn unload<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), ExecutorError>> {
        Box::pin(async {
            self.ready().await?;
            self.want(name, |_, _| Some(Goal::Gone))
        })
    }

    fn changes(&self) -> BoxFuture<'_, Vec<StateChange>> {
        Box::pin(self.shared.changes())
    }

    fn status<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<StatusText, ExecutorError>> {
        Box::pin(async {
            self.ready().await?;
            Ok(self.status_of(name).await)
        })
    }

    fn journal<'a>(
        &'a self,
        name: &'a str,
        query: JournalQuery,
    ) -> BoxFuture<'a, Result<Box<dyn JournalStream>, ExecutorError>> {
        Box::pin(async move {
            self.ready().await?;
            let stream = logs::open(&self.shared, name, query)?;
            Ok(Box::new(stream) as Box<dyn JournalStream>)
        })
    }

    fn exec<'a>(&'a self, name: &'a str, command: Command) -> BoxFuture<'a, Result<Session, ExecutorError>> {
        Box::pin(async move {
            self.ready().await?;
            exec::open(&self.shared, name, &command).await
        })
    }
}
