//! From a unit's command to a process to be: who runs it, where, with which environment.

use std::collections::BTreeMap;

use super::machine::{Ended, Outcome, Phase};
use super::spawn::{EXIT_CHDIR, EXIT_EXEC, EXIT_GROUP, EXIT_USER, Launch, SpawnError};
use super::spec::Spec;
use super::users::{self, User};
use crate::unit::Command;
use crate::unit::command::Privilege;
use crate::unit::environment::environment_file;
use crate::unit::value::signal_name;

/// systemd's search path for programs and default `$PATH`.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How it stands with the unit when the command is run.
#[derive(Clone, Debug, Default)]
pub struct Circumstances {
    pub invocation: String,
    pub notify_address: Option<String>,
    pub main_pid: Option<u32>,
    pub main_ended: Option<Ended>,
    pub result: Outcome,
}

/// Makes one command ready to be run. Reads `/etc/passwd`, `/etc/group` and the unit's environment files.
///
/// # Errors
/// One of them does not have what the unit asks for.
pub fn prepare(spec: &Spec, phase: Phase, command: &Command, now: &Circumstances) -> Result<Launch, SpawnError> {
    let as_user = matches!(command.privilege, Privilege::AsConfigured | Privilege::Ambient);
    let user = user_of(spec)?;
    let environment = environment(spec, phase, user.as_ref(), now)?;
    let mut argv = command.expanded(&environment).into_iter();
    let arg0 = argv.next().unwrap_or_else(|| command.path.clone());
    Ok(Launch {
        program: command.path.clone(),
        arg0,
        args: argv.collect(),
        directory: directory(spec, user.as_ref())?,
        environment,
        user: user.filter(|_| as_user),
        umask: spec.umask.or(Some(0o022)),
        nice: spec.nice,
        limits: spec.limits.clone(),
        stdout: spec.stdout.clone(),
        stderr: spec.stderr.clone().unwrap_or_else(|| spec.stdout.clone()),
    })
}

/// Under which name a command's output is kept: `SyslogIdentifier=`, else its program's.
pub fn identifier(spec: &Spec, command: &Command) -> String {
    let program = command.path.rsplit('/').next().unwrap_or(&command.path);
    spec.identifier.clone().unwrap_or_else(|| program.to_owned())
}

fn user_of(spec: &Spec) -> Result<Option<User>, SpawnError> {
    if spec.user.is_none() && spec.group.is_none() && spec.supplementary_groups.is_empty() {
        return Ok(None);
    }
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let group = std::fs::read_to_string("/etc/group").unwrap_or_default();
    let wanted = spec.user.as_deref().unwrap_or("0");
    let mut user = users::user(wanted, &passwd, &group).map_err(|error| refused(EXIT_USER, &error))?;
    if let Some(wanted) = &spec.group {
        user.gid = users::group(wanted, &group).map_err(|error| refused(EXIT_GROUP, &error))?;
    }
    for wanted in &spec.supplementary_groups {
        let gid = users::group(wanted, &group).map_err(|error| refused(EXIT_GROUP, &error))?;
        user.groups.push(gid);
    }
    Ok(Some(user))
}

fn refused(code: i32, error: &users::UsersError) -> SpawnError {
    SpawnError { code, reason: error.to_string() }
}

fn directory(spec: &Spec, user: Option<&User>) -> Result<String, SpawnError> {
    let Some((wanted, optional)) = &spec.directory else {
        return Ok("/".to_owned());
    };
    let path = match wanted.strip_prefix('~') {
        Some("") => user.map_or("/root", |user| &user.home),
        _ => wanted,
    };
    if std::fs::metadata(path).is_ok_and(|m| m.is_dir()) {
        Ok(path.to_owned())
    } else if *optional {
        Ok("/".to_owned())
    } else {
        Err(SpawnError { code: EXIT_CHDIR, reason: format!("WorkingDirectory={path}: no such directory") })
    }
}

fn environment(
    spec: &Spec,
    phase: Phase,
    user: Option<&User>,
    now: &Circumstances,
) -> Result<BTreeMap<String, String>, SpawnError> {
    let mut all = BTreeMap::from([("PATH".to_owned(), PATH.to_owned())]);
    if let Some(user) = user.filter(|_| spec.user.is_some()) {
        for (name, value) in
            [("HOME", &user.home), ("USER", &user.name), ("LOGNAME", &user.name), ("SHELL", &user.shell)]
        {
            all.insert(name.to_owned(), value.clone());
        }
    }
    for name in &spec.pass_environment {
        if let Ok(value) = std::env::var(name) {
            all.insert(name.clone(), value);
        }
    }
    all.extend(spec.environment.iter().cloned());
    for (path, optional) in &spec.environment_files {
        match std::fs::read(path) {
            Ok(bytes) => all.extend(environment_file(&String::from_utf8_lossy(&bytes)).variables),
            Err(_) if *optional => {}
            Err(error) => {
                return Err(SpawnError { code: EXIT_EXEC, reason: format!("EnvironmentFile={path}: {error}") });
            }
        }
    }
    all.extend(of_the_moment(phase, now));
    for unset in &spec.unset_environment {
        match unset.split_once('=') {
            Some((name, value)) if all.get(name).is_none_or(|has| has != value) => {}
            Some((name, _)) => drop(all.remove(name)),
            None => drop(all.remove(unset)),
        }
    }
    Ok(all)
}

/// What systemd tells commands of their unit.
fn of_the_moment(phase: Phase, now: &Circumstances) -> Vec<(String, String)> {
    let mut all = vec![("INVOCATION_ID", now.invocation.clone())];
    if let Some(address) = &now.notify_address {
        all.push(("NOTIFY_SOCKET", address.clone()));
    }
    if let Some(pid) = now.main_pid {
        all.push(("MAINPID", pid.to_string()));
    }
    if matches!(phase, Phase::Stop | Phase::StopPost) {
        all.push(("SERVICE_RESULT", now.result.name().to_owned()));
        match now.main_ended {
            Some(Ended::Code(code)) => {
                all.push(("EXIT_CODE", "exited".to_owned()));
                all.push(("EXIT_STATUS", code.to_string()));
            }
            Some(Ended::Signal { number, dumped }) => {
                let code = if dumped { "dumped" } else { "killed" };
                all.push(("EXIT_CODE", code.to_owned()));
                let name = signal_name(number);
                let name = name.strip_prefix("SIG").unwrap_or(&name).to_owned();
                all.push(("EXIT_STATUS", name));
            }
            None => {}
        }
    }
    all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
