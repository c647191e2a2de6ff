//! systemd's own programs, run for what they print.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

use super::files;
use crate::base::limits::{SYSTEMCTL_MS_MAX, SYSTEMCTL_OUTPUT_BYTES_MAX};
use crate::fleet::executor::{ExecutorError, StatusText};

/// Lines of `systemd-analyze verify` that go into an error.
const VERIFY_LINES_MAX: usize = 3;

/// A program that ends with this handle, prints in plain UTF-8 and reads nothing.
pub fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).env("LC_ALL", "C.UTF-8").env("SYSTEMD_COLORS", "0").env("SYSTEMD_URLIFY", "0");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// What `systemctl status` prints and ends with.
pub async fn status(name: &str) -> Result<StatusText, ExecutorError> {
    let doing = "asking systemctl for its status";
    files::check_name(name).map_err(|reason| ExecutorError::Unsupported { unit: name.to_owned(), reason })?;
    let (text, exit_code) = run("systemctl", &["status", "-l", "--no-pager", "--", name], name, doing).await?;
    Ok(StatusText { text, exit_code })
}

/// Has systemd reload a unit, or restart it, and waits for the end of that. Whoever waits bounds it.
pub async fn reload(name: &str) -> Result<(), ExecutorError> {
    systemctl(name, &["reload-or-restart", "--", name], "reloading it").await
}

/// Has systemd send a signal to the main process of a unit. Whoever waits bounds it.
pub async fn signal(name: &str, number: i32) -> Result<(), ExecutorError> {
    let signal = format!("--signal={number}");
    systemctl(name, &["kill", "--kill-who=main", &signal, "--", name], "sending it a signal").await
}

async fn systemctl(name: &str, arguments: &[&str], doing: &str) -> Result<(), ExecutorError> {
    files::check_name(name).map_err(|reason| ExecutorError::Unsupported { unit: name.to_owned(), reason })?;
    let failed = |reason: String| ExecutorError::Failed { unit: name.to_owned(), doing: doing.to_owned(), reason };
    let ended =
        command("systemctl", arguments).output().await.map_err(|error| failed(format!("systemctl: {error}")))?;
    match ended.status.success() {
        true => Ok(()),
        false => Err(failed(String::from_utf8_lossy(&ended.stderr).trim().to_owned())),
    }
}

/// What `systemd-analyze verify` says against a unit file, on one line; nothing where it cannot be asked.
pub async fn verify(path: &Path, unit: &str) -> String {
    let path = path.to_string_lossy();
    let said = run("systemd-analyze", &["verify", "--", &path], unit, "verifying it").await;
    let Ok((text, _)) = said else { return String::new() };
    let lines = text.lines().map(str::trim).filter(|line| line.contains(unit));
    lines.take(VERIFY_LINES_MAX).collect::<Vec<_>>().join("; ")
}

/// Runs a program to its end: what it printed, and its exit code.
async fn run(program: &str, arguments: &[&str], unit: &str, doing: &str) -> Result<(String, i32), ExecutorError> {
    let failed = |reason: String| ExecutorError::Failed { unit: unit.to_owned(), doing: doing.to_owned(), reason };
    let work = async {
        let mut child = command(program, arguments).spawn().map_err(|e| failed(format!("{program}: {e}")))?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let (mut text, complaints) = tokio::join!(read_some(stdout), read_some(stderr));
        let status = child.wait().await.map_err(|e| failed(format!("{program}: {e}")))?;
        text.push_str(&complaints);
        let code = status.code().ok_or_else(|| failed(format!("{program} was killed: {status}")))?;
        Ok((text, code))
    };
    let bound = Duration::from_millis(SYSTEMCTL_MS_MAX);
    let late = |_| ExecutorError::TimedOut { doing: format!("{unit}: {doing}"), waited: bound };
    tokio::time::timeout(bound, work).await.map_err(late)?
}

/// Reads to the end and keeps the first [`SYSTEMCTL_OUTPUT_BYTES_MAX`].
pub async fn read_some(stream: Option<impl AsyncRead + Unpin>) -> String {
    let Some(mut stream) = stream else { return String::new() };
    let mut bytes = Vec::new();
    let mut kept = (&mut stream).take(SYSTEMCTL_OUTPUT_BYTES_MAX as u64);
    // What was read before an error is shown; the rest is thrown away, so that the program can end.
    let _ = kept.read_to_end(&mut bytes).await;
    let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn both_streams_and_the_exit_code_are_kept() {
        let script = ["-c", "echo out; echo err >&2; exit 3"];
        let (text, code) = run("sh", &script, "a.service", "trying").await.unwrap();
        assert_eq!((text.as_str(), code), ("out\nerr\n", 3));
    }

    #[tokio::test]
    async fn a_program_that_is_missing_is_named() {
        let error = run("no-such-program", &[], "a.service", "trying").await.unwrap_err();
        assert!(error.to_string().starts_with("a.service: trying: no-such-program: "), "{error}");
    }

    #[tokio::test]
    async fn names_are_checked_before_they_reach_a_command_line() {
        let error = status("a b").await.unwrap_err();
        assert!(matches!(error, ExecutorError::Unsupported { .. }), "{error}");
    }
}
