//! What the executor's methods and its watcher share: the connection, the board, the turnstile for reloads.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use zbus::Connection;
use zbus::message::Sequence;

use super::board::Board;
use super::bus;
use super::caller::Caller;
use super::fence::Fence;
use super::reload::Turnstile;
use crate::base::limits::{SYSTEMD_AWAY_MS_MAX, SYSTEMD_CALLS_MAX};
use crate::fleet::executor::{ActiveState, ExecutorError};

/// A place in the stream of messages: which connection, and where in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp {
    pub connection: u64,
    pub position: Sequence,
}

/// Whether systemd can be called.
#[derive(Clone, Debug)]
pub enum Link {
    Up { connection: Connection, number: u64 },
    Away { reason: String },
}

pub struct Shared {
    pub units_dir: PathBuf,
    pub fence: Fence,
    pub link: watch::Sender<Link>,
    pub reloads: Turnstile,
    turns: Arc<Semaphore>,
    board: Mutex<Board<Stamp>>,
    /// Counts the changes of the board.
    version: watch::Sender<u64>,
}

impl Shared {
    pub fn new(units_dir: PathBuf, fence: Fence) -> Self {
        Self {
            units_dir,
            fence,
            link: watch::Sender::new(Link::Away { reason: "not connected yet".to_owned() }),
            reloads: Turnstile::default(),
            turns: Arc::new(Semaphore::new(SYSTEMD_CALLS_MAX)),
            board: Mutex::default(),
            version: watch::Sender::new(0),
        }
    }

    /// Looks at the board, or changes nothing that anyone waits for.
    pub fn board(&self) -> MutexGuard<'_, Board<Stamp>> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the board and wakes those who wait for changes.
    pub fn update<T>(&self, change: impl FnOnce(&mut Board<Stamp>) -> T) -> T {
        let result = change(&mut self.board());
        self.version.send_modify(|version| *version += 1);
        result
    }

    /// Tells when the board changes; what was there before counts as seen.
    pub fn versions(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// Waits until `condition` holds for the state of a unit; `None`: it is not held.
    pub async fn wait_for(&self, name: &str, condition: impl Fn(Option<&ActiveState>) -> bool) {
        let mut versions = self.versions();
        while !condition(self.board().state(name)) {
            // The sender lives in `self`, so this cannot fail.
            let _ = versions.changed().await;
        }
    }

    /// systemd, as soon as it can be called.
    ///
    /// # Errors
    /// It is away for longer than [`SYSTEMD_AWAY_MS_MAX`]: why.
    pub async fn caller(&self, unit: &str, doing: &str) -> Result<Caller, ExecutorError> {
        let mut link = self.link.subscribe();
        let bound = Duration::from_millis(SYSTEMD_AWAY_MS_MAX);
        // Whether time is up or not, what counts is how it is now.
        let _ = tokio::time::timeout(bound, link.wait_for(|link| matches!(link, Link::Up { .. }))).await;
        let link = self.link.borrow().clone();
        match link {
            Link::Up { connection, number } => {
                let caller = Caller::new(connection, number, self.turns.clone()).await;
                caller.map_err(|error| bus::failed(unit, doing, &error))
            }
            Link::Away { reason } => Err(ExecutorError::Failed {
                unit: unit.to_owned(),
                doing: doing.to_owned(),
                reason: format!("systemd cannot be reached (waited {bound:?}): {reason}"),
            }),
        }
    }
}
