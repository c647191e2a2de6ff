//! Real nodes for tests: the binary as child processes on loopback, told apart by folder, killed and started at will.

#![allow(clippy::unwrap_used, dead_code)]

#[cfg(feature = "api")]
pub mod beside;
pub mod doctor;
#[cfg(feature = "api")]
pub mod machine;
mod ports;
pub mod served;

use std::collections::BTreeMap;
use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

pub use ports::free_addresses;

pub const NODE: &str = env!("CARGO_BIN_EXE_node");

/// Bound of every wait: longer than any of it takes on a loaded machine.
pub const WITHIN: Duration = Duration::from_secs(120);

/// One node: where its data and addresses are, and the process while it runs.
pub struct TestNode {
    pub name: String,
    pub dir: PathBuf,
    pub client: SocketAddr,
    pub peer: SocketAddr,
    pub machine_id: String,
    pub initial_cluster: String,
    pub more: Vec<String>,
    /// What it is started with.
    pub program: PathBuf,
    notices: UnixDatagram,
    child: Option<Child>,
}

/// Nodes that belong together, in a folder that goes with them.
pub struct TestCluster {
    pub nodes: Vec<TestNode>,
    pub folder: tempfile::TempDir,
}

impl TestCluster {
    /// Starts `count` nodes and waits until all of them serve.
    pub fn start(count: usize) -> Self {
        let mut cluster = Self::plan(count);
        cluster.nodes.iter_mut().for_each(TestNode::start);
        cluster.nodes.iter_mut().for_each(|node| node.wait_until_it_serves());
        cluster
    }

    /// `count` nodes that are not started yet.
    pub fn plan(count: usize) -> Self {
        let folder = tempfile::Builder::new().prefix("corenode-test-").tempdir().unwrap();
        let addresses = free_addresses(count * 2);
        let names: Vec<String> = (1..=count).map(|number| format!("n{number}")).collect();
        let members: Vec<String> =
            names.iter().zip(&addresses).map(|(name, peer)| format!("{name}=http://{peer}")).collect();
        let nodes = (0..count)
            .map(|at| {
                TestNode::new(
                    &folder.path().join(&names[at]),
                    &names[at],
                    addresses[at],
                    addresses[count + at],
                    &members.join(","),
                )
            })
            .collect();
        Self { nodes, folder }
    }

    /// For `--endpoints`.
    pub fn endpoints(&self) -> String {
        let endpoints: Vec<String> = self.nodes.iter().map(TestNode::endpoint).collect();
        endpoints.join(",")
    }
}

impl TestNode {
    pub fn new(dir: &Path, name: &str, peer: SocketAddr, client: SocketAddr, initial_cluster: &str) -> Self {
        std::fs::create_dir_all(dir).unwrap();
        let notices = UnixDatagram::bind(dir.join("notify")).unwrap();
        Self {
            name: name.to_owned(),
            dir: dir.to_owned(),
            client,
            peer,
            machine_id: format!("{:032x}", rand::random::<u128>()),
            initial_cluster: initial_cluster.to_owned(),
            more: Vec::new(),
            program: PathBuf::from(NODE),
            notices,
            child: None,
        }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.client)
    }

    pub fn data_dir(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// The command line that runs this node.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(["run", "--name", &self.name, "--initial-cluster", &self.initial_cluster])
            .args(["--peer-listen", &self.peer.to_string(), "--client-listen", &self.client.to_string()])
            .args(["--data-dir", &self.data_dir().to_string_lossy(), "--cluster-token", "test"])
            .args(["--client-socket", "", "--fleet-socket", "", "--fleet-executor", "process"])
            .args(["--fleet-machine-id", &self.machine_id, "--fleet-metadata", &format!("node={}", self.name)])
            .args(["--fleet-public-ip", "127.0.0.1", "--template-enabled", "false"])
            .args(&self.more)
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::null());
        command
    }

    /// Starts the node; its log goes on in `log`.
    pub fn start(&mut self) {
        let log = File::options().create(true).append(true).open(self.dir.join("log")).unwrap();
        self.start_with_log(log);
    }

    /// Starts the node with its log in `log`.
    pub fn start_with_log(&mut self, log: File) {
        self.start_as(self.command(), log);
    }

    /// Starts the node by a command of its own, which is to run what [`Self::command`] would.
    pub fn start_as(&mut self, mut command: Command, log: File) {
        assert!(self.child.is_none(), "{} runs already", self.name);
        self.forget_notices();
        command.env("NOTIFY_SOCKET", self.dir.join("notify")).stdout(log.try_clone().unwrap()).stderr(log);
        self.child = Some(command.spawn().unwrap());
    }

    fn forget_notices(&self) {
        self.notices.set_nonblocking(true).unwrap();
        while self.notices.recv(&mut [0; 4096]).is_ok() {}
        self.notices.set_nonblocking(false).unwrap();
    }

    /// Waits for the node's own word that it has a leader and is in the list of machines.
    pub fn wait_until_it_serves(&mut self) {
        let deadline = Instant::now() + WITHIN;
        let mut buffer = [0; 4096];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{} does not serve within {WITHIN:?}:\n{}", self.name, self.log());
            self.notices.set_read_timeout(Some(left.min(Duration::from_secs(1)))).unwrap();
            if let Ok(read) = self.notices.recv(&mut buffer)
                && String::from_utf8_lossy(&buffer[..read]).contains("X_NODE_SERVES=1")
            {
                return;
            }
            if let Some(status) = self.child.as_mut().unwrap().try_wait().unwrap() {
                panic!("{} ended before it served: {status}\n{}", self.name, self.log());
            }
        }
    }

    /// Power loss for the process: no word of farewell.
    pub fn kill_9(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Asks the node to end and waits for it.
    pub fn terminate(&mut self) -> ExitStatus {
        let mut child = self.child.take().unwrap();
        terminate(child.id());
        let deadline = Instant::now() + WITHIN;
        wait_for("the node to end", deadline, || child.try_wait().unwrap())
    }

    /// Waits until the node ends by itself.
    pub fn wait_for_end(&mut self) -> ExitStatus {
        let mut child = self.child.take().unwrap();
        let deadline = Instant::now() + WITHIN;
        wait_for("the node to end by itself", deadline, || child.try_wait().unwrap())
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }
}

impl Drop for TestNode {
    fn drop(&mut self) {
        show_if_panicking(&self.name, &self.log());
        self.kill_9();
        corenode::process::kill_all(&self.data_dir().join("units"));
    }
}

/// What a node said last, where a test fails: its cause is seldom in the test alone.
pub fn show_if_panicking(name: &str, log: &str) {
    const LINES: usize = 40;
    if std::thread::panicking() {
        let first = log.lines().count().saturating_sub(LINES);
        eprintln!("the last lines of {name}:");
        log.lines().skip(first).for_each(|line| eprintln!("    {line}"));
    }
}

/// Sends SIGTERM.
pub fn terminate(pid: u32) {
    let pid = rustix::process::Pid::from_raw(pid.try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
}

/// Whether a process runs with this among its arguments.
pub fn runs_with_argument(argument: &str) -> bool {
    std::fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|one| one == argument.as_bytes())
    })
}

/// Memory that a process takes.
pub fn resident_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024
}

/// Looks until `look` finds something; between two looks other processes get the time that they need.
#[track_caller]
pub fn wait_for<T>(what: &str, deadline: Instant, mut look: impl FnMut() -> Option<T>) -> T {
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Runs something until `look` finds in its output what it is to print; in vain: what it printed last is told.
#[track_caller]
pub fn wait_for_output<T>(what: &str, mut run: impl FnMut() -> Output, look: impl Fn(&Output) -> Option<T>) -> T {
    let deadline = Instant::now() + WITHIN;
    loop {
        let output = run();
        if let Some(found) = look(&output) {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}: {}\n{}", output.status, text(&output));
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Runs something until it succeeds, and gives back what it printed.
#[track_caller]
pub fn wait_for_ok(what: &str, run: impl FnMut() -> Output) -> String {
    wait_for_output(what, run, |output| output.status.success().then(|| text(output)))
}

/// All that was printed.
pub fn text(output: &Output) -> String {
    [&output.stdout[..], &output.stderr[..]].map(String::from_utf8_lossy).concat()
}

/// Runs a face of the binary against an endpoint.
pub fn face(name: &str, endpoints: &str, arguments: &[&str]) -> Output {
    Command::new(NODE)
        .arg(name)
        .args(arguments)
        .env("ETCDCTL_ENDPOINTS", endpoints)
        .env("FLEETCTL_ENDPOINT", endpoints)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// Runs a face that must succeed, and gives back what it printed.
#[track_caller]
pub fn ok(name: &str, endpoints: &str, arguments: &[&str]) -> String {
    let output = face(name, endpoints, arguments);
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} {arguments:?}: {}\n{stdout}\n{stderr}", output.status);
    stdout
}

/// The main process of a unit.
#[track_caller]
pub fn main_pid(endpoint: &str, unit: &str) -> u32 {
    let status = ok("fleetctl", endpoint, &["status", unit]);
    let line = status.lines().find_map(|line| line.trim().strip_prefix("Main PID: "));
    let pid = line.and_then(|line| line.split(' ').next()?.parse().ok());
    pid.unwrap_or_else(|| panic!("{unit} has no main process:\n{status}"))
}

/// The main process of each unit.
#[track_caller]
pub fn main_pids(endpoint: &str, units: &[String]) -> BTreeMap<String, u32> {
    units.iter().map(|unit| (unit.clone(), main_pid(endpoint, unit))).collect()
}

/// Writes a key with our own etcdctl.
pub fn etcdctl_put(endpoint: &str, key: &str, value: &str) {
    assert_eq!(ok("etcdctl", endpoint, &["put", key, value]), "OK\n");
}

/// Debian's etcdctl, as it comes.
pub fn etcdctl(endpoint: &str, arguments: &[&str]) -> String {
    let output = Command::new("/usr/bin/etcdctl")
        .args(arguments)
        .env("ETCDCTL_API", "3")
        .env("ETCDCTL_ENDPOINTS", endpoint)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "etcdctl {arguments:?}: {}\n{stderr}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// What is answered to a form.
pub fn http(method: &str, url: &str, form: &str) -> serde_json::Value {
    let output = Command::new("curl").args(["-sS", "-X", method, url, "-d", form]).output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{url}: {error}: {output:?}"))
}
