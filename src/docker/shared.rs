//! What the executor, the watcher of events and the keepers of units have in common.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use bollard::Docker;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use super::notices::NoticeFolders;
use super::report::Report;
use super::secrets::{SecretFiles, Secrets};
use super::store::Store;
use crate::base::UnixMillis;
use crate::base::limits::CONTAINER_NOTES_MAX;
use crate::fleet::executor::{ActiveState, JournalLine, StateChange, UnitFile};
use crate::unit::container::Container;
use crate::unit::{FileTest, Specifiers};

/// The machine on which the containers run.
#[derive(Clone, Debug)]
pub struct DockerOptions {
    /// The engine's.
    pub socket: PathBuf,
    /// Where units' texts are kept.
    pub dir: PathBuf,
    /// 32 hex digits.
    pub machine_id: String,
    pub hostname: String,
    /// The kernel's, 32 hex digits.
    pub boot_id: String,
    /// Whether systemd is PID 1 here.
    pub systemd: bool,
    /// Whether a test holds of a path of this machine.
    pub holds: fn(FileTest, &str) -> bool,
}

impl DockerOptions {
    /// What stands for what in a unit's text on this machine.
    pub fn specifiers(&self, unit: &str) -> Specifiers {
        Specifiers {
            hostname: self.hostname.clone(),
            machine_id: self.machine_id.clone(),
            boot_id: self.boot_id.clone(),
            ..Specifiers::system(unit)
        }
    }
}

/// Whether the engine answers.
#[derive(Clone)]
pub enum Link {
    Up(Docker),
    Away(String),
}

/// What is wanted of a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Goal {
    Down,
    /// To run; each start that is asked for has its own number. The first is what was found at the node's own start.
    Up(u64),
    /// To be stopped, removed and forgotten.
    Gone,
}

/// The number of the run that an earlier life of the node began.
pub const ADOPTED: u64 = 0;

/// What a unit's keeper goes by.
#[derive(Clone, Debug)]
pub struct Wish {
    pub file: UnitFile,
    pub container: Arc<Container>,
    pub goal: Goal,
}

/// A unit that is held.
pub struct Entry {
    pub wish: watch::Sender<Wish>,
    /// Counted up whenever its container may have changed.
    pub nudge: watch::Sender<u64>,
    pub report: Report,
    /// The executor's own words about it, and what the commands of the host say, numbered from 1.
    pub notes: VecDeque<(u64, JournalLine)>,
    /// Counted up with each of them.
    pub noted: watch::Sender<u64>,
}

#[derive(Default)]
pub struct Board {
    pub units: BTreeMap<String, Entry>,
    changes: BTreeMap<String, Option<ActiveState>>,
    pub keepers: JoinSet<()>,
}

pub struct Shared {
    pub options: DockerOptions,
    pub store: Store,
    pub link: watch::Sender<Link>,
    /// Where secrets come from, once there is a store.
    pub secrets: watch::Sender<Option<Arc<dyn Secrets>>>,
    pub secret_files: SecretFiles,
    pub notice_folders: NoticeFolders,
    board: Mutex<Board>,
    changed: Notify,
}

impl Shared {
    pub fn new(options: DockerOptions, store: Store) -> Self {
        let away = Link::Away("it was not asked yet".to_owned());
        Self {
            secret_files: SecretFiles::of(&options.machine_id),
            notice_folders: NoticeFolders::of(&options.machine_id),
            options,
            store,
            link: watch::Sender::new(away),
            secrets: watch::Sender::new(None),
            board: Mutex::default(),
            changed: Notify::new(),
        }
    }

    pub fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The container of this unit, or with `None` any, may have changed.
    pub fn nudge(&self, unit: Option<&str>) {
        let board = self.board();
        let concerned = board.units.iter().filter(|(name, _)| unit.is_none_or(|unit| unit == name.as_str()));
        concerned.for_each(|(_, entry)| entry.nudge.send_modify(|count| *count += 1));
    }

    /// Changes what is told of a unit.
    pub fn report(&self, name: &str, change: impl FnOnce(&mut Report)) {
        let mut board = self.board();
        let Some(entry) = board.units.get_mut(name) else { return };
        let before = entry.report.state.clone();
        change(&mut entry.report);
        if entry.report.state != before {
            entry.report.since = now();
            let state = entry.report.state.clone();
            board.tell(name, Some(state));
            self.changed.notify_one();
        }
    }

    /// A unit is held from now on.
    pub fn enter(&self, name: &str, entry: Entry) {
        let mut board = self.board();
        let state = entry.report.state.clone();
        board.units.insert(name.to_owned(), entry);
        board.tell(name, Some(state));
        self.changed.notify_one();
    }

    /// A unit is held no more.
    pub fn forget(&self, name: &str) {
        let mut board = self.board();
        board.units.remove(name);
        board.tell(name, None);
        self.changed.notify_one();
    }

    pub async fn changes(&self) -> Vec<StateChange> {
        loop {
            // A permit is kept where the change came before the waiting.
            let changed = self.changed.notified();
            let all = std::mem::take(&mut self.board().changes);
            if !all.is_empty() {
                return all.into_iter().map(|(name, state)| StateChange { name, state }).collect();
            }
            changed.await;
        }
    }

    /// Adds a line to what the unit's journal has beside the container's own output.
    pub fn note(&self, name: &str, identifier: &str, words: &str) {
        let mut board = self.board();
        let Some(entry) = board.units.get_mut(name) else { return };
        for line in words.lines() {
            if entry.notes.len() >= CONTAINER_NOTES_MAX {
                entry.notes.pop_front();
            }
            let number = entry.notes.back().map_or(1, |(number, _)| number + 1);
            let line = JournalLine {
                at: now(),
                pid: std::process::id(),
                identifier: identifier.to_owned(),
                message: line.as_bytes().to_vec(),
            };
            entry.notes.push_back((number, line));
        }
        entry.noted.send_modify(|count| *count += 1);
    }
}

impl Board {
    fn tell(&mut self, name: &str, state: Option<ActiveState>) {
        self.changes.insert(name.to_owned(), state);
    }
}

/// The wall clock.
pub fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    UnixMillis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
