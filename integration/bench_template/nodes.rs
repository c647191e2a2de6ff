//! Nodes on loopback that render a confdir each.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use corenode::kv::{Consistency, Op, RangeRequest, Store as _};
use corenode::remote::RemoteStore;

const SERVES_WITHIN: Duration = Duration::from_secs(60);
/// What reading all keys again logs.
const READ_AGAIN: &str = "read all their keys again";

/// Nodes of one cluster, while they run.
pub struct Nodes {
    binary: PathBuf,
    dirs: Vec<PathBuf>,
    peers: Vec<SocketAddr>,
    clients: Vec<SocketAddr>,
    children: Vec<Child>,
    runtime: tokio::runtime::Runtime,
    stores: Vec<RemoteStore>,
}

impl Nodes {
    /// `count` nodes below `dir`, not started yet.
    pub fn plan(binary: &Path, dir: &Path, count: usize) -> anyhow::Result<Self> {
        let listeners: Result<Vec<_>, _> =
            (0..count * 2).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect();
        let mut peers = listeners?.iter().map(TcpListener::local_addr).collect::<Result<Vec<_>, _>>()?;
        let clients = peers.split_off(count);
        let dirs: Vec<PathBuf> = (0..count).map(|at| dir.join(format!("n{at}"))).collect();
        for dir in &dirs {
            for folder in ["confd/conf.d", "confd/templates", "out"] {
                fs::create_dir_all(dir.join(folder))?;
            }
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { binary: binary.to_owned(), dirs, peers, clients, children: Vec::new(), runtime, stores: Vec::new() })
    }

    /// Where a node has its files.
    pub fn dir(&self, node: usize) -> &Path {
        &self.dirs[node]
    }

    /// The file of a resource.
    pub fn out(&self, node: usize, name: &str) -> PathBuf {
        self.dirs[node].join("out").join(name)
    }

    /// A resource that reads `/bench`.
    pub fn resource(&self, node: usize, name: &str, template: &str, rest: &str) -> anyhow::Result<()> {
        let confd = self.dirs[node].join("confd");
        let dest = self.out(node, name).display().to_string();
        let text = format!("[template]\nsrc = \"{name}.tmpl\"\ndest = \"{dest}\"\nkeys = [\"/bench\"]\n{rest}\n");
        fs::write(confd.join(format!("conf.d/{name}.toml")), text)?;
        Ok(fs::write(confd.join(format!("templates/{name}.tmpl")), template)?)
    }

    /// Starts all of them and waits until each answers.
    pub fn start(&mut self) -> anyhow::Result<()> {
        let members: Vec<String> =
            self.peers.iter().enumerate().map(|(at, peer)| format!("n{at}=http://{peer}")).collect();
        for (at, dir) in self.dirs.iter().enumerate() {
            let log = fs::File::create(dir.join("log"))?;
            let child = Command::new(&self.binary)
                .args(["run", "--name", &format!("n{at}"), "--initial-cluster", &members.join(",")])
                .args(["--peer-listen", &self.peers[at].to_string(), "--client-listen", &self.clients[at].to_string()])
                .args(["--data-dir", &dir.join("data").to_string_lossy(), "--cluster-token", "bench"])
                .args(["--client-socket", "", "--fleet-socket", "", "--fleet-executor", "process"])
                .args(["--fleet-machine-id", &format!("{at:032x}"), "--fleet-public-ip", "127.0.0.1"])
                .args(["--template-confdir", &dir.join("confd").to_string_lossy()])
                .env_remove("NOTIFY_SOCKET")
                .stdin(Stdio::null())
                .stdout(log.try_clone()?)
                .stderr(log)
                .spawn()?;
            self.children.push(child);
        }
        for client in &self.clients {
            let store = RemoteStore::new(vec![client.to_string().parse()?], Duration::from_secs(5));
            let deadline = Instant::now() + SERVES_WITHIN;
            let request = RangeRequest { key: "x".into(), ..RangeRequest::default() };
            while self.runtime.block_on(store.range(request.clone(), Consistency::Linearizable)).is_err() {
                ensure!(Instant::now() < deadline, "{client} does not serve");
                std::thread::sleep(Duration::from_millis(20));
            }
            self.stores.push(store);
        }
        Ok(())
    }

    /// Writes a key through one node.
    pub fn put(&self, node: usize, key: &str, value: &str) -> anyhow::Result<()> {
        let op = Op::put(key.to_owned(), value.to_owned());
        let written = self.runtime.block_on(self.stores[node].write(op))?;
        written.result.map(drop).context("the write was refused")
    }

    /// How many passes a node has counted, and how often it has read all keys.
    pub fn passes(&self, node: usize) -> anyhow::Result<usize> {
        let log = fs::read_to_string(self.dirs[node].join("log"))?;
        let mut metrics = String::new();
        let mut asked = TcpStream::connect(self.clients[node])?;
        asked.write_all(b"GET /metrics HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")?;
        asked.read_to_string(&mut metrics)?;
        let lines = metrics.lines().filter(|line| line.starts_with("corenode_template_passes_total{"));
        let counts = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok());
        Ok(counts.sum::<usize>() + log.matches(READ_AGAIN).count())
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        for child in &mut self.children {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
