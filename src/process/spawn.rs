//! Runs one command of a unit: its own process group, the unit's user, limits, directory and environment, its output in a pipe.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use rustix::fs::Mode;
use rustix::pipe::PipeFlags;
use rustix::process::{Gid, Resource, Rlimit, Uid};

use super::users::User;

/// Exit codes by which systemd says why a command could not be run (systemd.exec, "Process exit codes").
pub const EXIT_CHDIR: i32 = 200;
pub const EXIT_EXEC: i32 = 203;
pub const EXIT_STDOUT: i32 = 209;
pub const EXIT_GROUP: i32 = 216;
pub const EXIT_USER: i32 = 217;

/// Where a command's output goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Sink {
    #[default]
    Journal,
    Null,
    /// A file, emptied first with `truncate`, added to with `append`.
    File {
        path: String,
        append: bool,
        truncate: bool,
    },
}

/// One process to be.
#[derive(Clone, Debug, Default)]
pub struct Launch {
    pub program: String,
    /// What the program sees as its own name.
    pub arg0: String,
    pub args: Vec<String>,
    pub environment: BTreeMap<String, String>,
    pub directory: String,
    pub user: Option<User>,
    pub umask: Option<u32>,
    pub nice: Option<i32>,
    pub limits: Vec<(Resource, Rlimit)>,
    pub stdout: Sink,
    pub stderr: Sink,
}

/// Why a command could not be run: the exit code that stands for it, and the reason in words.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct SpawnError {
    pub code: i32,
    pub reason: String,
}

/// The process, and the reading end of its output (not blocking) where that goes to the journal.
pub struct Running {
    pub pid: u32,
    pub output: Option<OwnedFd>,
}

/// Starts a process. It is for the caller to wait for it: by `waitpid`, as for every other process of the unit.
///
/// # Errors
/// The directory, the program or a file for the output is not there or not allowed.
pub fn spawn(launch: &Launch) -> Result<Running, SpawnError> {
    if !std::fs::metadata(&launch.directory).is_ok_and(|m| m.is_dir()) {
        return Err(SpawnError {
            code: EXIT_CHDIR,
            reason: format!("WorkingDirectory={}: no such directory", launch.directory),
        });
    }
    let (ours, theirs) = pipe().map_err(|error| failed(EXIT_STDOUT, "pipe", &error))?;
    let mut command = Command::new(OsStr::from_bytes(launch.program.as_bytes()));
    command
        .arg0(&launch.arg0)
        .args(&launch.args)
        .env_clear()
        .envs(&launch.environment)
        .current_dir(&launch.directory)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(sink(&launch.stdout, &theirs)?)
        .stderr(sink(&launch.stderr, &theirs)?);
    drop(theirs);
    let context = Context::of(launch);
    // SAFETY: the closure runs in the forked child before exec, and only makes system calls on values that were made
    // before the fork; it allocates nothing and takes no lock.
    unsafe { command.pre_exec(move || context.enter()) };
    let child = command.spawn().map_err(|error| failed(EXIT_EXEC, &launch.program, &error))?;
    let piped = launch.stdout == Sink::Journal || launch.stderr == Sink::Journal;
    Ok(Running { pid: child.id(), output: piped.then_some(ours) })
}

fn failed(code: i32, what: &str, error: &io::Error) -> SpawnError {
    SpawnError { code, reason: format!("{what}: {error}") }
}

/// A pipe whose reading end does not block; the writing end does, as programs expect of their output.
fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&ours, true)?;
    Ok((ours, theirs))
}

fn sink(sink: &Sink, pipe: &OwnedFd) -> Result<Stdio, SpawnError> {
    match sink {
        Sink::Null => Ok(Stdio::null()),
        Sink::Journal => pipe.try_clone().map(Stdio::from).map_err(|error| failed(EXIT_STDOUT, "pipe", &error)),
        Sink::File { path, append, truncate } => {
            open(path, *append, *truncate).map(Stdio::from).map_err(|error| failed(EXIT_STDOUT, path, &error))
        }
    }
}

fn open(path: &str, append: bool, truncate: bool) -> io::Result<File> {
    OpenOptions::new().write(!append).append(append).create(true).truncate(truncate).open(path)
}

/// What the child sets of itself before it becomes the program.
struct Context {
    ids: Option<(Uid, Gid, Vec<Gid>)>,
    umask: Option<Mode>,
    nice: Option<i32>,
    limits: Vec<(Resource, Rlimit)>,
}

impl Context {
    fn of(launch: &Launch) -> Self {
        let ids = launch.user.as_ref().map(|user| {
            let groups = user.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
            (Uid::from_raw(user.uid), Gid::from_raw(user.gid), groups)
        });
        Self { ids, umask: launch.umask.map(Mode::from_raw_mode), nice: launch.nice, limits: launch.limits.clone() }
    }

    fn enter(&self) -> io::Result<()> {
        for (resource, limit) in &self.limits {
            set_limit_closest(*resource, *limit)?;
        }
        if let Some(nice) = self.nice {
            rustix::process::setpriority_process(None, nice)?;
        }
        if let Some(umask) = self.umask {
            rustix::process::umask(umask);
        }
        if let Some((uid, gid, groups)) = &self.ids {
            // The forked child has one thread: setting the thread's ids sets the process's.
            if rustix::process::geteuid().is_root() {
                rustix::thread::set_thread_groups(groups)?;
            }
            rustix::thread::set_thread_res_gid(*gid, *gid, *gid)?;
            rustix::thread::set_thread_res_uid(*uid, *uid, *uid)?;
        }
        Ok(())
    }
}

/// Sets a limit; where the hard one may not be raised so far, as near to it as is allowed.
fn set_limit_closest(resource: Resource, wanted: Rlimit) -> io::Result<()> {
    if rustix::process::setrlimit(resource, wanted).is_ok() {
        return Ok(());
    }
    let hard = rustix::process::getrlimit(resource).maximum;
    let at_most = |limit: Option<u64>| match (limit, hard) {
        (Some(limit), Some(hard)) => Some(limit.min(hard)),
        (limit, hard) => limit.or(hard),
    };
    let near = Rlimit { current: at_most(wanted.current), maximum: at_most(wanted.maximum) };
    Ok(rustix::process::setrlimit(resource, near)?)
}
