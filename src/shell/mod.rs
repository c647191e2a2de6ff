//! A command line run by `/bin/sh` in a process group of its own, within a time, its output caught.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::Receiver;
use tokio::process::{Child, Command};

/// What is kept of a command's output; the rest is read and dropped.
const OUTPUT_BYTES_MAX: usize = 64 << 10;

/// A command that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    #[error("/bin/sh cannot be started: {0}")]
    Start(io::Error),
    /// In Go's words.
    #[error("{}", describe(*status))]
    Failed { status: ExitStatus, output: Vec<u8> },
    #[error("no end within {waited:?}; it and all it started were killed")]
    TimedOut { waited: Duration, output: Vec<u8> },
}

impl CommandError {
    /// What it printed until then, both streams as they came.
    pub fn output(&self) -> &[u8] {
        match self {
            Self::Start(_) => b"",
            Self::Failed { output, .. } | Self::TimedOut { output, .. } => output,
        }
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "it neither ended nor was it killed".to_owned(),
    }
}

/// Runs `line` and returns its output, both streams as they came, at most 64 KiB.
///
/// It ends when the shell ends: what a command leaves in the background is not waited for, though its output is drained.
/// After `limit`, and when the future is dropped, the whole process group is killed.
///
/// # Errors
/// [`CommandError`]: it cannot be started, an exit code other than 0, a signal, no end within `limit`.
pub async fn run(line: &str, limit: Duration) -> Result<Vec<u8>, CommandError> {
    let (mut child, mut pipe) = start(line).map_err(CommandError::Start)?;
    let group = Group(child.id().and_then(|id| Pid::from_raw(id.cast_signed())));
    let mut output = Vec::new();
    let ended = tokio::time::timeout(limit, async {
        loop {
            tokio::select! {
                more = read_some(&mut pipe, &mut output) => if !more {
                    return child.wait().await;
                },
                status = child.wait() => return status,
            }
        }
    })
    .await;
    // What was written before the end may still be in the pipe.
    drain_ready(&pipe, &mut output);
    match ended {
        Ok(Ok(status)) => {
            group.release();
            tokio::spawn(async move { tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await });
            if status.success() { Ok(output) } else { Err(CommandError::Failed { status, output }) }
        }
        Ok(Err(error)) => Err(CommandError::Start(error)),
        Err(_) => {
            drop(group);
            // The signal was sent, so this ends at once, unless the kernel itself is stuck.
            let _ = tokio::time::timeout(Duration::from_secs(1), child.wait()).await;
            Err(CommandError::TimedOut { waited: limit, output })
        }
    }
}

fn start(line: &str) -> io::Result<(Child, Receiver)> {
    let (reader, writer) = io::pipe()?;
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(line).process_group(0).stdin(Stdio::null());
    command.stdout(Stdio::from(OwnedFd::from(writer.try_clone()?))).stderr(Stdio::from(OwnedFd::from(writer)));
    let child = command.spawn()?;
    Ok((child, Receiver::from_owned_fd(OwnedFd::from(reader))?))
}

/// Whether the pipe is still open.
async fn read_some(pipe: &mut Receiver, output: &mut Vec<u8>) -> bool {
    let mut chunk = [0; 4096];
    match pipe.read(&mut chunk).await {
        Ok(0) | Err(_) => false,
        Ok(count) => {
            keep(output, &chunk[..count]);
            true
        }
    }
}

/// Takes what is in the pipe already.
fn drain_ready(pipe: &Receiver, output: &mut Vec<u8>) {
    let mut chunk = [0; 4096];
    while output.len() < OUTPUT_BYTES_MAX {
        match pipe.try_read(&mut chunk) {
            Ok(0) | Err(_) => return,
            Ok(count) => keep(output, &chunk[..count]),
        }
    }
}

fn keep(output: &mut Vec<u8>, chunk: &[u8]) {
    let room = OUTPUT_BYTES_MAX.saturating_sub(output.len());
    output.extend_from_slice(&chunk[..chunk.len().min(room)]);
}

/// A process group that is killed when this value goes.
struct Group(Option<Pid>);

impl Group {
    /// The command has ended: what it left behind may stay.
    fn release(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            // An error means that nobody of the group is left.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests;
