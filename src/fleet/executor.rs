//! What the agent needs of a machine: the trait that the executors below implement.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::session::{Command, Session};
use crate::base::{BootMillis, BoxFuture, UnixMillis};
use crate::unit::container::Port;

/// A unit's state, in systemd's words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ActiveState {
    /// `loaded`, `not-found`, `error`, `masked`.
    pub load: String,
    /// `active`, `activating`, `reloading`, `deactivating`, `inactive`, `failed`.
    pub active: String,
    /// `running`, `dead`, `exited`, `failed`, `start-pre`, …
    pub sub: String,
    /// Of a container that runs: its published ports, in the order of its text, with the host's port and address of each.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub ports: Vec<Port>,
    /// Of a timer: when it has last elapsed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub elapsed: Option<UnixMillis>,
}

impl ActiveState {
    /// A state of a unit that is no timer and has no published ports.
    pub fn of(load: &str, active: &str, sub: &str) -> Self {
        Self { load: load.to_owned(), active: active.to_owned(), sub: sub.to_owned(), ..Self::default() }
    }
}

/// A unit as handed to an executor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitFile {
    /// The full name, for example `web@1.service`.
    pub name: String,
    /// The text to be run. `[X-Fleet]` may be in it and means nothing here.
    pub text: String,
    /// SHA-1 of the normalised text, 40 hex digits: the executor keeps it with the unit and reports it.
    pub hash: String,
}

/// A unit that the executor has: after a restart of the node, what it finds and adopts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    pub name: String,
    pub hash: String,
    pub state: ActiveState,
}

/// Pushed by the executor whenever it changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateChange {
    pub name: String,
    /// `None`: the executor no longer has the unit.
    pub state: Option<ActiveState>,
}

/// Which lines of a unit's output are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalQuery {
    /// The newest N lines first of all; `None`: all there are.
    pub lines: Option<usize>,
    /// Nothing from before this moment; `None`: from the beginning.
    #[serde(default)]
    pub since: Option<UnixMillis>,
    /// Go on with new lines until the reader hangs up.
    pub follow: bool,
    /// `journalctl`'s output format: `short`, `cat`, `json`, …; executors without a journal know `short`, `cat` and `json`.
    pub output: String,
}

/// A unit's output as it comes, formatted, each chunk ending at a line's end. Dropping it ends the reading.
pub trait JournalStream: Send {
    /// The next lines; `None` at the end (never, when following).
    fn next(&mut self) -> BoxFuture<'_, Option<Result<Vec<u8>, ExecutorError>>>;
}

/// What `systemctl status` would print, and the exit code that it would end with (0 active, 3 not active, 4 no such unit).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusText {
    pub text: String,
    pub exit_code: i32,
}

/// Why an executor could not do what it was told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExecutorError {
    /// The unit asks for what this executor does not offer, or its text is wrong: names the line and the remedy.
    #[error("{unit}: {reason}")]
    Unsupported { unit: String, reason: String },
    #[error("{unit}: not loaded here")]
    NotLoaded { unit: String },
    #[error("{unit}: {doing}: {reason}")]
    Failed { unit: String, doing: String, reason: String },
    #[error("{doing}: no answer within {waited:?}")]
    TimedOut { doing: String, waited: Duration },
}

/// The line of output that an executor of our own keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalLine {
    pub at: UnixMillis,
    pub pid: u32,
    /// The name of the program that wrote it.
    pub identifier: String,
    pub message: Vec<u8>,
}

/// In the name of an executor that runs containers.
pub const CONTAINERS: &str = "docker";

/// Runs the units of one machine. All methods return once the job is accepted or refused, not once it is done:
/// how it goes on is pushed as [`StateChange`]s. A failing unit never delays another.
pub trait Executor: Send + Sync + 'static {
    /// `systemd`, `process` or `docker`, or those that are together on a machine, joined by `+`.
    fn name(&self) -> &'static str;

    /// The units that are here already, running or not: what is left of an earlier life of the node, adopted.
    fn adopt(&self) -> BoxFuture<'_, Result<Vec<Held>, ExecutorError>>;

    /// Makes a batch of units known under their names, replacing files of the same names; starts none.
    /// One result for each, in order.
    fn load(&self, units: Vec<UnitFile>) -> BoxFuture<'_, Vec<Result<(), ExecutorError>>>;

    /// Starts a loaded unit; a no-op where it is active.
    fn start<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), ExecutorError>>;

    /// Stops a loaded unit: ExecStop and ExecStopPost run. A no-op where it is not active.
    fn stop<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), ExecutorError>>;

    /// Has a unit read its configuration anew, or restarts it where it cannot; returns once that is done. It may be a unit
    /// of the machine's own that is not loaded here.
    fn reload<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), ExecutorError>> {
        let reason = format!("the executor `{}` reloads no units; use reload_cmd", self.name());
        Box::pin(async move { Err(ExecutorError::Unsupported { unit: name.to_owned(), reason }) })
    }

    /// Sends a signal to the main process of a unit, which may be one of the machine's own.
    fn signal<'a>(&'a self, name: &'a str, number: i32) -> BoxFuture<'a, Result<(), ExecutorError>> {
        let reason = format!("the executor `{}` sends no signals; use reload_cmd", self.name());
        let _ = number;
        Box::pin(async move { Err(ExecutorError::Unsupported { unit: name.to_owned(), reason }) })
    }

    /// Forgets a unit. One that still runs is stopped first, to its end, within its own time-outs.
    fn unload<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), ExecutorError>>;

    /// Whether nothing is on its way for a unit any more, neither a start nor a stop.
    fn is_idle<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<bool, ExecutorError>> {
        let _ = name;
        Box::pin(async { Ok(true) })
    }

    /// Has a timer that is about to be started go on as one that has last elapsed at `at`, on whichever machine that was.
    fn resume<'a>(&'a self, timer: &'a str, at: UnixMillis) -> BoxFuture<'a, Result<(), ExecutorError>> {
        let reason = format!("the executor `{}` has no timers", self.name());
        let _ = at;
        Box::pin(async move { Err(ExecutorError::Unsupported { unit: timer.to_owned(), reason }) })
    }

    /// Whether it can stop units by itself at a time that it was told, whatever has become of the node.
    fn fences(&self) -> bool {
        false
    }

    /// These units, which are exclusive, may run until then. A unit that was told so once is stopped when the time has come and
    /// nothing later was told; what is left of it [`FENCE_STOP_MS`](crate::base::limits::FENCE_STOP_MS) later is killed. It is not
    /// started when the time is over. Nothing of this needs the node.
    fn allow_until(&self, units: Vec<String>, until: BootMillis) -> BoxFuture<'_, Result<(), ExecutorError>> {
        let reason = format!("the executor `{}` cannot hold Exclusive=true", self.name());
        let unit = units.into_iter().next().unwrap_or_default();
        let _ = until;
        Box::pin(async move { Err(ExecutorError::Unsupported { unit, reason }) })
    }

    /// Waits for the next changes of states. Called by one loop; changes that nobody waited for are kept, the newest of each unit.
    fn changes(&self) -> BoxFuture<'_, Vec<StateChange>>;

    /// `systemctl status` for people.
    fn status<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<StatusText, ExecutorError>>;

    /// The unit's output.
    fn journal<'a>(
        &'a self,
        name: &'a str,
        query: JournalQuery,
    ) -> BoxFuture<'a, Result<Box<dyn JournalStream>, ExecutorError>>;

    /// The main process of a unit that runs.
    fn main_process<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<u32, ExecutorError>> {
        let reason = format!("the executor `{}` knows no main process of it", self.name());
        Box::pin(async move { Err(ExecutorError::Unsupported { unit: name.to_owned(), reason }) })
    }

    /// Runs a command in the container of a unit that runs.
    fn exec<'a>(&'a self, name: &'a str, command: Command) -> BoxFuture<'a, Result<Session, ExecutorError>> {
        let reason = format!("the executor `{}` has no containers to run a command in", self.name());
        let _ = command;
        Box::pin(async move { Err(ExecutorError::Unsupported { unit: name.to_owned(), reason }) })
    }
}
