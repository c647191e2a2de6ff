//! Members from the same command lines, of etcd or of ours called `etcd`.

#[path = "../common/ports.rs"]
mod ports;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ports::free_addresses;

use crate::NODE;
use crate::compare::Side;

const ETCD: &str = "/usr/bin/etcd";
pub const ETCDCTL: &str = "/usr/bin/etcdctl";
const READY: &str = "ready to serve client requests";
const READY_WITHIN: Duration = Duration::from_secs(60);

/// What a comparison needs.
pub struct Setup {
    /// What ETCDCTL_API says.
    pub api: &'static str,
    pub members: usize,
    /// Further flags of each member.
    pub more: &'static [&'static str],
}

/// Running members in a folder that goes with them.
pub struct Cluster {
    pub folder: tempfile::TempDir,
    /// `127.0.0.1:PORT` of each member.
    pub clients: Vec<String>,
    pub peers: Vec<String>,
    children: Vec<Child>,
}

impl Cluster {
    /// Starts so many members, `m1` and so on, and waits until they serve.
    pub fn start(side: Side, setup: &Setup) -> Self {
        for needed in [ETCD, ETCDCTL] {
            let there = Path::new(needed).exists();
            assert!(there, "{needed} is missing: apt-get install etcd-server etcd-client");
        }
        let folder = tempfile::Builder::new().prefix("corenode-etcdctl3-").tempdir().unwrap();
        let etcd = match side.is_our_server() {
            false => PathBuf::from(ETCD),
            true => {
                let link = folder.path().join("etcd");
                std::os::unix::fs::symlink(NODE, &link).unwrap();
                link
            }
        };
        let mut clients: Vec<String> = free_addresses(setup.members * 2).iter().map(ToString::to_string).collect();
        let peers = clients.split_off(setup.members);
        let members: Vec<String> =
            peers.iter().enumerate().map(|(at, peer)| format!("m{}=http://{peer}", at + 1)).collect();
        let mut cluster = Self { folder, clients, peers, children: Vec::new() };
        for at in 0..setup.members {
            let child = cluster.spawn(&etcd, at, &members.join(","), setup.more);
            cluster.children.push(child);
        }
        for at in 0..setup.members {
            cluster.wait_until_ready(at);
        }
        cluster
    }

    fn log(&self, at: usize) -> PathBuf {
        self.folder.path().join(format!("m{}.log", at + 1))
    }

    fn spawn(&self, etcd: &Path, at: usize, members: &str, more: &[&str]) -> Child {
        let (client, peer) = (format!("http://{}", self.clients[at]), format!("http://{}", self.peers[at]));
        let name = format!("m{}", at + 1);
        let mut command = Command::new(etcd);
        command
            .args(["--name", &name, "--data-dir", &name, "--initial-cluster", members])
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(more)
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .current_dir(self.folder.path())
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(self.log(at)).unwrap());
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ETCD_")) {
            command.env_remove(name);
        }
        command.spawn().unwrap()
    }

    fn wait_until_ready(&mut self, at: usize) {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            let log = std::fs::read_to_string(self.log(at)).unwrap_or_default();
            if log.contains(READY) {
                return;
            }
            assert!(self.children[at].try_wait().unwrap().is_none(), "a member ended:\n{log}");
            assert!(Instant::now() < deadline, "not ready within {READY_WITHIN:?}:\n{log}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
