//! One member for a comparison: of etcd or of ours from the same flags, and what an `etcdctl` hears from it, with what
//! differs from one cluster to the next taken out.

#![allow(clippy::unwrap_used, dead_code)]

mod ports;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub use ports::free_addresses;

pub const NODE: &str = env!("CARGO_BIN_EXE_node");
pub const ETCD: &str = "/usr/bin/etcd";
pub const ETCDCTL: &str = "/usr/bin/etcdctl";
pub const WITHIN: Duration = Duration::from_secs(60);

/// One member on ports and in a folder of its own.
pub struct Server {
    child: Child,
    /// Its client URL.
    pub client: String,
    folder: tempfile::TempDir,
    /// Flags of `etcdctl` that stand before those of every command.
    reach: Vec<String>,
}

impl Server {
    /// Starts `program` with etcd's flags and waits until it answers.
    pub fn start(program: &Path, more: &[&str]) -> Self {
        Self::reached_by(program, "http", more, &[])
    }

    /// The same with a client URL of this scheme, which `etcdctl` reaches with these flags.
    pub fn reached_by(program: &Path, scheme: &str, more: &[&str], reach: &[&str]) -> Self {
        let folder = tempfile::Builder::new().prefix("corenode-member-").tempdir().unwrap();
        let addresses = free_addresses(2);
        let (client, peer) = (format!("{scheme}://{}", addresses[0]), format!("http://{}", addresses[1]));
        let log = File::create(folder.path().join("log")).unwrap();
        let mut command = Command::new(program);
        command
            .args(["--name", "one", "--data-dir", "data", "--initial-cluster", &format!("one={peer}")])
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(more)
            .current_dir(folder.path())
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ETCD_")) {
            command.env_remove(name);
        }
        let reach = reach.iter().map(|flag| (*flag).to_owned()).collect();
        let server = Self { child: command.spawn().unwrap(), client, folder, reach };
        let deadline = Instant::now() + WITHIN;
        while server.say(Path::new(ETCDCTL), &["get", "anything"], "").1 != Some(0) {
            assert!(Instant::now() < deadline, "{} does not serve:\n{}", program.display(), server.log());
            std::thread::sleep(Duration::from_millis(50));
        }
        server
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Runs `etcdctl` with the flags that reach this member: what it prints, and its exit code.
    pub fn say(&self, etcdctl: &Path, arguments: &[&str], input: &str) -> (String, Option<i32>) {
        let reach: Vec<&str> = self.reach.iter().map(String::as_str).chain(arguments.iter().copied()).collect();
        self.say_by(etcdctl, &reach, input)
    }

    /// The same with no flags but these.
    pub fn say_by(&self, etcdctl: &Path, arguments: &[&str], input: &str) -> (String, Option<i32>) {
        use std::io::Write as _;
        let mut command = Command::new(etcdctl);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ETCDCTL_")) {
            command.env_remove(name);
        }
        command.env("ETCDCTL_API", "3").args(["--endpoints", &self.client]).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // A command that reads nothing may have ended before.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let output = child.wait_with_output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        // The client's own log, and what differs from one cluster to the next.
        let lines = text.lines().filter(|line| !line.starts_with("{\"level\"")).map(|line| {
            let words = line.replace(&self.client, "ENDPOINT");
            words.split(' ').map(masked).collect::<Vec<_>>().join(" ")
        });
        (lines.collect::<Vec<_>>().join("\n"), output.status.code())
    }
}

/// Ids, ports and what is left of a lease are another each time.
fn masked(word: &str) -> String {
    let bare = word.trim_end_matches(',');
    let hex = bare.bytes().all(|byte| byte.is_ascii_hexdigit());
    match bare {
        _ if (13..=16).contains(&bare.len()) && hex => word.replace(bare, "ID"),
        _ if bare.starts_with("http://127.0.0.1:") => word.replace(bare, "PEER"),
        _ if bare.starts_with("remaining(") => word.replace(bare, "REMAINING"),
        _ => word.to_owned(),
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Several members that are killed at the end.
pub struct Members(pub Vec<Child>);

impl Drop for Members {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Our binary under its names `etcd` and `etcdctl`; the path is the first.
pub fn ours() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::Builder::new().prefix("corenode-link-").tempdir().unwrap();
    let link = folder.path().join("etcd");
    std::os::unix::fs::symlink(NODE, &link).unwrap();
    std::os::unix::fs::symlink(NODE, folder.path().join("etcdctl")).unwrap();
    (folder, link)
}

/// Answers must be equal, one by one.
pub fn compare(expected: &[String], found: &[String]) {
    let differences: Vec<String> = expected
        .iter()
        .zip(found)
        .filter(|(expected, found)| expected != found)
        .map(|(expected, found)| format!("etcd:\n{expected}\nours:\n{found}"))
        .collect();
    assert!(differences.is_empty(), "{} answers differ:\n{}", differences.len(), differences.join("\n\n"));
    assert_eq!(expected.len(), found.len());
}

/// Debian's etcd and etcdctl are not on every machine.
pub fn original() -> bool {
    let there = Path::new(ETCD).exists() && Path::new(ETCDCTL).exists();
    if !there {
        eprintln!("skipped: {ETCD} or {ETCDCTL} is not installed");
    }
    there
}
