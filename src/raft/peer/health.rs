//! When each peer was last heard of, and what went wrong last: the reason that a missing quorum is explained with.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::base::MemberId;
use crate::base::limits::PEER_SILENT_MS;
use crate::kv::store::PeerStatus;

/// What is known of all peers.
#[derive(Debug)]
pub struct Health {
    peers: BTreeMap<MemberId, Mutex<Peer>>,
}

#[derive(Debug)]
struct Peer {
    name: String,
    /// Last contact; before the first one, when this node began to look.
    heard: Instant,
    error: Option<String>,
}

impl Health {
    pub fn new(peers: impl IntoIterator<Item = (MemberId, String)>) -> Self {
        let now = Instant::now();
        let peer = |name| Mutex::new(Peer { name, heard: now, error: None });
        Self { peers: peers.into_iter().map(|(id, name)| (id, peer(name))).collect() }
    }

    fn peer(&self, id: MemberId) -> Option<MutexGuard<'_, Peer>> {
        let peer = self.peers.get(&id)?;
        Some(peer.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The peer answered. Whether it is news is returned: it was silent, or its last contact failed.
    pub fn heard(&self, id: MemberId) -> bool {
        let Some(mut peer) = self.peer(id) else {
            return false;
        };
        peer.heard = Instant::now();
        peer.error.take().is_some()
    }

    /// Contact with the peer failed. Whether it is news is returned: it failed for another reason before, or for none.
    pub fn failed(&self, id: MemberId, error: &str) -> bool {
        let Some(mut peer) = self.peer(id) else {
            return false;
        };
        let news = peer.error.as_deref() != Some(error);
        peer.error = Some(error.to_owned());
        news
    }

    /// Whether the peer has been heard of lately.
    pub fn reachable(&self, id: MemberId) -> bool {
        self.peer(id).is_some_and(|peer| peer.silent().is_none())
    }

    /// How long the peer's last word still lets it count as reachable; `None`: it does not.
    pub fn trusted_for(&self, id: MemberId) -> Option<Duration> {
        let silent = self.peer(id)?.heard.elapsed();
        Duration::from_millis(PEER_SILENT_MS).checked_sub(silent).filter(|left| !left.is_zero())
    }

    /// All peers by id.
    pub fn peers(&self) -> Vec<PeerStatus> {
        self.peers
            .keys()
            .filter_map(|id| {
                let peer = self.peer(*id)?;
                Some(PeerStatus { id: *id, name: peer.name.clone(), silent: peer.silent() })
            })
            .collect()
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
        for id in [MemberId(1), MemberId(2)] {
            health.peer(id).unwrap().heard -= Duration::from_secs(3);
        }
        assert!(!health.heard(MemberId(1)));
        assert!(health.failed(MemberId(2), "connection refused"));
        assert!(!health.failed(MemberId(2), "connection refused"));
        assert!(health.reachable(MemberId(1)) && !health.reachable(MemberId(2)));
        assert_eq!(health.missing(), "b (2) has not answered for 3.0 s: connection refused");
        assert!(health.heard(MemberId(2)));
        assert_eq!(health.missing(), "nobody");
    }
}
