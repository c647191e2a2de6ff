//! The sections `etcd`, `etcd2` and `fleet` as settings of this machine's node.

use std::fmt::Write as _;

use super::config::{CloudConfig, Setting};
use super::plan::Facts;
use super::problem::Problem;
use crate::unit::value::{TimeSpan, time_span};

/// A setting of the node, by its key in `node.toml`, and the line of the user-data that asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSetting {
    pub path: &'static str,
    pub value: String,
    pub line: usize,
}

/// Keys of `etcd` and `etcd2` whose value is the setting's value.
const SAME: &[(&str, &str)] = &[
    ("name", "name"),
    ("data_dir", "data_dir"),
    ("discovery", "discovery"),
    ("discovery_srv", "discovery_srv"),
    ("discovery_proxy", "discovery_proxy"),
    ("initial_cluster", "initial_cluster"),
    ("initial_cluster_state", "initial_cluster_state"),
    ("initial_cluster_token", "cluster_token"),
    ("heartbeat_interval", "heartbeat_ms"),
    ("peer_heartbeat_interval", "heartbeat_ms"),
    ("election_timeout", "election_ms"),
    ("peer_election_timeout", "election_ms"),
    ("advertise_client_urls", "client.advertise"),
    ("initial_advertise_peer_urls", "peer.advertise"),
    ("cert_file", "client.cert_file"),
    ("key_file", "client.key_file"),
    ("ca_file", "client.trusted_ca_file"),
    ("trusted_ca_file", "client.trusted_ca_file"),
    ("client_cert_auth", "client.client_cert_auth"),
    ("peer_cert_file", "peer.cert_file"),
    ("peer_key_file", "peer.key_file"),
    ("peer_ca_file", "peer.trusted_ca_file"),
    ("peer_trusted_ca_file", "peer.trusted_ca_file"),
    ("peer_client_cert_auth", "peer.client_cert_auth"),
    ("cors", "client.cors"),
];

/// Where etcd 0.4 listens if it is told an address without a port.
const ETCD_PORT: &str = "4001";
const ETCD_PEER_PORT: &str = "7001";
/// Where tools look for the store by themselves.
const USUAL_CLIENT: &str = "127.0.0.1:2379";

/// What the sections ask of the node. `knows` says which settings this build has.
pub fn node_settings(
    config: &CloudConfig,
    facts: &Facts,
    knows: &dyn Fn(&str) -> bool,
) -> (Vec<NodeSetting>, Vec<Problem>) {
    let mut translation = Translation { knows, settings: Vec::new(), problems: Vec::new(), unused: Vec::new() };
    if let Some(section) = store_section(config) {
        translation.store(config, section, facts);
    }
    if !stands_alone(config, "fleet.service") {
        translation.fleet(config);
    }
    (translation.settings, translation.problems)
}

/// The settings as a file beside `node.toml`.
pub fn render(settings: &[NodeSetting]) -> String {
    let mut text =
        "# Written by `node cloudinit` from the user-data whenever it runs: a change here does not last.\n".to_owned();
    for setting in settings {
        let _ = writeln!(text, "{} = {}", setting.path, toml::Value::from(setting.value.as_str()));
    }
    text
}

/// Whether the user-data brings a service's whole unit, which then is that service and no name for the node.
pub fn stands_alone(config: &CloudConfig, service: &str) -> bool {
    config.unit(service).is_some_and(|unit| !unit.content.is_empty())
}

/// The section that says how the store is set up: `etcd2`, unless only `etcd` is there or only etcd.service is started.
fn store_section(config: &CloudConfig) -> Option<&'static str> {
    let counts = |section: &str| {
        config.section(section).next().is_some() && !stands_alone(config, &format!("{section}.service"))
    };
    let started = |service: &str| config.unit(service).is_some_and(|unit| !unit.command.is_empty() && !unit.mask);
    match (counts("etcd"), counts("etcd2")) {
        (true, true) if started("etcd.service") && !started("etcd2.service") => Some("etcd"),
        (_, true) => Some("etcd2"),
        (true, false) => Some("etcd"),
        (false, false) => None,
    }
}

struct Translation<'a> {
    knows: &'a dyn Fn(&str) -> bool,
    settings: Vec<NodeSetting>,
    problems: Vec<Problem>,
    /// Keys that steer nothing here, with their lines.
    unused: Vec<(&'static str, usize)>,
}

impl Translation<'_> {
    fn set(&mut self, path: &'static str, value: impl Into<String>, from: &Setting) {
        if !(self.knows)(path) {
            let message = format!("{}: {:?} steers nothing: this node has no setting {path}", from.section, from.key);
            self.problems.push(Problem::warning(from.line, message));
            return;
        }
        let setting = NodeSetting { path, value: value.into(), line: from.line };
        match self.settings.iter_mut().find(|known| known.path == path) {
            Some(known) => *known = setting,
            None => self.settings.push(setting),
        }
    }

    fn store(&mut self, config: &CloudConfig, section: &'static str, facts: &Facts) {
        for setting in config.section(section) {
            match setting.key {
                key if SAME.iter().any(|(same, _)| *same == key) => {
                    for (_, path) in SAME.iter().filter(|(same, _)| *same == key) {
                        self.set(path, setting.value.clone(), setting);
                    }
                }
                "addr" | "bind_addr" | "peer_addr" | "peer_bind_addr" => {}
                "listen_client_urls" => self.listen(setting, "client.listen", Some("client.socket")),
                "listen_peer_urls" => self.listen(setting, "peer.listen", None),
                "debug" | "verbose" | "very_verbose" | "very_very_verbose" => self.set("log.level", "debug", setting),
                "proxy" if setting.value == "off" => {}
                "proxy" => {
                    let remedy = "there are no proxies: make this machine a member, or leave out its etcd section";
                    self.refuse(setting, remedy);
                }
                "force_new_cluster" => {
                    self.refuse(
                        setting,
                        "a new cluster at every boot would lose data; see `node ctl snapshot restore`",
                    );
                }
                "peers" | "peers_file" => {
                    let remedy = "members are found by discovery or by etcd2's initial_cluster";
                    let message = format!("{section}: {:?} steers nothing: {remedy}", setting.key);
                    self.problems.push(Problem::warning(setting.line, message));
                }
                key => self.unused.push((key, setting.line)),
            }
        }
        let client = ["addr", "bind_addr", "client.advertise", "client.listen"];
        self.address(config, section, client, ETCD_PORT, Some(USUAL_CLIENT));
        let peer = ["peer_addr", "peer_bind_addr", "peer.advertise", "peer.listen"];
        self.address(config, section, peer, ETCD_PEER_PORT, None);
        self.name(config, section, facts);
        self.say_unused(section);
    }

    /// etcd 0.4's pair of an address that is told to others and one that is listened on. `usual` is listened on besides.
    fn address(
        &mut self,
        config: &CloudConfig,
        section: &str,
        [told, bound, advertise, listen]: [&'static str; 4],
        default_port: &str,
        usual: Option<&str>,
    ) {
        let (told, bound) = (config.get(section, told), config.get(section, bound));
        let certificate = if advertise.starts_with("peer") { "peer_cert_file" } else { "cert_file" };
        let scheme = if config.get(section, certificate).is_some() { "https" } else { "http" };
        if let Some(told) = told {
            let place = with_port(&told.value, default_port);
            self.set(advertise, format!("{scheme}://{place}"), told);
        }
        let Some(from) = bound.or(told) else { return };
        let port = told.and_then(|told| port(&told.value)).unwrap_or(default_port);
        let place = bound.map_or_else(|| format!("0.0.0.0:{port}"), |bound| with_port(&bound.value, port));
        let more = usual.filter(|usual| self::port(usual) != self::port(&place)).map(|usual| format!(",{usual}"));
        self.set(listen, place + &more.unwrap_or_default(), from);
    }

    /// URLs to listen on: places, and the paths of unix sockets.
    fn listen(&mut self, setting: &Setting, listen: &'static str, socket: Option<&'static str>) {
        let (mut places, mut sockets) = (Vec::new(), Vec::new());
        for url in setting.value.split(',').map(str::trim).filter(|url| !url.is_empty()) {
            match url.strip_prefix("unix://") {
                Some(path) => sockets.push(path),
                None => places.push(url.strip_prefix("http://").unwrap_or(url).trim_end_matches('/')),
            }
        }
        self.set(listen, places.join(","), setting);
        match socket {
            Some(socket) if !sockets.is_empty() => self.set(socket, sockets.join(","), setting),
            None if !sockets.is_empty() => self.refuse(setting, "members talk over TCP only"),
            _ => {}
        }
    }

    /// CoreOS called members by their machine's id. Here the host's name does, where it tells machines apart.
    fn name(&mut self, config: &CloudConfig, section: &str, facts: &Facts) {
        let hostname = config.hostname.as_deref().unwrap_or(&facts.hostname);
        let founders = config.get(section, "initial_cluster");
        let by_id = founders.is_some_and(|founders| {
            founders.value.split(',').any(|founder| founder.trim().split('=').next() == Some(&facts.machine_id))
        });
        let Some(from) = config.section(section).next() else { return };
        if config.get(section, "name").is_none()
            && !facts.machine_id.is_empty()
            && (by_id || matches!(hostname, "" | "localhost"))
        {
            self.set("name", facts.machine_id.clone(), from);
        }
    }

    fn fleet(&mut self, config: &CloudConfig) {
        for setting in config.section("fleet") {
            match setting.key {
                "public_ip" => self.set("fleet.public_ip", setting.value.clone(), setting),
                "metadata" => self.set("fleet.metadata", setting.value.clone(), setting),
                "verbosity" => self.set("log.level", "debug", setting),
                "agent_ttl" => match time_span(&setting.value) {
                    Ok(TimeSpan::Finite(time)) => self.set("fleet.presence_ms", time.as_millis().to_string(), setting),
                    _ => self.refuse(setting, "write a time such as 30s"),
                },
                key => self.unused.push((key, setting.line)),
            }
        }
        self.say_unused("fleet");
        if let Some(unit) = config.unit("fleet.service").filter(|unit| unit.mask) {
            let from = Setting { section: "units", key: "mask", value: String::new(), line: unit.line };
            self.set("fleet.enabled", "false", &from);
        }
    }

    fn refuse(&mut self, setting: &Setting, reason: &str) {
        let message = format!("{}: {:?} is {:?}: {reason}", setting.section, setting.key, setting.value);
        self.problems.push(Problem::error(setting.line, message));
    }

    /// One line for all that has no meaning here.
    fn say_unused(&mut self, section: &str) {
        if let Some((_, line)) = self.unused.first() {
            let keys: Vec<&str> = self.unused.iter().map(|(key, _)| *key).collect();
            let message = format!("{section}: without meaning here, taken and not used: {}", keys.join(", "));
            self.problems.push(Problem::info(*line, message));
        }
        self.unused.clear();
    }
}

/// What stands after the last colon, where that is a port.
fn port(place: &str) -> Option<&str> {
    let (_, port) = place.rsplit_once(':')?;
    port.parse::<u16>().is_ok().then_some(port)
}

fn with_port(place: &str, default: &str) -> String {
    let bare = place.split_once("://").map_or(place, |(_, rest)| rest).trim_end_matches('/');
    match port(bare) {
        Some(_) => bare.to_owned(),
        None => format!("{}:{default}", bare.trim_end_matches(':')),
    }
}
