//! The system's own programs: useradd, chpasswd, systemctl, systemd-run, curl. Each has a bound.

use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::base::limits::CLOUD_CONFIG_COMMAND_MS_MAX;

/// Runs a program with `input` on its standard input, and returns what it printed.
///
/// # Errors
/// A program that is not there, does not end in time or does not end well; then with what it printed on standard error.
pub async fn run(program: &str, arguments: &[&str], input: &str) -> anyhow::Result<String> {
    let mut command = Command::new(program);
    command.args(arguments).kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("{program} cannot be started"))?;
    let mut stdin = child.stdin.take();
    let ended = async {
        if let Some(stdin) = &mut stdin {
            // A program that does not read has its own word to say when it ends.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
        drop(stdin);
        child.wait_with_output().await
    };
    let limit = Duration::from_millis(CLOUD_CONFIG_COMMAND_MS_MAX);
    let output = tokio::time::timeout(limit, ended).await;
    let output = output.map_err(|_| anyhow::anyhow!("{program} has not ended within {limit:?}"))?;
    let output = output.with_context(|| format!("waiting for {program}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{program}: {}: {}", output.status, said.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
