//! Clusters that are founded through a discovery URL: real members of etcd through a node of ours, and ours through etcd and through
//! ours, as `node run` and as `etcd`. Who is one too many, comes again, or finds nobody is told what to do.
//!
//! Needs Debian's `etcd-server` and `etcd-client`. Nothing is skipped: without them the test fails.

#![allow(clippy::unwrap_used)]

mod common;

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use common::{NODE, TestCluster, TestNode, WITHIN, free_addresses, terminate, wait_for};

const ETCD: &str = "/usr/bin/etcd";
const READY: &str = "ready to serve client requests";

/// One request; the status and the body.
fn http(at: SocketAddr, method: &str, path: &str, form: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(WITHIN)).unwrap();
    let kind = "Content-Type: application/x-www-form-urlencoded";
    let length = form.len();
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n{kind}\r\nContent-Length: {length}\r\n\r\n{form}")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// A member of etcd, or of ours called `etcd`, with a folder and a log of its own.
struct Member {
    client: SocketAddr,
    log: PathBuf,
    child: Child,
}

/// What members are started of, and where.
struct Members<'a> {
    binary: &'a Path,
    folder: &'a Path,
    discovery: &'a str,
}

impl Members<'_> {
    fn start(&self, name: &str, [client, peer]: [SocketAddr; 2], more: &[&str]) -> Member {
        let log = self.folder.join(format!("{name}.log"));
        let (client_url, peer_url) = (format!("http://{client}"), format!("http://{peer}"));
        let mut command = Command::new(self.binary);
        command
            .args(["--name", name, "--data-dir", name, "--discovery", self.discovery])
            .args(["--listen-client-urls", &client_url, "--advertise-client-urls", &client_url])
            .args(["--listen-peer-urls", &peer_url, "--initial-advertise-peer-urls", &peer_url])
            .args(more)
            .current_dir(self.folder)
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::options().create(true).append(true).open(&log).unwrap());
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ETCD_")) {
            command.env_remove(name);
        }
        Member { client, log, child: command.spawn().unwrap() }
    }

    /// Three members of the names `PREFIX1` to `PREFIX3`, which serve.
    fn three(&self, prefix: &str, more: &[&str]) -> Vec<Member> {
        let addresses = free_addresses(6);
        let start = |at: usize| self.start(&format!("{prefix}{}", at + 1), [addresses[at], addresses[at + 3]], more);
        let mut members: Vec<Member> = (0..3).map(start).collect();
        members.iter_mut().for_each(|member| member.wait_for_log(READY));
        members
    }
}

impl Member {
    fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn wait_for_log(&mut self, text: &str) {
        let deadline = Instant::now() + WITHIN;
        while !self.said().contains(text) {
            assert!(self.child.try_wait().unwrap().is_none(), "it ended before it said {text:?}:\n{}", self.said());
            assert!(Instant::now() < deadline, "it does not say {text:?} within {WITHIN:?}:\n{}", self.said());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until it ends by itself, not well.
    fn fails(mut self, text: &str) {
        let status = wait_for("a member to end", Instant::now() + WITHIN, || self.child.try_wait().unwrap());
        assert!(!status.success() && self.said().contains(text), "{status}, without {text:?}:\n{}", self.said());
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn etcdctl(at: SocketAddr, arguments: &[&str]) -> String {
    let mut command = Command::new("/usr/bin/etcdctl");
    command.env("ETCDCTL_API", "3").env_remove("ETCDCTL_ENDPOINTS").args(["--endpoints", &at.to_string()]);
    let output = command.args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Three names are in the list, and what is written at each is read at the next.
fn is_one_cluster(clients: &[SocketAddr], names: &[&str]) {
    let list = etcdctl(clients[0], &["member", "list"]);
    assert_eq!(list.lines().filter(|line| line.contains("started")).count(), names.len(), "{list}");
    assert!(names.iter().all(|name| list.contains(name)), "{list}");
    for (at, name) in names.iter().enumerate() {
        etcdctl(clients[at], &["put", "written-at", name]);
        let read = etcdctl(clients[(at + 1) % clients.len()], &["get", "written-at"]);
        assert_eq!(read, format!("written-at\n{name}\n"));
    }
}

/// The peer address of a member, as the cluster knows it.
fn peer_of(client: SocketAddr, name: &str) -> SocketAddr {
    let list = etcdctl(client, &["member", "list"]);
    let line = list.lines().find(|line| line.contains(&format!(", {name}, "))).unwrap();
    line.split(", http://").nth(1).unwrap().parse().unwrap()
}

fn clients(members: &[Member]) -> Vec<SocketAddr> {
    members.iter().map(|member| member.client).collect()
}

fn folder() -> tempfile::TempDir {
    assert!(Path::new(ETCD).exists(), "{ETCD} is missing: apt-get install etcd-server etcd-client");
    tempfile::Builder::new().prefix("corenode-discovery-").tempdir().unwrap()
}

#[test]
fn members_of_etcd_find_each_other_through_a_node() {
    let (folder, cluster) = (folder(), TestCluster::start(1));
    let node = cluster.nodes[0].client;
    let (code, discovery) = http(node, "PUT", "/new?size=3", "");
    assert!(code == 200 && discovery.starts_with(&format!("http://{node}/")), "{code} {discovery}");
    let etcd = Members { binary: Path::new(ETCD), folder: folder.path(), discovery: &discovery };
    let mut members = etcd.three("a", &["--enable-v2"]);
    is_one_cluster(&clients(&members), &["a1", "a2", "a3"]);

    // One too many: told so; and as etcd has it by default, a proxy to the members.
    let spare = free_addresses(4);
    etcd.start("a4", [spare[0], spare[1]], &["--discovery-fallback", "exit"]).fails("cluster is full");
    let mut proxy = etcd.start("a5", [spare[2], spare[3]], &[]);
    proxy.wait_for_log("falling back to proxy");
    let written = http(members[1].client, "PUT", "/v2/keys/through-the-proxy", "value=yes");
    assert_eq!(written.0, 201, "{written:?}");
    let deadline = Instant::now() + WITHIN;
    wait_for("the proxy to serve", deadline, || {
        TcpStream::connect(proxy.client).ok()?;
        let (code, answer) = http(proxy.client, "GET", "/v2/keys/through-the-proxy", "");
        (code == 200 && answer.contains("\"value\":\"yes\"")).then_some(())
    });
    // Without looking first, as a person with curl would.
    let token = discovery.strip_prefix(&format!("http://{node}")).unwrap();
    let (code, answer) = http(node, "PUT", &format!("{token}/77?prevExist=false"), "value=a7=http://127.0.0.1:7");
    assert!(code == 403 && answer.contains("/new?size=3"), "{code} {answer}");
    // Once more with the same name and URLs, and without data: the token is used.
    let (client, peer) = (members[0].client, peer_of(members[1].client, "a1"));
    drop(members.remove(0));
    std::fs::remove_dir_all(folder.path().join("a1")).unwrap();
    etcd.start("a1", [client, peer], &[]).fails("has previously registered with discovery service token");
}

#[test]
fn members_of_etcd_find_each_other_in_the_keys_of_a_node() {
    let (folder, cluster) = (folder(), TestCluster::start(1));
    let node = cluster.nodes[0].client;
    let path = "/v2/keys/_etcd/registry/6c007a14-875d-53d9-bf0e-f5a6fc0257c8";
    assert_eq!(http(node, "PUT", &format!("{path}/_config/size"), "value=3").0, 201);
    let discovery = format!("http://{node}{path}");
    let etcd = Members { binary: Path::new(ETCD), folder: folder.path(), discovery: &discovery };
    let members = etcd.three("b", &[]);
    is_one_cluster(&clients(&members), &["b1", "b2", "b3"]);
    let spare = free_addresses(2);
    etcd.start("b4", [spare[0], spare[1]], &["--discovery-fallback=exit"]).fails("cluster is full");
}

/// A node that is to find its cluster through a URL.
fn seeker(folder: &Path, name: &str, discovery: &str) -> TestNode {
    let addresses = free_addresses(2);
    let mut node = TestNode::new(&folder.join(name), name, addresses[0], addresses[1], "");
    node.more = vec!["--discovery".to_owned(), discovery.to_owned()];
    node
}

fn ends(node: &mut TestNode, text: &str) {
    let status: ExitStatus = node.wait_for_end();
    assert!(!status.success() && node.log().contains(text), "{status}, without {text:?}:\n{}", node.log());
}

#[test]
fn nodes_find_each_other_through_etcd() {
    let folder = folder();
    let [client, peer] = <[SocketAddr; 2]>::try_from(free_addresses(2)).unwrap();
    let (client_url, peer_url) = (format!("http://{client}"), format!("http://{peer}"));
    let child = Command::new(ETCD)
        .args(["--enable-v2", "--data-dir", "service", "--listen-client-urls", &client_url])
        .args(["--advertise-client-urls", &client_url, "--listen-peer-urls", &peer_url])
        .args(["--initial-advertise-peer-urls", &peer_url, "--initial-cluster", &format!("default={peer_url}")])
        .current_dir(folder.path())
        .env_remove("NOTIFY_SOCKET")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::create(folder.path().join("service.log")).unwrap())
        .spawn()
        .unwrap();
    let mut service = Member { client, log: folder.path().join("service.log"), child };
    service.wait_for_log(READY);
    let path = "/v2/keys/_etcd/registry/00112233445566778899aabbccddeeff";
    let discovery = format!("http://{client}{path}");

    // A token that nobody made, and one that cannot be a number of members.
    let mut early = seeker(folder.path(), "early", &discovery);
    early.start();
    ends(&mut early, "size key not found: nobody has made this token there");
    assert_eq!(http(client, "PUT", &format!("{path}/_config/size"), "value=3").0, 201);

    // Two wait for the third, and end when they are told to.
    let mut nodes: Vec<TestNode> =
        ["n1", "n2", "n3"].into_iter().map(|name| seeker(folder.path(), name, &discovery)).collect();
    nodes[0].start();
    let deadline = Instant::now() + WITHIN;
    wait_for("the first to register", deadline, || {
        nodes[0].log().contains("1 of 3 members have registered").then_some(())
    });
    assert!(nodes[0].terminate().success(), "{}", nodes[0].log());
    // It goes on with its own registration.
    nodes.iter_mut().for_each(TestNode::start);
    nodes.iter_mut().for_each(TestNode::wait_until_it_serves);
    let clients: Vec<SocketAddr> = nodes.iter().map(|node| node.client).collect();
    is_one_cluster(&clients, &["n1", "n2", "n3"]);

    let mut fourth = seeker(folder.path(), "n4", &discovery);
    fourth.start();
    ends(&mut fourth, "cluster is full: its 3 members are n");
    assert!(fourth.log().contains("etcdctl member add n4 --peer-urls=http://"), "{}", fourth.log());

    // Who is a member needs no service any more.
    drop(service);
    nodes[1].kill_9();
    nodes[1].start();
    nodes[1].wait_until_it_serves();
    is_one_cluster(&clients, &["n1", "n2", "n3"]);

    // Who is none waits for as long as it is told to, and says for what.
    let mut late = seeker(folder.path(), "late", &discovery);
    late.more.extend(["--discovery-wait".to_owned(), "2s".to_owned()]);
    late.start();
    ends(&mut late, "no cluster within 2s: the discovery service does not answer");
    assert!(late.log().contains("onnection refused"), "{}", late.log());
}

#[test]
fn the_etcd_face_finds_its_cluster_through_nodes() {
    let (folder, cluster) = (folder(), TestCluster::start(3));
    let link = folder.path().join("etcd");
    std::os::unix::fs::symlink(NODE, &link).unwrap();
    let node = cluster.nodes[0].client;
    let discovery = http(node, "GET", "/new?size=3", "").1;
    let ours = Members { binary: &link, folder: folder.path(), discovery: &discovery };
    let mut members = ours.three("c", &["--discovery-fallback=proxy"]);
    is_one_cluster(&clients(&members), &["c1", "c2", "c3"]);
    assert!(
        members[0].said().contains("not served yet, taken and not used: --discovery-fallback"),
        "{}",
        members[0].said()
    );

    let spare = free_addresses(2);
    ours.start("c4", [spare[0], spare[1]], &[]).fails("cluster is full: its 3 members are c");

    // The flags of the foundation may stay, and the service may be gone.
    let token = discovery.rsplit('/').next().unwrap();
    assert_eq!(http(node, "DELETE", &format!("/v2/keys/_etcd/registry/{token}?recursive=true"), "").0, 200);
    let last = members.pop().unwrap();
    let client = last.client;
    let peer = peer_of(members[0].client, "c3");
    terminate(last.child.id());
    drop(last);
    std::fs::remove_file(folder.path().join("c3.log")).unwrap();
    let mut again = ours.start("c3", [client, peer], &[]);
    again.wait_for_log(READY);
    members.push(again);
    is_one_cluster(&clients(&members), &["c1", "c2", "c3"]);
}
