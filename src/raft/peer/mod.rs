//! Members talk to members: framed, versioned, pipelined connections over TCP, one for each lane and direction.
//!
//! `message` what is said · `handshake` who speaks · `session` one open connection · `link` a connection that is kept up ·
//! `server` the other side · `stream` long answers · `health` who answers · `guests` who is connected.

pub mod guests;
pub mod handshake;
pub mod health;
pub mod link;
pub mod message;
pub mod server;
pub mod session;
pub mod stream;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::base::MemberId;
use crate::base::limits::{PEER_PING_MS, PEER_SILENT_MS};
use crate::net::Address;
use handshake::Identity;
use health::Health;
use link::Link;
use message::{Kind, Lane, Request, Response};
use session::{PeerError, Session};

/// The ways to all peers.
pub struct Peers {
    links: BTreeMap<MemberId, Vec<Arc<Link>>>,
    pub health: Arc<Health>,
    /// Counts the connections that came about on the control lane; whoever waits for a peer watches it.
    arrivals: watch::Sender<u64>,
}

impl Peers {
    /// Begins to keep a connection to each of `peers`.
    pub fn start(
        me: &Arc<Identity>,
        peers: &[(MemberId, Address)],
        health: &Arc<Health>,
        stop: &CancellationToken,
        tasks: &TaskTracker,
    ) -> Arc<Self> {
        let links = |(to, address): &(MemberId, Address)| {
            let link = |lane| Arc::new(Link::new(me.clone(), *to, address.clone(), lane, health.clone(), stop.clone()));
            (*to, Lane::ALL.into_iter().map(link).collect::<Vec<_>>())
        };
        let this = Arc::new(Self {
            links: peers.iter().map(links).collect(),
            health: health.clone(),
            arrivals: watch::Sender::new(0),
        });
        for to in this.links.keys().copied() {
            let (this, stop) = (this.clone(), stop.clone());
            tasks.spawn(async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = this.keep(to) => {}
                }
            });
        }
        this
    }

    /// The way to a peer; `None`: there is no such peer.
    pub fn link(&self, to: MemberId, lane: Lane) -> Option<&Arc<Link>> {
        self.links.get(&to)?.get(lane as usize)
    }

    /// Asks a peer.
    pub async fn ask(
        &self,
        to: MemberId,
        lane: Lane,
        request: &Request,
        wait: Duration,
    ) -> Result<Response, PeerError> {
        match self.link(to, lane) {
            Some(link) => link.ask(request, wait).await,
            None => Err(PeerError::NotSent(format!("there is no member {to}"))),
        }
    }

    /// Opens a stream at a peer.
    pub async fn call(&self, to: MemberId, payload: Bytes, wait: Duration) -> Result<stream::CallStream, PeerError> {
        match self.link(to, Lane::Bulk) {
            Some(link) => link.call(payload, wait).await,
            None => Err(PeerError::NotSent(format!("there is no member {to}"))),
        }
    }

    /// Changes whenever a peer has become reachable.
    pub fn arrivals(&self) -> watch::Receiver<u64> {
        self.arrivals.subscribe()
    }

    /// Keeps the control connection to a peer open, and asks for signs of life.
    async fn keep(&self, to: MemberId) {
        let Some(link) = self.link(to, Lane::Control) else {
            return;
        };
        loop {
            match link.session().await {
                Ok(session) => {
                    for other in self.links.get(&to).into_iter().flatten() {
                        other.forgive();
                    }
                    self.arrivals.send_modify(|count| *count += 1);
                    self.ping(&session).await;
                    self.health.failed(to, "the connection ended");
                }
                Err(_) => tokio::time::sleep_until(link.pause_until().await).await,
            }
        }
    }

    /// Returns when the connection has ended or the peer no longer answers on it.
    async fn ping(&self, session: &Session) {
        let wait = Duration::from_millis(PEER_SILENT_MS);
        loop {
            let pong = session.ask(Kind::Ping, Bytes::new(), wait).await;
            if let Err(error) = pong {
                session.end(&error.to_string());
                return;
            }
            tokio::select! {
                () = session.over() => return,
                () = tokio::time::sleep(Duration::from_millis(PEER_PING_MS)) => {}
            }
        }
    }
}
