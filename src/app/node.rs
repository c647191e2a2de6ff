//! A node, from the ground up: listeners, store, executor, jobs, doors; closed in reverse. Units outlive it.

use std::io;
#[cfg(feature = "api")]
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

#[cfg(feature = "api")]
use super::doors::{Doors, Inside};
#[cfg(feature = "api")]
use super::listeners::bind_clients;
use super::listeners::{bind_peers, certificate_hosts, renew_certificate};
use super::place::find_place;
#[cfg(feature = "api")]
use super::program::Calls;
use super::program::Program;
use super::settings::{PeerSetting, Settings};
use super::{format, host};
use crate::base::DATA_FORMAT;
use crate::base::limits::{LEASE_CHECKPOINT_SECONDS, WAL_SEGMENT_BYTES};
use crate::disk::FileSystem;
use crate::jobs::Jobs;
use crate::jobs::authority_key::KeyHandler;
use crate::jobs::certificates::Certificates;
#[cfg(feature = "api")]
use crate::jobs::first_token::FirstToken;
use crate::jobs::member::Announce;
use crate::kv::{Member, Store};
use crate::net::tls::{ClientTls, ServerTls, TlsError};
use crate::raft::{self, PeerHandler, PeerListener, RaftStore};

/// How long jobs may take to end.
const JOBS_END_WITHIN: Duration = Duration::from_secs(5);

/// Why a node did not come up. Nothing of it is left behind.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("{key} {address} cannot be listened on: {cause}{}", listen_remedy(.cause, .key))]
    Listen { key: &'static str, address: String, cause: io::Error },
    #[error("{0}")]
    Host(String),
    #[error(
        "{path}: the data there are of format {found}, this program reads up to format {DATA_FORMAT}: a later one has used them; run \
         that one, or restore a backup of an earlier time"
    )]
    Format { path: String, found: u32 },
    #[error("{path}: {cause}; it must be a folder that this user may write to, see data_dir")]
    DataDir { path: String, cause: io::Error },
    #[cfg(feature = "api")]
    #[error(transparent)]
    Discovery(#[from] super::discovery::DiscoveryError),
    #[cfg(feature = "api")]
    #[error(transparent)]
    DiscoverySrv(#[from] super::discovery_srv::SrvError),
    #[error(transparent)]
    Store(#[from] raft::StartError),
    #[error("{setting} is on, but this binary was built without `{feature}`; turn it off, or use a build that has it")]
    NotCompiledIn { setting: &'static str, feature: &'static str },
    #[error("backup.to: {0}")]
    Backup(String),
    #[error("the executor cannot start: {0}")]
    Executor(String),
    #[error("{key}: TLS cannot be spoken: {cause}")]
    Tls { key: &'static str, cause: TlsError },
}

fn listen_remedy(cause: &io::Error, key: &str) -> String {
    match cause.kind() {
        io::ErrorKind::AddrInUse => format!("; another node or etcd holds it: stop that one, or set {key}"),
        io::ErrorKind::PermissionDenied => format!("; run as root, or set {key}"),
        io::ErrorKind::AlreadyExists => format!("; move it away, or set {key}"),
        io::ErrorKind::AddrNotAvailable => format!("; this machine has no such address: set {key}"),
        _ => String::new(),
    }
}

/// What becomes of this machine's units when the node stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Teardown {
    /// They go on; the next start adopts them.
    KeepUnits,
    /// They are stopped and forgotten: for clusters that are thrown away. Only those of the executors `process` and `docker`.
    RemoveUnits,
}

/// A running node. Dropping it without [`Node::stop`] is what a crash is: nothing is lost, nothing is told.
pub struct Node {
    store: Arc<RaftStore>,
    jobs: Jobs,
    fatal: watch::Receiver<Option<String>>,
    published: watch::Receiver<bool>,
    #[cfg(feature = "scheduler")]
    machine: Option<super::machine::Machine>,
    #[cfg(feature = "api")]
    doors: Doors,
    #[cfg(feature = "api")]
    client_addresses: Vec<SocketAddr>,
}

impl Node {
    /// Completes when this member was removed from the cluster, with the reason. It must not start again with this data.
    pub async fn removed(&self) -> String {
        self.store.removed().await
    }

    /// Brings a node up. It returns once the doors are open; the cluster may still lack a leader.
    ///
    /// # Errors
    /// [`StartError`], naming the setting or the file and the remedy.
    pub async fn start(settings: Settings) -> Result<Self, StartError> {
        Self::start_as(settings, None).await
    }

    /// The same, for a process that is this node and nothing else: it can be upgraded.
    ///
    /// # Errors
    /// As of [`Node::start`].
    pub(super) async fn start_as(mut settings: Settings, program: Option<Arc<Program>>) -> Result<Self, StartError> {
        refuse_what_is_not_compiled_in(&settings)?;
        renew_certificate(&settings)?;
        let (peer_listeners, dialling) = bind_peers(&settings).await?;
        let servers: Vec<_> = peer_listeners.iter().filter_map(|listener| listener.tls.clone()).collect();
        #[cfg(feature = "api")]
        let (listeners, client_addresses) = bind_clients(&settings).await?;
        #[cfg(feature = "api")]
        let servers = [servers, listeners.iter().filter_map(crate::api::Listener::tls).collect()].concat();
        std::fs::create_dir_all(&settings.data_dir)
            .map_err(|cause| StartError::DataDir { path: settings.data_dir.display().to_string(), cause })?;
        take_up_format(&settings)?;
        let joins = find_place(&mut settings, &dialling).await?;
        #[cfg(feature = "scheduler")]
        let executor = match settings.fleet.enabled {
            true => Some(super::machine::executor(&settings).await?),
            false => None,
        };
        let (fatal_tx, fatal) = watch::channel(None);
        #[cfg(feature = "scheduler")]
        let units = executor.as_ref().map(super::machine::Ready::answering);
        #[cfg(not(feature = "scheduler"))]
        let units = None;
        let handler = peer_handler(&settings, units, program.as_ref());
        let store = RaftStore::start(store_options(&settings, joins, peer_listeners, dialling, handler)).await?;
        let mut jobs = Jobs::default();
        let published = start_member_jobs(&settings, &store, servers, &mut jobs);
        #[cfg(feature = "scheduler")]
        let machine = {
            let store: Arc<dyn Store> = store.clone();
            executor.map(|executor| executor.start_jobs(&settings, &store, &mut jobs, fatal_tx.clone()))
        };
        #[cfg(feature = "template")]
        let meter = settings.template.enabled.then(|| {
            #[cfg(feature = "scheduler")]
            let home = match &machine {
                Some(machine) => machine.home(&store),
                None => super::templates::homeless(&settings, &store),
            };
            #[cfg(not(feature = "scheduler"))]
            let home = super::templates::homeless(&settings, &store);
            super::templates::start(&settings, &store, home, &mut jobs)
        });
        #[cfg(all(feature = "template", not(feature = "api")))]
        drop(meter);
        #[cfg(feature = "scheduler")]
        let machine_id = machine.as_ref().map(super::machine::Machine::id);
        #[cfg(not(feature = "scheduler"))]
        let machine_id = None;
        if let Some(program) = &program {
            program.attach(&store, machine_id);
        }
        #[cfg(feature = "api")]
        let doors = {
            let inside = Inside {
                settings: &settings,
                store: &store,
                #[cfg(feature = "scheduler")]
                machine: machine.as_ref(),
                #[cfg(feature = "template")]
                meter,
                program,
            };
            Doors::open(listeners, inside, &mut jobs)?
        };
        drop(fatal_tx);
        tracing::info!(name = settings.name, member = %settings.member, cluster = %settings.cluster, "this node is up");
        Ok(Self {
            store,
            jobs,
            fatal,
            published,
            #[cfg(feature = "scheduler")]
            machine,
            #[cfg(feature = "api")]
            doors,
            #[cfg(feature = "api")]
            client_addresses,
        })
    }

    /// The cluster's store, as seen from this node.
    pub fn store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    /// Where clients reach this node, with the ports that 0 became.
    #[cfg(feature = "api")]
    pub fn client_addresses(&self) -> &[SocketAddr] {
        &self.client_addresses
    }

    /// Completes once the cluster has a leader and this machine, if it is one, is in the list of machines.
    pub async fn serves(&self) {
        while self.store.status().leader.is_none() {
            self.store.leader_changed(None).await;
        }
        #[cfg(feature = "scheduler")]
        if let Some(machine) = &self.machine {
            machine.announced().await;
        }
    }

    /// Completes once this member's name and addresses are known to the cluster.
    pub async fn published(&self) {
        if self.published.clone().wait_for(|known| *known).await.is_err() {
            // The job is gone, and with it the node.
            std::future::pending().await
        }
    }

    /// Completes when the node cannot go on, with the reason.
    pub async fn broken(&self) -> String {
        let mut fatal = self.fatal.clone();
        let told = async {
            match fatal.wait_for(Option::is_some).await {
                Ok(reason) => reason.clone().unwrap_or_default(),
                // Nobody is left who could tell: nothing of that kind can go wrong any more.
                Err(_) => std::future::pending().await,
            }
        };
        tokio::select! {
            reason = told => reason,
            reason = self.store.broken() => reason,
        }
    }

    /// Hands leadership over, then closes in reverse order.
    pub async fn stop(self, teardown: Teardown) {
        // First, so that nobody waits for an election while the doors close.
        self.store.hand_over().await;
        #[cfg(feature = "api")]
        self.doors.stop().await;
        self.jobs.stop(JOBS_END_WITHIN).await;
        #[cfg(feature = "scheduler")]
        if let (Some(machine), Teardown::RemoveUnits) = (self.machine, teardown) {
            machine.remove_units().await;
        }
        #[cfg(not(feature = "scheduler"))]
        let _ = teardown;
        self.store.stop().await;
    }
}

fn take_up_format(settings: &Settings) -> Result<(), StartError> {
    let path = settings.data_dir.display().to_string();
    match format::take_up(&settings.data_dir) {
        Ok(None) => Ok(()),
        Ok(Some(found)) => Err(StartError::Format { path, found }),
        Err(cause) => Err(StartError::DataDir { path, cause }),
    }
}

fn refuse_what_is_not_compiled_in(settings: &Settings) -> Result<(), StartError> {
    if settings.fleet.enabled && cfg!(not(feature = "scheduler")) {
        return Err(StartError::NotCompiledIn { setting: "fleet.enabled", feature: "scheduler" });
    }
    if settings.fleet.docker_socket.is_some() && cfg!(not(feature = "docker")) {
        return Err(StartError::NotCompiledIn { setting: "docker.socket", feature: "docker" });
    }
    if settings.template.enabled && cfg!(not(feature = "template")) {
        return Err(StartError::NotCompiledIn { setting: "template.enabled", feature: "template" });
    }
    if settings.backup.is_some() && cfg!(not(feature = "api")) {
        return Err(StartError::NotCompiledIn { setting: "backup.to", feature: "api" });
    }
    if settings.discovery.is_some() && cfg!(not(feature = "api")) {
        return Err(StartError::NotCompiledIn { setting: "discovery", feature: "api" });
    }
    if settings.discovery_srv.is_some() && cfg!(not(feature = "api")) {
        return Err(StartError::NotCompiledIn { setting: "discovery_srv", feature: "api" });
    }
    Ok(())
}

/// Where a node's log and state lie in its data directory.
pub fn store_dir(settings: &Settings) -> std::path::PathBuf {
    settings.data_dir.join("store")
}

/// What members ask of this one: about its units, its program, and the key of the cluster's authority.
fn peer_handler(
    settings: &Settings,
    units: Option<Arc<dyn PeerHandler>>,
    program: Option<&Arc<Program>>,
) -> Arc<dyn PeerHandler> {
    let handler = units.unwrap_or_else(|| Arc::new(raft::NoCalls));
    #[cfg(feature = "api")]
    let handler: Arc<dyn PeerHandler> = match program {
        Some(program) => Arc::new(Calls { program: program.clone(), units: handler }),
        None => handler,
    };
    #[cfg(not(feature = "api"))]
    let _ = program;
    match settings.identity.clone() {
        Some(identity) => Arc::new(KeyHandler { identity, others: handler }),
        None => handler,
    }
}

/// The jobs of every member; what is returned turns true once the cluster knows its name and addresses.
fn start_member_jobs(
    settings: &Settings,
    store: &Arc<RaftStore>,
    servers: Vec<Arc<ServerTls>>,
    jobs: &mut Jobs,
) -> watch::Receiver<bool> {
    let (known, published) = watch::channel(false);
    if let Some(identity) = settings.identity.clone() {
        #[cfg(feature = "api")]
        jobs.start(FirstToken { store: store.clone(), identity: identity.clone() });
        let (store, name, clock) = (store.clone(), settings.name.clone(), Arc::new(host::SystemClock));
        jobs.start(Certificates { store, identity, name, hosts: certificate_hosts(settings), servers, clock });
    }
    jobs.start(Announce { store: store.clone(), member: own_member(settings), known });
    published
}

fn store_options(
    settings: &Settings,
    joins: bool,
    listeners: Vec<PeerListener>,
    dialling: Arc<ClientTls>,
    handler: Arc<dyn PeerHandler>,
) -> raft::Options {
    raft::Options {
        cluster: settings.cluster,
        member: settings.member,
        name: settings.name.clone(),
        peers: settings.peers.iter().map(PeerSetting::peer).collect(),
        joins,
        data_dir: store_dir(settings),
        listeners,
        dialling,
        heartbeat_ms: settings.heartbeat_ms,
        election_ms: settings.election_ms,
        lease_reads: settings.lease_reads,
        seats: settings.seats,
        lease_checkpoint: Duration::from_secs(LEASE_CHECKPOINT_SECONDS),
        clock: Arc::new(host::SystemClock),
        random: Arc::new(host::SystemRandom),
        snapshot: raft::SnapshotThresholds::default(),
        wal_segment_bytes: WAL_SEGMENT_BYTES,
        handler,
        history: settings.history,
        room: Arc::new(FileSystem(settings.data_dir.clone())),
        room_rules: settings.disk,
    }
}

fn own_member(settings: &Settings) -> Member {
    let own = settings.peers.iter().find(|peer| peer.id == settings.member);
    Member {
        id: settings.member,
        name: settings.name.clone(),
        peer_urls: own.map(|peer| peer.urls.clone()).unwrap_or_default(),
        client_urls: settings.client_advertise.clone(),
        learner: false,
    }
}
