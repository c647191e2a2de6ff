//! A node, from the ground up: listeners, store, executor, jobs, doors; closed in reverse. Units outlive it.

use std::io;
#[cfg(feature = "api")]
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
#[cfg(feature = "api")]
use tokio_util::sync::CancellationToken;

#[cfg(feature = "api")]
use super::program::Calls;
use super::program::Program;
use super::settings::tls::Listen;
use super::settings::{PeerSetting, Settings};
use super::{format, host};
use crate::base::Clock as _;
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
use crate::net::tls::{ClientTls, ServerTls, Terms, TlsError, host_of};
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
    doors: crate::api::Doors,
    /// Ends fleet's long answers when the doors close.
    #[cfg(feature = "api")]
    closing: CancellationToken,
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
        let handler: Arc<dyn PeerHandler> = match &executor {
            Some(executor) => executor.answering(),
            None => Arc::new(raft::NoCalls),
        };
        #[cfg(not(feature = "scheduler"))]
        let handler: Arc<dyn PeerHandler> = Arc::new(raft::NoCalls);
        #[cfg(feature = "api")]
        let handler: Arc<dyn PeerHandler> = match &program {
            Some(program) => Arc::new(Calls { program: program.clone(), units: handler }),
            None => handler,
        };
        let handler = match settings.identity.clone() {
            Some(identity) => Arc::new(KeyHandler { identity, others: handler }),
            None => handler,
        };
        let store = RaftStore::start(store_options(&settings, joins, peer_listeners, dialling, handler)).await?;
        let mut jobs = Jobs::default();
        let (known_tx, published) = watch::channel(false);
        if let Some(identity) = &settings.identity {
            let (identity, hosts) = (identity.clone(), certificate_hosts(&settings));
            #[cfg(feature = "api")]
            jobs.start(FirstToken { store: store.clone(), identity: identity.clone() });
            let (store, name, clock) = (store.clone(), settings.name.clone(), Arc::new(host::SystemClock));
            jobs.start(Certificates { store, identity, name, hosts, servers, clock });
        }
        jobs.start(Announce { store: store.clone(), member: own_member(&settings), known: known_tx });
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
        #[cfg(feature = "api")]
        let backups = super::backups::start(&settings, &store, &mut jobs)?;
        #[cfg(feature = "api")]
        let checkup = super::checkup::Checkup::new(&settings, &store, backups.clone());
        #[cfg(feature = "api")]
        let closing = CancellationToken::new();
        #[cfg(all(feature = "api", feature = "scheduler"))]
        let routes = machine.as_ref().map(|machine| machine.routes(&store, &closing)).unwrap_or_default();
        #[cfg(all(feature = "api", not(feature = "scheduler")))]
        let routes = crate::api::Routes::default();
        #[cfg(feature = "api")]
        let metrics: &[Option<crate::api::Metrics>] = &[
            #[cfg(feature = "scheduler")]
            machine.as_ref().map(|machine| machine.counts() as crate::api::Metrics),
            #[cfg(feature = "template")]
            meter.map(|meter| Arc::new(meter) as crate::api::Metrics),
        ];
        #[cfg(feature = "scheduler")]
        let machine_id = machine.as_ref().map(super::machine::Machine::id);
        #[cfg(not(feature = "scheduler"))]
        let machine_id = None;
        #[cfg(feature = "api")]
        let routes = match program {
            Some(program) => {
                program.attach(&store, machine_id);
                routes.merge(crate::api::program::routes(program))
            }
            None => routes,
        };
        #[cfg(not(feature = "api"))]
        let _: (Option<Arc<Program>>, Option<String>) = (program, machine_id);
        #[cfg(feature = "api")]
        let doors = crate::api::serve(
            listeners,
            crate::api::Services {
                store: store.clone(),
                clock: Arc::new(host::SystemClock),
                random: Arc::new(host::SystemRandom),
                users: crate::api::UsersOptions {
                    token_ttl_seconds: settings.auth.token_ttl_seconds,
                    password_cost: settings.auth.bcrypt_cost,
                },
                watch_progress: Duration::from_millis(settings.watch_progress_ms),
                identity: settings.identity.clone(),
                routes: routes
                    .merge(crate::api::backups::routes(backups))
                    .merge(crate::api::checkup::routes(Arc::new(checkup)))
                    .merge(crate::api::secrets::routes(store.clone())),
                metrics: metrics.iter().flatten().cloned().collect(),
            },
        );
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
            closing,
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
        {
            self.closing.cancel();
            self.doors.stop().await;
        }
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

/// The listeners for the other members, and how this one connects to theirs.
async fn bind_peers(settings: &Settings) -> Result<(Vec<PeerListener>, Arc<ClientTls>), StartError> {
    let failed = |cause| StartError::Tls { key: "peer.cert_file", cause };
    let (mut tls, mut dialling) = (None, Arc::default());
    if let Some(peer_tls) = &settings.peer_tls {
        let terms = peer_tls.terms(&own_certificate(settings, "peer"), &hosts(&settings.peer_listen), &[]);
        let terms = terms.map_err(failed)?;
        dialling = Arc::new(peer_tls.dialling(&terms.identity));
        tls = Some(server(terms).map_err(failed)?);
    }
    let mut listeners = Vec::new();
    for listen in &settings.peer_listen {
        let Listen { address, tls: within } = listen;
        let failed = |cause| StartError::Listen { key: "peer.listen", address: address.to_string(), cause };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        if !within && !address.ip().is_loopback() {
            tracing::warn!(
                "peer.listen {address} is open to other machines in plain text; keep it on a network that you trust"
            );
        }
        listeners.push(PeerListener { listener, tls: tls.clone().filter(|_| *within) });
    }
    Ok((listeners, dialling))
}

#[cfg(feature = "api")]
async fn bind_clients(settings: &Settings) -> Result<(Vec<crate::api::Listener>, Vec<SocketAddr>), StartError> {
    use crate::api::{Door, Listener};
    use crate::net::tls::Protocol;
    let door = match &settings.client_tls {
        None => None,
        Some(tls) => {
            let (folder, hosts) = (own_certificate(settings, "client"), hosts(&settings.client_listen));
            let terms = tls.terms(&folder, &hosts, &[Protocol::Http2, Protocol::Http1]);
            let opened = terms.and_then(server).map_err(|cause| StartError::Tls { key: "client.cert_file", cause })?;
            Some(Door { tls: opened, users_by_name: tls.client_cert_auth, of_cluster: tls.of_cluster.is_some() })
        }
    };
    let (mut listeners, mut addresses) = (Vec::new(), Vec::new());
    for listen in &settings.client_listen {
        let (listener, bound) = super::sockets::tcp("client.listen", *listen).await?;
        listeners.push(match door.clone().filter(|_| listen.tls) {
            Some(door) => Listener::Tls(listener, door),
            None => Listener::Tcp(listener),
        });
        addresses.push(bound);
    }
    let fleet_socket = settings.fleet.socket.as_ref().filter(|_| settings.fleet.enabled);
    let client_sockets = settings.client_sockets.iter().map(|path| ("client.socket", path));
    for (key, path) in client_sockets.chain(fleet_socket.map(|path| ("fleet.socket", path))) {
        listeners.push(super::sockets::unix(key, path).await?);
    }
    Ok((listeners, addresses))
}

fn server(terms: Terms) -> Result<Arc<ServerTls>, TlsError> {
    ServerTls::new(terms).map(Arc::new)
}

/// Where a certificate is kept that the node makes for itself.
pub(super) fn own_certificate(settings: &Settings, of: &str) -> std::path::PathBuf {
    settings.data_dir.join("certificates").join(of)
}

/// For whom such a certificate is made.
fn hosts(listens: &[Listen]) -> Vec<String> {
    let mut hosts: Vec<String> = listens.iter().map(|listen| listen.address.ip().to_string()).collect();
    hosts.push("localhost".to_owned());
    hosts
}

/// For whom the cluster makes this member's certificate: wherever others reach it.
pub fn certificate_hosts(settings: &Settings) -> Vec<String> {
    let listens = settings.peer_listen.iter().chain(&settings.client_listen).map(|listen| listen.address.ip());
    let listens = listens.filter(|ip| !ip.is_unspecified()).map(|ip| ip.to_string());
    let own = settings.peers.iter().filter(|peer| peer.name == settings.name).flat_map(|peer| &peer.urls);
    let told = own.chain(&settings.client_advertise).map(|url| host_of(url));
    let always = [settings.name.clone(), "localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    let is_host = |host: &String| {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
        host.parse::<std::net::IpAddr>().is_ok() || (!host.is_empty() && host.chars().all(plain))
    };
    let hosts: std::collections::BTreeSet<String> = listens.chain(told).chain(always).filter(is_host).collect();
    hosts.into_iter().collect()
}

/// A certificate that has become old while the node did not run is renewed before anybody is shown it.
fn renew_certificate(settings: &Settings) -> Result<(), StartError> {
    let Some(identity) = &settings.identity else { return Ok(()) };
    let renewed = identity.renew(&certificate_hosts(settings), host::SystemClock.now());
    renewed.map(drop).map_err(|cause| StartError::Tls { key: "identity", cause })
}

/// Where a node's log and state lie in its data directory.
pub fn store_dir(settings: &Settings) -> std::path::PathBuf {
    settings.data_dir.join("store")
}

/// Takes the ids and peers of a member that joins, or that once joined; whether it is one is returned.
async fn find_place(settings: &mut Settings, dialling: &Arc<ClientTls>) -> Result<bool, StartError> {
    let dir = store_dir(settings);
    let place = match raft::joined(&dir)? {
        Some(place) => place,
        None if settings.existing && !raft::holds_data(&dir) => {
            let initial: Vec<_> = settings.peers.iter().map(|peer| (peer.name.clone(), peer.urls.clone())).collect();
            raft::find_place(&settings.name, &initial, dialling).await?
        }
        None => {
            #[cfg(feature = "api")]
            if let Some(discovery) = settings.discovery.clone() {
                super::discovery::settle(settings, &discovery, raft::holds_data(&dir)).await?;
            }
            #[cfg(feature = "api")]
            if let Some(srv) = settings.discovery_srv.clone() {
                super::discovery_srv::settle(settings, &srv, raft::holds_data(&dir)).await?;
            }
            tell_whether_secured(settings);
            return Ok(false);
        }
    };
    let peer = |peer: raft::Peer| PeerSetting { id: peer.id, name: peer.name, urls: peer.urls };
    settings.cluster = place.cluster;
    settings.member = place.member;
    settings.peers = place.peers.into_iter().map(peer).collect();
    Ok(true)
}

/// How far the first members may be believed to be those that are meant.
fn tell_whether_secured(settings: &Settings) {
    let how = match settings {
        Settings { discovery: Some(_), .. } => "discovery",
        Settings { discovery_srv: Some(_), .. } => "discovery_srv",
        _ => "initial_cluster",
    };
    let own = |peer: &&PeerSetting| peer.name != settings.name;
    let others = settings.peers.iter().filter(own).flat_map(|peer| &peer.urls);
    let local = |url: &String| {
        host_of(url) == "localhost" || host_of(url).parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
    };
    let away = others.filter(|url| how != "initial_cluster" || !local(url)).count();
    let authority = settings.peer_tls.as_ref().and_then(|tls| tls.trusted_ca.as_ref());
    match authority {
        _ if away == 0 => {}
        Some(file) => {
            tracing::info!("the members of {how} are let in with a certificate that {} vouches for", file.display())
        }
        None => tracing::warn!(
            "the members of {how} are insecure: nobody vouches for them, and whoever answers at their addresses is taken for them; \
             give peer.trusted_ca_file with peer.cert_file, or make the cluster by `node init` and `node join`"
        ),
    }
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
