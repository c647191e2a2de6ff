//! Members talk to members: framed, versioned, pipelined connections over TCP, one for each lane and direction.
//!
//! `message` what is said · `handshake` who speaks · `session` one open connection · `link` a connection that is kept up ·
//! `server` the other side · `stream` long answers · `health` who answers · `latency` how soon · `guests` who is connected ·
//! `strangers` who has not said yet who he is · `roll` who was removed.

pub mod guests;
pub mod handshake;
pub mod health;
pub mod latency;
pub mod link;
pub mod message;
pub mod roll;
pub mod server;
pub mod session;
pub mod strangers;
pub mod stream;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::base::MemberId;
use crate::base::limits::{PEER_PING_MS, PEER_SILENT_MS};
use crate::net::Address;
use crate::net::tls::ClientTls;
use handshake::Identity;
use health::Health;
use link::Link;
use message::{Kind, Lane, Request, Response};
use roll::Roll;
use session::{PeerError, Session};

/// The ways to all peers. Peers come and go with the membership.
pub struct Peers {
    me: Arc<Identity>,
    dialling: Arc<ClientTls>,
    ways: RwLock<BTreeMap<MemberId, Ways>>,
    pub health: Arc<Health>,
    pub roll: Arc<Roll>,
    /// Counts the connections that came about on the control lane; whoever waits for a peer watches it.
    arrivals: watch::Sender<u64>,
    stop: CancellationToken,
    tasks: TaskTracker,
    /// Peers that a test has put out of reach.
    #[cfg(test)]
    pub walls: std::sync::Mutex<std::collections::BTreeSet<MemberId>>,
}

/// The ways to one peer.
struct Ways {
    addresses: Vec<Address>,
    links: Vec<Arc<Link>>,
    /// Ends them when the peer leaves or moves.
    gone: CancellationToken,
}

impl Peers {
    /// Knows nobody yet.
    pub fn new(
        me: Arc<Identity>,
        dialling: Arc<ClientTls>,
        health: Arc<Health>,
        roll: Arc<Roll>,
        stop: &CancellationToken,
        tasks: &TaskTracker,
    ) -> Arc<Self> {
        Arc::new(Self {
            me,
            dialling,
            ways: RwLock::default(),
            health,
            roll,
            arrivals: watch::Sender::new(0),
            stop: stop.clone(),
            tasks: tasks.clone(),
            #[cfg(test)]
            walls: std::sync::Mutex::default(),
        })
    }

    /// Keeps a connection to each of `wanted` and to nobody else.
    pub fn settle(self: &Arc<Self>, wanted: &BTreeMap<MemberId, Vec<Address>>) {
        let left: Vec<MemberId> = self.ids().into_iter().filter(|id| !wanted.contains_key(id)).collect();
        for id in left {
            if let Some(ways) = self.ways.write().unwrap_or_else(PoisonError::into_inner).remove(&id) {
                ways.gone.cancel();
            }
            self.health.strike(id);
        }
        for (id, addresses) in wanted {
            self.ensure(*id, addresses);
        }
    }

    /// Keeps a connection to a peer at one of `addresses`.
    pub fn ensure(self: &Arc<Self>, id: MemberId, addresses: &[Address]) {
        #[cfg(test)]
        if self.walls.lock().unwrap_or_else(PoisonError::into_inner).contains(&id) {
            return;
        }
        let mut all = self.ways.write().unwrap_or_else(PoisonError::into_inner);
        if id == self.me.member || addresses.is_empty() || all.get(&id).is_some_and(|ways| ways.addresses == addresses)
        {
            return;
        }
        if let Some(old) = all.remove(&id) {
            tracing::info!(peer = %id, "the peer has moved");
            old.gone.cancel();
        }
        self.health.enlist(id, "");
        let gone = self.stop.child_token();
        let link = |lane| {
            let (me, health, roll) = (self.me.clone(), self.health.clone(), self.roll.clone());
            let addresses = addresses.iter().map(|address| address.clone().secured(&self.dialling)).collect();
            Arc::new(Link::new(me, id, addresses, lane, health, roll, gone.clone()))
        };
        let links: Vec<_> = Lane::ALL.into_iter().map(link).collect();
        let (this, kept, ended) = (self.clone(), links.clone(), gone.clone());
        self.tasks.spawn(async move {
            tokio::select! {
                () = ended.cancelled() => {}
                () = this.keep(id, &kept) => {}
            }
        });
        all.insert(id, Ways { addresses: addresses.to_vec(), links, gone });
    }

    /// The peers that are known.
    pub fn ids(&self) -> Vec<MemberId> {
        self.ways.read().unwrap_or_else(PoisonError::into_inner).keys().copied().collect()
    }

    /// The way to a peer; `None`: there is no such peer.
    pub fn link(&self, to: MemberId, lane: Lane) -> Option<Arc<Link>> {
        let ways = self.ways.read().unwrap_or_else(PoisonError::into_inner);
        ways.get(&to)?.links.get(lane as usize).cloned()
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

    /// Makes all connections to peers anew, without an interruption: they show this member's certificate as it is now.
    pub async fn renew(&self) {
        let links: Vec<Arc<Link>> = {
            let ways = self.ways.read().unwrap_or_else(PoisonError::into_inner);
            ways.values().flat_map(|ways| ways.links.iter().cloned()).collect()
        };
        futures_util::future::join_all(links.iter().map(|link| link.renew())).await;
    }

    /// Changes whenever a peer has become reachable.
    pub fn arrivals(&self) -> watch::Receiver<u64> {
        self.arrivals.subscribe()
    }

    /// Keeps the control connection to a peer open, and asks for signs of life.
    async fn keep(&self, to: MemberId, links: &[Arc<Link>]) {
        let Some(link) = links.get(Lane::Control as usize) else {
            return;
        };
        loop {
            match link.session().await {
                Ok(session) => {
                    for other in links {
                        other.forgive();
                    }
                    self.arrivals.send_modify(|count| *count += 1);
                    self.ping(&session).await;
                    if !session.is_retiring() {
                        self.health.failed(to, "the connection ended");
                    }
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
