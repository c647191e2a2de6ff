//! How a service reads its configuration anew: `ExecReload=`. Whatever comes of it, the service goes on.

use super::*;

impl Machine {
    pub(super) fn on_reload(&mut self) {
        match self.state {
            State::Running | State::Exited if !self.rules.reload.is_empty() => {
                self.deadline_after_reload = self.deadline;
                self.enter_commands(State::Reload, Phase::Reload);
            }
            // Whoever asks now is answered by the end of the reload that is under way.
            State::Reload => {}
            _ => {
                self.say("Not reloaded: it is not active, or was started without ExecReload=");
                self.count_reload(false);
            }
        }
    }

    /// Its commands are over: with success, or at the first failure that counts.
    pub(super) fn after_reload(&mut self, outcome: Outcome) {
        if outcome != Outcome::Success {
            self.say("ExecReload= has failed: it goes on as it was");
        }
        self.end_reload(outcome == Outcome::Success);
        self.enter_running(Outcome::Success);
        if self.state == State::Running {
            // Time for RuntimeMaxSec= goes on, and does not begin anew.
            self.deadline = self.deadline_after_reload;
        }
    }

    pub(super) fn reload_timed_out(&mut self) {
        self.say("ExecReload= took longer than TimeoutStartSec= allows: killed");
        self.after_reload(Outcome::Timeout);
    }

    /// A command that is still there is killed.
    pub(super) fn end_reload(&mut self, succeeded: bool) {
        if let Some(pid) = self.control.take() {
            self.actions.push(Action::Signal { number: self.rules.final_kill_signal, pids: vec![pid], group: false });
        }
        self.count_reload(succeeded);
    }

    fn count_reload(&mut self, succeeded: bool) {
        self.reload = Reloads { ended: self.reload.ended + 1, last_failed: !succeeded };
    }
}
