//! `watch` and `exec-watch`.

use tokio::process::Command;

use super::client::Client;
use super::keys::{key, reply};
use super::line::Line;
use super::print::{self, Reply};
use super::request::key_path;
use super::{Failed, exit};

/// Waits for changes one after the other.
struct Watch {
    client: Client,
    key: String,
    recursive: bool,
    /// 0: the next one.
    index: u64,
}

impl Watch {
    async fn start(line: &Line, key: &str) -> Result<Self, Failed> {
        let index = match line.whole("after-index") {
            after if after > 0 => after.unsigned_abs() + 1,
            _ => 0,
        };
        let client = Client::synced(line).await?;
        Ok(Self { client, key: key.to_owned(), recursive: line.truth("recursive"), index })
    }

    async fn next(&mut self) -> Result<Reply, Failed> {
        loop {
            let query = [
                ("wait", "true".to_owned()),
                ("waitIndex", self.index.to_string()),
                ("recursive", self.recursive.to_string()),
            ];
            let answer = self.client.wait(key_path(&self.key, &query)).await;
            let answer = answer.map_err(|trouble| trouble.failed(exit::SERVER))?;
            // An empty answer is a watch that the server let go: the next one goes on where it was.
            if answer.body.is_empty() && answer.status.is_success() {
                continue;
            }
            let reply = reply(&answer)?;
            self.index = reply.node().modified_index + 1;
            return Ok(reply);
        }
    }
}

/// Ctrl-C is the way to end it, and no failure.
async fn until_interrupted(work: impl Future<Output = Result<u8, Failed>>) -> Result<u8, Failed> {
    tokio::select! {
        done = work => done,
        _ = tokio::signal::ctrl_c() => Ok(0),
    }
}

pub async fn watch(line: &Line) -> Result<u8, Failed> {
    // The original looks for the cluster before it looks for the key; what it prints is the same.
    let key = key(line)?;
    until_interrupted(async {
        let mut watch = Watch::start(line, key).await?;
        loop {
            let reply = watch.next().await?;
            let node = reply.node();
            if node.dir {
                continue;
            }
            if watch.recursive {
                println!("[{}] {}", reply.answer.action, node.key);
            }
            print::key(line, &reply);
            if !line.truth("forever") {
                return Ok(0);
            }
        }
    })
    .await
}

pub async fn exec_watch(line: &Line) -> Result<u8, Failed> {
    let [key, program, arguments @ ..] = line.words.as_slice() else {
        return Err(Failed::error(1, "key and command to exec required"));
    };
    until_interrupted(async {
        let mut watch = Watch::start(line, key).await?;
        loop {
            let reply = watch.next().await?;
            let node = reply.node();
            if node.dir {
                eprintln!("Ignored dir {} change", node.key);
                continue;
            }
            let mut command = Command::new(program);
            command
                .args(arguments)
                .env("ETCD_WATCH_ACTION", &reply.answer.action)
                .env("ETCD_WATCH_MODIFIED_INDEX", node.modified_index.to_string())
                .env("ETCD_WATCH_KEY", &node.key)
                .env("ETCD_WATCH_VALUE", node.value.unwrap_or_default());
            let mut child = command.spawn().map_err(|error| match error.kind() {
                std::io::ErrorKind::NotFound => {
                    Failed::bare(format!("exec: {program:?}: executable file not found in $PATH"))
                }
                _ => Failed::bare(format!("running {program}: {error}")),
            })?;
            // Nobody waits for it: the next change may be here before it ends.
            tokio::spawn(async move { child.wait().await });
        }
    })
    .await
}
