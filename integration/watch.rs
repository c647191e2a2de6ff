//! Watches when it matters: a leader dies, a member restarts, history is compacted, a thousand listen and one does not read.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use common::{TestCluster, WITHIN, resident_bytes, wait_for};
use corenode::remote::channel;
use corenode::wire::etcdserverpb::kv_client::KvClient;
use corenode::wire::etcdserverpb::maintenance_client::MaintenanceClient;
use corenode::wire::etcdserverpb::watch_client::WatchClient;
use corenode::wire::etcdserverpb::watch_request::RequestUnion;
use corenode::wire::etcdserverpb::{
    CompactionRequest, PutRequest, StatusRequest, WatchCreateRequest, WatchRequest, WatchResponse,
};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tonic::Streaming;

const DIAL: Duration = Duration::from_secs(2);
const WATCHERS: usize = 9;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// Opens a watch of `key` (and all that begins with it) from `start_revision` on; 0: from now on.
async fn open(address: &str, key: &str, start_revision: i64) -> Result<Streaming<WatchResponse>, String> {
    let channel = channel(&address.parse().unwrap(), DIAL).await.map_err(|error| error.to_string())?;
    let range_end = corenode::kv::prefix_end(key.as_bytes());
    let create =
        WatchCreateRequest { key: key.to_owned().into(), range_end, start_revision, ..WatchCreateRequest::default() };
    let request = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
    // The end of the requests would end the watch.
    let requests = stream::iter([request]).chain(stream::pending());
    let answers = WatchClient::new(channel).watch(requests).await.map_err(|error| error.to_string())?;
    Ok(answers.into_inner())
}

async fn put(address: &str, key: &str, value: Vec<u8>) -> Option<i64> {
    let channel = channel(&address.parse().unwrap(), DIAL).await.ok()?;
    let request = PutRequest { key: key.to_owned().into(), value: value.into(), ..PutRequest::default() };
    KvClient::new(channel).put(request).await.ok().map(|reply| reply.into_inner().header.unwrap().revision)
}

/// Watches from `start` on, from node to node wherever it is cut off, until it has seen `last`. Returns the revisions that it saw.
async fn follow(addresses: Vec<String>, number: usize, start: i64, last: Arc<AtomicI64>) -> Vec<i64> {
    let mut seen: Vec<i64> = Vec::new();
    let mut at = number;
    loop {
        at += 1;
        let from = seen.last().map_or(start, |newest| newest + 1);
        let Ok(mut answers) = open(&addresses[at % addresses.len()], "k", from).await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        loop {
            let end = last.load(Ordering::Relaxed);
            if end > 0 && seen.last().is_some_and(|newest| *newest >= end) {
                return seen;
            }
            match tokio::time::timeout(Duration::from_millis(500), answers.next()).await {
                Ok(Some(Ok(answer))) => {
                    assert!(!answer.canceled, "cancelled: {answer:?}");
                    seen.extend(answer.events.iter().map(|event| event.kv.as_ref().unwrap().mod_revision));
                }
                Ok(_) => break,
                Err(_) => {}
            }
        }
    }
}

/// Each put makes one revision and there is nothing else in the user space, so that a watcher must see each number once.
#[test]
fn a_watch_misses_nothing_and_repeats_nothing_whatever_happens() {
    let mut cluster = TestCluster::start(3);
    let addresses: Vec<String> = cluster.nodes.iter().map(|node| node.client.to_string()).collect();
    let runtime = runtime();
    let (last, stop) = (Arc::new(AtomicI64::new(0)), Arc::new(AtomicBool::new(false)));
    let newest = Arc::new(AtomicI64::new(1));
    let writer = runtime.spawn({
        let (addresses, stop, newest) = (addresses.clone(), stop.clone(), newest.clone());
        async move {
            for number in 0.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                // One that fails may have been written all the same: that is one more revision.
                if let Some(revision) = put(&addresses[number % 3], &format!("k{}", number % 7), vec![b'v'; 40]).await {
                    newest.fetch_max(revision, Ordering::Relaxed);
                }
            }
        }
    });
    let reach = |revision: i64| {
        wait_for("writes", Instant::now() + WITHIN, || (newest.load(Ordering::Relaxed) >= revision).then_some(()));
    };
    reach(60);
    // From the past, from about now, and from the future.
    let watchers: Vec<_> = (0..WATCHERS)
        .map(|number| {
            let start = [2, 30, 60, 61, 75, 90][number % 6];
            (start, runtime.spawn(follow(addresses.clone(), number, start, last.clone())))
        })
        .collect();
    for round in 0..3 {
        let before = newest.load(Ordering::Relaxed);
        reach(before + 40);
        let leader = runtime.block_on(leader(&addresses));
        cluster.nodes[leader].kill_9();
        // All watchers are past it by the time that it is gone from history.
        let compacted = before - 20;
        reach(before + 80);
        runtime.block_on(compact(&addresses[(leader + 1) % 3], compacted));
        cluster.nodes[leader].start();
        cluster.nodes[leader].wait_until_it_serves();
        if round == 1 {
            let other = (leader + 1) % 3;
            cluster.nodes[other].terminate();
            cluster.nodes[other].start();
            cluster.nodes[other].wait_until_it_serves();
        }
    }
    stop.store(true, Ordering::Relaxed);
    runtime.block_on(async {
        tokio::time::timeout(WITHIN, writer).await.expect("the writer hangs").unwrap();
        let end = put(&addresses[0], "k-last", Vec::new()).await.unwrap();
        last.store(end, Ordering::Relaxed);
        for (start, watcher) in watchers {
            let seen = tokio::time::timeout(WITHIN, watcher).await.expect("a watcher misses the end").unwrap();
            let every: Vec<i64> = (start..=end).collect();
            assert_eq!(seen, every, "from {start}");
        }
    });
}

async fn leader(addresses: &[String]) -> usize {
    let deadline = Instant::now() + WITHIN;
    loop {
        for (at, address) in addresses.iter().enumerate() {
            let Ok(channel) = channel(&address.parse().unwrap(), DIAL).await else { continue };
            let Ok(status) = MaintenanceClient::new(channel).status(StatusRequest {}).await else { continue };
            let status = status.into_inner();
            if status.header.unwrap().member_id == status.leader {
                return at;
            }
        }
        assert!(Instant::now() < deadline, "no leader");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn compact(address: &str, revision: i64) {
    let channel = channel(&address.parse().unwrap(), WITHIN).await.unwrap();
    let request = CompactionRequest { revision, physical: true };
    KvClient::new(channel).compact(request).await.unwrap();
}

/// A thousand watchers read, one does not: the others hear all, and the one catches up when it reads.
#[test]
fn a_thousand_watchers_are_not_slowed_by_one_that_does_not_read() {
    const READERS: usize = 1_000;
    const PUTS: usize = 60;
    const LARGE: usize = 200;
    let cluster = TestCluster::start(1);
    let node = &cluster.nodes[0];
    let address = node.client.to_string();
    runtime().block_on(async {
        let mut deaf = open(&address, "large", 0).await.unwrap();
        deaf.next().await.unwrap().unwrap();
        let mut readers = Vec::new();
        for _ in 0..READERS {
            let mut answers = open(&address, "small", 0).await.unwrap();
            answers.next().await.unwrap().unwrap();
            readers.push(tokio::spawn(async move {
                let mut heard = 0;
                while heard < PUTS {
                    heard += answers.next().await.unwrap().unwrap().events.len();
                }
                heard
            }));
        }
        put_large(&address, LARGE).await;
        for _ in 0..PUTS {
            put(&address, "small", vec![b's'; 100]).await.unwrap();
        }
        for reader in readers {
            let heard = tokio::time::timeout(WITHIN, reader).await.expect("a reader waits for the deaf one").unwrap();
            assert_eq!(heard, PUTS);
        }
        catch_up(deaf, LARGE).await;
    });
}

const LARGE_BYTES: usize = 128 << 10;

/// Puts `count` values of [`LARGE_BYTES`] at one key.
async fn put_large(address: &str, count: usize) {
    let channel = channel(&address.parse().unwrap(), DIAL).await.unwrap();
    let putting = (0..count).map(|_| {
        let mut client = KvClient::new(channel.clone());
        let request =
            PutRequest { key: "large".into(), value: vec![b'l'; LARGE_BYTES].into(), ..PutRequest::default() };
        async move { client.put(request).await.map(drop) }
    });
    stream::iter(putting).buffer_unordered(4).try_collect::<()>().await.unwrap();
}

/// Reads a watch of large values to the end of them.
async fn catch_up(mut late: Streaming<WatchResponse>, count: usize) {
    let mut heard = 0;
    let catching_up = async {
        while heard < count {
            let answer = late.next().await.unwrap().unwrap();
            assert!(!answer.canceled, "{answer:?}");
            heard += answer.events.len();
        }
    };
    tokio::time::timeout(WITHIN, catching_up).await.expect("the deaf one does not catch up");
}

/// Each watcher of the past has copies of its own of what it is to be told.
#[test]
fn watchers_that_do_not_read_cost_little_memory() {
    const PUTS: usize = 512;
    const DEAF: usize = 24;
    let cluster = TestCluster::start(1);
    let node = &cluster.nodes[0];
    let address = node.client.to_string();
    runtime().block_on(async {
        put_large(&address, PUTS).await;
        let before = resident_bytes(node.pid());
        let mut deaf = Vec::new();
        for _ in 0..DEAF {
            deaf.push(open(&address, "large", 2).await.unwrap());
        }
        catch_up(open(&address, "large", 2).await.unwrap(), PUTS).await;
        let grown = resident_bytes(node.pid()).saturating_sub(before) as usize;
        let all = DEAF * PUTS * LARGE_BYTES;
        println!("grown by {} MiB, {} MiB are not read", grown >> 20, all >> 20);
        assert!(grown < all / 2, "{} MiB of {} MiB that are not read", grown >> 20, all >> 20);
        catch_up(deaf.pop().unwrap(), PUTS).await;
    });
}
