//! etcd v2's view of the user space: paths are keys, directories are implied by the keys below them.
//!
//! Values only; HTTP forms, headers and JSON are made at the door. Source: etcd's v2 API and its `store` package's behaviour.
//!
//! Who speaks v2 alone is answered as by etcd 3.4, but for these:
//! * History is there until it is compacted, not for 1,000 changes; only then a watch is refused (401). A stream that begins in
//!   the past goes on into the present, where etcd's ends after one event.
//! * The end of `/a` is told to watchers of what was below it, not to those of `/ab`; a stream is told once that its node ended.
//! * Listings are sorted, asked or not.
//! * Paths and values are UTF-8: other bytes are replaced by U+FFFD, as JSON shows them. Paths have a longest length and a
//!   greatest depth (209). A time to live has a longest one, where etcd's overflows.
//! * Users and roles take no index. They are v3's; [`auth`](super::auth) tells how the two fit.
//!
//! Where v3 writes too, [`directories`] has the rules: what is a node, when a directory is there, and that a path which is a
//! directory shows no file. A v3 change is an event of its own, `set`, `delete` or `expire`; one that the view does not show takes an
//! index and is told to nobody.

#[cfg(test)]
mod both_sides_tests;
pub(super) mod directories;
mod tally;
#[cfg(test)]
mod v2_tests;
mod view;
mod watch;
pub(super) mod write;

pub use tally::{Done, Tally};
pub use view::get;
pub use watch::{groups, watch_match, watch_range};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::types::V2Action;
use crate::base::UnixMillis;

/// A v2 read. `path` is cleaned, starts with `/` and has no trailing `/` (the root is `/`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetRequest {
    pub path: String,
    pub recursive: bool,
    pub sorted: bool,
    /// The reader's clock: `ttl` in the answer counts from it.
    pub now: UnixMillis,
}

/// What must hold of the present node for a write to happen. Empty: no condition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    pub prev_value: Option<String>,
    /// 0 means "no condition", as in etcd.
    pub prev_index: u64,
}

/// A v2 write, after the door has checked and sorted its parameters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Write {
    /// PUT without conditions: replaces a file or creates it; with `dir`, creates a directory. `refresh` keeps the value of
    /// a file that must be there, and wakes no watcher.
    Set {
        value: String,
        dir: bool,
        refresh: bool,
    },
    /// PUT with `prevExist=false`.
    Create {
        value: String,
        dir: bool,
    },
    /// PUT with `prevExist=true`. `refresh` keeps the value and wakes no watcher.
    Update {
        value: String,
        dir: bool,
        refresh: bool,
    },
    CompareAndSwap {
        value: String,
        condition: Condition,
        refresh: bool,
    },
    /// POST: a child of the path named by the next index, 20 digits.
    CreateInOrder {
        value: String,
        dir: bool,
    },
    Delete {
        recursive: bool,
        dir: bool,
    },
    CompareAndDelete {
        condition: Condition,
    },
}

/// A v2 write of one path. `ttl_seconds`: `None` is permanent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteRequest {
    pub path: String,
    pub ttl_seconds: Option<u64>,
    pub write: Write,
}

/// A node of the tree as the API shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// `/` for the root.
    pub path: String,
    pub dir: bool,
    /// `None` for directories and in the `node` of deletions.
    pub value: Option<Bytes>,
    pub nodes: Vec<Node>,
    pub created_index: u64,
    pub modified_index: u64,
    /// When it ends, and the seconds until then rounded up, counted from the request's clock.
    pub expiration: Option<(UnixMillis, i64)>,
}

/// The verb of an answer: a write's action, or `get`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    Get,
    Change(V2Action),
}

/// A good answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    pub action: Action,
    pub node: Node,
    pub prev_node: Option<Node>,
    pub refresh: bool,
}

/// A bad answer. `code` is etcd's error number; `cause` is its `cause` field; `index` is the store's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{code}: ({cause}) [{index}]")]
pub struct Failure {
    pub code: u16,
    pub cause: String,
    pub index: u64,
}

/// The answer to a v2 request.
pub type Outcome = Result<Answer, Failure>;
