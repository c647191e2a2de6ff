//! What a service does next: events in, actions out, time as an argument. No file, process or clock is touched here.
//!
//! States, their order and which failure leads where follow systemd's service states, so that `list-units` and the
//! walk-throughs written for it read the same here.

mod ends;
mod reloading;
mod starting;
mod stopping;

use std::collections::VecDeque;

use super::protocol::Reloads;
pub use super::service::{Ended, ExitSet, KillMode, Kind, Outcome, Phase, Restart, Rules, State};

/// Milliseconds on a clock that only goes forward.
pub type Moment = u64;

/// What happens to a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Somebody wants it started or stopped.
    Start,
    Stop,
    /// Somebody wants it to read its configuration anew.
    Reload,
    /// The answer to [`Action::Begin`]: what the text says now.
    Begun(Box<Rules>),
    /// Or that a condition of the unit is not met: it is left alone.
    Unmet(String),
    /// The answers to [`Action::Spawn`].
    Spawned(u32),
    /// With the exit code that systemd gives the reason, for example 203 for a program that cannot be executed.
    SpawnFailed(i32),
    /// Processes that ended, and whether the unit has none left.
    Reaped {
        ended: Vec<(u32, Ended)>,
        empty: bool,
    },
    /// The moment set by [`Machine::deadline`] has come.
    Deadline,
    /// `READY=1`, `STOPPING=1`, `MAINPID=`, `EXTEND_TIMEOUT_USEC=` from the unit.
    Ready,
    Stopping,
    MainPid(u32),
    ExtendTimeout(u64),
    /// The answer to [`Action::FindMain`]; `None`: not known yet, or never.
    MainFound(Option<u32>),
}

/// What is to be done, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// A new start: a fresh invocation id, the unit's text read again. Answered by [`Event::Begun`] before anything else.
    Begin,
    /// Runs one command of a phase; answered by [`Event::Spawned`] or [`Event::SpawnFailed`] before anything else.
    Spawn { phase: Phase, index: usize },
    /// Sends a signal to these processes or, with `group`, to every process of the unit, these among them.
    Signal { number: i32, pids: Vec<u32>, group: bool },
    /// Finds the main process of a forking service: from its PID file, else by looking. Answered by [`Event::MainFound`].
    FindMain,
    /// A line for the unit's journal.
    Say(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Main {
    Gone,
    Alive(u32),
    /// A forking service whose main process nobody has named: it lives as long as any of its processes.
    Unknown,
}

/// A service's state and everything that decides its next one.
#[derive(Clone, Debug)]
pub struct Machine {
    rules: Rules,
    state: State,
    result: Outcome,
    main: Main,
    control: Option<u32>,
    /// The command that runs, or ran last.
    at: (Phase, usize),
    main_ended: Option<(u32, Ended)>,
    group_alive: bool,
    deadline: Option<Moment>,
    forbid_restart: bool,
    start_again: bool,
    starts: VecDeque<Moment>,
    restarts: u32,
    runs: u64,
    /// What was due before the reload that is under way, and is again after it.
    deadline_after_reload: Option<Moment>,
    reload: Reloads,
    actions: Vec<Action>,
    now: Moment,
}

impl Machine {
    /// A service that has not been started.
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            state: State::Dead,
            result: Outcome::Success,
            main: Main::Gone,
            control: None,
            at: (Phase::Start, 0),
            main_ended: None,
            group_alive: false,
            deadline: None,
            forbid_restart: false,
            start_again: false,
            starts: VecDeque::new(),
            restarts: 0,
            runs: 0,
            deadline_after_reload: None,
            reload: Reloads::default(),
            actions: Vec::new(),
            now: 0,
        }
    }

    pub fn state(&self) -> State {
        self.state
    }

    pub fn result(&self) -> Outcome {
        self.result
    }

    /// The main process, where it lives and is known.
    pub fn main_pid(&self) -> Option<u32> {
        match self.main {
            Main::Alive(pid) => Some(pid),
            Main::Gone | Main::Unknown => None,
        }
    }

    pub fn control_pid(&self) -> Option<u32> {
        self.control
    }

    /// The last main process, and how it ended.
    pub fn main_ended(&self) -> Option<(u32, Ended)> {
        self.main_ended
    }

    /// Restarts of the service's own since it was last started.
    pub fn restarts(&self) -> u32 {
        self.restarts
    }

    /// Starts so far, refused ones and the service's own restarts included.
    pub fn runs(&self) -> u64 {
        self.runs
    }

    /// Reloads so far.
    pub fn reloads(&self) -> Reloads {
        self.reload
    }

    /// When [`Event::Deadline`] is due.
    pub fn deadline(&self) -> Option<Moment> {
        self.deadline
    }

    /// Whether the unit has processes.
    pub fn group_alive(&self) -> bool {
        self.group_alive
    }

    /// One event: what is to be done for it.
    pub fn step(&mut self, event: Event, now: Moment) -> Vec<Action> {
        self.now = now;
        match event {
            Event::Start => self.on_start(),
            Event::Stop => self.on_stop(),
            Event::Reload => self.on_reload(),
            Event::Begun(rules) => {
                self.rules = *rules;
                self.enter_commands(State::Condition, Phase::Condition);
            }
            Event::Unmet(condition) => {
                self.say(format!("Not started: {condition} is not met"));
                self.state = State::Dead;
                self.deadline = None;
            }
            Event::Spawned(pid) => self.on_spawned(pid),
            Event::SpawnFailed(code) => self.on_spawn_failed(code),
            Event::Reaped { ended, empty } => self.on_reaped(&ended, empty),
            Event::Deadline => self.on_deadline(),
            Event::Ready => self.on_ready(),
            Event::Stopping => self.on_stopping(),
            Event::MainPid(pid) => self.on_main_pid(pid),
            Event::ExtendTimeout(ms) => self.on_extend(ms),
            Event::MainFound(pid) => self.on_main_found(pid),
        }
        std::mem::take(&mut self.actions)
    }

    fn say(&mut self, line: impl Into<String>) {
        self.actions.push(Action::Say(line.into()));
    }

    fn arm(&mut self, ms: Option<u64>) {
        self.deadline = ms.map(|ms| self.now.saturating_add(ms));
    }

    fn main_alive(&self) -> bool {
        matches!(self.main, Main::Alive(_))
    }

    /// Whether the service itself, rather than a helper, still runs.
    fn good(&self) -> bool {
        match self.main {
            Main::Alive(_) => true,
            Main::Gone => false,
            Main::Unknown => self.group_alive,
        }
    }

    // ---- wishes

    fn on_start(&mut self) {
        match self.state {
            State::Dead | State::Failed => self.begin(true),
            State::AutoRestart => self.begin(false),
            State::Condition
            | State::StartPre
            | State::Start
            | State::StartPost
            | State::Running
            | State::Exited
            | State::Reload => {}
            _ => {
                self.start_again = true;
                self.forbid_restart = true;
            }
        }
    }

    fn on_stop(&mut self) {
        self.start_again = false;
        self.forbid_restart = true;
        match self.state {
            State::AutoRestart => {
                self.deadline = None;
                self.state = State::Dead;
                self.result = Outcome::Success;
            }
            State::Condition | State::StartPre | State::Start | State::StartPost => {
                self.enter_signal(State::StopSigterm, Outcome::Success);
            }
            State::Running | State::Exited => self.enter_stop(Outcome::Success),
            State::Reload => {
                self.end_reload(false);
                self.enter_stop(Outcome::Success);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
