//! Questions about a node's program between members: over the peer port, beside those about units.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use super::Program;
use crate::base::limits::PROGRAM_ANSWER_MS_MAX;
use crate::base::{BoxFuture, MemberId};
use crate::raft::{OnePiece, PeerHandler, PeerStream, RaftStore};
use crate::wire::program::{Question, Refusal, Reply};

/// Begins such a question: those about units are JSON from their first byte on, and what is for a command begins with byte 0.
const MARK: u8 = 1;

/// How long a member may take: it runs the program that it was sent.
const ANSWER_WITHIN: Duration = Duration::from_millis(2 * PROGRAM_ANSWER_MS_MAX);

/// Serves both.
pub struct Calls {
    pub program: Arc<Program>,
    pub units: Arc<dyn PeerHandler>,
}

impl PeerHandler for Calls {
    fn handle(&self, from: MemberId, payload: Bytes) -> BoxFuture<'_, Result<Box<dyn PeerStream>, String>> {
        if !is_question(&payload) {
            return self.units.handle(from, payload);
        }
        Box::pin(async move {
            let (question, piece) = unpacked(payload)?;
            let answer = self.program.answer(question, piece).await;
            let text = serde_json::to_vec(&answer).map_err(|error| error.to_string())?;
            Ok(OnePiece::boxed(text))
        })
    }
}

/// Asks a member.
pub async fn ask(store: &RaftStore, member: MemberId, question: &Question, piece: &[u8]) -> Result<Reply, Refusal> {
    let no = |why: String| Refusal::Unreachable(format!("member {member}: {why}"));
    let asked = async {
        let payload = packed(question, piece).map_err(no)?;
        let mut stream = store.call(member, payload).await.map_err(|error| no(error.to_string()))?;
        let answer = stream.next().await.ok_or_else(|| no("it hung up".to_owned()))?;
        let answer = answer.map_err(|error| no(error.to_string()))?;
        serde_json::from_slice(&answer)
            .unwrap_or_else(|error| Err(no(format!("an answer that is not known here: {error}"))))
    };
    tokio::time::timeout(ANSWER_WITHIN, asked)
        .await
        .unwrap_or_else(|_| Err(no(format!("no answer within {ANSWER_WITHIN:?}"))))
}

/// The mark, the length of the question, the question as JSON, the piece.
fn packed(question: &Question, piece: &[u8]) -> Result<Bytes, String> {
    let text = serde_json::to_vec(question).map_err(|error| error.to_string())?;
    let mut bytes = BytesMut::with_capacity(5 + text.len() + piece.len());
    bytes.put_u8(MARK);
    bytes.put_u32(u32::try_from(text.len()).map_err(|error| error.to_string())?);
    bytes.put_slice(&text);
    bytes.put_slice(piece);
    Ok(bytes.freeze())
}

fn is_question(payload: &[u8]) -> bool {
    payload.first() == Some(&MARK)
}

fn unpacked(mut payload: Bytes) -> Result<(Question, Bytes), String> {
    let short = || "a question that is cut short".to_owned();
    payload.advance(1);
    let length = payload.try_get_u32().map_err(|_| short())? as usize;
    if payload.len() < length {
        return Err(short());
    }
    let text = payload.split_to(length);
    let question =
        serde_json::from_slice(&text).map_err(|error| format!("a question that is not known here: {error}"))?;
    Ok((question, payload))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn questions_travel_with_their_pieces() {
        let question = Question::Stage { sha256: "ab".into(), offset: 7 };
        let packed = packed(&question, b"piece").unwrap();
        assert_eq!(unpacked(packed.clone()).unwrap(), (question, Bytes::from_static(b"piece")));
        for length in 1..40 {
            assert!(unpacked(packed.slice(..length)).is_err(), "{length}");
        }
        assert!(unpacked(Bytes::from_static(b"\0\0\0\0\x02{}")).unwrap_err().contains("not known here"));
    }

    #[test]
    #[cfg(feature = "scheduler")]
    fn calls_about_units_and_about_a_program_are_told_apart() {
        use crate::app::answer::{self, for_command, to_command};
        use crate::fleet::session::Input;
        let about_units = serde_json::to_vec(&answer::Question::Status { unit: "a.service".into() }).unwrap();
        assert!(!is_question(&about_units) && for_command(&about_units).is_none());
        let about_program = packed(&Question::Tell, b"").unwrap();
        // What goes to the command is such a question itself.
        let input = Input::Bytes(about_program.to_vec());
        let to_command = to_command(u64::MAX, &input);
        assert!(!is_question(&to_command) && for_command(&to_command) == Some((u64::MAX, input)));
        assert!(is_question(&about_program) && for_command(&about_program).is_none());
    }
}
