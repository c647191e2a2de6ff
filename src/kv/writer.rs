//! Changes of single keys: the only place that writes revisions. Takes revisions and v2 indexes, keeps leases and directories in step.

use std::sync::Arc;

use bytes::Bytes;

use super::layout::{self, At, Change, Head, StoredNote};
use super::lease;
use super::state::{LogPosition, State, slot};
use super::tables::{Table, TablesError, TablesMut};
use super::timeline::{self, change_bytes};
use super::types::{Event, EventKind, KeyValue, Made, Space, V2Action, V2Note};
use super::v2::directories::{self, Shown};
use crate::base::{LeaseId, UnixMillis};

/// Who asked for a change, as v2 reports it.
#[derive(Clone, Copy)]
pub(super) enum Origin<'a> {
    /// Not a v2 request: the change takes an index of its own and is reported under this verb.
    V3(V2Action),
    /// A v2 request, whose index is taken already and which all its changes share.
    V2(&'a V2Note),
}

/// A put, after all checks.
pub(super) struct NewValue {
    pub space: Space,
    pub key: Bytes,
    pub value: Bytes,
    pub lease: LeaseId,
    /// Keep v2's `createdIndex` of the present value (update, compare-and-swap).
    pub keep_created: bool,
}

/// What a change finds.
pub(super) struct Before {
    /// Where the change before stands, if the chain of changes goes on to it.
    pub at: Option<At>,
    /// [`Head::bytes`] of then.
    pub bytes: u64,
    /// Key and value, if somebody wants to know.
    pub prev: Option<KeyValue>,
}

/// Collects the changes of one command.
pub(super) struct Writer<'a> {
    pub state: &'a mut State,
    pub tables: &'a mut dyn TablesMut,
    /// The command's time.
    pub stamp: UnixMillis,
    /// The request wants to know what was there.
    pub prev_wanted: bool,
    /// The user who asked for the command, if that is known.
    pub author: Option<Arc<str>>,
    /// Sub revision of the next change in each space; 0: the revision is not taken yet.
    subs: [u32; 2],
    /// Revisions before the command.
    began: [i64; 2],
    pub events: Vec<Event>,
}

impl<'a> Writer<'a> {
    pub(super) fn new(state: &'a mut State, tables: &'a mut dyn TablesMut, stamp: UnixMillis) -> Self {
        let began = state.marks.revision;
        Self { state, tables, stamp, prev_wanted: false, author: None, subs: [0, 0], began, events: Vec::new() }
    }

    /// Writes the counters.
    pub(super) fn finish(self, at: LogPosition) -> Result<Vec<Event>, TablesError> {
        for space in [Space::User, Space::System] {
            if self.state.revision(space) > self.began[slot(space)] {
                timeline::note(self.state, self.tables, space, self.stamp)?;
            }
        }
        self.state.marks.log = at;
        self.state.marks.save(self.tables)?;
        Ok(self.events)
    }

    /// What follows belongs to a new revision.
    pub(super) fn next_revision(&mut self) {
        self.subs = [0, 0];
    }

    /// Takes a v2 index.
    pub(super) fn take_index(&mut self) -> u64 {
        self.state.marks.v2_index += 1;
        self.state.marks.v2_index
    }

    /// What was there, if anybody wants to know.
    fn prev(&self, space: Space, old: Head, origin: Origin<'_>) -> Result<Option<KeyValue>, TablesError> {
        let heard = self.state.heard[slot(space)];
        // A key that leaves its lease is told to the keeper of leases.
        if heard || self.prev_wanted || matches!(origin, Origin::V2(_)) || old.lease != LeaseId::NONE {
            return layout::value_at(self.tables, space, old.at);
        }
        Ok(None)
    }

    /// Puts a key. Returns what was there, if anybody wants to know.
    pub(super) fn put(&mut self, new: NewValue, origin: Origin<'_>) -> Result<Option<KeyValue>, TablesError> {
        let space = new.space;
        let old = layout::head(self.tables, space, &new.key)?;
        let live = old.filter(Head::live);
        let prev = match live {
            Some(head) => self.prev(space, head, origin)?,
            None => None,
        };
        let note = self.note(space, &new.key, origin, live, Some(new.lease))?;
        let index = note.as_ref().map_or(0, |note| note.index);
        let at = self.take_at(space);
        let kv = KeyValue {
            create_revision: live.map_or(at.main, |head| head.create),
            mod_revision: at.main,
            version: live.map_or(1, |head| head.version + 1),
            lease: new.lease,
            v2_created: match live {
                Some(head) if new.keep_created => head.v2_created,
                _ => index,
            },
            v2_modified: index,
            key: new.key,
            value: new.value,
        };
        let old_lease = live.map_or(LeaseId::NONE, |head| head.lease);
        if old_lease != kv.lease {
            lease::detach(self.state, self.tables, old_lease, space, &kv.key)?;
            lease::attach(self.tables, kv.lease, space, &kv.key)?;
        }
        if space == Space::User && live.is_none() {
            directories::added(self.tables, &kv.key, index)?;
        }
        // A deletion below the mark may be gone or not; members must not differ by it.
        let compacted = self.state.marks.compacted(space);
        let before = old.filter(|head| head.live() || head.at.main >= compacted);
        let before =
            Before { at: before.map(|head| head.at), bytes: old.map_or(0, |head| head.bytes), prev: prev.clone() };
        self.record(space, at, before, kv, note)?;
        Ok(prev)
    }

    /// Deletes a key. Returns what was there, if anybody wants to know.
    pub(super) fn delete(
        &mut self,
        space: Space,
        key: &Bytes,
        origin: Origin<'_>,
    ) -> Result<Option<KeyValue>, TablesError> {
        let Some(old) = layout::head(self.tables, space, key)?.filter(Head::live) else {
            return Ok(None);
        };
        let prev = self.prev(space, old, origin)?;
        let note = self.note(space, key, origin, Some(old), None)?;
        let at = self.take_at(space);
        let kv = KeyValue {
            key: key.clone(),
            mod_revision: at.main,
            v2_modified: note.as_ref().map_or(0, |note| note.index),
            ..KeyValue::default()
        };
        lease::detach(self.state, self.tables, old.lease, space, key)?;
        if space == Space::User {
            directories::removed(self.tables, key)?;
        }
        self.record(space, at, Before { at: Some(old.at), bytes: old.bytes, prev: prev.clone() }, kv, note)?;
        Ok(prev)
    }

    /// The v2 expiration of a lease, as seen at the command's time; `None` for leases of the v3 API, whose end is not fixed.
    pub(super) fn expiration(&self, lease: LeaseId) -> Option<(UnixMillis, i64)> {
        let ends = self.state.leases.get(&lease)?.ends?;
        Some((ends, seconds_until(ends, self.stamp)))
    }

    fn take_at(&mut self, space: Space) -> At {
        let slot = slot(space);
        if self.subs[slot] == 0 {
            self.state.marks.revision[slot] += 1;
        }
        let at = At { main: self.state.marks.revision[slot], sub: self.subs[slot] };
        self.subs[slot] += 1;
        at
    }

    /// The v2 note of a change. `lease_after` is `None` for a deletion.
    pub(super) fn note(
        &mut self,
        space: Space,
        key: &Bytes,
        origin: Origin<'_>,
        before: Option<Head>,
        lease_after: Option<LeaseId>,
    ) -> Result<Option<V2Note>, TablesError> {
        if space == Space::System {
            return Ok(None);
        }
        let action = match origin {
            Origin::V2(note) => return Ok(Some(note.clone())),
            Origin::V3(action) => action,
        };
        let index = self.take_index();
        let (path, dir, silent, created) = match directories::shown(key) {
            Shown::Outside => (key.clone(), false, true, 0),
            Shown::File(path) => {
                let shadowed = directories::get(self.tables, path.as_bytes())?.is_some();
                (key.clone(), false, shadowed, 0)
            }
            Shown::Marker(path) => {
                let directory = directories::get(self.tables, path.as_bytes())?;
                let stays = match (&directory, lease_after) {
                    (Some(_), Some(_)) => true,
                    (Some(directory), None) => directory.children > 0,
                    (None, _) => false,
                };
                let created = directory.map_or(index, |directory| directory.created);
                (key.slice(..path.len()), true, stays, created)
            }
        };
        Ok(Some(V2Note {
            action,
            index,
            path,
            dir,
            silent,
            created,
            expiration: lease_after.and_then(|lease| self.expiration(lease)),
            prev_expiration: before.and_then(|head| self.expiration(head.lease)),
        }))
    }

    /// When and by whom the next change is made. Clocks differ and are set back; history is in the order of its stamps all
    /// the same, so that moments can be looked up in it. What v2 reckons with is the command's own time.
    fn made(&mut self) -> Made {
        let stamp = &mut self.state.marks.stamp;
        *stamp = self.stamp.max(*stamp);
        Made { at: *stamp, author: self.author.clone() }
    }

    pub(super) fn record(
        &mut self,
        space: Space,
        at: At,
        before: Before,
        kv: KeyValue,
        note: Option<V2Note>,
    ) -> Result<(), TablesError> {
        let made = self.made();
        let head = Head::of(at, &kv);
        let change = Change {
            key: kv.key.clone(),
            value: kv.value.clone(),
            create: kv.create_revision,
            version: kv.version,
            lease: kv.lease,
            v2_created: kv.v2_created,
            v2_modified: kv.v2_modified,
            prev: before.at,
            note: note.as_ref().map(|note| StoredNote {
                action: note.action,
                path: (note.path != kv.key).then(|| note.path.clone()),
                dir: note.dir,
                silent: note.silent,
                created: note.created,
                expiration: note.expiration,
                prev_expiration: note.prev_expiration,
            }),
            stamp: made.at,
            author: made.author.as_deref().map(|author| Bytes::copy_from_slice(author.as_bytes())),
        };
        let change_key = layout::change_key(space, at);
        let bytes = layout::encode(&change)?;
        self.state.marks.add_to_checksum(&change_key, &bytes);
        self.tables.put(Table::Revisions, &change_key, &bytes)?;
        let size = change_bytes(&kv.key, &kv.value);
        self.state.marks.sums[slot(space)].add(size, head.bytes, before.bytes);
        let head_key = layout::head_key(space, &kv.key);
        self.tables.put(Table::Keys, &head_key, &layout::encode(&head)?)?;
        if let Some(note) = &note {
            let index = note.index.to_be_bytes();
            self.tables.put(Table::V2Index, &index, &at.main.to_be_bytes())?;
        }
        self.events.push(Event {
            space,
            kind: if kv.version > 0 { EventKind::Put } else { EventKind::Delete },
            kv,
            prev: before.prev,
            v2: note,
            made: Some(made),
        });
        Ok(())
    }
}

/// Seconds from `now` until `ends`, rounded up; never negative.
pub(super) fn seconds_until(ends: UnixMillis, now: UnixMillis) -> i64 {
    let ms = ends.0.saturating_sub(now.0).max(0);
    ms / 1000 + i64::from(ms % 1000 > 0)
}
