//! Clients that stop half-way, take nothing or come in crowds: each is refused in words or closed in time, and others are served.

#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use hyper::{HeaderMap, Request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tonic::transport::Channel;

use super::bounds::Bounds;
use super::test_store::{House, Talk, house_within, soon};
use crate::base::limits::{BODY_BEGINNING_BYTES, GRPC_MESSAGE_BYTES_MAX};
use crate::kv::Op;
use crate::wire::etcdserverpb::kv_client::KvClient;
use crate::wire::etcdserverpb::{PutRequest, RangeRequest};

const SHORT: Duration = Duration::from_millis(200);
const PUT: &str = "/etcdserverpb.KV/Put";
const WATCH: &str = "/etcdserverpb.Watch/Watch";

async fn h2(address: SocketAddr) -> SendRequest<Bytes> {
    let stream = soon(TcpStream::connect(address)).await.unwrap();
    let (client, connection) = soon(h2::client::handshake(stream)).await.unwrap();
    tokio::spawn(connection);
    soon(client.ready()).await.unwrap()
}

/// Begins a call of gRPC and sends `bytes` of it.
fn begin(client: &mut SendRequest<Bytes>, path: &str, bytes: Vec<u8>) -> (ResponseFuture, h2::SendStream<Bytes>) {
    let request =
        Request::post(format!("http://h{path}")).header("content-type", "application/grpc").header("te", "trailers");
    let (answer, mut sending) = client.send_request(request.body(()).unwrap(), false).unwrap();
    sending.send_data(bytes.into(), false).unwrap();
    (answer, sending)
}

/// The head of a message of `bytes`, and so many of them.
fn part_of_message(bytes: usize, sent: usize) -> Vec<u8> {
    let mut part = vec![0];
    part.extend_from_slice(&(bytes as u32).to_be_bytes());
    part.resize(5 + sent, 0);
    part
}

/// What a call is refused with: code and text.
async fn refusal(answer: ResponseFuture) -> (String, String) {
    let headers: HeaderMap = soon(answer).await.unwrap().into_parts().0.headers;
    let text = |name| headers[name].to_str().unwrap().replace("%20", " ");
    (text("grpc-status"), text("grpc-message"))
}

async fn put(house: &House, bytes: usize) -> Result<(), tonic::Status> {
    let endpoint = Channel::from_shared(format!("http://{}", house.address)).unwrap();
    let mut client = KvClient::new(soon(endpoint.connect()).await.unwrap());
    let request = PutRequest { key: "k".into(), value: vec![b'v'; bytes].into(), ..PutRequest::default() };
    soon(client.put(request)).await.map(drop)
}

#[tokio::test]
async fn a_connection_that_says_nothing_or_not_enough_is_closed() {
    let house = house_within(Bounds { first_bytes: SHORT, headers: SHORT, ..Bounds::default() }).await;
    for noise in ["", "PRI * HTTP", "GET /version HTTP/1.1\r\nHost: h\r\nX-Half"] {
        let mut silent = TcpStream::connect(house.address).await.unwrap();
        silent.write_all(noise.as_bytes()).await.unwrap();
        let mut heard = Vec::new();
        // An end or a reset, both are closed.
        let _ = soon(silent.read_to_end(&mut heard)).await;
    }
    put(&house, 10).await.unwrap();
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_for_a_place() {
    let house = house_within(Bounds { connections: 1, first_bytes: SHORT, ..Bounds::default() }).await;
    let _first = TcpStream::connect(house.address).await.unwrap();
    put(&house, 10).await.unwrap();
}

#[tokio::test]
async fn a_body_that_stops_is_answered() {
    let house = house_within(Bounds { body_silent: SHORT, ..Bounds::default() }).await;
    let mut talk = Talk::to(house.address).await;
    let head = "PUT /v2/keys/a HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nvalue=";
    talk.stream.write_all(head.as_bytes()).await.unwrap();
    let answer = talk.rest().await;
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("nothing more of the request's body"), "{answer}");
    let mut client = h2(house.address).await;
    let (half, _sending) = begin(&mut client, PUT, part_of_message(1_000, 100));
    let (code, text) = refusal(half).await;
    assert!(code == "4" && text.contains("nothing more of the request's body"), "{code} {text}");
}

#[tokio::test]
async fn a_body_that_comes_drop_by_drop_is_answered() {
    let house = house_within(Bounds { body: SHORT, ..Bounds::default() }).await;
    let mut client = h2(house.address).await;
    let (answer, mut sending) = begin(&mut client, PUT, part_of_message(100_000, 1));
    let dropping = async {
        while sending.send_data(Bytes::from_static(b"."), false).is_ok() {
            tokio::time::sleep(SHORT / 20).await;
        }
        std::future::pending().await
    };
    let (code, text) = tokio::select! {
        refusal = refusal(answer) => refusal,
        () = dropping => unreachable!("it is pending"),
    };
    assert!(code == "4" && text.contains("did not arrive within"), "{code} {text}");
}

#[tokio::test]
async fn a_stream_may_be_silent_between_its_messages_only() {
    let house = house_within(Bounds { body_silent: SHORT, body: SHORT, ..Bounds::default() }).await;
    let mut client = h2(house.address).await;
    let (watch, mut sending) = begin(&mut client, WATCH, part_of_message(0, 0));
    let mut answers = soon(watch).await.unwrap().into_body();
    tokio::time::sleep(SHORT * 3).await;
    assert!(futures_util::FutureExt::now_or_never(answers.data()).is_none(), "a silent stream was ended");
    sending.send_data(part_of_message(100, 1).into(), false).unwrap();
    while let Some(data) = soon(answers.data()).await {
        assert_eq!(data.unwrap(), "");
    }
}

#[tokio::test]
async fn a_message_that_is_too_large_is_refused_as_by_etcd() {
    let house = house_within(Bounds::default()).await;
    let mut client = h2(house.address).await;
    let bytes = GRPC_MESSAGE_BYTES_MAX + 1;
    let (answer, _sending) = begin(&mut client, PUT, part_of_message(bytes, 0));
    let expected = format!("grpc: received message larger than max ({bytes} vs. {GRPC_MESSAGE_BYTES_MAX})");
    assert_eq!(refusal(answer).await, ("8".to_owned(), expected));
    let refused = put(&house, bytes).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::ResourceExhausted, "{refused}");
}

#[tokio::test]
async fn large_requests_share_a_budget_and_small_ones_pass() {
    const HALF: usize = 60_000;
    let bounds = Bounds { bodies_bytes: 100_000, room: SHORT, ..Bounds::default() };
    let house = house_within(bounds).await;
    let mut client = h2(house.address).await;
    let mut halves: Vec<_> = (0..2).map(|_| begin(&mut client, PUT, part_of_message(1_000_000, HALF))).collect();
    // One of them found no room for all of its part, or the next one finds none.
    put(&house, BODY_BEGINNING_BYTES / 2).await.unwrap();
    let refused = put(&house, 200_000).await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (tonic::Code::ResourceExhausted, "etcdserver: too many requests"));
    let mut talk = Talk::to(house.address).await;
    let head = format!(
        "PUT /v2/keys/a HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\nvalue={}",
        400_000,
        "v".repeat(200_000)
    );
    talk.stream.write_all(head.as_bytes()).await.unwrap();
    let answer = talk.rest().await;
    assert!(
        answer.starts_with("HTTP/1.1 503 ") && answer.contains("100000 bytes of requests are arriving"),
        "{answer}"
    );
    halves.clear();
    drop(client);
    put(&house, 70_000).await.unwrap();
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_its_answer_is_dropped() {
    let house = house_within(Bounds { unread: SHORT, connections: 1, ..Bounds::default() }).await;
    for n in 0..8 {
        house.store.apply(Op::put(format!("k{n}"), "v".repeat(1 << 20)));
    }
    // The system takes less than all of it.
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(64 << 10).unwrap();
    let mut deaf = soon(socket.connect(house.address)).await.unwrap();
    let body = r#"{"key":"aw==","range_end":"bA=="}"#;
    let ask = format!("POST /v3/kv/range HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    deaf.write_all(ask.as_bytes()).await.unwrap();
    // There is one place.
    put(&house, 10).await.unwrap();
    let mut heard = Vec::new();
    let _ = soon(deaf.read_to_end(&mut heard)).await;
    assert!(heard.len() < 8 << 20, "all of it was kept");
    // On a connection that lives the answer alone breaks off.
    let mut client = h2(house.address).await;
    let range = prost::Message::encode_to_vec(&RangeRequest {
        key: "k".into(),
        range_end: "l".into(),
        ..RangeRequest::default()
    });
    let mut call = part_of_message(range.len(), 0);
    call.extend_from_slice(&range);
    let (answer, mut sending) = begin(&mut client, "/etcdserverpb.KV/Range", call);
    sending.send_data(Bytes::new(), true).unwrap();
    let mut answer = soon(answer).await.unwrap().into_body();
    let first = soon(answer.data()).await.unwrap().unwrap();
    tokio::time::sleep(SHORT * 5).await;
    answer.flow_control().release_capacity(first.len()).unwrap();
    let broken = async {
        loop {
            match answer.data().await {
                Some(Ok(data)) => answer.flow_control().release_capacity(data.len()).unwrap(),
                end => return end,
            }
        }
    };
    assert!(soon(broken).await.unwrap().is_err());
    let (after, mut sending) = begin(&mut client, PUT, part_of_message(0, 0));
    sending.send_data(Bytes::new(), true).unwrap();
    assert_eq!(refusal(after).await.1, "etcdserver: key is not provided");
}
