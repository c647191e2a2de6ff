//! The past for people: what was there at a moment, what changed between two moments, which changes a key saw.
//!
//! A moment is a revision or a time. Stamps never go back along the history, so a time is looked up by halving it.

use std::ops::{Bound, ControlFlow};

use bytes::Bytes;

use super::layout::{self, At, Head};
use super::state::Marks;
use super::tables::{Table, Tables, TablesError, try_scan};
use super::types::{Event, EventKind, KeyValue, Space};
use crate::base::UnixMillis;
use crate::base::limits::PAST_KEYS_SEEN_MAX;

/// Keys that are read from the tables before their histories are looked at.
const KEYS_AT_ONCE: usize = 1_000;

/// A point in the history of a space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Moment {
    #[default]
    Now,
    Revision(i64),
    /// What was newest at this time.
    Time(UnixMillis),
}

/// A revision, and when it was made; `None` for the empty store's first one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    pub revision: i64,
    pub at: Option<UnixMillis>,
}

/// What to read of the past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PastOf {
    /// The keys as they were at a moment.
    State(Moment),
    /// The keys that were not the same at two moments, the earlier one first.
    Difference(Moment, Moment),
    /// The changes of the one key before this revision (0: all), the newest first.
    Changes { before: i64 },
}

/// A request for a part of the past.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastRequest {
    pub space: Space,
    /// Key or range, as in a range request.
    pub key: Bytes,
    pub range_end: Bytes,
    pub of: PastOf,
    /// Stop when this many items are found (a revision of [`PastOf::Changes`] is not split).
    pub items_max: usize,
    /// Stop when so many bytes of keys and values are found; one item may be larger.
    pub bytes_max: usize,
}

/// One key of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastItem {
    /// The newest change of the key up to the (later) moment.
    pub change: Event,
    /// What the key was at the earlier of two moments; `None`: it did not exist, or one moment was asked for.
    pub before: Option<KeyValue>,
}

/// A part of the past.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Past {
    /// The earlier moment of two; else as `to`.
    pub from: Place,
    /// The moment that was asked for.
    pub to: Place,
    /// The first revision that can still be read.
    pub oldest: Place,
    /// In the order of keys, or of time.
    pub items: Vec<PastItem>,
    /// Ask again for this to go on. The moments must then be asked for by their revisions.
    pub next: Option<Next>,
}

/// Where an answer was cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Take this as the request's key.
    Key(Bytes),
    /// Take this as `before`.
    Before(i64),
}

/// Why the past cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PastRefusal {
    /// What was asked for is compacted; history begins at `oldest`.
    Gone { oldest: Place },
    /// There is no such revision yet.
    Future { newest: Place },
    /// Of two moments the first one is the later.
    Backwards { from: Place, to: Place },
}

/// Why reading stopped early.
enum Halt {
    Refused(PastRefusal),
    Failed(TablesError),
}

impl From<TablesError> for Halt {
    fn from(error: TablesError) -> Self {
        Self::Failed(error)
    }
}

/// Reads a part of the past on one moment of the tables.
pub fn past(tables: &dyn Tables, request: &PastRequest) -> Result<Result<Past, PastRefusal>, TablesError> {
    match (Reader { tables, request, marks: Marks::load(tables)? }).read() {
        Ok(past) => Ok(Ok(past)),
        Err(Halt::Refused(refusal)) => Ok(Err(refusal)),
        Err(Halt::Failed(error)) => Err(error),
    }
}

struct Reader<'a> {
    tables: &'a dyn Tables,
    request: &'a PastRequest,
    marks: Marks,
}

/// A change, and where its key's change before it stands.
struct Step {
    at: At,
    event: Event,
    prev: Option<At>,
}

impl Reader<'_> {
    fn read(&self) -> Result<Past, Halt> {
        let oldest = self.placed(self.oldest())?;
        match self.request.of {
            PastOf::State(at) => {
                let to = self.place(at)?;
                self.keys(Past { from: to, to, oldest, ..Past::default() }, None)
            }
            PastOf::Difference(from, to) => {
                let (from, to) = (self.place(from)?, self.place(to)?);
                if from.revision > to.revision {
                    return Err(Halt::Refused(PastRefusal::Backwards { from, to }));
                }
                self.keys(Past { from, to, oldest, ..Past::default() }, Some(from.revision))
            }
            PastOf::Changes { before } => {
                let to = self.placed(self.newest())?;
                self.changes(Past { from: to, to, oldest, ..Past::default() }, before)
            }
        }
    }

    fn newest(&self) -> i64 {
        self.marks.revision(self.request.space)
    }

    /// The first revision that can be read: a compacted store's mark, or the empty store.
    fn oldest(&self) -> i64 {
        self.marks.compacted(self.request.space).max(1)
    }

    fn place(&self, moment: Moment) -> Result<Place, Halt> {
        let (oldest, newest) = (self.oldest(), self.newest());
        let revision = match moment {
            Moment::Now => newest,
            Moment::Revision(revision) if revision > newest => {
                return Err(Halt::Refused(PastRefusal::Future { newest: self.placed(newest)? }));
            }
            Moment::Revision(revision) if revision < oldest => return Err(self.gone()?),
            Moment::Revision(revision) => revision,
            Moment::Time(time) => match self.revision_at(time)? {
                Some(revision) => revision,
                None => return Err(self.gone()?),
            },
        };
        Ok(self.placed(revision)?)
    }

    fn gone(&self) -> Result<Halt, TablesError> {
        Ok(Halt::Refused(PastRefusal::Gone { oldest: self.placed(self.oldest())? }))
    }

    fn placed(&self, revision: i64) -> Result<Place, TablesError> {
        Ok(Place { revision, at: self.stamp(revision)? })
    }

    /// The newest revision that was made at `time` or before it; `None`: it may be compacted.
    fn revision_at(&self, time: UnixMillis) -> Result<Option<i64>, TablesError> {
        let made_by_then =
            |revision| -> Result<bool, TablesError> { Ok(self.stamp(revision)?.is_none_or(|stamp| stamp <= time)) };
        let (mut made, mut newest) = (self.oldest(), self.newest());
        if !made_by_then(made)? {
            return Ok(None);
        }
        while made < newest {
            let middle = newest - (newest - made) / 2;
            if made_by_then(middle)? {
                made = middle;
            } else {
                newest = middle - 1;
            }
        }
        Ok(Some(made))
    }

    /// When the newest change up to `revision` was made, of those that history still has.
    fn stamp(&self, revision: i64) -> Result<Option<UnixMillis>, TablesError> {
        let from = layout::change_key(self.request.space, At { main: self.oldest(), sub: 0 });
        let to = layout::change_key(self.request.space, At { main: revision, sub: u32::MAX });
        let mut found = Ok(None);
        let visit = &mut |_: &[u8], record: &[u8]| {
            found = layout::decode_change(record).map(|change| Some(change.stamp));
            ControlFlow::Break(())
        };
        self.tables.scan(Table::Revisions, Bound::Included(&from), Bound::Included(&to), true, visit)?;
        found
    }

    /// The keys of the range at `past.to`; with `since`, those that were not the same then.
    fn keys(&self, mut past: Past, since: Option<i64>) -> Result<Past, Halt> {
        let mut start = self.request.key.clone();
        let (mut seen, mut bytes) = (0, 0);
        loop {
            let heads = self.heads(&start)?;
            let more = heads.len() == KEYS_AT_ONCE;
            for (key, head) in heads {
                let full = past.items.len() >= self.request.items_max || bytes >= self.request.bytes_max;
                if full && !past.items.is_empty() || seen >= PAST_KEYS_SEEN_MAX {
                    past.next = Some(Next::Key(key));
                    return Ok(past);
                }
                seen += 1;
                if let Some(item) = self.item(head, past.to.revision, since)? {
                    bytes += size(&item);
                    past.items.push(item);
                }
                start = key;
            }
            if !more {
                return Ok(past);
            }
            start = [&start[..], b"\0"].concat().into();
        }
    }

    /// What the tables know of the next keys of the range, from `start` on.
    fn heads(&self, start: &Bytes) -> Result<Vec<(Bytes, Head)>, TablesError> {
        let mut heads = Vec::new();
        let Some((from, to)) = layout::key_bounds(self.request.space, start, &self.request.range_end) else {
            return Ok(heads);
        };
        let (from, to) = (layout::as_slice(&from), layout::as_slice(&to));
        try_scan(self.tables, Table::Keys, from, to, |key, head| {
            heads.push((Bytes::copy_from_slice(&key[1..]), layout::decode(head, "a record of table keys")?));
            Ok(if heads.len() < KEYS_AT_ONCE { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
        Ok(heads)
    }

    fn item(&self, head: Head, to: i64, since: Option<i64>) -> Result<Option<PastItem>, TablesError> {
        let untouched = since.is_some_and(|since| head.at.main <= since);
        if untouched || !head.live() && head.at.main <= to && since.is_none() {
            return Ok(None);
        }
        let Some(step) = self.back_to(Some(head.at), to)? else {
            return Ok(None);
        };
        let Some(since) = since else {
            return Ok(live(&step.event).then_some(PastItem { change: step.event, before: None }));
        };
        if step.at.main <= since {
            return Ok(None);
        }
        let before = self.back_to(step.prev, since)?;
        let before = before.map(|step| step.event).filter(live).map(|event| event.kv);
        let same = match &before {
            Some(before) => {
                let now = &step.event.kv;
                live(&step.event) && now.value == before.value && now.lease == before.lease
            }
            None => !live(&step.event),
        };
        Ok((!same).then_some(PastItem { change: step.event, before }))
    }

    /// Follows a key's changes from `next` back to what held at `revision`.
    fn back_to(&self, mut next: Option<At>, revision: i64) -> Result<Option<Step>, TablesError> {
        while let Some(step) = self.step(next)? {
            if step.at.main <= revision {
                return Ok(Some(step));
            }
            next = step.prev;
        }
        Ok(None)
    }

    fn step(&self, at: Option<At>) -> Result<Option<Step>, TablesError> {
        let Some(at) = at else { return Ok(None) };
        let Some(record) = layout::change_record(self.tables, self.request.space, at)? else {
            return Ok(None);
        };
        let change = layout::decode_change(&record)?;
        Ok(Some(Step { at, event: change.event(self.request.space, at, &record), prev: change.prev }))
    }

    /// The changes of the request's key. Of those before the oldest revision only the one that held then is told: the
    /// others may be there still or not.
    fn changes(&self, mut past: Past, before: i64) -> Result<Past, Halt> {
        let head = layout::head(self.tables, self.request.space, &self.request.key)?;
        let (mut next, mut bytes, mut last) = (head.map(|head| head.at), 0, i64::MAX);
        while let Some(step) = self.step(next)? {
            next = step.prev;
            let main = step.at.main;
            let compacted = main < past.oldest.revision;
            if compacted && !live(&step.event) {
                break;
            }
            if before > 0 && main >= before {
                if compacted {
                    break;
                }
                continue;
            }
            let full = past.items.len() >= self.request.items_max || bytes >= self.request.bytes_max;
            if full && main < last && !past.items.is_empty() {
                past.next = Some(Next::Before(last));
                break;
            }
            last = main;
            let item = PastItem { change: step.event, before: None };
            bytes += size(&item);
            past.items.push(item);
            if compacted {
                break;
            }
        }
        Ok(past)
    }
}

fn live(event: &Event) -> bool {
    event.kind == EventKind::Put
}

fn size(item: &PastItem) -> usize {
    let kv = |kv: &KeyValue| kv.key.len() + kv.value.len();
    kv(&item.change.kv) + item.before.as_ref().map_or(0, kv)
}
