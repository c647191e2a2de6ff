//! A change of the program is a trial until the node serves with the new one. What came of it is kept in the data directory. A
//! guard, which is the former program in a process of its own, puts that one back where the node does not come to serve.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::files;
use crate::app::format;
use crate::base::DATA_FORMAT;
use crate::disk;
use crate::wire::program::{Outcome, Trial};

/// `node` with this as its first argument is the guard of a trial: program, data directory and process id follow, and then the
/// arguments of the node.
pub const TRIAL_ARGUMENT: &str = "__trial";

/// Within the data directory.
const FILE: &str = "upgrade.json";
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How long a node that is to give way may take to end in order.
const END_WITHIN: Duration = Duration::from_secs(10);

/// The last change of the program of the node with this data directory.
pub fn read(data_dir: &Path) -> Option<Trial> {
    serde_json::from_slice(&std::fs::read(data_dir.join(FILE)).ok()?).ok()
}

/// Keeps what is known of it.
pub fn write(data_dir: &Path, trial: &Trial) -> io::Result<()> {
    disk::replace(&data_dir.join(FILE), &serde_json::to_vec(trial)?)
}

/// Notes what came of it, unless that is known.
pub fn end(data_dir: &Path, outcome: Outcome) {
    let Some(trial) = read(data_dir).filter(|trial| trial.outcome == Outcome::Open) else { return };
    if let Err(error) = write(data_dir, &Trial { outcome, ..trial }) {
        tracing::warn!("what came of the upgrade cannot be kept: {error}");
    }
}

/// Starts the guard of this process: it outlives it, with the same arguments and output.
pub fn guard(program: &Path, data_dir: &Path) -> io::Result<()> {
    let mut command = Command::new(files::previous(program));
    command.arg(TRIAL_ARGUMENT).arg(program).arg(data_dir).arg(std::process::id().to_string());
    command.args(std::env::args_os().skip(1)).stdin(Stdio::null()).process_group(0);
    // Its end is seen to by the node's next life, as that of any child that it inherits.
    command.spawn().map(drop)
}

/// The guard.
pub fn main(arguments: &[String]) -> u8 {
    let [program, data_dir, pid, rest @ ..] = arguments else {
        eprintln!("{TRIAL_ARGUMENT} is for the node itself");
        return 2;
    };
    let (program, data_dir) = (PathBuf::from(program), PathBuf::from(data_dir));
    let Some(process) = pid.parse().ok().and_then(Process::new) else { return 2 };
    let begun = Instant::now();
    let why = loop {
        // Before the look at what is noted: it may have come to serve and then ended.
        let ended = process.ends_within(LOOK_EVERY);
        let patience = match read(&data_dir) {
            Some(Trial { outcome: Outcome::Open, within_ms, .. }) => Duration::from_millis(within_ms),
            _ => return 0,
        };
        if ended {
            break "it ended before it served".to_owned();
        }
        if begun.elapsed() > patience {
            break format!("it did not come to serve within {patience:?}");
        }
    };
    match back(&program, &data_dir, &why, &process) {
        // Without a supervisor the node goes on as this process.
        Ok(()) if std::env::var_os("INVOCATION_ID").is_none() => {
            let rest: Vec<OsString> = rest.iter().map(OsString::from).collect();
            let error = Command::new(&program).args(rest).exec();
            eprintln!("node: {}: {error}", program.display());
            1
        }
        Ok(()) => 0,
        Err(error) => {
            eprintln!("node: the former program cannot be put back: {error}");
            1
        }
    }
}

/// Puts the former program, which this one is, back; a node that hangs is ended.
fn back(program: &Path, data_dir: &Path, why: &str, process: &Process) -> io::Result<()> {
    let found = format::of(data_dir)?;
    if found > DATA_FORMAT {
        return Err(io::Error::other(format!("the data are of format {found} by now, it reads up to {DATA_FORMAT}")));
    }
    files::put_back(program)?;
    eprintln!("node: the program that it was upgraded to is taken back: {why}");
    end(data_dir, Outcome::Back(why.to_owned()));
    process.end();
    Ok(())
}

/// A process that is not this one's child, whatever its number comes to mean.
struct Process(OwnedFd);

impl Process {
    fn new(pid: i32) -> Option<Self> {
        pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok().map(Self)
    }

    /// Waits for its end, for so long at most; whether it has ended.
    fn ends_within(&self, wait: Duration) -> bool {
        let wait = wait.try_into().ok();
        poll(&mut [PollFd::new(&self.0, PollFlags::IN)], wait.as_ref()).is_ok_and(|ready| ready > 0)
    }

    /// Ends it, in order if it can.
    fn end(&self) {
        for signal in [Signal::TERM, Signal::KILL] {
            // One that has ended by itself is as good.
            let _ = pidfd_send_signal(&self.0, signal);
            if self.ends_within(END_WITHIN) {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_came_of_a_trial_is_noted_once() {
        let dir = tempfile::tempdir().unwrap();
        end(dir.path(), Outcome::Kept);
        assert_eq!(read(dir.path()), None);
        let trial = Trial { from: "a".into(), to: "b".into(), ..Trial::default() };
        write(dir.path(), &trial).unwrap();
        end(dir.path(), Outcome::Kept);
        end(dir.path(), Outcome::Back("too late".into()));
        assert_eq!(read(dir.path()), Some(Trial { outcome: Outcome::Kept, ..trial }));
    }

    #[test]
    fn a_process_has_ended_though_nobody_has_waited_for_it() {
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        let process = Process::new(child.id().cast_signed()).unwrap();
        assert!(!process.ends_within(Duration::ZERO));
        process.end();
        assert!(process.ends_within(Duration::ZERO));
        child.wait().unwrap();
    }
}
