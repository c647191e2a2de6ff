//! A unit's status and output, whichever machine it runs on: asked of the local executor, or of the machine's node over the peer port.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::answer::{Head, Question};
use crate::base::limits::INSPECT_MS_MAX;
use crate::base::{BoxFuture, MachineId, MemberId};
use crate::fleet::executor::{Executor, ExecutorError, JournalQuery, JournalStream, StatusText};
use crate::fleet::inspect::{InspectError, Inspector};
use crate::fleet::layout::{self, Key};
use crate::fleet::types::Machine;
use crate::kv::{Consistency, RangeRequest, Space, Store};
use crate::raft::{CallStream, RaftStore};

/// Looks at units of any machine.
pub struct Inspection {
    pub store: Arc<RaftStore>,
    pub machine: MachineId,
    pub executor: Arc<dyn Executor>,
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

    async fn ask(&self, machine: &MachineId, question: &Question) -> Result<(Head, CallStream), InspectError> {
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
            Ok((head, stream))
        };
        let waited = Duration::from_millis(INSPECT_MS_MAX);
        let timed_out = |_| InspectError::TimedOut { machine: machine.clone(), waited };
        tokio::time::timeout(waited, asked).await.map_err(timed_out)?
    }
}

fn refused(unit: &str, doing: &str, reason: String) -> InspectError {
    InspectError::Executor(ExecutorError::Failed { unit: unit.to_owned(), doing: doing.to_owned(), reason })
}

impl Inspector for Inspection {
    fn status<'a>(&'a self, machine: &'a MachineId, unit: &'a str) -> BoxFuture<'a, Result<StatusText, InspectError>> {
        Box::pin(async move {
            if *machine == self.machine {
                return Ok(self.executor.status(unit).await?);
            }
            match self.ask(machine, &Question::Status { unit: unit.to_owned() }).await?.0 {
                Head::Status(status) => Ok(status),
                Head::Refused(reason) => Err(refused(unit, "asking for its status", reason)),
                Head::Journal => Err(refused(unit, "asking for its status", "the answer was a journal".to_owned())),
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
                (Head::Journal, stream) => {
                    Ok(Box::new(RemoteJournal { unit: unit.to_owned(), stream }) as Box<dyn JournalStream>)
                }
                (Head::Refused(reason), _) => Err(refused(unit, "reading its journal", reason)),
                (Head::Status(_), _) => Err(refused(unit, "reading its journal", "the answer was a status".to_owned())),
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
