//! The second thread: it makes the next segment ahead of time and unlinks purged ones, so that the writer waits for neither.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use bytes::Bytes;

use super::WalError;
use super::segment::{self, Segment};

enum Task {
    Prepare(u64),
    Remove(Arc<Segment>),
}

/// The writer's handle of the thread. Dropping it abandons a fill, ends pending removals and joins.
pub(super) struct Keeper {
    tasks: Option<Sender<Task>>,
    prepared: Receiver<Result<Segment, WalError>>,
    /// A segment that needs no more waiting.
    ready: Option<Segment>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Starts the thread. `spare` is an empty segment found at the start.
    pub fn start(dir: &Path, identity: Bytes, segment_bytes: u64, spare: Option<Segment>) -> Result<Keeper, WalError> {
        let (tasks, todo) = channel();
        let (answers, prepared) = channel();
        let stop = Arc::new(AtomicBool::new(false));
        let (dir, stopped): (PathBuf, _) = (dir.to_owned(), Arc::clone(&stop));
        let place = dir.clone();
        let work = move || {
            for task in todo {
                match task {
                    Task::Prepare(seq) => {
                        // An error here means that nobody waits for the answer any more.
                        let _ = answers.send(Segment::create(&dir, seq, &identity, segment_bytes, &stopped));
                    }
                    Task::Remove(old) => remove(&dir, &old),
                }
            }
        };
        let thread = thread::Builder::new()
            .name("wal-keeper".into())
            .spawn(work)
            .map_err(WalError::io("start the second thread of", &place))?;
        Ok(Keeper { tasks: Some(tasks), prepared, ready: spare, stop, thread: Some(thread) })
    }

    /// Begins to make segment `seq`, unless it is there already.
    pub fn prepare(&self, seq: u64) {
        if self.ready.is_none() {
            self.send(Task::Prepare(seq));
        }
    }

    /// The segment `seq` that was prepared. Waits for its end, and tries once more when it had failed: there may be room by now.
    pub fn take(&mut self, seq: u64) -> Result<Segment, WalError> {
        if let Some(ready) = self.ready.take() {
            return Ok(ready);
        }
        match self.prepared.recv().map_err(|_| WalError::Closed)? {
            Ok(segment) => Ok(segment),
            Err(error) => {
                tracing::warn!(%error, "the log's next segment could not be made ahead; trying again");
                self.send(Task::Prepare(seq));
                self.prepared.recv().map_err(|_| WalError::Closed)?
            }
        }
    }

    /// Unlinks a segment whose entries are all purged.
    pub fn remove(&self, old: Arc<Segment>) {
        self.send(Task::Remove(old));
    }

    fn send(&self, task: Task) {
        if let Some(tasks) = &self.tasks {
            // The thread ends only when this sender does; were it gone all the same, `take` says so.
            let _ = tasks.send(task);
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.tasks = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A segment that cannot be unlinked does no harm: the next open finds it purged. Each removal is synced before the next one, so
/// that a crash leaves no hole in the row.
fn remove(dir: &Path, old: &Segment) {
    let removed = std::fs::remove_file(&old.path)
        .map_err(WalError::io("remove", &old.path))
        .and_then(|()| segment::sync_dir(dir));
    if let Err(error) = removed {
        tracing::warn!(%error, "a purged segment of the log stays");
    }
}
