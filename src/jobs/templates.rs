//! The template reconciler: each resource of a confdir is rendered when keys that it reads change, and at no other time.
//!
//! One watch per folder of keys serves all resources. A burst of changes is one render. Every resource has a worker of its
//! own, so that a reload that hangs delays nobody else. While the store is away the last good files stay; when it is back,
//! everything is looked at once. What failed for a reason outside of the keys is tried again with growing pauses, and when
//! a file of the confdir changes everything is loaded anew.

mod board;
mod keys;
mod load;
mod meter;
mod outside;
mod pass;
mod prepare;
mod reconciler;
mod reload;
mod snapshot;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod turns;
mod worker;

pub use keys::{KeyChange, KeyChanges, Keys, StoreKeys, Views};
pub use load::{Broken, LoadError, Loaded, Target, load};
pub use meter::Meter;
pub use outside::Machine;
pub use pass::{Context, Options, Outcome, Pass, PassError, process};
pub use prepare::{outputs, parsed};
pub use reload::reload_all;
pub use snapshot::{Snapshot, read};
pub use turns::Turns;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use self::board::Board;
use self::reconciler::Reconciler;
use self::reload::Group;
use super::{Job, JobError, Stop};
use crate::base::{BoxFuture, LeaseId, MachineId};
use crate::confd::Status;
use crate::fleet::executor::Executor;
use crate::kv::Store;

/// The job.
pub struct Templates {
    keys: Arc<dyn Keys>,
    confdir: PathBuf,
    prefix: String,
    options: Options,
    home: Option<Home>,
}

/// The node that the job is part of.
#[derive(Clone)]
pub struct Home {
    /// Where the resources' status is told, and machines queue for their turns.
    pub store: Arc<dyn Store>,
    pub machine: MachineId,
    /// What the status hangs on; `None`: it stays when the machine is lost.
    pub lease: Option<watch::Receiver<Option<LeaseId>>>,
    pub executor: Option<Arc<dyn Executor>>,
    /// Where passes are counted.
    pub meter: Meter,
}

impl Job for Templates {
    fn name(&self) -> &'static str {
        "templates"
    }

    fn run(&mut self, mut stop: Stop) -> BoxFuture<'_, Result<(), JobError>> {
        Box::pin(async move {
            let shop = Arc::new(Shop::new(self.options, self.home.as_ref()));
            let mut reconciler =
                Reconciler::new(self.keys.clone(), self.confdir.clone(), self.prefix.clone(), shop.clone());
            tokio::select! {
                () = stop.wait() => {}
                () = reconciler.follow_for_ever() => {}
                () = shop.publish(self.home.as_ref()) => {}
            }
            // A pass under way may end; whoever stops the jobs bounds the wait.
            reconciler.close().await;
            Ok(())
        })
    }
}

impl Templates {
    /// Renders the resources of `confdir` (which holds `conf.d/` and `templates/`) from `keys`. `prefix`, if not empty,
    /// is the global prefix.
    pub fn new(keys: Arc<dyn Keys>, confdir: PathBuf, prefix: String) -> Self {
        Self { keys, confdir, prefix, options: Options::default(), home: None }
    }

    /// The same with other options.
    #[must_use]
    pub fn with(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// The same as part of a node.
    #[must_use]
    pub fn at(mut self, home: Home) -> Self {
        self.home = Some(home);
        self
    }
}

/// What all workers share.
struct Shop {
    context: Arc<Context>,
    groups: Mutex<BTreeMap<String, Arc<Group>>>,
    board: Option<Board>,
}

impl Shop {
    fn new(options: Options, home: Option<&Home>) -> Self {
        let mut context = Context::new(options);
        context.executor = home.and_then(|home| home.executor.clone());
        context.turns = home.map(|home| Turns { store: home.store.clone(), machine: home.machine.clone() });
        let board = home.map(|home| Board::new(&home.machine, home.meter.clone()));
        Self { context: Arc::new(context), groups: Mutex::default(), board }
    }

    fn group(&self, name: &str) -> Arc<Group> {
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        groups.entry(name.to_owned()).or_default().clone()
    }

    /// A pass has ended, which replaced so many files: tells and counts it, where anything is told.
    fn ended(&self, target: &Target, replaced: usize, change: impl FnOnce(&mut Status)) {
        if let Some(board) = &self.board {
            board.update(target, change);
            board.count(&target.name, replaced);
        }
    }

    /// Changes what is told of a resource, where anything is told.
    fn update(&self, target: &Target, change: impl FnOnce(&mut Status)) {
        if let Some(board) = &self.board {
            board.update(target, change);
        }
    }

    /// Tells the store, for ever.
    async fn publish(&self, home: Option<&Home>) {
        match (&self.board, home) {
            (Some(board), Some(home)) => board.publish(&home.store, home.lease.clone()).await,
            _ => std::future::pending().await,
        }
    }
}
