//! From text to checked values; every mistake is noted and the checking goes on.

use std::path::PathBuf;
use std::time::Duration;

use super::founders::{discovery_place, named, peers, twins};
use super::fragment::{DEFAULT, Fragment};
use super::tls::{self, Listen};
use super::{
    AuthSettings, BackupSettings, DiscoverySettings, ExecutorChoice, FleetSettings, Mistakes, PeerSetting, Settings,
    SrvSettings, TemplateSettings,
};
use crate::base::limits::WATCH_PROGRESS_MS_MIN;
use crate::base::{ClusterId, MachineId, MemberId};
use crate::disk::RoomRules;
use crate::kv::HistoryRule;
use crate::net::Address;
use crate::net::tls::ClusterIdentity;
use crate::raft::Seats;
use crate::unit::value::{TimeSpan, time_span};

/// More backups than one a minute are a mistake in the unit of time.
const BACKUP_EVERY_MIN: Duration = Duration::from_secs(60);

/// An input under examination.
pub struct Checker<'a> {
    input: &'a Fragment,
    mistakes: Vec<String>,
}

impl Checker<'_> {
    pub fn text(&self, path: &str) -> String {
        self.input.entries.get(path).map(|entry| entry.value.trim().to_owned()).unwrap_or_default()
    }

    /// Whether somebody has set it, to whatever.
    fn is_given(&self, path: &str) -> bool {
        self.input.entries.get(path).is_some_and(|entry| entry.origin != DEFAULT)
    }

    pub fn list(&self, path: &str) -> Vec<String> {
        self.text(path).split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
    }

    pub fn optional_path(&self, path: &str) -> Option<PathBuf> {
        Some(self.text(path)).filter(|text| !text.is_empty()).map(PathBuf::from)
    }

    pub fn wrong(&mut self, path: &str, reason: &str) {
        let (value, origin) =
            self.input.entries.get(path).map_or(("", "default"), |entry| (entry.value.as_str(), entry.origin.as_str()));
        self.mistakes.push(format!("{origin}: `{path}` is `{value}`: {reason}"));
    }

    fn number(&mut self, path: &str, least: u64, most: u64) -> u64 {
        match self.text(path).parse::<u64>() {
            Ok(number) if (least..=most).contains(&number) => number,
            _ => {
                self.wrong(path, &format!("write a whole number from {least} to {most}"));
                least
            }
        }
    }

    pub fn truth(&mut self, path: &str) -> bool {
        match self.text(path).to_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => true,
            "false" | "no" | "off" | "0" => false,
            _ => {
                self.wrong(path, "write true or false");
                false
            }
        }
    }

    /// What `read` makes of a value; `None` where it is `off`.
    fn unless_off<T>(&mut self, path: &str, form: &str, read: impl Fn(&str) -> Option<T>) -> Option<T> {
        let text = self.text(path);
        if text == "off" {
            return None;
        }
        let value = read(&text);
        if value.is_none() {
            self.wrong(path, &format!("write {form}"));
        }
        value
    }

    fn urls(&mut self, path: &str, check: fn(&str) -> Result<(), String>) -> Vec<String> {
        let urls = self.list(path);
        // Clients may come in by a socket; members may not.
        let is_socket = |url: &&String| path == "client.advertise" && url.starts_with("unix://");
        for url in urls.iter().filter(|url| !is_socket(url)) {
            if let Err(reason) = check(url) {
                self.wrong(path, &reason);
            }
        }
        urls
    }
}

pub(super) fn check_url(url: &str) -> Result<(), String> {
    let rest = url
        .strip_prefix("http://")
        .or_else(|| url.strip_prefix("https://"))
        .ok_or_else(|| format!("`{url}` is no URL; write http://host:port"))?;
    let port = rest.rsplit_once(':').map(|(_, port)| port.trim_end_matches('/'));
    match port.and_then(|port| port.parse::<u16>().ok()) {
        Some(_) => Ok(()),
        _ => Err(format!("`{url}` has no port; write http://host:port")),
    }
}

/// Milliseconds between heartbeats, and without one before an election, which is five times as long at least.
fn timing(checker: &mut Checker<'_>) -> (u64, u64) {
    let heartbeat_ms = checker.number("heartbeat_ms", 10, 10_000);
    if checker.is_given("heartbeat_ms") {
        return (heartbeat_ms, checker.number("election_ms", heartbeat_ms.saturating_mul(5), 60_000));
    }
    let election_ms = checker.number("election_ms", 50, 60_000);
    (heartbeat_ms.min(election_ms / 5), election_ms)
}

pub fn settle(input: &Fragment, hostname: &str) -> Result<Settings, Mistakes> {
    let mut checker = Checker { input, mistakes: input.mistakes.clone() };
    let name = Some(checker.text("name")).filter(|name| !name.is_empty()).unwrap_or_else(|| hostname.to_owned());
    let identity = checker.optional_path("identity").map(ClusterIdentity::new);
    let peer_tls = tls::settle(&mut checker, &tls::PEER, identity.as_ref());
    let peer_listen = tls::listens(&mut checker, "peer.listen", &tls::PEER, peer_tls.is_some());
    if checker.list("peer.listen").is_empty() {
        checker.wrong("peer.listen", "write at least one address:port");
    }
    let wait = discovery_wait(&mut checker);
    let discovery = discovery(&mut checker, wait);
    let discovery_srv = discovery_srv(&mut checker, wait);
    let token = match &discovery {
        Some(discovery) => discovery.url.clone(),
        None => checker.text("cluster_token"),
    };
    let finds_others = discovery.is_some() || discovery_srv.is_some();
    let (cluster, member, peers) = cluster(&mut checker, &name, &peer_listen, (&token, finds_others));
    let client_tls = tls::settle(&mut checker, &tls::CLIENT, identity.as_ref());
    let client_listen = tls::listens(&mut checker, "client.listen", &tls::CLIENT, client_tls.is_some());
    let client_sockets: Vec<PathBuf> = checker.list("client.socket").into_iter().map(PathBuf::from).collect();
    if checker.list("client.listen").is_empty() && client_sockets.is_empty() {
        checker.wrong("client.listen", "write at least one address:port, or a client.socket");
    }
    let client_advertise = match checker.urls("client.advertise", check_url) {
        urls if urls.is_empty() => client_listen.iter().map(Listen::to_string).collect(),
        urls => urls,
    };
    let (heartbeat_ms, election_ms) = timing(&mut checker);
    let settings = Settings {
        data_dir: PathBuf::from(checker.text("data_dir")),
        cluster,
        member,
        peers,
        existing: existing(&mut checker),
        identity,
        discovery,
        discovery_srv,
        heartbeat_ms,
        election_ms,
        lease_reads: checker.truth("lease_reads"),
        seats: seats(&mut checker),
        peer_listen,
        peer_tls,
        client_listen,
        client_tls,
        client_advertise,
        client_sockets,
        auth: AuthSettings {
            token_ttl_seconds: checker.number("auth.token_ttl_seconds", 1, 31_536_000),
            bcrypt_cost: checker.number("auth.bcrypt_cost", 4, 31) as u32,
        },
        watch_progress_ms: checker.number("client.watch_progress_ms", WATCH_PROGRESS_MS_MIN, 24 * 3_600_000),
        fleet: fleet(&mut checker),
        template: TemplateSettings {
            enabled: checker.truth("template.enabled"),
            confdir: PathBuf::from(checker.text("template.confdir")),
            prefix: checker.text("template.prefix"),
        },
        backup: backup(&mut checker),
        log_level: log_level(&mut checker),
        history: history(&mut checker),
        disk: disk(&mut checker),
        name,
    };
    if checker.mistakes.is_empty() { Ok(settings) } else { Err(Mistakes(checker.mistakes)) }
}

fn cluster(
    checker: &mut Checker<'_>,
    name: &str,
    listen: &[Listen],
    (token, finds_others): (&str, bool),
) -> (ClusterId, MemberId, Vec<PeerSetting>) {
    let own_urls = checker.urls("peer.advertise", check_url);
    let (mut named, mistakes) = named(&checker.text("initial_cluster"));
    for mistake in mistakes {
        checker.wrong("initial_cluster", &mistake);
    }
    if named.is_empty() {
        let listened = || listen.iter().map(Listen::to_string).collect();
        let urls: Vec<String> = if own_urls.is_empty() { listened() } else { own_urls.clone() };
        let nowhere = |url: &String| url.contains("//0.0.0.0:") || url.contains("//[::]:");
        if finds_others && urls.iter().any(nowhere) {
            checker.wrong("peer.advertise", "write where the other members reach this one, which discovery tells them");
        }
        named.push((name.to_owned(), urls));
    }
    let peers = peers(named, token);
    if let Some((one, other)) = twins(&peers) {
        checker.wrong("initial_cluster", &format!("`{one}` and `{other}` have the same peer URLs"));
    }
    let own = peers.iter().find(|peer| peer.name == name);
    if own.is_none() {
        let names: Vec<&str> = peers.iter().map(|peer| peer.name.as_str()).collect();
        let reason = format!("this node's name, `{name}`, is not among {}; set `name` or add it", names.join(", "));
        checker.wrong("initial_cluster", &reason);
    }
    if let Some(own) = own
        && !own_urls.is_empty()
        && own.urls != own_urls
    {
        checker.wrong("peer.advertise", &format!("initial_cluster has {} for `{name}`", own.urls.join(",")));
    }
    let member = own.map_or(MemberId(0), |peer| peer.id);
    (ClusterId::computed(peers.iter().map(|peer| peer.id)), member, peers)
}

fn discovery_wait(checker: &mut Checker<'_>) -> Duration {
    match time_span(&checker.text("discovery_wait")) {
        Ok(TimeSpan::Finite(wait)) if !wait.is_zero() => wait,
        _ => {
            checker.wrong("discovery_wait", "write a time such as 10min");
            Duration::default()
        }
    }
}

fn discovery_srv(checker: &mut Checker<'_>, wait: Duration) -> Option<SrvSettings> {
    let domain = checker.text("discovery_srv").trim_end_matches('.').to_owned();
    let suffix = checker.text("discovery_srv_name");
    if domain.is_empty() {
        return None;
    }
    for other in ["initial_cluster", "discovery"] {
        if !checker.text(other).is_empty() {
            checker.wrong(
                "discovery_srv",
                &format!("{other} says who the first members are already; choose one of the two"),
            );
        }
    }
    Some(SrvSettings { domain, suffix, token: checker.text("cluster_token"), wait })
}

fn discovery(checker: &mut Checker<'_>, wait: Duration) -> Option<DiscoverySettings> {
    let proxy = checker.text("discovery_proxy");
    let proxy = (!proxy.is_empty()).then(|| Address::from_url(&proxy));
    if let Some(Err(error)) = &proxy {
        checker.wrong("discovery_proxy", &error.to_string());
    }
    let url = checker.text("discovery");
    if url.is_empty() {
        return None;
    }
    if let Err(reason) = discovery_place(&url) {
        checker.wrong("discovery", &reason);
    }
    if !checker.list("initial_cluster").is_empty() {
        checker.wrong("discovery", "initial_cluster says who the first members are already; choose one of the two");
    }
    Some(DiscoverySettings { url, proxy: proxy.and_then(Result::ok), wait })
}

/// Whether the cluster exists without this member.
fn existing(checker: &mut Checker<'_>) -> bool {
    match checker.text("initial_cluster_state").as_str() {
        "new" => false,
        "existing" if checker.list("initial_cluster").is_empty() => {
            checker.wrong("initial_cluster_state", "write the members that run, and this one, into initial_cluster");
            true
        }
        "existing" => true,
        _ => {
            checker.wrong("initial_cluster_state", "write new or existing");
            false
        }
    }
}

fn fleet(checker: &mut Checker<'_>) -> FleetSettings {
    let mut metadata = Vec::new();
    for pair in checker.list("fleet.metadata") {
        match pair.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() && !value.trim().is_empty() => {
                metadata.push((key.trim().to_owned(), value.trim().to_owned()));
            }
            _ => checker.wrong("fleet.metadata", &format!("`{pair}` is not key=value")),
        }
    }
    let machine_id = checker.text("fleet.machine_id");
    let hex = machine_id.len() == 32 && machine_id.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !machine_id.is_empty() && !hex {
        checker.wrong("fleet.machine_id", "write 32 hex digits, as in /etc/machine-id");
    }
    let executor = match checker.text("fleet.executor").as_str() {
        "auto" => ExecutorChoice::Auto,
        "systemd" => ExecutorChoice::Systemd,
        "process" => ExecutorChoice::Process,
        _ => {
            checker.wrong("fleet.executor", "write auto, systemd or process");
            ExecutorChoice::Auto
        }
    };
    let presence_ms = checker.number("fleet.presence_ms", 500, 3_600_000);
    FleetSettings {
        enabled: checker.truth("fleet.enabled"),
        metadata,
        public_ip: checker.text("fleet.public_ip"),
        machine_id: Some(machine_id.to_lowercase()).filter(|id| !id.is_empty()).map(MachineId),
        presence_ms: i64::try_from(presence_ms).unwrap_or(i64::MAX),
        executor,
        units_dir: PathBuf::from(checker.text("fleet.units_dir")),
        socket: checker.optional_path("fleet.socket"),
        docker_socket: checker.optional_path("docker.socket"),
    }
}

fn seats(checker: &mut Checker<'_>) -> Seats {
    let voters = checker.number("voters", 1, 9);
    if voters.is_multiple_of(2) {
        checker
            .wrong("voters", "write an odd number: one more than that needs a larger quorum and bears no more losses");
    }
    let lost_after = match time_span(&checker.text("voter_lost_after")) {
        Ok(TimeSpan::Finite(time)) if time >= Duration::from_secs(1) => time,
        _ => {
            checker.wrong("voter_lost_after", "write a time such as 5min, one second at least");
            Duration::from_secs(1)
        }
    };
    Seats { voters_max: usize::try_from(voters).unwrap_or(usize::MAX), lost_after }
}

fn history(checker: &mut Checker<'_>) -> HistoryRule {
    HistoryRule {
        keep_ms: checker.unless_off("history_keep", "a time such as 24h or 7d, or off", |text| match time_span(text) {
            Ok(TimeSpan::Finite(time)) if !time.is_zero() => i64::try_from(time.as_millis()).ok(),
            _ => None,
        }),
        bytes_max: checker.unless_off("history_max", "a size such as 512MiB or 2GiB, or off", bytes),
        revisions: checker.unless_off("history_revisions", "a whole number above 0, or off", |text| {
            text.parse().ok().filter(|count| *count > 0)
        }),
    }
}

fn backup(checker: &mut Checker<'_>) -> Option<BackupSettings> {
    let every = checker.unless_off("backup.every", "a time of a minute or more such as 6h or 24h, or off", |text| {
        match time_span(text) {
            Ok(TimeSpan::Finite(time)) if time >= BACKUP_EVERY_MIN => Some(time),
            _ => None,
        }
    });
    let keep = checker.unless_off("backup.keep", "a whole number above 0, or off", |text| {
        text.parse().ok().filter(|count| *count > 0)
    });
    let settings = BackupSettings {
        to: checker.text("backup.to"),
        every,
        keep,
        s3_endpoint: checker.text("backup.s3_endpoint"),
        s3_region: checker.text("backup.s3_region"),
        s3_credentials_file: checker.optional_path("backup.s3_credentials_file"),
    };
    if settings.to.is_empty() {
        return None;
    }
    #[cfg(feature = "api")]
    if let Err(reason) = settings.target() {
        checker.wrong("backup.to", &reason);
    }
    Some(settings)
}

fn disk(checker: &mut Checker<'_>) -> RoomRules {
    let warn_percent = checker.number("disk_warn_percent", 1, 100);
    let full_percent = checker.number("disk_full_percent", warn_percent, 100);
    let free_bytes_min = match bytes(&checker.text("disk_free_min")) {
        Some(bytes) => bytes,
        None => {
            checker.wrong("disk_free_min", "write a size such as 128MiB");
            0
        }
    };
    RoomRules { warn_percent, full_percent, free_bytes_min }
}

/// A number of bytes, with `K`, `M`, `G`, `T` or `KiB` and so on for powers of 1024.
fn bytes(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = text[digits.len()..].trim().to_ascii_lowercase();
    let shift = match unit.trim_end_matches("ib").trim_end_matches('b') {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

fn log_level(checker: &mut Checker<'_>) -> String {
    let level = checker.text("log.level");
    if !["error", "warn", "info", "debug", "trace"].contains(&level.as_str()) {
        checker.wrong("log.level", "write error, warn, info, debug or trace");
    }
    level
}
