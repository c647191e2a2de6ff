//! Requests that stop half-way and answers that nobody reads, many of them: memory stays bounded, each ends in time, and a client
//! beside them is served throughout.

#![allow(clippy::unwrap_used)]

mod common;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::beside::Beside;
use common::{TestCluster, WITHIN, resident_bytes, wait_for};
use corenode::remote::channel;
use corenode::wire::etcdserverpb::kv_client::KvClient;
use corenode::wire::etcdserverpb::{PutRequest, RangeRequest};
use hyper::Request;
use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

const MIB: usize = 1 << 20;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// Looks at a process's memory until it is dropped.
struct Watermark {
    highest: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Watermark {
    fn of(pid: u32) -> Self {
        let (highest, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (seen, ended) = (highest.clone(), stop.clone());
        std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                seen.fetch_max(resident_bytes(pid), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        Self { highest, stop }
    }

    fn highest(&self) -> u64 {
        self.highest.load(Ordering::Relaxed)
    }
}

impl Drop for Watermark {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

async fn h2(address: SocketAddr) -> h2::client::SendRequest<Bytes> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    client.ready().await.unwrap()
}

fn call(
    client: &mut h2::client::SendRequest<Bytes>,
    method: &str,
) -> (h2::client::ResponseFuture, h2::SendStream<Bytes>) {
    let request = Request::post(format!("http://h/etcdserverpb.KV/{method}"));
    let request = request.header("content-type", "application/grpc").header("te", "trailers");
    client.send_request(request.body(()).unwrap(), false).unwrap()
}

/// The larger part of a put over gRPC; says with which code it was refused.
async fn half_a_call(address: SocketAddr, part: Bytes) -> String {
    let mut client = h2(address).await;
    let (answer, mut sending) = call(&mut client, "Put");
    let head = [&[0][..], &(3 * MIB as u32 / 2).to_be_bytes()].concat();
    sending.send_data(head.into(), false).unwrap();
    // It may be refused before all is taken.
    let _ = sending.send_data(part, false);
    let answer = answer.await.unwrap();
    answer.headers()["grpc-status"].to_str().unwrap().to_owned()
}

/// The same over HTTP/1.1.
async fn half_a_form(address: SocketAddr, part: Bytes) -> String {
    let (mut reading, mut writing) = TcpStream::connect(address).await.unwrap().into_split();
    let head = format!("PUT /v2/keys/half HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\nvalue=", 3 * MIB / 2);
    let sending = tokio::spawn(async move {
        let _ = writing.write_all(head.as_bytes()).await;
        let _ = writing.write_all(&part).await;
        writing
    });
    let mut answer = [0; 12];
    let heard = reading.read_exact(&mut answer).await.map(|_| ());
    sending.abort();
    match heard {
        Ok(()) => String::from_utf8_lossy(&answer[9..]).into_owned(),
        // It was answered and closed while it sent more than was read.
        Err(error) => error.kind().to_string(),
    }
}

#[test]
fn a_thousand_half_sent_requests_take_bounded_memory_and_are_refused() {
    const EACH: usize = 500;
    const PART: usize = 7 * MIB / 5;
    let cluster = TestCluster::start(1);
    let node = &cluster.nodes[0];
    let address = node.client;
    let beside = Beside::start(address);
    wait_for("the client beside", Instant::now() + WITHIN, || (beside.served() > 10).then_some(()));
    let before = resident_bytes(node.pid());
    let watermark = Watermark::of(node.pid());
    let part = Bytes::from(vec![b'v'; PART]);
    let outcomes = runtime().block_on(async {
        let mut clients = JoinSet::new();
        for _ in 0..EACH {
            clients.spawn(half_a_call(address, part.clone()));
            clients.spawn(half_a_form(address, part.clone()));
        }
        tokio::time::timeout(WITHIN, clients.join_all()).await.expect("some are kept waiting")
    });
    let count = |wanted: &[&str]| outcomes.iter().filter(|outcome| wanted.contains(&outcome.as_str())).count();
    let (no_room, silent) = (count(&["8", "503"]), count(&["4", "408"]));
    let grown = watermark.highest().saturating_sub(before) as usize;
    println!("{no_room} found no room, {silent} stopped, {} MiB at most", grown / MIB);
    let reset = count(&["connection reset", "broken pipe", "unexpected end of file"]);
    assert_eq!(no_room + silent + reset, 2 * EACH, "{outcomes:?}");
    assert!(no_room > 0 && silent > 0 && reset < EACH, "{outcomes:?}");
    let sent = 2 * EACH * PART;
    assert!(grown < sent / 2, "{} MiB of {} MiB that were sent half", grown / MIB, sent / MIB);
    beside.end();
}

#[test]
fn answers_that_nobody_reads_are_let_go() {
    const VALUES: usize = 32;
    const READERS: usize = 48;
    let cluster = TestCluster::start(1);
    let node = &cluster.nodes[0];
    let address = node.client;
    let runtime = runtime();
    runtime.block_on(async {
        let channel = channel(&address.to_string().parse().unwrap(), WITHIN).await.unwrap();
        let mut client = KvClient::new(channel);
        for n in 0..VALUES {
            let (key, value) = (format!("large{n}").into(), vec![b'v'; MIB].into());
            let put = PutRequest { key, value, ..PutRequest::default() };
            client.put(put).await.unwrap();
        }
    });
    let beside = Beside::start(address);
    let before = resident_bytes(node.pid());
    let range = RangeRequest { key: "large".into(), range_end: "largf".into(), ..RangeRequest::default() };
    let message = range.encode_to_vec();
    let head = [&[0][..], &(message.len() as u32).to_be_bytes()].concat();
    let asked = Bytes::from([head, message].concat());
    let deaf = runtime.block_on(async {
        let mut deaf = Vec::new();
        for _ in 0..READERS {
            let mut client = h2(address).await;
            let (answer, mut sending) = call(&mut client, "Range");
            sending.send_data(asked.clone(), true).unwrap();
            let mut answer = tokio::time::timeout(WITHIN, answer).await.unwrap().unwrap().into_body();
            tokio::time::timeout(WITHIN, answer.data()).await.unwrap().unwrap().unwrap();
            deaf.push((client, answer));
        }
        deaf
    });
    let all = READERS * VALUES * MIB;
    wait_for("answers to be let go", Instant::now() + WITHIN, || {
        let grown = resident_bytes(node.pid()).saturating_sub(before) as usize;
        (grown < all / 2).then_some(())
    });
    drop(deaf);
    beside.end();
}
