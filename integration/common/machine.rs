//! Machines with nothing on them but the binary, which become members by `node init` and `node join`.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use corenode::base::UnixMillis;
use corenode::net::Address;
use corenode::net::tls::{Authority, ClientTls, ClusterIdentity, Identity, Protocol, request};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{NODE, free_addresses, show_if_panicking, text, wait_for_ok};

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
        self.command(words).output().unwrap()
    }

    /// The same, killed after so long if it has not ended by then.
    pub fn killed_after(&self, words: &[&str], time: Duration) {
        let mut child = self.command(words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(time);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(NODE);
        command.args(words).args(["--no-start", "--name", &self.name, "--config", &self.path("node.toml")]);
        command.args(["--data-dir", &self.path("data"), "--client-socket", &self.path("node.sock")]);
        command.args(["--peer-listen", &self.peer.to_string(), "--client-listen", &self.client.to_string()]);
        command.args(["--fleet-socket", "", "--fleet-executor", "process", "--template-enabled", "false"]);
        command.args(["--fleet-machine-id", &format!("{:032x}", rand::random::<u128>())]);
        command.args(["--fleet-public-ip", "127.0.0.1"]).stdin(Stdio::null());
        command
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
        let put = || super::face("etcdctl", &self.endpoint(), &["put", "ready", "1"]);
        wait_for_ok(&format!("{} to take a write", self.name), put);
    }

    /// Where somebody who comes by this TLS finds the clients' port.
    pub fn by_tls(&self, tls: &ClientTls) -> Address {
        Address::from_url(&format!("https://{}", self.client)).unwrap().secured(&Arc::new(tls.clone()))
    }

    /// How somebody comes who has a certificate of `authority`'s, made at that moment for two days, and trusts who has this machine's.
    pub fn as_client_of(&self, authority: &Authority, user: &str, at: UnixMillis) -> ClientTls {
        let asked = request(&[]).unwrap();
        let certificate = authority.admit_client(user, &asked.text, at, 2).unwrap();
        let file = self.dir.join(format!("{user}-{:08x}.pem", rand::random::<u32>()));
        std::fs::write(&file, format!("{certificate}{}", asked.key)).unwrap();
        let own = Identity { certificate: file.clone(), key: file };
        ClientTls { trusted_ca: Some(self.identity().ca()), identity: Some(own), ..ClientTls::default() }
    }

    /// What is answered at the members' port to one who comes by this TLS and is none of them.
    pub fn answers_at_peer_port(&self, tls: &ClientTls) -> std::io::Result<Vec<u8>> {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let stream = TcpStream::connect(self.peer).await.unwrap();
            let mut stream = tls.connect(stream, "127.0.0.1", Protocol::Http1).await?;
            stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await?;
            Ok(answer)
        })
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        show_if_panicking(&self.name, &self.log());
        self.kill_9();
        corenode::process::kill_all(&self.dir.join("data/units"));
    }
}

pub fn done(output: &Output) -> String {
    assert!(output.status.success(), "{}: {}", output.status, text(output));
    text(output)
}

pub fn token_in(text: &str) -> String {
    text.split_whitespace().find(|word| word.starts_with("node1.")).expect("a token").to_owned()
}

pub fn now() -> UnixMillis {
    UnixMillis(jiff::Timestamp::now().as_millisecond())
}

pub fn folder() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("corenode-birth-").tempdir().unwrap()
}
