//! The key-value state machine: revisions, transactions, leases, watches and the v2 view, as values in and values out.
//!
//! `apply` takes a [`Command`] and changes [`Tables`]; nothing here asks a clock, a disk or a network.
//! [`Store`] is the door that every floor above uses; `raft/` and `remote/` implement it.

mod alarm;
mod apply;
#[cfg(test)]
mod apply_tests;
pub mod auth;
mod census;
pub mod command;
mod compact;
pub mod error;
mod hash;
mod history;
mod layout;
mod lease;
mod load;
#[cfg(test)]
pub(crate) mod mem;
mod members;
pub mod past;
#[cfg(test)]
mod past_tests;
#[cfg(test)]
mod properties;
#[cfg(test)]
pub(crate) mod random_ops;
mod read;
mod refound;
mod state;
mod stop;
pub mod store;
pub mod tables;
mod timeline;
mod told;
mod txn;
pub mod types;
pub mod v2;
mod watch_index;
mod writer;

pub use alarm::{Alarm, AlarmChange, AlarmKind, allowed, grows};
pub use apply::apply;
pub use census::Census;
pub use command::{Applied, Command, Op, Position, Reply};
pub use compact::{CompactStep, compact_step};
pub use error::KvError;
pub use hash::{Hash, HashOf, hash};
pub use history::{History, HistoryCompacted, HistoryRequest, IndexPlace, history, revision_of_index};
pub use layout::{LeaseRecord, in_range};
pub use lease::{is_system_lease, is_v2_lease, keys as lease_keys, system_lease, user_lease};
pub use load::{LoadError, Loaded, Loader, PastChange, PastIndex};
pub use members::{MemberChange, MemberChanged, MemberRefusal, members, remove_member, removed_members};
pub use past::{Moment, Past, PastOf, PastRefusal, PastRequest, Place, past};
pub use read::range;
pub use refound::{Refounding, refound};
pub use state::{LogPosition, State, advance, bootstrap};
pub use store::{
    Appends, Consistency, SnapshotStream, Status, Store, StoreError, WatchBatch, WatchEnd, WatchRequest, WatchStart,
    WatchStream,
};
pub use tables::{Table, Tables, TablesError, TablesMut};
pub use timeline::HistoryRule;
pub use told::{Told, told};
pub use txn::read_txn;
pub use types::*;
pub use watch_index::{WatchIndex, WatcherId};
