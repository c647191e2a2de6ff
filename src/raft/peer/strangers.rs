//! Those who connect and have not said who they are: how many at once, and how often the log speaks of them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::base::limits::{PEER_HANDSHAKES_MAX, PEER_STRANGERS_LOG_MS};

/// The connections that are not let in yet, and what was said of those that were not.
#[derive(Debug, Default)]
pub struct Strangers {
    waiting: Mutex<Waiting>,
    told: Mutex<HashMap<&'static str, Told>>,
}

#[derive(Debug, Default)]
struct Waiting {
    by_number: BTreeMap<u64, CancellationToken>,
    next: u64,
}

#[derive(Debug)]
struct Told {
    at: Instant,
    /// Refusals since then that the log does not have.
    kept_back: u64,
}

/// A place among those who wait. Given up when it is dropped.
#[derive(Debug)]
pub struct Wait {
    strangers: Arc<Strangers>,
    number: u64,
    displaced: CancellationToken,
}

impl Strangers {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for one who has connected. Where there is none left, the one who has waited longest loses his: members say at once
    /// who they are, so that a crowd which says nothing does not keep them out.
    pub fn receive(self: &Arc<Self>) -> Wait {
        let mut waiting = self.waiting();
        if waiting.by_number.len() >= PEER_HANDSHAKES_MAX
            && let Some((_, longest)) = waiting.by_number.pop_first()
        {
            longest.cancel();
        }
        let (number, displaced) = (waiting.next, CancellationToken::new());
        waiting.next += 1;
        waiting.by_number.insert(number, displaced.clone());
        Wait { strangers: self.clone(), number, displaced }
    }

    /// Whether the log is to tell of a refusal, and of how many before it of that cause it did not.
    pub fn is_news(&self, cause: &'static str) -> Option<u64> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let Some(before) = told.get_mut(cause) else {
            told.insert(cause, Told { at: now, kept_back: 0 });
            return Some(0);
        };
        if now.duration_since(before.at) < Duration::from_millis(PEER_STRANGERS_LOG_MS) {
            before.kept_back += 1;
            return None;
        }
        before.at = now;
        Some(std::mem::take(&mut before.kept_back))
    }
}

impl Wait {
    /// Completes when somebody who came later has taken the place.
    pub async fn displaced(&self) {
        self.displaced.cancelled().await;
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.strangers.waiting().by_number.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn the_longest_waits_in_vain_where_many_come() {
        let strangers = Arc::new(Strangers::default());
        let mut waits: Vec<Wait> = (0..PEER_HANDSHAKES_MAX).map(|_| strangers.receive()).collect();
        waits.remove(1);
        let _new = strangers.receive();
        assert!(waits.iter().all(|wait| wait.displaced().now_or_never().is_none()));
        let newer = strangers.receive();
        assert!(waits[0].displaced().now_or_never().is_some());
        assert!(waits[1].displaced().now_or_never().is_none());
        drop((waits, newer));
        assert_eq!(strangers.waiting().by_number.len(), 1);
    }

    #[test]
    fn each_cause_is_told_once_in_a_while() {
        let strangers = Strangers::default();
        assert_eq!((strangers.is_news("a"), strangers.is_news("b")), (Some(0), Some(0)));
        assert_eq!((strangers.is_news("a"), strangers.is_news("a")), (None, None));
        let later = |told: &mut Told| told.at -= Duration::from_millis(PEER_STRANGERS_LOG_MS);
        later(strangers.told.lock().unwrap().get_mut("a").unwrap());
        assert_eq!((strangers.is_news("a"), strangers.is_news("a")), (Some(2), None));
    }
}
