//! The `process` executor with real processes: units run, stop, restart, and live through the end of the node that started them.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::time::Duration;

use corenode::fleet::executor::{ActiveState, Executor, ExecutorError, JournalQuery, UnitFile};
use corenode::process::{Host, ProcessExecutor, ProcessOptions};

/// Longer than anything here takes on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(30);

struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// An executor over the same units as every other one of this bench.
    fn executor(&self) -> ProcessExecutor {
        ProcessExecutor::new(ProcessOptions {
            state_dir: self.path().join("units"),
            host: Host {
                machine_id: "0123456789abcdef0123456789abcdef".to_owned(),
                hostname: "core-01".to_owned(),
                boot_id: "b".repeat(32),
            },
            shim: vec![PathBuf::from(env!("CARGO_BIN_EXE_node")), PathBuf::from("__shim")],
        })
        .unwrap()
    }
}

fn unit(name: &str, text: &str) -> UnitFile {
    UnitFile { name: name.to_owned(), text: text.to_owned(), hash: format!("{:040}", text.len()) }
}

async fn load(executor: &ProcessExecutor, name: &str, text: &str) {
    let loaded = executor.load(vec![unit(name, text)]).await;
    assert_eq!(loaded, [Ok(())], "{name}");
}

async fn state(executor: &ProcessExecutor, name: &str) -> Option<ActiveState> {
    let held = executor.adopt().await.unwrap();
    held.into_iter().find(|h| h.name == name).map(|h| h.state)
}

/// Waits for states, told by changes; one unit at a time or several.
async fn wait(executor: &ProcessExecutor, wanted: &[(&str, &str, &str)]) {
    let all = async {
        loop {
            let mut met = true;
            for (name, active, sub) in wanted {
                let state = state(executor, name).await.unwrap_or_default();
                met &= state.active == *active && (sub.is_empty() || state.sub == *sub);
            }
            if met {
                return;
            }
            executor.changes().await;
        }
    };
    if tokio::time::timeout(PATIENCE, all).await.is_err() {
        let mut text = String::new();
        for (name, ..) in wanted {
            text += &executor.status(name).await.unwrap().text;
        }
        panic!("not reached: {wanted:?}\n{text}");
    }
}

async fn journal(executor: &ProcessExecutor, name: &str) -> String {
    let query = JournalQuery { lines: None, follow: false, output: "cat".to_owned() };
    let mut stream = executor.journal(name, query).await.unwrap();
    let mut text = Vec::new();
    while let Some(chunk) = stream.next().await {
        text.extend(chunk.unwrap());
    }
    String::from_utf8_lossy(&text).into_owned()
}

async fn main_pid(executor: &ProcessExecutor, name: &str) -> u32 {
    let text = executor.status(name).await.unwrap().text;
    let line = text.lines().find(|l| l.contains("Main PID:")).unwrap();
    let pid = line.split_whitespace().nth(2).unwrap();
    pid.parse().unwrap()
}

fn alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z"))
}

/// The processes that have `needle` on their command line.
fn running(needle: &str) -> usize {
    let holds = |path: PathBuf| {
        std::fs::read(path.join("cmdline")).is_ok_and(|line| String::from_utf8_lossy(&line).contains(needle))
    };
    std::fs::read_dir("/proc").unwrap().filter(|e| holds(e.as_ref().unwrap().path())).count()
}

#[tokio::test]
async fn a_simple_service_runs_and_stops() {
    let bench = Bench::new();
    let executor = bench.executor();
    load(
        &executor,
        "web@1.service",
        "[Unit]\nDescription=Web %i\n[Service]\nEnvironment=\"WHO=big world\" A=b\nExecStart=/bin/sh -c 'echo hello $WHO %i %m; exec sleep 1000'\n",
    )
    .await;
    wait(&executor, &[("web@1.service", "inactive", "dead")]).await;
    assert_eq!(executor.status("web@1.service").await.unwrap().exit_code, 3);
    assert_eq!(executor.status("none.service").await.unwrap().exit_code, 4);
    executor.start("web@1.service").await.unwrap();
    wait(&executor, &[("web@1.service", "active", "running")]).await;
    let pid = main_pid(&executor, "web@1.service").await;
    executor.start("web@1.service").await.unwrap();
    assert!(alive(pid));
    let status = executor.status("web@1.service").await.unwrap();
    assert_eq!(status.exit_code, 0);
    assert!(status.text.contains("Active: active (running)"), "{}", status.text);
    assert!(status.text.contains("Loaded: loaded"), "{}", status.text);
    executor.stop("web@1.service").await.unwrap();
    wait(&executor, &[("web@1.service", "inactive", "dead")]).await;
    assert!(!alive(pid));
    let text = journal(&executor, "web@1.service").await;
    let hello = "hello big world 1 0123456789abcdef0123456789abcdef\n";
    assert!(text.contains(hello), "{text}");
    executor.unload("web@1.service").await.unwrap();
    assert_eq!(state(&executor, "web@1.service").await, None);
    assert!(matches!(executor.start("web@1.service").await, Err(ExecutorError::NotLoaded { .. })));
}

#[tokio::test]
async fn oneshot_services_end_and_remain() {
    let bench = Bench::new();
    let executor = bench.executor();
    load(
        &executor,
        "once.service",
        "[Service]\nType=oneshot\nExecStart=/bin/echo one ; /bin/echo two\nExecStart=/bin/echo three\n",
    )
    .await;
    load(
        &executor,
        "stays.service",
        "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=-/bin/false\nExecStop=/bin/echo stopping\n",
    )
    .await;
    load(&executor, "fails.service", "[Service]\nType=oneshot\nExecStart=/bin/false\nExecStart=/bin/echo never\n")
        .await;
    for name in ["once.service", "stays.service", "fails.service"] {
        executor.start(name).await.unwrap();
    }
    wait(&executor, &[("stays.service", "active", "exited"), ("fails.service", "failed", "failed")]).await;
    let ended = async {
        while !journal(&executor, "once.service").await.contains("one\n") {
            executor.changes().await;
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.unwrap();
    wait(&executor, &[("once.service", "inactive", "dead")]).await;
    let said = journal(&executor, "once.service").await;
    let order: Vec<&str> = said.lines().filter(|l| ["one", "two", "three"].contains(l)).collect();
    assert_eq!(order, ["one", "two", "three"]);
    assert!(!journal(&executor, "fails.service").await.contains("never"));
    executor.stop("stays.service").await.unwrap();
    wait(&executor, &[("stays.service", "inactive", "dead")]).await;
    assert!(journal(&executor, "stays.service").await.contains("stopping"));
}

#[tokio::test]
async fn units_outlive_the_executor() {
    let bench = Bench::new();
    let first = bench.executor();
    load(&first, "long.service", "[Service]\nExecStart=/bin/sh -c 'echo started; exec sleep 1001'\n").await;
    load(&first, "idle.service", "[Service]\nExecStart=/bin/sleep 1001\n").await;
    first.start("long.service").await.unwrap();
    wait(&first, &[("long.service", "active", "running")]).await;
    let pid = main_pid(&first, "long.service").await;
    drop(first);
    for _ in 0..3 {
        let next = bench.executor();
        let held = next.adopt().await.unwrap();
        let states: Vec<_> = held.iter().map(|h| (h.name.as_str(), h.state.sub.as_str())).collect();
        assert_eq!(states, [("idle.service", "dead"), ("long.service", "running")]);
        assert_eq!(main_pid(&next, "long.service").await, pid);
        next.start("long.service").await.unwrap();
        assert!(journal(&next, "long.service").await.contains("started"));
    }
    assert!(alive(pid));
    let last = bench.executor();
    last.stop("long.service").await.unwrap();
    wait(&last, &[("long.service", "inactive", "dead")]).await;
    assert!(!alive(pid));
    last.remove_all().await.unwrap();
    assert_eq!(running(bench.path().to_str().unwrap()), 0);
    assert!(!bench.path().join("units").exists());
}
