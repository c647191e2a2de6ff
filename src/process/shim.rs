//! The shim: one small process for each unit that runs, detached from the node, so that the node may die and come back
//! without touching the unit. It owns the unit's processes, decides by [`Machine`], keeps the journal and serves the socket.

mod fence;
mod start;
mod tell;

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use rustix::process::WaitOptions;

use self::fence::Allowance;
pub use self::start::specifiers;
use super::clock::boot_now;
use super::conditions;
use super::doors::{Asked, Doors, serve};
use super::journal::Journal;
use super::machine::{Action, Ended, Event, Machine};
use super::notify::{Access, NotifySocket};
use super::output::{Log, Output, now};
use super::processes;
use super::protocol::{Order, Push, Report, loaded};
use super::spec::Spec;
use super::store::{StoredUnit, UnitDir};
use crate::base::BootMillis;
use crate::base::limits::{SHIM_FAREWELL_MS_MAX, SHIM_IDLE_MS_MAX, SHIM_LOCK_WAIT_MS_MAX};
use crate::unit::file_condition;
use crate::unit::notify::{self, Note};

/// Written to standard output once the shim listens.
pub const READY: &[u8] = b"ready\n";

/// Pause between two looks at a lock that is held.
const LOCK_AGAIN: Duration = Duration::from_millis(20);

/// The first argument that makes the binary a shim; the unit's directory follows it.
pub const SHIM_ARGUMENT: &str = "__shim";

/// The whole life of a shim, to be called before the process has any thread. `arguments` are those after
/// [`SHIM_ARGUMENT`]. Returns the exit code.
///
/// It waits for the lock of the unit's directory, so that no unit ever has two, and gives up where another one keeps it; it ends
/// by itself when the unit is down.
pub fn shim_main(arguments: &[String]) -> u8 {
    let [dir] = arguments else {
        eprintln!("{SHIM_ARGUMENT} is for the node itself: it takes the directory of one unit");
        return 2;
    };
    // Fails only where it leads a session already.
    let _ = rustix::process::setsid();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = runtime.and_then(|runtime| runtime.block_on(live(UnitDir::new(dir))));
    match outcome {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("shim of {dir}: {error}");
            1
        }
    }
}

async fn live(dir: UnitDir) -> io::Result<()> {
    let _lock = take_lock(&dir).await?;
    let stored = dir.read_unit()?;
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    let children = signal(SignalKind::child())?;
    let terminate = signal(SignalKind::terminate())?;
    // A terminal that goes away, or a key pressed on it, is meant for the node.
    let ignored = [signal(SignalKind::hangup())?, signal(SignalKind::interrupt())?];
    let log = Log::new(Journal::open(dir.path())?);
    let mut shim = Shim::new(dir, &stored, log)?;
    let listener = UnixListener::from_std(shim.dir.listen()?)?;
    say_ready();
    let result = shim.run(listener, children, terminate).await;
    drop(ignored);
    result
}

/// The lock, once the shim before has ended. One that does not end watches over the unit, and this one is not needed: whoever
/// started it may be gone. The kernel offers no wait for a lock that has a bound.
async fn take_lock(dir: &UnitDir) -> io::Result<std::fs::File> {
    let deadline = Instant::now() + Duration::from_millis(SHIM_LOCK_WAIT_MS_MAX);
    loop {
        if let Some(lock) = dir.try_lock()? {
            return Ok(lock);
        }
        if Instant::now() >= deadline {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "another shim watches over the unit"));
        }
        tokio::time::sleep(LOCK_AGAIN).await;
    }
}

/// Tells whoever started this that it listens. Nothing else is ever written there.
fn say_ready() {
    use std::io::Write;
    let mut stdout = io::stdout();
    // Where nobody listens any more there is nobody to be told.
    let _ = stdout.write_all(READY).and_then(|()| stdout.flush());
}

struct Shim {
    dir: UnitDir,
    name: String,
    log: Log,
    machine: Machine,
    spec: Arc<Spec>,
    /// Hash and host of the text that runs.
    hash: String,
    boot_id: String,
    invocation: String,
    started: Instant,
    /// Runs of the unit before this shim.
    runs_before: u64,
    report: watch::Sender<Report>,
    status_text: String,
    notify: Option<NotifySocket>,
    outputs: Vec<Arc<Output>>,
    readers: JoinSet<()>,
    pid_file: Option<Pin<Box<dyn Future<Output = u32> + Send>>>,
    /// An order was given: from then on the shim ends when the unit is down.
    ordered: bool,
    leave: bool,
    sweep: bool,
    allowance: Allowance,
}

impl Shim {
    fn new(dir: UnitDir, stored: &StoredUnit, log: Log) -> io::Result<Self> {
        let before = dir.read_report().unwrap_or_default();
        if before.boot_id == stored.host.boot_id && !before.settled() {
            // The shim before was killed: nobody watches over what it ran.
            for pid in processes::of_invocation(&before.invocation) {
                processes::signal(pid, 9);
            }
        }
        let report = Report {
            state: loaded("inactive", "dead"),
            shim_pid: std::process::id(),
            hash: stored.unit.hash.clone(),
            boot_id: stored.host.boot_id.clone(),
            since: now(),
            run: before.run,
            ..Report::default()
        };
        let spec = Spec::read(&stored.unit, &specifiers(stored)).unwrap_or_default();
        Ok(Self {
            dir,
            log,
            machine: Machine::new(spec.rules.clone()),
            spec: Arc::new(spec),
            name: stored.unit.name.clone(),
            hash: stored.unit.hash.clone(),
            boot_id: stored.host.boot_id.clone(),
            invocation: String::new(),
            started: Instant::now(),
            runs_before: before.run,
            report: watch::Sender::new(report),
            status_text: String::new(),
            notify: None,
            outputs: Vec::new(),
            readers: JoinSet::new(),
            pid_file: None,
            ordered: false,
            leave: false,
            sweep: false,
            allowance: Allowance::default(),
        })
    }

    async fn run(&mut self, listener: UnixListener, mut children: Signal, mut terminate: Signal) -> io::Result<()> {
        let (orders_in, mut orders) = mpsc::channel(64);
        let open = watch::Sender::new(true);
        let guests = watch::Sender::new(0);
        let mut guests_seen = guests.subscribe();
        let doors = Doors {
            orders: orders_in,
            report: self.report.subscribe(),
            grown: self.log.grown(),
            open: open.subscribe(),
            guests,
        };
        let serving = tokio::spawn(serve(listener, doors));
        let idle = tokio::time::sleep(Duration::from_millis(SHIM_IDLE_MS_MAX));
        tokio::pin!(idle);
        while !self.done() {
            let deadline = self.machine.deadline();
            tokio::select! {
                Some(asked) = orders.recv() => self.take(asked).await,
                Some(()) = children.recv() => self.reap(),
                Some(()) = terminate.recv() => self.terminated(),
                () = sleep_until(self.started, deadline), if deadline.is_some() => self.drive(Event::Deadline),
                () = Allowance::look(self.watched_until()) => self.enforce_allowance(),
                Some((pid, text)) = heard(self.notify.as_ref()) => self.heard(pid, &text),
                Some(pid) = found(self.pid_file.as_mut()) => {
                    self.pid_file = None;
                    self.drive(Event::MainFound(Some(pid)));
                }
                Some(_) = self.readers.join_next() => {
                    self.outputs.retain(|output| Arc::strong_count(output) > 1);
                }
                () = &mut idle, if !self.ordered => {
                    if *guests_seen.borrow_and_update() == 0 {
                        break;
                    }
                    // Somebody is connected and may still decide: asked again when the time is over once more.
                    idle.as_mut().reset(Instant::now() + Duration::from_millis(SHIM_IDLE_MS_MAX));
                }
            }
            self.publish();
            if self.sweep && self.machine.state().settled() {
                processes::signal_descendants(std::process::id(), 9);
            }
        }
        self.end(open, serving, orders).await;
        Ok(())
    }

    /// Down, with nobody left to watch over.
    fn done(&self) -> bool {
        let down = self.machine.state().settled();
        self.ordered && down && (self.leave && !self.sweep || !self.machine.group_alive())
    }

    /// Lets the last lines in and the last words out, then closes the doors.
    async fn end(
        &mut self,
        open: watch::Sender<bool>,
        serving: tokio::task::JoinHandle<()>,
        orders: mpsc::Receiver<Asked>,
    ) {
        let limit = Duration::from_millis(SHIM_FAREWELL_MS_MAX);
        let readers = std::mem::take(&mut self.readers);
        if !self.leave {
            let _ = tokio::time::timeout(limit, readers.join_all()).await;
        }
        self.publish();
        // Orders that came too late are not taken: whoever gave them asks a new shim.
        drop(orders);
        open.send_replace(false);
        let _ = tokio::time::timeout(limit, serving).await;
    }

    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    // ---- orders

    async fn take(&mut self, asked: Asked) {
        let id = match asked.order {
            Order::Start { id, until } => {
                self.ordered = true;
                self.allowance.begin(until);
                self.drive(Event::Start);
                id
            }
            Order::Until { until } => {
                self.allowance.extend(until);
                return;
            }
            Order::Stop { id } => {
                self.ordered = true;
                self.drive(Event::Stop);
                id
            }
            Order::Reload { id } => {
                self.drive(Event::Reload);
                id
            }
            Order::Signal { id, number } => {
                self.machine.main_pid().inspect(|pid| processes::signal(*pid, number));
                id
            }
            Order::Leave { sweep } => {
                self.ordered = true;
                self.leave = true;
                self.sweep = sweep;
                return;
            }
            Order::Follow { .. } => return,
        };
        // The report goes first, so that who hears "taken" has seen what came of it.
        self.publish();
        // Where the other side is gone there is nobody to be told.
        let _ = asked.taken.send(Push::Taken { id }).await;
    }

    /// The machine goes down, most likely: the unit stops in order.
    fn terminated(&mut self) {
        self.ordered = true;
        self.drive(Event::Stop);
    }

    // ---- the machine's turn

    fn drive(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let now = self.now();
            for action in self.machine.step(event, now) {
                if let Some(answer) = self.act(action) {
                    events.push_back(answer);
                }
            }
        }
    }

    fn act(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::Begin => {
                self.begin();
                Some(match file_condition::unmet(&self.spec.conditions, conditions::holds) {
                    _ if self.allowance.is_over() => {
                        Event::Unmet("Exclusive=true: a lease of this machine that has not run out".to_owned())
                    }
                    Some(unmet) => Event::Unmet(unmet.to_string()),
                    None => Event::Begun(Box::new(self.spec.rules.clone())),
                })
            }
            Action::Spawn { phase, index } => Some(self.spawn(phase, index)),
            Action::Signal { number, pids, group } => {
                if group {
                    // They are among them: nobody gets a signal twice.
                    processes::signal_descendants(std::process::id(), number);
                } else {
                    pids.into_iter().for_each(|pid| processes::signal_and_wake(pid, number));
                }
                None
            }
            Action::FindMain => Some(Event::MainFound(self.find_main())),
            Action::Say(line) => {
                self.log.say(&line);
                None
            }
        }
    }

    // ---- what comes from the unit

    fn reap(&mut self) {
        let mut ended = Vec::new();
        let empty = loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => {
                    let Ok(pid) = u32::try_from(pid.as_raw_pid()) else {
                        continue;
                    };
                    match (status.exit_status(), status.terminating_signal()) {
                        (Some(code), _) => ended.push((pid, Ended::Code(code))),
                        (None, Some(number)) => {
                            let dumped = status.as_raw() & 0x80 != 0;
                            ended.push((pid, Ended::Signal { number, dumped }));
                        }
                        (None, None) => {}
                    }
                }
                Ok(None) => break false,
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => break true,
            }
        };
        if ended.is_empty() && empty != self.machine.group_alive() {
            return;
        }
        // What a process said before its end counts before it.
        for output in &self.outputs {
            output.drain();
        }
        while let Some((pid, text)) = self.notify.as_ref().and_then(NotifySocket::try_receive) {
            self.heard(pid, &text);
        }
        self.drive(Event::Reaped { ended, empty });
    }

    fn heard(&mut self, sender: u32, text: &str) {
        if !self.listens_to(sender) {
            self.log.say(&format!("A message from process {sender} does not count: NotifyAccess="));
            return;
        }
        for note in notify::parse(text) {
            match note {
                Note::Ready => self.drive(Event::Ready),
                Note::Stopping => self.drive(Event::Stopping),
                Note::MainPid(pid) if processes::descends(pid, std::process::id()) => {
                    self.drive(Event::MainPid(pid));
                }
                Note::MainPid(pid) => {
                    self.log.say(&format!("MAINPID={pid} is no process of this unit"));
                }
                Note::Status(text) => self.status_text = text,
                Note::ExtendTimeoutMs(ms) => self.drive(Event::ExtendTimeout(ms)),
            }
        }
    }

    fn listens_to(&self, sender: u32) -> bool {
        let main = self.machine.main_pid() == Some(sender);
        match self.spec.notify_access() {
            Access::None => false,
            Access::Main => main,
            Access::Exec => main || self.machine.control_pid() == Some(sender),
            // One that is gone by now can only have been the unit's: nobody else knows the socket's name.
            Access::All => processes::descends(sender, std::process::id()) || !processes::alive(sender),
        }
    }
}

async fn sleep_until(started: Instant, deadline: Option<u64>) {
    if let Some(ms) = deadline {
        match started.checked_add(Duration::from_millis(ms)) {
            Some(at) => tokio::time::sleep_until(at).await,
            None => std::future::pending().await,
        }
    }
}

async fn heard(socket: Option<&NotifySocket>) -> Option<(u32, String)> {
    match socket {
        Some(socket) => socket.receive().await.ok(),
        None => None,
    }
}

async fn found(waiting: Option<&mut Pin<Box<dyn Future<Output = u32> + Send>>>) -> Option<u32> {
    match waiting {
        Some(waiting) => Some(waiting.await),
        None => None,
    }
}
