//! Three members of one kind, run the same way: the same flags, the same disk, the same machine.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use corenode::wire::etcdserverpb as pb;

use super::grpc::Connection;

pub const MEMBERS: usize = 3;
const SERVES_WITHIN: Duration = Duration::from_secs(300);
const TICKS_A_SECOND: f64 = 100.0;

/// What is measured.
#[derive(Clone, Debug)]
pub struct Kind {
    pub name: &'static str,
    /// The binary; it is called as `etcd`.
    pub binary: PathBuf,
}

/// Three members, while they run and between.
pub struct Cluster {
    kind: Kind,
    dir: PathBuf,
    clients: Vec<SocketAddr>,
    peers: Vec<SocketAddr>,
    children: Vec<Child>,
    leader: usize,
}

/// What the members used since they were started, together.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    pub cpu_seconds: f64,
    /// Bytes handed to the disk.
    pub written_bytes: f64,
}

fn free(count: usize) -> anyhow::Result<Vec<SocketAddr>> {
    let listeners: Result<Vec<_>, _> = (0..count).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect();
    Ok(listeners?.iter().map(TcpListener::local_addr).collect::<Result<_, _>>()?)
}

impl Cluster {
    /// Starts a new cluster in `dir` and waits until each member serves.
    pub async fn start(kind: &Kind, dir: &Path) -> anyhow::Result<Self> {
        let mut addresses = free(2 * MEMBERS)?;
        let peers = addresses.split_off(MEMBERS);
        let dir = dir.join(kind.name);
        fs::create_dir_all(&dir)?;
        let mut cluster = Self { kind: kind.clone(), dir, clients: addresses, peers, children: Vec::new(), leader: 0 };
        cluster.run().await?;
        cluster.name_the_leader_first().await?;
        Ok(cluster)
    }

    /// Runs the members and waits until each answers a linearizable read. Returns how long that took.
    pub async fn run(&mut self) -> anyhow::Result<Duration> {
        let began = Instant::now();
        let members: Vec<String> =
            self.peers.iter().enumerate().map(|(at, peer)| format!("m{at}=http://{peer}")).collect();
        for at in 0..MEMBERS {
            let log = fs::File::options().create(true).append(true).open(self.dir.join(format!("m{at}.log")))?;
            let (client, peer) = (format!("http://{}", self.clients[at]), format!("http://{}", self.peers[at]));
            let mut command = Command::new(&self.kind.binary);
            command
                .arg0("etcd")
                .args(["--name", &format!("m{at}"), "--log-level", "warn"])
                .arg("--data-dir")
                .arg(self.dir.join(format!("m{at}")))
                .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
                .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
                .args(["--initial-cluster", &members.join(","), "--initial-cluster-token", "bench"])
                .args(["--quota-backend-bytes", &(8_u64 << 30).to_string()])
                .stdin(Stdio::null())
                .stdout(log.try_clone()?)
                .stderr(log);
            self.children.push(command.spawn().with_context(|| format!("starting {}", self.kind.binary.display()))?);
        }
        for at in 0..MEMBERS {
            self.wait_until_it_serves(at, began).await?;
        }
        Ok(began.elapsed())
    }

    /// So that a lone client is at the leader with either kind.
    async fn name_the_leader_first(&mut self) -> anyhow::Result<()> {
        for at in 0..MEMBERS {
            let connection = Connection::open(self.clients[at]).await?;
            let path = "/etcdserverpb.Maintenance/Status";
            let status: pb::StatusResponse = connection.call(path, &pb::StatusRequest::default()).await?;
            if status.header.unwrap_or_default().member_id == status.leader {
                self.leader = at;
                return Ok(());
            }
        }
        bail!("{}: no member leads", self.kind.name)
    }

    async fn wait_until_it_serves(&mut self, at: usize, began: Instant) -> anyhow::Result<()> {
        loop {
            let answers = tokio::time::timeout(Duration::from_secs(10), answers(self.clients[at])).await;
            match answers {
                Ok(Ok(())) => return Ok(()),
                _ if began.elapsed() > SERVES_WITHIN => {
                    bail!("{} m{at} does not serve within {SERVES_WITHIN:?}", self.kind.name)
                }
                _ => tokio::time::sleep(Duration::from_millis(10)).await,
            }
            if let Some(status) = self.children[at].try_wait()? {
                bail!(
                    "{} m{at} ended: {status}; see {}",
                    self.kind.name,
                    self.dir.join(format!("m{at}.log")).display()
                );
            }
        }
    }

    /// Ends the members as a service manager does.
    pub fn stop(&mut self) {
        for child in &self.children {
            let pid = rustix::process::Pid::from_child(child);
            // It may have ended already.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        for mut child in self.children.drain(..) {
            let _ = child.wait();
        }
    }

    /// Where clients connect, the leader first.
    pub fn clients(&self) -> Vec<SocketAddr> {
        let mut clients = self.clients.clone();
        clients.rotate_left(self.leader);
        clients
    }

    /// Resident bytes of a member, on average.
    pub fn resident_bytes(&self) -> anyhow::Result<f64> {
        let mut sum = 0.0;
        for child in &self.children {
            sum += field(&format!("/proc/{}/status", child.id()), "VmRSS:")? * 1024.0;
        }
        Ok(sum / self.children.len() as f64)
    }

    pub fn usage(&self) -> anyhow::Result<Usage> {
        let mut usage = Usage::default();
        for child in &self.children {
            let stat = fs::read_to_string(format!("/proc/{}/stat", child.id()))?;
            // The name, in brackets, may hold blanks; user and system ticks are the 12th and 13th word after it.
            let words: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
            let ticks: f64 = words[11].parse::<f64>()? + words[12].parse::<f64>()?;
            usage.cpu_seconds += ticks / TICKS_A_SECOND;
            usage.written_bytes += field(&format!("/proc/{}/io", child.id()), "write_bytes:")?;
        }
        Ok(usage)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn answers(address: SocketAddr) -> anyhow::Result<()> {
    let connection = Connection::open(address).await?;
    let request = pb::RangeRequest { key: b"\0".to_vec().into(), ..Default::default() };
    connection.call::<pb::RangeResponse>("/etcdserverpb.KV/Range", &request).await?;
    Ok(())
}

/// The number behind `name` in a file of `/proc`.
fn field(path: &str, name: &str) -> anyhow::Result<f64> {
    let text = fs::read_to_string(path).with_context(|| path.to_owned())?;
    let line =
        text.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("{path} has no {name}"))?;
    let number = line.split_whitespace().next().with_context(|| format!("{path}: {name} is empty"))?;
    Ok(number.parse()?)
}
