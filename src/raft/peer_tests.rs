//! What members say to each other, and whom they do not talk to.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::test_cluster::{TestCluster, put, within};
use super::{PeerHandler, PeerStream};
use crate::base::{BoxFuture, MemberId};
use crate::kv::{Op, Store, StoreError};

/// Answers every call with the numbers up to the one asked for, or for ever.
struct Counting {
    dropped: Arc<tokio::sync::Semaphore>,
}

struct Count {
    next: u64,
    end: u64,
    dropped: Arc<tokio::sync::Semaphore>,
}

impl PeerHandler for Counting {
    fn handle(&self, from: MemberId, payload: Bytes) -> BoxFuture<'_, Result<Box<dyn PeerStream>, String>> {
        Box::pin(async move {
            let text = String::from_utf8(payload.to_vec()).map_err(|error| error.to_string())?;
            let end = text.parse().map_err(|error| format!("{from} asks for `{text}`: {error}"))?;
            Ok(Box::new(Count { next: 0, end, dropped: self.dropped.clone() }) as Box<dyn PeerStream>)
        })
    }
}

impl PeerStream for Count {
    fn next(&mut self) -> BoxFuture<'_, Option<Result<Bytes, String>>> {
        Box::pin(async move {
            let number = (self.next < self.end).then_some(self.next)?;
            self.next += 1;
            Some(Ok(number.to_string().into()))
        })
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        self.dropped.add_permits(1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_stream_until_either_side_hangs_up() {
    let mut cluster = TestCluster::prepare(11, 2);
    let dropped = Arc::new(tokio::sync::Semaphore::new(0));
    cluster.handler = Arc::new(Counting { dropped: dropped.clone() });
    cluster.start_all().await;
    let (near, far) = (cluster.store(0), cluster.peers[1].id);
    for member in [far, cluster.peers[0].id] {
        let mut stream = within("a call", near.call(member, "1000".into())).await.unwrap();
        let mut numbers = Vec::new();
        while let Some(piece) = within("a piece", stream.next()).await {
            numbers.push(String::from_utf8(piece.unwrap().to_vec()).unwrap().parse::<u64>().unwrap());
        }
        assert_eq!(numbers, (0..1_000).collect::<Vec<_>>());
        drop(stream);
        within("the handler's end", dropped.acquire()).await.unwrap().forget();
    }
    // What the handler refuses is told.
    let mut refused = near.call(far, "many".into()).await.unwrap();
    let error = within("a piece", refused.next()).await.unwrap().unwrap_err();
    assert!(error.to_string().contains("asks for `many`"), "{error}");
    assert!(within("the end", refused.next()).await.is_none());
    // The caller hangs up: the handler's stream goes away.
    let mut endless = near.call(far, u64::MAX.to_string().into()).await.unwrap();
    within("a piece", endless.next()).await.unwrap().unwrap();
    drop(endless);
    within("the handler's end", dropped.acquire()).await.unwrap().forget();
    // The other side goes away: the caller is told.
    let mut endless = near.call(far, u64::MAX.to_string().into()).await.unwrap();
    within("a piece", endless.next()).await.unwrap().unwrap();
    let error = near.call(MemberId(99), Bytes::new()).await.err().unwrap();
    assert!(error.to_string().contains("no member 63"), "{error}");
    let store = cluster.nodes[0].as_ref().unwrap().store.clone();
    cluster.kill(1).await;
    within("the news", async { while !matches!(endless.next().await, Some(Err(_))) {} }).await;
    let error = store.call(far, Bytes::new()).await.err().unwrap();
    assert!(matches!(error, super::PeerError::NotSent(_)), "{error}");
    drop(store);
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_on_the_peer_port_does_no_harm() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let cluster = TestCluster::start(12, 1).await;
    let address = &cluster.address(0);
    let huge = [[0xff, 0xff, 0xff, 0xff].as_slice(), &[0; 1 << 16]].concat();
    for noise in [b"GET / HTTP/1.1\r\n\r\n".as_slice(), &[0; 64], &huge, &[]] {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        // The other side may have hung up already, which is what is expected of it.
        let _ = stream.write_all(noise).await;
        let _ = stream.shutdown().await;
        let mut rest = Vec::new();
        let _ = within("hanging up", stream.read_to_end(&mut rest)).await;
    }
    put(cluster.store(0), "a", "1").await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_clusters_do_not_mix() {
    let one = TestCluster::start(8, 1).await;
    let mut other = TestCluster::prepare(9, 2);
    // The second member of the other cluster is looked for where the first cluster listens.
    other.peers[1].urls = one.peers[0].urls.clone();
    other.start_node(0).await;
    let error = other.store(0).write(Op::put("a", "1")).await.unwrap_err();
    let StoreError::NoQuorum { missing, .. } = &error else { panic!("{error}") };
    assert!(missing.contains("belongs to cluster 9") && missing.contains("to cluster 8"), "{missing}");
    let (_, why) = other.store(0).status().peers[0].silent.clone().unwrap();
    assert!(why.contains("cluster"), "{why}");
    put(one.store(0), "a", "1").await;
    one.end().await;
    other.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_process_of_the_same_member_is_refused() {
    let mut cluster = TestCluster::start(19, 2).await;
    put(cluster.store(0), "a", "1").await;
    let mut double = TestCluster::prepare(19, 2);
    double.peers[0].urls = cluster.peers[0].urls.clone();
    double.start_node(1).await;
    type Silence = Option<(Duration, String)>;
    let view = async |wanted: &dyn Fn(&Silence) -> bool| {
        within("another view of the peer", async {
            while !wanted(&double.store(1).status().peers[0].silent) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
        .await;
    };
    let refused = "another process already runs as member 2";
    view(&|silent| silent.as_ref().is_some_and(|(_, why)| why.contains(refused))).await;
    put(cluster.store(1), "a", "2").await;
    // Once the first one is gone, the name is free.
    cluster.kill(1).await;
    view(&Option::is_none).await;
    cluster.end().await;
    double.end().await;
}
