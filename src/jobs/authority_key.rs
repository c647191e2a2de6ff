//! The key of a new authority goes from member to member, over the connections that members have among themselves: never through the
//! log, whose copies go to places that are guarded less.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::base::limits::AUTHORITY_KEY_MS_MAX;
use crate::base::{BoxFuture, MemberId};
use crate::net::tls::{ClusterIdentity, Fingerprint};
use crate::raft::{OnePiece, PeerHandler, PeerStream, RaftStore};

/// Begins a question for a key; the authority's hash follows.
const QUESTION: &[u8] = b"authority-key ";

/// Answers questions for keys, and has `others` answer all else.
pub struct KeyHandler {
    pub identity: ClusterIdentity,
    pub others: Arc<dyn PeerHandler>,
}

impl PeerHandler for KeyHandler {
    fn handle(&self, from: MemberId, payload: Bytes) -> BoxFuture<'_, Result<Box<dyn PeerStream>, String>> {
        let Some(hash) = payload.strip_prefix(QUESTION) else { return self.others.handle(from, payload) };
        let hash: Result<Fingerprint, _> = hash.try_into();
        Box::pin(async move {
            let hash = hash.map_err(|_| "a hash of another length".to_owned())?;
            let key = self.identity.key_of(&hash).ok_or("this member does not have that key")?;
            tracing::info!(to = %from, "the key of the new authority is handed to another member");
            Ok(OnePiece::boxed(key))
        })
    }
}

/// Asks the other members for a key, until one has it.
///
/// # Errors
/// What each of them said.
pub async fn ask(store: &RaftStore, others: &[MemberId], hash: &Fingerprint) -> Result<String, String> {
    let question = Bytes::from([QUESTION, hash].concat());
    let mut failures = Vec::new();
    for member in others {
        let asking = async {
            let mut answer = store.call(*member, question.clone()).await.map_err(|error| error.to_string())?;
            let piece = answer.next().await.ok_or("it answered nothing")?.map_err(|error| error.to_string())?;
            String::from_utf8(piece.to_vec()).map_err(|_| "it answered something else".to_owned())
        };
        match tokio::time::timeout(Duration::from_millis(AUTHORITY_KEY_MS_MAX), asking).await {
            Ok(Ok(key)) => return Ok(key),
            Ok(Err(error)) => failures.push(format!("{member}: {error}")),
            Err(_) => failures.push(format!("{member}: no answer in time")),
        }
    }
    Err(format!("no member hands over the key of the new authority ({})", failures.join("; ")))
}
