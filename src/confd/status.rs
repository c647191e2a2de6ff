//! What is told of each resource on each machine: what it reads, how its last pass went, what changed because of which key.
//! It lies in the system space, as JSON, and hangs on the machine's lease.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::view::Reads;
use crate::base::{UnixMillis, glob};
use crate::confd::path;

/// All of this room's keys in the system space start with it.
const STATUS: &str = "/templates/status/";
const TURNS: &str = "/templates/turns/";

/// Keys that one change names; a burst may have more.
pub const CAUSES_TOLD_MAX: usize = 16;
/// Changes that a status remembers.
const CHANGES_KEPT: usize = 8;

/// A resource on a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The resource file below `conf.d` without `.toml`; `#2` and so on for further tables in it.
    pub name: String,
    pub machine: String,
    /// The resource file.
    pub file: String,
    pub dest: String,
    pub state: State,
    /// What the template looked up, with the prefix.
    pub reads: Vec<Lookup>,
    /// The store's revision that the last pass rendered.
    pub revision: i64,
    /// When the last pass ended.
    pub at: UnixMillis,
    /// How long it took.
    pub steps: Steps,
    pub trouble: Option<Trouble>,
    /// The last passes that something came of, the newest last.
    pub changes: Vec<Change>,
}

/// How a resource stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// No pass has ended yet.
    #[default]
    New,
    /// The file is as it should be, and whoever reads it knows.
    Ok,
    /// The file is new; its reload is put off.
    Reloading,
    /// A key is waited for, or the turn of this machine.
    Waiting,
    /// The last pass failed; the file is the last good one.
    Failed,
}

/// A lookup as templates make it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Lookup {
    /// `get`, `gets` or `ls`.
    pub how: String,
    pub path: String,
}

/// How long each step of a pass took, in microseconds; none where it was not made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Steps {
    /// From the news of the change to the begin of the pass.
    pub wait_us: u64,
    /// Rendering, comparing and staging.
    pub render_us: u64,
    pub check_us: Option<u64>,
    pub replace_us: Option<u64>,
    pub reload_us: Option<u64>,
}

/// Why a pass failed, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    pub file: String,
    pub line: Option<usize>,
    pub column: Option<usize>,
    pub message: String,
    /// Since when it is so.
    pub since: UnixMillis,
}

/// A pass that something came of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    pub revision: i64,
    /// Keys that caused it, at most [`CAUSES_TOLD_MAX`]; none where everything was looked at anew.
    pub keys: Vec<String>,
    /// When the first of them was written, by the writer's node; `None` where the store does not tell.
    pub written: Option<UnixMillis>,
    /// When it had been done, by this machine's clock.
    pub at: UnixMillis,
    /// Files that were replaced or removed.
    pub files: Vec<String>,
    /// The unit or command that was reloaded.
    pub reload: Option<String>,
    pub steps: Steps,
    /// Why nothing came of it after all.
    pub failed: Option<String>,
}

impl Steps {
    /// All of them together.
    pub fn total_us(&self) -> u64 {
        let made = [self.check_us, self.replace_us, self.reload_us];
        self.wait_us + self.render_us + made.iter().flatten().sum::<u64>()
    }
}

impl Lookup {
    /// What a template looked up, as keys of the store.
    pub fn list(reads: &Reads, prefix: &str) -> Vec<Self> {
        let lookup = |read: &super::view::Read| {
            let (how, path) = read.parts();
            // Not cleaned: a pattern may hold any character.
            let path = format!("{}{path}", prefix.trim_end_matches('/'));
            Self { how: how.to_owned(), path }
        };
        reads.iter().map(lookup).collect()
    }

    /// Whether a change of `key` can change what was found.
    pub fn touched_by(&self, key: &str) -> bool {
        match self.how.as_str() {
            "gets" => glob::matches(&self.path, key).unwrap_or(true),
            "ls" => path::within(key, &path::clean(&self.path)),
            _ => self.path == key,
        }
    }
}

impl Trouble {
    /// A trouble whose message may name its own place: `template: NAME:LINE:COLUMN: …`, as Go's templates do.
    pub fn new(file: &str, message: &str, since: UnixMillis) -> Self {
        let place = message.find("template: ").map(|at| &message[at + "template: ".len()..]).and_then(place_in);
        let (line, column) = place.unwrap_or((None, None));
        Self { file: file.to_owned(), line, column, message: message.to_owned(), since }
    }
}

/// Line and column of `NAME:LINE:COLUMN: …` or `NAME:LINE: …`.
fn place_in(text: &str) -> Option<(Option<usize>, Option<usize>)> {
    let mut parts = text.split(':').skip(1);
    let line = parts.next()?.parse().ok()?;
    Some((Some(line), parts.next().and_then(|column| column.parse().ok())))
}

impl Status {
    /// Adds a change, forgetting the oldest beyond those that are kept.
    pub fn remember(&mut self, change: Change) {
        self.changes.push(change);
        let beyond = self.changes.len().saturating_sub(CHANGES_KEPT);
        self.changes.drain(..beyond);
    }

    /// Whether it says something else than `other`, the times of a pass that nothing came of left aside.
    pub fn differs(&self, other: &Self) -> bool {
        let timeless =
            |status: &Self| Self { revision: 0, at: UnixMillis::default(), steps: Steps::default(), ..status.clone() };
        timeless(self) != timeless(other)
    }

    /// Where it lies.
    pub fn key(&self) -> Bytes {
        status_key(&self.machine, &self.name)
    }

    /// As it lies there.
    pub fn encode(&self) -> Bytes {
        // Plain structs: serde_json has no way to fail on them.
        Bytes::from(serde_json::to_vec(self).unwrap_or_default())
    }

    /// Reads one; `None`: it is none.
    pub fn decode(value: &[u8]) -> Option<Self> {
        serde_json::from_slice(value).ok()
    }
}

/// Where the status of a machine's resource lies.
pub fn status_key(machine: &str, name: &str) -> Bytes {
    Bytes::from(format!("{STATUS}{machine}/{name}"))
}

/// What the keys of all status begin with.
pub fn status_prefix() -> &'static [u8] {
    STATUS.as_bytes()
}

/// Where machines queue for their turn at a resource: a key begins with it and ends in the machine.
pub fn turn_prefix(name: &str) -> String {
    // Names have slashes, so one could begin as another does.
    format!("{TURNS}{}/", name.replace('%', "%25").replace('/', "%2F"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::confd::view::Read;

    #[test]
    fn lookups_are_told_as_keys_of_the_store() {
        let mut reads = Reads::default();
        reads.note(Read::Key("/k".into()));
        reads.note(Read::Pattern("/p/*".into()));
        reads.note(Read::Folder("/f/".into()));
        let told = Lookup::list(&reads, "/all");
        let shown: Vec<_> = told.iter().map(|one| format!("{} {}", one.how, one.path)).collect();
        assert_eq!(shown, ["get /all/k", "gets /all/p/*", "ls /all/f/"]);
        let touched = |key: &str| told.iter().any(|one| one.touched_by(key));
        for (key, expected) in
            [("/all/k", true), ("/k", false), ("/all/p/1", true), ("/all/p/1/2", false), ("/all/f/1/2", true)]
        {
            assert_eq!(touched(key), expected, "{key}");
        }
    }

    #[test]
    fn troubles_know_their_place() {
        let at = UnixMillis::default();
        for (message, place) in [
            ("template: x.tmpl:3:7: executing \"x.tmpl\" at <getv>: key does not exist: /a", (Some(3), Some(7))),
            ("Unable to process template /t/x.tmpl, template: x.tmpl:2: unexpected EOF", (Some(2), None)),
            ("exit status 1", (None, None)),
            ("template: odd", (None, None)),
        ] {
            let trouble = Trouble::new("/f", message, at);
            assert_eq!((trouble.line, trouble.column), place, "{message}");
        }
    }

    #[test]
    fn only_news_are_different() {
        let change = |revision| Change {
            revision,
            keys: vec!["/a".into()],
            written: None,
            at: UnixMillis::default(),
            files: vec!["/d".into()],
            reload: None,
            steps: Steps::default(),
            failed: None,
        };
        let mut one = Status {
            name: "x".into(),
            machine: "m".into(),
            file: "/c/x.toml".into(),
            dest: "/d".into(),
            state: State::Ok,
            reads: Vec::new(),
            revision: 3,
            at: UnixMillis::default(),
            steps: Steps::default(),
            trouble: None,
            changes: Vec::new(),
        };
        assert_eq!(Status::decode(&one.encode()), Some(one.clone()));
        assert!(!one.differs(&Status { revision: 9, steps: Steps { wait_us: 4, ..Steps::default() }, ..one.clone() }));
        assert!(one.differs(&Status { state: State::Failed, ..one.clone() }));
        let before = one.clone();
        for revision in 1..=10 {
            one.remember(change(revision));
        }
        assert!(one.differs(&before));
        assert_eq!((one.changes.len(), one.changes[0].revision), (8, 3));
        assert_eq!(turn_prefix("sub/x"), "/templates/turns/sub%2Fx/");
    }
}
