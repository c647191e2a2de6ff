//! The face `etcd` as what spawns etcd meets it: a link of that name, etcd's command lines, the lines that are waited for,
//! and the way it ends.

#![allow(clippy::unwrap_used)]

#[path = "common/ports.rs"]
mod ports;

use std::fs::File;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use ports::free_addresses;

const NODE: &str = env!("CARGO_BIN_EXE_node");
const READY: &str = "ready to serve client requests";
const WITHIN: Duration = Duration::from_secs(60);

/// A folder with a link named `etcd` to the binary; the processes run in it.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("corenode-etcd-").tempdir().unwrap();
        std::os::unix::fs::symlink(NODE, folder.path().join("etcd")).unwrap();
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.path("etcd"));
        command.args(arguments).current_dir(self.0.path()).stdin(Stdio::null()).env_remove("NOTIFY_SOCKET");
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ETCD_")) {
            command.env_remove(name);
        }
        command
    }

    /// Starts a member, whose standard error goes to `NAME.log`.
    fn start(&self, name: &str, arguments: &[&str]) -> Member {
        let log = self.path(&format!("{name}.log"));
        let mut command = self.command(arguments);
        command.stdout(Stdio::null()).stderr(File::create(&log).unwrap()).env("NOTIFY_SOCKET", self.path("notify"));
        Member { child: command.spawn().unwrap(), log }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }
}

struct Member {
    child: Child,
    log: PathBuf,
}

impl Member {
    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn wait_until_ready(&mut self) {
        let deadline = Instant::now() + WITHIN;
        while !self.log().contains(READY) {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "it ended with {ended:?}:\n{}", self.log());
            assert!(Instant::now() < deadline, "not ready within {WITHIN:?}:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn end(mut self, signal: &str) -> ExitStatus {
        assert!(Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap().success());
        let deadline = Instant::now() + WITHIN;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_urls(count: usize) -> Vec<String> {
    free_addresses(count).iter().map(|address| format!("http://{address}")).collect()
}

fn etcdctl(endpoints: &str, arguments: &[&str]) -> String {
    let output = Command::new(NODE)
        .arg("etcdctl")
        .args(arguments)
        .env("ETCDCTL_ENDPOINTS", endpoints)
        .env("ETCDCTL_API", "3")
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {}\n{stderr}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

fn says(output: &Output, code: i32, expected: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert!(stderr.contains(expected), "not said: {expected}\nbut:\n{stderr}");
}

#[test]
fn version_help_and_refusals() {
    let place = Place::new();
    let version = place.run(&["--version"]);
    let version = String::from_utf8(version.stdout).unwrap();
    let lines: Vec<&str> = version.lines().collect();
    assert_eq!(lines.len(), 4, "{version}");
    for (line, start) in lines.iter().zip(["etcd Version: 3.", "Git SHA: ", "Go Version: ", "Go OS/Arch: linux/"]) {
        assert!(line.starts_with(start), "{version}");
    }
    let help = place.run(&["-h"]);
    assert!(
        help.status.success()
            && String::from_utf8_lossy(&help.stdout).contains("--initial-cluster-token 'etcd-cluster'")
    );
    says(&place.run(&["--nope"]), 2, "flag provided but not defined: -nope");
    says(&place.run(&["gateway", "start"]), 1, "'gateway' is not a valid flag");
    says(&place.run(&["--cert-file", "/c", "--key-file=/k"]), 1, "TLS cannot be spoken: /c: No such file or directory");
    says(&place.run(&["--config-file", "none.yml"]), 1, "none.yml");
    says(
        &place.run(&["--initial-cluster-state", "existing"]),
        1,
        "could not retrieve cluster information from the given URLs",
    );
    let variable = place.command(&[]).env("ETCD_VERSION", "3.4.23").output().unwrap();
    says(&variable, 1, "invalid value \"3.4.23\" for ETCD_VERSION");
    std::fs::create_dir_all(place.path("default.etcd/member/wal")).unwrap();
    says(&place.run(&[]), 1, "it holds another etcd's data");
    assert!(!place.path("default.etcd/store").exists());
}

#[test]
fn one_member_lives_as_etcd_does() {
    let place = Place::new();
    let notices = UnixDatagram::bind(place.path("notify")).unwrap();
    let urls = free_urls(3);
    let clients = format!("{},{},unix://client.sock", urls[1], urls[2]);
    let arguments = [
        "--name",
        "s1",
        "--listen-peer-urls",
        &urls[0],
        "-initial-advertise-peer-urls",
        &urls[0],
        "--initial-cluster-token=tkn",
        "--listen-client-urls",
        &clients,
        "--advertise-client-urls",
        &urls[1],
        "--snapshot-count=100",
        "--logger=zap",
    ];
    let mut member = place.start("first", &arguments);
    member.wait_until_ready();
    notices.set_read_timeout(Some(WITHIN)).unwrap();
    let mut notice = [0; 4096];
    let read = notices.recv(&mut notice).unwrap();
    assert!(String::from_utf8_lossy(&notice[..read]).contains("READY=1"));
    let log = member.log();
    assert_eq!(log.matches("without meaning here, taken and not used: --snapshot-count").count(), 1, "{log}");
    let lines = ["published local member to cluster through raft", READY, "enabled capabilities for version"];
    let said: Vec<usize> = lines.iter().map(|line| log.find(line).unwrap_or_else(|| panic!("{line}\n{log}"))).collect();
    assert!(said.is_sorted(), "{log}");
    for line in log.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(line["level"].is_string() && line["ts"].is_string() && line["msg"].is_string(), "{line}");
    }
    assert!(place.path("s1.etcd/store").exists() && place.path("client.sock").exists());
    etcdctl(&urls[1], &["put", "greeting", "hello"]);
    assert_eq!(etcdctl(&urls[2], &["get", "greeting"]), "greeting\nhello\n");
    let members = etcdctl(&urls[1], &["member", "list"]);
    assert!(members.contains("s1") && members.contains(&urls[0]) && members.contains(&urls[1]), "{members}");
    assert_eq!(member.end("-TERM").signal(), Some(15), "{log}");

    // Founded is founded: the flags of the foundation may be left out, or say `existing`.
    let arguments = [
        "--name=s1",
        "--listen-peer-urls",
        &urls[0],
        "--initial-cluster-state",
        "existing",
        "--listen-client-urls",
        &urls[1],
        "--advertise-client-urls",
        &urls[1],
        "--log-format=console",
    ];
    let mut member = place.start("second", &arguments);
    member.wait_until_ready();
    assert_eq!(etcdctl(&urls[1], &["get", "greeting"]), "greeting\nhello\n");
    assert!(member.log().contains("\tinfo\t"), "{}", member.log());
    says(&place.run(&arguments), 1, "in use");
    assert_eq!(member.end("-INT").signal(), Some(2));
}

#[test]
fn three_members_start_from_the_command_lines_of_the_clustering_guide() {
    let place = Place::new();
    let urls = free_urls(6);
    let names = ["infra0", "infra1", "infra2"];
    let cluster: Vec<String> = names.iter().zip(&urls).map(|(name, url)| format!("{name}={url}")).collect();
    let cluster = cluster.join(",");
    let mut members: Vec<Member> = (0..3)
        .map(|at| {
            let (peer, client) = (urls[at].as_str(), urls[at + 3].as_str());
            let arguments = [
                ["--name", names[at]],
                ["--initial-advertise-peer-urls", peer],
                ["--listen-peer-urls", peer],
                ["--listen-client-urls", client],
                ["--advertise-client-urls", client],
                ["--initial-cluster-token", "etcd-cluster-1"],
                ["--initial-cluster", &cluster],
                ["--initial-cluster-state", "new"],
            ];
            place.start(names[at], arguments.as_flattened())
        })
        .collect();
    members.iter_mut().for_each(Member::wait_until_ready);
    etcdctl(&urls[3], &["put", "k", "v"]);
    for client in &urls[3..] {
        assert_eq!(etcdctl(client, &["get", "k"]), "k\nv\n");
    }
    let list = etcdctl(&urls[4], &["member", "list"]);
    assert_eq!(list.lines().filter(|line| line.contains("started")).count(), 3, "{list}");
    for member in members {
        assert_eq!(member.end("-TERM").signal(), Some(15));
    }
    assert!(names.iter().all(|name| Path::new(&place.path(&format!("{name}.etcd"))).exists()));
}
