//! What a shim tells of its unit.

use super::Shim;
use crate::process::machine::Ended;
use crate::process::output::now;
use crate::process::processes;
use crate::process::protocol::{MainExit, Report, loaded};

impl Shim {
    /// Tells what has changed: on the disk, and whoever follows.
    pub(super) fn publish(&mut self) {
        let old = self.report.borrow().clone();
        let state = self.machine.state();
        let main_pid = self.machine.main_pid();
        let mut new = Report {
            state: loaded(state.active(), state.sub()),
            hash: self.hash.clone(),
            result: self.machine.result().name().to_owned(),
            shim_pid: old.shim_pid,
            main_pid,
            main_name: old.main_name.clone(),
            since: old.since,
            main_exit: self.machine.main_ended().map(main_exit),
            status_text: self.status_text.clone(),
            restarts: self.machine.restarts(),
            boot_id: self.boot_id.clone(),
            invocation: self.invocation.clone(),
            run: self.runs_before + self.machine.runs(),
            reloads: self.machine.reloads(),
        };
        if new.state.active != old.state.active {
            new.since = now();
        }
        if new == old {
            return;
        }
        if let Some(pid) = main_pid {
            new.main_name = processes::name(pid).unwrap_or_default();
        }
        if let Err(error) = self.dir.write_report(&new) {
            self.log.say(&format!("The unit's report cannot be written: {error}"));
        }
        self.report.send_replace(new);
    }
}

fn main_exit((pid, ended): (u32, Ended)) -> MainExit {
    let (code, status) = match ended {
        Ended::Code(code) => ("exited", code),
        Ended::Signal { number, dumped: false } => ("killed", number),
        Ended::Signal { number, dumped: true } => ("dumped", number),
    };
    MainExit { pid, code: code.to_owned(), status }
}
