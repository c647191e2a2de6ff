//! Another store's history taken over, change by change: revisions, versions, leases and times as they were there.
//!
//! Used on fresh tables, before the first command. What is loaded must be consistent in itself; what is not is refused, as
//! nobody could say afterwards which part of it was wrong.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::layout::{self, At, Head, LeaseRecord};
use super::lease;
use super::state::{LogPosition, State, slot};
use super::tables::{Tables, TablesError, TablesMut};
use super::types::{KeyValue, Lease, Space, V2Action, V2Note};
use super::v2::directories;
use super::writer::{Before, Origin, Writer};
use crate::base::limits::LEASE_TTL_SECONDS_MAX;
use crate::base::{LeaseId, UnixMillis};

/// One change of one key in the user space.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PastChange {
    pub revision: i64,
    /// Its place among the changes of its revision.
    pub sub: u32,
    pub key: Bytes,
    pub value: Bytes,
    pub create_revision: i64,
    /// 0: the key was deleted.
    pub version: i64,
    pub lease: LeaseId,
    pub v2: PastIndex,
}

/// What v2 index a change has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PastIndex {
    /// The next one.
    #[default]
    Next,
    /// It was a change of a v2 store, with these.
    Own { created: u64, modified: u64 },
    /// It shares this one with others, and v2's watchers do not see it: beside changes of a v2 store, which have theirs.
    Shared(u64),
}

/// Why something cannot be loaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    #[error("its data contradicts itself: {0}")]
    Inconsistent(String),
    #[error(transparent)]
    Tables(#[from] TablesError),
}

/// How much was loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    pub changes: u64,
    pub deletions: u64,
    pub leases: u64,
    /// Keys that name leases which there are not.
    pub without_lease: u64,
    /// Leases whose numbers are taken here for other purposes, and the numbers that they got.
    pub renumbered: BTreeMap<LeaseId, LeaseId>,
}

/// Loads a history. Leases come first, then changes in the order of their revisions, then the end.
pub struct Loader {
    state: State,
    /// Revisions below it cannot be read; 0: none were let go.
    compacted: i64,
    last: Option<At>,
    loaded: Loaded,
}

impl Loader {
    /// Begins to load into `tables`, which are fresh. `members`: how many the cluster begins with, for where v2's index
    /// stands then. `compacted`: revisions below it are not to be read.
    ///
    /// # Errors
    /// Those of the tables.
    pub fn new(tables: &dyn Tables, members: usize, compacted: i64) -> Result<Self, TablesError> {
        let mut state = State::load(tables)?;
        state.marks.v2_index = 2 * members as u64 + 1;
        Ok(Self { state, compacted: compacted.max(0), last: None, loaded: Loaded::default() })
    }

    /// The newest v2 index so far.
    pub fn v2_index(&self) -> u64 {
        self.state.marks.v2_index
    }

    /// Moves v2's index on to `index`, if it is not there yet.
    pub fn reach_v2_index(&mut self, index: u64) {
        self.state.marks.v2_index = self.state.marks.v2_index.max(index);
    }

    /// Grants a lease of the v3 API.
    ///
    /// # Errors
    /// A lease that cannot be, or is there already.
    pub fn lease(&mut self, tables: &mut dyn TablesMut, id: LeaseId, ttl_seconds: i64) -> Result<(), LoadError> {
        if id.0 <= 0 || !(0..=LEASE_TTL_SECONDS_MAX).contains(&ttl_seconds) {
            return Err(inconsistent(format!("lease {id} has {ttl_seconds} seconds to live")));
        }
        let own = self.free(id);
        if own != id {
            self.loaded.renumbered.insert(id, own);
        }
        let lease = Lease { id: own, ttl_ms: ttl_seconds * 1000 };
        self.add(tables, LeaseRecord { lease, ..LeaseRecord::default() })
    }

    /// Makes the lease of a v2 node that ends at `ends`. `index` is the node's `modifiedIndex`.
    ///
    /// # Errors
    /// Those of the tables.
    pub fn v2_lease(
        &mut self,
        tables: &mut dyn TablesMut,
        index: u64,
        ttl_seconds: i64,
        ends: UnixMillis,
    ) -> Result<LeaseId, LoadError> {
        let mut id = lease::v2_lease(index);
        // A directory and a file in it may share an index.
        while self.state.leases.contains_key(&id) {
            id = lease::v2_lease(id.0 as u64 ^ (1 << 47)).max(LeaseId(id.0 + 1));
        }
        let ttl_ms = ttl_seconds.clamp(0, LEASE_TTL_SECONDS_MAX) * 1000;
        let record = LeaseRecord { lease: Lease { id, ttl_ms }, ends: Some(ends), left_ms: None };
        self.add(tables, record)?;
        Ok(id)
    }

    fn add(&mut self, tables: &mut dyn TablesMut, record: LeaseRecord) -> Result<(), LoadError> {
        if self.state.leases.contains_key(&record.lease.id) {
            return Err(inconsistent(format!("lease {} is there twice", record.lease.id)));
        }
        lease::add(&mut self.state, tables, record)?;
        self.loaded.leases += 1;
        Ok(())
    }

    /// The number under which a lease is known here.
    fn free(&self, id: LeaseId) -> LeaseId {
        let mut free = id;
        while lease::is_v2_lease(free) || lease::is_system_lease(free) || (free != id && self.taken(free)) {
            free = LeaseId((free.0 ^ (1 << 62)).wrapping_add(i64::from(free != id)) & i64::MAX);
        }
        free
    }

    fn taken(&self, id: LeaseId) -> bool {
        self.state.leases.contains_key(&id)
    }

    /// Takes over a change.
    ///
    /// # Errors
    /// A change that cannot have come after those before it.
    pub fn change(&mut self, tables: &mut dyn TablesMut, change: PastChange) -> Result<(), LoadError> {
        let at = At { main: change.revision, sub: change.sub };
        if change.revision < 1 || self.last.is_some_and(|last| last >= at) {
            return Err(inconsistent(format!("revision {} is not behind the one before it", change.revision)));
        }
        if change.key.is_empty() {
            return Err(inconsistent(format!("revision {} changes a key without a name", change.revision)));
        }
        self.last = Some(at);
        self.take(tables, at, change)
    }

    /// Takes over what a key is, without what it was before. Keys come once each, in any order, each at a place of its own.
    ///
    /// # Errors
    /// Numbers that contradict each other, or are later than the compaction mark.
    pub fn present(&mut self, tables: &mut dyn TablesMut, change: PastChange) -> Result<(), LoadError> {
        let at = At { main: change.revision, sub: change.sub };
        if change.revision > self.compacted {
            let why = format!("revision {} is later than {}, the newest", change.revision, self.compacted);
            return Err(inconsistent(why));
        }
        self.last = self.last.max(Some(at));
        self.take(tables, at, change)
    }

    /// What a key is by now.
    ///
    /// # Errors
    /// Those of the tables.
    pub fn value(&self, tables: &dyn Tables, key: &[u8]) -> Result<Option<KeyValue>, TablesError> {
        match layout::head(tables, Space::User, key)? {
            Some(head) if head.live() => layout::value_at(tables, Space::User, head.at),
            _ => Ok(None),
        }
    }

    /// Notes when a directory of the v2 view was made; without one of that name it does nothing.
    ///
    /// # Errors
    /// Those of the tables.
    pub fn v2_directory(&self, tables: &mut dyn TablesMut, path: &str, created: u64) -> Result<(), TablesError> {
        directories::date(tables, path, created)
    }

    fn take(&mut self, tables: &mut dyn TablesMut, at: At, mut change: PastChange) -> Result<(), LoadError> {
        let old = layout::head(tables, Space::User, &change.key)?;
        self.check(&change, old)?;
        change.lease = self.loaded.renumbered.get(&change.lease).copied().unwrap_or(change.lease);
        let live = old.filter(Head::live);
        if change.version == 0 && live.is_none() && at.main < self.compacted {
            return Ok(());
        }
        self.write(tables, at, change, old, live)
    }

    fn write(
        &mut self,
        tables: &mut dyn TablesMut,
        at: At,
        change: PastChange,
        old: Option<Head>,
        live: Option<Head>,
    ) -> Result<(), LoadError> {
        let put = change.version > 0;
        let known = change.lease == LeaseId::NONE || self.state.leases.contains_key(&change.lease);
        self.loaded.without_lease += u64::from(put && !known);
        *(if put { &mut self.loaded.changes } else { &mut self.loaded.deletions }) += 1;
        let mut writer = Writer::new(&mut self.state, tables, UnixMillis(0));
        let action = if put { V2Action::Set } else { V2Action::Delete };
        let lease_after = put.then_some(change.lease);
        let note = match change.v2 {
            PastIndex::Next => writer.note(Space::User, &change.key, Origin::V3(action), live, lease_after)?,
            PastIndex::Own { created, modified } => Some(v2_note(&change, created, modified)),
            PastIndex::Shared(_) => None,
        };
        let (created, index) = match change.v2 {
            PastIndex::Own { created, modified } => (created, modified),
            PastIndex::Shared(index) => (index, index),
            PastIndex::Next => note.as_ref().map(|note| (note.index, note.index)).unwrap_or_default(),
        };
        let kv = KeyValue {
            create_revision: if put { change.create_revision } else { 0 },
            mod_revision: at.main,
            version: change.version,
            lease: if put { change.lease } else { LeaseId::NONE },
            v2_created: if put { created } else { 0 },
            v2_modified: index,
            value: change.value,
            key: change.key,
        };
        let key = kv.key.clone();
        let (before, after) = (live.map_or(LeaseId::NONE, |head| head.lease), kv.lease);
        let before_it = Before { at: old.map(|head| head.at), bytes: old.map_or(0, |head| head.bytes), prev: None };
        writer.record(Space::User, at, before_it, kv, note)?;
        if before != after {
            lease::detach(&mut self.state, tables, before, Space::User, &key)?;
            if known {
                lease::attach(tables, after, Space::User, &key)?;
            }
        }
        match (live.is_some(), put) {
            (false, true) => directories::added(tables, &key, created)?,
            (true, false) => directories::removed(tables, &key)?,
            _ => {}
        }
        Ok(())
    }

    /// Whether the change follows from what its key was before. Below the compaction mark changes may be missing.
    fn check(&self, change: &PastChange, old: Option<Head>) -> Result<(), LoadError> {
        let PastChange { revision, create_revision: create, version, .. } = *change;
        let wrong = |why: String| {
            let key = change.key.escape_ascii();
            Err(inconsistent(format!("key \"{key}\" at revision {revision}: {why}")))
        };
        let readable = revision > self.compacted;
        let live = old.filter(Head::live);
        if version < 0 || (version > 0 && (create < 1 || create > revision || (version == 1) != (create == revision))) {
            return wrong(format!("version {version}, created at {create}"));
        }
        match (live, version) {
            (None, 0) if readable => wrong("it is deleted and was not there".to_owned()),
            (_, 0) => Ok(()),
            (None, 1) => Ok(()),
            (None, _) if readable => wrong(format!("it has version {version}, and what it was before is missing")),
            (None, _) => Ok(()),
            (Some(head), _) if create == head.create && version == head.version + 1 => Ok(()),
            (Some(head), _) if readable => wrong(format!(
                "version {version}, created at {create}, follows version {}, created at {}",
                head.version, head.create
            )),
            (Some(head), _) if create == head.create && version <= head.version => {
                wrong(format!("version {version} follows version {}", head.version))
            }
            (Some(head), _) if create < head.create => wrong("it was created before what it replaces".to_owned()),
            _ => Ok(()),
        }
    }

    /// Ends the loading at `revision`, or at that of the last change or the compaction mark if they are later.
    ///
    /// # Errors
    /// Those of the tables.
    pub fn finish(mut self, tables: &mut dyn TablesMut, revision: i64) -> Result<Loaded, TablesError> {
        let last = self.last.map_or(1, |at| at.main);
        let user = slot(Space::User);
        self.state.marks.revision[user] = last.max(revision).max(self.compacted);
        self.state.marks.compacted[user] = self.compacted;
        self.state.marks.bootstrapped = true;
        self.state.marks.log = LogPosition::default();
        self.state.marks.save(tables)?;
        Ok(self.loaded)
    }
}

fn v2_note(change: &PastChange, created: u64, modified: u64) -> V2Note {
    let dir = change.key.ends_with(b"/");
    V2Note {
        action: V2Action::Set,
        index: modified,
        path: if dir { change.key.slice(..change.key.len() - 1) } else { change.key.clone() },
        dir,
        silent: false,
        created: if dir { created } else { 0 },
        expiration: None,
        prev_expiration: None,
    }
}

fn inconsistent(why: String) -> LoadError {
    LoadError::Inconsistent(why)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;
    use crate::kv::mem::MemTables;
    use crate::kv::tables::Table;
    use crate::kv::{
        Command, HistoryRequest, Op, PutRequest, RangeRequest, apply, bootstrap, compact_step, history, range,
    };

    fn change(revision: i64, key: &'static str, create: i64, version: i64) -> PastChange {
        let (key, value) = (Bytes::from(key), Bytes::from(format!("{key}@{revision}")));
        PastChange { revision, key, value, create_revision: create, version, ..PastChange::default() }
    }

    fn load(compacted: i64, changes: &[PastChange]) -> Result<MemTables, LoadError> {
        let mut tables = MemTables::default();
        let mut loader = Loader::new(&tables, 1, compacted)?;
        loader.lease(&mut tables, LeaseId(7), 60)?;
        changes.iter().try_for_each(|change| loader.change(&mut tables, change.clone()))?;
        loader.finish(&mut tables, 0)?;
        Ok(tables)
    }

    /// The changes of a store, as another store would tell them.
    fn told(tables: &MemTables, from: i64) -> Vec<PastChange> {
        let request = HistoryRequest {
            space: Space::User,
            key: "\0".into(),
            range_end: "\0".into(),
            from_revision: from,
            events_max: usize::MAX,
            bytes_max: usize::MAX,
            changes_max: usize::MAX,
        };
        let mut sub = BTreeMap::new();
        let events = history(tables, &request).unwrap().unwrap().events;
        let told = events.into_iter().map(|event| {
            let next: &mut u32 = sub.entry(event.kv.mod_revision).or_default();
            *next += 1;
            PastChange {
                revision: event.kv.mod_revision,
                sub: *next - 1,
                key: event.kv.key,
                value: event.kv.value,
                create_revision: event.kv.create_revision,
                version: event.kv.version,
                lease: event.kv.lease,
                v2: PastIndex::Next,
            }
        });
        told.collect()
    }

    fn without_log(tables: &MemTables) -> MemTables {
        let mut tables = tables.clone();
        let mut state = State::load(&tables).unwrap();
        state.marks.log = LogPosition::default();
        state.marks.save(&mut tables).unwrap();
        tables
    }

    #[derive(Clone, Debug)]
    enum Step {
        Put(u8, bool),
        Delete(u8),
        DeleteAll,
    }

    fn run(steps: &[Step]) -> MemTables {
        let mut tables = MemTables::default();
        let mut state = State::load(&tables).unwrap();
        bootstrap(&mut state, &mut tables, 1).unwrap();
        let key = |n: u8| Bytes::from(["/a", "/a/b", "/a/b/c", "/d/", "e", "/a/f"][usize::from(n) % 6]);
        let grant = Op::LeaseGrant { id: LeaseId(7), ttl_ms: 60_000 };
        let ops = steps.iter().map(|step| match step {
            Step::Put(n, leased) => Op::Put(PutRequest {
                key: key(*n),
                value: vec![*n].into(),
                lease: if *leased { LeaseId(7) } else { LeaseId::NONE },
                ..PutRequest::default()
            }),
            Step::Delete(n) => Op::DeleteRange(crate::kv::DeleteRangeRequest { key: key(*n), ..Default::default() }),
            Step::DeleteAll => Op::DeleteRange(crate::kv::DeleteRangeRequest {
                key: "\0".into(),
                range_end: "\0".into(),
                ..Default::default()
            }),
        });
        for op in std::iter::once(grant).chain(ops) {
            let command = Command { stamp: UnixMillis(0), op };
            let at = LogPosition { index: state.applied().index + 1, term: 1 };
            apply(&mut state, &mut tables, &command, at).unwrap().0.result.unwrap();
        }
        tables
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        /// What was applied and what is loaded from its history are the same, byte for byte.
        #[test]
        fn a_loaded_history_is_what_made_it(steps in proptest::collection::vec(
            prop_oneof![
                6 => (any::<u8>(), any::<bool>()).prop_map(|(n, leased)| Step::Put(n, leased)),
                3 => any::<u8>().prop_map(Step::Delete),
                1 => Just(Step::DeleteAll),
            ],
            0..40,
        )) {
            let made = run(&steps);
            let loaded = load(0, &told(&made, 1)).unwrap();
            let (made, loaded) = (without_log(&made), without_log(&loaded));
            for table in Table::ALL {
                let entries = |tables: &MemTables| {
                    let mut found = Vec::new();
                    tables.scan(table, std::ops::Bound::Unbounded, std::ops::Bound::Unbounded, false, &mut |key, value| {
                        // A foreign history does not say when its revisions were taken.
                        if !crate::kv::timeline::is_sample(table, key) {
                            found.push((key.to_vec(), value.to_vec()));
                        }
                        std::ops::ControlFlow::Continue(())
                    }).unwrap();
                    found
                };
                prop_assert_eq!(entries(&loaded), entries(&made), "{}", table.name());
            }
        }
    }

    #[test]
    fn a_compacted_history_keeps_its_versions_and_its_mark() {
        let changes = [change(4, "a", 2, 3), change(6, "b", 6, 1), change(7, "a", 2, 4)];
        let mut tables = load(6, &changes).unwrap();
        let read = |tables: &MemTables, revision: i64| {
            let request = RangeRequest { key: "a".into(), revision, ..RangeRequest::default() };
            range(tables, &request).unwrap().map(|(_, reply)| (reply.kvs[0].version, reply.kvs[0].value.clone()))
        };
        while compact_step(&mut tables, Space::User, 1).unwrap().more {}
        assert_eq!(read(&tables, 0), Ok((4, "a@7".into())));
        assert_eq!(read(&tables, 6), Ok((3, "a@4".into())));
        assert_eq!(read(&tables, 5), Err(crate::kv::KvError::Compacted { revision: 6 }));
        let state = State::load(&tables).unwrap();
        assert_eq!((state.revision(Space::User), state.compacted(Space::User)), (7, 6));
        // The newest change may be one that compaction has let go.
        assert_eq!(State::load(&load(9, &changes).unwrap()).unwrap().revision(Space::User), 9);
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let cases: [(&str, &[PastChange]); 9] = [
            ("not behind", &[change(3, "a", 3, 1), change(3, "b", 3, 1)]),
            ("not behind", &[change(0, "a", 0, 1)]),
            ("without a name", &[change(3, "", 3, 1)]),
            ("before is missing", &[change(9, "a", 3, 2)]),
            ("was not there", &[change(9, "a", 0, 0)]),
            ("follows version 1", &[change(8, "a", 8, 1), change(9, "a", 8, 3)]),
            ("follows version 1", &[change(8, "a", 8, 1), change(9, "a", 9, 1)]),
            ("created at 9", &[change(8, "a", 9, 1)]),
            ("version 2 follows version 2", &[change(3, "a", 2, 2), change(4, "a", 2, 2)]),
        ];
        for (expected, changes) in cases {
            let why = load(5, changes).unwrap_err().to_string();
            assert!(why.contains(expected), "{expected}: {why}");
        }
    }

    #[test]
    fn leases_keep_their_numbers_where_they_can() {
        let mut tables = MemTables::default();
        let mut loader = Loader::new(&tables, 1, 0).unwrap();
        let (taken, plain) = (LeaseId(0x7632_0000_0000_0001), LeaseId(0x1234));
        loader.lease(&mut tables, plain, 10).unwrap();
        loader.lease(&mut tables, taken, 20).unwrap();
        assert!(loader.lease(&mut tables, plain, 10).is_err() && loader.lease(&mut tables, LeaseId(-1), 10).is_err());
        for (revision, key, lease) in [(2, "a", plain), (3, "b", taken), (4, "c", LeaseId(99))] {
            loader.change(&mut tables, PastChange { lease, ..change(revision, key, revision, 1) }).unwrap();
        }
        let loaded = loader.finish(&mut tables, 0).unwrap();
        let own = loaded.renumbered[&taken];
        assert!(own != taken && !lease::is_v2_lease(own) && !lease::is_system_lease(own) && own.0 > 0);
        assert_eq!((loaded.leases, loaded.without_lease), (2, 1));
        let keys = |id| lease::keys(&tables, id).unwrap().into_iter().map(|(_, key)| key).collect::<Vec<_>>();
        assert_eq!((keys(plain), keys(own), keys(LeaseId(99))), (vec!["a".into()], vec!["b".into()], vec![]));
    }

    #[test]
    fn v2_nodes_keep_their_indexes_and_ends() {
        let mut tables = MemTables::default();
        let mut loader = Loader::new(&tables, 1, 0).unwrap();
        let ends = UnixMillis(90_000);
        let one = loader.v2_lease(&mut tables, 12, 30, ends).unwrap();
        let other = loader.v2_lease(&mut tables, 12, 30, ends).unwrap();
        assert!(one != other && lease::is_v2_lease(one) && lease::is_v2_lease(other));
        let v2 = |created, modified| PastIndex::Own { created, modified };
        let file = PastChange { v2: v2(9, 12), lease: one, ..change(2, "/dir/file", 2, 1) };
        let marker = PastChange { v2: v2(5, 5), lease: other, value: "".into(), ..change(3, "/dir/", 3, 1) };
        loader.change(&mut tables, file).unwrap();
        loader.change(&mut tables, marker).unwrap();
        loader.reach_v2_index(40);
        loader.finish(&mut tables, 0).unwrap();
        let request =
            crate::kv::v2::GetRequest { path: "/dir".into(), recursive: true, sorted: true, now: UnixMillis(60_000) };
        let (position, answer) = crate::kv::v2::get(&tables, &request).unwrap();
        let dir = answer.unwrap().node;
        assert_eq!(position.v2_index, 40);
        assert_eq!(dir.expiration, Some((ends, 30)));
        assert_eq!((dir.nodes[0].created_index, dir.nodes[0].modified_index), (9, 12));
        assert_eq!(dir.nodes[0].expiration, Some((ends, 30)));
    }
}
