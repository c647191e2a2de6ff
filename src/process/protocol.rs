//! What an executor and a shim say to each other: one JSON object a line over the unix socket in the unit's directory.
//!
//! A shim outlives the node that started it, so a newer node meets older shims: fields are only ever added, with defaults.

use serde::{Deserialize, Serialize};

use crate::base::{BootMillis, UnixMillis};
use crate::fleet::executor::ActiveState;

/// From the executor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Order {
    /// These are answered by [`Push::Taken`] with the same number.
    Start {
        id: u64,
        /// Of an exclusive unit: how long it may run.
        #[serde(default)]
        until: Option<BootMillis>,
    },
    /// An exclusive unit may run for longer.
    Until {
        until: BootMillis,
    },
    Stop {
        id: u64,
    },
    /// The unit reads its configuration anew; [`Report::reloads`] tells of the end.
    Reload {
        id: u64,
    },
    /// The main process gets a signal.
    Signal {
        id: u64,
        number: i32,
    },
    /// Whether [`Push::Output`] is wanted.
    Follow {
        on: bool,
    },
    /// The shim ends as soon as the unit is down, whatever processes `KillMode=` left; with `sweep` it kills those.
    Leave {
        #[serde(default)]
        sweep: bool,
    },
}

/// From the shim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Push {
    /// First of all and at every change, the newest one only.
    Report(Box<Report>),
    Taken {
        id: u64,
    },
    /// The unit's journal has grown.
    Output,
}

/// All that a shim knows of its unit. Also kept in the unit's directory, for the time when the shim is gone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    pub state: ActiveState,
    /// Of the text that runs, or ran last.
    pub hash: String,
    /// systemd's `Result=`.
    pub result: String,
    pub shim_pid: u32,
    pub main_pid: Option<u32>,
    /// The name of the main process's program.
    pub main_name: String,
    /// When the active state was entered.
    pub since: UnixMillis,
    pub main_exit: Option<MainExit>,
    /// What the unit last said of itself (`STATUS=`).
    pub status_text: String,
    pub restarts: u32,
    /// The kernel's boot id: a report of another boot says nothing of this one.
    pub boot_id: String,
    /// `$INVOCATION_ID` of the unit's processes.
    pub invocation: String,
    /// How many starts this shim has seen: a new one is a new run of the unit.
    pub run: u64,
    pub reloads: Reloads,
}

/// Reloads of a unit that have come to an end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloads {
    pub ended: u64,
    pub last_failed: bool,
}

/// How a main process ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MainExit {
    pub pid: u32,
    /// `exited`, `killed` or `dumped`.
    pub code: String,
    /// The exit code or the signal's number.
    pub status: i32,
}

impl Report {
    /// Whether the unit is down and nothing is going on.
    pub fn settled(&self) -> bool {
        matches!(self.state.active.as_str(), "inactive" | "failed" | "")
    }
}

/// The state in systemd's words of a unit whose text was read.
pub fn loaded(active: &str, sub: &str) -> ActiveState {
    ActiveState::of("loaded", active, sub)
}
