//! The doors: etcd's v2 and v3 APIs (gRPC and JSON), history for people, fleet's, health, version and metrics, on one port for all of them.
//!
//! Everything is answered from one [`Store`]. HTTP/1.1 and HTTP/2 (prior knowledge) come in on the same listener and are
//! told apart by their first bytes; gRPC is told apart by its content type. Status codes are decided in `status.rs`.

mod authority;
pub mod backups;
mod body;
mod bounds;
#[cfg(test)]
mod bounds_tests;
pub mod checkup;
mod connection;
mod discovery;
#[cfg(feature = "scheduler")]
pub mod fleet;
mod history;
mod http;
mod info;
mod joining;
mod metrics;
pub mod program;
mod receiving;
mod rights;
pub mod secrets;
mod sending;
pub mod status;
#[cfg(feature = "template")]
mod templates;
mod users;
mod v2;
mod v3;
pub mod version;

#[cfg(test)]
pub(crate) mod test_store;

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::base::limits::WEBSOCKETS_MAX;
use crate::base::{Clock, ClusterId, MemberId, Random};
use crate::kv::Store;
use crate::net::tls::{ClusterIdentity, ServerTls};

use bounds::Bounds;
pub use users::UsersOptions;

/// HTTP paths and who answers them.
pub type Routes = axum::Router;

/// Prometheus text, as it is at each moment.
pub type Metrics = Arc<dyn std::fmt::Display + Send + Sync>;

/// What the doors need to answer.
pub struct Services {
    pub store: Arc<dyn Store>,
    pub clock: Arc<dyn Clock>,
    /// Where lease ids come from.
    pub random: Arc<dyn Random>,
    /// How users are let in.
    pub users: UsersOptions,
    /// How long a watch that asked for it is silent before it tells how far it is.
    pub watch_progress: Duration,
    /// Where this member's identity lies, if its cluster has an authority of its own: machines join here then.
    pub identity: Option<ClusterIdentity>,
    /// Further HTTP paths (fleet's, for example), without a fallback of their own.
    pub routes: Routes,
    /// Further lines of `/metrics`.
    pub metrics: Vec<Metrics>,
}

/// Where clients come in.
pub enum Listener {
    Tcp(TcpListener),
    Tls(TcpListener, Door),
    Unix(UnixListener),
}

impl Listener {
    /// Who speaks TLS here, if it is spoken.
    pub fn tls(&self) -> Option<Arc<ServerTls>> {
        match self {
            Listener::Tls(_, door) => Some(door.tls.clone()),
            Listener::Tcp(_) | Listener::Unix(_) => None,
        }
    }
}

/// How clients come in by TLS.
#[derive(Clone)]
pub struct Door {
    pub tls: Arc<ServerTls>,
    /// The common name of a client's certificate is that of a user.
    pub users_by_name: bool,
    /// The certificates are those that the cluster itself gives out. Who comes with none may ask to join, or log in.
    pub of_cluster: bool,
}

/// Open doors. Dropping them closes nothing; [`Doors::stop`] does.
pub struct Doors {
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// What all handlers share.
pub(crate) struct Shared {
    pub store: Arc<dyn Store>,
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Random>,
    users: users::Users,
    pub identity: Option<ClusterIdentity>,
    pub watch_progress: Duration,
    metrics: Vec<Metrics>,
    /// Places for connections that have become websockets.
    pub websockets: Arc<Semaphore>,
    /// Leaders that were seen, each time that one came up.
    leader_changes: AtomicU64,
    /// When the present one came up, as this node saw it, in milliseconds of Unix time.
    leader_since: AtomicI64,
    /// Ends long polls and streams when the doors close.
    pub stop: CancellationToken,
    ids: OnceLock<(ClusterId, MemberId)>,
}

impl Shared {
    /// The cluster's and the member's id. They never change once they are known.
    pub fn ids(&self) -> (ClusterId, MemberId) {
        if let Some(ids) = self.ids.get() {
            return *ids;
        }
        let status = self.store.status();
        let ids = (status.cluster, status.member);
        if ids.0.0 != 0 {
            return *self.ids.get_or_init(|| ids);
        }
        ids
    }
}

/// Opens the doors: accepts on every listener until [`Doors::stop`]. Must be called within a tokio runtime.
pub fn serve(listeners: Vec<Listener>, services: Services) -> Doors {
    serve_within(Bounds::default(), listeners, services)
}

/// As [`serve`], with limits other than the usual.
fn serve_within(bounds: Bounds, listeners: Vec<Listener>, services: Services) -> Doors {
    open(bounds, listeners, services, http::Entry::new)
}

type MakeEntry = fn(&Arc<Shared>, Routes, Bounds) -> http::Entry;

fn open(bounds: Bounds, listeners: Vec<Listener>, services: Services, entry: MakeEntry) -> Doors {
    let stop = CancellationToken::new();
    let tasks = TaskTracker::new();
    let shared = Arc::new(Shared {
        users: users::Users::new(services.users, &*services.random),
        store: services.store,
        clock: services.clock,
        random: services.random,
        identity: services.identity,
        watch_progress: services.watch_progress,
        metrics: services.metrics,
        websockets: Arc::new(Semaphore::new(WEBSOCKETS_MAX)),
        leader_changes: AtomicU64::new(0),
        leader_since: AtomicI64::new(0),
        stop: stop.clone(),
        ids: OnceLock::new(),
    });
    let entry = entry(&shared, services.routes, bounds);
    tracing::debug!(routes = ?entry, "what the doors serve");
    tasks.spawn(count_leaders(shared));
    for listener in listeners {
        let accept = connection::accept(listener, entry.clone(), bounds, stop.clone(), tasks.clone());
        tasks.spawn(accept);
    }
    Doors { stop, tasks }
}

/// Opens doors behind which there is nothing but the routes that are given: for a store that has doors of its own elsewhere.
#[cfg(feature = "scheduler")]
pub fn serve_only(listeners: Vec<Listener>, services: Services) -> Doors {
    open(Bounds::default(), listeners, services, http::Entry::only)
}

async fn count_leaders(shared: Arc<Shared>) {
    let counting = async {
        let mut leader = None;
        loop {
            leader = shared.store.leader_changed(leader).await;
            if leader.is_some() {
                shared.leader_changes.fetch_add(1, Ordering::Relaxed);
                shared.leader_since.store(shared.clock.now().0, Ordering::Relaxed);
            }
        }
    };
    tokio::select! {
        () = shared.stop.cancelled() => {}
        () = counting => {}
    }
}

impl Doors {
    /// Takes no new connections, ends long polls and streams, and lets requests under way finish; what is still open
    /// after [`DOORS_CLOSE_MS_MAX`](crate::base::limits::DOORS_CLOSE_MS_MAX) is dropped.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}
