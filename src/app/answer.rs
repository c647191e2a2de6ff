//! Answers what other nodes ask about this machine's units, and runs what their clients run here, over the peer port.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::sessions::Sessions;
use crate::base::{BoxFuture, MemberId};
use crate::fleet::executor::{Executor, JournalQuery, JournalStream, StatusText};
use crate::fleet::session::{Command, Input, SessionOutput, Target};
use crate::raft::{PeerHandler, PeerStream};

/// What one node asks of another.
#[derive(Serialize, Deserialize)]
pub enum Question {
    Status {
        unit: String,
    },
    Journal {
        unit: String,
        query: JournalQuery,
    },
    /// Runs a command; what goes to it follows in calls of their own ([`to_command`]) with the same number.
    Exec {
        number: u64,
        target: Target,
        command: Command,
        by: String,
    },
}

/// The first piece of the answer; a journal's lines follow as they are, a command's output as messages.
#[derive(Serialize, Deserialize)]
pub enum Head {
    Status(StatusText),
    Journal,
    /// It runs; or what was for it is taken.
    Exec,
    Refused(String),
}

/// The first byte of what is for a command: no question begins with it.
const FOR_COMMAND: u8 = 0;

/// The call that hands something to the command of this number.
#[cfg(any(feature = "api", test))]
pub fn to_command(number: u64, input: &Input) -> Bytes {
    Bytes::from([&[FOR_COMMAND], &number.to_be_bytes()[..], &input.encode()].concat())
}

pub(super) fn for_command(payload: &[u8]) -> Option<(u64, Input)> {
    let (number, input) = payload.strip_prefix(&[FOR_COMMAND])?.split_first_chunk()?;
    Some((u64::from_be_bytes(*number), Input::decode(input)?))
}

/// Answers other nodes' questions about this machine's units.
pub struct Answering {
    pub executor: Arc<dyn Executor>,
    pub sessions: Arc<Sessions>,
}

impl PeerHandler for Answering {
    fn handle(&self, from: MemberId, payload: Bytes) -> BoxFuture<'_, Result<Box<dyn PeerStream>, String>> {
        Box::pin(async move {
            let (head, rest) = match for_command(&payload) {
                Some((number, input)) => match self.sessions.hand_on((from, number), input).await {
                    true => (Head::Exec, Rest::None),
                    false => (Head::Refused("the command takes nothing more".to_owned()), Rest::None),
                },
                None => self.answer(from, &payload).await?,
            };
            let head = serde_json::to_vec(&head).map_err(|error| format!("writing the answer: {error}"))?;
            Ok(Box::new(Pieces { head: Some(Bytes::from(head)), rest }) as Box<dyn PeerStream>)
        })
    }
}

impl Answering {
    async fn answer(&self, from: MemberId, payload: &[u8]) -> Result<(Head, Rest), String> {
        let question =
            serde_json::from_slice(payload).map_err(|error| format!("a question that is not known here: {error}"))?;
        let refused = |error: String| (Head::Refused(error), Rest::None);
        Ok(match question {
            Question::Status { unit } => match self.executor.status(&unit).await {
                Ok(status) => (Head::Status(status), Rest::None),
                Err(error) => refused(error.to_string()),
            },
            Question::Journal { unit, query } => match self.executor.journal(&unit, query).await {
                Ok(journal) => (Head::Journal, Rest::Journal(journal)),
                Err(error) => refused(error.to_string()),
            },
            Question::Exec { number, target, command, by } => {
                match self.sessions.open_for((from, number), &target, command, &by).await {
                    Ok(output) => (Head::Exec, Rest::Exec(output)),
                    Err(error) => refused(error.to_string()),
                }
            }
        })
    }
}

/// What follows the head of an answer.
enum Rest {
    None,
    Journal(Box<dyn JournalStream>),
    Exec(Box<dyn SessionOutput>),
}

struct Pieces {
    head: Option<Bytes>,
    rest: Rest,
}

impl PeerStream for Pieces {
    fn next(&mut self) -> BoxFuture<'_, Option<Result<Bytes, String>>> {
        Box::pin(async move {
            if let Some(head) = self.head.take() {
                return Some(Ok(head));
            }
            match &mut self.rest {
                Rest::None => None,
                Rest::Journal(journal) => {
                    let lines = journal.next().await?;
                    Some(lines.map(Bytes::from).map_err(|error| error.to_string()))
                }
                Rest::Exec(output) => output.next().await.map(|output| Ok(Bytes::from(output.encode()))),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_for_a_command_is_no_question() {
        let call = to_command(7, &Input::Bytes(b"x".to_vec()));
        assert_eq!(for_command(&call), Some((7, Input::Bytes(b"x".to_vec()))));
        for other in [&b""[..], b"\0", b"\0\0\0\0\0\0\0\0\x07", b"{\"Status\":{\"unit\":\"a\"}}"] {
            assert_eq!(for_command(other), None);
        }
    }
}
