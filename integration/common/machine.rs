//! Machines with nothing on them but the binary, which become members by `node init` and `node join`.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use corenode::base::UnixMillis;
use corenode::net::tls::ClusterIdentity;

use super::{NODE, free_addresses, wait_for};

pub const WITHIN: Duration = Duration::from_secs(60);

/// A machine with nothing on it but the binary.
pub struct Machine {
    pub name: String,
    pub dir: PathBuf,
    pub peer: SocketAddr,
    pub client: SocketAddr,
    child: Option<Child>,
}

pub fn machines(folder: &Path, names: &[&str]) -> Vec<Machine> {
    let addresses = free_addresses(names.len() * 2);
    let machine = |(at, name): (usize, &&str)| {
        let dir = folder.join(name);
        std::fs::create_dir_all(&dir).unwrap();
        let (peer, client) = (addresses[at * 2], addresses[at * 2 + 1]);
        Machine { name: (*name).to_owned(), dir, peer, client, child: None }
    };
    names.iter().enumerate().map(machine).collect()
}

impl Machine {
    pub fn path(&self, file: &str) -> String {
        self.dir.join(file).display().to_string()
    }

    pub fn endpoint(&self) -> String {
        format!("unix://{}", self.path("node.sock"))
    }

    /// `node init`, `node join TOKEN`: with what sets it apart from the other machines on loopback.
    pub fn asked(&self, words: &[&str]) -> Output {
        let mut command = Command::new(NODE);
        command.args(words).args(["--no-start", "--name", &self.name, "--config", &self.path("node.toml")]);
        command.args(["--data-dir", &self.path("data"), "--client-socket", &self.path("node.sock")]);
        command.args(["--peer-listen", &self.peer.to_string(), "--client-listen", &self.client.to_string()]);
        command.args(["--fleet-socket", "", "--fleet-executor", "process", "--template-enabled", "false"]);
        command.args(["--fleet-machine-id", &format!("{:032x}", rand::random::<u128>())]);
        command.args(["--fleet-public-ip", "127.0.0.1"]).stdin(Stdio::null()).output().unwrap()
    }

    pub fn run(&mut self) {
        let log = File::options().create(true).append(true).open(self.dir.join("log")).unwrap();
        let mut command = Command::new(NODE);
        command.args(["run", "--config", &self.path("node.toml")]).env_remove("NOTIFY_SOCKET");
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.child = Some(command.spawn().unwrap());
    }

    /// Power loss for the process.
    pub fn kill_9(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    /// A command on this machine that needs no flag but the place of the socket.
    pub fn ctl(&self, words: &[&str]) -> Output {
        let mut command = Command::new(NODE);
        command.arg("ctl").args(words).env("NODE_CTL_ENDPOINT", self.endpoint());
        command.env("NODE_CREDENTIALS", self.path("credentials")).output().unwrap()
    }

    pub fn identity(&self) -> ClusterIdentity {
        ClusterIdentity::new(self.dir.join("data/identity"))
    }

    pub fn wait_until_it_writes(&self) {
        let writes = || super::face("etcdctl", &self.endpoint(), &["put", "ready", "1"]).status.success().then_some(());
        wait_for(&format!("{} to serve: {}", self.name, self.log()), Instant::now() + WITHIN, writes);
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.kill_9();
        corenode::process::kill_all(&self.dir.join("data/units"));
    }
}

pub fn text(output: &Output) -> String {
    [&output.stdout[..], &output.stderr[..]].map(String::from_utf8_lossy).concat()
}

pub fn done(output: &Output) -> String {
    assert!(output.status.success(), "{}: {}", output.status, text(output));
    text(output)
}

pub fn token_in(text: &str) -> String {
    text.split_whitespace().find(|word| word.starts_with("node1.")).expect("a token").to_owned()
}

pub fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    UnixMillis(i64::try_from(since.as_millis()).unwrap())
}

pub fn folder() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("corenode-birth-").tempdir().unwrap()
}
