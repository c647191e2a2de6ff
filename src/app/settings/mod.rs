//! Settings: fragments (flags, variables, files, defaults) → one input → values that have been checked, or all mistakes at once.

mod check;
mod founders;
pub mod fragment;
pub mod keys;
pub mod tls;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fragment::Fragment;
use tls::{Listen, TlsSettings};

use crate::base::{ClusterId, MachineId, MemberId};
use crate::disk::RoomRules;
use crate::kv::HistoryRule;
use crate::net::Address;
use crate::net::tls::ClusterIdentity;
use crate::raft::Seats;

pub use founders::discovery_place;

/// The file that is read where `--config` names none; it may be absent.
pub const DEFAULT_FILE: &str = "/etc/node/node.toml";

/// One of the cluster's first members.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerSetting {
    pub id: MemberId,
    pub name: String,
    /// As written, for example `http://10.0.0.1:2380`.
    pub urls: Vec<String>,
}

impl PeerSetting {
    /// The same for the store.
    pub fn peer(&self) -> crate::raft::Peer {
        crate::raft::Peer { id: self.id, name: self.name.clone(), urls: self.urls.clone() }
    }
}

/// What a node is started with. Only checked values reach the rest of the code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub name: String,
    pub data_dir: PathBuf,
    pub cluster: ClusterId,
    pub member: MemberId,
    pub peers: Vec<PeerSetting>,
    /// The cluster exists: its members are asked for this member's place before it starts for the first time.
    pub existing: bool,
    /// What the cluster's own authority gave this member, if the cluster has one.
    pub identity: Option<ClusterIdentity>,
    /// Where the first members find each other; `peers` is then this node alone until they have.
    pub discovery: Option<DiscoverySettings>,
    /// The same by service records of DNS.
    pub discovery_srv: Option<SrvSettings>,
    pub heartbeat_ms: u64,
    pub election_ms: u64,
    /// The leader answers reads on its lease.
    pub lease_reads: bool,
    /// How many members vote.
    pub seats: Seats,
    pub peer_listen: Vec<Listen>,
    /// How peers speak TLS, if they do.
    pub peer_tls: Option<TlsSettings>,
    pub client_listen: Vec<Listen>,
    /// How clients' listeners speak TLS, if some do.
    pub client_tls: Option<TlsSettings>,
    pub client_advertise: Vec<String>,
    pub client_sockets: Vec<PathBuf>,
    pub auth: AuthSettings,
    pub watch_progress_ms: u64,
    pub fleet: FleetSettings,
    pub template: TemplateSettings,
    /// Where backups go, if any are made.
    pub backup: Option<BackupSettings>,
    pub log_level: String,
    /// How much history of clients' keys is kept.
    pub history: HistoryRule,
    /// How full the disk may become.
    pub disk: RoomRules,
}

/// Where the first members find each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiscoverySettings {
    /// As it was written: it is the cluster's token too.
    pub url: String,
    /// Whom to ask for it in the service's place.
    pub proxy: Option<Address>,
    /// How long a start waits for the service and the other members.
    pub wait: Duration,
}

/// The service records of DNS that name the first members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SrvSettings {
    pub domain: String,
    /// What is behind the service's name, with a hyphen; empty: nothing.
    pub suffix: String,
    /// The cluster's token.
    pub token: String,
    /// How long a start waits for the records.
    pub wait: Duration,
}

/// How users of the etcd APIs are let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuthSettings {
    pub token_ttl_seconds: u64,
    pub bcrypt_cost: u32,
}

/// How this node takes part as a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetSettings {
    pub enabled: bool,
    pub metadata: Vec<(String, String)>,
    pub public_ip: String,
    /// `None`: `/etc/machine-id`, read at the start.
    pub machine_id: Option<MachineId>,
    pub presence_ms: i64,
    pub executor: ExecutorChoice,
    pub units_dir: PathBuf,
    pub socket: Option<PathBuf>,
    /// The container engine's; `None`: no containers are run.
    pub docker_socket: Option<PathBuf>,
}

/// Which executor runs units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExecutorChoice {
    Auto,
    Systemd,
    Process,
}

/// Whether and what templates are rendered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateSettings {
    pub enabled: bool,
    pub confdir: PathBuf,
    pub prefix: String,
}

/// Where backups go, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupSettings {
    /// A folder, or `s3://BUCKET/PREFIX`.
    pub to: String,
    /// `None`: only by hand.
    pub every: Option<Duration>,
    /// `None`: all.
    pub keep: Option<usize>,
    pub s3_endpoint: String,
    pub s3_region: String,
    pub s3_credentials_file: Option<PathBuf>,
}

#[cfg(feature = "api")]
impl BackupSettings {
    /// The place.
    ///
    /// # Errors
    /// What is to be written instead.
    pub fn target(&self) -> Result<crate::backup::Target, String> {
        let terms = crate::backup::S3Terms {
            endpoint: self.s3_endpoint.clone(),
            region: self.s3_region.clone(),
            credentials_file: self.s3_credentials_file.clone(),
        };
        crate::backup::Target::new(&self.to, &terms)
    }
}

/// Everything that is wrong with the configuration, one line each.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", list(.0))]
pub struct Mistakes(pub Vec<String>);

fn list(mistakes: &[String]) -> String {
    let count = match mistakes.len() {
        1 => "1 mistake".to_owned(),
        many => format!("{many} mistakes"),
    };
    format!("the configuration has {count}:\n  {}", mistakes.join("\n  "))
}

impl Settings {
    /// Settings from keys and values as a file would have them, over the defaults; nothing else is read.
    ///
    /// # Errors
    /// [`Mistakes`]: all of them.
    pub fn from_pairs(pairs: &[(&str, &str)]) -> Result<Self, Mistakes> {
        let mut input = fragment::defaults();
        input.overlay(fragment::from_pairs(pairs));
        settle(&input, "localhost")
    }
}

/// Reads flags, variables and files, and lays them over the defaults: the last of defaults < files < variables < flags wins.
pub fn gather(arguments: &[String], variables: impl Iterator<Item = (String, String)>) -> Fragment {
    let (flags, mut files) = fragment::from_flags(arguments);
    let mut input = fragment::defaults();
    let named = !files.is_empty();
    if !named {
        files.push(PathBuf::from(DEFAULT_FILE));
    }
    for file in files {
        if named || file.exists() {
            input.overlay(read_file(&file));
        }
        for drop_in in drop_ins(&file) {
            input.overlay(read_file(&drop_in));
        }
    }
    input.overlay(fragment::from_env(variables));
    input.overlay(flags);
    input
}

fn read_file(file: &Path) -> Fragment {
    match std::fs::read_to_string(file) {
        Ok(text) => fragment::from_toml(file, &text),
        Err(error) => {
            Fragment { mistakes: vec![format!("{}: cannot be read: {error}", file.display())], ..Fragment::default() }
        }
    }
}

/// `FILE.d/*.toml`, in the order of their names.
fn drop_ins(file: &Path) -> Vec<PathBuf> {
    let mut folder = file.as_os_str().to_owned();
    folder.push(".d");
    let Ok(entries) = std::fs::read_dir(PathBuf::from(folder)) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    files.sort();
    files
}

/// Checks an input.
///
/// # Errors
/// [`Mistakes`]: all of them, those of the fragments included.
pub fn settle(input: &Fragment, hostname: &str) -> Result<Settings, Mistakes> {
    check::settle(input, hostname)
}

/// The effective settings and where each came from, for `node config check`.
pub fn show(input: &Fragment) -> String {
    let width = keys::KEYS.iter().map(|key| key.path.len()).max().unwrap_or(0);
    let mut text = String::new();
    for key in keys::KEYS {
        if let Some(entry) = input.entries.get(key.path) {
            let value = if entry.value.is_empty() { "\"\"" } else { &entry.value };
            let _ = writeln!(text, "{:width$} = {value}  ({})", key.path, entry.origin);
        }
    }
    text
}

/// The settings for `--help`.
pub fn help() -> String {
    let mut text = String::new();
    for key in keys::KEYS {
        let default = if key.default.is_empty() { String::new() } else { format!(" [{}]", key.default) };
        let _ = writeln!(text, "  --{:<20} {}{default}", key.flag(), key.help);
    }
    text
}

#[cfg(test)]
mod tests;
