//! Members and clients that find a cluster by DNS: a small name server, and nodes in whose view of the file system it is the one to ask. Needs root.

#![allow(clippy::unwrap_used)]

mod common;

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Command, Output};

use common::machine::now;
use common::{NODE, TestNode, free_addresses, ok};
use corenode::net::tls::{Authority, request};
use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, SRV};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};

/// Answers from a list of service records: name, port. Every name ends at 127.0.0.1.
struct NameServer {
    ip: Ipv4Addr,
}

impl NameServer {
    fn start(records: Vec<(String, u16)>) -> Self {
        // An address of its own on loopback, so that port 53 is free.
        let (ip, socket) = (0..64)
            .find_map(|_| {
                let [a, b, c] = rand::random::<[u8; 3]>();
                let ip = Ipv4Addr::new(127, a.max(1), b, c.max(1));
                Some((ip, UdpSocket::bind((ip, 53)).ok()?))
            })
            .expect("port 53 needs root");
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                let Ok(asked) = Message::from_vec(&buffer[..length]) else { continue };
                let _ = socket.send_to(&answer(&asked, &records), from);
            }
        });
        Self { ip }
    }

    /// A command that sees this name server as its machine's.
    fn seen_by(&self, folder: &Path, command: &Command) -> Command {
        let file = folder.join("resolv.conf");
        std::fs::write(&file, format!("nameserver {}\n", self.ip)).unwrap();
        let mut within = Command::new("unshare");
        within.args(["-m", "sh", "-c", "mount --bind \"$0\" \"$(readlink -f /etc/resolv.conf)\" && exec \"$@\""]);
        within.arg(file).arg(command.get_program()).args(command.get_args()).env_remove("NOTIFY_SOCKET");
        within
    }
}

fn answer(asked: &Message, records: &[(String, u16)]) -> Vec<u8> {
    let query = asked.queries.first().cloned().unwrap_or_default();
    let name = query.name().to_string().trim_end_matches('.').to_lowercase();
    let mut answer = Message::response(asked.metadata.id, asked.metadata.op_code);
    answer.add_query(query.clone());
    let target = || Name::from_ascii("members.test.").unwrap();
    for (_, port) in records.iter().filter(|(of, _)| *of == name && query.query_type() == RecordType::SRV) {
        answer.add_answer(Record::from_rdata(query.name().clone(), 60, RData::SRV(SRV::new(0, 0, *port, target()))));
    }
    if name == "members.test" && query.query_type() == RecordType::A {
        answer.add_answer(Record::from_rdata(query.name().clone(), 60, RData::A(A(Ipv4Addr::LOCALHOST))));
    } else if answer.answers.is_empty() && name != "members.test" {
        answer.metadata.response_code = ResponseCode::NXDomain;
    }
    answer.to_vec().unwrap()
}

fn node(folder: &Path, name: &str, peer: SocketAddr, client: SocketAddr, scheme: &str) -> TestNode {
    let mut node = TestNode::new(&folder.join(name), name, peer, client, "");
    let advertised = format!("{scheme}://{peer}");
    node.more.extend(["--discovery-srv", "test", "--peer-advertise", &advertised].map(str::to_owned));
    node
}

fn start(node: &mut TestNode, names: &NameServer) {
    let log = File::options().create(true).append(true).open(node.dir.join("log")).unwrap();
    let command = names.seen_by(&node.dir, &node.command());
    node.start_as(command, log);
}

fn etcdctl(names: &NameServer, folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(NODE);
    command.arg("etcdctl").args(arguments);
    names.seen_by(folder, &command).output().unwrap()
}

#[test]
fn three_members_find_each_other_by_dns_and_clients_find_them() {
    let folder = tempfile::Builder::new().prefix("corenode-srv-").tempdir().unwrap();
    let addresses = free_addresses(6);
    let mut records: Vec<(String, u16)> =
        addresses[..3].iter().map(|peer| ("_etcd-server._tcp.test".to_owned(), peer.port())).collect();
    records.extend(addresses[3..].iter().map(|client| ("_etcd-client._tcp.test".to_owned(), client.port())));
    let names = NameServer::start(records);
    let mut nodes: Vec<TestNode> = (0..3)
        .map(|at| node(folder.path(), &format!("n{}", at + 1), addresses[at], addresses[at + 3], "http"))
        .collect();
    nodes.iter_mut().for_each(|node| start(node, &names));
    nodes.iter_mut().for_each(TestNode::wait_until_it_serves);
    let members = ok("etcdctl", &nodes[0].endpoint(), &["member", "list"]);
    assert_eq!(members.matches("started").count(), 3, "{members}");
    assert!(nodes[0].log().contains("the members of discovery_srv are insecure"), "{}", nodes[0].log());
    for api in ["put a 1", "--insecure-discovery set /b 2"] {
        let words: Vec<&str> = ["--discovery-srv", "test"].into_iter().chain(api.split(' ')).collect();
        let done = etcdctl(&names, folder.path(), &words);
        assert!(done.status.success(), "{words:?}: {done:?}");
    }
    let none = etcdctl(&names, folder.path(), &["--discovery-srv", "elsewhere", "get", "a"]);
    assert!(String::from_utf8_lossy(&none.stderr).contains("_etcd-client-ssl._tcp.elsewhere"), "{none:?}");

    // A later start does without the records; members' addresses are names still.
    nodes[2].kill_9();
    let no_records = NameServer::start(Vec::new());
    start(&mut nodes[2], &no_records);
    nodes[2].wait_until_it_serves();

    // One that no record names is told what there is.
    let addresses = free_addresses(2);
    let mut stranger = node(folder.path(), "n4", addresses[0], addresses[1], "http");
    stranger.more.extend(["--discovery-wait", "2s"].map(str::to_owned));
    start(&mut stranger, &names);
    assert!(!stranger.wait_for_end().success());
    let log = stranger.log();
    assert!(log.contains("no record names an address of this member") && log.contains("set peer.advertise"), "{log}");
}

#[test]
fn with_an_authority_only_those_it_vouches_for_are_members() {
    let folder = tempfile::Builder::new().prefix("corenode-srv-").tempdir().unwrap();
    let addresses = free_addresses(4);
    let records = addresses[..2].iter().map(|peer| ("_etcd-server-ssl._tcp.test".to_owned(), peer.port())).collect();
    let names = NameServer::start(records);
    let (authority, _) = Authority::found("test", now()).unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, authority.certificate()).unwrap();
    let mut nodes: Vec<TestNode> = (0..2)
        .map(|at| {
            let mut node = node(folder.path(), &format!("n{}", at + 1), addresses[at], addresses[at + 2], "https");
            let asked = request(&["members.test".to_owned(), "127.0.0.1".to_owned()]).unwrap();
            let certificate = authority.admit_member(&asked.text, now(), 5).unwrap();
            let (cert, key) = (node.dir.join("cert.pem"), node.dir.join("key.pem"));
            std::fs::write(&cert, certificate).unwrap();
            std::fs::write(&key, asked.key).unwrap();
            let files = [("--peer-cert-file", cert), ("--peer-key-file", key), ("--peer-trusted-ca-file", ca.clone())];
            node.more.extend(files.into_iter().flat_map(|(flag, file)| [flag.to_owned(), file.display().to_string()]));
            node.more.extend(["--peer-client-cert-auth".to_owned(), "true".to_owned()]);
            node
        })
        .collect();
    nodes.iter_mut().for_each(|node| start(node, &names));
    nodes.iter_mut().for_each(TestNode::wait_until_it_serves);
    let members = ok("etcdctl", &nodes[0].endpoint(), &["member", "list"]);
    assert!(members.matches("https://members.test").count() == 2, "{members}");
    let log = nodes[0].log();
    assert!(
        log.contains("the members of discovery_srv are let in with a certificate that") && !log.contains("insecure"),
        "{log}"
    );
}
