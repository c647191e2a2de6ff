//! `[Unit]` and `[Service]` of a container: what runs on the host around it, and when it is started again.

use std::time::Duration;

use crate::unit::command::{self, Command};
use crate::unit::environment;
use crate::unit::file_condition::{self, FileCondition};
use crate::unit::service::{self, Ended, ExitSet, Restart};
use crate::unit::specifier::Specifiers;
use crate::unit::value::{self, ValueError};

/// `Type=`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// Started once it runs, and is healthy where it has a health check.
    #[default]
    Running,
    /// Started once it has ended well.
    Oneshot,
}

/// How a container lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Life {
    pub description: String,
    /// Looked at before each start.
    pub conditions: Vec<FileCondition>,
    pub kind: Kind,
    pub remain_after_exit: bool,
    pub restart: Restart,
    pub restart_pause: Duration,
    pub restart_pause_max: Duration,
    pub success: ExitSet,
    pub restart_prevent: ExitSet,
    pub restart_force: ExitSet,
    /// So many starts within so long, and no more; `None`: pauses grow instead.
    pub start_limit: Option<(u32, Duration)>,
    /// `None`: no limit. Pulling the image does not count.
    pub start_timeout: Option<Duration>,
    /// Of each command at the stop.
    pub stop_timeout: Option<Duration>,
    pub start_pre: Vec<Command>,
    pub start_post: Vec<Command>,
    pub stop: Vec<Command>,
    pub stop_post: Vec<Command>,
    /// Of the commands, not of the container.
    pub environment: Vec<(String, String)>,
    start_timeout_set: bool,
}

impl Default for Life {
    fn default() -> Self {
        let systemds_default = Some(Duration::from_secs(90));
        Self {
            description: String::new(),
            conditions: Vec::new(),
            kind: Kind::default(),
            remain_after_exit: false,
            restart: Restart::No,
            restart_pause: Duration::from_millis(100),
            restart_pause_max: Duration::from_secs(60),
            success: ExitSet::default(),
            restart_prevent: ExitSet::default(),
            restart_force: ExitSet::default(),
            start_limit: None,
            start_timeout: systemds_default,
            stop_timeout: systemds_default,
            start_pre: Vec::new(),
            start_post: Vec::new(),
            stop: Vec::new(),
            stop_post: Vec::new(),
            environment: Vec::new(),
            start_timeout_set: false,
        }
    }
}

/// Keys of `[Service]` that Quadlet writes itself.
const QUADLETS: [&str; 3] = ["ExecStart", "ExecReload", "PIDFile"];

impl Life {
    /// What holds where `[Unit]` and `[Service]` say nothing.
    pub(super) fn of(description: String) -> Self {
        Self { description, ..Self::default() }
    }

    /// Whether an end is a good one. An engine tells a signal as 128 and its number.
    pub fn is_success(&self, code: i32) -> bool {
        code == 0 || self.success.holds(Ended::Code(code)) || signal_of(code).is_some_and(|end| self.success.holds(end))
    }

    /// Whether a container that ended by itself is started again.
    pub fn restarts(&self, code: i32) -> bool {
        let named = |set: &ExitSet| set.holds(Ended::Code(code)) || signal_of(code).is_some_and(|end| set.holds(end));
        if named(&self.restart_prevent) {
            return false;
        }
        if named(&self.restart_force) {
            return true;
        }
        let (good, signalled) = (self.is_success(code), signal_of(code).is_some());
        match self.restart {
            Restart::No | Restart::OnWatchdog => false,
            Restart::Always => true,
            Restart::OnSuccess => good,
            Restart::OnFailure => !good,
            Restart::OnAbnormal | Restart::OnAbort => !good && signalled,
        }
    }

    /// How long to wait before the start after `failures` short lives in a row (from 1): it doubles up to the longest.
    pub fn pause(&self, failures: u32) -> Duration {
        let doubled = self.restart_pause.saturating_mul(1 << failures.saturating_sub(1).min(16));
        doubled.min(self.restart_pause_max.max(self.restart_pause))
    }

    pub(super) fn option(
        &mut self,
        section: &str,
        name: &str,
        value: &str,
        specifiers: &Specifiers,
    ) -> Result<Option<String>, String> {
        match section {
            "Service" => self.service(name, value, specifiers),
            "Unit" if file_condition::is_condition(name) => {
                let value = specifiers.expand(value).map_err(|error| error.to_string())?;
                file_condition::add(&mut self.conditions, name, &value).map(|()| None)
            }
            "Unit" => Ok(self.unit(name, value)),
            // Where units are placed, what others note for themselves, and when systemd would start it at boot.
            _ if section.starts_with("X-") || section == "Install" => Ok(None),
            "Quadlet" => Ok(None),
            _ => Err(format!(
                "[{section}] means nothing in a .container unit; there are [Unit], [Container], [Service] and [X-Fleet]"
            )),
        }
    }

    fn unit(&mut self, name: &str, value: &str) -> Option<String> {
        match name {
            "StartLimitBurst" => match value.parse() {
                Ok(burst) => {
                    self.start_limit = Some((burst, self.start_limit.map_or(Duration::from_secs(10), |l| l.1)))
                }
                Err(_) => return Some(format!("{value}: not a number")),
            },
            "StartLimitIntervalSec" | "StartLimitInterval" => match value::time_span(value) {
                Ok(span) => {
                    let span = span.finite().unwrap_or(Duration::MAX);
                    self.start_limit = Some((self.start_limit.map_or(5, |limit| limit.0), span));
                }
                Err(error) => return Some(error.to_string()),
            },
            _ => {}
        }
        None
    }

    fn service(&mut self, name: &str, value: &str, specifiers: &Specifiers) -> Result<Option<String>, String> {
        let list = match name {
            "ExecStartPre" => &mut self.start_pre,
            "ExecStartPost" => &mut self.start_post,
            "ExecStop" => &mut self.stop,
            "ExecStopPost" => &mut self.stop_post,
            "Environment" => {
                if value.is_empty() {
                    self.environment.clear();
                }
                let found = environment::environment(value, specifiers).map_err(|error| error.to_string())?;
                self.environment.extend(found.variables);
                return Ok(None);
            }
            _ if QUADLETS.contains(&name) => {
                return Err(
                    "a container is started by the engine; say with Image= and Exec= in [Container] what it runs"
                        .into(),
                );
            }
            _ => return self.rule(name, value),
        };
        if value.is_empty() {
            list.clear();
        }
        list.extend(command::parse(value, specifiers).map_err(|error| error.to_string())?);
        Ok(None)
    }

    fn rule(&mut self, name: &str, value: &str) -> Result<Option<String>, String> {
        match name {
            "Type" => self.kind = kind(value)?,
            "Restart" => {
                let known = service::restart(value);
                self.restart = known.ok_or_else(|| {
                    format!("{value:?}: write no, always, on-success, on-failure, on-abnormal or on-abort")
                })?;
            }
            "SuccessExitStatus" => exit_set(&mut self.success, value)?,
            "RestartPreventExitStatus" => exit_set(&mut self.restart_prevent, value)?,
            "RestartForceExitStatus" => exit_set(&mut self.restart_force, value)?,
            _ => return self.timing(name, value).map_err(|error| error.to_string()),
        }
        Ok(None)
    }

    fn timing(&mut self, name: &str, value: &str) -> Result<Option<String>, ValueError> {
        match name {
            "RemainAfterExit" => self.remain_after_exit = value::boolean(value)?,
            "RestartSec" => self.restart_pause = span(value)?.unwrap_or(Duration::MAX),
            "RestartMaxDelaySec" => self.restart_pause_max = span(value)?.unwrap_or(Duration::MAX),
            "TimeoutStartSec" => self.set_start_timeout(span(value)?),
            "TimeoutStopSec" => self.stop_timeout = span(value)?,
            "TimeoutSec" => {
                self.set_start_timeout(span(value)?);
                self.stop_timeout = span(value)?;
            }
            // What systemd does to the processes of a unit of its own; the container's own keys say it here.
            _ if name.starts_with("X-") => {}
            _ => return Ok(Some(format!("{value}: means nothing to a container"))),
        }
        Ok(None)
    }

    fn set_start_timeout(&mut self, timeout: Option<Duration>) {
        self.start_timeout = timeout.filter(|timeout| !timeout.is_zero());
        self.start_timeout_set = true;
    }

    pub(super) fn finish(&mut self) {
        if self.kind == Kind::Oneshot && !self.start_timeout_set {
            self.start_timeout = None;
        }
    }
}

/// The signal behind an exit code above 128.
fn signal_of(code: i32) -> Option<Ended> {
    (129..=192).contains(&code).then(|| Ended::Signal { number: code - 128, dumped: false })
}

fn kind(value: &str) -> Result<Kind, String> {
    match value {
        // Quadlet's default is notify, sent by Podman once the container runs.
        "simple" | "exec" | "notify" | "idle" | "" => Ok(Kind::Running),
        "oneshot" => Ok(Kind::Oneshot),
        _ => Err(format!("{value:?}: write simple, exec, notify or oneshot")),
    }
}

fn span(value: &str) -> Result<Option<Duration>, ValueError> {
    Ok(value::time_span(value)?.finite())
}

fn exit_set(set: &mut ExitSet, value: &str) -> Result<(), String> {
    if value.is_empty() {
        *set = ExitSet::default();
    }
    for word in value.split_whitespace() {
        match (service::exit_code(word), value::signal(word)) {
            (Some(code), _) => set.codes.push(code),
            (None, Ok(signal)) => set.signals.push(signal),
            (None, Err(_)) => return Err(format!("{word:?} is neither an exit code nor a signal")),
        }
    }
    Ok(())
}
