//! From etcd's flags to this node's settings, and what is to be said about those that have none here.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use super::flags::{self, FLAGS, Fate};
use super::input::Input;
use super::log::{Format, Output};
use crate::app::settings::fragment::{self, Entry, Fragment};
use crate::app::settings::tls::{CLIENT, Keys, Listen, PEER, scheme};
use crate::base::Founders;

const LOCAL_PEER: &str = "http://localhost:2380";
const LOCAL_CLIENT: &str = "http://localhost:2379";
/// etcd takes no longer ones.
const ELECTION_MS_MAX: i64 = 50_000;

/// What etcd was told, as a node needs it.
#[derive(Debug)]
pub struct Plan {
    /// Settings that are not checked yet, over the defaults.
    pub settings: Fragment,
    pub data_dir: PathBuf,
    pub log: LogPlan,
    /// To be said in the log, once.
    pub warnings: Vec<String>,
}

/// Where and how the log is written.
#[derive(Debug, PartialEq, Eq)]
pub struct LogPlan {
    pub format: Format,
    pub outputs: Vec<Output>,
}

struct Planner<'a> {
    input: &'a Input,
    settings: Fragment,
    mistakes: Vec<String>,
    warnings: Vec<String>,
}

/// Makes a plan. `default_ip` is what is advertised by default where a listener is open to everybody; empty: unknown.
///
/// # Errors
/// All mistakes, one line each.
pub fn plan(input: &Input, default_ip: &str) -> Result<Plan, Vec<String>> {
    let settings = fragment::defaults();
    let mut planner = Planner { input, settings, mistakes: Vec::new(), warnings: input.warnings.clone() };
    planner.fates();
    planner.timing();
    planner.users();
    planner.watch_progress();
    let peers_tls = planner.tls(&PEER, "peer-");
    let clients_tls = planner.tls(&CLIENT, "");
    let name = input.get("name").unwrap_or("default").to_owned();
    let data_dir = input.get("data-dir").map_or_else(|| format!("{name}.etcd"), str::to_owned);
    planner.set("name", "name", &name);
    planner.set("data_dir", "data-dir", &data_dir);
    planner.peers(&name, default_ip, peers_tls);
    planner.clients(default_ip, clients_tls);
    planner.history();
    planner.set("cluster_token", "initial-cluster-token", input.get("initial-cluster-token").unwrap_or("etcd-cluster"));
    let state = input.get("initial-cluster-state").unwrap_or("new");
    planner.set("initial_cluster_state", "initial-cluster-state", state);
    for (path, value) in [("fleet.enabled", "false"), ("fleet.socket", ""), ("template.enabled", "false")] {
        planner.set(path, "etcd", value);
    }
    let log = planner.log();
    let Planner { settings, mistakes, warnings, .. } = planner;
    match mistakes.is_empty() {
        true => Ok(Plan { settings, data_dir: PathBuf::from(data_dir), log, warnings }),
        false => Err(mistakes),
    }
}

impl Planner<'_> {
    fn set(&mut self, path: &'static str, flag: &str, value: &str) {
        let entry = Entry { value: value.to_owned(), origin: self.input.origin(flag) };
        self.settings.entries.insert(path, entry);
    }

    fn wrong(&mut self, flag: &str, reason: &str) {
        let origin = self.input.origin(flag);
        let named = if origin.ends_with(flag) { origin } else { format!("{origin}: {flag}") };
        self.mistakes.push(format!("{named}: {reason}"));
    }

    /// Refuses what would mislead, and notes what steers nothing.
    fn fates(&mut self) {
        let (mut nothing, mut not_yet) = (Vec::new(), Vec::new());
        for flag in FLAGS {
            let Some(value) = self.input.get(flag.name).filter(|value| *value != flag.default) else { continue };
            match flag.fate {
                Fate::Followed => {}
                Fate::Nothing => nothing.push(self.input.origin(flag.name)),
                Fate::NotYet => not_yet.push(self.input.origin(flag.name)),
                Fate::Refused(reason) => self.wrong(flag.name, &format!("`{value}`: {reason}")),
            }
        }
        if !nothing.is_empty() {
            self.warnings.push(format!("without meaning here, taken and not used: {}", nothing.join(", ")));
        }
        if !not_yet.is_empty() {
            self.warnings.push(format!("not served yet, taken and not used: {}", not_yet.join(", ")));
        }
    }

    fn timing(&mut self) {
        let number = |name: &str, default: i64| self.input.get(name).map_or(Some(default), |text| text.parse().ok());
        let heartbeat = number("heartbeat-interval", 100).unwrap_or(0);
        let election = number("election-timeout", 1000).unwrap_or(0);
        if heartbeat <= 0 {
            self.wrong("heartbeat-interval", &format!("--heartbeat-interval must be >0 (set to {heartbeat}ms)"));
        } else if election < heartbeat.saturating_mul(5) {
            let rule = "should be at least as 5 times as";
            let reason = format!("--election-timeout[{election}ms] {rule} --heartbeat-interval[{heartbeat}ms]");
            self.wrong("election-timeout", &reason);
        } else if election > ELECTION_MS_MAX {
            let limit = format!("is too long, and should be set less than {ELECTION_MS_MAX}ms");
            self.wrong("election-timeout", &format!("--election-timeout[{election}ms] {limit}"));
        }
        self.set("heartbeat_ms", "heartbeat-interval", &heartbeat.to_string());
        self.set("election_ms", "election-timeout", &election.to_string());
    }

    fn users(&mut self) {
        let ttl = self.input.get("auth-token-ttl").unwrap_or("300");
        self.set("auth.token_ttl_seconds", "auth-token-ttl", ttl);
        let cost = self.input.get("bcrypt-cost").unwrap_or("10");
        // As in etcd: a cost that bcrypt does not know is none.
        let known = cost.parse().is_ok_and(|cost: u32| (4..=31).contains(&cost));
        if !known {
            self.warnings.push(format!("--bcrypt-cost {cost} is not within 4 to 31; 10 is used"));
        }
        self.set("auth.bcrypt_cost", "bcrypt-cost", if known { cost } else { "10" });
    }

    /// etcd takes no interval below 100 ms; the settings say so.
    fn watch_progress(&mut self) {
        let flag = "watch-progress-notify-interval";
        if let Some(ms) = self.input.get(flag).and_then(flags::milliseconds) {
            self.set("client.watch_progress_ms", flag, &format!("{:.0}", ms.max(0.0)));
        }
    }

    /// The files of TLS for one kind of listener; whether there is a certificate.
    fn tls(&mut self, keys: &Keys, before: &str) -> bool {
        let crl = if before.is_empty() { "client-crl-file" } else { "peer-crl-file" };
        let mut given = false;
        for (path, flag) in [
            (Some(keys.cert_file), format!("{before}cert-file")),
            (Some(keys.key_file), format!("{before}key-file")),
            (Some(keys.trusted_ca_file), format!("{before}trusted-ca-file")),
            (Some(keys.client_cert_auth), format!("{before}client-cert-auth")),
            (Some(keys.crl_file), crl.to_owned()),
            (Some(keys.auto_tls), format!("{before}auto-tls")),
            (keys.allowed_name, format!("{before}cert-allowed-cn")),
        ] {
            let (Some(path), Some(value)) = (path, self.input.get(&flag).map(str::to_owned)) else { continue };
            given |= [keys.cert_file, keys.auto_tls].contains(&path) && value != "false";
            self.set(path, &flag, &value);
        }
        given
    }

    /// Where to listen; what is wrong is noted.
    fn listens(&mut self, flag: &str, urls: Vec<String>, certificate: bool) -> (Vec<Listen>, Vec<String>) {
        let (mut listens, mut sockets) = (Vec::new(), Vec::new());
        for url in urls {
            match bind_address(&url) {
                Ok(Bind::Tcp(listen)) if listen.tls && !certificate => {
                    self.wrong(flag, &format!("TLS key/cert must be provided for the url {url} with HTTPS scheme"));
                }
                Ok(Bind::Tcp(listen)) => {
                    if certificate && !listen.tls {
                        let ignored = "while key/cert files are presented. Ignored key/cert files.";
                        self.warnings.push(format!("--{flag}: the scheme of {url} is HTTP {ignored}"));
                    }
                    listens.push(listen);
                }
                Ok(Bind::Unix(path)) => sockets.push(path),
                Err(reason) => self.wrong(flag, &reason),
            }
        }
        (listens, sockets)
    }

    fn peers(&mut self, name: &str, default_ip: &str, certificate: bool) {
        let input = self.input;
        let urls = list(input.get("listen-peer-urls").unwrap_or(LOCAL_PEER));
        let (listen, sockets) = self.listens("listen-peer-urls", urls, certificate);
        for path in sockets {
            self.wrong("listen-peer-urls", &format!("`unix://{path}`: members talk over TCP only"));
        }
        let told = input.get("initial-advertise-peer-urls");
        let own = advertised(told.unwrap_or(LOCAL_PEER), LOCAL_PEER, listen.first(), default_ip);
        for url in &own {
            if let Err(reason) = url_parts(url) {
                self.wrong("initial-advertise-peer-urls", &reason);
            }
        }
        if input.get("discovery").or(input.get("discovery-srv")).is_some() {
            self.discovery(&own);
            self.set("peer.listen", "listen-peer-urls", &joined(&listen));
            return;
        }
        let alone = own.iter().map(|url| format!("{name}={url}")).collect::<Vec<_>>().join(",");
        let cluster = input.get("initial-cluster").map_or(alone, str::to_owned);
        let founders = Founders::parse(&cluster);
        for item in &founders.strange {
            self.wrong("initial-cluster", &format!("`{item}` is not name=http://host:port"));
        }
        for reason in founders.urls().filter_map(|url| url_parts(url).err()) {
            self.wrong("initial-cluster", &reason);
        }
        let own_urls = founders.members.iter().filter(|(member, _)| member == name).flat_map(|(_, urls)| urls);
        let named: BTreeSet<String> = own_urls.map(|url| same_host(url)).collect();
        if named.is_empty() {
            let reason = format!("couldn't find local name \"{name}\" in the initial cluster configuration");
            self.wrong("initial-cluster", &reason);
        } else if told.is_some() && named != own.iter().map(|url| same_host(url)).collect() {
            let (named, own) = (named.into_iter().collect::<Vec<_>>().join(","), own.join(","));
            let reason = format!("--initial-cluster has {name}={named} but --initial-advertise-peer-urls is {own}");
            self.wrong("initial-cluster", &reason);
        }
        self.set("initial_cluster", "initial-cluster", &cluster);
        self.set("peer.listen", "listen-peer-urls", &joined(&listen));
    }

    /// The members find each other; `own` is what this one tells of itself.
    fn discovery(&mut self, own: &[String]) {
        let input = self.input;
        if ["initial-cluster", "discovery", "discovery-srv"].iter().filter(|flag| input.get(flag).is_some()).count() > 1
        {
            let choose = r#"Choose one of "initial-cluster", "discovery" or "discovery-srv""#;
            self.wrong("discovery", &format!("multiple discovery or bootstrap flags are set. {choose}"));
        }
        for (setting, flag) in [
            ("discovery", "discovery"),
            ("discovery_proxy", "discovery-proxy"),
            ("discovery_srv", "discovery-srv"),
            ("discovery_srv_name", "discovery-srv-name"),
        ] {
            self.set(setting, flag, input.get(flag).unwrap_or_default());
        }
        self.set("peer.advertise", "initial-advertise-peer-urls", &own.join(","));
    }

    fn clients(&mut self, default_ip: &str, certificate: bool) {
        let input = self.input;
        let (mut listen, mut sockets) = (Vec::new(), Vec::new());
        for flag in ["listen-client-urls", "listen-client-http-urls"] {
            let default = if flag == "listen-client-urls" { LOCAL_CLIENT } else { "" };
            let (more, paths) = self.listens(flag, list(input.get(flag).unwrap_or(default)), certificate);
            listen.extend(more);
            sockets.extend(paths);
        }
        let told = input.get("advertise-client-urls");
        if told.is_none() && input.get("listen-client-urls").is_some() && !input.from_file {
            self.mistakes
                .push("--advertise-client-urls is required when --listen-client-urls is set explicitly".to_owned());
        }
        let advertise = advertised(told.unwrap_or(LOCAL_CLIENT), LOCAL_CLIENT, listen.first(), default_ip);
        self.set("client.listen", "listen-client-urls", &joined(&listen));
        self.set("client.socket", "listen-client-urls", &sockets.join(","));
        self.set("client.advertise", "advertise-client-urls", &advertise.join(","));
    }

    /// etcd's compactor where it is asked for, else what a node does by itself. etcd's has no bound on the size.
    fn history(&mut self) {
        const FLAG: &str = "auto-compaction-retention";
        let Some(retention) = self.input.get(FLAG).map(str::to_owned) else { return };
        let number = retention.parse::<u64>().ok();
        let (mut keep, mut revisions) = ("off".to_owned(), "off".to_owned());
        match (self.input.get("auto-compaction-mode"), number) {
            (_, Some(0)) => {}
            (Some("revision"), Some(count)) => revisions = count.to_string(),
            (Some("revision"), None) => self.wrong(FLAG, &format!("`{retention}` is no number of revisions")),
            (_, Some(hours)) => keep = format!("{hours}h"),
            (_, None) => match super::flags::milliseconds(&retention).map(|ms| ms as i64) {
                Some(ms) if ms > 0 => keep = format!("{ms}ms"),
                Some(0) => {}
                _ => self.wrong(FLAG, &format!("error parsing CompactionRetention: `{retention}` is no duration")),
            },
        }
        for (path, value) in [("history_keep", keep), ("history_revisions", revisions), ("history_max", "off".into())] {
            self.set(path, FLAG, &value);
        }
    }

    fn log(&mut self) -> LogPlan {
        let input = self.input;
        let debug = input.get("debug") == Some("true");
        let level = match input.get("log-level").unwrap_or("info") {
            _ if debug => "debug",
            "dpanic" | "panic" | "fatal" => "error",
            level => level,
        };
        self.set("log.level", "log-level", level);
        let console = input.get("log-format") == Some("console") || input.get("logger") == Some("capnslog");
        let format = if console { Format::Console } else { Format::Json };
        let outputs = list(input.get("log-outputs").unwrap_or("default"));
        let outputs = outputs.iter().map(|output| match output.as_str() {
            // Under systemd both are the journal.
            "default" | "stderr" | "systemd/journal" => Output::Stderr,
            "stdout" => Output::Stdout,
            path => Output::File(PathBuf::from(path)),
        });
        LogPlan { format, outputs: outputs.collect() }
    }
}

enum Bind {
    Tcp(Listen),
    Unix(String),
}

/// Where a URL is listened on. Names cannot be, but for `localhost`.
fn bind_address(url: &str) -> Result<Bind, String> {
    if let Some(path) = url.strip_prefix("unix://") {
        return match path {
            "" => Err(format!("`{url}` names no file")),
            path => Ok(Bind::Unix(path.to_owned())),
        };
    }
    let (tls, authority) = url_parts(url)?;
    let address = match authority.strip_prefix("localhost:") {
        Some(port) => port.parse().map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port))).ok(),
        None => authority.parse().ok(),
    };
    address
        .map(|address| Bind::Tcp(Listen { address, tls }))
        .ok_or_else(|| format!("expected IP in URL for binding ({url})"))
}

/// Whether a URL asks for TLS, and its `host:port`.
fn url_parts(url: &str) -> Result<(bool, &str), String> {
    let (tls, authority) = match (url.strip_prefix("http://"), url.strip_prefix("https://")) {
        (Some(authority), _) => (false, authority),
        (_, Some(authority)) => (true, authority),
        _ if url.starts_with("unixs://") => return Err(format!("`{url}`: TLS is spoken over TCP only; write unix://")),
        _ => return Err(format!("URL scheme must be http, https, unix, or unixs: {url}")),
    };
    if authority.contains('/') {
        return Err(format!("URL must not contain a path: {url}"));
    }
    match authority.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => Ok((tls, authority)),
        _ => Err(format!("URL address does not have the form \"host:port\": {url}")),
    }
}

/// The URLs that are told to others; the default becomes the machine's own address where the listener is open to everybody.
fn advertised(told: &str, default: &str, listen: Option<&Listen>, default_ip: &str) -> Vec<String> {
    match listen {
        Some(listen)
            if told == default
                && listen.address.ip() == IpAddr::V4(Ipv4Addr::UNSPECIFIED)
                && !default_ip.is_empty() =>
        {
            vec![format!("{}://{default_ip}:{}", scheme(listen.tls), listen.address.port())]
        }
        _ => list(told),
    }
}

/// The URL with one of the two names of this host.
fn same_host(url: &str) -> String {
    url.replace("://localhost:", "://127.0.0.1:")
}

fn list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
}

fn joined(listens: &[Listen]) -> String {
    listens.iter().map(Listen::to_string).collect::<Vec<_>>().join(",")
}
