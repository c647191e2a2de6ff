//! The counters of the store and its leases, in memory; the tables hold the same.

use std::collections::{BTreeMap, VecDeque};
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::alarm::{self, Alarm};
use super::auth::Auth;
use super::command::Position;
use super::layout::{self, LeaseRecord, META_MARKS};
use super::tables::{Table, Tables, TablesError, TablesMut, try_scan};
use super::timeline::{self, Sample, Sums};
use super::types::Space;
use crate::base::{LeaseId, UnixMillis};

/// A place in the Raft log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LogPosition {
    pub index: u64,
    pub term: u64,
}

/// The store's counters, written with every change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Marks {
    /// Newest revision of each space.
    pub revision: [i64; 2],
    /// Compaction mark of each space; 0: never compacted.
    pub compacted: [i64; 2],
    pub v2_index: u64,
    pub log: LogPosition,
    /// Whether [`bootstrap`] has run.
    pub bootstrapped: bool,
    /// CRC-32 over all changes so far, in their order.
    pub checksum: u32,
    /// When the newest change of any space was made; the next one's stamp is not before it.
    pub stamp: UnixMillis,
    /// Sizes of each space.
    pub sums: [Sums; 2],
}

impl Default for Marks {
    fn default() -> Self {
        Self {
            revision: [1, 1],
            compacted: [0, 0],
            v2_index: 0,
            log: LogPosition::default(),
            bootstrapped: false,
            checksum: 0,
            stamp: UnixMillis(i64::MIN),
            sums: Default::default(),
        }
    }
}

impl Marks {
    /// The counters as the tables have them; those of a fresh store if there are none.
    pub(super) fn load<T: Tables + ?Sized>(tables: &T) -> Result<Self, TablesError> {
        match tables.get(Table::Meta, META_MARKS)? {
            Some(bytes) => layout::decode(&bytes, "the record of counters"),
            None => Ok(Self::default()),
        }
    }

    pub(super) fn save<T: TablesMut + ?Sized>(&self, tables: &mut T) -> Result<(), TablesError> {
        tables.put(Table::Meta, META_MARKS, &layout::encode(self)?)
    }

    pub(super) fn revision(&self, space: Space) -> i64 {
        self.revision[slot(space)]
    }

    pub(super) fn compacted(&self, space: Space) -> i64 {
        self.compacted[slot(space)]
    }

    /// A record was written, or (empty) removed. It ends with its own CRC-32, and a CRC-32 over that too is the same for
    /// every record: it is left out.
    pub(super) fn add_to_checksum(&mut self, key: &[u8], record: &[u8]) {
        let mut hasher = crc32fast::Hasher::new_with_initial(self.checksum);
        hasher.update(key);
        hasher.update(record.split_last_chunk::<4>().map_or(record, |(body, _)| body));
        self.checksum = hasher.finalize();
    }

    pub(super) fn position(&self) -> Position {
        Position {
            revision: self.revision(Space::User),
            system_revision: self.revision(Space::System),
            v2_index: self.v2_index,
            raft_index: self.log.index,
            raft_term: self.log.term,
        }
    }
}

/// Index of a space in pairs.
pub(super) fn slot(space: Space) -> usize {
    match space {
        Space::User => 0,
        Space::System => 1,
    }
}

/// What `apply` keeps in memory. Loaded from the tables at start; every change is written to them in the same transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    pub(super) marks: Marks,
    pub(super) leases: BTreeMap<LeaseId, LeaseRecord>,
    pub(super) auth: Arc<Auth>,
    /// Whether somebody hears of the changes of each space, and so of what was there before.
    pub(super) heard: [bool; 2],
    pub(super) alarms: Vec<Alarm>,
    /// Samples of each space, oldest first.
    pub(super) timelines: [VecDeque<Sample>; 2],
}

impl State {
    /// The state that the tables hold.
    pub fn load(tables: &dyn Tables) -> Result<Self, TablesError> {
        let mut leases = BTreeMap::new();
        try_scan(tables, Table::Leases, Bound::Unbounded, Bound::Unbounded, |_, value| {
            let record: LeaseRecord = layout::decode(value, "a record of table leases")?;
            leases.insert(record.lease.id, record);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(Self {
            marks: Marks::load(tables)?,
            leases,
            auth: Arc::new(Auth::load(tables)?),
            heard: [true, true],
            alarms: alarm::load(tables)?,
            timelines: timeline::load(tables)?,
        })
    }

    /// Where the store stands.
    pub fn position(&self) -> Position {
        self.marks.position()
    }

    /// Says whether events of a space must tell what was there before. They do unless told otherwise; where nobody
    /// listens, a look at the old value for each change is saved. The tables are the same either way.
    pub fn set_heard(&mut self, space: Space, heard: bool) {
        self.heard[slot(space)] = heard;
    }

    /// The log entry that was applied last.
    pub fn applied(&self) -> LogPosition {
        self.marks.log
    }

    /// The newest revision of a space.
    pub fn revision(&self, space: Space) -> i64 {
        self.marks.revision(space)
    }

    /// The compaction mark of a space: revisions below it cannot be read. 0: never compacted.
    pub fn compacted(&self, space: Space) -> i64 {
        self.marks.compacted(space)
    }

    /// The alarms that are raised.
    pub fn alarms(&self) -> &[Alarm] {
        &self.alarms
    }

    /// CRC-32 over every change of a key, a user or a role since the store began. Equal on all members at equal log positions.
    pub fn checksum(&self) -> u32 {
        self.marks.checksum
    }

    /// Users and roles. Another `Arc` after every change of them.
    pub fn auth(&self) -> &Arc<Auth> {
        &self.auth
    }

    /// A lease, if it exists.
    pub fn lease(&self, id: LeaseId) -> Option<&LeaseRecord> {
        self.leases.get(&id)
    }

    /// All leases, by id.
    pub fn leases(&self) -> impl Iterator<Item = &LeaseRecord> {
        self.leases.values()
    }
}

/// Sets the v2 index of a new cluster of `members` members to where etcd's stands: 2·members + 1. Does nothing the second time.
pub fn bootstrap(state: &mut State, tables: &mut dyn TablesMut, members: usize) -> Result<(), TablesError> {
    if state.marks.bootstrapped {
        return Ok(());
    }
    state.marks.bootstrapped = true;
    state.marks.v2_index += 2 * members as u64 + 1;
    state.marks.save(tables)
}

/// Records that the log entry at `at`, which holds no command, is applied.
pub fn advance(state: &mut State, tables: &mut dyn TablesMut, at: LogPosition) -> Result<(), TablesError> {
    state.marks.log = at;
    state.marks.save(tables)
}
