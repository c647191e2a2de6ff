//! What the doors need to show a unit's status and output, and to run commands beside it, whichever machine it runs on.

use std::time::Duration;

use super::executor::{ExecutorError, JournalQuery, JournalStream, StatusText};
use super::session::{Command, Session, Target};
use crate::base::{BoxFuture, MachineId};

/// Why a unit on some machine could not be looked at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InspectError {
    /// This node cannot look at other machines' units: there are other ways to.
    #[error("this node looks at its own machine's units only")]
    Elsewhere,
    #[error("machine {0} is not in the cluster")]
    NoSuchMachine(MachineId),
    #[error("machine {machine} does not answer: {reason}")]
    Unreachable { machine: MachineId, reason: String },
    #[error("machine {machine}: no answer within {waited:?}")]
    TimedOut { machine: MachineId, waited: Duration },
    #[error("machine {machine}: {reason}")]
    Refused { machine: MachineId, reason: String },
    #[error(transparent)]
    Executor(#[from] ExecutorError),
}

/// Looks at units of any machine, asking the machine's own node.
pub trait Inspector: Send + Sync + 'static {
    /// What `systemctl status` says of a unit there.
    fn status<'a>(&'a self, machine: &'a MachineId, unit: &'a str) -> BoxFuture<'a, Result<StatusText, InspectError>>;

    /// A unit's output there.
    fn journal<'a>(
        &'a self,
        machine: &'a MachineId,
        unit: &'a str,
        query: JournalQuery,
    ) -> BoxFuture<'a, Result<Box<dyn JournalStream>, InspectError>>;

    /// The machine of this node.
    fn here(&self) -> &MachineId;

    /// Runs a command there, for whoever `by` names.
    fn exec<'a>(
        &'a self,
        target: &'a Target,
        command: Command,
        by: &'a str,
    ) -> BoxFuture<'a, Result<Session, InspectError>>;
}
