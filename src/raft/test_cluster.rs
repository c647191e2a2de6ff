//! Members in one process, each on a runtime of its own so that it can be killed as a whole, talking over loopback.

#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::{
    NoCalls, Options, Peer, PeerHandler, PeerListener, RaftStore, Seats, SnapshotThresholds, StartError, find_place,
    joined,
};
use crate::base::limits::LEASE_CHECKPOINT_SECONDS;
use crate::base::{Clock, ClusterId, LeaseId, MemberId, Random, UnixMillis};
use crate::disk::{Room, RoomProbe, RoomRules};
use crate::kv::{
    Applied, Consistency, Event, HistoryRule, Member, MemberChange, MemberChanged, MemberRefusal, Op, Position,
    PutRequest, RangeRequest, Reply, Space, Store, StoreError, WatchRequest, WatchStart, WatchStream,
};
use crate::net::Address;

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

/// A disk that is as full as a test says, in percent.
#[derive(Default)]
pub(super) struct TestRoom(AtomicU64);

impl TestRoom {
    pub fn use_percent(&self, percent: u64) {
        self.0.store(percent, Ordering::Relaxed);
    }
}

impl RoomProbe for TestRoom {
    fn look(&self) -> std::io::Result<Room> {
        let total = 1 << 40;
        Ok(Room { total, free: total / 100 * (100 - self.0.load(Ordering::Relaxed)) })
    }
}

pub(super) struct TestNode {
    pub store: Arc<RaftStore>,
    pub runtime: tokio::runtime::Runtime,
}

pub(super) struct TestCluster {
    pub cluster: ClusterId,
    /// The founders, and those that joined later.
    pub peers: Vec<Peer>,
    founders: usize,
    pub snapshot: SnapshotThresholds,
    pub lease_checkpoint: Duration,
    pub election_ms: u64,
    pub lease_reads: bool,
    pub seats: Seats,
    pub handler: Arc<dyn PeerHandler>,
    pub history: HistoryRule,
    /// What each member sees of its disk.
    pub rooms: Vec<Arc<TestRoom>>,
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
            urls: vec![format!("http://{}", listener.local_addr().unwrap())],
        };
        Self {
            cluster: ClusterId(cluster),
            peers: listeners.iter().enumerate().map(peer).collect(),
            founders: size,
            snapshot: SnapshotThresholds::default(),
            lease_checkpoint: Duration::from_secs(LEASE_CHECKPOINT_SECONDS),
            election_ms: 500,
            lease_reads: false,
            seats: Seats::default(),
            handler: Arc::new(NoCalls),
            history: HistoryRule::default(),
            rooms: (0..size).map(|_| Arc::default()).collect(),
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

    /// `host:port` of a member's peer listener.
    pub fn address(&self, n: usize) -> String {
        self.peers[n].urls[0].trim_start_matches("http://").to_owned()
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
                let address = self.address(n);
                runtime.spawn(async move { tokio::net::TcpListener::bind(address).await.unwrap() }).await.unwrap()
            }
        };
        let options = match n < self.founders {
            true => self.options(n, listener),
            false => self.joining(n, listener).await,
        };
        let store = runtime.spawn(RaftStore::start(options)).await.unwrap().unwrap();
        self.nodes[n] = Some(TestNode { store, runtime });
    }

    pub fn options(&self, n: usize, listener: tokio::net::TcpListener) -> Options {
        Options {
            lease_checkpoint: self.lease_checkpoint,
            cluster: self.cluster,
            member: self.peers[n].id,
            name: self.peers[n].name.clone(),
            peers: self.peers[..self.founders].to_vec(),
            joins: false,
            data_dir: self.data_dir(n),
            listeners: vec![PeerListener { listener, tls: None }],
            dialling: Arc::default(),
            heartbeat_ms: 50,
            election_ms: self.election_ms,
            lease_reads: self.lease_reads,
            seats: self.seats,
            clock: Arc::new(SystemClock),
            random: Arc::new(Dice),
            snapshot: self.snapshot,
            wal_segment_bytes: 1 << 20,
            handler: self.handler.clone(),
            history: self.history,
            room: self.rooms[n].clone(),
            room_rules: RoomRules { warn_percent: 80, full_percent: 95, free_bytes_min: 0 },
        }
    }

    /// The options of a member that joins, or joined before.
    async fn joining(&self, n: usize, listener: tokio::net::TcpListener) -> Options {
        let place = match joined(&self.data_dir(n)).unwrap() {
            Some(place) => place,
            None => {
                let running = self.nodes.iter().flatten().next().unwrap();
                let members = running.store.members_now().await.unwrap();
                let initial: Vec<_> = members
                    .into_iter()
                    .map(|member| match member.id == self.peers[n].id {
                        true => (self.peers[n].name.clone(), member.peer_urls),
                        false => (member.id.to_string(), member.peer_urls),
                    })
                    .collect();
                find_place(&self.peers[n].name, &initial, &Arc::default()).await.unwrap()
            }
        };
        assert_eq!((place.cluster, place.member), (self.cluster, self.peers[n].id));
        Options { peers: place.peers, joins: true, ..self.options(n, listener) }
    }

    /// Has a running member add another one, which is not started yet. Returns its index.
    pub async fn add(&mut self, learner: bool) -> usize {
        self.admit(|peer_urls| MemberChange::Add { peer_urls, learner }).await
    }

    /// The same for one that comes by a token.
    pub async fn join(&mut self) -> usize {
        self.admit(|peer_urls| MemberChange::Join { peer_urls }).await
    }

    async fn admit(&mut self, change: impl Fn(Vec<String>) -> MemberChange) -> usize {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let urls = vec![format!("http://{}", listener.local_addr().unwrap())];
        let id = self.change(change(urls.clone())).await.id;
        let n = self.nodes.len();
        self.peers.push(Peer { id, name: format!("n{}", n + 1), urls });
        self.listeners.push(Some(listener));
        self.rooms.push(Arc::default());
        self.nodes.push(None);
        n
    }

    /// Cuts a member off from all others, or mends that.
    pub fn cut(&self, n: usize, off: bool) {
        let addresses = |peer: &Peer| peer.urls.iter().map(|url| Address::from_url(url).unwrap()).collect::<Vec<_>>();
        for (m, node) in self.nodes.iter().enumerate() {
            let Some(node) = node else { continue };
            let peers = &node.store.node.peers;
            let others = self.peers.iter().enumerate().filter(|(other, _)| *other != m);
            let walled = |other: usize| off && (m == n || other == n);
            let walls = others.clone().filter(|(other, _)| walled(*other)).map(|(_, peer)| peer.id).collect();
            *peers.walls.lock().unwrap() = walls;
            let _entered = node.runtime.enter();
            peers.settle(
                &others.filter(|(other, _)| !walled(*other)).map(|(_, peer)| (peer.id, addresses(peer))).collect(),
            );
        }
    }

    /// Empties the disk of a member that does not run.
    pub fn wipe(&self, n: usize) {
        std::fs::remove_dir_all(self.data_dir(n)).unwrap();
    }

    /// Gives a member that does not run another address.
    pub fn rebind(&mut self, n: usize) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        self.peers[n].urls = vec![format!("http://{}", listener.local_addr().unwrap())];
        self.listeners[n] = Some(listener);
    }

    /// Changes the members through the first one that runs, trying again while some of them do not answer.
    pub async fn change(&self, change: MemberChange) -> MemberChanged {
        let running = self.nodes.iter().flatten().next().unwrap();
        within("a change of the members", async {
            loop {
                match running.store.change_members(change.clone()).await {
                    Ok(changed) => return changed,
                    Err(StoreError::Member(MemberRefusal::Unhealthy | MemberRefusal::NotInSync)) => {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                    Err(error) => panic!("{change:?}: {error}"),
                }
            }
        })
        .await
    }

    /// Makes a member's name known, as a node does after its start.
    pub async fn announce(&self, n: usize) {
        let peer = &self.peers[n];
        let member = Member {
            id: peer.id,
            name: peer.name.clone(),
            peer_urls: peer.urls.clone(),
            client_urls: vec![format!("http://{}", peer.name)],
            learner: false,
        };
        within("making a member known", self.store(n).write(Op::MemberUpdate(member))).await.unwrap().result.unwrap();
    }

    /// Waits until the members that vote are exactly these, as member `n` sees it.
    pub async fn voters(&self, n: usize, wanted: &[usize]) {
        let wanted: std::collections::BTreeSet<u64> = wanted.iter().map(|n| self.peers[*n].id.0).collect();
        let wait = self.store(n).node.raft.wait(Some(PATIENCE));
        let reached = |metrics: &openraft::RaftMetrics<super::types::TypeConfig>| {
            metrics.committed_membership_config.membership().voter_ids().eq(wanted.iter().copied())
        };
        wait.metrics(reached, "the voters").await.unwrap();
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
