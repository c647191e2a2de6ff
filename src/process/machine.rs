//! What a service does next: events in, actions out, time as an argument. No file, process or clock is touched here.
//!
//! States, their order and which failure leads where follow systemd's service states, so that `list-units` and the
//! walk-throughs written for it read the same here.

use std::collections::VecDeque;

/// Milliseconds on a clock that only goes forward.
pub type Moment = u64;

/// The commands of a unit, in the groups in which they run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    Condition,
    StartPre,
    Start,
    StartPost,
    Stop,
    StopPost,
}

/// `Type=`: when a unit counts as started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    #[default]
    Simple,
    Exec,
    Oneshot,
    Notify,
    Forking,
}

/// `Restart=`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Restart {
    #[default]
    No,
    Always,
    OnSuccess,
    OnFailure,
    OnAbnormal,
    OnAbort,
    OnWatchdog,
}

/// `KillMode=`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KillMode {
    #[default]
    ControlGroup,
    Mixed,
    Process,
    None,
}

/// Exit codes and signals named by `SuccessExitStatus=` and its kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExitSet {
    pub codes: Vec<i32>,
    pub signals: Vec<i32>,
}

impl ExitSet {
    fn holds(&self, ended: Ended) -> bool {
        match ended {
            Ended::Code(code) => self.codes.contains(&code),
            Ended::Signal { number, .. } => self.signals.contains(&number),
        }
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    Code(i32),
    Signal { number: i32, dumped: bool },
}

/// Why a unit is down, or about to be: systemd's `Result=`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Outcome {
    #[default]
    Success,
    ExitCode,
    Signal,
    CoreDump,
    Timeout,
    Protocol,
    StartLimitHit,
    ExecCondition,
}

impl Outcome {
    /// As systemd spells it in `Result=` and `$SERVICE_RESULT`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::ExitCode => "exit-code",
            Self::Signal => "signal",
            Self::CoreDump => "core-dump",
            Self::Timeout => "timeout",
            Self::Protocol => "protocol",
            Self::StartLimitHit => "start-limit-hit",
            Self::ExecCondition => "exec-condition",
        }
    }
}

/// Where a service is; the names are systemd's sub states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    #[default]
    Dead,
    Condition,
    StartPre,
    Start,
    StartPost,
    Running,
    Exited,
    Stop,
    StopSigterm,
    StopSigkill,
    StopPost,
    FinalSigterm,
    FinalSigkill,
    Failed,
    AutoRestart,
}

impl State {
    /// systemd's `ActiveState`.
    pub fn active(self) -> &'static str {
        match self {
            Self::Dead => "inactive",
            Self::Failed => "failed",
            Self::Condition | Self::StartPre | Self::Start | Self::StartPost | Self::AutoRestart => "activating",
            Self::Running | Self::Exited => "active",
            _ => "deactivating",
        }
    }

    /// systemd's `SubState`.
    pub fn sub(self) -> &'static str {
        match self {
            Self::Dead => "dead",
            Self::Condition => "condition",
            Self::StartPre => "start-pre",
            Self::Start => "start",
            Self::StartPost => "start-post",
            Self::Running => "running",
            Self::Exited => "exited",
            Self::Stop => "stop",
            Self::StopSigterm => "stop-sigterm",
            Self::StopSigkill => "stop-sigkill",
            Self::StopPost => "stop-post",
            Self::FinalSigterm => "final-sigterm",
            Self::FinalSigkill => "final-sigkill",
            Self::Failed => "failed",
            Self::AutoRestart => "auto-restart",
        }
    }

    /// Down, and nothing is going on.
    pub fn settled(self) -> bool {
        matches!(self, Self::Dead | Self::Failed)
    }
}

/// What the machine has to know of a unit file. The vectors hold one entry a command: whether its failure is ignored (`-`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    pub kind: Kind,
    pub remain_after_exit: bool,
    pub condition: Vec<bool>,
    pub start_pre: Vec<bool>,
    pub start: Vec<bool>,
    pub start_post: Vec<bool>,
    pub stop: Vec<bool>,
    pub stop_post: Vec<bool>,
    pub restart: Restart,
    pub restart_ms: u64,
    pub start_limit_interval_ms: u64,
    pub start_limit_burst: u32,
    /// `None`: no limit.
    pub timeout_start_ms: Option<u64>,
    pub timeout_stop_ms: Option<u64>,
    pub runtime_max_ms: Option<u64>,
    pub kill_mode: KillMode,
    pub kill_signal: i32,
    pub final_kill_signal: i32,
    pub send_sigkill: bool,
    pub send_sighup: bool,
    pub success: ExitSet,
    pub restart_prevent: ExitSet,
    pub restart_force: ExitSet,
    pub has_pid_file: bool,
}

impl Rules {
    fn commands(&self, phase: Phase) -> &[bool] {
        match phase {
            Phase::Condition => &self.condition,
            Phase::StartPre => &self.start_pre,
            Phase::Start => &self.start,
            Phase::StartPost => &self.start_post,
            Phase::Stop => &self.stop,
            Phase::StopPost => &self.stop_post,
        }
    }
}

/// What happens to a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Somebody wants it started or stopped.
    Start,
    Stop,
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
            State::Condition | State::StartPre | State::Start | State::StartPost | State::Running | State::Exited => {}
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
            _ => {}
        }
    }

    // ---- starting

    fn begin(&mut self, wished: bool) {
        self.start_again = false;
        self.runs += 1;
        if self.too_many_starts() {
            self.say("Start request repeated too quickly: not started");
            self.result = Outcome::StartLimitHit;
            self.deadline = None;
            self.state = State::Failed;
            return;
        }
        self.actions.push(Action::Begin);
        self.result = Outcome::Success;
        self.forbid_restart = false;
        self.main = Main::Gone;
        self.main_ended = None;
        self.control = None;
        if wished {
            self.restarts = 0;
        } else {
            self.restarts = self.restarts.saturating_add(1);
        }
    }

    fn too_many_starts(&mut self) -> bool {
        let (interval, burst) = (self.rules.start_limit_interval_ms, self.rules.start_limit_burst as usize);
        if interval == 0 || burst == 0 {
            return false;
        }
        while self.starts.front().is_some_and(|at| self.now.saturating_sub(*at) >= interval) {
            self.starts.pop_front();
        }
        if self.starts.len() >= burst {
            return true;
        }
        self.starts.push_back(self.now);
        false
    }

    /// Runs the first command of a phase of helpers, or goes on where it has none.
    fn enter_commands(&mut self, state: State, phase: Phase) {
        self.control = None;
        if self.rules.commands(phase).is_empty() {
            self.after_commands(phase, Outcome::Success);
        } else {
            self.state = state;
            self.spawn(phase, 0);
        }
    }

    fn spawn(&mut self, phase: Phase, index: usize) {
        self.at = (phase, index);
        let limit = match phase {
            Phase::Stop | Phase::StopPost => self.rules.timeout_stop_ms,
            _ => self.rules.timeout_start_ms,
        };
        self.arm(limit);
        self.actions.push(Action::Spawn { phase, index });
    }

    /// A phase of helpers is over: with success, or at its first failure that counts.
    fn after_commands(&mut self, phase: Phase, outcome: Outcome) {
        let failed = outcome != Outcome::Success;
        match phase {
            Phase::Condition if outcome == Outcome::ExecCondition => {
                self.say("Skipped: its ExecCondition= is not met");
                self.enter_stop_post(outcome);
            }
            Phase::Condition | Phase::StartPre | Phase::Start | Phase::StartPost if failed => {
                self.enter_signal(State::StopSigterm, outcome);
            }
            Phase::Condition => self.enter_commands(State::StartPre, Phase::StartPre),
            Phase::StartPre => self.enter_start(),
            Phase::Start => {
                // The parent of a forking service has gone: who is its main process?
                self.main = Main::Unknown;
                self.actions.push(Action::FindMain);
            }
            Phase::StartPost => self.enter_running(Outcome::Success),
            Phase::Stop => self.enter_signal(State::StopSigterm, outcome),
            Phase::StopPost => self.enter_signal(State::FinalSigterm, outcome),
        }
    }

    fn enter_start(&mut self) {
        self.control = None;
        if self.rules.start.is_empty() {
            // Only a oneshot service may do without.
            self.main = Main::Gone;
            self.enter_start_post();
        } else {
            self.state = State::Start;
            self.spawn(Phase::Start, 0);
        }
    }

    fn on_spawned(&mut self, pid: u32) {
        self.group_alive = true;
        if self.at.0 == Phase::Start && self.rules.kind != Kind::Forking {
            self.main = Main::Alive(pid);
            if matches!(self.rules.kind, Kind::Simple | Kind::Exec) {
                self.enter_start_post();
            }
        } else {
            self.control = Some(pid);
        }
    }

    fn on_spawn_failed(&mut self, code: i32) {
        let (phase, _) = self.at;
        if phase == Phase::Start && self.rules.kind != Kind::Forking {
            self.main_exit(0, Ended::Code(code));
        } else {
            self.control_exit(Ended::Code(code));
        }
    }

    fn enter_start_post(&mut self) {
        self.enter_commands(State::StartPost, Phase::StartPost);
    }

    fn enter_running(&mut self, outcome: Outcome) {
        self.control = None;
        self.note(outcome);
        if self.result != Outcome::Success {
            self.enter_signal(State::StopSigterm, outcome);
        } else if self.good() {
            self.state = State::Running;
            self.arm(self.rules.runtime_max_ms);
        } else if self.rules.remain_after_exit {
            self.state = State::Exited;
            self.deadline = None;
        } else {
            self.enter_stop(Outcome::Success);
        }
    }

    // ---- what the unit says

    fn on_ready(&mut self) {
        if self.rules.kind == Kind::Notify && self.state == State::Start {
            self.enter_start_post();
        }
    }

    fn on_stopping(&mut self) {
        if self.state == State::Running {
            self.enter_stop_by_itself();
        }
    }

    /// The service says that it is going down: it gets the time to, its ExecStop does not run.
    fn enter_stop_by_itself(&mut self) {
        self.state = State::StopSigterm;
        self.arm(self.rules.timeout_stop_ms);
    }

    fn on_main_pid(&mut self, pid: u32) {
        if matches!(self.state, State::Start | State::StartPost | State::Running | State::Stop) {
            self.main = Main::Alive(pid);
        }
    }

    fn on_extend(&mut self, ms: u64) {
        if let Some(deadline) = self.deadline {
            self.deadline = Some(deadline.max(self.now.saturating_add(ms)));
        }
    }

    fn on_main_found(&mut self, pid: Option<u32>) {
        if self.state != State::Start || self.control.is_some() {
            return;
        }
        match pid {
            Some(pid) => {
                self.main = Main::Alive(pid);
                self.enter_start_post();
            }
            None if !self.rules.has_pid_file => self.enter_start_post(),
            None if !self.group_alive => {
                self.say("All its processes are gone and none wrote the PID file");
                self.main = Main::Gone;
                self.enter_signal(State::StopSigterm, Outcome::Protocol);
            }
            None => {}
        }
    }

    // ---- ends of processes

    fn on_reaped(&mut self, ended: &[(u32, Ended)], empty: bool) {
        self.group_alive = !empty;
        let before = self.state;
        for &(pid, how) in ended {
            if self.main == Main::Alive(pid) {
                self.main_exit(pid, how);
            } else if self.control == Some(pid) {
                self.control_exit(how);
            }
        }
        if !self.group_alive {
            self.on_group_empty();
        } else if self.state == before && matches!(self.state, State::StopSigkill | State::FinalSigkill) {
            // Whoever was forked between the look at the processes and the signal.
            self.kill(self.rules.final_kill_signal, true);
        }
    }

    fn outcome_of(&self, ended: Ended, daemon: bool, ignored: bool) -> Outcome {
        const CLEAN_SIGNALS: [i32; 4] = [1, 2, 13, 15];
        if ignored || self.rules.success.holds(ended) {
            return Outcome::Success;
        }
        match ended {
            Ended::Code(0) => Outcome::Success,
            Ended::Code(_) => Outcome::ExitCode,
            Ended::Signal { number, .. } if daemon && CLEAN_SIGNALS.contains(&number) => Outcome::Success,
            Ended::Signal { dumped: true, .. } => Outcome::CoreDump,
            Ended::Signal { .. } => Outcome::Signal,
        }
    }

    fn main_exit(&mut self, pid: u32, how: Ended) {
        let ignored = self.at.0 == Phase::Start && self.ignored_here()
            || self.at.0 != Phase::Start && self.rules.start.last().copied().unwrap_or(false);
        let daemon = self.rules.kind != Kind::Oneshot;
        let outcome = self.outcome_of(how, daemon, ignored);
        self.main = Main::Gone;
        self.main_ended = Some((pid, how));
        self.say(format!("Main process {}", described(pid, how)));
        self.note(outcome);
        match self.state {
            State::Start if self.rules.kind == Kind::Oneshot => self.oneshot_step(outcome),
            State::Start if self.rules.kind == Kind::Notify => {
                let outcome = if outcome == Outcome::Success {
                    self.say("It ended without having said that it is ready (READY=1)");
                    Outcome::Protocol
                } else {
                    outcome
                };
                self.enter_signal(State::StopSigterm, outcome);
            }
            State::Start | State::Running => self.enter_running(outcome),
            State::StopSigterm | State::StopSigkill if self.control.is_none() => {
                self.enter_stop_post(outcome);
            }
            State::StopPost | State::FinalSigterm | State::FinalSigkill
                if self.control.is_none() && !self.group_alive =>
            {
                self.enter_dead(outcome);
            }
            // Helpers run: their end decides.
            _ => {}
        }
    }

    fn oneshot_step(&mut self, outcome: Outcome) {
        let next = self.at.1 + 1;
        if outcome != Outcome::Success {
            self.enter_signal(State::StopSigterm, outcome);
        } else if next < self.rules.start.len() {
            self.spawn(Phase::Start, next);
        } else {
            self.enter_start_post();
        }
    }

    fn ignored_here(&self) -> bool {
        let (phase, index) = self.at;
        self.rules.commands(phase).get(index).copied().unwrap_or(false)
    }

    fn control_exit(&mut self, how: Ended) {
        let pid = self.control.take().unwrap_or_default();
        let (phase, index) = self.at;
        let mut outcome = self.outcome_of(how, false, self.ignored_here());
        if phase == Phase::Condition && matches!(how, Ended::Code(1..=254)) {
            outcome = if self.ignored_here() { Outcome::Success } else { Outcome::ExecCondition };
        }
        if outcome != Outcome::Success && outcome != Outcome::ExecCondition {
            self.say(format!("Control process {}", described(pid, how)));
            self.note(outcome);
        }
        match self.state {
            State::StopSigterm | State::StopSigkill => {
                if !self.main_alive() {
                    self.enter_stop_post(outcome);
                }
            }
            State::FinalSigterm | State::FinalSigkill => {
                if !self.main_alive() && !self.group_alive {
                    self.enter_dead(outcome);
                }
            }
            State::Dead | State::Failed | State::AutoRestart | State::Running | State::Exited => {}
            _ if outcome == Outcome::Success && index + 1 < self.rules.commands(phase).len() => {
                self.spawn(phase, index + 1);
            }
            _ => self.after_commands(phase, outcome),
        }
    }

    fn on_group_empty(&mut self) {
        // A main process that was named but is nobody's child here ends unseen.
        if self.main != Main::Gone && self.control.is_none() {
            self.main = Main::Gone;
        }
        match self.state {
            State::Start if self.rules.kind == Kind::Forking && self.control.is_none() => {
                self.actions.push(Action::FindMain);
            }
            State::Running => self.enter_running(Outcome::Success),
            State::StopSigterm | State::StopSigkill if self.control.is_none() => {
                self.enter_stop_post(Outcome::Success);
            }
            State::FinalSigterm | State::FinalSigkill if self.control.is_none() => {
                self.enter_dead(Outcome::Success);
            }
            _ => {}
        }
    }

    // ---- stopping

    /// The first failure is the one that counts.
    fn note(&mut self, outcome: Outcome) {
        if self.result == Outcome::Success {
            self.result = outcome;
        }
    }

    fn enter_stop(&mut self, outcome: Outcome) {
        self.note(outcome);
        self.enter_commands(State::Stop, Phase::Stop);
    }

    /// Signals what is left of the unit and waits for its end; goes on at once where nothing is left.
    fn enter_signal(&mut self, state: State, outcome: Outcome) {
        self.note(outcome);
        let hard = matches!(state, State::StopSigkill | State::FinalSigkill);
        let number = if hard { self.rules.final_kill_signal } else { self.rules.kill_signal };
        if self.kill(number, hard) {
            self.state = state;
            self.arm(self.rules.timeout_stop_ms);
            return;
        }
        match state {
            State::StopSigterm if self.rules.send_sigkill => {
                self.enter_signal(State::StopSigkill, Outcome::Success);
            }
            State::FinalSigterm if self.rules.send_sigkill => {
                self.enter_signal(State::FinalSigkill, Outcome::Success);
            }
            State::StopSigterm | State::StopSigkill => self.enter_stop_post(Outcome::Success),
            _ => self.enter_dead(Outcome::Success),
        }
    }

    /// Whether anything was there to be signalled and waited for.
    fn kill(&mut self, number: i32, hard: bool) -> bool {
        let mut pids: Vec<u32> = self.main_pid().into_iter().collect();
        pids.extend(self.control);
        let group = match self.rules.kill_mode {
            KillMode::ControlGroup => true,
            KillMode::Mixed => hard,
            KillMode::Process => false,
            KillMode::None => return false,
        } && self.group_alive;
        if pids.is_empty() && !group {
            return false;
        }
        self.actions.push(Action::Signal { number, pids: pids.clone(), group });
        if self.rules.send_sighup && !hard {
            self.actions.push(Action::Signal { number: 1, pids, group });
        }
        true
    }

    fn enter_stop_post(&mut self, outcome: Outcome) {
        self.note(outcome);
        self.enter_commands(State::StopPost, Phase::StopPost);
    }

    fn enter_dead(&mut self, outcome: Outcome) {
        self.note(outcome);
        self.deadline = None;
        self.control = None;
        self.main = Main::Gone;
        let down = match self.result {
            Outcome::Success | Outcome::ExecCondition => State::Dead,
            _ => State::Failed,
        };
        self.state = down;
        if down == State::Failed {
            self.say(format!("Failed with result '{}'", self.result.name()));
        }
        if self.start_again {
            self.begin(true);
        } else if self.shall_restart() {
            self.state = State::AutoRestart;
            self.arm(Some(self.rules.restart_ms));
        }
    }

    fn shall_restart(&self) -> bool {
        if self.forbid_restart {
            return false;
        }
        if let Some((_, ended)) = self.main_ended {
            if self.rules.restart_prevent.holds(ended) {
                return false;
            }
            if self.rules.restart_force.holds(ended) {
                return true;
            }
        }
        let result = self.result;
        match self.rules.restart {
            Restart::No | Restart::OnWatchdog => false,
            Restart::Always => result != Outcome::ExecCondition,
            Restart::OnSuccess => result == Outcome::Success,
            Restart::OnFailure => !matches!(result, Outcome::Success | Outcome::ExecCondition),
            Restart::OnAbnormal => !matches!(result, Outcome::Success | Outcome::ExitCode | Outcome::ExecCondition),
            Restart::OnAbort => matches!(result, Outcome::Signal | Outcome::CoreDump),
        }
    }

    fn on_deadline(&mut self) {
        if self.deadline.is_none_or(|due| due > self.now) {
            return;
        }
        self.deadline = None;
        match self.state {
            State::Condition | State::StartPre | State::Start | State::StartPost => {
                self.say("Start took longer than TimeoutStartSec= allows: stopping");
                self.enter_signal(State::StopSigterm, Outcome::Timeout);
            }
            State::Running => {
                self.say("Ran longer than RuntimeMaxSec= allows: stopping");
                self.enter_signal(State::StopSigterm, Outcome::Timeout);
            }
            State::Stop => {
                self.say("ExecStop= took longer than TimeoutStopSec= allows: terminating");
                self.enter_signal(State::StopSigterm, Outcome::Timeout);
            }
            State::StopSigterm if self.rules.send_sigkill => {
                self.say("Still there after TimeoutStopSec=: killing");
                self.enter_signal(State::StopSigkill, Outcome::Timeout);
            }
            State::StopSigterm | State::StopSigkill => {
                self.say("Processes remain after TimeoutStopSec=: left alone");
                self.abandon();
                self.enter_stop_post(Outcome::Timeout);
            }
            State::StopPost => {
                self.say("ExecStopPost= took longer than TimeoutStopSec= allows: terminating");
                self.enter_signal(State::FinalSigterm, Outcome::Timeout);
            }
            State::FinalSigterm if self.rules.send_sigkill => {
                self.enter_signal(State::FinalSigkill, Outcome::Timeout);
            }
            State::FinalSigterm | State::FinalSigkill => {
                self.say("Processes remain after their end was asked for: left alone");
                self.abandon();
                self.enter_dead(Outcome::Timeout);
            }
            State::AutoRestart => self.begin(false),
            State::Dead | State::Failed | State::Exited => {}
        }
    }

    /// Processes that no signal ends are no longer waited for.
    fn abandon(&mut self) {
        self.main = Main::Gone;
        self.control = None;
    }
}

/// `4711 exited with status 1`, `4711 was killed by signal 9`.
fn described(pid: u32, how: Ended) -> String {
    let who = if pid == 0 { "could not be run:".to_owned() } else { format!("{pid} ended:") };
    match how {
        Ended::Code(code) => format!("{who} code=exited, status={code}"),
        Ended::Signal { number, dumped } => {
            let code = if dumped { "dumped" } else { "killed" };
            format!("{who} code={code}, signal={number}")
        }
    }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
