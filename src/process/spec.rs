//! What a `.service` unit asks of this executor, read from its text; and what of it is not honoured here, so that it can be said.

use std::collections::BTreeMap;

use super::machine::{ExitSet, Kind, Phase, Restart, Rules};
use super::notify::Access;
use super::spawn::Sink;
use super::spec_values as values;
use crate::fleet::executor::{ExecutorError, UnitFile};
use crate::unit::value::{self, ValueError};
use crate::unit::{Command, FileCondition, Specifiers, UnitText, command, environment, file_condition};

/// Ordering and requirement among the units of one machine, by their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    pub requires: Vec<String>,
    pub requisite: Vec<String>,
    pub binds_to: Vec<String>,
    pub wants: Vec<String>,
    pub part_of: Vec<String>,
    pub conflicts: Vec<String>,
    pub after: Vec<String>,
    pub before: Vec<String>,
}

/// A service, read.
#[derive(Clone, Debug, Default)]
pub struct Spec {
    pub description: String,
    pub rules: Rules,
    pub commands: BTreeMap<Phase, Vec<Command>>,
    pub needs: Needs,
    pub conditions: Vec<FileCondition>,
    /// `Environment=`, in order.
    pub environment: Vec<(String, String)>,
    /// `EnvironmentFile=`: path, and whether it may be missing.
    pub environment_files: Vec<(String, bool)>,
    pub pass_environment: Vec<String>,
    pub unset_environment: Vec<String>,
    /// `WorkingDirectory=`; `~` is the user's home. With whether it may be missing.
    pub directory: Option<(String, bool)>,
    pub user: Option<String>,
    pub group: Option<String>,
    pub supplementary_groups: Vec<String>,
    pub umask: Option<u32>,
    pub nice: Option<i32>,
    pub limits: Vec<values::Limit>,
    pub stdout: Sink,
    pub stderr: Option<Sink>,
    pub identifier: Option<String>,
    pub pid_file: Option<String>,
    pub access: Option<Access>,
    /// What the text asks for and does not get, each with the line where it stands.
    pub warnings: Vec<String>,
}

impl Spec {
    /// The commands of a phase, in order.
    pub fn commands(&self, phase: Phase) -> &[Command] {
        self.commands.get(&phase).map_or(&[], Vec::as_slice)
    }

    /// Whose messages on `$NOTIFY_SOCKET` count.
    pub fn notify_access(&self) -> Access {
        match (self.access, self.rules.kind) {
            (None | Some(Access::None), Kind::Notify) => Access::Main,
            (access, _) => access.unwrap_or_default(),
        }
    }

    /// Reads a unit.
    ///
    /// # Errors
    /// [`ExecutorError::Unsupported`]: the text is wrong, or asks for what cannot be done without and is not offered here.
    pub fn read(unit: &UnitFile, specifiers: &Specifiers) -> Result<Self, ExecutorError> {
        let refuse = |reason: String| ExecutorError::Unsupported { unit: unit.name.clone(), reason };
        let kind = unit.name.rsplit_once('.').map_or("", |(_, kind)| kind);
        if kind != "service" {
            return Err(refuse(format!(
                "a .{kind} unit needs systemd as PID 1, which this machine has not: only .service units run here"
            )));
        }
        let text = UnitText::parse(&unit.text).map_err(|error| refuse(error.to_string()))?;
        let mut reader = Reader {
            spec: Self { description: text.description(), rules: Rules::of_systemd(), ..Self::default() },
            text: &unit.text,
            specifiers,
            timeout_start_set: false,
        };
        for option in text.options() {
            reader.option(&option.section, &option.name, &joined_of(&option.value)).map_err(|reason| {
                refuse(format!("{}[{}] {}=: {reason}", reader.place(&option.name), option.section, option.name))
            })?;
        }
        let spec = reader.finish();
        spec.check().map_err(refuse)?;
        Ok(spec)
    }

    /// What systemd too refuses to load.
    fn check(&self) -> Result<(), String> {
        let oneshot = self.rules.kind == Kind::Oneshot;
        match self.commands(Phase::Start).len() {
            0 if oneshot && !self.commands(Phase::Stop).is_empty() => Ok(()),
            0 => Err("[Service] ExecStart=: missing; name the program to run".to_owned()),
            1 => Ok(()),
            _ if oneshot => Ok(()),
            _ => Err("[Service] ExecStart=: given more than once, which only Type=oneshot allows".to_owned()),
        }?;
        if oneshot && matches!(self.rules.restart, Restart::Always | Restart::OnSuccess) {
            return Err("[Service] Restart=: always and on-success are not allowed with Type=oneshot".to_owned());
        }
        Ok(())
    }

    /// One line that says what is not honoured, if there is anything.
    pub fn said(&self) -> Option<String> {
        (!self.warnings.is_empty()).then(|| format!("Not honoured here: {}", self.warnings.join("; ")))
    }
}

fn joined_of(stored: &str) -> String {
    crate::unit::text::joined(stored)
}

struct Reader<'a> {
    spec: Spec,
    text: &'a str,
    specifiers: &'a Specifiers,
    timeout_start_set: bool,
}

impl Reader<'_> {
    fn option(&mut self, section: &str, name: &str, value: &str) -> Result<(), String> {
        match section {
            "Unit" => self.unit(name, value),
            "Service" => self.service(name, value),
            // Other programs' sections.
            _ if section.starts_with("X-") => Ok(()),
            _ => {
                self.not_honoured(section, name, "");
                Ok(())
            }
        }
    }

    fn unit(&mut self, name: &str, value: &str) -> Result<(), String> {
        let needs = &mut self.spec.needs;
        let list = match name {
            "Requires" => &mut needs.requires,
            "Requisite" => &mut needs.requisite,
            "BindsTo" | "BindTo" => &mut needs.binds_to,
            "Wants" => &mut needs.wants,
            "PartOf" => &mut needs.part_of,
            "Conflicts" => &mut needs.conflicts,
            "After" => &mut needs.after,
            "Before" => &mut needs.before,
            "StartLimitIntervalSec" | "StartLimitInterval" | "StartLimitBurst" => {
                return self.start_limit(name, value);
            }
            "Description" | "Documentation" | "DefaultDependencies" => return Ok(()),
            _ if name.starts_with("X-") => return Ok(()),
            _ if file_condition::is_condition(name) => return self.condition(name, value),
            _ => {
                self.not_honoured("Unit", name, "");
                return Ok(());
            }
        };
        if value.is_empty() {
            list.clear();
        }
        for one in value.split_whitespace() {
            let one = self.specifiers.expand(one).map_err(|e| e.to_string())?;
            if !list.contains(&one) {
                list.push(one);
            }
        }
        Ok(())
    }

    fn condition(&mut self, name: &str, value: &str) -> Result<(), String> {
        let expanded = self.specifiers.expand(value).map_err(|e| e.to_string())?;
        if file_condition::add(&mut self.spec.conditions, name, &expanded).is_err() {
            self.not_honoured("Unit", name, ", taken as met");
        }
        Ok(())
    }

    fn service(&mut self, name: &str, value: &str) -> Result<(), String> {
        if let Some(phase) = phase_of(name) {
            return self.commands(phase, value);
        }
        match name {
            "Type" => self.kind(value),
            "Restart" | "KillMode" | "NotifyAccess" => self.word(name, value),
            "SuccessExitStatus" | "RestartPreventExitStatus" | "RestartForceExitStatus" => {
                self.exit_set(name, value);
                Ok(())
            }
            "Environment" | "EnvironmentFile" | "PassEnvironment" | "UnsetEnvironment" => self.environment(name, value),
            "StandardOutput" | "StandardError" | "StandardInput" => self.standard(name, value),
            "Sockets" | "RootDirectory" | "RootImage" | "BusName" if !value.is_empty() => {
                Err("not offered here; it needs systemd as PID 1, which this machine has not".to_owned())
            }
            _ => {
                let known = self.scalar(name, value)?;
                if !known && !name.starts_with("X-") {
                    self.not_honoured("Service", name, "");
                }
                Ok(())
            }
        }
    }

    fn commands(&mut self, phase: Phase, value: &str) -> Result<(), String> {
        let parsed = command::parse(value, self.specifiers).map_err(|e| e.to_string())?;
        let list = self.spec.commands.entry(phase).or_default();
        if value.trim().is_empty() {
            list.clear();
        }
        list.extend(parsed);
        Ok(())
    }

    fn kind(&mut self, value: &str) -> Result<(), String> {
        self.spec.rules.kind = match value {
            "simple" => Kind::Simple,
            "exec" => Kind::Exec,
            "oneshot" => Kind::Oneshot,
            "notify" => Kind::Notify,
            "forking" => Kind::Forking,
            "idle" => {
                self.not_honoured("Service", "Type", ", idle is taken as simple");
                Kind::Simple
            }
            "notify-reload" => {
                self.not_honoured("Service", "Type", ", notify-reload is taken as notify");
                Kind::Notify
            }
            other => {
                return Err(format!("{other:?} is not offered here: write simple, exec, oneshot, notify or forking"));
            }
        };
        Ok(())
    }

    fn word(&mut self, name: &str, value: &str) -> Result<(), String> {
        let rules = &mut self.spec.rules;
        let known = match name {
            "Restart" => values::restart(value).map(|v| rules.restart = v),
            "KillMode" => values::kill_mode(value).map(|v| rules.kill_mode = v),
            _ => values::access(value).map(|v| self.spec.access = Some(v)),
        };
        if known.is_none() {
            self.not_honoured("Service", name, &format!(", {value:?} means nothing"));
        }
        Ok(())
    }

    fn exit_set(&mut self, name: &str, value: &str) {
        let mut unknown = Vec::new();
        let rules = &mut self.spec.rules;
        let set = match name {
            "SuccessExitStatus" => &mut rules.success,
            "RestartPreventExitStatus" => &mut rules.restart_prevent,
            _ => &mut rules.restart_force,
        };
        if value.is_empty() {
            *set = ExitSet::default();
        }
        for word in value.split_whitespace() {
            match (values::exit_code(word), value::signal(word)) {
                (Some(code), _) => set.codes.push(code),
                (None, Ok(signal)) => set.signals.push(signal),
                (None, Err(_)) => unknown.push(word.to_owned()),
            }
        }
        for word in unknown {
            self.not_honoured("Service", name, &format!(", {word:?} means nothing"));
        }
    }

    fn environment(&mut self, name: &str, value: &str) -> Result<(), String> {
        let spec = &mut self.spec;
        match name {
            "Environment" if value.is_empty() => spec.environment.clear(),
            "EnvironmentFile" if value.is_empty() => spec.environment_files.clear(),
            "PassEnvironment" if value.is_empty() => spec.pass_environment.clear(),
            "UnsetEnvironment" if value.is_empty() => spec.unset_environment.clear(),
            "Environment" => {
                let found = environment::environment(value, self.specifiers).map_err(|e| e.to_string())?;
                spec.environment.extend(found.variables);
                for ignored in found.ignored {
                    self.not_honoured("Service", name, &format!(", {ignored}"));
                }
            }
            "EnvironmentFile" => {
                let (path, optional) = environment::optional_path(value);
                let path = self.specifiers.expand(path).map_err(|e| e.to_string())?;
                spec.environment_files.push((path, optional));
            }
            "PassEnvironment" => spec.pass_environment.extend(value.split_whitespace().map(str::to_owned)),
            _ => spec.unset_environment.extend(value.split_whitespace().map(str::to_owned)),
        }
        Ok(())
    }

    fn standard(&mut self, name: &str, value: &str) -> Result<(), String> {
        let expanded = self.specifiers.expand(value).map_err(|e| e.to_string())?;
        match (name, values::sink(&expanded)) {
            ("StandardInput", _) if value == "null" => {}
            ("StandardInput", _) if value == "socket" => {
                return Err("socket is not offered here: it needs a .socket unit".to_owned());
            }
            ("StandardOutput", Some(sink)) => self.spec.stdout = sink,
            ("StandardError", _) if value == "inherit" => self.spec.stderr = None,
            ("StandardError", Some(sink)) => self.spec.stderr = Some(sink),
            _ => self.not_honoured("Service", name, &format!(", {value:?} is not offered")),
        }
        Ok(())
    }

    /// Options with one plain value; whether the name is one of them. A value that means nothing leaves the default and is said.
    fn scalar(&mut self, name: &str, value: &str) -> Result<bool, String> {
        if let Some(resource) = values::limit_resource(name) {
            match values::limit(resource, value) {
                Some(limit) => self.spec.limits.push(limit),
                None => self.not_honoured("Service", name, &format!(", {value:?} is not a limit")),
            }
            return Ok(true);
        }
        let text = self.specifiers.expand(value).map_err(|e| e.to_string())?;
        let given = (!text.is_empty()).then(|| text.clone());
        let spec = &mut self.spec;
        match name {
            "User" => spec.user = given,
            "Group" => spec.group = given,
            "SupplementaryGroups" if value.is_empty() => spec.supplementary_groups.clear(),
            "SupplementaryGroups" => spec.supplementary_groups.extend(text.split_whitespace().map(str::to_owned)),
            "WorkingDirectory" => {
                spec.directory = given.map(|_| {
                    let (path, optional) = environment::optional_path(&text);
                    (path.to_owned(), optional)
                });
            }
            "SyslogIdentifier" => spec.identifier = given,
            "PIDFile" => {
                spec.pid_file = given.map(|path| match path.starts_with('/') {
                    true => path,
                    false => format!("/run/{path}"),
                });
            }
            _ => {
                return match self.typed(name, value) {
                    Ok(known) => Ok(known),
                    Err(error) => {
                        self.not_honoured("Service", name, &format!(", {error}"));
                        Ok(true)
                    }
                };
            }
        }
        Ok(true)
    }

    fn typed(&mut self, name: &str, value: &str) -> Result<bool, ValueError> {
        let rules = &mut self.spec.rules;
        match name {
            "RemainAfterExit" => rules.remain_after_exit = value::boolean(value)?,
            "SendSIGKILL" => rules.send_sigkill = value::boolean(value)?,
            "SendSIGHUP" => rules.send_sighup = value::boolean(value)?,
            "KillSignal" => rules.kill_signal = value::signal(value)?,
            "FinalKillSignal" => rules.final_kill_signal = value::signal(value)?,
            "RestartSec" => rules.restart_ms = values::millis(value)?.unwrap_or(u64::MAX),
            "TimeoutStartSec" => {
                rules.timeout_start_ms = values::timeout(value)?;
                self.timeout_start_set = true;
            }
            "TimeoutStopSec" => rules.timeout_stop_ms = values::timeout(value)?,
            "TimeoutSec" => {
                rules.timeout_start_ms = values::timeout(value)?;
                rules.timeout_stop_ms = rules.timeout_start_ms;
                self.timeout_start_set = true;
            }
            "RuntimeMaxSec" => rules.runtime_max_ms = values::millis(value)?,
            "UMask" => self.spec.umask = Some(value::mode(value)?),
            "Nice" => match value.parse() {
                Ok(nice) => self.spec.nice = Some(nice),
                Err(_) => self.not_honoured("Service", name, ", not a number"),
            },
            "StartLimitInterval" | "StartLimitBurst" => {
                self.start_limit(name, value).unwrap_or_default();
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn start_limit(&mut self, name: &str, value: &str) -> Result<(), String> {
        let rules = &mut self.spec.rules;
        let understood = if name == "StartLimitBurst" {
            value.parse().map(|burst| rules.start_limit_burst = burst).is_ok()
        } else {
            values::millis(value).map(|ms| rules.start_limit_interval_ms = ms.unwrap_or(u64::MAX)).is_ok()
        };
        if !understood {
            self.not_honoured("Unit", name, &format!(", {value:?} means nothing"));
        }
        Ok(())
    }

    fn not_honoured(&mut self, section: &str, name: &str, why: &str) {
        let warning = format!("{}[{section}] {name}={why}", self.place(name));
        if !self.spec.warnings.contains(&warning) {
            self.spec.warnings.push(warning);
        }
    }

    /// `line 7, ` of an option's first place in the text.
    fn place(&self, name: &str) -> String {
        let here =
            |line: &str| line.trim_start().strip_prefix(name).is_some_and(|rest| rest.trim_start().starts_with('='));
        match self.text.lines().position(here) {
            Some(index) => format!("line {}, ", index + 1),
            None => String::new(),
        }
    }

    fn finish(mut self) -> Spec {
        let rules = &mut self.spec.rules;
        if rules.kind == Kind::Oneshot && !self.timeout_start_set {
            rules.timeout_start_ms = None;
        }
        rules.has_pid_file = self.spec.pid_file.is_some();
        let ignored = |phase: Phase, commands: &BTreeMap<Phase, Vec<Command>>| {
            commands.get(&phase).map(|all| all.iter().map(|c| c.ignore_failure).collect()).unwrap_or_default()
        };
        rules.condition = ignored(Phase::Condition, &self.spec.commands);
        rules.start_pre = ignored(Phase::StartPre, &self.spec.commands);
        rules.start = ignored(Phase::Start, &self.spec.commands);
        rules.start_post = ignored(Phase::StartPost, &self.spec.commands);
        rules.reload = ignored(Phase::Reload, &self.spec.commands);
        rules.stop = ignored(Phase::Stop, &self.spec.commands);
        rules.stop_post = ignored(Phase::StopPost, &self.spec.commands);
        self.spec
    }
}

fn phase_of(name: &str) -> Option<Phase> {
    Some(match name {
        "ExecCondition" => Phase::Condition,
        "ExecStartPre" => Phase::StartPre,
        "ExecStart" => Phase::Start,
        "ExecStartPost" => Phase::StartPost,
        "ExecReload" => Phase::Reload,
        "ExecStop" => Phase::Stop,
        "ExecStopPost" => Phase::StopPost,
        _ => return None,
    })
}

#[cfg(test)]
#[path = "spec_tests.rs"]
mod tests;
