//! The way to one peer on one lane: a connection that is opened when it is needed and opened again when it breaks.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::handshake::{HandshakeError, Identity, greet};
use super::health::Health;
use super::message::{Kind, Lane, Request, Response, decode, encode};
use super::roll::Roll;
use super::session::{PeerError, Session};
use super::stream::CallStream;
use crate::base::MemberId;
use crate::base::limits::{
    PEER_BACKOFF_MS_MAX, PEER_BACKOFF_MS_MIN, PEER_CONNECT_MS_MAX, PEER_FRAME_BYTES_MAX, PEER_HANDSHAKE_BYTES_MAX,
    PEER_RETIRE_MS_MAX,
};
use crate::net::{self, Address, FrameReader, FrameWriter};

/// The way to a peer on a lane.
pub struct Link {
    me: Arc<Identity>,
    to: MemberId,
    /// At least one; the next one is tried after a failure.
    addresses: Vec<Address>,
    lane: Lane,
    health: Arc<Health>,
    roll: Arc<Roll>,
    stop: CancellationToken,
    slot: Mutex<Slot>,
}

struct Slot {
    session: Option<Arc<Session>>,
    failures: u32,
    /// No attempt before this moment.
    pause_until: Instant,
    error: String,
}

impl Link {
    pub fn new(
        me: Arc<Identity>,
        to: MemberId,
        addresses: Vec<Address>,
        lane: Lane,
        health: Arc<Health>,
        roll: Arc<Roll>,
        stop: CancellationToken,
    ) -> Self {
        Self {
            me,
            to,
            addresses,
            lane,
            health,
            roll,
            stop,
            slot: Mutex::new(Slot { session: None, failures: 0, pause_until: Instant::now(), error: String::new() }),
        }
    }

    /// The open connection, opening one if there is none. Fails at once during the pause after a failure.
    pub async fn session(&self) -> Result<Arc<Session>, PeerError> {
        let mut slot = self.slot.lock().await;
        if let Some(session) = slot.session.as_ref().filter(|session| !session.is_over()) {
            return Ok(session.clone());
        }
        slot.session = None;
        if self.stop.is_cancelled() {
            return Err(PeerError::NotSent("this node is stopping, or the peer has left".to_owned()));
        }
        if Instant::now() < slot.pause_until {
            return Err(PeerError::NotSent(slot.error.clone()));
        }
        let Some(address) = self.addresses.get(slot.failures as usize % self.addresses.len().max(1)) else {
            return Err(PeerError::NotSent(format!("no address of {} is known", self.to)));
        };
        match self.open(address).await {
            Ok(session) => {
                slot.failures = 0;
                slot.session = Some(session.clone());
                Ok(session)
            }
            Err(error) => {
                slot.pause_until = Instant::now() + pause(slot.failures);
                slot.failures = slot.failures.saturating_add(1);
                slot.error.clone_from(&error);
                if self.health.failed(self.to, &error) {
                    tracing::warn!(peer = %self.to, %address, "cannot reach peer: {error}");
                }
                Err(PeerError::NotSent(error))
            }
        }
    }

    /// Opens another connection in the place of the one that is open, if one is: what is asked from now on goes there, and the
    /// old one ends when all that was asked on it is answered, after `PEER_RETIRE_MS_MAX` in any case. Where none can be opened the old one
    /// goes on.
    pub async fn renew(&self) {
        let mut slot = self.slot.lock().await;
        let Some(old) = slot.session.clone().filter(|session| !session.is_over()) else { return };
        let address = self.addresses.get(slot.failures as usize % self.addresses.len().max(1));
        let Some(address) = address else { return };
        match self.open(address).await {
            Ok(session) => slot.session = Some(session),
            Err(error) => {
                return tracing::info!(peer = %self.to, "a connection could not be made anew: {error}");
            }
        }
        drop(slot);
        old.retire(Duration::from_millis(PEER_RETIRE_MS_MAX)).await;
    }

    async fn open(&self, address: &Address) -> Result<Arc<Session>, String> {
        let wait = Duration::from_millis(PEER_CONNECT_MS_MAX);
        let connection = net::connect(address, wait).await.map_err(|error| error.to_string())?;
        let (read, write) = tokio::io::split(connection);
        let mut reader = FrameReader::new(read, PEER_HANDSHAKE_BYTES_MAX);
        let mut writer = FrameWriter::new(write);
        greet(&self.me, self.to, self.lane, &mut reader, &mut writer)
            .await
            .map_err(|error| self.explain(address, &error))?;
        reader.set_limit(PEER_FRAME_BYTES_MAX);
        let (health, to) = (self.health.clone(), self.to);
        if health.heard(to) {
            tracing::info!(peer = %to, %address, "peer is reachable");
        }
        Ok(Session::start(reader, writer, &self.stop, move || {
            health.heard(to);
        }))
    }

    fn explain(&self, address: &Address, error: &HandshakeError) -> String {
        if let HandshakeError::Removed(reason) = error {
            self.roll.expel(reason);
        }
        format!("{address}: {error}")
    }

    /// The moment before which no attempt is made.
    pub async fn pause_until(&self) -> Instant {
        self.slot.lock().await.pause_until
    }

    /// The peer is known to be back: no pause before the next attempt.
    pub fn forgive(&self) {
        // Somebody who holds the slot is making an attempt just now.
        if let Ok(mut slot) = self.slot.try_lock() {
            slot.pause_until = Instant::now();
            slot.failures = 0;
        }
    }

    /// Asks and waits for the answer, all within `wait`.
    pub async fn ask(&self, request: &Request, wait: Duration) -> Result<Response, PeerError> {
        let body = encode(request).map_err(PeerError::NotSent)?;
        let until = Instant::now() + wait;
        let session = match tokio::time::timeout(wait, self.session()).await {
            Ok(session) => session?,
            Err(_) => {
                return Err(PeerError::NotSent(format!("no connection to {} within {wait:?}", self.to)));
            }
        };
        let left = until.saturating_duration_since(Instant::now());
        let answer = session.ask(Kind::Request, body, left).await?;
        match decode(&answer).map_err(PeerError::Broken)? {
            Response::Failed(reason) => Err(PeerError::Failed(reason)),
            response => Ok(response),
        }
    }

    /// Opens a stream within `wait`.
    pub async fn call(&self, payload: Bytes, wait: Duration) -> Result<CallStream, PeerError> {
        let opening = async { self.session().await?.open(payload).await };
        tokio::time::timeout(wait, opening)
            .await
            .unwrap_or(Err(PeerError::NotSent(format!("no connection to {} within {wait:?}", self.to))))
    }
}

/// The pause after so many failures: doubling, with a longest.
fn pause(failures: u32) -> Duration {
    let ms = PEER_BACKOFF_MS_MIN << failures.min(16);
    Duration::from_millis(ms.min(PEER_BACKOFF_MS_MAX))
}
