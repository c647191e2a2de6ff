//! How a service comes up: its commands one after the other, and what it says of itself.

use super::*;

impl Machine {
    pub(super) fn begin(&mut self, wished: bool) {
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

    pub(super) fn too_many_starts(&mut self) -> bool {
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
    pub(super) fn enter_commands(&mut self, state: State, phase: Phase) {
        self.control = None;
        if self.rules.commands(phase).is_empty() {
            self.after_commands(phase, Outcome::Success);
        } else {
            self.state = state;
            self.spawn(phase, 0);
        }
    }

    pub(super) fn spawn(&mut self, phase: Phase, index: usize) {
        self.at = (phase, index);
        let limit = match phase {
            Phase::Stop | Phase::StopPost => self.rules.timeout_stop_ms,
            _ => self.rules.timeout_start_ms,
        };
        self.arm(limit);
        self.actions.push(Action::Spawn { phase, index });
    }

    /// A phase of helpers is over: with success, or at its first failure that counts.
    pub(super) fn after_commands(&mut self, phase: Phase, outcome: Outcome) {
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
            Phase::Reload => self.after_reload(outcome),
            Phase::Stop => self.enter_signal(State::StopSigterm, outcome),
            Phase::StopPost => self.enter_signal(State::FinalSigterm, outcome),
        }
    }

    pub(super) fn enter_start(&mut self) {
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

    pub(super) fn on_spawned(&mut self, pid: u32) {
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

    pub(super) fn on_spawn_failed(&mut self, code: i32) {
        let (phase, _) = self.at;
        if phase == Phase::Start && self.rules.kind != Kind::Forking {
            self.main_exit(0, Ended::Code(code));
        } else {
            self.control_exit(Ended::Code(code));
        }
    }

    pub(super) fn enter_start_post(&mut self) {
        self.enter_commands(State::StartPost, Phase::StartPost);
    }

    pub(super) fn enter_running(&mut self, outcome: Outcome) {
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

    pub(super) fn on_ready(&mut self) {
        if self.rules.kind == Kind::Notify && self.state == State::Start {
            self.enter_start_post();
        }
    }

    pub(super) fn on_stopping(&mut self) {
        if self.state == State::Running {
            self.enter_stop_by_itself();
        }
    }

    /// The service says that it is going down: it gets the time to, its ExecStop does not run.
    pub(super) fn enter_stop_by_itself(&mut self) {
        self.state = State::StopSigterm;
        self.arm(self.rules.timeout_stop_ms);
    }

    pub(super) fn on_main_pid(&mut self, pid: u32) {
        if matches!(self.state, State::Start | State::StartPost | State::Running | State::Reload | State::Stop) {
            self.main = Main::Alive(pid);
        }
    }

    pub(super) fn on_extend(&mut self, ms: u64) {
        if let Some(deadline) = self.deadline {
            self.deadline = Some(deadline.max(self.now.saturating_add(ms)));
        }
    }

    pub(super) fn on_main_found(&mut self, pid: Option<u32>) {
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
}
