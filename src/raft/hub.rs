//! Watches: every change, in order, to whoever asked for it, from now on or from a revision of the past.
//!
//! A watch of the past first reads history, piece by piece; when it has come near the present it enlists here, reads the
//! little that was missed, and from then on receives what is applied. A watcher whose backlog grows too long is cut off
//! and told where to resume.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::machine::Core;
use super::mailbox::Mailbox;
use crate::base::BoxFuture;
use crate::base::limits::{WATCH_HISTORY_BYTES, WATCH_HISTORY_CHANGES, WATCH_HISTORY_EVENTS};
use crate::kv::store::{WatchBatch, WatchEnd, WatchRequest, WatchStart, WatchStream};
use crate::kv::{
    self, Event, History, HistoryRequest, IndexPlace, Position, Space, State, StoreError, WatchIndex, WatcherId,
};

/// All watchers, and up to where they were told.
#[derive(Default)]
pub struct Hub {
    board: Mutex<Board>,
    /// Watches of each space, those included that still read history.
    watches: [AtomicUsize; 2],
    /// Events that wait for any watcher.
    waiting: Arc<AtomicUsize>,
}

/// A watch's place in the count of its space.
struct Counted {
    hub: Arc<Hub>,
    space: Space,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.hub.watches[self.space as usize].fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Default)]
struct Board {
    position: Position,
    next_id: WatcherId,
    index: WatchIndex,
    mailboxes: HashMap<WatcherId, (Space, Arc<Mailbox>)>,
    closed: Option<String>,
}

impl Hub {
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a watch that is about to begin. Done before it waits for the transaction under way: later ones know of it.
    fn count(self: &Arc<Self>, space: Space) -> Counted {
        self.watches[space as usize].fetch_add(1, Ordering::Relaxed);
        Counted { hub: self.clone(), space }
    }

    /// Whether anybody watches a space, or is about to.
    pub fn heard(&self, space: Space) -> bool {
        self.watches[space as usize].load(Ordering::Relaxed) > 0
    }

    /// Tells the watchers what a transaction changed. Called in the order of the transactions.
    pub fn publish(&self, events: &[Event], position: Position) {
        let mut board = self.board();
        let mut wanted: BTreeMap<WatcherId, Vec<Event>> = BTreeMap::new();
        for event in events {
            board.index.matching(event.space, &event.kv.key, &mut |id| {
                wanted.entry(id).or_default().push(event.clone());
            });
        }
        for (id, events) in wanted {
            if let Some((space, mailbox)) = board.mailboxes.get(&id) {
                mailbox.deliver(events, revision_of(&position, *space));
            }
        }
        board.position = position;
    }

    /// The state was replaced: watchers may have missed changes, so they are sent away to resume.
    pub fn restart(&self, position: Position) {
        let mut board = self.board();
        for (space, mailbox) in board.mailboxes.values() {
            let resume = revision_of(&board.position, *space) + 1;
            mailbox.end(WatchEnd::TooSlow { resume });
        }
        board.clear();
        board.position = position;
    }

    /// Ends all watches.
    pub fn close(&self, reason: &str) {
        let mut board = self.board();
        for (_, mailbox) in board.mailboxes.values() {
            mailbox.end(WatchEnd::Closed(reason.to_owned()));
        }
        board.clear();
        board.closed = Some(reason.to_owned());
    }

    /// Enlists a watcher: what is published from now on is delivered to it.
    fn enlist(self: &Arc<Self>, request: &WatchRequest, from_revision: i64, from_index: u64) -> Result<Live, WatchEnd> {
        let mut board = self.board();
        if let Some(reason) = &board.closed {
            return Err(WatchEnd::Closed(reason.clone()));
        }
        let mailbox = Arc::new(Mailbox::new(from_revision, from_index, self.waiting.clone()));
        let id = board.next_id;
        board.next_id += 1;
        board.index.insert(id, request.space, request.key.clone(), request.range_end.clone());
        board.mailboxes.insert(id, (request.space, mailbox.clone()));
        Ok(Live {
            hub: self.clone(),
            id,
            space: request.space,
            mailbox,
            through: revision_of(&board.position, request.space),
            began: board.position,
        })
    }
}

impl Board {
    fn clear(&mut self) {
        self.mailboxes.clear();
        self.index = WatchIndex::default();
    }
}

fn revision_of(position: &Position, space: Space) -> i64 {
    match space {
        Space::User => position.revision,
        Space::System => position.system_revision,
    }
}

/// A watcher's place among those that are told.
struct Live {
    hub: Arc<Hub>,
    id: WatcherId,
    space: Space,
    mailbox: Arc<Mailbox>,
    /// The newest revision that was published before it was enlisted.
    through: i64,
    began: Position,
}

impl Drop for Live {
    fn drop(&mut self) {
        let mut board = self.hub.board();
        board.index.remove(self.id);
        board.mailboxes.remove(&self.id);
    }
}

impl Live {
    fn caught_up(&self) -> Option<i64> {
        // In this order: what was published up to here is in the box or was taken from it.
        let published = revision_of(&self.hub.board().position, self.space);
        self.mailbox.is_clear().then_some(published)
    }
}

/// One watch, from history to the present.
struct Watch {
    core: Arc<Core>,
    request: WatchRequest,
    from_index: u64,
    /// The newest revision that history was read up to.
    read: i64,
    began: Position,
    stage: Stage,
    _counted: Counted,
}

enum Stage {
    /// Reading history from `next` on.
    Past { next: i64 },
    /// Told as things happen, but history from `next` on still lies before that.
    Joining { next: i64, live: Live },
    /// Told as things happen.
    Live(Live),
    /// Ended before it began.
    Ended(WatchEnd),
}

/// Begins a watch. Blocks while a transaction is applied: who has seen its outcome is not told of it again.
pub fn watch(core: &Arc<Core>, request: WatchRequest) -> Result<Box<dyn WatchStream>, StoreError> {
    let counted = core.hub.count(request.space);
    let mut watch = Watch {
        _counted: counted,
        core: core.clone(),
        from_index: 0,
        read: 0,
        began: core.with_state(State::position),
        stage: Stage::Past { next: 0 },
        request,
    };
    match watch.request.start {
        WatchStart::Now => {
            watch.stage = match watch.enlist(0) {
                Ok(live) => {
                    watch.began = live.began;
                    Stage::Live(live)
                }
                Err(end) => Stage::Ended(end),
            };
        }
        WatchStart::Revision(revision) => {
            watch.stage = Stage::Past { next: revision.max(1) };
        }
        WatchStart::V2Index(index) => watch.start_at_index(index)?,
    }
    Ok(Box::new(watch))
}

impl Watch {
    /// Enlists for what has `from_revision` or later: what history had before it was published is not told twice.
    fn enlist(&self, from_revision: i64) -> Result<Live, WatchEnd> {
        self.core.hub.enlist(&self.request, from_revision, self.from_index)
    }

    fn start_at_index(&mut self, index: u64) -> Result<(), StoreError> {
        let broken = |error: &dyn std::fmt::Display| StoreError::Broken(error.to_string());
        let present = self.began.revision;
        let database = self.core.database().map_err(|_| StoreError::Stopping)?;
        let snapshot = database.reader();
        let place = kv::revision_of_index(&snapshot, index).map_err(|error| broken(&error))?;
        self.from_index = index;
        self.stage = match place {
            IndexPlace::Revision(next) => Stage::Past { next },
            // What is taken from here on lies behind the present revision.
            IndexPlace::Future => Stage::Past { next: present + 1 },
            IndexPlace::Cleared { oldest } => Stage::Ended(WatchEnd::V2Cleared { oldest }),
        };
        Ok(())
    }

    /// Reads a piece of history from `next` on.
    async fn read(&self, next: i64) -> Result<History, WatchEnd> {
        let core = self.core.clone();
        let request = HistoryRequest {
            space: self.request.space,
            key: self.request.key.clone(),
            range_end: self.request.range_end.clone(),
            from_revision: next,
            events_max: WATCH_HISTORY_EVENTS,
            bytes_max: WATCH_HISTORY_BYTES,
            changes_max: WATCH_HISTORY_CHANGES,
        };
        let read = move || {
            let snapshot = core.database()?.reader();
            kv::history(&snapshot, &request).map_err(|error| error.to_string())
        };
        let closed = |error: String| WatchEnd::Closed(error);
        let result = tokio::task::spawn_blocking(read).await;
        let history = result.map_err(|error| closed(error.to_string()))?.map_err(closed)?;
        history.map_err(|gone| WatchEnd::Compacted { revision: gone.compacted })
    }

    /// Takes one step. `None`: nothing to tell yet. Between the last wait and the end of a step nothing can be lost.
    async fn step(&mut self) -> Result<Option<WatchBatch>, WatchEnd> {
        let (next, limit) = match &mut self.stage {
            Stage::Ended(end) => return Err(end.clone()),
            Stage::Live(live) => return live.mailbox.next().await.map(Some),
            Stage::Past { next } => (*next, i64::MAX),
            Stage::Joining { next, live } => (*next, live.through),
        };
        let mut history = self.read(next).await?;
        // What was published after the enlisting is delivered by mail.
        let through = history.through.min(limit);
        history.events.retain(|event| event.kv.mod_revision <= through && event.kv.v2_modified >= self.from_index);
        let after = through + 1;
        self.read = self.read.max(through.min(history.newest));
        self.stage = match std::mem::replace(&mut self.stage, Stage::Past { next: after }) {
            Stage::Joining { live, .. } if after > live.through => Stage::Live(live),
            Stage::Joining { live, .. } => Stage::Joining { next: after, live },
            _ if history.through < history.newest => Stage::Past { next: after },
            _ => self.join(after)?,
        };
        let told = !history.events.is_empty();
        Ok(told.then_some(WatchBatch { revision: through, events: history.events }))
    }

    fn join(&self, next: i64) -> Result<Stage, WatchEnd> {
        let live = self.enlist(next)?;
        Ok(match next > live.through {
            true => Stage::Live(live),
            false => Stage::Joining { next, live },
        })
    }
}

impl WatchStream for Watch {
    fn next(&mut self) -> BoxFuture<'_, Result<WatchBatch, WatchEnd>> {
        Box::pin(async {
            loop {
                match self.step().await {
                    Ok(Some(batch)) => return Ok(batch),
                    Ok(None) => {}
                    Err(end) => {
                        self.stage = Stage::Ended(end.clone());
                        return Err(end);
                    }
                }
            }
        })
    }

    fn began(&self) -> Position {
        self.began
    }

    fn caught_up(&self) -> Option<i64> {
        match &self.stage {
            Stage::Live(live) => live.caught_up().map(|published| published.max(self.read)),
            _ => None,
        }
    }
}
