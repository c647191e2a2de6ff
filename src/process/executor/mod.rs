//! The executor itself: which units there are, what is wished of them, what has become of it.

mod adopt;
mod answers;
mod reload;

use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OnceCell, mpsc, watch};
use tokio::task::JoinSet;

use super::jobs::{Jobs, Order, Seen};
use super::journal::{Journal, Reader};
use super::keeper::{Keeper, Listener, Wish, bury};
use super::link::Link;
use super::machine::Phase;
use super::output::now;
use super::protocol::{Push, Report, loaded};
use super::shim::{SHIM_ARGUMENT, specifiers};
use super::show::{self, FORMATS, Origin, Standing};
use super::spec::Spec;
use super::store::{self, Host, StoredUnit, UnitDir};
use super::stream::Stream;
use crate::base::limits::{SHIM_ANSWER_MS_MAX, UNIT_DIR_NAME_BYTES_MAX, UNIT_WISHES_MAX};
use crate::base::{BootMillis, BoxFuture};
use crate::fleet::executor::{
    ActiveState, Executor, ExecutorError, Held, JournalLine, JournalQuery, JournalStream, StateChange, StatusText,
    UnitFile,
};
use crate::unit::{Placement, UnitText};

/// What the executor is given.
#[derive(Clone, Debug)]
pub struct ProcessOptions {
    /// Where units are kept, one directory each; made where it is missing.
    pub state_dir: PathBuf,
    pub host: Host,
    /// The program that becomes a shim, and its arguments before the unit's directory.
    pub shim: Vec<PathBuf>,
}

impl ProcessOptions {
    /// With shims made of this very binary, which has to hand what follows [`SHIM_ARGUMENT`] to [`super::shim_main`].
    ///
    /// # Errors
    /// The binary's path cannot be found out.
    pub fn new(state_dir: impl Into<PathBuf>, host: Host) -> io::Result<Self> {
        Ok(Self {
            state_dir: state_dir.into(),
            host,
            shim: vec![std::env::current_exe()?, PathBuf::from(SHIM_ARGUMENT)],
        })
    }
}

/// The `process` executor. Dropping it leaves every unit as it is.
pub struct ProcessExecutor {
    inner: Arc<Inner>,
}

struct Inner {
    options: ProcessOptions,
    shim: Arc<[PathBuf]>,
    shared: Mutex<Shared>,
    changed: Notify,
    removed: Notify,
    reported: Notify,
    adopted: OnceCell<()>,
}

#[derive(Default)]
struct Shared {
    units: BTreeMap<String, Entry>,
    jobs: Jobs,
    changes: BTreeMap<String, Option<ActiveState>>,
    /// Whatever processes `KillMode=` leaves are killed too.
    sweep: bool,
    keepers: JoinSet<()>,
}

struct Entry {
    dir: UnitDir,
    hash: String,
    description: String,
    /// How long a stop may take, all its steps together.
    stop_ms_max: u64,
    /// Whether it has `ExecReload=`.
    reloads: bool,
    /// Who reloads it; one at a time.
    reloading: Arc<tokio::sync::Mutex<()>>,
    exclusive: bool,
    /// How long it may run, if it is exclusive: not at all before somebody says so.
    until: BootMillis,
    report: Report,
    wishes: mpsc::Sender<Wish>,
    grown: watch::Sender<u64>,
    followers: usize,
    unloading: bool,
}

impl Entry {
    fn seen(&self) -> Seen {
        seen(&self.report)
    }

    /// Of the text that runs, where one runs.
    fn hash(&self) -> &str {
        if self.report.settled() || self.report.hash.is_empty() { &self.hash } else { &self.report.hash }
    }

    fn wish(&self, name: &str, wish: Wish) {
        if let Err(error) = self.wishes.try_send(wish) {
            tracing::error!(unit = name, ?wish, %error, "a unit's keeper takes no more wishes");
        }
    }
}

fn seen(report: &Report) -> Seen {
    Seen { active: report.state.active.clone(), sub: report.state.sub.clone(), run: report.run }
}

impl ProcessExecutor {
    /// An executor over what `options.state_dir` holds. Finds out what that is when it is first asked for anything.
    ///
    /// # Errors
    /// The directory can neither be found nor made.
    pub fn new(mut options: ProcessOptions) -> io::Result<Self> {
        // Units' texts and outputs may hold secrets, and whoever reaches a shim's socket commands it.
        DirBuilder::new().recursive(true).mode(0o700).create(&options.state_dir)?;
        options.state_dir = options.state_dir.canonicalize()?;
        let inner = Inner {
            shim: options.shim.clone().into(),
            options,
            shared: Mutex::default(),
            changed: Notify::new(),
            removed: Notify::new(),
            reported: Notify::new(),
            adopted: OnceCell::new(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Stops and forgets every unit, and waits until nothing of them is left, processes that `KillMode=` spares included.
    ///
    /// # Errors
    /// A unit outlives all its own time-outs.
    pub async fn remove_all(&self) -> Result<(), ExecutorError> {
        self.inner.ready().await?;
        let mut limit = Duration::from_millis(SHIM_ANSWER_MS_MAX);
        {
            let mut shared = self.inner.lock();
            shared.sweep = true;
            let names: Vec<String> = shared.units.keys().cloned().collect();
            for entry in shared.units.values() {
                limit = limit.max(Duration::from_millis(entry.stop_ms_max.saturating_add(SHIM_ANSWER_MS_MAX)));
            }
            for name in names {
                self.inner.unload(&mut shared, &name);
            }
        }
        let gone = async {
            loop {
                let removed = self.inner.removed.notified();
                tokio::pin!(removed);
                removed.as_mut().enable();
                if self.inner.lock().units.is_empty() {
                    break;
                }
                removed.await;
            }
            // Their shims are still saying good-bye.
            let mut keepers = std::mem::take(&mut self.inner.lock().keepers);
            while keepers.join_next().await.is_some() {}
        };
        let left = tokio::time::timeout(limit, gone).await;
        left.map_err(|_| ExecutorError::TimedOut {
            doing: format!("stopping units {:?}", self.inner.lock().units.keys().collect::<Vec<_>>()),
            waited: limit,
        })?;
        self.inner.lock().sweep = false;
        // Only where nothing else is in it.
        let _ = std::fs::remove_dir(&self.inner.options.state_dir);
        Ok(())
    }
}

impl Drop for ProcessExecutor {
    fn drop(&mut self) {
        // Shims do not notice.
        let mut shared = self.inner.lock();
        shared.units.clear();
        shared.keepers.abort_all();
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // ---- wishes

    fn load(self: &Arc<Self>, unit: UnitFile) -> Result<(), ExecutorError> {
        let stored = StoredUnit { unit, host: self.options.host.clone() };
        let unit = &stored.unit;
        check_name(&unit.name)?;
        let spec = Spec::read(unit, &specifiers(&stored))?;
        for warning in &spec.warnings {
            tracing::warn!(unit = unit.name, warning, "not honoured by the process executor");
        }
        let mut shared = self.lock();
        let dir = UnitDir::new(self.options.state_dir.join(&unit.name));
        dir.write_unit(&stored).map_err(|error| ExecutorError::Failed {
            unit: unit.name.clone(),
            doing: format!("writing {}", dir.unit_path().display()),
            reason: error.to_string(),
        })?;
        match shared.units.get_mut(&unit.name) {
            Some(entry) => {
                entry.hash.clone_from(&unit.hash);
                entry.description.clone_from(&spec.description);
                entry.stop_ms_max = stop_ms_max(&spec);
                entry.reloads = reloads(&spec);
                entry.exclusive = is_exclusive(unit);
                entry.unloading = false;
                let seen = entry.seen();
                shared.jobs.know(&unit.name, spec.needs, seen);
            }
            None => {
                let report = Report { state: loaded("inactive", "dead"), ..Report::default() };
                let state = report.state.clone();
                self.enter(&mut shared, dir, unit, &spec, report, None);
                shared.changes.insert(unit.name.clone(), Some(state));
                self.changed.notify_one();
            }
        }
        Ok(())
    }

    fn start(&self, name: &str) -> Result<(), ExecutorError> {
        let mut shared = self.lock();
        known(&shared, name)?;
        for missing in shared.jobs.unknown(name) {
            if !is_of_the_system(&missing) {
                let text = format!("{missing}, which it needs, is not loaded here: taken as met");
                tracing::warn!(unit = name, missing, "a needed unit is not loaded here");
                say(&shared, name, &text);
            }
        }
        let orders = shared.jobs.start(name);
        dispatch(&shared, orders);
        Ok(())
    }

    fn stop(&self, name: &str) -> Result<(), ExecutorError> {
        let mut shared = self.lock();
        known(&shared, name)?;
        let orders = shared.jobs.stop(name);
        dispatch(&shared, orders);
        Ok(())
    }

    fn allow_until(&self, units: &[String], until: BootMillis) {
        let mut shared = self.lock();
        for name in units {
            if let Some(entry) = shared.units.get_mut(name).filter(|entry| entry.exclusive && entry.until < until) {
                entry.until = until;
                entry.wish(name, Wish::Until(until));
            }
        }
    }

    fn unload(&self, shared: &mut Shared, name: &str) {
        if let Some(entry) = shared.units.get_mut(name) {
            entry.unloading = true;
        }
        let orders = shared.jobs.stop(name);
        dispatch(shared, orders);
        self.forget_if_done(shared, name);
    }

    /// Removes a unit that is to be unloaded once it is down.
    fn forget_if_done(&self, shared: &mut Shared, name: &str) {
        let done = shared
            .units
            .get(name)
            .is_some_and(|entry| entry.unloading && entry.report.settled() && !shared.jobs.busy(name));
        if !done {
            return;
        }
        let Some(entry) = shared.units.remove(name) else {
            return;
        };
        entry.wish(name, Wish::Leave { sweep: shared.sweep });
        if let Err(error) = entry.dir.remove() {
            tracing::error!(unit = name, %error, "cannot remove a unit's directory");
        }
        let orders = shared.jobs.forget(name);
        dispatch(shared, orders);
        shared.changes.insert(name.to_owned(), None);
        self.changed.notify_one();
        self.removed.notify_waiters();
    }
}

impl Listener for Inner {
    fn reported(&self, name: &str, report: Report) {
        let mut shared = self.lock();
        let Some(entry) = shared.units.get_mut(name) else {
            return;
        };
        let before = std::mem::replace(&mut entry.report, report);
        let seen = entry.seen();
        if entry.report.state != before.state {
            let state = entry.report.state.clone();
            shared.changes.insert(name.to_owned(), Some(state));
            self.changed.notify_one();
        }
        let orders = shared.jobs.observe(name, seen);
        dispatch(&shared, orders);
        self.forget_if_done(&mut shared, name);
        self.reported.notify_waiters();
    }

    fn journal_grew(&self, name: &str) {
        if let Some(entry) = self.lock().units.get(name) {
            entry.grown.send_modify(|n| *n += 1);
        }
    }
}

fn dispatch(shared: &Shared, orders: Vec<Order>) {
    for order in orders {
        let (name, wish) = match &order {
            Order::Start(name) => {
                let entry = shared.units.get(name).filter(|entry| entry.exclusive);
                (name, Wish::Start(entry.map(|entry| entry.until)))
            }
            Order::Stop(name) => (name, Wish::Stop),
            Order::Say(name, text) => {
                tracing::warn!(unit = name, "{text}");
                say(shared, name, text);
                continue;
            }
        };
        if let Some(entry) = shared.units.get(name) {
            entry.wish(name, wish);
        }
    }
}

/// A line of the executor's own in a unit's journal.
fn say(shared: &Shared, name: &str, text: &str) {
    let Some(entry) = shared.units.get(name) else {
        return;
    };
    let line = JournalLine {
        at: now(),
        pid: std::process::id(),
        identifier: "node".to_owned(),
        message: text.as_bytes().to_vec(),
    };
    // The log has it too.
    let _ = Journal::open(entry.dir.path()).and_then(|mut journal| journal.append(&line));
    entry.grown.send_modify(|n| *n += 1);
}

/// Whether it is never to run on two machines at once.
fn is_exclusive(unit: &UnitFile) -> bool {
    UnitText::parse(&unit.text).is_ok_and(|text| Placement::of(&text, &unit.name).exclusive)
}

/// The longest that a stop may take: ExecStop=, each of two signals, ExecStopPost=, and the two signals after it.
fn stop_ms_max(spec: &Spec) -> u64 {
    let step = spec.rules.timeout_stop_ms.unwrap_or(u64::MAX / 16);
    step.saturating_mul(6)
}

fn reloads(spec: &Spec) -> bool {
    !spec.commands(Phase::Reload).is_empty()
}

fn check_name(name: &str) -> Result<(), ExecutorError> {
    let refuse = |reason: String| ExecutorError::Unsupported { unit: name.to_owned(), reason };
    crate::unit::name::validate(name).map_err(|error| refuse(error.to_string()))?;
    if name.len() > UNIT_DIR_NAME_BYTES_MAX {
        return Err(refuse(format!(
            "the name is longer than {UNIT_DIR_NAME_BYTES_MAX} bytes, which no directory's may be: shorten it"
        )));
    }
    Ok(())
}

fn known(shared: &Shared, name: &str) -> Result<(), ExecutorError> {
    match shared.units.get(name) {
        Some(entry) if !entry.unloading => Ok(()),
        _ => Err(not_loaded(name)),
    }
}

fn not_loaded(name: &str) -> ExecutorError {
    ExecutorError::NotLoaded { unit: name.to_owned() }
}

/// Units that a system brings along, or that the machine offers in another way: nobody misses them here.
fn is_of_the_system(name: &str) -> bool {
    const SERVICES: [&str; 12] = [
        "docker",
        "containerd",
        "etcd",
        "etcd2",
        "etcd-member",
        "fleet",
        "flanneld",
        "early-docker",
        "network",
        "networking",
        "ntpd",
        "dbus",
    ];
    match name.rsplit_once('.') {
        Some((stem, "service")) => stem.starts_with("systemd-") || SERVICES.contains(&stem),
        // Targets, mounts, sockets, devices: never loaded here.
        _ => true,
    }
}

impl Executor for ProcessExecutor {
    fn name(&self) -> &'static str {
        "process"
    }

    fn adopt(&self) -> BoxFuture<'_, Result<Vec<Held>, ExecutorError>> {
        Box::pin(async {
            self.inner.ready().await?;
            Ok(self.inner.held())
        })
    }

    fn load(&self, units: Vec<UnitFile>) -> BoxFuture<'_, Vec<Result<(), ExecutorError>>> {
        Box::pin(async {
            if let Err(error) = self.inner.ready().await {
                return units.iter().map(|_| Err(error.clone())).collect();
            }
            units.into_iter().map(|unit| self.inner.load(unit)).collect()
        })
    }

    fn start<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), ExecutorError>> {
        Box::pin(async {
            self.inner.ready().await?;
            self.inner.start(name)
        })
    }

    fn stop<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), ExecutorError>> {
        Box::pin(async {
            self.inner.ready().await?;
            self.inner.stop(name)
        })
    }

    fn reload<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), ExecutorError>> {
        Box::pin(async {
            self.inner.ready().await?;
            self.inner.reload(name).await
        })
    }

    fn signal<'a>(&'a self, name: &'a str, number: i32) -> BoxFuture<'a, Result<(), ExecutorError>> {
        Box::pin(async move {
            self.inner.ready().await?;
            self.inner.signal(name, number)
        })
    }

    fn unload<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), ExecutorError>> {
        Box::pin(async {
            self.inner.ready().await?;
            let mut shared = self.inner.lock();
            if !shared.units.contains_key(name) {
                return Err(not_loaded(name));
            }
            self.inner.unload(&mut shared, name);
            Ok(())
        })
    }

    fn is_idle<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<bool, ExecutorError>> {
        Box::pin(async {
            self.inner.ready().await?;
            Ok(!self.inner.lock().jobs.busy(name))
        })
    }

    fn fences(&self) -> bool {
        true
    }

    fn allow_until(&self, units: Vec<String>, until: BootMillis) -> BoxFuture<'_, Result<(), ExecutorError>> {
        Box::pin(async move {
            self.inner.ready().await?;
            self.inner.allow_until(&units, until);
            Ok(())
        })
    }

    fn changes(&self) -> BoxFuture<'_, Vec<StateChange>> {
        Box::pin(self.inner.changes())
    }

    fn status<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<StatusText, ExecutorError>> {
        Box::pin(async {
            self.inner.ready().await?;
            Ok(self.inner.status(name))
        })
    }

    fn journal<'a>(
        &'a self,
        name: &'a str,
        query: JournalQuery,
    ) -> BoxFuture<'a, Result<Box<dyn JournalStream>, ExecutorError>> {
        Box::pin(async move {
            self.inner.ready().await?;
            let stream = self.inner.journal(name, &query)?;
            Ok(Box::new(stream) as Box<dyn JournalStream>)
        })
    }

    fn main_process<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<u32, ExecutorError>> {
        Box::pin(async {
            self.inner.ready().await?;
            self.inner.main_process(name)
        })
    }
}
