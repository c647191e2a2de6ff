//! A store for tests: the real state machine on tables in memory, one node, no log, no disk.
#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::sync::watch;

use crate::base::{BoxFuture, Clock, ClusterId, LeaseId, MemberId, Random, UnixMillis};
use crate::kv::auth::Auth;
use crate::kv::mem::MemTables;
use crate::kv::{
    self, Applied, Command, Consistency, Hash, HashOf, HistoryRequest, IndexPlace, Lease, LogPosition, Member, Op,
    Past, PastRefusal, PastRequest, Position, RangeReply, RangeRequest, SnapshotStream, Space, State, Status, Store,
    StoreError, WatchBatch, WatchEnd, WatchRequest, WatchStart, WatchStream, v2,
};

pub const MEMBER: MemberId = MemberId(0x8e9e_05c5_2164_694d);
pub const CLUSTER: ClusterId = ClusterId(0xcdf8_1819_4e3a_8c32);

/// A clock that a test sets, and chance that counts up.
#[derive(Default)]
pub struct Fixed {
    pub now: AtomicI64,
    drawn: AtomicU64,
}

impl Clock for Fixed {
    fn now(&self) -> UnixMillis {
        UnixMillis(self.now.load(Ordering::Relaxed))
    }
}

impl Random for Fixed {
    fn next_u64(&self) -> u64 {
        0x1000 + self.drawn.fetch_add(1, Ordering::Relaxed)
    }
}

struct Inner {
    state: State,
    tables: MemTables,
    log: u64,
    v2_writes: v2::Tally,
}

/// One node with everything in memory.
pub struct TestStore {
    inner: Arc<Mutex<Inner>>,
    /// Rises with every change; watches wait on it.
    changes: watch::Sender<u64>,
    leader: watch::Sender<Option<MemberId>>,
    clock: Arc<dyn Clock>,
}

impl TestStore {
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let mut tables = MemTables::default();
        let mut state = State::load(&tables).unwrap();
        kv::bootstrap(&mut state, &mut tables, 1).unwrap();
        let store = Self {
            inner: Arc::new(Mutex::new(Inner { state, tables, log: 3, v2_writes: v2::Tally::default() })),
            changes: watch::Sender::new(0),
            leader: watch::Sender::new(Some(MEMBER)),
            clock,
        };
        let member = Member {
            id: MEMBER,
            name: "default".to_owned(),
            peer_urls: vec!["http://localhost:2380".to_owned()],
            client_urls: vec!["http://localhost:2379".to_owned()],
            learner: false,
        };
        store.apply(Op::MemberUpdate(member));
        store
    }

    /// Applies a command at once.
    pub fn apply(&self, op: Op) -> Applied {
        let mut inner = self.inner.lock().unwrap();
        let inner = &mut *inner;
        inner.log += 1;
        let at = LogPosition { index: inner.log, term: 2 };
        let stamp = self.clock.now();
        let command = Command { stamp, op };
        let (applied, events) = kv::apply(&mut inner.state, &mut inner.tables, &command, at).unwrap();
        inner.v2_writes.note(&command.op, &applied, &events);
        self.changes.send_modify(|n| *n += 1);
        applied
    }

    /// Ends the leases of v2 writes that are over at `now`.
    pub fn expire_v2(&self, now: UnixMillis) {
        let ids: Vec<LeaseId> = {
            let inner = self.inner.lock().unwrap();
            let over = |record: &&kv::LeaseRecord| record.ends.is_some_and(|ends| ends <= now);
            inner.state.leases().filter(over).map(|record| record.lease.id).collect()
        };
        if !ids.is_empty() {
            self.apply(Op::LeaseExpire { ids });
        }
    }

    /// Makes the leader go away or come back.
    pub fn lead(&self, leader: Option<MemberId>) {
        self.leader.send_replace(leader);
    }

    fn position(&self) -> Position {
        self.inner.lock().unwrap().state.position()
    }

    fn check(&self, consistency: Consistency) -> Result<(), StoreError> {
        match (consistency, *self.leader.borrow()) {
            (Consistency::Linearizable, None) => Err(StoreError::NoLeader { detail: "test".to_owned() }),
            _ => Ok(()),
        }
    }
}

impl Store for TestStore {
    fn write(&self, op: Op) -> BoxFuture<'_, Result<Applied, StoreError>> {
        Box::pin(async move {
            self.check(Consistency::Linearizable)?;
            Ok(self.apply(op))
        })
    }

    fn range(
        &self,
        request: RangeRequest,
        consistency: Consistency,
    ) -> BoxFuture<'_, Result<(Position, RangeReply), StoreError>> {
        Box::pin(async move {
            self.check(consistency)?;
            let inner = self.inner.lock().unwrap();
            Ok(kv::range(&inner.tables, &request).unwrap()?)
        })
    }

    fn v2_get(
        &self,
        request: v2::GetRequest,
        consistency: Consistency,
    ) -> BoxFuture<'_, Result<(Position, v2::Outcome), StoreError>> {
        Box::pin(async move {
            self.check(consistency)?;
            let inner = self.inner.lock().unwrap();
            Ok(v2::get(&inner.tables, &request).unwrap())
        })
    }

    fn catch_up(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        let led = self.check(Consistency::Linearizable);
        Box::pin(async { led })
    }

    fn auth(&self) -> Arc<Auth> {
        self.inner.lock().unwrap().state.auth().clone()
    }

    fn past(
        &self,
        request: PastRequest,
        consistency: Consistency,
    ) -> BoxFuture<'_, Result<Result<Past, PastRefusal>, StoreError>> {
        Box::pin(async move {
            self.check(consistency)?;
            let inner = self.inner.lock().unwrap();
            Ok(kv::past(&inner.tables, &request).unwrap())
        })
    }

    fn watch(&self, request: WatchRequest) -> BoxFuture<'_, Result<Box<dyn WatchStream>, StoreError>> {
        Box::pin(async move {
            let began = self.position();
            let newest = match request.space {
                Space::User => began.revision,
                Space::System => began.system_revision,
            };
            let mut watch = TestWatch {
                inner: self.inner.clone(),
                changes: self.changes.subscribe(),
                next: newest + 1,
                least_index: 0,
                cleared: None,
                began,
                request,
            };
            match watch.request.start {
                WatchStart::Now => {}
                WatchStart::Revision(revision) => watch.next = revision,
                WatchStart::V2Index(index) => {
                    watch.least_index = index;
                    let inner = self.inner.lock().unwrap();
                    match kv::revision_of_index(&inner.tables, index).unwrap() {
                        IndexPlace::Revision(revision) => watch.next = revision,
                        IndexPlace::Future => {}
                        IndexPlace::Cleared { oldest } => watch.cleared = Some(oldest),
                    }
                }
            }
            Ok(Box::new(watch) as Box<dyn WatchStream>)
        })
    }

    fn keep_alive(&self, lease: LeaseId) -> BoxFuture<'_, Result<i64, StoreError>> {
        Box::pin(async move {
            let inner = self.inner.lock().unwrap();
            Ok(inner.state.lease(lease).map_or(0, |record| record.lease.ttl_ms))
        })
    }

    fn lease_time_to_live(
        &self,
        lease: LeaseId,
        keys: bool,
    ) -> BoxFuture<'_, Result<Option<(Lease, i64, Vec<Bytes>)>, StoreError>> {
        Box::pin(async move {
            let inner = self.inner.lock().unwrap();
            let Some(record) = inner.state.lease(lease) else {
                return Ok(None);
            };
            let found = if keys { kv::lease_keys(&inner.tables, lease).unwrap() } else { Vec::new() };
            let found = found.into_iter().filter(|(space, _)| *space == Space::User);
            let keys = found.map(|(_, key)| key).collect();
            Ok(Some((record.lease.clone(), record.lease.ttl_ms, keys)))
        })
    }

    fn leases(&self) -> BoxFuture<'_, Result<Vec<LeaseId>, StoreError>> {
        Box::pin(async move {
            let inner = self.inner.lock().unwrap();
            Ok(inner.state.leases().map(|record| record.lease.id).collect())
        })
    }

    fn members(&self) -> BoxFuture<'_, Result<Vec<Member>, StoreError>> {
        Box::pin(async move {
            let inner = self.inner.lock().unwrap();
            Ok(kv::members(&inner.tables).unwrap())
        })
    }

    fn status(&self) -> Status {
        let position = self.position();
        let inner = self.inner.lock().unwrap();
        Status {
            cluster: CLUSTER,
            member: MEMBER,
            name: "default".to_owned(),
            leader: *self.leader.borrow(),
            position,
            raft_applied: position.raft_index,
            v2_writes: inner.v2_writes,
            db_bytes: 20_480,
            db_bytes_in_use: 16_384,
            alarms: inner.state.alarms().to_vec(),
            ..Status::default()
        }
    }

    fn hash(&self, of: HashOf) -> BoxFuture<'_, Result<Hash, StoreError>> {
        Box::pin(async move {
            let inner = self.inner.lock().unwrap();
            Ok(kv::hash(&inner.tables, of).unwrap()?)
        })
    }

    fn snapshot(&self) -> BoxFuture<'_, Result<Box<dyn SnapshotStream>, StoreError>> {
        let pieces = TestSnapshot(vec![Bytes::from_static(b" of one moment"), Bytes::from_static(b"a state")]);
        Box::pin(async move { Ok(Box::new(pieces) as Box<dyn SnapshotStream>) })
    }

    fn move_leader(&self, to: MemberId) -> BoxFuture<'_, Result<(), StoreError>> {
        let leader = *self.leader.borrow();
        Box::pin(async move {
            match leader {
                Some(MEMBER) if to == MEMBER => Ok(()),
                Some(MEMBER) => Err(StoreError::CannotLead { member: to, why: "it is no voting member" }),
                _ => Err(StoreError::NotLeader { leader }),
            }
        })
    }

    fn leader_changed(&self, known: Option<MemberId>) -> BoxFuture<'_, Option<MemberId>> {
        let mut leader = self.leader.subscribe();
        Box::pin(async move {
            match leader.wait_for(|leader| *leader != known).await {
                Ok(leader) => *leader,
                Err(_) => known,
            }
        })
    }
}

/// Pieces, the last one first.
struct TestSnapshot(Vec<Bytes>);

impl SnapshotStream for TestSnapshot {
    fn bytes(&self) -> u64 {
        self.0.iter().map(|piece| piece.len() as u64).sum()
    }

    fn next(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, StoreError>> {
        Box::pin(async { Ok(self.0.pop()) })
    }
}

/// A watch that reads the history again whenever something has changed.
struct TestWatch {
    inner: Arc<Mutex<Inner>>,
    changes: watch::Receiver<u64>,
    request: WatchRequest,
    began: Position,
    /// The next revision to deliver.
    next: i64,
    least_index: u64,
    cleared: Option<u64>,
}

impl TestWatch {
    fn newest(&self) -> i64 {
        let state = &self.inner.lock().unwrap().state;
        state.revision(self.request.space)
    }

    fn read(&mut self) -> Result<Option<WatchBatch>, WatchEnd> {
        if let Some(oldest) = self.cleared {
            return Err(WatchEnd::V2Cleared { oldest });
        }
        let inner = self.inner.lock().unwrap();
        if self.next > inner.state.revision(self.request.space) {
            return Ok(None);
        }
        let request = HistoryRequest {
            space: self.request.space,
            key: self.request.key.clone(),
            range_end: self.request.range_end.clone(),
            from_revision: self.next,
            events_max: 1000,
            bytes_max: 1 << 20,
            changes_max: 1000,
        };
        let found = kv::history(&inner.tables, &request).unwrap();
        let mut found = found.map_err(|error| WatchEnd::Compacted { revision: error.compacted })?;
        self.next = found.through + 1;
        found.events.retain(|event| {
            let index = event.v2.as_ref().map_or(0, |note| note.index);
            index >= self.least_index
        });
        Ok(Some(WatchBatch { revision: found.through, events: found.events }))
    }
}

impl WatchStream for TestWatch {
    fn next(&mut self) -> BoxFuture<'_, Result<WatchBatch, WatchEnd>> {
        Box::pin(async move {
            loop {
                self.changes.borrow_and_update();
                if let Some(batch) = self.read()? {
                    return Ok(batch);
                }
                if self.changes.changed().await.is_err() {
                    return Err(WatchEnd::Closed("the test is over".to_owned()));
                }
            }
        })
    }

    fn began(&self) -> Position {
        self.began
    }

    fn caught_up(&self) -> Option<i64> {
        let newest = self.newest();
        (self.cleared.is_none() && self.next > newest).then_some(newest)
    }
}

/// Open doors on a port of their own, and the store behind them.
pub struct House {
    pub store: Arc<TestStore>,
    pub clock: Arc<Fixed>,
    pub address: std::net::SocketAddr,
    pub doors: super::Doors,
}

/// Opens the doors on loopback.
pub async fn house() -> House {
    house_within(super::Bounds::default()).await
}

/// As [`house`], with other limits.
pub async fn house_within(bounds: super::Bounds) -> House {
    house_of(bounds, None).await
}

/// The same where the cluster has an authority of its own.
pub async fn house_of(bounds: super::Bounds, identity: Option<crate::net::tls::ClusterIdentity>) -> House {
    let clock = Arc::new(Fixed::default());
    clock.now.store(1_795_223_000_000, Ordering::Relaxed);
    let store = Arc::new(TestStore::new(clock.clone()));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let services = super::Services {
        store: store.clone(),
        clock: clock.clone(),
        random: clock.clone(),
        // The least that bcrypt takes: tests need no more.
        users: super::UsersOptions { password_cost: 4, ..super::UsersOptions::default() },
        watch_progress: std::time::Duration::from_millis(crate::base::limits::WATCH_PROGRESS_MS_MIN),
        identity,
        routes: super::Routes::new(),
        metrics: Vec::new(),
    };
    let doors = super::serve_within(bounds, vec![super::Listener::Tcp(listener)], services);
    House { store, clock, address, doors }
}

/// How long a test waits for anything.
pub const BOUND: std::time::Duration = std::time::Duration::from_secs(20);

/// Waits for what must come.
pub async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(BOUND, what).await.expect("this comes within the bound of a test")
}

/// One HTTP/1.1 conversation, byte by byte.
pub struct Talk<S = tokio::net::TcpStream> {
    pub stream: S,
    pub heard: String,
}

impl Talk {
    pub async fn to(address: std::net::SocketAddr) -> Self {
        let stream = soon(tokio::net::TcpStream::connect(address)).await.unwrap();
        Talk { stream, heard: String::new() }
    }
}

impl<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin> Talk<S> {
    /// Sends a request; `body` is a form unless it is empty.
    pub async fn say(&mut self, method: &str, target: &str, body: &str) {
        use tokio::io::AsyncWriteExt;
        let length = body.len();
        let request = format!(
            "{method} {target} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        soon(self.stream.write_all(request.as_bytes())).await.unwrap();
    }

    /// Reads until `text` has come.
    pub async fn hear(&mut self, text: &str) {
        use tokio::io::AsyncReadExt;
        while !self.heard.contains(text) {
            let mut space = [0; 4096];
            let n = soon(self.stream.read(&mut space)).await.unwrap();
            assert!(n > 0, "ended before {text:?}: {}", self.heard);
            self.heard.push_str(&String::from_utf8_lossy(&space[..n]));
        }
    }

    /// Reads to the end; the whole answer.
    pub async fn rest(mut self) -> String {
        use tokio::io::AsyncReadExt;
        let mut rest = Vec::new();
        soon(self.stream.read_to_end(&mut rest)).await.unwrap();
        self.heard.push_str(&String::from_utf8_lossy(&rest));
        self.heard
    }
}

impl House {
    /// One request: the status, and the whole answer.
    pub async fn ask(&self, method: &str, target: &str, body: &str) -> (u16, String) {
        let mut talk = Talk::to(self.address).await;
        talk.say(method, target, body).await;
        let answer = talk.rest().await;
        let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
        (status.expect("a status"), answer)
    }
}
