//! Ports, networks, names and addresses of a container.

use core::net::IpAddr;
use std::fmt;

use serde::{Deserialize, Serialize};

/// How a port is spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    #[default]
    Tcp,
    Udp,
    Sctp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

/// A port of the container that is reached through one of the host's.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Port {
    /// The host's address that it is bound to; `None`: all.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub address: Option<IpAddr>,
    /// `None`: any that is free.
    pub host: Option<u16>,
    pub container: u16,
    pub protocol: Protocol,
}

impl Port {
    /// The host's address that it is bound to, where it is one of several.
    pub fn one_address(&self) -> Option<IpAddr> {
        self.address.filter(|address| !address.is_unspecified())
    }

    /// Whether one machine cannot have both.
    pub fn clashes(&self, other: &Self) -> bool {
        let same_port = self.host.is_some() && self.host == other.host && self.protocol == other.protocol;
        let apart = match (self.one_address(), other.one_address()) {
            (Some(one), Some(other)) => one != other,
            _ => false,
        };
        same_port && !apart
    }
}

/// As `PublishPort=` takes it.
impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(IpAddr::V6(address)) => write!(f, "[{address}]:")?,
            Some(IpAddr::V4(address)) => write!(f, "{address}:")?,
            None => {}
        }
        match (self.host, self.address) {
            (Some(host), _) => write!(f, "{host}:")?,
            (None, Some(_)) => f.write_str(":")?,
            (None, None) => {}
        }
        write!(f, "{}/{}", self.container, self.protocol)
    }
}

/// A network of the engine's that the container is in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// `host`, `none`, `bridge`, `container:NAME`, or the name of one that exists.
    pub name: String,
    pub aliases: Vec<String>,
    pub ip: Option<IpAddr>,
    pub ip6: Option<IpAddr>,
}

const PORT_HELP: &str = "write [[ADDRESS:]HOSTPORT:]PORT[/PROTOCOL], for example 8080:80, 127.0.0.1:53:53/udp or 80";

/// `PublishPort=`: one port, or a range on both sides.
pub(super) fn ports(text: &str) -> Result<Vec<Port>, String> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let wrong = || format!("{text:?} is no port; {PORT_HELP}");
    let (rest, protocol) = protocol(text).ok_or_else(wrong)?;
    let (address, rest) = match rest.strip_prefix('[') {
        Some(rest) => {
            let (address, rest) = rest.split_once("]:").ok_or_else(wrong)?;
            (Some(address), rest)
        }
        None => match rest.matches(':').count() {
            2 => rest.split_once(':').map(|(address, rest)| (Some(address), rest)).ok_or_else(wrong)?,
            0 | 1 => (None, rest),
            _ => return Err(wrong()),
        },
    };
    let address = match address.filter(|address| !address.is_empty()) {
        Some(address) => Some(address.parse().map_err(|_| format!("{address:?} is no IP address; {PORT_HELP}"))?),
        None => None,
    };
    let (host, container) = rest.split_once(':').map_or((None, rest), |(host, container)| (Some(host), container));
    let container = range(container).ok_or_else(wrong)?;
    let host = match host.filter(|host| !host.is_empty() && *host != "0") {
        Some(host) => Some(range(host).ok_or_else(wrong)?),
        None => None,
    };
    if host.as_ref().is_some_and(|host| host.len() != container.len()) {
        return Err(format!("{text:?}: the ranges are of different lengths"));
    }
    let port = |(index, container)| Port { address, host: host.as_ref().map(|h| h.start + index), container, protocol };
    Ok((0..).zip(container.start..=container.end).map(port).collect())
}

/// The host's own network.
pub(super) const HOST: &str = "host";

/// Refuses ports that cannot be published in the first network. In the host's they are the host's own; that they are written counts
/// for where the unit fits and where it is found.
pub(super) fn publishable(networks: &[Network], ports: &[Port]) -> Result<(), String> {
    let (Some(first), Some(any)) = (networks.first(), ports.first()) else { return Ok(()) };
    if first.name == HOST {
        return match ports.iter().find(|port| port.host != Some(port.container)) {
            Some(Port { container, protocol, .. }) => Err(format!(
                "with Network=host the container's ports are the host's; write {container}:{container}/{protocol}"
            )),
            None => Ok(()),
        };
    }
    if first.name == "none" || first.name.starts_with("container:") {
        return Err(format!("{any} cannot be published with Network={}; remove one of them", first.name));
    }
    Ok(())
}

/// `ExposeHostPort=`.
pub(super) fn exposed(text: &str) -> Result<Vec<(u16, Protocol)>, String> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let wrong = || format!("{text:?} is no port; write PORT[-PORT][/PROTOCOL]");
    let (ports, protocol) = protocol(text).ok_or_else(wrong)?;
    let ports = range(ports).ok_or_else(wrong)?;
    Ok((ports.start..=ports.end).map(|port| (port, protocol)).collect())
}

fn protocol(text: &str) -> Option<(&str, Protocol)> {
    match text.split_once('/') {
        None => Some((text, Protocol::Tcp)),
        Some((rest, "tcp")) => Some((rest, Protocol::Tcp)),
        Some((rest, "udp")) => Some((rest, Protocol::Udp)),
        Some((rest, "sctp")) => Some((rest, Protocol::Sctp)),
        Some(_) => None,
    }
}

struct Range {
    start: u16,
    end: u16,
}

impl Range {
    fn len(&self) -> u16 {
        self.end - self.start
    }
}

fn range(text: &str) -> Option<Range> {
    let (start, end) = text.split_once('-').unwrap_or((text, text));
    let port = |text: &str| text.parse().ok().filter(|port| *port != 0 && !text.starts_with('+'));
    let (start, end) = (port(start)?, port(end)?);
    (start <= end).then_some(Range { start, end })
}

/// `Network=NAME[:OPTION,…]`.
pub(super) fn network(text: &str) -> Result<Vec<Network>, String> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    if let Some(name) = text.strip_prefix("container:") {
        return Ok(vec![Network { name: format!("container:{name}"), ..Network::default() }]);
    }
    let (name, options) = text.split_once(':').unwrap_or((text, ""));
    if [".network", ".container", ".pod"].iter().any(|suffix| name.ends_with(suffix)) {
        return Err(format!(
            "{name}: only networks that exist can be joined; make one with `docker network create` and name it"
        ));
    }
    if name.is_empty() || ["slirp4netns", "pasta", "private", "ns"].contains(&name) {
        return Err(format!("{text:?} is Podman's own; write bridge, host, none or the name of a network that exists"));
    }
    let mut network = Network { name: name.to_owned(), ..Network::default() };
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            Some(("alias", alias)) => network.aliases.push(alias.to_owned()),
            Some(("ip", ip)) => network.ip = Some(address(ip)?),
            Some(("ip6", ip)) => network.ip6 = Some(address(ip)?),
            _ => return Err(format!("option {option:?} of a network is not offered; there are alias=, ip= and ip6=")),
        }
    }
    Ok(vec![network])
}

/// `NetworkAlias=`, `IP=`, `IP6=`: of the first network, or of the engine's default one.
pub(super) fn of_first(networks: &mut [Network], key: &str, text: &str) -> Result<(), String> {
    let first = networks
        .first_mut()
        .ok_or("put Network= before it: only in networks of one's own do containers have names and fixed addresses")?;
    match key {
        "NetworkAlias" => first.aliases.push(text.to_owned()),
        "IP" => first.ip = Some(address(text)?),
        _ => first.ip6 = Some(address(text)?),
    }
    Ok(())
}

fn address(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| format!("{text:?} is no IP address"))
}

/// `DNS=`.
pub(super) fn addresses(text: &str) -> Result<Vec<String>, String> {
    text.split_whitespace().map(|one| address(one).map(|address| address.to_string())).collect()
}

/// `AddHost=NAME:ADDRESS`.
pub(super) fn hosts(text: &str) -> Result<Vec<String>, String> {
    let one = |host: &str| match host.split_once(':') {
        Some((name, at)) if !name.is_empty() && (at == "host-gateway" || address(at).is_ok()) => Ok(host.to_owned()),
        _ => Err(format!("{host:?} is no host; write NAME:ADDRESS, for example db:10.0.0.7 or out:host-gateway")),
    };
    text.split_whitespace().map(one).collect()
}
