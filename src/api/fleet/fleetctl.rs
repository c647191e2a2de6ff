//! What fleet's own `fleetctl` 1.0 has to be told, as it relies on how slow fleet was.
//!
//! Its `restart` asks for `loaded`, waits until the unit is told as `launched`, which in fleet it still was at the first look a
//! quarter of a second later, and then asks for `launched`. Here the unit is stopped by then: it would wait for ever, with the
//! unit down. So its first look after it asked for `loaded` is answered as if the unit were not stopped yet. Its `stop` asks for
//! the same and cannot be told apart: it looks once more.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use hyper::header::{self, HeaderMap};

use crate::base::UnixMillis;
use crate::base::limits::FLEETCTL_LOOK_MS_MAX;

/// How the client library that it is built with names itself.
const LIBRARY: &str = "google-api-go-client/";

/// Whether fleet's own `fleetctl` asks.
pub(super) fn asks(headers: &HeaderMap) -> bool {
    let agent = headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok());
    agent.is_some_and(|agent| agent.starts_with(LIBRARY))
}

/// The units that were launched when `fleetctl` asked for `loaded`, since when, until it looked at them.
#[derive(Default)]
pub(super) struct FirstLooks(Mutex<BTreeMap<String, UnixMillis>>);

impl FirstLooks {
    /// Its next look at the unit is its first.
    pub fn expect(&self, unit: &str, now: UnixMillis) {
        let mut looks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        looks.retain(|_, since| is_young(*since, now));
        looks.insert(unit.to_owned(), now);
    }

    /// Whether this look is the first one.
    pub fn take(&self, unit: &str, now: UnixMillis) -> bool {
        let mut looks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        looks.remove(unit).is_some_and(|since| is_young(since, now))
    }
}

fn is_young(since: UnixMillis, now: UnixMillis) -> bool {
    (0..=FLEETCTL_LOOK_MS_MAX).contains(&(now.0 - since.0))
}
