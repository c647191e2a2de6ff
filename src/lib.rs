//! corenode: one binary that replaces etcd, fleet and confd on every machine of a cluster.
//!
//! The crate is a house: a room imports only from floors below its own. `integration/tidy.rs` holds this.

// 0 · what every room shares
/// Ids, traits for time and chance, limits, Go's glob.
pub mod base;

// 1 · brains: values in, values out
/// Go's text/template language.
pub mod gotemplate;
/// The state machine of the store: revisions, transactions, leases, watches, the v2 view; the traits `Store` and `Tables`.
pub mod kv;
/// Unit text: parse, print, hash, specifiers, `[X-Fleet]`.
pub mod unit;

// 2 · brains that build on them
/// cloud-config: user-data in, a plan of steps for this machine out.
#[cfg(feature = "cloudinit")]
pub mod cloudinit;
/// Template resources: what to render from which keys, when to replace and reload; the function library.
#[cfg(feature = "template")]
pub mod confd;
/// Machines, units, states; `plan` and `diff`; the trait `Executor`.
pub mod fleet;
/// Who may join and whom the cluster trusts: tokens, certificates, and how one authority follows another.
pub mod trust;

// 3 · hands
/// bbolt's files, which etcd keeps its data in.
#[cfg(feature = "api")]
pub mod bolt;
/// The state's tables on disk, and snapshots.
pub mod disk;
/// The executor that drives a Docker-compatible engine.
#[cfg(feature = "docker")]
pub mod docker;
/// Staged files: written beside their place, checked, put there in one step.
#[cfg(feature = "template")]
pub mod files;
/// Connections, name resolution, frames.
pub mod net;
/// The executor for machines without systemd: a small supervisor.
#[cfg(feature = "scheduler")]
pub mod process;
/// Command lines with a time-out.
#[cfg(any(feature = "template", feature = "scheduler"))]
pub mod shell;
/// The executor that drives systemd.
#[cfg(feature = "systemd")]
pub mod systemd;
/// The append-only log on disk.
pub mod wal;
/// Protobuf and JSON types.
#[cfg(feature = "api")]
pub mod wire;

// 4 · the store, here and elsewhere
/// Copies of the state in a folder or an S3-compatible store.
#[cfg(feature = "api")]
pub mod backup;
/// etcd's own database file, read into our tables.
#[cfg(feature = "api")]
pub mod etcd_file;
/// Replication; implements `kv::Store`.
pub mod raft;
/// The same `kv::Store` over any etcd v3 endpoint.
#[cfg(feature = "api")]
pub mod remote;

// 5 · loops
/// Engine, agent, presence, templates: the background jobs.
pub mod jobs;

// 6 · doors
/// etcd v2 and v3, fleet, health.
#[cfg(feature = "api")]
pub mod api;

// 7 · lives and faces
/// One node's life as a recipe.
pub mod app;
/// `node ctl`, `fleetctl`, `etcdctl`, `confd`, `node dev`.
#[cfg(feature = "api")]
pub mod ctl;

pub use app::{Node, Settings, StartError, Teardown};
pub use base::DATA_FORMAT;

/// The commit that this was built from, where the build said so.
pub const COMMIT: Option<&str> = option_env!("CORENODE_COMMIT");

/// What is compiled in, for `--version`.
pub const FEATURES: &[&str] = &[
    #[cfg(feature = "scheduler")]
    "scheduler",
    #[cfg(feature = "systemd")]
    "systemd",
    #[cfg(feature = "docker")]
    "docker",
    #[cfg(feature = "template")]
    "template",
    #[cfg(feature = "api")]
    "api",
    #[cfg(feature = "cloudinit")]
    "cloudinit",
];
