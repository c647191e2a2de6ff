//! The executors of one machine as one: containers go to the engine, all else to whatever runs services here.

use std::sync::Arc;

use crate::base::{BootMillis, BoxFuture, UnixMillis};
use crate::fleet::executor::{
    Executor, ExecutorError, Held, JournalQuery, JournalStream, StateChange, StatusText, UnitFile,
};
use crate::fleet::session::{Command, Session};
use crate::unit::container;

/// A machine's executors.
pub struct Executors {
    /// Of services: `systemd` or `process`.
    pub units: Arc<dyn Executor>,
    /// Of containers, where there is an engine to be asked.
    pub containers: Option<Arc<dyn Executor>>,
}

impl Executors {
    fn of(&self, name: &str) -> Result<&dyn Executor, ExecutorError> {
        match &self.containers {
            _ if !container::is_container(name) => Ok(&*self.units),
            Some(containers) => Ok(&**containers),
            None => Err(ExecutorError::Unsupported {
                unit: name.to_owned(),
                reason: "this machine's node runs no containers: set docker.socket in its configuration".to_owned(),
            }),
        }
    }

    async fn load_all(&self, files: Vec<UnitFile>) -> Vec<Result<(), ExecutorError>> {
        let (ours, theirs): (Vec<_>, Vec<_>) =
            files.iter().cloned().partition(|file| container::is_container(&file.name));
        let containers = async {
            match &self.containers {
                Some(containers) if !ours.is_empty() => containers.load(ours).await,
                _ => ours.iter().map(|file| self.of(&file.name).map(drop)).collect(),
            }
        };
        let services = async { if theirs.is_empty() { Vec::new() } else { self.units.load(theirs).await } };
        let (containers, services) = tokio::join!(containers, services);
        let (mut containers, mut services) = (containers.into_iter(), services.into_iter());
        let of = |file: &UnitFile| {
            let results = if container::is_container(&file.name) { &mut containers } else { &mut services };
            results.next().unwrap_or_else(|| Err(ExecutorError::NotLoaded { unit: file.name.clone() }))
        };
        files.iter().map(of).collect()
    }
}

impl Executor for Executors {
    fn name(&self) -> &'static str {
        match (self.units.name(), &self.containers) {
            ("systemd", Some(_)) => "systemd+docker",
            ("process", Some(_)) => "process+docker",
            (name, _) => name,
        }
    }

    fn adopt(&self) -> BoxFuture<'_, Result<Vec<Held>, ExecutorError>> {
        Box::pin(async {
            let mut held = self.units.adopt().await?;
            if let Some(containers) = &self.containers {
                held.extend(containers.adopt().await?);
            }
            Ok(held)
        })
    }

    fn load(&self, units: Vec<UnitFile>) -> BoxFuture<'_, Vec<Result<(), ExecutorError>>> {
        Box::pin(self.load_all(units))
    }

    fn start<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), ExecutorError>> {
        Box::pin(async { self.of(name)?.start(name).await })
    }

    fn stop<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), ExecutorError>> {
        Box::pin(async { self.of(name)?.stop(name).await })
    }

    fn reload<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), ExecutorError>> {
        Box::pin(async { self.of(name)?.reload(name).await })
    }

    fn signal<'a>(&'a self, name: &'a str, number: i32) -> BoxFuture<'a, Result<(), ExecutorError>> {
        Box::pin(async move { self.of(name)?.signal(name, number).await })
    }

    fn unload<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), ExecutorError>> {
        Box::pin(async { self.of(name)?.unload(name).await })
    }

    fn is_idle<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<bool, ExecutorError>> {
        Box::pin(async { self.of(name)?.is_idle(name).await })
    }

    fn resume<'a>(&'a self, timer: &'a str, at: UnixMillis) -> BoxFuture<'a, Result<(), ExecutorError>> {
        Box::pin(async move { self.of(timer)?.resume(timer, at).await })
    }

    /// As services' executor does: no container is exclusive.
    fn fences(&self) -> bool {
        self.units.fences()
    }

    fn allow_until(&self, units: Vec<String>, until: BootMillis) -> BoxFuture<'_, Result<(), ExecutorError>> {
        self.units.allow_until(units, until)
    }

    fn changes(&self) -> BoxFuture<'_, Vec<StateChange>> {
        Box::pin(async {
            let Some(containers) = &self.containers else { return self.units.changes().await };
            tokio::select! {
                changes = self.units.changes() => changes,
                changes = containers.changes() => changes,
            }
        })
    }

    fn status<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<StatusText, ExecutorError>> {
        Box::pin(async { self.of(name)?.status(name).await })
    }

    fn journal<'a>(
        &'a self,
        name: &'a str,
        query: JournalQuery,
    ) -> BoxFuture<'a, Result<Box<dyn JournalStream>, ExecutorError>> {
        Box::pin(async { self.of(name)?.journal(name, query).await })
    }

    fn main_process<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<u32, ExecutorError>> {
        Box::pin(async { self.of(name)?.main_process(name).await })
    }

    fn exec<'a>(&'a self, name: &'a str, command: Command) -> BoxFuture<'a, Result<Session, ExecutorError>> {
        Box::pin(async { self.of(name)?.exec(name, command).await })
    }
}
