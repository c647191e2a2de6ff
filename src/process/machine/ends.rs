//! What the end of a process means for its service.

use super::*;

impl Machine {
    pub(super) fn on_reaped(&mut self, ended: &[(u32, Ended)], empty: bool) {
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

    pub(super) fn outcome_of(&self, ended: Ended, daemon: bool, ignored: bool) -> Outcome {
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

    pub(super) fn main_exit(&mut self, pid: u32, how: Ended) {
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

    pub(super) fn oneshot_step(&mut self, outcome: Outcome) {
        let next = self.at.1 + 1;
        if outcome != Outcome::Success {
            self.enter_signal(State::StopSigterm, outcome);
        } else if next < self.rules.start.len() {
            self.spawn(Phase::Start, next);
        } else {
            self.enter_start_post();
        }
    }

    pub(super) fn ignored_here(&self) -> bool {
        let (phase, index) = self.at;
        self.rules.commands(phase).get(index).copied().unwrap_or(false)
    }

    pub(super) fn control_exit(&mut self, how: Ended) {
        let pid = self.control.take().unwrap_or_default();
        let (phase, index) = self.at;
        let mut outcome = self.outcome_of(how, false, self.ignored_here());
        if phase == Phase::Condition && matches!(how, Ended::Code(1..=254)) {
            outcome = if self.ignored_here() { Outcome::Success } else { Outcome::ExecCondition };
        }
        if outcome != Outcome::Success && outcome != Outcome::ExecCondition {
            self.say(format!("Control process {}", described(pid, how)));
            if self.state != State::Reload {
                self.note(outcome);
            }
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

    pub(super) fn on_group_empty(&mut self) {
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
