//! What `node init` and `node join` are to do, out of their command lines, and the settings that come of it.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};

use crate::app::host::{self, SystemClock};
use crate::app::node::store_dir;
use crate::app::settings::fragment::{Entry, Fragment, from_flags, from_toml};
use crate::app::settings::{self, Settings};
use crate::base::Clock as _;
use crate::base::limits::JOIN_TOKEN_USES_MAX;
use crate::net::tls::ClusterIdentity;
use crate::raft;
use crate::unit::value::{TimeSpan, time_span};

/// Within `CONFIG.d`.
const DROP_IN: &str = "10-cluster.toml";
/// Settings that follow from the command.
const FOLLOWING: [&str; 5] = ["identity", "initial_cluster", "initial_cluster_state", "discovery", "cluster_token"];
const PEER_PORT: u16 = 2380;
const CLIENT_PORT: u16 = 2379;

/// A command line that was understood, with settings that were checked.
pub struct Plan {
    /// The file whose drop-in is written.
    pub config: PathBuf,
    pub start: bool,
    /// `join`: what this machine has of another cluster is put aside.
    pub anew: bool,
    /// `join`: the token, as it was given.
    pub token: Option<String>,
    pub token_ttl: Duration,
    pub token_uses: u32,
    /// What is in force with all that is written.
    pub settings: Settings,
    pub identity: ClusterIdentity,
    store: PathBuf,
    /// What is written, in order.
    written: Vec<(&'static str, String)>,
}

impl Plan {
    /// Understands a command line.
    ///
    /// # Errors
    /// What is wrong with it, or with the settings that come of it.
    pub fn read(arguments: &[String], founds: bool) -> anyhow::Result<Self> {
        let mut own = Own::default();
        let rest = own.take(arguments)?;
        let (given, files) = from_flags(&rest);
        ensure!(files.len() <= 1, "--config is given twice");
        let config = files.into_iter().next().unwrap_or_else(|| PathBuf::from(settings::DEFAULT_FILE));
        ensure!(given.mistakes.is_empty(), "{}", given.mistakes.join("; "));
        ensure!(founds == own.token.is_none(), "{}", if founds { "it takes no token" } else { "the token is missing" });
        ensure!(!(founds && own.anew), "--anew goes with `node join`");
        for path in FOLLOWING {
            ensure!(!given.entries.contains_key(path), "`{path}` follows from the command and cannot be given");
        }
        let mut below = settings::fragment::defaults();
        below.overlay(files_of(&config));
        let mut kept = kept(&drop_in(&config));
        kept.overlay(given);
        let written = decide(&kept, &below, own.ip, founds);
        for (path, value) in &written {
            below.entries.insert(path, Entry { value: value.clone(), origin: "this command".to_owned() });
        }
        let settings = settings::settle(&below, &host::hostname()).map_err(anyhow::Error::msg)?;
        let identity = settings.identity.clone().context("identity is empty")?;
        let (start, anew, token) = (!own.no_start, own.anew, own.token);
        let (token_ttl, token_uses) = (own.token_ttl, own.token_uses);
        Ok(Self {
            config,
            start,
            anew,
            token,
            token_ttl,
            token_uses,
            store: store_dir(&settings),
            settings,
            identity,
            written,
        })
    }

    /// Where the settings are written.
    pub fn drop_in(&self) -> PathBuf {
        drop_in(&self.config)
    }

    /// Refuses a machine that is a member of something already, and addresses that are taken.
    ///
    /// # Errors
    /// What is in the way, and what to do about it.
    pub fn check_free(&self) -> anyhow::Result<()> {
        if !self.anew
            && let Some(there) = self.membership().first()
        {
            bail!(
                "this machine is a member of a cluster already: {} is there. `node run` starts it, and `node ctl token create` makes \
                 tokens then; to leave that cluster for another one, remove it there and `node join --anew TOKEN` here",
                there.display(),
            );
        }
        let listens = self.settings.peer_listen.iter().chain(&self.settings.client_listen);
        for listen in listens {
            TcpListener::bind(listen.address).with_context(|| {
                format!(
                    "{} cannot be listened on: stop what holds it, or set --peer-listen and --client-listen",
                    listen.address
                )
            })?;
        }
        Ok(())
    }

    /// What makes this machine a member of a cluster, as far as it is there: its identity first.
    fn membership(&self) -> Vec<&Path> {
        let mut there = Vec::new();
        if self.identity.exists() {
            there.push(self.identity.folder());
        }
        if raft::holds_data(&self.store) {
            there.push(&self.store);
        }
        there
    }

    /// Puts aside what makes this machine a member of another cluster, and says where. Units and whatever else is the machine's own
    /// stays. Killed in between, it may be done again.
    ///
    /// # Errors
    /// What cannot be moved.
    pub fn put_aside(&self) -> anyhow::Result<Option<PathBuf>> {
        let membership = self.membership();
        if membership.is_empty() {
            return Ok(None);
        }
        let folder = self.settings.data_dir.join(format!("former-{}", SystemClock.now().0 / 1_000));
        std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        for there in membership {
            let to = folder.join(there.file_name().unwrap_or_default());
            std::fs::rename(there, &to).with_context(|| format!("moving {} to {}", there.display(), to.display()))?;
        }
        Ok(Some(folder))
    }

    /// Writes the settings.
    ///
    /// # Errors
    /// What cannot be written.
    pub fn write(&self, of: &str) -> anyhow::Result<()> {
        let mut text = format!("# Written by `node {of}`; what stands in later files of this folder counts more.\n");
        for (path, value) in &self.written {
            let value = toml::Value::String(value.clone());
            writeln!(text, "{path} = {value}")?;
        }
        let file = self.drop_in();
        let folder = file.parent().unwrap_or(Path::new("/"));
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        std::fs::write(&file, text).with_context(|| file.display().to_string())?;
        if self.config != Path::new(settings::DEFAULT_FILE) && !self.config.exists() {
            // A file that is named must be there.
            std::fs::write(&self.config, "").with_context(|| self.config.display().to_string())?;
        }
        Ok(())
    }
}

/// The file of the settings that are written.
fn drop_in(config: &Path) -> PathBuf {
    let mut folder = config.as_os_str().to_owned();
    folder.push(".d");
    PathBuf::from(folder).join(DROP_IN)
}

/// What an earlier call has written and holds on: it is written again.
fn kept(file: &Path) -> Fragment {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let mut kept = from_toml(file, &text);
    kept.entries.retain(|path, _| !FOLLOWING.contains(path));
    kept
}

/// What `node run --config FILE` would read.
fn files_of(config: &Path) -> Fragment {
    let arguments = ["--config".to_owned(), config.display().to_string()];
    let named = config != Path::new(settings::DEFAULT_FILE) && config.exists();
    settings::gather(if named { &arguments } else { &[] }, std::iter::empty())
}

/// The flags that are no settings.
struct Own {
    ip: Option<IpAddr>,
    no_start: bool,
    anew: bool,
    token: Option<String>,
    token_ttl: Duration,
    token_uses: u32,
}

impl Default for Own {
    fn default() -> Self {
        Self {
            ip: None,
            no_start: false,
            anew: false,
            token: None,
            token_ttl: Duration::from_secs(3_600),
            token_uses: 10,
        }
    }
}

impl Own {
    /// Takes them out; the rest are settings.
    fn take(&mut self, arguments: &[String]) -> anyhow::Result<Vec<String>> {
        let mut rest = Vec::new();
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            let (flag, attached) = match word.split_once('=') {
                Some((flag, value)) if flag.starts_with("--") => (flag, Some(value.to_owned())),
                _ => (word.as_str(), None),
            };
            let mut value = || {
                let value = attached.clone().or_else(|| words.next().cloned());
                value.with_context(|| format!("{flag} needs a value"))
            };
            match flag {
                "--no-start" => self.no_start = true,
                "--anew" => self.anew = true,
                "--ip" => self.ip = Some(value()?.parse().context("--ip takes an IP address")?),
                "--token-ttl" => self.token_ttl = ttl(&value()?)?,
                "--token-uses" => self.token_uses = uses(&value()?)?,
                flag if flag.starts_with("--") => {
                    rest.push(flag.to_owned());
                    rest.push(value()?);
                }
                _ if self.token.is_none() => self.token = Some(word.clone()),
                other => bail!("`{other}` is one word too many"),
            }
        }
        Ok(rest)
    }
}

fn ttl(text: &str) -> anyhow::Result<Duration> {
    match time_span(text) {
        Ok(TimeSpan::Finite(time)) if !time.is_zero() => Ok(time),
        _ => bail!("--token-ttl is `{text}`: write a time such as 1h"),
    }
}

fn uses(text: &str) -> anyhow::Result<u32> {
    let uses = text.parse().ok().filter(|uses| (1..=JOIN_TOKEN_USES_MAX).contains(uses));
    uses.with_context(|| format!("--token-uses is `{text}`: write a number from 1 to {JOIN_TOKEN_USES_MAX}"))
}

/// The settings that are written: what was given, and what follows from it.
fn decide(given: &Fragment, below: &Fragment, ip: Option<IpAddr>, founds: bool) -> Vec<(&'static str, String)> {
    let of = |path: &str| given.entries.get(path).map(|entry| entry.value.clone());
    // What a file says is not written again; where it repeats the default, as the one that is shipped does, it says nothing.
    let defaults = settings::fragment::defaults();
    let is_default = |path: &str, value: &str| defaults.entries.get(path).is_some_and(|entry| entry.value == value);
    let said = |path: &str| {
        let said = below.entries.get(path).filter(|entry| !entry.value.is_empty() && !is_default(path, &entry.value));
        of(path).or_else(|| said.map(|entry| entry.value.clone()))
    };
    let address = |path: &str| said(path)?.split(',').find_map(|listen| bare(listen).parse::<SocketAddr>().ok());
    let (peer, client) = (address("peer.listen"), address("client.listen"));
    let route = || host::default_route_ip().parse().ok();
    let named = |listen: Option<SocketAddr>| listen.map(|listen| listen.ip()).filter(|ip| !ip.is_unspecified());
    let ip = ip.or_else(|| named(peer)).or_else(|| named(client)).or_else(route);
    let ip = ip.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let reached =
        |listen: Option<SocketAddr>, port: u16| SocketAddr::new(ip, listen.map_or(port, |listen| listen.port()));
    let (peer_at, client_at) = (reached(peer, PEER_PORT), reached(client, CLIENT_PORT));
    let data_dir = said("data_dir").unwrap_or_default();
    let data_dir = if data_dir.is_empty() { of_default(below, "data_dir") } else { data_dir };
    let mut written: Vec<(&'static str, String)> =
        given.entries.iter().map(|(path, entry)| (*path, entry.value.clone())).collect();
    let mut settle = |path: &'static str, value: String| {
        if said(path).is_none() {
            written.push((path, value));
        }
    };
    settle("name", host::hostname());
    settle("peer.listen", peer_at.to_string());
    let local = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), CLIENT_PORT);
    let listen = if ip.is_loopback() { client_at.to_string() } else { format!("{client_at},{local}") };
    settle("client.listen", listen);
    settle("peer.advertise", format!("https://{peer_at}"));
    settle("client.advertise", format!("https://{client_at}"));
    written.push(("identity", Path::new(&data_dir).join("identity").display().to_string()));
    if founds {
        written.push(("cluster_token", format!("{:032x}", rand::random::<u128>())));
    }
    written
}

fn of_default(below: &Fragment, path: &str) -> String {
    below.entries.get(path).map(|entry| entry.value.clone()).unwrap_or_default()
}

fn bare(listen: &str) -> &str {
    listen.trim().trim_start_matches("https://").trim_start_matches("http://").trim_end_matches('/')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_file_that_is_shipped_keeps_nobody_on_loopback() {
        let mut below = settings::fragment::defaults();
        below.overlay(files_of(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/config/etc/node/node.toml"))));
        let ip = Some("10.0.0.7".parse().unwrap());
        let written = decide(&from_flags(&[]).0, &below, ip, true);
        let of = |path: &str| written.iter().find(|(written, _)| *written == path).map(|(_, value)| value.as_str());
        for (path, expected) in [
            ("peer.listen", "10.0.0.7:2380"),
            ("client.listen", "10.0.0.7:2379,127.0.0.1:2379"),
            ("client.advertise", "https://10.0.0.7:2379"),
            ("identity", "/var/lib/node/identity"),
        ] {
            assert_eq!(of(path), Some(expected), "{path}");
        }
    }
}
