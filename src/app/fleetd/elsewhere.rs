//! Looking at units where nodes do not know each other: those of this machine here, others not at all; `fleetctl` then asks
//! their machines by ssh, as it always did.

use std::sync::Arc;

use crate::app::sessions::Sessions;
use crate::base::{BoxFuture, MachineId};
use crate::fleet::executor::{Executor, JournalQuery, JournalStream, StatusText};
use crate::fleet::inspect::{InspectError, Inspector};
use crate::fleet::session::{Command, Session, Target};

/// Looks at the units of one machine.
pub struct LocalOnly {
    pub machine: MachineId,
    pub executor: Arc<dyn Executor>,
    pub sessions: Arc<Sessions>,
}

impl LocalOnly {
    fn is_here(&self, machine: &MachineId) -> Result<(), InspectError> {
        if *machine == self.machine { Ok(()) } else { Err(InspectError::Elsewhere) }
    }
}

impl Inspector for LocalOnly {
    fn status<'a>(&'a self, machine: &'a MachineId, unit: &'a str) -> BoxFuture<'a, Result<StatusText, InspectError>> {
        Box::pin(async move {
            self.is_here(machine)?;
            Ok(self.executor.status(unit).await?)
        })
    }

    fn journal<'a>(
        &'a self,
        machine: &'a MachineId,
        unit: &'a str,
        query: JournalQuery,
    ) -> BoxFuture<'a, Result<Box<dyn JournalStream>, InspectError>> {
        Box::pin(async move {
            self.is_here(machine)?;
            Ok(self.executor.journal(unit, query).await?)
        })
    }

    fn here(&self) -> &MachineId {
        &self.machine
    }

    fn exec<'a>(
        &'a self,
        target: &'a Target,
        command: Command,
        by: &'a str,
    ) -> BoxFuture<'a, Result<Session, InspectError>> {
        Box::pin(async move {
            self.is_here(&target.machine)?;
            self.sessions.open(target, command, by).await
        })
    }
}
