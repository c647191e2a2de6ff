//! Answers what other nodes ask about this machine's units, over the peer port.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::base::{BoxFuture, MemberId};
use crate::fleet::executor::{Executor, JournalQuery, JournalStream, StatusText};
use crate::raft::{PeerHandler, PeerStream};

/// What one node asks of another.
#[derive(Serialize, Deserialize)]
pub enum Question {
    Status { unit: String },
    Journal { unit: String, query: JournalQuery },
}

/// The first piece of the answer; a journal's lines follow as they are.
#[derive(Serialize, Deserialize)]
pub enum Head {
    Status(StatusText),
    Journal,
    Refused(String),
}

/// Answers other nodes' questions about this machine's units.
pub struct Answering(pub Arc<dyn Executor>);

impl PeerHandler for Answering {
    fn handle(&self, _from: MemberId, payload: Bytes) -> BoxFuture<'_, Result<Box<dyn PeerStream>, String>> {
        Box::pin(async move {
            let question = serde_json::from_slice(&payload)
                .map_err(|error| format!("a question that is not known here: {error}"))?;
            let (head, journal) = match question {
                Question::Status { unit } => (self.0.status(&unit).await.map(Head::Status), None),
                Question::Journal { unit, query } => match self.0.journal(&unit, query).await {
                    Ok(journal) => (Ok(Head::Journal), Some(journal)),
                    Err(error) => (Err(error), None),
                },
            };
            let head = head.unwrap_or_else(|error| Head::Refused(error.to_string()));
            let head = serde_json::to_vec(&head).map_err(|error| format!("writing the answer: {error}"))?;
            Ok(Box::new(Pieces { head: Some(Bytes::from(head)), journal }) as Box<dyn PeerStream>)
        })
    }
}

struct Pieces {
    head: Option<Bytes>,
    journal: Option<Box<dyn JournalStream>>,
}

impl PeerStream for Pieces {
    fn next(&mut self) -> BoxFuture<'_, Option<Result<Bytes, String>>> {
        Box::pin(async move {
            if let Some(head) = self.head.take() {
                return Some(Ok(head));
            }
            let lines = self.journal.as_mut()?.next().await?;
            Some(lines.map(Bytes::from).map_err(|error| error.to_string()))
        })
    }
}
