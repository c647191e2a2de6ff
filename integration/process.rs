//! The `process` executor with real processes: units run, stop, restart, and live through the end of the node that started them.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::time::Duration;

use corenode::fleet::executor::{ActiveState, Executor, ExecutorError, JournalQuery, UnitFile};
use corenode::process::{Host, ProcessExecutor, ProcessOptions};
use rustix::process::{Pid, Signal, kill_process};

/// Longer than anything here takes on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

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
        executor_in(self.path())
    }
}

fn executor_in(dir: &Path) -> ProcessExecutor {
    ProcessExecutor::new(ProcessOptions {
        state_dir: dir.join("units"),
        host: Host {
            machine_id: "0123456789abcdef0123456789abcdef".to_owned(),
            hostname: "core-01".to_owned(),
            boot_id: "b".repeat(32),
        },
        shim: vec![PathBuf::from(env!("CARGO_BIN_EXE_node")), PathBuf::from("__shim")],
    })
    .unwrap()
}

impl Drop for Bench {
    /// Whatever a failed test left: shims that are told to end stop their units.
    fn drop(&mut self) {
        let path = self.path().to_str().unwrap().to_owned();
        for pid in with_words(&path) {
            kill(pid, Signal::TERM);
        }
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
    let query = JournalQuery { lines: None, follow: false, output: "cat".to_owned(), since: None };
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
fn with_words(needle: &str) -> Vec<u32> {
    let holds = |pid: &u32| {
        std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| String::from_utf8_lossy(&line).contains(needle))
    };
    let names = std::fs::read_dir("/proc").unwrap().map(|e| e.unwrap().file_name());
    names.filter_map(|name| name.to_str()?.parse().ok()).filter(holds).collect()
}

fn running(needle: &str) -> usize {
    with_words(needle).len()
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
    until("hello", async || journal(&executor, "web@1.service").await.contains("hello")).await;
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
    until("three", async || journal(&executor, "once.service").await.contains("three\n")).await;
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
        until("started", async || journal(&next, "long.service").await.contains("started")).await;
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

/// Sends a signal; a process that is gone is no fault here.
fn kill(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid.try_into().unwrap()).unwrap();
    let _ = kill_process(pid, signal);
}

async fn until(what: &str, mut met: impl AsyncFnMut() -> bool) {
    let all = async {
        while !met().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, all).await.is_ok(), "{what}");
}

#[tokio::test]
async fn output_is_kept_and_followed() {
    let bench = Bench::new();
    let executor = bench.executor();
    let fifo = bench.path().join("fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status().unwrap();
    assert!(made.success());
    let text = format!(
        "[Service]\nExecStart=/bin/sh -c 'echo first; echo to stderr >&2; exec 3<>{0}; while read line <&3; do echo got $line; done'\nTimeoutStopSec=5\n",
        fifo.display()
    );
    load(&executor, "chat.service", &text.replace("$line", "$$line")).await;
    executor.start("chat.service").await.unwrap();
    wait(&executor, &[("chat.service", "active", "running")]).await;
    let query = JournalQuery { lines: Some(1), follow: true, output: "cat".to_owned(), since: None };
    until("first line", async || journal(&executor, "chat.service").await.contains("to stderr")).await;
    let mut followed = executor.journal("chat.service", query.clone()).await.unwrap();
    let mut second = executor.journal("chat.service", query).await.unwrap();
    assert_eq!(followed.next().await.unwrap().unwrap(), b"to stderr\n");
    for n in 0..3 {
        std::fs::write(&fifo, format!("line {n}\n")).unwrap();
        let mut seen = Vec::new();
        while !seen.ends_with(format!("got line {n}\n").as_bytes()) {
            let next = tokio::time::timeout(PATIENCE, followed.next()).await.unwrap();
            seen.extend(next.unwrap().unwrap());
        }
    }
    drop(followed);
    let mut seen = Vec::new();
    while !seen.ends_with(b"got line 2\n") {
        let next = tokio::time::timeout(PATIENCE, second.next()).await.unwrap();
        seen.extend(next.unwrap().unwrap());
    }
    // A new life of the node reads what the old one left, and follows the same unit.
    drop(second);
    drop(executor);
    let next = bench.executor();
    let query = JournalQuery { lines: Some(2), follow: true, output: "short".to_owned(), since: None };
    let mut followed = next.journal("chat.service", query).await.unwrap();
    let chunk = followed.next().await.unwrap().unwrap();
    let text = String::from_utf8(chunk).unwrap();
    assert!(text.contains(" core-01 sh["), "{text}");
    assert!(text.ends_with("]: got line 2\n"), "{text}");
    std::fs::write(&fifo, "more\n").unwrap();
    let chunk = tokio::time::timeout(PATIENCE, followed.next()).await.unwrap();
    assert!(chunk.unwrap().unwrap().ends_with(b"]: got more\n"));
    let bad = JournalQuery { output: "verbose".to_owned(), ..JournalQuery::default() };
    assert!(next.journal("chat.service", bad).await.is_err());
    next.remove_all().await.unwrap();
}

#[tokio::test]
async fn every_command_runs_in_its_place() {
    let bench = Bench::new();
    let executor = bench.executor();
    let file = bench.path().join("env");
    std::fs::write(&file, "# comment\nFROM_FILE='a b'\nA=file\n").unwrap();
    let text = format!(
        "[Service]\nEnvironment=A=unit B=two\nEnvironmentFile={}\nEnvironmentFile=-/nowhere/at/all\nWorkingDirectory=/usr\n\
         ExecStartPre=-/bin/false\nExecStartPre=/bin/sh -c 'echo pre $A ${{B}} in $(pwd) $$FROM_FILE'\n\
         ExecStart=/bin/sh -c 'trap \"echo bye; exit 0\" TERM; echo run; while :; do sleep 0.1; done'\n\
         ExecStartPost=/bin/sh -c 'echo post $MAINPID'\n\
         ExecStop=/bin/sh -c 'echo stop $$MAINPID'\n\
         ExecStopPost=/bin/sh -c 'echo stop-post $$SERVICE_RESULT $$EXIT_CODE $$EXIT_STATUS'\n",
        file.display()
    );
    load(&executor, "all.service", &text).await;
    executor.start("all.service").await.unwrap();
    wait(&executor, &[("all.service", "active", "running")]).await;
    let pid = main_pid(&executor, "all.service").await;
    until("run", async || journal(&executor, "all.service").await.contains("run\n")).await;
    executor.stop("all.service").await.unwrap();
    wait(&executor, &[("all.service", "inactive", "dead")]).await;
    let said = journal(&executor, "all.service").await;
    for wanted in [
        "pre file two in /usr a b\n".to_owned(),
        format!("post {pid}\n"),
        format!("stop {pid}\n"),
        "bye\n".to_owned(),
        "stop-post success exited 0\n".to_owned(),
    ] {
        assert!(said.contains(&wanted), "{wanted:?} in\n{said}");
    }
    executor.remove_all().await.unwrap();
}

#[tokio::test]
async fn a_unit_reads_its_configuration_anew_or_is_restarted() {
    let bench = Bench::new();
    let executor = bench.executor();
    let file = bench.path().join("config");
    std::fs::write(&file, "1").unwrap();
    let main = format!("trap \"cat {0} >> {0}.read\" HUP; touch {0}.up; while :; do sleep 0.05; done", file.display());
    let text = format!("[Service]\nExecStart=/bin/sh -c '{main}'\n");
    let reloads = format!(
        "{text}ExecReload=/bin/sh -c 'test ! -e {0}.bad'\nExecReload=/bin/kill -HUP $MAINPID\n",
        file.display()
    );
    let read = || std::fs::read_to_string(file.with_extension("read")).unwrap_or_default();
    load(&executor, "reloads.service", &reloads).await;
    executor.start("reloads.service").await.unwrap();
    wait(&executor, &[("reloads.service", "active", "running")]).await;
    until("the trap", async || file.with_extension("up").exists()).await;
    let pid = main_pid(&executor, "reloads.service").await;
    executor.reload("reloads.service").await.unwrap();
    until("the configuration to be read", async || read() == "1").await;
    std::fs::write(file.with_extension("bad"), "").unwrap();
    let error = executor.reload("reloads.service").await.unwrap_err().to_string();
    assert!(error.contains("reloads.service: reloading it: ExecReload= has failed"), "{error}");
    assert!(journal(&executor, "reloads.service").await.contains("it goes on as it was"));
    executor.signal("reloads.service", 1).await.unwrap();
    until("the signal", async || read() == "11").await;
    assert_eq!(main_pid(&executor, "reloads.service").await, pid, "it was restarted");

    // Without ExecReload= it is restarted, and where it is down it is started.
    load(&executor, "plain.service", &text).await;
    executor.reload("plain.service").await.unwrap();
    let first = main_pid(&executor, "plain.service").await;
    executor.reload("plain.service").await.unwrap();
    assert_ne!(main_pid(&executor, "plain.service").await, first);
    load(&executor, "fails.service", "[Service]\nExecStartPre=/bin/false\nExecStart=/bin/sleep 60\n").await;
    let error = executor.reload("fails.service").await.unwrap_err().to_string();
    assert!(error.contains("it was restarted, and has failed"), "{error}");
    for error in [executor.reload("none.service").await, executor.signal("fails.service", 1).await] {
        error.unwrap_err();
    }
    executor.remove_all().await.unwrap();
}

#[tokio::test]
async fn exit_codes_mean_what_systemd_says() {
    let bench = Bench::new();
    let executor = bench.executor();
    let sleeper = "ExecStart=/bin/sh -c 'trap \"exit 143\" TERM; echo ready; while :; do sleep 0.05; done'\n";
    let cases = [
        ("clean.service", "ExecStart=/bin/sleep 1003\n".to_owned(), "inactive"),
        ("code143.service", sleeper.to_owned(), "failed"),
        ("success143.service", format!("{sleeper}SuccessExitStatus=143\n"), "inactive"),
        ("missing.service", "ExecStart=/no/such/program\n".to_owned(), "failed"),
        ("missing-ok.service", "ExecStart=-/no/such/program\n".to_owned(), "inactive"),
        ("no-dir.service", "WorkingDirectory=/no/such/dir\nExecStart=/bin/true\n".to_owned(), "failed"),
        ("no-user.service", "User=nobody-knows-me\nExecStart=/bin/true\n".to_owned(), "failed"),
        ("pre-fails.service", "ExecStartPre=/bin/false\nExecStart=/bin/sleep 1003\n".to_owned(), "failed"),
        ("unmet.service", "ExecStart=/bin/sleep 1003\n[Unit]\nConditionPathExists=/no/where\n".to_owned(), "inactive"),
        ("skipped.service", "ExecCondition=/bin/false\nExecStart=/bin/sleep 1003\n".to_owned(), "inactive"),
        ("killed.service", "ExecStart=/bin/sh -c 'kill -9 $$$$'\n".to_owned(), "failed"),
        (
            "slow.service",
            "TimeoutStartSec=100ms\nExecStartPre=/bin/sleep 1003\nExecStart=/bin/true\n".to_owned(),
            "failed",
        ),
    ];
    for (name, text, _) in &cases {
        load(&executor, name, &format!("[Service]\n{text}")).await;
        executor.start(name).await.unwrap();
    }
    for name in ["code143.service", "success143.service"] {
        until("ready", async || journal(&executor, name).await.contains("ready\n")).await;
    }
    wait(&executor, &[("clean.service", "active", "running")]).await;
    for name in ["clean.service", "code143.service", "success143.service"] {
        executor.stop(name).await.unwrap();
    }
    for (name, _, active) in &cases {
        until(name, async || {
            // Those that end at once are inactive before too: their journal tells that they were tried.
            let tried = journal(&executor, name).await.contains("Starting");
            let now = state(&executor, name).await.unwrap().active;
            tried && now == *active
        })
        .await;
    }
    let status = executor.status("code143.service").await.unwrap();
    assert_eq!(status.exit_code, 3);
    assert!(status.text.contains("Active: failed (Result: exit-code)"), "{}", status.text);
    assert!(status.text.contains("status=143"), "{}", status.text);
    assert!(executor.status("slow.service").await.unwrap().text.contains("Result: timeout"));
    assert!(executor.status("killed.service").await.unwrap().text.contains("Result: signal"));
    executor.remove_all().await.unwrap();
}

#[tokio::test]
async fn a_stop_reaches_every_process() {
    let bench = Bench::new();
    let executor = bench.executor();
    // A daemon that leaves its group and session, and a child that is deaf to SIGTERM.
    let marker = bench.path().display().to_string();
    load(
        &executor,
        "tree.service",
        &format!(
            "[Service]\nTimeoutStopSec=300ms\nExecStart=/bin/sh -c 'setsid sh -c \"sleep 1004; : {marker}\" & \
             sh -c \"trap : TERM; echo deaf; while :; do sleep 0.05; done; : {marker}\" & echo up; wait'\n"
        ),
    )
    .await;
    executor.start("tree.service").await.unwrap();
    until("deaf", async || journal(&executor, "tree.service").await.contains("deaf\n")).await;
    until("up", async || running(&marker) >= 4).await;
    executor.stop("tree.service").await.unwrap();
    wait(&executor, &[("tree.service", "failed", "failed")]).await;
    assert!(executor.status("tree.service").await.unwrap().text.contains("Result: timeout"));
    until("all gone", async || running(&marker) == 0).await;
    executor.remove_all().await.unwrap();
}

#[tokio::test]
async fn a_service_restarts_by_itself_until_its_limit() {
    let bench = Bench::new();
    let executor = bench.executor();
    load(
        &executor,
        "crash.service",
        "[Service]\nRestart=on-failure\nRestartSec=10ms\nStartLimitInterval=60s\nStartLimitBurst=3\nExecStart=/bin/sh -c 'echo try; exit 3'\n",
    )
    .await;
    load(&executor, "back.service", "[Service]\nRestart=always\nRestartSec=10ms\nExecStart=/bin/sleep 1005\n").await;
    load(&executor, "waits.service", "[Service]\nRestart=always\nRestartSec=1h\nExecStart=/bin/false\n").await;
    for name in ["crash.service", "back.service", "waits.service"] {
        executor.start(name).await.unwrap();
    }
    wait(&executor, &[("crash.service", "failed", ""), ("back.service", "active", "running")]).await;
    let said = journal(&executor, "crash.service").await;
    assert_eq!(said.matches("try\n").count(), 3, "{said}");
    assert!(executor.status("crash.service").await.unwrap().text.contains("start-limit-hit"));
    let pid = main_pid(&executor, "back.service").await;
    kill(pid, Signal::KILL);
    until("restarted", async || {
        let text = executor.status("back.service").await.unwrap().text;
        text.contains("Active: active (running)") && !text.contains(&format!("PID: {pid} "))
    })
    .await;
    wait(&executor, &[("waits.service", "activating", "auto-restart")]).await;
    executor.stop("waits.service").await.unwrap();
    wait(&executor, &[("waits.service", "inactive", "dead")]).await;
    executor.remove_all().await.unwrap();
}

#[tokio::test]
async fn notify_and_forking_services_say_when_they_are_up() {
    let bench = Bench::new();
    let executor = bench.executor();
    let go = bench.path().join("go");
    let pid_file = bench.path().join("daemon.pid");
    // Without a tool to send it, the message goes out through python or is left out.
    let python = ["/usr/bin/python3"].into_iter().find(|p| Path::new(p).exists());
    load(
        &executor,
        "daemon.service",
        &format!(
            "[Service]\nType=forking\nPIDFile={0}\nExecStart=/bin/sh -c '(while [ ! -e {1} ]; do sleep 0.02; done; echo $$BASHPID; exec sh -c \"echo \\$\\$ > {0}; exec sleep 1006\") & exit 0'\n",
            pid_file.display(),
            go.display()
        ),
    )
    .await;
    load(&executor, "guess.service", "[Service]\nType=forking\nExecStart=/bin/sh -c 'sleep 1006 & exit 0'\n").await;
    executor.start("daemon.service").await.unwrap();
    executor.start("guess.service").await.unwrap();
    wait(&executor, &[("daemon.service", "activating", "start"), ("guess.service", "active", "running")]).await;
    std::fs::write(&go, "").unwrap();
    wait(&executor, &[("daemon.service", "active", "running")]).await;
    let told: u32 = std::fs::read_to_string(&pid_file).unwrap().trim().parse().unwrap();
    assert_eq!(main_pid(&executor, "daemon.service").await, told);
    kill(told, Signal::TERM);
    wait(&executor, &[("daemon.service", "inactive", "dead")]).await;
    if let Some(python) = python {
        let script = bench.path().join("ready.py");
        let code = "import os, socket, time\n\
            s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n\
            s.connect(chr(0) + os.environ['NOTIFY_SOCKET'][1:])\n\
            while not os.path.exists(os.environ['GO']): time.sleep(0.02)\n\
            s.send(b'STATUS=at your service\\nREADY=1')\n\
            time.sleep(1006)\n";
        std::fs::write(&script, code).unwrap();
        let go = bench.path().join("go-python");
        load(
            &executor,
            "tells.service",
            &format!(
                "[Service]\nType=notify\nEnvironment=GO={}\nExecStart={python} {}\n",
                go.display(),
                script.display()
            ),
        )
        .await;
        executor.start("tells.service").await.unwrap();
        wait(&executor, &[("tells.service", "activating", "start")]).await;
        std::fs::write(&go, "").unwrap();
        wait(&executor, &[("tells.service", "active", "running")]).await;
        let text = executor.status("tells.service").await.unwrap().text;
        assert!(text.contains("Status: \"at your service\""), "{text}");
    }
    load(&executor, "silent.service", "[Service]\nType=notify\nExecStart=/bin/true\n").await;
    executor.start("silent.service").await.unwrap();
    wait(&executor, &[("silent.service", "failed", "")]).await;
    executor.remove_all().await.unwrap();
}

#[tokio::test]
async fn a_main_unit_and_its_sidekick_live_together() {
    let bench = Bench::new();
    let executor = bench.executor();
    let main = "[Unit]\nRequires=side@1.service docker.service\nAfter=docker.service\n[Service]\nExecStartPre=/bin/sleep 0.2\nExecStart=/bin/sleep 1007\n";
    let side = "[Unit]\nBindsTo=main@1.service\nAfter=main@1.service\n[Service]\nExecStart=/bin/sh -c 'echo announced; exec sleep 1007'\nExecStop=/bin/echo withdrawn\n";
    let loaded = executor.load(vec![unit("main@1.service", main), unit("side@1.service", side)]).await;
    assert_eq!(loaded, [Ok(()), Ok(())]);
    let up = [("main@1.service", "active", "running"), ("side@1.service", "active", "running")];
    executor.start("side@1.service").await.unwrap();
    executor.start("main@1.service").await.unwrap();
    wait(&executor, &up).await;
    executor.stop("main@1.service").await.unwrap();
    wait(&executor, &[("main@1.service", "inactive", "dead"), ("side@1.service", "inactive", "dead")]).await;
    assert!(journal(&executor, "side@1.service").await.contains("withdrawn"));
    executor.start("main@1.service").await.unwrap();
    wait(&executor, &up).await;
    kill(main_pid(&executor, "main@1.service").await, Signal::KILL);
    wait(&executor, &[("main@1.service", "failed", "failed"), ("side@1.service", "inactive", "dead")]).await;
    executor.remove_all().await.unwrap();
}

#[tokio::test]
async fn what_is_not_offered_is_refused_or_said() {
    let bench = Bench::new();
    let executor = bench.executor();
    let cases = [
        ("a.socket", "[Socket]\nListenStream=80\n", "a .socket unit needs systemd"),
        (
            "a.service",
            "[Service]\nType=dbus\nExecStart=/bin/true\n",
            "line 2, [Service] Type=: \"dbus\" is not offered",
        ),
        ("b.service", "[Service]\nRootDirectory=/x\nExecStart=/bin/true\n", "line 2, [Service] RootDirectory="),
        ("c.service", "[Service]\n", "ExecStart=: missing"),
        ("d.service", "[Service]\nExecStart=/bin/true\nExecStart=/bin/true\n", "more than once"),
        ("e.service", "[Service]\nExecStart=bin/true\n", "line 2, [Service] ExecStart="),
        ("f.service", "[Service\n", "Service"),
    ];
    for (name, text, reason) in cases {
        match executor.load(vec![unit(name, text)]).await.remove(0) {
            Err(error @ ExecutorError::Unsupported { .. }) => {
                assert!(error.to_string().contains(reason), "{error}");
            }
            other => panic!("{name}: {other:?}"),
        }
        assert_eq!(state(&executor, name).await, None);
    }
    let text = "[Service]\nProtectSystem=full\nPrivateTmp=yes\nExecStart=/bin/echo ran\nType=oneshot\n[Install]\nWantedBy=multi-user.target\n[X-Fleet]\nGlobal=true\n";
    load(&executor, "said.service", text).await;
    executor.start("said.service").await.unwrap();
    until("ran", async || journal(&executor, "said.service").await.contains("ran\n")).await;
    let said = journal(&executor, "said.service").await;
    let line = said.lines().find(|l| l.contains("Not honoured")).unwrap();
    for wanted in ["line 2, [Service] ProtectSystem=", "line 3, [Service] PrivateTmp=", "[Install] WantedBy="] {
        assert!(line.contains(wanted), "{line}");
    }
    assert!(!line.contains("Global"));
    executor.remove_all().await.unwrap();
}

#[tokio::test]
async fn a_killed_shim_leaves_nothing_running() {
    let bench = Bench::new();
    let executor = bench.executor();
    load(&executor, "lost.service", "[Service]\nExecStart=/bin/sleep 1008\n").await;
    executor.start("lost.service").await.unwrap();
    wait(&executor, &[("lost.service", "active", "running")]).await;
    let shim = |path: &Path| -> u32 {
        let report = std::fs::read_to_string(path.join("units/lost.service/report.json")).unwrap();
        let (_, rest) = report.split_once("\"shim_pid\":").unwrap();
        rest.split(',').next().unwrap().parse().unwrap()
    };
    let pid = main_pid(&executor, "lost.service").await;
    kill(shim(bench.path()), Signal::KILL);
    wait(&executor, &[("lost.service", "failed", "failed")]).await;
    until("its process is gone", async || !alive(pid)).await;
    // It starts again, and the same holds where nobody was there to see it.
    executor.start("lost.service").await.unwrap();
    wait(&executor, &[("lost.service", "active", "running")]).await;
    let pid = main_pid(&executor, "lost.service").await;
    drop(executor);
    kill(shim(bench.path()), Signal::KILL);
    let next = bench.executor();
    let held = next.adopt().await.unwrap();
    assert_eq!(held[0].state.active, "failed");
    until("its process is gone", async || !alive(pid)).await;
    next.remove_all().await.unwrap();
}

#[tokio::test]
async fn never_two_shims_for_a_unit() {
    let bench = Bench::new();
    let one = bench.executor();
    let text = "[Service]\nExecStart=/bin/sleep 1009\n";
    load(&one, "solo.service", text).await;
    let two = bench.executor();
    assert_eq!(two.adopt().await.unwrap().len(), 1);
    let (a, b) = tokio::join!(one.start("solo.service"), two.start("solo.service"));
    assert_eq!((a, b), (Ok(()), Ok(())));
    wait(&one, &[("solo.service", "active", "running")]).await;
    wait(&two, &[("solo.service", "active", "running")]).await;
    assert_eq!(main_pid(&one, "solo.service").await, main_pid(&two, "solo.service").await);
    let dir = bench.path().join("units/solo.service").canonicalize().unwrap();
    until("one shim", async || running(dir.to_str().unwrap()) == 1).await;
    drop(two);
    one.remove_all().await.unwrap();
    until("no shim", async || running(dir.to_str().unwrap()) == 0).await;
}

#[tokio::test]
async fn a_unit_is_replaced_in_place() {
    let bench = Bench::new();
    let executor = bench.executor();
    load(&executor, "swap.service", "[Service]\nExecStart=/bin/sh -c 'echo old; exec sleep 1010'\n").await;
    executor.start("swap.service").await.unwrap();
    wait(&executor, &[("swap.service", "active", "running")]).await;
    let old = executor.adopt().await.unwrap()[0].hash.clone();
    executor.unload("swap.service").await.unwrap();
    let new = "[Service]\nExecStart=/bin/sh -c 'echo brand new; exec sleep 1010'\n";
    load(&executor, "swap.service", new).await;
    executor.start("swap.service").await.unwrap();
    until("new", async || journal(&executor, "swap.service").await.contains("brand new")).await;
    wait(&executor, &[("swap.service", "active", "running")]).await;
    let held = executor.adopt().await.unwrap();
    assert_ne!(held[0].hash, old);
    assert_eq!(held[0].hash, unit("swap.service", new).hash);
    executor.remove_all().await.unwrap();
}

#[tokio::test]
async fn a_user_of_its_own() {
    let bench = Bench::new();
    let executor = bench.executor();
    if std::fs::read_to_string("/proc/self/status").unwrap().lines().all(|l| !l.starts_with("Uid:\t0\t")) {
        // Only root can become another user.
        return;
    }
    load(
        &executor,
        "user.service",
        "[Service]\nType=oneshot\nUser=nobody\nGroup=daemon\nSupplementaryGroups=tty\nUMask=0077\nLimitNOFILE=77\nExecStart=/bin/sh -c 'echo $$(id -un) $$(id -gn) $$(id -G | wc -w) $$(umask) $$(ulimit -n) $$USER'\nExecStart=+/usr/bin/id -un\n",
    )
    .await;
    executor.start("user.service").await.unwrap();
    until("ran", async || journal(&executor, "user.service").await.contains("root\n")).await;
    let said = journal(&executor, "user.service").await;
    assert!(said.contains("nobody daemon 2 0077 77 nobody\n"), "{said}");
    executor.remove_all().await.unwrap();
}

/// Plays the node in a process of its own, for the test below: loads and starts units for as long as it is let.
#[tokio::test]
async fn node_to_be_killed() {
    let Some(dir) = std::env::var_os("PROCESS_TEST_DIR") else {
        return;
    };
    let executor = executor_in(Path::new(&dir));
    let names: Vec<String> = (0..4).map(|n| format!("k{n}.service")).collect();
    loop {
        let text = "[Service]\nExecStart=/bin/sleep 1011\n";
        let units = names.iter().map(|name| unit(name, text)).collect();
        assert!(executor.load(units).await.iter().all(Result::is_ok));
        for name in &names {
            executor.start(name).await.unwrap();
        }
        for name in &names {
            wait(&executor, &[(name, "active", "running")]).await;
        }
        executor.unload(&names[3]).await.unwrap();
        executor.stop(&names[2]).await.unwrap();
    }
}

#[tokio::test]
async fn a_node_killed_at_any_moment_finds_the_truth() {
    let bench = Bench::new();
    let mut survivor = None;
    for round in 0..12_u64 {
        let mut node = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "node_to_be_killed", "--nocapture"])
            .env("PROCESS_TEST_DIR", bench.path())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(5 + round * 17 % 120));
        node.kill().unwrap();
        node.wait().unwrap();
        let next = bench.executor();
        for held in next.adopt().await.unwrap() {
            let dir = bench.path().join("units").join(&held.name);
            let shims = running(&format!("{}\0", dir.canonicalize().unwrap().display()));
            assert!(shims <= 2, "{}: {shims} shims", held.name);
            next.start(&held.name).await.unwrap();
            wait(&next, &[(&held.name, "active", "running")]).await;
            until("one shim", async || running(&format!("{}\0", dir.canonicalize().unwrap().display())) == 1).await;
        }
        // One that nobody stops keeps its process from round to round.
        if next.adopt().await.unwrap().iter().any(|held| held.name == "k0.service") {
            let pid = main_pid(&next, "k0.service").await;
            assert_eq!(*survivor.get_or_insert(pid), pid, "round {round}");
        }
    }
    assert!(survivor.is_some());
    let last = bench.executor();
    last.remove_all().await.unwrap();
    until("nothing left", async || running(bench.path().to_str().unwrap()) == 0).await;
}

#[tokio::test]
async fn kill_mode_none_spares_processes_until_all_is_removed() {
    let bench = Bench::new();
    let executor = bench.executor();
    let text = "[Service]\nKillMode=none\nExecStart=/bin/sh -c 'echo run; exec sleep 1012'\nExecStop=/bin/true\n";
    let mut pids = Vec::new();
    for name in ["forgotten.service", "removed.service"] {
        load(&executor, name, text).await;
        executor.start(name).await.unwrap();
        wait(&executor, &[(name, "active", "running")]).await;
        pids.push(main_pid(&executor, name).await);
        executor.stop(name).await.unwrap();
        wait(&executor, &[(name, "inactive", "dead")]).await;
    }
    executor.unload("forgotten.service").await.unwrap();
    let dir = bench.path().join("units/forgotten.service");
    until("its shim is gone", async || running(&dir.display().to_string()) == 0).await;
    assert!(pids.iter().all(|pid| alive(*pid)), "nobody was to kill them");
    executor.remove_all().await.unwrap();
    assert!(alive(pids[0]));
    assert!(!alive(pids[1]), "nothing is left of what was still here");
    kill(pids[0], Signal::KILL);
}
