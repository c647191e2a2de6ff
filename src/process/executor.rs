//! The executor itself: which units there are, what is wished of them, what has become of it.

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
use super::output::now;
use super::protocol::{Push, Report, loaded};
use super::shim::{SHIM_ARGUMENT, specifiers};
use super::show::{self, FORMATS, Origin, Standing};
use super::spec::Spec;
use super::store::{self, Host, StoredUnit, UnitDir};
use super::stream::Stream;
use crate::base::BoxFuture;
use crate::base::limits::{SHIM_ANSWER_MS_MAX, UNIT_DIR_NAME_BYTES_MAX, UNIT_WISHES_MAX};
use crate::fleet::executor::{
    ActiveState, Executor, ExecutorError, Held, JournalLine, JournalQuery, JournalStream, StateChange, StatusText,
    UnitFile,
};

/// Lines of the journal that `status` shows.
const STATUS_LINES: usize = 10;

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
                limit = limit.max(Duration::from_millis(entry.stop_ms_max + SHIM_ANSWER_MS_MAX));
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

    // ---- adoption

    /// Adopts what is there, once.
    async fn ready(self: &Arc<Self>) -> Result<(), ExecutorError> {
        self.adopted.get_or_try_init(|| Arc::clone(self).adopt_all()).await.map(|_| ())
    }

    async fn adopt_all(self: Arc<Self>) -> Result<(), ExecutorError> {
        let kept = store::scan(&self.options.state_dir).map_err(|error| ExecutorError::Failed {
            unit: self.options.state_dir.display().to_string(),
            doing: "looking for units of an earlier life".to_owned(),
            reason: error.to_string(),
        })?;
        let mut meetings = JoinSet::new();
        for (dir, stored) in kept {
            let boot_id = self.options.host.boot_id.clone();
            meetings.spawn(async move {
                let (link, report) = meet(&dir, &boot_id).await;
                (dir, stored, link, report)
            });
        }
        while let Some(Ok((dir, stored, link, report))) = meetings.join_next().await {
            let name = stored.unit.name.clone();
            let spec = Spec::read(&stored.unit, &specifiers(&stored)).unwrap_or_else(|error| {
                tracing::warn!(unit = name, %error, "an adopted unit's text is not understood");
                Spec::default()
            });
            tracing::info!(unit = name, state = report.state.active, "adopted");
            let mut shared = self.lock();
            self.enter(&mut shared, dir, &stored.unit, &spec, report, link);
        }
        Ok(())
    }

    /// Makes a unit known and gives it its keeper.
    fn enter(
        self: &Arc<Self>,
        shared: &mut Shared,
        dir: UnitDir,
        unit: &UnitFile,
        spec: &Spec,
        report: Report,
        link: Option<Link>,
    ) {
        let (wishes, wished) = mpsc::channel(UNIT_WISHES_MAX);
        shared.jobs.know(&unit.name, spec.needs.clone(), seen(&report));
        let keeper = Keeper {
            name: unit.name.clone(),
            dir: dir.clone(),
            shim: Arc::clone(&self.shim),
            listener: Arc::clone(self),
            last: report.clone(),
            follow: false,
            retries: 0,
        };
        while shared.keepers.try_join_next().is_some() {}
        shared.keepers.spawn(keeper.run(wished, link));
        let entry = Entry {
            dir,
            hash: unit.hash.clone(),
            description: spec.description.clone(),
            stop_ms_max: stop_ms_max(spec),
            report,
            wishes,
            grown: watch::Sender::new(0),
            followers: 0,
            unloading: false,
        };
        shared.units.insert(unit.name.clone(), entry);
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

    // ---- answers

    fn held(&self) -> Vec<Held> {
        let shared = self.lock();
        let units = shared.units.iter();
        units
            .map(|(name, entry)| Held {
                name: name.clone(),
                hash: entry.hash().to_owned(),
                state: entry.report.state.clone(),
            })
            .collect()
    }

    async fn changes(&self) -> Vec<StateChange> {
        loop {
            // A permit is kept where the change came before the waiting.
            let changed = self.changed.notified();
            let all = std::mem::take(&mut self.lock().changes);
            if !all.is_empty() {
                return all.into_iter().map(|(name, state)| StateChange { name, state }).collect();
            }
            changed.await;
        }
    }

    fn origin(&self, name: &str) -> Origin {
        Origin {
            unit: name.to_owned(),
            hostname: self.options.host.hostname.clone(),
            machine_id: self.options.host.machine_id.clone(),
        }
    }

    fn status(&self, name: &str) -> StatusText {
        let shared = self.lock();
        let Some(entry) = shared.units.get(name) else {
            return StatusText { text: format!("Unit {name} could not be found.\n"), exit_code: 4 };
        };
        let journal = last_lines(&entry.dir);
        show::status(&Standing {
            name,
            description: &entry.description,
            path: entry.dir.unit_path().display().to_string(),
            report: &entry.report,
            now: now(),
            journal: show::lines(&journal, "short", &self.origin(name)),
        })
    }

    fn journal(self: &Arc<Self>, name: &str, query: &JournalQuery) -> Result<Stream, ExecutorError> {
        let format = if query.output.is_empty() { "short" } else { &query.output };
        if !FORMATS.contains(&format) {
            return Err(ExecutorError::Unsupported {
                unit: name.to_owned(),
                reason: format!("no such journal format: {format:?}; there are {}", FORMATS.join(", ")),
            });
        }
        let mut shared = self.lock();
        let entry = shared.units.get_mut(name).ok_or_else(|| not_loaded(name))?;
        let grown = query.follow.then(|| entry.grown.subscribe());
        let reader = Reader::open(entry.dir.path(), query.lines).map_err(|error| ExecutorError::Failed {
            unit: name.to_owned(),
            doing: "opening its journal".to_owned(),
            reason: error.to_string(),
        })?;
        let farewell = query.follow.then(|| {
            entry.followers += 1;
            if entry.followers == 1 {
                entry.wish(name, Wish::Follow(true));
            }
            let (inner, name) = (Arc::clone(self), name.to_owned());
            Box::new(move || inner.unfollow(&name)) as Box<dyn FnOnce() + Send>
        });
        Ok(Stream { reader, origin: self.origin(name), format: format.to_owned(), grown, farewell })
    }

    fn unfollow(&self, name: &str) {
        if let Some(entry) = self.lock().units.get_mut(name) {
            entry.followers = entry.followers.saturating_sub(1);
            if entry.followers == 0 {
                entry.wish(name, Wish::Follow(false));
            }
        }
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
            Order::Start(name) => (name, Wish::Start),
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

fn last_lines(dir: &UnitDir) -> Vec<JournalLine> {
    let mut all = Vec::new();
    if let Ok(mut reader) = Reader::open(dir.path(), Some(STATUS_LINES)) {
        while let Ok(lines) = reader.read() {
            if lines.is_empty() {
                break;
            }
            all.extend(lines);
        }
    }
    all.split_off(all.len().saturating_sub(STATUS_LINES))
}

/// Finds out how it stands with a unit of an earlier life: from its shim, else from what that left.
async fn meet(dir: &UnitDir, boot_id: &str) -> (Option<Link>, Report) {
    let limit = Duration::from_millis(SHIM_ANSWER_MS_MAX);
    let hello = async {
        let mut link = Link::connect(dir).ok()?;
        match link.hear().await? {
            Push::Report(report) => Some((link, *report)),
            _ => None,
        }
    };
    match tokio::time::timeout(limit, hello).await {
        Ok(Some((link, report))) => return (Some(link), report),
        Ok(None) => {}
        Err(_) => tracing::warn!(dir = %dir.path().display(), ?limit, "a shim does not answer"),
    }
    if dir.is_locked() {
        // A shim that ends, or one that has hardly begun: its end is waited for, a little.
        let ending = dir.clone();
        let end = tokio::task::spawn_blocking(move || ending.lock().map(drop));
        let _ = tokio::time::timeout(limit / 5, end).await;
        if let Ok(link) = Link::connect(dir) {
            return (Some(link), dir.read_report().unwrap_or_else(never_started));
        }
    }
    let mut report = dir.read_report().unwrap_or_else(never_started);
    if report.boot_id != boot_id {
        // The machine has been restarted since: as systemd after a boot, it knows of nothing that ran.
        report = Report { run: report.run, ..never_started() };
    } else if !report.settled() {
        bury(&mut report);
        let _ = dir.write_report(&report);
    }
    (None, report)
}

fn never_started() -> Report {
    Report { state: loaded("inactive", "dead"), ..Report::default() }
}

/// The longest that a stop may take: ExecStop=, each of two signals, ExecStopPost=, and the two signals after it.
fn stop_ms_max(spec: &Spec) -> u64 {
    let step = spec.rules.timeout_stop_ms.unwrap_or(u64::MAX / 16);
    step.saturating_mul(6)
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
}
