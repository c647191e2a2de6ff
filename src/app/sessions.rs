//! Commands that people run on this machine: how many at once, who ran what, and those that came by another node's door.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::base::limits::SESSIONS_MAX;
use crate::base::{BoxFuture, MachineId, MemberId};
use crate::fleet::executor::Executor;
use crate::fleet::inspect::InspectError;
use crate::fleet::session::{Command, Input, Output, Session, SessionInput, SessionOutput, Target};
use crate::process::session;
use crate::unit::container;

/// The commands of one machine.
pub struct Sessions {
    machine: MachineId,
    executor: Arc<dyn Executor>,
    room: Arc<Semaphore>,
    /// The ways to commands of other nodes' clients, by the node and its number for the command.
    inputs: Mutex<HashMap<(MemberId, u64), SharedInput>>,
}

type SharedInput = Arc<tokio::sync::Mutex<Box<dyn SessionInput>>>;

impl Sessions {
    /// None yet.
    pub fn new(machine: MachineId, executor: Arc<dyn Executor>) -> Arc<Self> {
        Arc::new(Self { machine, executor, room: Arc::new(Semaphore::new(SESSIONS_MAX)), inputs: Mutex::default() })
    }

    /// Runs a command here, and notes who did, and how it ended; never what it was given or what it prints.
    ///
    /// # Errors
    /// There are too many, or why it cannot be run.
    pub async fn open(&self, target: &Target, command: Command, by: &str) -> Result<Session, InspectError> {
        let refused = |reason: String| InspectError::Refused { machine: self.machine.clone(), reason };
        let place = self.room.clone().try_acquire_owned();
        let place = place.map_err(|_| refused(format!("{SESSIONS_MAX} commands are run here already")))?;
        let record = Record {
            by: by.to_owned(),
            machine: self.machine.clone(),
            unit: target.unit.clone().unwrap_or_default(),
            command: command.name().to_owned(),
        };
        match self.begin(target, command).await {
            Ok(Session { input, output }) => {
                record.note("begins");
                let output = Audited { output, record, over: false, _place: place };
                Ok(Session { input, output: Box::new(output) })
            }
            Err(error) => {
                record.note("is refused");
                Err(error)
            }
        }
    }

    async fn begin(&self, target: &Target, command: Command) -> Result<Session, InspectError> {
        let refused = |reason: String| InspectError::Refused { machine: self.machine.clone(), reason };
        match &target.unit {
            None => session::on_machine(&command).map_err(refused),
            Some(unit) if container::is_container(unit) => Ok(self.executor.exec(unit, command).await?),
            Some(unit) => {
                let main = self.executor.main_process(unit).await?;
                session::beside(main, &command).map_err(|reason| refused(format!("{unit}: {reason}")))
            }
        }
    }

    /// The same for another node's client: what goes to the command comes by [`Sessions::hand_on`].
    ///
    /// # Errors
    /// As [`Sessions::open`].
    pub async fn open_for(
        self: &Arc<Self>,
        from: (MemberId, u64),
        target: &Target,
        command: Command,
        by: &str,
    ) -> Result<Box<dyn SessionOutput>, InspectError> {
        let Session { input, output } = self.open(target, command, by).await?;
        self.inputs().insert(from, Arc::new(tokio::sync::Mutex::new(input)));
        Ok(Box::new(Registered { sessions: self.clone(), from, output }))
    }

    /// Hands something to a command of another node's client, once there is room; `false`: it takes nothing more.
    pub async fn hand_on(&self, from: (MemberId, u64), input: Input) -> bool {
        let Some(way) = self.inputs().get(&from).cloned() else { return false };
        way.lock().await.send(input).await
    }

    fn inputs(&self) -> MutexGuard<'_, HashMap<(MemberId, u64), SharedInput>> {
        self.inputs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who runs what where.
struct Record {
    by: String,
    machine: MachineId,
    /// Empty: beside all units.
    unit: String,
    command: String,
}

impl Record {
    fn note(&self, what: &str) {
        let Self { by, machine, unit, command } = self;
        tracing::info!(target: "audit", by, %machine, unit, command, "a command {what}");
    }

    fn note_end(&self, how: &str) {
        let Self { by, machine, unit, command } = self;
        tracing::info!(target: "audit", by, %machine, unit, command, how, "a command has ended");
    }
}

/// What comes from a command, and the note of its end.
struct Audited {
    output: Box<dyn SessionOutput>,
    record: Record,
    over: bool,
    _place: OwnedSemaphorePermit,
}

impl SessionOutput for Audited {
    fn next(&mut self) -> BoxFuture<'_, Option<Output>> {
        Box::pin(async move {
            let next = self.output.next().await;
            match &next {
                Some(Output::Ended(code)) => self.end(&format!("exit code {code}")),
                Some(Output::Failed(reason) | Output::Lost(reason)) => self.end(reason),
                _ => {}
            }
            next
        })
    }
}

impl Audited {
    fn end(&mut self, how: &str) {
        if !std::mem::replace(&mut self.over, true) {
            self.record.note_end(how);
        }
    }
}

impl Drop for Audited {
    fn drop(&mut self) {
        self.end("its client has gone");
    }
}

/// What comes from a command of another node's client; with it the way to the command goes.
struct Registered {
    sessions: Arc<Sessions>,
    from: (MemberId, u64),
    output: Box<dyn SessionOutput>,
}

impl SessionOutput for Registered {
    fn next(&mut self) -> BoxFuture<'_, Option<Output>> {
        self.output.next()
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.sessions.inputs().remove(&self.from);
    }
}
