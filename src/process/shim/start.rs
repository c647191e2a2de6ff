//! A start of the unit: its text as it is now, its commands, and which process is the main one.

use std::sync::Arc;

use super::Shim;
use crate::process::launch::{self, Circumstances};
use crate::process::machine::{Event, Phase};
use crate::process::notify::{Access, NotifySocket};
use crate::process::output::{Output, now};
use crate::process::spawn::{self, EXIT_EXEC, SpawnError};
use crate::process::spec::Spec;
use crate::process::store::StoredUnit;
use crate::process::{pid_file, processes};
use crate::unit::Specifiers;

impl Shim {
    /// A new start: the text as it is now, a new invocation.
    pub(super) fn begin(&mut self) {
        self.invocation = invocation_id();
        self.status_text.clear();
        self.notify = None;
        self.pid_file = None;
        match self.dir.read_unit().map_err(|error| error.to_string()).and_then(|stored| {
            let spec = Spec::read(&stored.unit, &specifiers(&stored)).map_err(|e| e.to_string())?;
            Ok((stored, spec))
        }) {
            Ok((stored, spec)) => {
                self.hash = stored.unit.hash;
                self.boot_id = stored.host.boot_id;
                self.spec = Arc::new(spec);
            }
            Err(error) => self.log.say(&format!("The unit cannot be read, the text before is used: {error}")),
        }
        if self.spec.notify_access() != Access::None {
            match NotifySocket::bind(&self.invocation) {
                Ok(socket) => self.notify = Some(socket),
                Err(error) => self.log.say(&format!("No NOTIFY_SOCKET: {error}")),
            }
        }
        let described = match self.spec.description.as_str() {
            "" => self.name.clone(),
            description => format!("{} - {description}", self.name),
        };
        self.log.say(&format!("Starting {described}"));
        if let Some(said) = self.spec.said() {
            self.log.say(&said);
        }
    }

    pub(super) fn spawn(&mut self, phase: Phase, index: usize) -> Event {
        match self.try_spawn(phase, index) {
            Ok(pid) => Event::Spawned(pid),
            Err(error) => {
                self.log.say(&format!("{}: {error}", name_of(phase)));
                Event::SpawnFailed(error.code)
            }
        }
    }

    fn try_spawn(&mut self, phase: Phase, index: usize) -> Result<u32, SpawnError> {
        let missing = || SpawnError { code: EXIT_EXEC, reason: "no such command".to_owned() };
        let spec = Arc::clone(&self.spec);
        let command = spec.commands(phase).get(index).ok_or_else(missing)?;
        let circumstances = Circumstances {
            invocation: self.invocation.clone(),
            notify_address: self.notify.as_ref().map(NotifySocket::address),
            main_pid: self.machine.main_pid(),
            main_ended: self.machine.main_ended().map(|(_, ended)| ended),
            result: self.machine.result(),
        };
        let launch = launch::prepare(&spec, phase, command, &circumstances)?;
        let running = spawn::spawn(&launch)?;
        if let Some(pipe) = running.output {
            let identifier = launch::identifier(&spec, command);
            match Output::new(pipe, identifier, running.pid, self.log.clone()) {
                Ok(output) => {
                    self.readers.spawn(Arc::clone(&output).run());
                    self.outputs.push(output);
                }
                Err(error) => self.log.say(&format!("Its output is lost: {error}")),
            }
        }
        Ok(running.pid)
    }

    /// The main process of a forking service: from its PID file, which is waited for; else the one process that there is.
    pub(super) fn find_main(&mut self) -> Option<u32> {
        match self.spec.pid_file.clone() {
            Some(path) => {
                let found = pid_file::read(&path).filter(|pid| processes::alive(*pid));
                if found.is_none() && self.machine.group_alive() {
                    self.pid_file = Some(Box::pin(pid_file::wait(path)));
                }
                found
            }
            None => {
                let all = processes::descendants(std::process::id());
                let mut alive = all.into_iter().filter(|pid| processes::alive(*pid));
                alive.next().filter(|_| alive.next().is_none())
            }
        }
    }
}

/// What specifiers stand for in this unit on this machine.
pub fn specifiers(stored: &StoredUnit) -> Specifiers {
    Specifiers {
        hostname: stored.host.hostname.clone(),
        machine_id: stored.host.machine_id.clone(),
        boot_id: stored.host.boot_id.clone(),
        kernel_release: rustix::system::uname().release().to_string_lossy().into_owned(),
        architecture: std::env::consts::ARCH.replace('_', "-"),
        ..Specifiers::system(&stored.unit.name)
    }
}

/// 128 random bits as the kernel gives them, 32 hex digits.
fn invocation_id() -> String {
    let uuid = std::fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap_or_default();
    let id: String = uuid.chars().filter(char::is_ascii_hexdigit).collect();
    if id.is_empty() {
        // Without that file: unique on this machine, which is all that is asked of it.
        return format!("{:016x}{:016x}", now().0, std::process::id());
    }
    id
}

fn name_of(phase: Phase) -> &'static str {
    match phase {
        Phase::Condition => "ExecCondition=",
        Phase::StartPre => "ExecStartPre=",
        Phase::Start => "ExecStart=",
        Phase::StartPost => "ExecStartPost=",
        Phase::Reload => "ExecReload=",
        Phase::Stop => "ExecStop=",
        Phase::StopPost => "ExecStopPost=",
    }
}
