//! How a service goes down: its commands, signals, time-outs, and whether it comes back.

use super::*;

impl Machine {
    /// The first failure is the one that counts.
    pub(super) fn note(&mut self, outcome: Outcome) {
        if self.result == Outcome::Success {
            self.result = outcome;
        }
    }

    pub(super) fn enter_stop(&mut self, outcome: Outcome) {
        self.note(outcome);
        self.enter_commands(State::Stop, Phase::Stop);
    }

    /// Signals what is left of the unit and waits for its end; goes on at once where nothing is left.
    pub(super) fn enter_signal(&mut self, state: State, outcome: Outcome) {
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
    pub(super) fn kill(&mut self, number: i32, hard: bool) -> bool {
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

    pub(super) fn enter_stop_post(&mut self, outcome: Outcome) {
        self.note(outcome);
        self.enter_commands(State::StopPost, Phase::StopPost);
    }

    pub(super) fn enter_dead(&mut self, outcome: Outcome) {
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

    pub(super) fn shall_restart(&self) -> bool {
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

    pub(super) fn on_deadline(&mut self) {
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
            State::Reload => self.reload_timed_out(),
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
    pub(super) fn abandon(&mut self) {
        self.main = Main::Gone;
        self.control = None;
    }
}
