//! A unit's status and output, and commands beside it, whichever machine it runs on: asked of the local executor, or of the
//! machine's node over the peer port.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::answer::{Head, Question, to_command};
use super::sessions::Sessions;
use crate::base::limits::INSPECT_MS_MAX;
use crate::base::{BoxFuture, MachineId, MemberId};
use crate::fleet::executor::{Executor, ExecutorError, JournalQuery, JournalStream, StatusText};
use crate::fleet::inspect::{InspectError, Inspector};
use crate::fleet::layout::{self, Key};
use crate::fleet::session::{Command, Input, Output, Session, SessionInput, SessionOutput, Target};
use crate::fleet::types::Machine;
use crate::kv::{Consistency, RangeRequest, Space, Store};
use crate::raft::{CallStream, RaftStore};

/// Looks at units of any machine.
pub struct Inspection {
    pub store: Arc<RaftStore>,
    pub machine: MachineId,
    pub executor: Arc<dyn Executor>,
    pub sessions: Arc<Sessions>,
}

impl Inspection {
    async fn member_of(&self, machine: &MachineId) -> Result<MemberId, InspectError> {
        let unreachable = |reason: String| InspectError::Unreachable { machine: machine.clone(), reason };
        let key = Key::Machine(machine.clone());
        let request = RangeRequest { space: Space::System, key: key.bytes(), ..RangeRequest::default() };
        let read = self.store.range(request, Consistency::Serializable).await;
        let (_, reply) = read.map_err(|error| unreachable(error.to_string()))?;
        let kv = reply.kvs.first().ok_or_else(|| InspectError::NoSuchMachine(machine.clone()))?;
        let record: Machine = layout::decode(&key, &kv.value).map_err(|error| unreachable(error.to_string()))?;
        Ok(record.member)
    }

    /// The answer of a machine's node, and its member, for what follows.
    async fn ask(
        &self,
        machine: &MachineId,
        question: &Question,
    ) -> Result<(MemberId, Head, CallStream), InspectError> {
        let unreachable = |reason: String| InspectError::Unreachable { machine: machine.clone(), reason };
        let member = self.member_of(machine).await?;
        let payload = serde_json::to_vec(question).map_err(|error| unreachable(error.to_string()))?;
        let asked = async {
            let mut stream =
                self.store.call(member, Bytes::from(payload)).await.map_err(|error| unreachable(error.to_string()))?;
            let first = stream.next().await.ok_or_else(|| unreachable("it hung up".to_owned()))?;
            let head = first.map_err(|error| unreachable(error.to_string()))?;
            let head = serde_json::from_slice(&head)
                .map_err(|error| unreachable(format!("an answer that is not known here: {error}")))?;
            Ok((member, head, stream))
        };
        let waited = Duration::from_millis(INSPECT_MS_MAX);
        let timed_out = |_| InspectError::TimedOut { machine: machine.clone(), waited };
        tokio::time::timeout(waited, asked).await.map_err(timed_out)?
    }
}

/// Of an answer to another question.
const NO_ANSWER: &str = "the answer is to another question";

fn refused(unit: &str, doing: &str, reason: String) -> InspectError {
    InspectError::Executor(ExecutorError::Failed { unit: unit.to_owned(), doing: doing.to_owned(), reason })
}

impl Inspector for Inspection {
    fn status<'a>(&'a self, machine: &'a MachineId, unit: &'a str) -> BoxFuture<'a, Result<StatusText, InspectError>> {
        Box::pin(async move {
            if *machine == self.machine {
                return Ok(self.executor.status(unit).await?);
            }
            match self.ask(machine, &Question::Status { unit: unit.to_owned() }).await?.1 {
                Head::Status(status) => Ok(status),
                Head::Refused(reason) => Err(refused(unit, "asking for its status", reason)),
                Head::Journal | Head::Exec => Err(refused(unit, "asking for its status", NO_ANSWER.to_owned())),
            }
        })
    }

    fn journal<'a>(
        &'a self,
        machine: &'a MachineId,
        unit: &'a str,
        query: JournalQuery,
    ) -> BoxFuture<'a, Result<Box<dyn JournalStream>, InspectError>> {
        Box::pin(async move {
            if *machine == self.machine {
                return Ok(self.executor.journal(unit, query).await?);
            }
            match self.ask(machine, &Question::Journal { unit: unit.to_owned(), query }).await? {
                (_, Head::Journal, stream) => {
                    Ok(Box::new(RemoteJournal { unit: unit.to_owned(), stream }) as Box<dyn JournalStream>)
                }
                (_, Head::Refused(reason), _) => Err(refused(unit, "reading its journal", reason)),
                _ => Err(refused(unit, "reading its journal", NO_ANSWER.to_owned())),
            }
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
            let machine = &target.machine;
            if *machine == self.machine {
                return self.sessions.open(target, command, by).await;
            }
            let number = rand::random();
            let question = Question::Exec { number, target: target.clone(), command, by: by.to_owned() };
            let refused = |reason: String| InspectError::Refused { machine: machine.clone(), reason };
            match self.ask(machine, &question).await? {
                (member, Head::Exec, stream) => {
                    let input = RemoteInput { store: self.store.clone(), member, number };
                    let output = RemoteOutput { machine: machine.clone(), stream };
                    Ok(Session { input: Box::new(input), output: Box::new(output) })
                }
                (_, Head::Refused(reason), _) => Err(refused(reason)),
                _ => Err(refused(NO_ANSWER.to_owned())),
            }
        })
    }
}

struct RemoteJournal {
    unit: String,
    stream: CallStream,
}

impl JournalStream for RemoteJournal {
    fn next(&mut self) -> BoxFuture<'_, Option<Result<Vec<u8>, ExecutorError>>> {
        Box::pin(async move {
            let piece = self.stream.next().await?;
            Some(piece.map(|lines| lines.to_vec()).map_err(|error| ExecutorError::Failed {
                unit: self.unit.clone(),
                doing: "reading its journal from its machine".to_owned(),
                reason: error.to_string(),
            }))
        })
    }
}

/// The way to a command on another machine: a call for each piece, which is answered once the piece is taken.
struct RemoteInput {
    store: Arc<RaftStore>,
    member: MemberId,
    number: u64,
}

impl SessionInput for RemoteInput {
    fn send(&mut self, input: Input) -> BoxFuture<'_, bool> {
        Box::pin(async move {
            let Ok(mut answer) = self.store.call(self.member, to_command(self.number, &input)).await else {
                return false;
            };
            let Some(Ok(head)) = answer.next().await else { return false };
            matches!(serde_json::from_slice(&head), Ok(Head::Exec))
        })
    }
}

struct RemoteOutput {
    machine: MachineId,
    stream: CallStream,
}

impl SessionOutput for RemoteOutput {
    fn next(&mut self) -> BoxFuture<'_, Option<Output>> {
        Box::pin(async move {
            let machine = &self.machine;
            Some(match self.stream.next().await? {
                Ok(message) => Output::decode(&message)
                    .unwrap_or_else(|| Output::Lost(format!("machine {machine} says what is not known here"))),
                Err(error) => Output::Lost(format!("machine {machine} does not answer any more: {error}")),
            })
        })
    }
}
