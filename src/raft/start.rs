//! Starting a node: identity, files, openraft, peers; and the one way in which a cluster comes into being.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use openraft::{Config, RaftMetrics, SnapshotPolicy};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::hub::Hub;
use super::join::{self, Place};
use super::leader::{self, Lead};
use super::lease_keeper;
use super::leases::Leases;
use super::log_store::LogStore;
use super::machine::Core;
use super::members;
use super::network::Network;
use super::node::Node;
use super::options::{Options, StartError};
use super::peer::Peers;
use super::peer::guests::Guests;
use super::peer::handshake::Identity;
use super::peer::health::Health;
use super::peer::message::{Lane, Request, Response};
use super::peer::roll::Roll;
use super::peer::server::Server;
use super::probation::{self, Probation, Standing};
use super::proposer::{self, Proposer};
use super::read_lease::ReadLease;
use super::reads::{self, Reads};
use super::seats;
use super::service::Service;
use super::snapshot::Transfers;
use super::state_machine::StateMachine;
use super::store::RaftStore;
use super::types::{self, Raft, TypeConfig};
use super::upkeep::{self, DiskView};
use super::watchdog;
use crate::base::MemberId;
use crate::base::limits::PEER_APPEND_BYTES_MAX;
use crate::disk::{self, Database};
use crate::net::Address;
use crate::wal::{self, Wal};

/// What lies in the data directory.
pub const IDENTITY_FILE: &str = "identity";
pub(super) const LOG_FOLDER: &str = "wal";
pub(super) const STATE_FILE: &str = "state.redb";
const TRANSFER_FOLDER: &str = "transfer";

/// How long a snapshot, which is a flush, may take.
const SNAPSHOT_WAIT: Duration = Duration::from_secs(60);
/// Entries that a heavy log keeps for members that are a little late.
const HEAVY_LOG_KEEP_ENTRIES: u64 = 64;

impl RaftStore {
    /// Starts a member of a cluster whose first members are `options.peers`. A fresh one forms the cluster together
    /// with the others; one with a past goes on where it was.
    ///
    /// # Errors
    /// [`StartError`], with nothing changed but folders made.
    pub async fn start(options: Options) -> Result<Arc<Self>, StartError> {
        let addresses = check(&options)?;
        let me = Arc::new(Identity {
            cluster: options.cluster,
            member: options.member,
            instance: options.random.next_u64(),
        });
        let hub = Hub::new();
        let leases = Leases::new(options.clock.clone(), options.lease_checkpoint);
        let files = open_files(&options, &me, hub, leases).await?;
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let names = options.peers.iter().filter(|peer| peer.id != options.member);
        let health = Arc::new(Health::new(names.map(|peer| (peer.id, peer.name.clone()))));
        let given_up = super::recover::former(&options.data_dir);
        let roll = Arc::new(Roll::of(given_up.map_err(|error| StartError::Directory {
            dir: options.data_dir.clone(),
            why: format!("which clusters were given up for this one: {error}"),
        })?));
        let peers = Peers::new(me.clone(), options.dialling.clone(), health.clone(), roll.clone(), &stop, &tasks);
        // What the log says of the members follows as soon as it is read.
        peers.settle(&addresses);
        let guests = Arc::<Guests>::default();
        let raft = build_raft(&options, &files, &peers).await.inspect_err(|_| stop.cancel())?;
        let (proposer, proposals) = Proposer::new();
        let (reads, readers) = Reads::new();
        let node = Arc::new(Node {
            me: me.clone(),
            name: options.name.clone(),
            clock: options.clock.clone(),
            raft: raft.clone(),
            core: files.core,
            peers: peers.clone(),
            transfers: files.transfers,
            proposer,
            reads,
            seats: options.seats,
            read_lease: options.lease_reads.then(|| ReadLease::new(options.election_ms)),
            disk: DiskView::default(),
            lead: watch::Sender::new(Lead::default()),
            guests: guests.clone(),
            probation: files.probation,
            changing: tokio::sync::Mutex::default(),
            ended: OnceLock::new(),
            lease: Duration::from_millis(options.election_ms),
            stop: stop.clone(),
            tasks: tasks.clone(),
        });
        let server = Server {
            me,
            health,
            guests,
            strangers: Arc::default(),
            roll,
            service: Arc::new(Service(node.clone())),
            handler: options.handler.clone(),
            stop: stop.clone(),
            tasks: tasks.clone(),
        };
        tasks.spawn(leader::follow(node.clone()));
        tasks.spawn(node.core.clone().keep_flushed(stop.clone()));
        tasks.spawn(node.core.clone().keep_compacted(stop.clone()));
        tasks.spawn(proposer::run(node.clone(), proposals));
        tasks.spawn(reads::run(node.clone(), readers));
        tasks.spawn(lease_keeper::take_up(node.clone()));
        tasks.spawn(lease_keeper::expire(node.clone()));
        tasks.spawn(members::follow(node.clone()));
        tasks.spawn(members::promote(node.clone()));
        tasks.spawn(seats::fill(node.clone()));
        tasks.spawn(watchdog::watch(node.clone(), files.log.clone()));
        tasks.spawn(lease_keeper::checkpoint(node.clone()));
        tasks.spawn(upkeep::keep_history(node.clone(), options.history));
        tasks.spawn(upkeep::watch_disk(node.clone(), options.room, options.room_rules));
        tasks.spawn(greet_arrivals(node.clone()));
        tasks.spawn(cut_heavy_log(node.clone()));
        raft.run();
        for listener in options.listeners {
            tasks.spawn(server.clone().run(listener));
        }
        tasks.spawn(begin(node.clone(), options.peers, options.election_ms, options.joins));
        Ok(Arc::new(Self { node, handler: options.handler, log: files.log, stopped: tokio::sync::Mutex::new(false) }))
    }
}

/// Whether the options make sense; returns the addresses of the other members.
fn check(options: &Options) -> Result<BTreeMap<MemberId, Vec<Address>>, StartError> {
    let Options { heartbeat_ms, election_ms, .. } = *options;
    if heartbeat_ms == 0 || election_ms < heartbeat_ms.saturating_mul(5) {
        return Err(StartError::Timing { heartbeat_ms, election_ms });
    }
    let mut seen = BTreeMap::new();
    for peer in &options.peers {
        let addresses: Result<Vec<Address>, _> = peer.urls.iter().map(|url| Address::from_url(url)).collect();
        let addresses = addresses.map_err(|source| StartError::Address { name: peer.name.clone(), source })?;
        if seen.insert(peer.id, addresses).is_some() {
            return Err(StartError::ListedTwice(peer.id));
        }
    }
    if seen.remove(&options.member).is_none() {
        return Err(StartError::NotAMember { member: options.member, name: options.name.clone() });
    }
    Ok(seen)
}

/// What is open of the data directory.
pub(super) struct Files {
    pub core: Arc<Core>,
    pub log: LogStore,
    transfers: Arc<Transfers>,
    probation: Probation,
}

async fn open_files(options: &Options, me: &Identity, hub: Arc<Hub>, leases: Arc<Leases>) -> Result<Files, StartError> {
    let dir = options.data_dir.clone();
    let identity = format!("cluster {} member {}", me.cluster, me.member);
    let place =
        options.joins.then(|| Place { cluster: options.cluster, member: options.member, peers: options.peers.clone() });
    let (segment_bytes, log_bytes_max) = (options.wal_segment_bytes, options.snapshot.bytes);
    let opening = move || {
        if let Some(place) = place.filter(|_| !join::holds_data(&dir)) {
            let io = |error: io::Error| StartError::Directory { dir: dir.clone(), why: error.to_string() };
            join::keep(&dir, &place).map_err(io)?;
        }
        let load = |database| Core::load(database, hub, leases, log_bytes_max);
        open_blocking(&dir, &identity, segment_bytes, load)
    };
    match tokio::task::spawn_blocking(opening).await {
        Ok(result) => result,
        Err(error) => Err(StartError::Raft(error.to_string())),
    }
}

pub(super) fn open_blocking(
    dir: &Path,
    identity: &str,
    segment_bytes: u64,
    load: impl FnOnce(Database) -> Result<Arc<Core>, String>,
) -> Result<Files, StartError> {
    let io = |error: io::Error| StartError::Directory { dir: dir.to_owned(), why: error.to_string() };
    let incomplete = |why: String| StartError::Incomplete { dir: dir.to_owned(), why };
    if super::seed::is_unfinished(dir) {
        return Err(incomplete("a restore or import into it did not come to its end".to_owned()));
    }
    std::fs::create_dir_all(dir).map_err(io)?;
    let (log_dir, state_path) = (dir.join(LOG_FOLDER), dir.join(STATE_FILE));
    let fresh = !join::holds_data(dir) && !log_dir.exists() && !state_path.exists();
    let probation = Probation::open(dir, fresh).map_err(io)?;
    claim(dir, identity, log_dir.exists() || state_path.exists())?;
    let (wal, recovered) = Wal::open(&log_dir, wal::Options { identity: identity.to_owned().into(), segment_bytes })?;
    let (fresh, purged) = (recovered.fresh, recovered.purged.is_some());
    if purged && !state_path.exists() {
        return Err(incomplete(format!("{STATE_FILE} is missing and the log no longer holds all of it")));
    }
    let database = Database::open(&state_path, true)?;
    let core = load(database).map_err(&incomplete)?;
    if fresh && !core.is_pristine() {
        return Err(incomplete(format!("{STATE_FILE} is there but the log in {LOG_FOLDER} is not")));
    }
    let log = LogStore::new(wal, recovered).map_err(|error| incomplete(error.to_string()))?;
    let transfers = Arc::new(Transfers::open(&dir.join(TRANSFER_FOLDER)).map_err(io)?);
    Ok(Files { core, log, transfers, probation })
}

/// Makes sure that the directory is this node's, or becomes so.
pub(super) fn claim(dir: &Path, identity: &str, in_use: bool) -> Result<(), StartError> {
    let io = |error: io::Error| StartError::Directory { dir: dir.to_owned(), why: error.to_string() };
    let path = dir.join(IDENTITY_FILE);
    let wanted = format!("{identity}\n");
    match std::fs::read_to_string(&path) {
        Ok(found) if found == wanted => Ok(()),
        Ok(found) => Err(StartError::Identity {
            dir: dir.to_owned(),
            found: found.trim().chars().take(200).collect(),
            wanted: identity.to_owned(),
        }),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io(error)),
        Err(_) if in_use => Err(StartError::Incomplete {
            dir: dir.to_owned(),
            why: format!("it holds data but no file `{IDENTITY_FILE}` that says whose"),
        }),
        Err(_) => disk::replace(&path, wanted.as_bytes()).map_err(io),
    }
}

async fn build_raft(options: &Options, files: &Files, peers: &Arc<Peers>) -> Result<Raft, StartError> {
    let config = Config {
        cluster_name: options.cluster.to_string(),
        heartbeat_interval: options.heartbeat_ms,
        // A follower waits for the leader's lease and then for a random time between these two, which makes one to
        // one and a half election timeouts in all when they are half of it and all of it.
        election_timeout_min: options.election_ms / 2,
        election_timeout_max: options.election_ms,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(options.snapshot.entries),
        max_in_snapshot_log_to_keep: options.snapshot.keep,
        replication_lag_threshold: options.snapshot.entries + options.snapshot.keep,
        snapshot_max_chunk_size: PEER_APPEND_BYTES_MAX as u64,
        enable_pre_vote: Some(true),
        // One that may have forgotten its vote, or whom it follows, asks for none either.
        enable_elect: files.probation.standing() == Standing::Trusted && !options.lease_reads,
        // The state is not durable with every entry, so a leader that comes back must be elected.
        enable_leader_restore: Some(false),
        // A member whose disk was emptied must not bring the leader down.
        allow_log_reversion: Some(true),
        ..Config::default()
    };
    let config = config.validate().map_err(|error| StartError::Raft(error.to_string()))?;
    let network = Network {
        peers: peers.clone(),
        core: files.core.clone(),
        transfers: files.transfers.clone(),
        patience: Duration::from_millis(options.election_ms),
    };
    let machine = StateMachine { core: files.core.clone() };
    Raft::build(options.member.0, Arc::new(config), network, files.log.clone(), machine)
        .await
        .map_err(|error| StartError::Raft(error.to_string()))
}

/// A peer that has come back is sent entries at once, not after openraft's pause.
async fn greet_arrivals(node: Arc<Node>) {
    let mut arrivals = node.peers.arrivals();
    let greeting = async {
        while arrivals.changed().await.is_ok() {
            let peers = node.peers.ids().into_iter();
            let ids: Vec<u64> = peers.filter(|id| node.peers.health.reachable(*id)).map(|id| id.0).collect();
            if node.raft.trigger().reset_backoff(ids).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = node.stop.cancelled() => {}
        () = greeting => {}
    }
}

/// Cuts the log when it has become heavy with few entries, which openraft's own policy does not see.
async fn cut_heavy_log(node: Arc<Node>) {
    let cutting = async {
        loop {
            node.core.log_heavy().await;
            let Some(applied) = node.core.progress().borrow().applied else { continue };
            if node.raft.trigger().snapshot().await.is_err() {
                return;
            }
            let made = |metrics: &RaftMetrics<TypeConfig>| metrics.snapshot.is_some_and(|id| id.index >= applied.index);
            let wait = node.raft.wait(Some(SNAPSHOT_WAIT));
            if let Err(error) = wait.metrics(made, "a snapshot").await {
                tracing::warn!("the log is heavy and could not be cut: {error}");
                continue;
            }
            let upto = applied.index.saturating_sub(HEAVY_LOG_KEEP_ENTRIES);
            if node.raft.trigger().purge_log(upto).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = node.stop.cancelled() => {}
        () = cutting => {}
    }
}

/// What a member does at its start: finds out whether it may be trusted, and forms the cluster unless that exists.
async fn begin(node: Arc<Node>, members: Vec<super::options::Peer>, election_ms: u64, joins: bool) {
    let trusted = probation::end(&node, Duration::from_millis(election_ms));
    tokio::select! {
        () = node.stop.cancelled() => return,
        () = trusted => {}
    }
    if !joins {
        form_cluster(node, members, election_ms).await;
    }
}

/// Forms the cluster if this member is fresh: the first of the members does so as soon as a quorum is reachable, the others
/// only if they hear nothing from it for long. All write the same first entry, so it does no harm if several do.
async fn form_cluster(node: Arc<Node>, members: Vec<super::options::Peer>, election_ms: u64) {
    let forming = async {
        let ids: Vec<MemberId> = {
            let mut ids: Vec<_> = members.iter().map(|member| member.id).collect();
            ids.sort_unstable();
            ids
        };
        let rank = ids.iter().position(|id| *id == node.me.member).unwrap_or(0);
        match rank {
            0 => quorum_reachable(&node, Duration::from_millis(election_ms)).await,
            rank => tokio::time::sleep(Duration::from_millis(3 * election_ms * rank as u64)).await,
        }
        match node.raft.is_initialized().await {
            Ok(true) | Err(_) => return,
            Ok(false) => {}
        }
        if somebody_formed(&node, Duration::from_millis(election_ms)).await {
            tracing::info!("the cluster exists already; its leader brings this member up to date");
            return;
        }
        let founder = |mut member: super::options::Peer| {
            // The same entry on all, in whatever order the URLs were written.
            member.urls.sort();
            (member.id.0, types::Node { urls: member.urls, votes: true, stands: false })
        };
        let membership: BTreeMap<u64, types::Node> = members.into_iter().map(founder).collect();
        match node.raft.initialize(membership).await {
            Ok(()) => tracing::info!("formed the cluster {}", node.me.cluster),
            // The others were quicker.
            Err(error) => tracing::debug!("the cluster is formed already: {error}"),
        }
    };
    tokio::select! {
        () = node.stop.cancelled() => {}
        () = forming => {}
    }
}

/// Whether a peer says that the cluster has come into being: then this member has lost its disk, or was slow to come.
async fn somebody_formed(node: &Node, wait: Duration) -> bool {
    let asked = node.peers.ids().into_iter().map(|id| node.peers.ask(id, Lane::Control, &Request::IsFormed, wait));
    let answers = futures_util::future::join_all(asked).await;
    answers.iter().any(|answer| matches!(answer, Ok(Response::IsFormed(true))))
}

/// Waits until so many peers have been heard of that a leader can be elected, but not longer than `wait`.
async fn quorum_reachable(node: &Node, wait: Duration) {
    let needed = node.peers.ids().len().div_ceil(2);
    let mut arrivals = node.peers.arrivals();
    let arrived = arrivals.wait_for(|count| *count as usize >= needed);
    // Should they not come in time, the election goes on by itself until they do.
    let _ = tokio::time::timeout(wait, arrived).await;
}
