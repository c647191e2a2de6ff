//! Members in one process, each on a runtime of its own so that it can be killed as a whole, talking over loopback.

#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use super::{NoCalls, Options, Peer, PeerHandler, PeerStream, RaftStore, SnapshotThresholds, StartError};
use crate::base::{BoxFuture, Clock, ClusterId, LeaseId, MemberId, Random, UnixMillis};
use crate::kv::{
    Applied, Consistency, Event, Op, Position, PutRequest, RangeRequest, Reply, Space, Store, StoreError, WatchRequest,
    WatchStart, WatchStream,
};

/// No wait of a test is longer.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> UnixMillis {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        UnixMillis(since.as_millis() as i64)
    }
}

pub(super) struct Dice;

impl Random for Dice {
    fn next_u64(&self) -> u64 {
        rand::random()
    }
}

/// A folder in memory where there is one: what is tested here does not depend on the disk's speed.
pub(super) fn scratch_dir() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

pub(super) struct TestNode {
    pub store: Arc<RaftStore>,
    runtime: tokio::runtime::Runtime,
}

pub(super) struct TestCluster {
    pub cluster: ClusterId,
    pub peers: Vec<Peer>,
    pub snapshot: SnapshotThresholds,
    pub handler: Arc<dyn PeerHandler>,
    listeners: Vec<Option<std::net::TcpListener>>,
    pub nodes: Vec<Option<TestNode>>,
    dir: tempfile::TempDir,
}

impl TestCluster {
    /// A cluster of `size` members that are not started yet.
    pub fn prepare(cluster: u64, size: usize) -> Self {
        let listeners: Vec<_> = (0..size).map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let peer = |(n, listener): (usize, &std::net::TcpListener)| Peer {
            id: MemberId(n as u64 + 1),
            name: format!("n{}", n + 1),
            address: listener.local_addr().unwrap().to_string(),
        };
        Self {
            cluster: ClusterId(cluster),
            peers: listeners.iter().enumerate().map(peer).collect(),
            snapshot: SnapshotThresholds::default(),
            handler: Arc::new(NoCalls),
            listeners: listeners.into_iter().map(Some).collect(),
            nodes: (0..size).map(|_| None).collect(),
            dir: scratch_dir(),
        }
    }

    pub async fn start(cluster: u64, size: usize) -> Self {
        let mut this = Self::prepare(cluster, size);
        this.start_all().await;
        this
    }

    pub async fn start_all(&mut self) {
        for n in 0..self.nodes.len() {
            self.start_node(n).await;
        }
    }

    pub fn data_dir(&self, n: usize) -> PathBuf {
        self.dir.path().join(format!("n{n}"))
    }

    pub async fn start_node(&mut self, n: usize) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let listener = match self.listeners[n].take() {
            Some(listener) => {
                listener.set_nonblocking(true).unwrap();
                let _entered = runtime.enter();
                tokio::net::TcpListener::from_std(listener).unwrap()
            }
            None => {
                let address = self.peers[n].address.clone();
                runtime.spawn(async move { tokio::net::TcpListener::bind(address).await.unwrap() }).await.unwrap()
            }
        };
        let options = self.options(n, listener);
        let store = runtime.spawn(RaftStore::start(options)).await.unwrap().unwrap();
        self.nodes[n] = Some(TestNode { store, runtime });
    }

    fn options(&self, n: usize, listener: tokio::net::TcpListener) -> Options {
        Options {
            cluster: self.cluster,
            member: self.peers[n].id,
            name: self.peers[n].name.clone(),
            peers: self.peers.clone(),
            data_dir: self.data_dir(n),
            listener,
            heartbeat_ms: 50,
            election_ms: 500,
            clock: Arc::new(SystemClock),
            random: Arc::new(Dice),
            snapshot: self.snapshot,
            wal_segment_bytes: 1 << 20,
            handler: self.handler.clone(),
        }
    }

    /// Starts a first member on another directory; for what is to be refused.
    async fn try_start(&self, peers: Vec<Peer>, data_dir: PathBuf) -> Result<(), StartError> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let options = Options { member: peers[0].id, peers, data_dir, ..self.options(0, listener) };
        RaftStore::start(options).await.map(drop)
    }

    pub fn store(&self, n: usize) -> &RaftStore {
        &self.nodes[n].as_ref().unwrap().store
    }

    /// Ends a member in the middle of whatever it does.
    pub async fn kill(&mut self, n: usize) {
        let TestNode { store, runtime } = self.nodes[n].take().unwrap();
        drop(store);
        tokio::task::spawn_blocking(move || runtime.shutdown_timeout(PATIENCE)).await.unwrap();
    }

    /// Ends a member in order.
    pub async fn stop(&mut self, n: usize) {
        let TestNode { store, runtime } = self.nodes[n].take().unwrap();
        let ending = runtime.spawn(async move { store.stop().await });
        within("a stop", ending).await.unwrap();
        tokio::task::spawn_blocking(move || runtime.shutdown_timeout(PATIENCE)).await.unwrap();
    }

    pub async fn end(mut self) {
        for n in 0..self.nodes.len() {
            if self.nodes[n].is_some() {
                self.kill(n).await;
            }
        }
    }

    /// Waits until a member has let go of its log up to `index`.
    async fn purged(&self, n: usize, index: u64) {
        let wait = self.store(n).node.raft.wait(Some(PATIENCE));
        wait.metrics(|metrics| metrics.purged.is_some_and(|id| id.index >= index), "purge").await.unwrap();
    }

    /// The index of the leader, once one of those that run leads.
    pub async fn leader(&self) -> usize {
        let running = self.nodes.iter().position(Option::is_some).unwrap();
        let deadline = Instant::now() + PATIENCE;
        let store = self.store(running);
        let mut known = None;
        loop {
            if let Some(n) = self.peers.iter().position(|peer| Some(peer.id) == known)
                && self.nodes[n].as_ref().is_some_and(|node| node.store.node.lead.borrow().here)
            {
                return n;
            }
            assert!(Instant::now() < deadline, "no leader");
            // Either the view of the leader changes or the leader finds out that it is one.
            let _ = tokio::time::timeout(Duration::from_millis(50), store.leader_changed(known)).await;
            known = store.status().leader;
        }
    }
}

pub(super) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what} took longer than {PATIENCE:?}"),
    }
}

/// Writes, trying again as long as the cluster says that it cannot.
pub(super) async fn put(store: &RaftStore, key: &str, value: &str) -> Applied {
    within("a write", async {
        loop {
            match store.write(Op::put(key.to_owned(), value.to_owned())).await {
                Ok(applied) => return applied,
                Err(StoreError::Broken(error)) => panic!("broken: {error}"),
                Err(_) => {}
            }
        }
    })
    .await
}

pub(super) async fn get(store: &RaftStore, key: &str, consistency: Consistency) -> Result<Option<String>, StoreError> {
    let request = RangeRequest { key: key.to_owned().into(), ..RangeRequest::default() };
    let (_, reply) = within("a read", store.range(request, consistency)).await?;
    Ok(reply.kvs.first().map(|kv| String::from_utf8(kv.value.to_vec()).unwrap()))
}

async fn grant(store: &RaftStore, id: i64, ttl_ms: i64) {
    let op = Op::LeaseGrant { id: LeaseId(id), ttl_ms };
    let applied = within("a grant", store.write(op)).await.unwrap();
    assert_eq!(applied.result, Ok(Reply::LeaseGrant { id: LeaseId(id), ttl_ms }));
}

async fn put_leased(store: &RaftStore, key: &str, lease: i64) {
    let request =
        PutRequest { key: key.to_owned().into(), value: "x".into(), lease: LeaseId(lease), ..PutRequest::default() };
    within("a write", store.write(Op::Put(request))).await.unwrap().result.unwrap();
}

async fn watch(store: &RaftStore, prefix: &str, start: WatchStart) -> Box<dyn WatchStream> {
    let request = WatchRequest {
        space: Space::User,
        key: prefix.to_owned().into(),
        range_end: crate::kv::prefix_end(prefix.as_bytes()),
        start,
    };
    store.watch(request).await.unwrap()
}

/// The next `count` events.
async fn events(stream: &mut Box<dyn WatchStream>, count: usize) -> Vec<Event> {
    let mut events = Vec::new();
    within("events", async {
        while events.len() < count {
            events.extend(stream.next().await.unwrap().events);
        }
    })
    .await;
    assert_eq!(events.len(), count);
    events
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_on_any_member_is_read_on_any() {
    let cluster = TestCluster::start(1, 3).await;
    for writer in 0..3 {
        let key = format!("k{writer}");
        put(cluster.store(writer), &key, "v").await;
        for reader in 0..3 {
            let found = get(cluster.store(reader), &key, Consistency::Linearizable).await.unwrap();
            assert_eq!(found.as_deref(), Some("v"), "written on {writer}, read on {reader}");
        }
    }
    let status = cluster.store(1).status();
    // Revisions start at 1, v2 indexes at 2n+1.
    assert_eq!((status.position.revision, status.position.v2_index), (4, 10));
    assert!(status.peers.iter().all(|peer| peer.silent.is_none()), "{:?}", status.peers);
    let members = cluster.store(2).members().await.unwrap();
    assert_eq!(members.len(), 3);
    assert_eq!(members[0].peer_urls, [format!("http://{}", cluster.peers[0].address)]);
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_go_on_after_the_leader_is_killed_and_it_comes_back() {
    let mut cluster = TestCluster::start(2, 3).await;
    put(cluster.store(0), "a", "1").await;
    let leader = cluster.leader().await;
    cluster.kill(leader).await;
    let other = (leader + 1) % 3;
    put(cluster.store(other), "a", "2").await;
    assert_ne!(cluster.leader().await, leader);
    cluster.start_node(leader).await;
    let found = get(cluster.store(leader), "a", Consistency::Linearizable).await;
    assert_eq!(found.unwrap().as_deref(), Some("2"));
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_restart_of_all_keeps_every_acknowledged_write() {
    let mut cluster = TestCluster::start(3, 3).await;
    put(cluster.store(0), "warm", "up").await;
    for round in 0..3 {
        let stores: Vec<_> = (0..3).map(|n| cluster.nodes[n].as_ref().unwrap().store.clone()).collect();
        let writers = stores.into_iter().enumerate().map(|(n, store)| {
            tokio::spawn(async move {
                let mut acknowledged = Vec::new();
                for i in 0..1_000 {
                    let key = format!("{round}/{n}/{i}");
                    match store.write(Op::put(key.clone(), "v")).await {
                        Ok(_) => acknowledged.push(key),
                        Err(_) => break,
                    }
                }
                acknowledged
            })
        });
        let writers: Vec<_> = writers.collect();
        // In the middle of the writing.
        let mut seen = watch(cluster.store(0), &format!("{round}/"), WatchStart::Now).await;
        within("the first write", seen.next()).await.unwrap();
        drop(seen);
        // Each node's runtime ends in turn, and the writers with the stores they hold.
        for n in 0..3 {
            let TestNode { store, runtime } = cluster.nodes[n].take().unwrap();
            drop(store);
            runtime.shutdown_background();
        }
        let mut acknowledged = Vec::new();
        for writer in writers {
            acknowledged.extend(within("a writer", writer).await.unwrap());
        }
        for n in 0..3 {
            wait_until_closed(&cluster, n).await;
        }
        cluster.start_all().await;
        for key in &acknowledged {
            let found = get(cluster.store(0), key, Consistency::Linearizable).await;
            assert_eq!(found.unwrap().as_deref(), Some("v"), "{key}");
        }
    }
    cluster.end().await;
}

/// Waits until a node that was ended in the background has given its files free.
async fn wait_until_closed(cluster: &TestCluster, n: usize) {
    let path = cluster.data_dir(n).join("state.redb");
    within("closing", async {
        while crate::disk::Database::open(&path, false).is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_minority_refuses_within_five_seconds_and_says_who_is_missing() {
    let mut cluster = TestCluster::start(4, 3).await;
    put(cluster.store(0), "a", "1").await;
    cluster.kill(1).await;
    cluster.kill(2).await;
    let began = Instant::now();
    let store = cluster.store(0);
    let (write, read) = tokio::join!(store.write(Op::put("a", "2")), get(store, "a", Consistency::Linearizable));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    for error in [write.unwrap_err(), read.unwrap_err()] {
        let StoreError::NoQuorum { reachable, voters, needed, missing } = error else { panic!("{error}") };
        assert_eq!((reachable, voters, needed), (1, 3, 2));
        assert!(missing.contains("n2 (2)") && missing.contains("n3 (3)"), "{missing}");
    }
    assert_eq!(store.status().leader, None);
    let found = get(store, "a", Consistency::Serializable).await.unwrap();
    assert_eq!(found.as_deref(), Some("1"));
    cluster.start_node(1).await;
    put(cluster.store(0), "a", "3").await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_of_the_past_survives_a_restart_and_hands_over_exactly() {
    let mut cluster = TestCluster::start(5, 1).await;
    let first = put(cluster.store(0), "w/0", "v").await.position.revision;
    for i in 1..50 {
        put(cluster.store(0), &format!("w/{i}"), "v").await;
    }
    cluster.stop(0).await;
    cluster.start_node(0).await;
    let store = cluster.nodes[0].as_ref().unwrap().store.clone();
    let mut past = watch(&store, "w/", WatchStart::Revision(first)).await;
    let mut future = watch(&store, "w/", WatchStart::Revision(first + 60)).await;
    let writer = tokio::spawn(async move {
        for i in 50..100 {
            put(&store, &format!("w/{i}"), "v").await;
        }
    });
    let revisions = |events: Vec<Event>| events.iter().map(|event| event.kv.mod_revision).collect::<Vec<_>>();
    assert_eq!(revisions(events(&mut past, 100).await), (first..first + 100).collect::<Vec<_>>());
    assert_eq!(revisions(events(&mut future, 40).await), (first + 60..first + 100).collect::<Vec<_>>());
    within("the writer", writer).await.unwrap();
    assert_eq!(past.caught_up(), Some(first + 99));
    let index = cluster.store(0).status().position.v2_index;
    let mut by_index = watch(cluster.store(0), "w/", WatchStart::V2Index(index - 9)).await;
    assert_eq!(revisions(events(&mut by_index, 10).await), (first + 90..first + 100).collect::<Vec<_>>());
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_end_unless_they_are_kept_alive() {
    let mut cluster = TestCluster::start(6, 3).await;
    put(cluster.store(0), "warm", "up").await;
    let leader = cluster.leader().await;
    let follower = (leader + 1) % 3;
    let store = cluster.store(follower);
    grant(store, 7, 1_000).await;
    grant(store, 8, 1_000).await;
    put_leased(store, "ends", 7).await;
    put_leased(store, "stays", 8).await;
    let mut seen = watch(store, "ends", WatchStart::Now).await;
    let (_, _, keys) = store.lease_time_to_live(LeaseId(7), true).await.unwrap().unwrap();
    assert_eq!(keys, ["ends"]);
    let keep = async {
        loop {
            assert_eq!(store.keep_alive(LeaseId(8)).await.unwrap(), 1_000);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let ended = tokio::select! {
        ended = events(&mut seen, 1) => ended,
        () = keep => unreachable!(),
    };
    assert_eq!(ended[0].kind, crate::kv::EventKind::Delete);
    assert_eq!(store.keep_alive(LeaseId(7)).await.unwrap(), 0);
    assert_eq!(get(store, "stays", Consistency::Linearizable).await.unwrap().as_deref(), Some("x"));
    assert_eq!(store.leases().await.unwrap(), [LeaseId(8)]);
    // A new leader takes the lease up and ends it.
    drop(seen);
    cluster.kill(leader).await;
    let mut seen = watch(cluster.store(follower), "stays", WatchStart::Now).await;
    events(&mut seen, 1).await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_is_far_behind_gets_a_snapshot() {
    let mut cluster = TestCluster::prepare(7, 3);
    cluster.snapshot = SnapshotThresholds { entries: 20, keep: 5, ..SnapshotThresholds::default() };
    cluster.start_all().await;
    put(cluster.store(0), "a", "first").await;
    let behind = (cluster.leader().await + 1) % 3;
    let busy = (behind + 1) % 3;
    cluster.kill(behind).await;
    for i in 0..100 {
        put(cluster.store(busy), &format!("k{i}"), "v").await;
    }
    cluster.purged(busy, 20).await;
    cluster.start_node(behind).await;
    let found = get(cluster.store(behind), "k99", Consistency::Linearizable).await;
    assert_eq!(found.unwrap().as_deref(), Some("v"));
    let (a, b) = (checksum(&cluster, behind), checksum(&cluster, busy));
    assert_eq!(a, b);
    // And one whose disk was emptied.
    cluster.kill(behind).await;
    std::fs::remove_dir_all(cluster.data_dir(behind)).unwrap();
    cluster.start_node(behind).await;
    put(cluster.store(behind), "last", "v").await;
    let found = get(cluster.store(behind), "k0", Consistency::Linearizable).await;
    assert_eq!(found.unwrap().as_deref(), Some("v"));
    cluster.end().await;
}

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
    let address = &cluster.peers[0].address;
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
async fn a_leader_that_stops_hands_over() {
    let mut cluster = TestCluster::start(13, 3).await;
    put(cluster.store(0), "a", "1").await;
    let leader = cluster.leader().await;
    let other = (leader + 1) % 3;
    let store = cluster.nodes[other].as_ref().unwrap().store.clone();
    cluster.stop(leader).await;
    let began = Instant::now();
    put(&store, "a", "2").await;
    // Far less than an election takes.
    assert!(began.elapsed() < Duration::from_millis(400), "{:?}", began.elapsed());
    drop(store);
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_member_starts_again_in_the_same_process() {
    let cluster = TestCluster::prepare(17, 1);
    let dir = cluster.data_dir(0);
    for round in 0..5 {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let options = Options { data_dir: dir.clone(), ..cluster.options(0, listener) };
        let store = RaftStore::start(options).await.unwrap();
        let revision = put(&store, "a", "1").await.position.revision;
        assert_eq!(revision, 2 + round);
        within("a stop", store.stop()).await;
        let write = store.write(Op::put("a", "2")).await;
        assert_eq!(write, Err(StoreError::Stopping));
        let read = get(&store, "a", Consistency::Serializable).await;
        assert_eq!(read, Err(StoreError::Stopping));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_data_directory_is_refused() {
    let mut cluster = TestCluster::start(14, 1).await;
    put(cluster.store(0), "a", "1").await;
    cluster.stop(0).await;
    let dir = cluster.data_dir(0);
    let refuse = async |cluster: &TestCluster, id: u64| {
        let mut peers = cluster.peers.clone();
        peers[0].id = MemberId(id);
        let other = TestCluster::prepare(id, 1);
        let error = other.try_start(peers, dir.clone()).await.err().unwrap().to_string();
        assert!(error.contains(&dir.display().to_string()), "{error}");
        error
    };
    assert!(refuse(&cluster, 15).await.contains("belongs to cluster e member 1, this node is cluster f member f"));
    std::fs::rename(dir.join("identity"), dir.join("was")).unwrap();
    assert!(refuse(&cluster, 14).await.contains("no file `identity`"));
    std::fs::rename(dir.join("was"), dir.join("identity")).unwrap();
    std::fs::rename(dir.join("wal"), dir.join("was")).unwrap();
    let error = cluster.try_start(cluster.peers.clone(), dir.clone()).await.err().unwrap().to_string();
    assert!(error.contains("the log in wal is not"), "{error}");
    std::fs::remove_dir_all(dir.join("wal")).unwrap();
    std::fs::rename(dir.join("was"), dir.join("wal")).unwrap();
    cluster.start_node(0).await;
    assert_eq!(get(cluster.store(0), "a", Consistency::Linearizable).await.unwrap().as_deref(), Some("1"));
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_writers_share_entries_and_members_agree() {
    let cluster = TestCluster::start(16, 3).await;
    put(cluster.store(0), "warm", "up").await;
    let mut seen = watch(cluster.store(2), "w/", WatchStart::Now).await;
    let before = cluster.store(0).status().raft_applied;
    let writers = (0..60).map(|n| {
        let store = cluster.nodes[n % 3].as_ref().unwrap().store.clone();
        tokio::spawn(async move {
            for i in 0..20 {
                put(&store, &format!("w/{n}/{i}"), "v").await;
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        within("a writer", writer).await.unwrap();
    }
    let revisions: Vec<i64> = events(&mut seen, 1_200).await.iter().map(|event| event.kv.mod_revision).collect();
    assert_eq!(revisions, (revisions[0]..revisions[0] + 1_200).collect::<Vec<_>>());
    for n in 0..3 {
        get(cluster.store(n), "warm", Consistency::Linearizable).await.unwrap();
    }
    let applied = cluster.store(0).status().raft_applied;
    assert!(applied - before < 1_200, "{} entries for 1200 writes", applied - before);
    assert_eq!(checksum(&cluster, 0), checksum(&cluster, 1));
    assert_eq!(checksum(&cluster, 0), checksum(&cluster, 2));
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_heavy_log_is_cut_before_it_is_long() {
    let mut cluster = TestCluster::prepare(18, 1);
    cluster.snapshot.bytes = 1 << 20;
    cluster.start_all().await;
    let value = "v".repeat(100 << 10);
    for _ in 0..100 {
        put(cluster.store(0), "a", &value).await;
    }
    cluster.purged(0, 5).await;
    cluster.stop(0).await;
    cluster.start_node(0).await;
    assert_eq!(get(cluster.store(0), "a", Consistency::Linearizable).await.unwrap(), Some(value));
    cluster.end().await;
}

fn checksum(cluster: &TestCluster, n: usize) -> (Position, u32) {
    cluster.store(n).node.core.with_state(|state| (state.position(), state.checksum()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_clusters_do_not_mix() {
    let one = TestCluster::start(8, 1).await;
    let mut other = TestCluster::prepare(9, 2);
    // The second member of the other cluster is looked for where the first cluster listens.
    other.peers[1].address = one.peers[0].address.clone();
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
    double.peers[0].address = cluster.peers[0].address.clone();
    double.start_node(1).await;
    let view = async |wanted: &dyn Fn(&Option<(Duration, String)>) -> bool| {
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_older_or_newer_than_the_log_is_brought_in_line() {
    let copy = |from: &std::path::Path, to: &std::path::Path| {
        std::fs::create_dir_all(to).unwrap();
        for file in std::fs::read_dir(from).unwrap() {
            let file = file.unwrap();
            if file.file_type().unwrap().is_file() {
                std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
            }
        }
    };
    let mut cluster = TestCluster::start(20, 1).await;
    put(cluster.store(0), "a", "1").await;
    cluster.stop(0).await;
    let (dir, old) = (cluster.data_dir(0), cluster.data_dir(1));
    copy(&dir, &old);
    cluster.start_node(0).await;
    put(cluster.store(0), "a", "2").await;
    copy(&dir.join("wal"), &old.join("wal"));
    for i in 0..50 {
        put(cluster.store(0), "a", &i.to_string()).await;
    }
    let newest = checksum(&cluster, 0);
    // As after a crash that took what was applied but not flushed.
    cluster.stop(0).await;
    std::fs::rename(dir.join("state.redb"), old.join("newest.redb")).unwrap();
    std::fs::rename(old.join("state.redb"), dir.join("state.redb")).unwrap();
    cluster.start_node(0).await;
    assert_eq!(get(cluster.store(0), "a", Consistency::Linearizable).await.unwrap().as_deref(), Some("49"));
    let again = checksum(&cluster, 0);
    assert_eq!((again.0.revision, again.1), (newest.0.revision, newest.1));
    cluster.stop(0).await;
    // As on a follower that had applied what a quorum had, and lost what its own disk had not synced yet.
    std::fs::remove_dir_all(dir.join("wal")).unwrap();
    copy(&old.join("wal"), &dir.join("wal"));
    std::fs::rename(old.join("newest.redb"), dir.join("state.redb")).unwrap();
    cluster.start_node(0).await;
    assert_eq!(get(cluster.store(0), "a", Consistency::Serializable).await.unwrap().as_deref(), Some("49"));
    put(cluster.store(0), "a", "50").await;
    assert_eq!(get(cluster.store(0), "a", Consistency::Linearizable).await.unwrap().as_deref(), Some("50"));
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_cluster_writes_nothing() {
    let cluster = TestCluster::start(10, 3).await;
    put(cluster.store(0), "a", "1").await;
    grant(cluster.store(0), 9, 60_000).await;
    let before = cluster.store(0).status().raft_applied;
    for _ in 0..10 {
        cluster.store(1).keep_alive(LeaseId(9)).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(700)).await;
    let after = put(cluster.store(0), "a", "2").await.position.raft_index;
    assert_eq!(after, before + 1);
    cluster.end().await;
}
