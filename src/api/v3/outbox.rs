//! What waits for a watch stream's client: bounded in number and in bytes, so that one who does not read costs little memory.

use std::sync::Arc;

use futures_util::{StreamExt, stream};
use prost::Message;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tonic::Status;

use super::Answers;
use crate::base::limits::{WATCH_RESPONSES_QUEUED_BYTES_MAX, WATCH_RESPONSES_QUEUED_MAX};
use crate::wire::etcdserverpb::WatchResponse;

/// The client is gone; nobody is left to tell.
#[derive(Debug)]
pub struct Gone;

/// The way of answers to the client. Clones share it.
#[derive(Clone)]
pub struct Outbox {
    queue: mpsc::Sender<Waiting>,
    /// For the bytes of answers.
    room: Arc<Semaphore>,
}

/// An answer, and the room that it takes.
type Waiting = (Result<WatchResponse, Status>, Option<OwnedSemaphorePermit>);

impl Outbox {
    /// The way in, and what the client is sent.
    pub fn new() -> (Self, Answers<WatchResponse>) {
        let (queue, waiting) = mpsc::channel(WATCH_RESPONSES_QUEUED_MAX);
        let room = Arc::new(Semaphore::new(WATCH_RESPONSES_QUEUED_BYTES_MAX));
        let answers = stream::unfold(waiting, async |mut waiting: mpsc::Receiver<Waiting>| {
            waiting.recv().await.map(|(answer, _room)| (answer, waiting))
        });
        (Self { queue, room }, answers.boxed())
    }

    /// Waits for room.
    pub async fn send(&self, answer: WatchResponse) -> Result<(), Gone> {
        // What is larger than all the room goes when it is empty.
        let bytes = answer.encoded_len().min(WATCH_RESPONSES_QUEUED_BYTES_MAX) as u32;
        let room = tokio::select! {
            biased;
            room = self.room.clone().acquire_many_owned(bytes) => room.map_err(|_| Gone)?,
            () = self.queue.closed() => return Err(Gone),
        };
        self.queue.send((Ok(answer), Some(room))).await.map_err(|_| Gone)
    }

    /// Ends the stream with a refusal, behind what waits.
    pub async fn fail(&self, refusal: Status) {
        // Whoever is gone needs no reason.
        let _ = self.queue.send((Err(refusal), None)).await;
    }

    /// As [`Outbox::fail`], where there is a place: nobody waits for it where the client does not read.
    pub fn try_fail(&self, refusal: Status) {
        let _ = self.queue.try_send((Err(refusal), None));
    }

    /// Completes when the client is gone.
    pub async fn closed(&self) {
        self.queue.closed().await;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use futures_util::FutureExt;

    use super::*;
    use crate::wire::mvccpb::{Event, KeyValue};

    fn answer(bytes: usize) -> WatchResponse {
        let kv = KeyValue { value: vec![0; bytes].into(), ..KeyValue::default() };
        let event = Event { kv: Some(kv), ..Event::default() };
        WatchResponse { events: vec![event], ..WatchResponse::default() }
    }

    #[tokio::test]
    async fn large_answers_wait_for_the_bytes_before_them() {
        const LARGE: usize = WATCH_RESPONSES_QUEUED_BYTES_MAX / 4;
        let (outbox, mut answers) = Outbox::new();
        for _ in 0..3 {
            outbox.send(answer(LARGE)).await.unwrap();
        }
        assert!(outbox.send(answer(LARGE)).now_or_never().is_none());
        answers.next().await.unwrap().unwrap();
        outbox.send(answer(LARGE)).await.unwrap();
        // One that is larger than all the room goes alone.
        let giant = tokio::spawn(async move { outbox.send(answer(LARGE * 5)).await });
        for _ in 0..4 {
            assert!(answers.next().await.unwrap().unwrap().encoded_len() > LARGE);
        }
        giant.await.unwrap().unwrap();
        assert!(answers.next().await.is_none());
    }

    #[tokio::test]
    async fn who_waits_for_room_hears_that_the_client_is_gone() {
        let (outbox, answers) = Outbox::new();
        outbox.send(answer(WATCH_RESPONSES_QUEUED_BYTES_MAX)).await.unwrap();
        let waiting = tokio::spawn(async move { outbox.send(answer(1)).await });
        tokio::task::yield_now().await;
        drop(answers);
        assert!(waiting.await.unwrap().is_err());
    }
}
