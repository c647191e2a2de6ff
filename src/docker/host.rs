//! Commands of the host around a container: `ExecStartPre=` and its kind.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};

use super::shared::Shared;
use crate::base::limits::JOURNAL_CHUNK_BYTES_MAX;
use crate::unit::Command;
use crate::unit::container::Life;

/// Runs commands one after the other, each within `limit`; what they print goes to the unit's journal.
///
/// # Errors
/// The first that fails and may not (`-`): which, and how.
pub async fn run(
    shared: &Shared,
    unit: &str,
    life: &Life,
    commands: &[Command],
    limit: Option<Duration>,
) -> Result<(), String> {
    for command in commands {
        let done = run_one(shared, unit, life, command, limit).await;
        match done {
            Err(reason) if command.ignore_failure => shared.note(unit, "node", &format!("{reason}; passed over")),
            Err(reason) => return Err(reason),
            Ok(()) => {}
        }
    }
    Ok(())
}

async fn run_one(
    shared: &Shared,
    unit: &str,
    life: &Life,
    command: &Command,
    limit: Option<Duration>,
) -> Result<(), String> {
    let environment = life.environment.iter().cloned().collect();
    let argv = command.expanded(&environment);
    let (name, arguments) = argv.split_first().ok_or_else(|| format!("{}: no command", command.path))?;
    let mut child = tokio::process::Command::new(&command.path)
        .arg0(name)
        .args(arguments)
        .envs(&environment)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("{}: {error}", command.path))?;
    let identifier = command.path.rsplit('/').next().unwrap_or_default().to_owned();
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let output =
        async { tokio::join!(tell(shared, unit, &identifier, stdout), tell(shared, unit, &identifier, stderr)) };
    let ended = async {
        tokio::pin!(output);
        tokio::select! {
            // What it leaves in the background may hold its output open for ever.
            ended = child.wait() => ended,
            _ = &mut output => child.wait().await,
        }
    };
    let status = match limit {
        Some(limit) => tokio::time::timeout(limit, ended)
            .await
            .map_err(|_| format!("{}: no end within {limit:?}; it was killed", command.path))?,
        None => ended.await,
    };
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{}: {status}", command.path)),
        Err(error) => Err(format!("{}: {error}", command.path)),
    }
}

async fn tell(shared: &Shared, unit: &str, identifier: &str, stream: Option<impl AsyncRead + Unpin>) {
    let Some(stream) = stream else { return };
    let mut lines = BufReader::with_capacity(JOURNAL_CHUNK_BYTES_MAX, stream).split(b'\n');
    while let Ok(Some(line)) = lines.next_segment().await {
        shared.note(unit, identifier, &String::from_utf8_lossy(&line));
    }
}
