//! One member of etcd's or of ours, from the same flags, in a folder that goes with it.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::free_addresses;
use crate::http::{Answer, Connection, Request};

const NODE: &str = env!("CARGO_BIN_EXE_node");
const ETCD: &str = "/usr/bin/etcd";
const SERVES_WITHIN: Duration = Duration::from_secs(60);

/// Whose server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Etcd,
    Ours,
}

/// A running member.
pub struct Server {
    pub client: SocketAddr,
    pub peer: SocketAddr,
    /// A further address for clients, and one for peers, as where the ports of etcd 0.4 are served too.
    pub more: [SocketAddr; 2],
    pub folder: tempfile::TempDir,
    child: Child,
}

impl Server {
    /// Starts a member and waits until it serves.
    pub fn start(side: Side) -> Self {
        let folder = tempfile::Builder::new().prefix("corenode-v2-").tempdir().unwrap();
        let [client, peer, old_client, old_peer] = free_addresses(4).try_into().unwrap();
        let (client_url, peer_url) = (format!("http://{client}"), format!("http://{peer}"));
        let mut command = Command::new(program(side, folder.path()));
        let log = File::create(folder.path().join("log")).unwrap();
        command
            .args(["--name", "one", "--data-dir", "data", "--initial-cluster", &format!("one={peer_url}")])
            .args(["--listen-client-urls", &format!("{client_url},http://{old_client}")])
            .args(["--listen-peer-urls", &format!("{peer_url},http://{old_peer}")])
            .args(["--advertise-client-urls", &client_url, "--initial-advertise-peer-urls", &peer_url])
            .arg("--enable-v2")
            .current_dir(folder.path())
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ETCD_")) {
            command.env_remove(name);
        }
        let mut server = Self { client, peer, more: [old_client, old_peer], child: command.spawn().unwrap(), folder };
        server.wait_until_it_serves();
        server
    }

    /// Until the cluster has agreed on its version, which takes an index of v2's.
    fn wait_until_it_serves(&mut self) {
        let deadline = Instant::now() + SERVES_WITHIN;
        loop {
            let serves = std::net::TcpStream::connect(self.client).is_ok()
                && self.ask(&Request::new("GET", "/version")).body.contains("\"etcdcluster\":\"3.")
                && self.ask(&Request::new("GET", "/health")).body.contains("\"health\":\"true\"");
            if serves {
                return;
            }
            assert!(self.child.try_wait().unwrap().is_none(), "it ended:\n{}", self.log());
            assert!(Instant::now() < deadline, "it does not serve within {SERVES_WITHIN:?}:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Asks over a connection of its own.
    pub fn ask(&self, request: &Request) -> Answer {
        Connection::open(self.client).ask(request)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

fn program(side: Side, folder: &Path) -> PathBuf {
    match side {
        Side::Etcd => {
            assert!(Path::new(ETCD).exists(), "{ETCD} is missing: apt-get install etcd-server");
            PathBuf::from(ETCD)
        }
        Side::Ours => {
            let link = folder.join("etcd");
            std::os::unix::fs::symlink(NODE, &link).unwrap();
            link
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
