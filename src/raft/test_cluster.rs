//! Members in one process, each on a runtime of its own so that it can be killed as a whole, talking over loopback.

#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::{NoCalls, Options, Peer, PeerHandler, RaftStore, SnapshotThresholds, StartError};
use crate::base::{Clock, ClusterId, LeaseId, MemberId, Random, UnixMillis};
use crate::kv::{
    Applied, Consistency, Event, Op, Position, PutRequest, RangeRequest, Reply, Space, Store, StoreError, WatchRequest,
    WatchStart, WatchStream,
};

/// No wait of a test is longer.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

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
    pub runtime: tokio::runtime::Runtime,
}

pub(super) struct TestCluster {
    pub cluster: ClusterId,
    pub peers: Vec<Peer>,
    pub snapshot: SnapshotThresholds,
    pub handler: Arc<dyn PeerHandler>,
    listeners: Vec<Option<std::net::TcpListener>>,
    pub nodes: Vec<Option<TestNode>>,
    pub dir: tempfile::TempDir,
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

    pub fn options(&self, n: usize, listener: tokio::net::TcpListener) -> Options {
        Options {
            cluster: self.cluster,
            member: self.peers[n].id,
            name: self.peers[n].name.clone(),
            peers: self.peers.clone(),
            data_dir: self.data_dir(n),
            listeners: vec![listener],
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
    pub async fn try_start(&self, peers: Vec<Peer>, data_dir: PathBuf) -> Result<(), StartError> {
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
    pub async fn purged(&self, n: usize, index: u64) {
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

pub(super) async fn grant(store: &RaftStore, id: i64, ttl_ms: i64) {
    let op = Op::LeaseGrant { id: LeaseId(id), ttl_ms };
    let applied = within("a grant", store.write(op)).await.unwrap();
    assert_eq!(applied.result, Ok(Reply::LeaseGrant { id: LeaseId(id), ttl_ms }));
}

pub(super) async fn put_leased(store: &RaftStore, key: &str, lease: i64) {
    let request =
        PutRequest { key: key.to_owned().into(), value: "x".into(), lease: LeaseId(lease), ..PutRequest::default() };
    within("a write", store.write(Op::Put(request))).await.unwrap().result.unwrap();
}

pub(super) async fn watch(store: &RaftStore, prefix: &str, start: WatchStart) -> Box<dyn WatchStream> {
    let request = WatchRequest {
        space: Space::User,
        key: prefix.to_owned().into(),
        range_end: crate::kv::prefix_end(prefix.as_bytes()),
        start,
    };
    store.watch(request).await.unwrap()
}

/// The next `count` events.
pub(super) async fn events(stream: &mut Box<dyn WatchStream>, count: usize) -> Vec<Event> {
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

/// Where a member stands, and the sum of all that it ever applied.
pub(super) fn checksum(cluster: &TestCluster, n: usize) -> (Position, u32) {
    cluster.store(n).node.core.with_state(|state| (state.position(), state.checksum()))
}
