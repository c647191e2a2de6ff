//! The executor itself: connects, adopts what is there, and hands each order to whoever carries it out.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OnceCell;
use tokio::task::JoinHandle;
use zbus::OwnedObjectPath;

use super::bus;
use super::child;
use super::fence::{Fence, GUARD};
use super::files;
use super::journal;
use super::load;
use super::shared::{Link, Shared};
use super::timer;
use super::unload;
use super::watcher;
use crate::base::limits::{SYSTEMD_CALL_MS_MAX, SYSTEMD_CONNECT_MS_MAX};
use crate::base::{BootMillis, BoxFuture, UnixMillis};
use crate::fleet::executor::{
    Executor, ExecutorError, Held, JournalQuery, JournalStream, StateChange, StatusText, UnitFile,
};

/// In errors, where it is about no unit in particular.
const ITSELF: &str = "systemd";

/// How the executor is set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemdOptions {
    /// Where the texts of the units lie that are held. On a file system in memory, so that a reboot forgets them.
    pub units_dir: PathBuf,
}

impl Default for SystemdOptions {
    fn default() -> Self {
        Self { units_dir: PathBuf::from("/run/fleet/units") }
    }
}

/// Runs units by asking systemd for it, over the system bus.
pub struct SystemdExecutor {
    shared: Arc<Shared>,
    watcher: JoinHandle<std::convert::Infallible>,
    /// The guard of exclusive units was started.
    guarded: OnceCell<()>,
}

impl SystemdExecutor {
    /// Makes the directory of units and waits until systemd answers over the system bus.
    ///
    /// # Errors
    /// The directory cannot be made, or systemd cannot be reached within [`SYSTEMD_CONNECT_MS_MAX`] and
    /// [`SYSTEMD_CALL_MS_MAX`]: why.
    pub async fn connect(options: SystemdOptions) -> Result<Self, ExecutorError> {
        let doing = "connecting to it";
        let error = |doing: &str, reason: String| ExecutorError::Failed {
            unit: ITSELF.to_owned(),
            doing: doing.to_owned(),
            reason,
        };
        files::make_dir(&options.units_dir)
            .map_err(|e| error("making the directory of its units", format!("{}: {e}", options.units_dir.display())))?;
        let fence = Fence::beside(&options.units_dir)
            .map_err(|e| error("finding the program that watches over exclusive units", e.to_string()))?;
        let shared = Arc::new(Shared::new(options.units_dir, fence));
        let executor = Self {
            shared: shared.clone(),
            watcher: tokio::spawn(watcher::run(shared.clone())),
            guarded: OnceCell::new(),
        };
        let mut link = shared.link.subscribe();
        let bound = Duration::from_millis(SYSTEMD_CONNECT_MS_MAX + SYSTEMD_CALL_MS_MAX);
        // Whether time is up or not, what counts is how it is now.
        let _ = tokio::time::timeout(bound, link.wait_for(|link| matches!(link, Link::Up { .. }))).await;
        match &*shared.link.borrow() {
            Link::Away { reason } => Err(error(doing, format!("waited {bound:?}: {reason}"))),
            Link::Up { .. } => Ok(executor),
        }
    }

    fn held(&self, name: &str) -> Result<(), ExecutorError> {
        match self.shared.board().holds(name) {
            true => Ok(()),
            false => Err(ExecutorError::NotLoaded { unit: name.to_owned() }),
        }
    }

    async fn adopt_all(&self) -> Result<Vec<Held>, ExecutorError> {
        let doing = "adopting the units that are here";
        let dir = self.shared.units_dir.clone();
        let found = load::blocking(ITSELF, doing, move || files::scan(&dir)).await?;
        if found.is_empty() {
            return Ok(Vec::new());
        }
        let names: Vec<String> = found.iter().map(|unit| unit.name.clone()).collect();
        self.shared.update(|board| {
            for name in &names {
                board.follow(name);
            }
        });
        let caller = self.shared.caller(ITSELF, doing).await?;
        // A node that was killed may have written a text and not told.
        if load::any_outdated(&caller, &names).await {
            self.shared.reload(ITSELF, &caller).await?;
        }
        self.shared.read_states(&caller, &names).await.map_err(|error| bus::failed(ITSELF, doing, &error))?;
        let mut held = Vec::new();
        for unit in found {
            let state = self.shared.board().state(&unit.name).cloned().unwrap_or_default();
            if state.load == "not-found" && state.active == "inactive" {
                // A load or an unload was cut off between the file and the link: nothing of the unit is left but its text.
                let (dir, name) = (self.shared.units_dir.clone(), unit.name.clone());
                load::blocking(&unit.name, doing, move || files::remove(&dir, &name)).await?;
                self.shared.update(|board| board.abandon(&unit.name));
                continue;
            }
            self.shared.update(|board| board.announce(&unit.name));
            held.push(Held { name: unit.name, hash: unit.hash, state });
        }
        Ok(held)
    }

    async fn start_unit(&self, name: &str) -> Result<(), ExecutorError> {
        let doing = "starting it";
        self.held(name)?;
        let caller = self.shared.caller(name, doing).await?;
        caller.start(name).await.map_err(|error| bus::failed(name, doing, &error))
    }

    async fn stop_unit(&self, name: &str) -> Result<(), ExecutorError> {
        self.held(name)?;
        let caller = self.shared.caller(name, unload::STOPPING).await?;
        caller.stop(name).await.map_err(|error| bus::failed(name, unload::STOPPING, &error))
    }

    async fn has_no_job(&self, name: &str) -> Result<bool, ExecutorError> {
        let doing = "asking for its job";
        let caller = self.shared.caller(name, doing).await?;
        let job = caller.property(name, bus::UNIT, "Job").await.map_err(|error| bus::failed(name, doing, &error))?;
        let job = <(u32, OwnedObjectPath)>::try_from(job);
        Ok(job.map_err(|error| bus::failed(name, doing, &error))?.0 == 0)
    }

    async fn main_process_of(&self, name: &str) -> Result<u32, ExecutorError> {
        let doing = "asking for its main process";
        self.held(name)?;
        let none = |reason: &str| ExecutorError::Unsupported { unit: name.to_owned(), reason: reason.to_owned() };
        if !name.ends_with(".service") {
            return Err(none("only services and containers have a process to run a command beside"));
        }
        let caller = self.shared.caller(name, doing).await?;
        let found = caller.property(name, bus::SERVICE_UNIT, "MainPID").await;
        let main = u32::try_from(found.map_err(|error| bus::failed(name, doing, &error))?);
        match main.map_err(|error| bus::failed(name, doing, &error))? {
            0 => Err(none("it has no main process to run a command beside: it does not run")),
            main => Ok(main),
        }
    }

    /// Notes the time, and has systemd start the guard. Only the first time is that waited for: from then on systemd keeps it alive.
    async fn allow(&self, units: Vec<String>, until: BootMillis) -> Result<(), ExecutorError> {
        let doing = "telling it how long it may run";
        let fence = self.shared.fence.clone();
        let note = move || units.iter().try_for_each(|unit| fence.allow_until(unit, until));
        load::blocking(GUARD, doing, note).await?;
        if self.guarded.initialized() {
            return Ok(());
        }
        let start = async {
            let caller = self.shared.caller(GUARD, doing).await?;
            // A no-op where it runs.
            caller.start(GUARD).await.map_err(|error| bus::failed(GUARD, "starting it", &error))
        };
        self.guarded.get_or_try_init(|| start).await.copied()
    }

    async fn next_changes(&self) -> Vec<StateChange> {
        let mut versions = self.shared.versions();
        loop {
            let changes = self.shared.board().take_changes();
            if !changes.is_empty() {
                return changes;
            }
            // The sender lives as long as `self`.
            let _ = versions.changed().await;
        }
    }
}

impl Drop for SystemdExecutor {
    fn drop(&mut self) {
        self.watcher.abort();
    }
}

impl Executor for SystemdExecutor {
    fn name(&self) -> &'static str {
        "systemd"
    }

    fn adopt(&self) -> BoxFuture<'_, Result<Vec<Held>, ExecutorError>> {
        Box::pin(self.adopt_all())
    }

    fn load(&self, units: Vec<UnitFile>) -> BoxFuture<'_, Vec<Result<(), ExecutorError>>> {
        Box::pin(load::load(&self.shared, units))
    }

    fn start<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), ExecutorError>> {
        Box::pin(self.start_unit(name))
    }

    fn stop<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), ExecutorError>> {
        Box::pin(self.stop_unit(name))
    }

    fn reload<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), ExecutorError>> {
        Box::pin(child::reload(name))
    }

    fn signal<'a>(&'a self, name: &'a str, number: i32) -> BoxFuture<'a, Result<(), ExecutorError>> {
        Box::pin(child::signal(name, number))
    }

    fn unload<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), ExecutorError>> {
        Box::pin(async move {
            self.held(name)?;
            unload::unload(&self.shared, name).await
        })
    }

    fn is_idle<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<bool, ExecutorError>> {
        Box::pin(self.has_no_job(name))
    }

    fn resume<'a>(&'a self, timer: &'a str, at: UnixMillis) -> BoxFuture<'a, Result<(), ExecutorError>> {
        let name = timer.to_owned();
        let stamp = move || timer::stamp(Path::new(timer::STAMPS_DIR), &name, at);
        Box::pin(load::blocking(timer, "noting when it has last elapsed", stamp))
    }

    fn fences(&self) -> bool {
        true
    }

    fn allow_until(&self, units: Vec<String>, until: BootMillis) -> BoxFuture<'_, Result<(), ExecutorError>> {
        Box::pin(self.allow(units, until))
    }

    fn changes(&self) -> BoxFuture<'_, Vec<StateChange>> {
        Box::pin(self.next_changes())
    }

    fn status<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<StatusText, ExecutorError>> {
        Box::pin(child::status(name))
    }

    fn journal<'a>(
        &'a self,
        name: &'a str,
        query: JournalQuery,
    ) -> BoxFuture<'a, Result<Box<dyn JournalStream>, ExecutorError>> {
        Box::pin(async move { journal::open(name, &query).map(|stream| Box::new(stream) as Box<dyn JournalStream>) })
    }

    fn main_process<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<u32, ExecutorError>> {
        Box::pin(self.main_process_of(name))
    }
}
