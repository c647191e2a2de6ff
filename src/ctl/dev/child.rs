//! One node of `node dev`: a child process on a leash, so that it ends when its parent does, however that ends.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::UnixDatagram;
use tokio::process::{ChildStdin, Command};

use super::Plan;

/// How long a node may take to stop its units and itself.
const ENDS_WITHIN: Duration = Duration::from_secs(20);

pub struct Child {
    name: String,
    dir: PathBuf,
    process: tokio::process::Child,
    /// Closed when this process ends in any way; the node then removes its units and ends.
    leash: Option<ChildStdin>,
    notices: UnixDatagram,
}

impl Child {
    pub fn start(plan: &Plan, initial_cluster: &str, confdir: Option<&Path>) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&plan.dir).with_context(|| format!("making {}", plan.dir.display()))?;
        let notify = plan.dir.join("notify");
        let notices = UnixDatagram::bind(&notify).with_context(|| format!("listening on {}", notify.display()))?;
        let log = File::create(plan.dir.join("log")).context("making a node's log")?;
        let mut command = Command::new(std::env::current_exe().context("finding this binary")?);
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("NODE_") {
                command.env_remove(variable);
            }
        }
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        command
            .args(["run", "--leash", "--name", &plan.name, "--initial-cluster", initial_cluster])
            .args(["--data-dir", &text(plan.dir.join("data")), "--cluster-token", "node-dev"])
            .args(["--peer-listen", &plan.peer.to_string(), "--client-listen", &plan.client.to_string()])
            .args(["--client-socket", &text(plan.dir.join("node.sock")), "--fleet-socket", ""])
            .args(["--fleet-machine-id", &plan.machine_id, "--fleet-metadata", &format!("node={}", plan.name)])
            .args(["--fleet-public-ip", "127.0.0.1", "--fleet-executor", "process"])
            .args(["--template-enabled", if confdir.is_some() { "true" } else { "false" }]);
        if let Some(confdir) = confdir {
            command.args(["--template-confdir", &confdir.to_string_lossy()]);
        }
        command
            .env("NOTIFY_SOCKET", &notify)
            .stdin(Stdio::piped())
            .stdout(log.try_clone().context("sharing a node's log")?)
            .stderr(log)
            // Ctrl-C goes to the whole foreground group; only the parent answers it.
            .process_group(0)
            .kill_on_drop(true);
        let mut process = command.spawn().with_context(|| format!("starting {}", plan.name))?;
        std::fs::write(plan.dir.join("pid"), process.id().unwrap_or(0).to_string()).context("writing a node's pid")?;
        Ok(Self { name: plan.name.clone(), dir: plan.dir.clone(), leash: process.stdin.take(), process, notices })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Waits until the node says that it serves, with a leader known and its machine in the list.
    pub async fn serves(&mut self) -> anyhow::Result<()> {
        let mut buffer = [0; 4096];
        loop {
            let read = tokio::select! {
                read = self.notices.recv(&mut buffer) => read.context("hearing from a node")?,
                ended = self.process.wait() => {
                    anyhow::bail!("{} ended before it served: {}", self.name, how(&ended))
                }
            };
            let notice = String::from_utf8_lossy(buffer.get(..read).unwrap_or_default()).into_owned();
            if notice.lines().any(|line| line == crate::base::SERVES_NOTICE) {
                return Ok(());
            }
        }
    }

    /// Waits for the process's end and tells how it ended. Notices that nobody needs any more are taken off the socket,
    /// so that the node never waits for room in it.
    pub async fn ended(&mut self) -> String {
        let mut buffer = [0; 4096];
        loop {
            tokio::select! {
                ended = self.process.wait() => return how(&ended),
                _ = self.notices.recv(&mut buffer) => {}
            }
        }
    }

    pub fn ask_to_end(&mut self) {
        drop(self.leash.take());
    }

    /// Waits for the node's own end, within bounds, and sweeps up after one that could not end by itself.
    pub async fn end(mut self) {
        if tokio::time::timeout(ENDS_WITHIN, self.ended()).await.is_err() {
            eprintln!("{} does not end within {ENDS_WITHIN:?} and is killed", self.name);
            let _ = self.process.kill().await;
        }
        super::lose::kill_units(&self.dir);
    }

    /// The last lines of the node's log, under a heading.
    pub fn log_tail(&self) -> String {
        let log = std::fs::read_to_string(self.dir.join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let mut tail = format!("the end of {}'s log:\n", self.name);
        for line in lines.iter().skip(lines.len().saturating_sub(15)) {
            tail.push_str(&format!("  {line}\n"));
        }
        tail
    }
}

fn how(ended: &std::io::Result<std::process::ExitStatus>) -> String {
    match ended {
        Ok(status) => status.to_string(),
        Err(error) => format!("its exit status is lost: {error}"),
    }
}
