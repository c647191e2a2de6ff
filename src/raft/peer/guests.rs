//! Who is connected: two processes that both say to be the same member must not both be believed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::base::MemberId;
use crate::base::limits::PEER_SILENT_MS;

/// The members that are connected to this one, each by the process that it is.
#[derive(Debug, Default)]
pub struct Guests {
    by_member: Mutex<HashMap<MemberId, Guest>>,
    /// The first process of each member that was ever let in.
    first: Mutex<HashMap<MemberId, u64>>,
}

#[derive(Debug)]
struct Guest {
    /// The number that its process chose at its start.
    instance: u64,
    connections: usize,
    heard: Instant,
    /// Ends its connections.
    dismissed: CancellationToken,
}

/// A connection's claim to be a member. Given up when it is dropped.
#[derive(Debug)]
pub struct Seat {
    guests: Arc<Guests>,
    member: MemberId,
    instance: u64,
    dismissed: CancellationToken,
}

impl Guests {
    fn by_member(&self) -> MutexGuard<'_, HashMap<MemberId, Guest>> {
        self.by_member.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a connection its seat.
    ///
    /// # Errors
    /// In words, if another process holds the member's seat and was heard of lately.
    pub fn admit(self: &Arc<Self>, member: MemberId, instance: u64) -> Result<Seat, String> {
        let mut by_member = self.by_member();
        let now = Instant::now();
        let guest = by_member.entry(member).or_insert_with(|| Guest::new(instance, now));
        if guest.instance != instance {
            if now.duration_since(guest.heard) < Duration::from_millis(PEER_SILENT_MS) {
                return Err(format!(
                    "another process already runs as member {member}: give each node its own name and data directory"
                ));
            }
            *guest = Guest::new(instance, now);
        }
        guest.connections += 1;
        guest.heard = now;
        self.first().entry(member).or_insert(instance);
        Ok(Seat { guests: self.clone(), member, instance, dismissed: guest.dismissed.clone() })
    }

    fn first(&self) -> MutexGuard<'_, HashMap<MemberId, u64>> {
        self.first.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether another process than `instance` was here before as this member.
    pub fn met_before(&self, member: MemberId, instance: u64) -> bool {
        self.first().get(&member).is_some_and(|first| *first != instance)
    }

    /// Ends the member's connections: it does not belong here any more.
    pub fn dismiss(&self, member: MemberId) {
        if let Some(guest) = self.by_member().get(&member) {
            guest.dismissed.cancel();
        }
    }
}

impl Guest {
    fn new(instance: u64, heard: Instant) -> Self {
        Self { instance, connections: 0, heard, dismissed: CancellationToken::new() }
    }
}

impl Seat {
    /// Completes when the member is sent away.
    pub async fn dismissed(&self) {
        self.dismissed.cancelled().await;
    }

    /// The member was heard of.
    pub fn heard(&self) {
        if let Some(guest) = self.guests.by_member().get_mut(&self.member)
            && guest.instance == self.instance
        {
            guest.heard = Instant::now();
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut by_member = self.guests.by_member();
        if let Some(guest) = by_member.get_mut(&self.member)
            && guest.instance == self.instance
        {
            guest.connections -= 1;
            if guest.connections == 0 {
                by_member.remove(&self.member);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn one_process_a_member() {
        let guests = Arc::new(Guests::default());
        let (one, two) = (guests.admit(MemberId(1), 7).unwrap(), guests.admit(MemberId(1), 7).unwrap());
        let other = guests.admit(MemberId(2), 8).unwrap();
        let error = guests.admit(MemberId(1), 9).unwrap_err();
        assert!(error.contains("already runs as member 1"), "{error}");
        drop(one);
        assert!(guests.admit(MemberId(1), 9).is_err());
        drop(two);
        // It has gone: a new process may take its place.
        let new = guests.admit(MemberId(1), 9).unwrap();
        // It is silent, as after a loss of power: so may another one, and the old claim does no harm.
        guests.by_member().get_mut(&MemberId(1)).unwrap().heard -= Duration::from_secs(3);
        let newer = guests.admit(MemberId(1), 10).unwrap();
        drop(new);
        assert!(guests.admit(MemberId(1), 9).is_err());
        newer.heard();
        drop((newer, other));
        assert!(guests.by_member().is_empty());
    }
}
