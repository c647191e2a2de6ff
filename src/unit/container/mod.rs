//! `.container` units: Podman's Quadlet format (podman-systemd.unit(5)) read into a value, for any engine that speaks Docker's API.
//!
//! Every key of `[Container]` is taken, refused with what to write instead, or said not to be done: none is passed over in silence.

mod keys;
mod life;
mod network;
mod parts;
mod secret;
#[cfg(test)]
mod tests;

pub use life::{Kind, Life};
pub use network::{Network, Port, Protocol};
pub use parts::{Device, Health, OnUnhealthy, Pull, Readiness, Test, Ulimit, Volume};
pub use secret::{Secret, SecretAs, is_secret_name};

use super::environment;
use super::name::UnitName;
use super::specifier::Specifiers;
use super::text::{UnitText, joined};
use super::words;

/// The suffix of these units' names.
pub const SUFFIX: &str = "container";
/// The section that says what to run.
pub const SECTION: &str = "Container";

/// A container as its unit asks for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    /// `[Unit]` and `[Service]`: when it starts, ends, and is started again.
    pub life: Life,
    pub image: String,
    /// What the engine calls it.
    pub name: String,
    /// In the place of the image's command.
    pub exec: Vec<String>,
    /// In the place of the image's entry point; an empty list: none.
    pub entrypoint: Option<Vec<String>>,
    /// `Environment=`, in order; a later one wins.
    pub environment: Vec<(String, String)>,
    /// `EnvironmentFile=` of the host: path, and whether it may be missing.
    pub environment_files: Vec<(String, bool)>,
    pub secrets: Vec<Secret>,
    pub ports: Vec<Port>,
    pub exposed: Vec<(u16, Protocol)>,
    pub volumes: Vec<Volume>,
    /// Where, and the options of the mount.
    pub tmpfs: Vec<(String, String)>,
    pub networks: Vec<Network>,
    pub user: Option<String>,
    pub working_dir: Option<String>,
    pub labels: Vec<(String, String)>,
    pub annotations: Vec<(String, String)>,
    pub add_capabilities: Vec<String>,
    pub drop_capabilities: Vec<String>,
    pub groups: Vec<String>,
    pub read_only: bool,
    pub no_new_privileges: bool,
    pub seccomp_profile: Option<String>,
    pub sysctls: Vec<(String, String)>,
    pub devices: Vec<Device>,
    /// Bytes.
    pub memory: Option<u64>,
    /// -1: no limit.
    pub pids_limit: Option<i64>,
    /// Bytes.
    pub shm_size: Option<u64>,
    pub ulimits: Vec<Ulimit>,
    pub host_name: Option<String>,
    /// `NAME:ADDRESS`
    pub hosts: Vec<String>,
    pub dns: Vec<String>,
    pub dns_search: Vec<String>,
    pub dns_options: Vec<String>,
    pub pull: Pull,
    /// A name, such as `SIGTERM`; `None`: the image's.
    pub stop_signal: Option<String>,
    /// Seconds from the signal until it is killed.
    pub stop_timeout_s: u64,
    /// `None`: the image's own.
    pub health: Option<Health>,
    pub on_unhealthy: OnUnhealthy,
    pub readiness: Readiness,
    pub log_driver: Option<String>,
    pub log_options: Vec<(String, String)>,
    /// A small init is process 1.
    pub init: bool,
    /// What the text asks for and does not get, each with its line.
    pub not_done: Vec<String>,
}

/// What is wrong with the text, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContainerError {
    /// `line` is of the text as the cluster keeps and prints it.
    #[error("line {line}: [{section}] {key}=: {reason}")]
    Key { line: usize, section: String, key: String, reason: String },
    #[error("[Container] Image=: missing; name the image to run")]
    NoImage,
    #[error("[Container]: missing; a .container unit says in it what to run, at least Image=")]
    NoSection,
}

/// Whether a unit of this name is a container.
pub fn is_container(name: &str) -> bool {
    UnitName::new(name).suffix == SUFFIX
}

impl Container {
    /// Whether its ports are the host's own.
    pub fn is_in_hosts_network(&self) -> bool {
        self.networks.first().is_some_and(|network| network.name == network::HOST)
    }
}

/// Reads the unit that `specifiers` are of.
///
/// # Errors
/// The first mistake.
pub fn read(text: &UnitText, specifiers: &Specifiers) -> Result<Container, ContainerError> {
    if !text.has_section(SECTION) {
        return Err(ContainerError::NoSection);
    }
    let mut container = Container {
        life: Life::of(text.description()),
        name: default_name(&specifiers.unit),
        stop_timeout_s: parts::STOP_TIMEOUT_S,
        ..Container::default()
    };
    for (line, option) in text.numbered() {
        let value = joined(&option.value);
        let key = &option.name;
        let done = match option.section.as_str() {
            SECTION => container.key(key, &value, specifiers),
            section => container.life.option(section, key, &value, specifiers),
        };
        match done {
            Ok(None) => {}
            Ok(Some(why)) => container.not_done.push(format!("line {line}: [{}] {key}={why}", option.section)),
            Err(reason) => {
                let (section, key) = (option.section.clone(), key.clone());
                return Err(ContainerError::Key { line, section, key, reason });
            }
        }
    }
    if container.image.is_empty() {
        return Err(ContainerError::NoImage);
    }
    if let Err(reason) = network::publishable(&container.networks, &container.ports) {
        let key = "PublishPort".to_owned();
        let line = text.numbered().find(|(_, option)| option.section == SECTION && option.name == key);
        let line = line.map_or(0, |(line, _)| line);
        return Err(ContainerError::Key { line, section: SECTION.to_owned(), key, reason });
    }
    container.life.finish();
    Ok(container)
}

/// Refuses what no machine could run. A template is read as if it had an instance.
///
/// # Errors
/// As [`read`].
pub fn check(text: &UnitText, name: &str) -> Result<(), ContainerError> {
    read_anywhere(text, name).map(drop)
}

/// The unit as it can be read without knowing its machine: specifiers of the machine are empty.
///
/// # Errors
/// As [`read`].
pub fn read_anywhere(text: &UnitText, name: &str) -> Result<Container, ContainerError> {
    let parts = UnitName::new(name);
    let unit = if parts.is_template() { format!("{}@1.{}", parts.prefix, parts.suffix) } else { name.to_owned() };
    read(text, &Specifiers::system(&unit))
}

/// What the unit called `name` publishes; nothing where it is no container, or cannot be read.
pub fn published(text: &UnitText, name: &str) -> Vec<Port> {
    let mut ports = Vec::new();
    if !is_container(name) {
        return ports;
    }
    let specifiers = Specifiers::system(name);
    for value in text.values(SECTION, "PublishPort") {
        if value.is_empty() {
            ports.clear();
        }
        let read =
            specifiers.expand(&value).map_err(|error| error.to_string()).and_then(|value| network::ports(&value));
        ports.extend(read.into_iter().flatten());
    }
    ports
}

/// The name that Quadlet gives a container whose unit gives it none; engines take no `@` in names.
fn default_name(unit: &str) -> String {
    let parts = UnitName::new(unit);
    let name = match parts.instance {
        Some(instance) => format!("systemd-{}_{instance}", parts.prefix),
        None => format!("systemd-{}", parts.stem),
    };
    name.chars().map(|c| if c.is_ascii_alphanumeric() || "_.-".contains(c) { c } else { '_' }).collect()
}

/// Assignments of `Environment=`.
fn variables(value: &str, specifiers: &Specifiers) -> Result<Vec<(String, String)>, String> {
    let found = environment::environment(value, specifiers).map_err(|error| error.to_string())?;
    match found.ignored.first() {
        Some(ignored) => Err(format!("{ignored}: write NAME=value")),
        None => Ok(found.variables),
    }
}

/// Assignments of `Label=` and its kind: quoted as variables are, whatever their names.
fn assignments(value: &str, specifiers: &Specifiers) -> Result<Vec<(String, String)>, String> {
    let words = words::all_words(value, words::Mode::Strict).map_err(|error| error.to_string())?;
    let pair = |word: &String| {
        let text = specifiers.expand(word).map_err(|error| error.to_string())?;
        let pair = text.split_once('=').filter(|(name, _)| !name.is_empty());
        pair.map(|(name, value)| (name.to_owned(), value.to_owned()))
            .ok_or_else(|| format!("{text:?}: write NAME=value"))
    };
    words.iter().map(pair).collect()
}
