//! Commands that people run on this machine, on pipes or a terminal: beside a process, as that one runs, or beside none.
//!
//! A task of its own holds each: it hands on what comes and goes, piece by piece, and ends the command when nobody listens any
//! more, by SIGHUP to all that descends from it and, where that does not do, SIGKILL.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::pipe::PipeFlags;
use rustix::process::Signal;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::process::Child;
use tokio::sync::mpsc;

use super::surroundings::Surroundings;
use super::{fd, processes, terminal, users};
use crate::base::BoxFuture;
use crate::base::limits::{SESSION_HANG_UP_MS, SESSION_PIECE_BYTES_MAX, SESSION_PIECES_MAX};
use crate::fleet::session::{Command, Input, Output, Session, SessionInput, SessionOutput, Size};

/// Where programs are looked for that nothing else is said of.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// What ends the input of a terminal: Ctrl-D.
const END_OF_INPUT: u8 = 4;

/// Runs a command as the process `pid` runs: its user, directory, environment and namespaces.
///
/// # Errors
/// Why it cannot be run.
pub fn beside(pid: u32, command: &Command) -> Result<Session, String> {
    let mut surroundings = Surroundings::of(pid).map_err(|error| format!("looking at process {pid}: {error}"))?;
    let environment = std::mem::take(&mut surroundings.environment);
    open(command, &command.words, &environment, Place::Beside(surroundings))
}

/// Runs a command, or a login shell, as the user that the node runs as, in that user's home.
///
/// # Errors
/// Why it cannot be run.
pub fn on_machine(command: &Command) -> Result<Session, String> {
    let read = |file: &str| std::fs::read_to_string(file).unwrap_or_default();
    let own = rustix::process::geteuid().as_raw().to_string();
    // A number is never unknown.
    let user = users::user(&own, &read("/etc/passwd"), &read("/etc/group")).map_err(|error| error.to_string())?;
    let home = if std::path::Path::new(&user.home).is_dir() { user.home } else { "/".to_owned() };
    let shell = if user.shell.is_empty() { "/bin/sh".to_owned() } else { user.shell };
    let environment = [("HOME", &home), ("USER", &user.name), ("LOGNAME", &user.name), ("SHELL", &shell)];
    let environment = environment.map(|(name, value)| (OsString::from(name), OsString::from(value))).to_vec();
    // As ssh does: what is typed is the shell's to read.
    let words = match command.words.as_slice() {
        [] => vec![shell, "-l".to_owned()],
        words => vec![shell, "-c".to_owned(), words.join(" ")],
    };
    open(command, &words, &environment, Place::Directory(home))
}

/// Where a command is run.
enum Place {
    Beside(Surroundings),
    Directory(String),
}

fn open(
    command: &Command,
    words: &[String],
    environment: &[(OsString, OsString)],
    place: Place,
) -> Result<Session, String> {
    let Some((program, arguments)) = words.split_first() else { return Err("no command is given".to_owned()) };
    let failed = |error: io::Error| format!("{program}: {error}");
    let owner = match &place {
        Place::Beside(surroundings) => Some(surroundings.uid()),
        Place::Directory(_) => None,
    };
    let (ends, [stdin, stdout, stderr]) = ends(command, owner).map_err(failed)?;
    let mut child = std::process::Command::new(program);
    child.args(arguments).env_clear().env("PATH", PATH).envs(environment.iter().map(|(name, value)| (name, value)));
    if let Place::Directory(directory) = &place {
        child.current_dir(directory);
    }
    if let Some(terminal) = &command.terminal {
        child.env("TERM", &terminal.kind);
    }
    child.stdin(stdin).stdout(stdout).stderr(stderr);
    let on_terminal = command.terminal.is_some();
    let enter = move || {
        rustix::process::setsid()?;
        if on_terminal {
            rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())?;
        }
        match &place {
            Place::Beside(surroundings) => surroundings.enter(),
            Place::Directory(_) => Ok(()),
        }
    };
    // SAFETY: the closure runs in the forked child before exec, and only makes system calls on values that were made before
    // the fork; it allocates nothing and takes no lock.
    unsafe { child.pre_exec(enter) };
    let mut child = tokio::process::Command::from(child);
    let child = child.kill_on_drop(true).spawn().map_err(failed)?;
    let (to, inputs) = mpsc::channel(SESSION_PIECES_MAX);
    let (outputs, from) = mpsc::channel(SESSION_PIECES_MAX);
    tokio::spawn(attend(child, ends, inputs, outputs));
    Ok(Session { input: Box::new(Inward(to)), output: Box::new(Outward(from)) })
}

/// Our ends of a command's standard streams.
struct Ends {
    stdin: Option<Arc<AsyncFd<OwnedFd>>>,
    stdout: Arc<AsyncFd<OwnedFd>>,
    /// On a terminal both are one.
    stderr: Option<Arc<AsyncFd<OwnedFd>>>,
    terminal: bool,
}

/// Our ends, and the command's: standard input, output and error.
fn ends(command: &Command, owner: Option<rustix::process::Uid>) -> io::Result<(Ends, [Stdio; 3])> {
    let ours = |fd: OwnedFd| fd::register(fd).map(Arc::new);
    if let Some(terminal) = &command.terminal {
        let (master, slave) = terminal::open(terminal.size, owner)?;
        let master = ours(master)?;
        let theirs = [slave.try_clone()?.into(), slave.try_clone()?.into(), slave.into()];
        let ends = Ends { stdin: Some(master.clone()), stdout: master, stderr: None, terminal: true };
        return Ok((ends, theirs));
    }
    let pipe = || rustix::pipe::pipe_with(PipeFlags::CLOEXEC);
    let not_blocking = |fd: OwnedFd| {
        rustix::io::ioctl_fionbio(&fd, true)?;
        ours(fd)
    };
    let ((out, their_out), (err, their_err)) = (pipe()?, pipe()?);
    let (stdin, their_in) = match command.stdin {
        true => {
            let (theirs, ours) = pipe()?;
            (Some(not_blocking(ours)?), theirs.into())
        }
        false => (None, Stdio::null()),
    };
    let ends = Ends { stdin, stdout: not_blocking(out)?, stderr: Some(not_blocking(err)?), terminal: false };
    Ok((ends, [their_in, their_out.into(), their_err.into()]))
}

/// Stays with a command to its end.
async fn attend(mut child: Child, ends: Ends, inputs: mpsc::Receiver<Input>, outputs: mpsc::Sender<Output>) {
    let Ends { stdin, stdout, stderr, terminal } = ends;
    let root = child.id().unwrap_or_default();
    let ended = {
        let feeding = feed(stdin, terminal, inputs);
        let listening = listen(&mut child, &stdout, stderr.as_deref(), &outputs);
        tokio::select! {
            ended = listening => ended,
            never = feeding => match never {},
        }
    };
    match ended {
        Some(ended) => {
            let last = match ended {
                Ok(status) => Output::Ended(code(status)),
                Err(error) => Output::Lost(format!("waiting for it to end: {error}")),
            };
            // Whoever has gone meanwhile needs no end.
            let _ = outputs.send(last).await;
        }
        None => {
            processes::signal_descendants(root, Signal::HUP.as_raw());
            processes::signal_and_wake(root, Signal::HUP.as_raw());
            // A terminal that is gone hangs up, too.
            drop(stdout);
            let within = Duration::from_millis(SESSION_HANG_UP_MS);
            if tokio::time::timeout(within, child.wait()).await.is_err() {
                processes::signal_descendants(root, Signal::KILL.as_raw());
                processes::signal(root, Signal::KILL.as_raw());
                let _ = child.wait().await;
            }
        }
    }
}

fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}

/// Hands on what comes for a command. What it does not read any more is thrown away.
async fn feed(
    mut stdin: Option<Arc<AsyncFd<OwnedFd>>>,
    terminal: bool,
    mut inputs: mpsc::Receiver<Input>,
) -> std::convert::Infallible {
    while let Some(input) = inputs.recv().await {
        match (input, &stdin) {
            (Input::Bytes(bytes), Some(fd)) => {
                let written = write(fd, &bytes).await;
                if written.is_err() && !terminal {
                    stdin = None;
                }
            }
            (Input::End, Some(fd)) if terminal => drop(write(fd, &[END_OF_INPUT]).await),
            (Input::End, _) => stdin = None,
            (Input::Resize(size), Some(fd)) if terminal => resize(fd, size),
            _ => {}
        }
    }
    std::future::pending().await
}

fn resize(fd: &AsyncFd<OwnedFd>, size: Size) {
    if let Err(error) = terminal::resize(fd.get_ref(), size) {
        tracing::debug!(%error, "a terminal keeps its size");
    }
}

async fn write(fd: &AsyncFd<OwnedFd>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = fd.async_io(Interest::WRITABLE, |fd| Ok(rustix::io::write(fd, bytes)?)).await?;
        bytes = &bytes[written..];
    }
    Ok(())
}

/// Hands on what a command says until it has ended; `None`: nobody listens any more.
async fn listen(
    child: &mut Child,
    stdout: &AsyncFd<OwnedFd>,
    stderr: Option<&AsyncFd<OwnedFd>>,
    outputs: &mpsc::Sender<Output>,
) -> Option<io::Result<ExitStatus>> {
    let (mut out, mut err) =
        (Source { fd: Some(stdout), of: Output::Stdout }, Source { fd: stderr, of: Output::Stderr });
    let status = loop {
        let piece = tokio::select! {
            () = outputs.closed() => return None,
            piece = out.next(), if out.fd.is_some() => piece,
            piece = err.next(), if err.fd.is_some() => piece,
            status = child.wait() => break status,
        };
        if let Some(piece) = piece {
            outputs.send(piece).await.ok()?;
        }
    };
    // What it said is all there; what its children go on to say is not waited for.
    for source in [&mut out, &mut err] {
        while let Some(piece) = source.rest() {
            outputs.send(piece).await.ok()?;
        }
    }
    Some(status)
}

/// One of a command's streams, until its end.
struct Source<'a> {
    fd: Option<&'a AsyncFd<OwnedFd>>,
    of: fn(Vec<u8>) -> Output,
}

impl Source<'_> {
    /// The next piece; `None`: its end.
    async fn next(&mut self) -> Option<Output> {
        let read = match self.fd {
            Some(fd) => fd.async_io(Interest::READABLE, read).await,
            None => std::future::pending().await,
        };
        self.taken(read)
    }

    /// A piece that is there already.
    fn rest(&mut self) -> Option<Output> {
        let fd = self.fd?;
        let read = read(fd.get_ref());
        self.taken(read)
    }

    /// A terminal whose other side is closed reads as an error.
    fn taken(&mut self, read: io::Result<Vec<u8>>) -> Option<Output> {
        match read {
            Ok(bytes) if !bytes.is_empty() => Some((self.of)(bytes)),
            _ => {
                self.fd = None;
                None
            }
        }
    }
}

fn read(fd: &OwnedFd) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; SESSION_PIECE_BYTES_MAX];
    let count = rustix::io::read(fd, &mut bytes[..])?;
    bytes.truncate(count);
    Ok(bytes)
}

struct Inward(mpsc::Sender<Input>);

impl SessionInput for Inward {
    fn send(&mut self, input: Input) -> BoxFuture<'_, bool> {
        Box::pin(async move { self.0.send(input).await.is_ok() })
    }
}

struct Outward(mpsc::Receiver<Output>);

impl SessionOutput for Outward {
    fn next(&mut self) -> BoxFuture<'_, Option<Output>> {
        Box::pin(self.0.recv())
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
