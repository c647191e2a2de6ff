//! What is told of this machine's resources: kept here, and written to the store when it says something new.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::{Notify, watch};

use super::load::{Broken, Target};
use super::meter::Meter;
use super::pass::PassError;
use crate::base::limits::{JOB_BACKOFF_MS_MAX, JOB_BACKOFF_MS_MIN, TEMPLATE_STATUS_PAUSE_MS, TXN_OPS_MAX};
use crate::base::{LeaseId, MachineId, UnixMillis};
use crate::confd::{State, Status, Steps, Trouble, status_key};
use crate::jobs::{JobError, accepted};
use crate::kv::{DeleteRangeRequest, Op, PutRequest, Space, Store, TxnOp, TxnRequest};

/// The board of one machine.
pub struct Board {
    machine: String,
    meter: Meter,
    inner: Mutex<Inner>,
    news: Notify,
}

#[derive(Default)]
struct Inner {
    status: BTreeMap<String, Status>,
    /// Names whose status, or end, the store does not have yet.
    unsaid: BTreeSet<String>,
}

/// The present moment.
pub fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

impl Board {
    /// An empty board.
    pub fn new(machine: &MachineId, meter: Meter) -> Self {
        Self { machine: machine.0.clone(), meter, inner: Mutex::default(), news: Notify::new() }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is told of a resource; `change` sees what was told last.
    pub fn update(&self, target: &Target, change: impl FnOnce(&mut Status)) {
        let mut inner = self.inner();
        let before = inner.status.get(&target.name).cloned();
        let mut after = before.clone().unwrap_or_else(|| self.blank(&target.name));
        after.file = target.file.to_string_lossy().into_owned();
        after.dest = target.resource.dest.clone();
        change(&mut after);
        self.take(&mut inner, before.as_ref(), after);
    }

    /// A pass that replaced so many files has ended, and is told already.
    pub fn count(&self, name: &str, replaced: usize) {
        if let Some(status) = self.inner().status.get(name) {
            self.meter.count(status, replaced);
        }
    }

    /// A resource file that cannot be used.
    pub fn broken(&self, broken: &Broken) {
        let mut inner = self.inner();
        let before = inner.status.get(&broken.name).cloned();
        let mut after = before.clone().unwrap_or_else(|| self.blank(&broken.name));
        let (file, first) = (broken.file.to_string_lossy().into_owned(), broken.mistakes.first());
        let since = since(before.as_ref(), &broken.reason);
        let (line, column) = (first.map(|mistake| mistake.line), first.map(|mistake| mistake.column));
        after.trouble = Some(Trouble { file: file.clone(), line, column, message: broken.reason.clone(), since });
        (after.file, after.state) = (file, State::Failed);
        self.take(&mut inner, before.as_ref(), after);
    }

    fn take(&self, inner: &mut Inner, before: Option<&Status>, after: Status) {
        if before.is_none_or(|before| after.differs(before)) {
            inner.unsaid.insert(after.name.clone());
            self.news.notify_one();
        }
        inner.status.insert(after.name.clone(), after);
    }

    fn blank(&self, name: &str) -> Status {
        Status {
            name: name.to_owned(),
            machine: self.machine.clone(),
            file: String::new(),
            dest: String::new(),
            state: State::New,
            reads: Vec::new(),
            revision: 0,
            at: now(),
            steps: Steps::default(),
            trouble: None,
            changes: Vec::new(),
        }
    }

    /// Forgets resources that are not among `names`.
    pub fn retain(&self, names: &BTreeSet<&str>) {
        let mut inner = self.inner();
        let gone: Vec<String> = inner.status.keys().filter(|name| !names.contains(name.as_str())).cloned().collect();
        for name in gone {
            inner.status.remove(&name);
            self.meter.forget(&name);
            inner.unsaid.insert(name);
            self.news.notify_one();
        }
    }

    /// Writes what is new to the system space, for ever. With `lease` it goes when the machine does.
    pub async fn publish(&self, store: &Arc<dyn Store>, mut lease: Option<watch::Receiver<Option<LeaseId>>>) {
        let first_pause = Duration::from_millis(JOB_BACKOFF_MS_MIN);
        let (mut pause, mut used) = (first_pause, None);
        loop {
            let held = match &mut lease {
                None => LeaseId::NONE,
                Some(lease) => match lease.wait_for(Option::is_some).await.map(|lease| *lease) {
                    Ok(held) => held.unwrap_or(LeaseId::NONE),
                    // Whoever holds the lease is gone, and with it the node.
                    Err(_) => return std::future::pending().await,
                },
            };
            if used.replace(held) != Some(held) {
                // Whatever hung on another lease goes with it.
                let mut inner = self.inner();
                inner.unsaid = inner.status.keys().cloned().collect();
            }
            if let Err(error) = self.write(store, held).await {
                tracing::warn!("{error}; again in {pause:?}");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_millis(JOB_BACKOFF_MS_MAX));
                continue;
            }
            pause = first_pause;
            tokio::time::sleep(Duration::from_millis(TEMPLATE_STATUS_PAUSE_MS)).await;
            let renewed = async {
                match &mut lease {
                    Some(lease) => {
                        // That nobody holds it any more is found above.
                        let _ = lease.changed().await;
                    }
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.news.notified() => {}
                () = renewed => {}
            }
        }
    }

    async fn write(&self, store: &Arc<dyn Store>, lease: LeaseId) -> Result<(), JobError> {
        loop {
            let chunk: Vec<(String, Option<Status>)> = {
                let inner = self.inner();
                inner
                    .unsaid
                    .iter()
                    .take(TXN_OPS_MAX)
                    .map(|name| (name.clone(), inner.status.get(name).cloned()))
                    .collect()
            };
            if chunk.is_empty() {
                return Ok(());
            }
            let success = chunk.iter().map(|(name, status)| self.operation(name, status.as_ref(), lease)).collect();
            let txn = TxnRequest { success, ..TxnRequest::default() };
            accepted(store.write(Op::Txn(txn)).await, "telling how templates are")?;
            let mut inner = self.inner();
            for (name, told) in chunk {
                // What has changed meanwhile is still to be said.
                if inner.status.get(&name) == told.as_ref() {
                    inner.unsaid.remove(&name);
                }
            }
        }
    }

    fn operation(&self, name: &str, status: Option<&Status>, lease: LeaseId) -> TxnOp {
        let (space, key) = (Space::System, status_key(&self.machine, name));
        match status {
            Some(status) => {
                TxnOp::Put(PutRequest { space, key, value: status.encode(), lease, ..PutRequest::default() })
            }
            None => TxnOp::DeleteRange(DeleteRangeRequest { space, key, ..DeleteRangeRequest::default() }),
        }
    }
}

/// Since when it is wrong: as long as it is the same.
pub fn since(before: Option<&Status>, message: &str) -> UnixMillis {
    let same = before.and_then(|status| status.trouble.as_ref()).filter(|trouble| trouble.message == message);
    same.map_or_else(now, |trouble| trouble.since)
}

/// A trouble at the file in which it is to be mended.
pub fn located(target: &Target, status: &Status, error: &PassError, message: &str) -> Trouble {
    let mut trouble = Trouble::new(&target.src.to_string_lossy(), message, since(Some(status), message));
    if let PassError::Malformed(malformed) = error {
        (trouble.line, trouble.column) = (Some(malformed.line), Some(malformed.column));
    }
    let elsewhere = match error {
        PassError::Check(_) | PassError::Reload(_) | PassError::Turn(_) => {
            Some(target.file.to_string_lossy().into_owned())
        }
        PassError::File(_) | PassError::Malformed(_) => Some(target.resource.dest.clone()),
        _ => None,
    };
    trouble.file = elsewhere.unwrap_or(trouble.file);
    trouble
}
