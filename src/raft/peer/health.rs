//! When each peer was last heard of, and what went wrong last: the reason that a missing quorum is explained with.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::Duration;

use tokio::time::Instant;

use super::latency::Latency;
use crate::base::MemberId;
use crate::base::limits::PEER_SILENT_MS;
use crate::kv::store::PeerStatus;

/// What is known of all peers.
#[derive(Debug, Default)]
pub struct Health {
    peers: RwLock<BTreeMap<MemberId, Mutex<Peer>>>,
    appends_received: AtomicU64,
}

#[derive(Debug)]
struct Peer {
    name: String,
    /// Last contact; before the first one, when this node began to look.
    heard: Instant,
    /// There was a first contact.
    met: bool,
    error: Option<String>,
    latency: Latency,
}

impl Health {
    pub fn new(peers: impl IntoIterator<Item = (MemberId, String)>) -> Self {
        let this = Self::default();
        for (id, name) in peers {
            this.enlist(id, &name);
        }
        this
    }

    /// Begins to look at a peer; of one that is looked at already, the name may be news.
    pub fn enlist(&self, id: MemberId, name: &str) {
        let mut peers = self.peers.write().unwrap_or_else(PoisonError::into_inner);
        let new = || Peer {
            name: String::new(),
            heard: Instant::now(),
            met: false,
            error: None,
            latency: Latency::default(),
        };
        let peer = peers.entry(id).or_insert_with(|| Mutex::new(new()));
        let peer = peer.get_mut().unwrap_or_else(PoisonError::into_inner);
        if !name.is_empty() || peer.name.is_empty() {
            name.clone_into(&mut peer.name);
        }
    }

    /// Looks no longer at a peer.
    pub fn strike(&self, id: MemberId) {
        self.peers.write().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    fn with<T>(&self, id: MemberId, look: impl FnOnce(&mut Peer) -> T) -> Option<T> {
        let peers = self.peers.read().unwrap_or_else(PoisonError::into_inner);
        let mut peer = peers.get(&id)?.lock().unwrap_or_else(PoisonError::into_inner);
        Some(look(&mut peer))
    }

    /// The peer answered. Whether it is news is returned: it was silent, or its last contact failed.
    pub fn heard(&self, id: MemberId) -> bool {
        let heard = |peer: &mut Peer| {
            peer.heard = Instant::now();
            peer.met = true;
            peer.error.take().is_some()
        };
        self.with(id, heard).unwrap_or(false)
    }

    /// Contact with the peer failed. Whether it is news is returned: it failed for another reason before, or for none.
    pub fn failed(&self, id: MemberId, error: &str) -> bool {
        let failed = |peer: &mut Peer| {
            let news = peer.error.as_deref() != Some(error);
            peer.error = Some(error.to_owned());
            news
        };
        self.with(id, failed).unwrap_or(false)
    }

    /// Whether the peer has been heard of lately, or may yet be for the first time.
    pub fn reachable(&self, id: MemberId) -> bool {
        self.with(id, |peer| peer.silent().is_none()).unwrap_or(false)
    }

    /// Whether the peer answers: it was heard of lately and the last contact did not fail.
    pub fn answers(&self, id: MemberId) -> bool {
        self.with(id, |peer| peer.met && peer.error.is_none() && peer.silent().is_none()).unwrap_or(false)
    }

    /// How long the peer's last word still lets it count as reachable; `None`: it does not.
    pub fn trusted_for(&self, id: MemberId) -> Option<Duration> {
        let silent = self.with(id, |peer| peer.heard.elapsed())?;
        Duration::from_millis(PEER_SILENT_MS).checked_sub(silent).filter(|left| !left.is_zero())
    }

    /// All peers by id.
    pub fn peers(&self) -> Vec<PeerStatus> {
        let peers = self.peers.read().unwrap_or_else(PoisonError::into_inner);
        let status = |(id, peer): (&MemberId, &Mutex<Peer>)| {
            let peer = peer.lock().unwrap_or_else(PoisonError::into_inner);
            PeerStatus { id: *id, name: peer.name.clone(), silent: peer.silent(), appends: peer.latency.told() }
        };
        peers.iter().map(status).collect()
    }

    /// The peer has answered a message with log entries after `took`; `None`: it has not.
    pub fn appended(&self, id: MemberId, took: Option<Duration>) {
        self.with(id, |peer| match took {
            Some(took) => peer.latency.succeeded(took),
            None => peer.latency.failed(),
        });
    }

    /// A leader has sent such a message.
    pub fn append_received(&self) {
        self.appends_received.fetch_add(1, Ordering::Relaxed);
    }

    /// How many there were.
    pub fn appends_received(&self) -> u64 {
        self.appends_received.load(Ordering::Relaxed)
    }

    /// Those that do not answer, by name, since when and why: for people.
    pub fn missing(&self) -> String {
        let missing: Vec<String> = self
            .peers()
            .into_iter()
            .filter_map(|peer| {
                let (silent, error) = peer.silent?;
                Some(format!("{} ({}) has not answered for {:.1} s: {error}", peer.name, peer.id, silent.as_secs_f64()))
            })
            .collect();
        match missing.is_empty() {
            true => "nobody".to_owned(),
            false => missing.join("; "),
        }
    }
}

impl Peer {
    fn silent(&self) -> Option<(Duration, String)> {
        let silent = self.heard.elapsed();
        let error = || self.error.clone().unwrap_or_else(|| "no answer".to_owned());
        (silent >= Duration::from_millis(PEER_SILENT_MS)).then(|| (silent, error()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn silence_is_counted_from_the_last_contact() {
        let health = Health::new([(MemberId(1), "a".to_owned()), (MemberId(2), "b".to_owned())]);
        assert_eq!(health.missing(), "nobody");
        assert!(health.reachable(MemberId(1)) && !health.answers(MemberId(1)));
        for id in [MemberId(1), MemberId(2)] {
            health.with(id, |peer| peer.heard -= Duration::from_secs(3)).unwrap();
        }
        assert!(!health.heard(MemberId(1)));
        assert!(health.failed(MemberId(2), "connection refused"));
        assert!(!health.failed(MemberId(2), "connection refused"));
        assert!(health.reachable(MemberId(1)) && !health.reachable(MemberId(2)));
        assert_eq!(health.missing(), "b (2) has not answered for 3.0 s: connection refused");
        assert!(health.heard(MemberId(2)));
        assert_eq!(health.missing(), "nobody");
        assert!(health.answers(MemberId(2)));
        health.enlist(MemberId(2), "");
        health.enlist(MemberId(1), "one");
        let names: Vec<String> = health.peers().into_iter().map(|peer| peer.name).collect();
        assert_eq!(names, ["one", "b"]);
        health.strike(MemberId(2));
        assert!(!health.reachable(MemberId(2)) && health.peers().len() == 1);
    }
}
