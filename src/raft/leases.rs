//! How long each lease still has, in the leader's memory.
//!
//! Keep-alives are answered here and leave no trace in the log. A new leader gives every lease its full time again, as it
//! cannot know what its predecessor promised, except where that has noted the remaining time of a long lease in the log
//! (a checkpoint); a keep-alive first takes such a note back. Leases of v2 writes are different: their end is part of the write.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::base::limits::LEASE_EXPIRE_BATCH_MAX;
use crate::base::{Clock, LeaseId};
use crate::kv::{Lease, LeaseRecord, State};

/// A lease that ran out and is still there is proposed again after this time.
const EXPIRE_AGAIN: Duration = Duration::from_secs(5);
/// While there are leases, this is how often the keeper looks whether the process was held up.
const PULSE: Duration = Duration::from_millis(250);
/// Held up for longer than this, keep-alives may be waiting unread.
const STALL: Duration = Duration::from_millis(500);
/// No lease ends for so long after that: what waits is read first.
const GRACE: Duration = Duration::from_millis(1_000);
/// Longest time that is reckoned with; longer leases are looked at again then.
const FAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// The times of all leases, while this member leads.
pub struct Leases {
    clock: Arc<dyn Clock>,
    table: Mutex<Times>,
    /// The earliest end has changed.
    woken: Notify,
    /// How often a long lease's remaining time is noted, and the sign that the earliest such moment has changed.
    checkpoint_every: Duration,
    checkpoint_woken: Notify,
    /// Held while notes are on their way into the log, so that they come there in the order in which they were made.
    noting: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Times {
    /// The term in which this member leads; `None`: it does not, and nothing is kept.
    term: Option<u64>,
    by_id: HashMap<LeaseId, Time>,
    by_end: BTreeSet<(Instant, LeaseId)>,
    by_checkpoint: BTreeSet<(Instant, LeaseId)>,
    /// When the keeper last looked, while there are leases.
    pulse: Option<Instant>,
    grace_until: Option<Instant>,
}

#[derive(Clone, Copy)]
struct Time {
    ttl_ms: i64,
    end: Instant,
    /// The end is part of a v2 write; keep-alives do not move it.
    fixed: bool,
    /// It ran out, and its end is proposed.
    ended: bool,
    /// When its remaining time is to be noted; `None`: it ends before that.
    checkpoint: Option<Instant>,
    /// The log holds, or will hold, a note of less than its full time.
    noted: bool,
}

impl Leases {
    /// `checkpoint_every`: how often the remaining time of a lease that has longer than that is noted.
    pub fn new(clock: Arc<dyn Clock>, checkpoint_every: Duration) -> Arc<Self> {
        Arc::new(Self {
            clock,
            table: Mutex::default(),
            woken: Notify::new(),
            checkpoint_every,
            checkpoint_woken: Notify::new(),
            noting: tokio::sync::Mutex::default(),
        })
    }

    fn times(&self) -> MutexGuard<'_, Times> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This member leads in `term` and its state is up to date: every lease has its full time from now on.
    pub fn lead(&self, term: u64, state: &State) {
        let mut times = self.times();
        if times.term == Some(term) {
            return;
        }
        *times = Times { term: Some(term), ..Times::default() };
        self.fill(&mut times, state);
    }

    /// The term in which this member leads and keeps the times.
    pub fn term(&self) -> Option<u64> {
        self.times().term
    }

    /// This member does not lead.
    pub fn retire(&self) {
        *self.times() = Times::default();
    }

    /// The state was replaced as a whole.
    pub fn reset(&self, state: &State) {
        let mut times = self.times();
        if let Some(term) = times.term {
            *times = Times { term: Some(term), ..Times::default() };
            self.fill(&mut times, state);
        }
    }

    fn fill(&self, times: &mut Times, state: &State) {
        for record in state.leases() {
            times.put(record.lease.id, self.full(record));
        }
        self.wake();
    }

    fn wake(&self) {
        self.woken.notify_one();
        self.checkpoint_woken.notify_one();
    }

    /// Commands were applied that may have made, changed or ended the leases `touched`.
    pub fn changed(&self, state: &State, touched: &[LeaseId]) {
        if touched.is_empty() {
            return;
        }
        let mut times = self.times();
        if times.term.is_none() {
            return;
        }
        for id in touched {
            match state.lease(*id) {
                None => times.remove(*id),
                // A key was attached to a lease that is known: its time goes on.
                Some(record) if times.by_id.contains_key(id) && record.ends.is_none() => {}
                Some(record) => times.put(*id, self.full(record)),
            }
        }
        self.wake();
    }

    fn full(&self, record: &LeaseRecord) -> Time {
        let left = match record.ends {
            Some(ends) => ends.0.saturating_sub(self.clock.now().0),
            None => record.left_ms.unwrap_or(record.lease.ttl_ms),
        };
        let fixed = record.ends.is_some();
        let (now, left) = (Instant::now(), duration(left));
        Time {
            ttl_ms: record.lease.ttl_ms,
            end: now + left,
            fixed,
            ended: false,
            checkpoint: self.next_checkpoint(now, left).filter(|_| !fixed),
            noted: record.left_ms.is_some(),
        }
    }

    /// When a lease that has `left` from `now` on is to be noted.
    fn next_checkpoint(&self, now: Instant, left: Duration) -> Option<Instant> {
        (left > self.checkpoint_every).then(|| now + self.checkpoint_every)
    }

    /// Gives a lease its full time again. `Ok`: its time to live in milliseconds, 0 if there is no such lease. A lease of which the
    /// log holds a note is to be [taken back](Self::noted) first.
    ///
    /// # Errors
    /// This member does not lead.
    pub fn keep_alive(&self, id: LeaseId) -> Result<i64, NotLeading> {
        let mut times = self.times();
        if times.term.is_none() {
            return Err(NotLeading);
        }
        let Some(time) = times.by_id.get(&id).copied().filter(|time| !time.ended) else {
            return Ok(0);
        };
        if !time.fixed {
            let (now, left) = (Instant::now(), duration(time.ttl_ms));
            times.put(id, Time { end: now + left, checkpoint: self.next_checkpoint(now, left), ..time });
        }
        Ok(time.ttl_ms)
    }

    /// The term in which this member leads, if the log holds or will hold a note of the lease's remaining time.
    pub fn noted(&self, id: LeaseId) -> Option<u64> {
        let times = self.times();
        times.term.filter(|_| times.by_id.get(&id).is_some_and(|time| time.noted && !time.ended))
    }

    /// The note in the log was taken back.
    pub fn forget_note(&self, id: LeaseId) {
        if let Some(time) = self.times().by_id.get_mut(&id) {
            time.noted = false;
        }
    }

    /// The right to put notes into the log, one after another.
    pub async fn noting(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.noting.lock().await
    }

    /// Waits until remaining times are to be noted.
    pub async fn checkpoint_due(&self) {
        loop {
            let next = self.times().by_checkpoint.first().map(|(at, _)| *at);
            let woken = self.checkpoint_woken.notified();
            match next {
                Some(at) if at <= Instant::now() => return,
                Some(at) => {
                    tokio::select! {
                        () = woken => {}
                        () = tokio::time::sleep_until(at) => {}
                    }
                }
                None => woken.await,
            }
        }
    }

    /// The remaining milliseconds that are to be noted now, at most `LEASE_EXPIRE_BATCH_MAX`, with the term in which this member
    /// leads. From now on these leases count as noted.
    pub fn take_checkpoints(&self) -> Option<(u64, Vec<(LeaseId, i64)>)> {
        let mut times = self.times();
        let term = times.term?;
        let now = Instant::now();
        let due = times.by_checkpoint.iter().take_while(|(at, _)| *at <= now).take(LEASE_EXPIRE_BATCH_MAX);
        let due: Vec<LeaseId> = due.map(|(_, id)| *id).collect();
        let mut noted = Vec::with_capacity(due.len());
        for id in due {
            let Some(time) = times.by_id.get(&id).copied() else { continue };
            let left = time.end.saturating_duration_since(now);
            times.put(id, Time { checkpoint: self.next_checkpoint(now, left), noted: true, ..time });
            noted.push((id, i64::try_from(left.as_millis()).unwrap_or(i64::MAX)));
        }
        Some((term, noted))
    }

    /// A lease and the milliseconds that it still has; `Ok(None)`: there is no such lease.
    pub fn remaining_ms(&self, id: LeaseId) -> Result<Option<(Lease, i64)>, NotLeading> {
        let times = self.times();
        if times.term.is_none() {
            return Err(NotLeading);
        }
        let time = times.by_id.get(&id).filter(|time| !time.ended);
        Ok(time.map(|time| {
            let left = time.end.saturating_duration_since(Instant::now());
            let left = i64::try_from(left.as_millis()).unwrap_or(i64::MAX);
            (Lease { id, ttl_ms: time.ttl_ms }, left)
        }))
    }

    /// Waits until leases have run out and returns them, at most `LEASE_EXPIRE_BATCH_MAX`, with the term in which they did.
    ///
    /// A process that was held up (stopped, swapped out, its machine suspended) finds leases over whose keep-alives it has
    /// not read yet: it reads first.
    pub async fn expired(&self) -> (u64, Vec<LeaseId>) {
        // What the caller did since the last time counts for nothing.
        self.times().pulse = None;
        loop {
            let now = Instant::now();
            let next = {
                let mut times = self.times();
                let held_up = times.pulse.replace(now).is_some_and(|pulse| now - pulse > PULSE + STALL);
                if held_up && !times.by_end.is_empty() {
                    tracing::warn!("this process was held up; leases end after {GRACE:?} at the earliest");
                    times.grace_until = Some(now + GRACE);
                }
                times.grace_until = times.grace_until.filter(|until| *until > now);
                if times.grace_until.is_none() {
                    let due = times.take_due();
                    if let Some(term) = times.term.filter(|_| !due.is_empty()) {
                        return (term, due);
                    }
                }
                let first = times.by_end.first().map(|(end, _)| *end);
                if first.is_none() {
                    times.pulse = None;
                }
                first.max(times.grace_until.filter(|_| first.is_some()))
            };
            let woken = self.woken.notified();
            match next {
                Some(end) => {
                    tokio::select! {
                        () = woken => {}
                        () = tokio::time::sleep_until(end.min(now + PULSE)) => {}
                    }
                }
                None => woken.await,
            }
        }
    }
}

/// This member does not lead, so it knows no lease's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotLeading;

impl Times {
    fn put(&mut self, id: LeaseId, time: Time) {
        self.remove(id);
        self.by_end.insert((time.end, id));
        self.by_checkpoint.extend(time.checkpoint.map(|at| (at, id)));
        self.by_id.insert(id, time);
    }

    fn remove(&mut self, id: LeaseId) {
        if let Some(old) = self.by_id.remove(&id) {
            self.by_end.remove(&(old.end, id));
            if let Some(at) = old.checkpoint {
                self.by_checkpoint.remove(&(at, id));
            }
        }
    }

    /// The leases whose time is over. They stay known, as ended, and come up again should they not go away.
    fn take_due(&mut self) -> Vec<LeaseId> {
        let now = Instant::now();
        let due: Vec<LeaseId> = self
            .by_end
            .iter()
            .take_while(|(end, _)| *end <= now)
            .take(LEASE_EXPIRE_BATCH_MAX)
            .map(|(_, id)| *id)
            .collect();
        for id in &due {
            if let Some(time) = self.by_id.get(id).copied() {
                let end = now + EXPIRE_AGAIN;
                self.put(*id, Time { end, ended: true, checkpoint: None, ..time });
            }
        }
        due
    }
}

fn duration(ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0)).min(FAR)
}
