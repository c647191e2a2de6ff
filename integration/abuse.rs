//! Clients that ask for too much or speak another language, on both ports: each hears why or is closed in time, and one beside
//! them is served throughout.

#![allow(clippy::unwrap_used)]

mod common;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use common::beside::Beside;
use common::{TestCluster, WITHIN, ok};
use corenode::remote::channel;
use corenode::wire::etcdserverpb::kv_client::KvClient;
use corenode::wire::etcdserverpb::request_op::Request as Op;
use corenode::wire::etcdserverpb::{PutRequest, RequestOp, TxnRequest};
use tonic::Code;

/// The beginning of a TLS connection: a record of a handshake, a hello of TLS 1.2, and what a random number is made of.
const TLS_HELLO: [u8; 48] = {
    let mut hello = [7; 48];
    let head = [22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3];
    let mut at = 0;
    while at < head.len() {
        hello[at] = head[at];
        at += 1;
    }
    hello
};

/// Sends bytes and reads what comes until the other side closes, which it must do by itself.
fn tell(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(WITHIN)).unwrap();
    // It may be closed before all is written.
    let _ = stream.write_all(bytes);
    let mut heard = Vec::new();
    if let Err(error) = stream.read_to_end(&mut heard) {
        let kind = error.kind();
        assert_eq!(kind, std::io::ErrorKind::ConnectionReset, "not closed: {error}");
    }
    String::from_utf8_lossy(&heard).into_owned()
}

fn put(bytes: usize) -> PutRequest {
    PutRequest { key: "k".into(), value: vec![b'v'; bytes].into(), ..PutRequest::default() }
}

#[test]
fn requests_beyond_a_limit_are_refused_as_etcd_does() {
    let cluster = TestCluster::start(1);
    let address = cluster.nodes[0].client;
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let channel = channel(&address.to_string().parse().unwrap(), WITHIN).await.unwrap();
        let mut client = KvClient::new(channel);
        let large = client.put(put(1_600_000)).await.unwrap_err();
        assert_eq!((large.code(), large.message()), (Code::InvalidArgument, "etcdserver: request is too large"));
        let larger = client.put(put(3_000_000)).await.unwrap_err();
        assert_eq!(larger.code(), Code::ResourceExhausted);
        let text = larger.message();
        assert!(
            text.starts_with("grpc: received message larger than max (30000") && text.ends_with(" vs. 2097152)"),
            "{text}"
        );
        let op = |n: usize| {
            let put = PutRequest { key: format!("k{n}").into(), ..PutRequest::default() };
            RequestOp { request: Some(Op::RequestPut(put)) }
        };
        let txn = TxnRequest { success: (0..129).map(op).collect(), ..TxnRequest::default() };
        let many = client.txn(txn).await.unwrap_err();
        assert_eq!(
            (many.code(), many.message()),
            (Code::InvalidArgument, "etcdserver: too many operations in txn request")
        );
        // The client's library keeps to the number of streams that the node announces.
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let (client, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let client = client.ready().await.unwrap();
        let deadline = Instant::now() + WITHIN;
        while client.current_max_send_streams() != 16_384 {
            assert!(Instant::now() < deadline, "{} streams", client.current_max_send_streams());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
}

/// An HTTP/2 connection's opening, and then these bytes.
fn after_preface(frame: &[u8]) -> Vec<u8> {
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &settings[..], frame].concat()
}

#[test]
fn garbage_on_the_client_port_is_answered_or_closed() {
    let cluster = TestCluster::start(1);
    let address = cluster.nodes[0].client;
    let beside = Beside::start(address);
    let random: Vec<u8> = std::iter::repeat_with(rand::random).take(100_000).collect();
    let long_line = format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "a".repeat(200_000));
    let long_header = format!("GET /version HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "a".repeat(200_000));
    let many_headers = format!("GET /version HTTP/1.1\r\nHost: h\r\n{}\r\n", "X: y\r\n".repeat(500));
    let twice = "POST /v3/kv/put HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}";
    let giant = "PUT /v2/keys/a HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999\r\n\r\nvalue=";
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("random bytes", random.clone(), ""),
        ("a TLS hello", TLS_HELLO.to_vec(), "HTTP/1.1 400 "),
        ("another protocol", b"SSH-2.0-OpenSSH_9.6 and a few more bytes\r\n\r\n".to_vec(), "HTTP/1.1 400 "),
        ("HTTP/1.0", b"GET /version HTTP/1.0\r\n\r\n".to_vec(), "HTTP/1.0 200 "),
        ("HTTP/3.7", b"GET /version HTTP/3.7\r\nHost: h\r\n\r\n".to_vec(), "HTTP/1.1 400 "),
        ("a long line", long_line.into_bytes(), "HTTP/1.1 4"),
        ("a long header", long_header.into_bytes(), "HTTP/1.1 431 "),
        ("many headers", many_headers.into_bytes(), "HTTP/1.1 431 "),
        ("two lengths", twice.as_bytes().to_vec(), "HTTP/1.1 400 "),
        ("a giant that is announced", giant.as_bytes().to_vec(), "HTTP/1.1 400 "),
        ("HTTP/2 and then noise", after_preface(&[&[255; 3], &random[..]].concat()), ""),
        ("a frame of 16 MiB", after_preface(&[255, 255, 255, 0, 0, 0, 0, 0, 1]), ""),
        ("data on no stream", after_preface(&[0, 0, 1, 0, 0, 0, 0, 0, 0, 7]), ""),
        (
            "headers that end nowhere",
            after_preface(&[0, 0, 9, 1, 4, 0, 0, 0, 1, 255, 255, 255, 255, 255, 255, 255, 255, 255]),
            "",
        ),
    ];
    for (what, bytes, expected) in cases {
        let heard = tell(address, &bytes);
        assert!(heard.starts_with(expected), "{what}: {heard}");
    }
    beside.end();
}

#[test]
fn garbage_on_the_peer_port_keeps_no_member_out_and_fills_no_log() {
    const SILENT: usize = 600;
    let mut cluster = TestCluster::start(3);
    let (peer, client) = (cluster.nodes[0].peer, cluster.nodes[0].client);
    let beside = Beside::start(client);
    let began = Instant::now();
    // A crowd that says nothing, larger than there are places: the first of it goes at once, the rest in time.
    let silent: Vec<TcpStream> = (0..SILENT).map(|_| TcpStream::connect(peer).unwrap()).collect();
    let http = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";
    let random: Vec<u8> = std::iter::repeat_with(rand::random).take(10_000).collect();
    for noise in [&http[..], &TLS_HELLO, &random, &[255; 64], &[0, 0, 0, 4, 1, 2, 3, 4]] {
        for _ in 0..20 {
            assert_eq!(tell(peer, noise), "", "a stranger is answered");
        }
    }
    // A member that comes anew finds its way through them; not the leader, whose loss the client beside would notice.
    let status = || ok("ctl", "", &["status", "--endpoint", &format!("http://{client}")]);
    let follower = if status().contains("leader    n2 ") { 2 } else { 1 };
    cluster.nodes[follower].kill_9();
    let more: Vec<TcpStream> = (0..SILENT).map(|_| TcpStream::connect(peer).unwrap()).collect();
    cluster.nodes[follower].start();
    cluster.nodes[follower].wait_until_it_serves();
    for mut stream in silent.into_iter().chain(more) {
        stream.set_read_timeout(Some(WITHIN)).unwrap();
        let closed = stream.read(&mut [0; 16]);
        assert!(
            matches!(closed, Ok(0)) || closed.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset)
        );
    }
    let seconds = began.elapsed().as_secs() as usize + 1;
    let log = cluster.nodes[0].log();
    let told = log.lines().filter(|line| line.contains("peer connection refused")).count();
    assert!(0 < told && told <= 4 * (seconds + 1), "{told} lines in {seconds} s\n{log}");
    beside.end();
}
