//! Runs one program with a bound, and keeps what it said for checks and for messages.

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// Exit code with which `timeout` says that it ended the program.
const TIMED_OUT: i32 = 124;
/// What `timeout` waits between asking the program to end and ending it, in seconds.
const KILL_AFTER_SECS: &str = "5";

/// What a program said and how it ended.
#[derive(Clone, Debug)]
pub struct Output {
    /// The command as a person would read it.
    pub command: String,
    /// Exit code; -1 when a signal ended the program.
    pub code: i32,
    /// What it wrote to stdout; bytes that are not UTF-8 are replaced.
    pub stdout: String,
    /// What it wrote to stderr, likewise.
    pub stderr: String,
}

impl Output {
    /// The output of a program that exited with 0; otherwise an error with everything that it said.
    pub fn ok(self) -> Result<Self> {
        self.exits_with(0)
    }

    /// The output of a program that exited with `code`; otherwise an error with everything that it said.
    pub fn exits_with(self, code: i32) -> Result<Self> {
        if self.code != code {
            bail!("expected exit code {code}\n{self}");
        }
        Ok(self)
    }
}

impl fmt::Display for Output {
    /// The command and its output as on a terminal; a code other than 0 follows at the end.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}\n{}{}", self.command, self.stdout, self.stderr)?;
        if self.code != 0 {
            writeln!(out, "[exit code {}]", self.code)?;
        }
        Ok(())
    }
}

/// Runs `argv` for at most `bound`, with `input` as its stdin (nothing if `None`).
///
/// An exit code other than 0 is not an error; not starting and not ending in time are.
pub fn run<S: AsRef<OsStr>>(argv: &[S], input: Option<File>, bound: Duration) -> Result<Output> {
    let command = argv.iter().map(|word| word.as_ref().to_string_lossy()).collect::<Vec<_>>().join(" ");
    let output = Command::new("timeout")
        .args(["--kill-after", KILL_AFTER_SECS])
        .arg(format!("{}", bound.as_secs_f64()))
        .args(argv)
        .stdin(input.map_or_else(Stdio::null, Stdio::from))
        .output()
        .with_context(|| format!("start `timeout`, to run: {command}"))?;
    let output = Output {
        command,
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    };
    if output.code == TIMED_OUT {
        bail!("did not end within {bound:?}: {output}");
    }
    Ok(output)
}
