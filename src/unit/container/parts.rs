//! What the values of `[Container]` stand for: volumes, limits, health, when to pull.

use std::time::Duration;

use crate::unit::value::{self, TimeSpan};

/// As Quadlet has it.
pub(super) const STOP_TIMEOUT_S: u64 = 10;

/// `Volume=`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Volume {
    /// A path of the host, or the name of a volume; `None`: one without a name, for this container only.
    pub source: Option<String>,
    pub target: String,
    /// `ro`, `z`, `rshared`, …, as the engine takes them.
    pub options: Option<String>,
}

/// `AddDevice=`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Device {
    pub host: String,
    pub container: String,
    /// Of `r`, `w` and `m`.
    pub rights: String,
    /// Left away where the host has no such device.
    pub optional: bool,
}

/// `Ulimit=`; -1: no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ulimit {
    pub name: String,
    pub soft: i64,
    pub hard: i64,
}

/// `Pull=`: when the registry is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pull {
    /// Where the engine has no such image.
    #[default]
    Missing,
    /// Before each start that is asked for.
    Always,
    /// The same, but the image that is here does where the registry cannot be reached.
    Newer,
    Never,
}

/// `Health…=`; what is `None` is as the image or the engine has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    pub test: Option<Test>,
    pub interval: Option<Duration>,
    pub timeout: Option<Duration>,
    pub start_period: Option<Duration>,
    pub retries: Option<u32>,
}

/// `HealthCmd=`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Test {
    /// Not even the image's own.
    Off,
    /// A line for the container's shell.
    Shell(String),
    Words(Vec<String>),
}

/// `HealthOnFailure=`: what is done about a container that has become unhealthy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnUnhealthy {
    #[default]
    Nothing,
    /// It is killed; then `Restart=` decides.
    Kill,
    /// It is stopped as if it had failed; then `Restart=` decides.
    Stop,
}

/// `Notify=`: when a container that has started counts as up. One with a health check has to be healthy in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Readiness {
    /// As soon as it runs.
    #[default]
    Running,
    /// Once a program in it says so, by sd_notify(3).
    Told,
    /// Once it is healthy; one without a health check never is.
    Healthy,
}

impl OnUnhealthy {
    pub(super) fn read(text: &str) -> Result<Self, String> {
        match text {
            "" | "none" => Ok(Self::Nothing),
            "kill" => Ok(Self::Kill),
            "stop" | "restart" => Ok(Self::Stop),
            _ => Err(format!("{text:?}: write none, kill, stop or restart")),
        }
    }
}

impl Pull {
    pub(super) fn read(text: &str) -> Result<Self, String> {
        match text {
            "" | "missing" => Ok(Self::Missing),
            "always" => Ok(Self::Always),
            "newer" => Ok(Self::Newer),
            "never" => Ok(Self::Never),
            _ => Err(format!("{text:?}: write missing, always, newer or never")),
        }
    }
}

impl Health {
    pub(super) fn key(&mut self, key: &str, text: &str) -> Result<(), String> {
        match key {
            "HealthCmd" => self.test = test(text)?,
            "HealthRetries" => {
                let count = text.parse().ok().filter(|count| *count > 0);
                self.retries = Some(count.ok_or_else(|| format!("{text:?} is not a number from 1 on"))?);
            }
            "HealthInterval" => self.interval = span(text)?,
            "HealthTimeout" => self.timeout = span(text)?,
            _ => self.start_period = span(text)?,
        }
        Ok(())
    }
}

fn test(text: &str) -> Result<Option<Test>, String> {
    match text {
        "" => Ok(None),
        "none" => Ok(Some(Test::Off)),
        _ if text.starts_with('[') => {
            let words = json_words(text)?;
            match words.split_first() {
                Some((first, rest)) if first == "CMD" => Ok(Some(Test::Words(rest.to_vec()))),
                Some((first, rest)) if first == "CMD-SHELL" => Ok(Some(Test::Shell(rest.join(" ")))),
                _ => Ok(Some(Test::Words(words))),
            }
        }
        _ => Ok(Some(Test::Shell(text.strip_prefix("CMD-SHELL ").unwrap_or(text).replace("$$", "$")))),
    }
}

fn span(text: &str) -> Result<Option<Duration>, String> {
    match text {
        // Podman's word for no timer; engines have none for it, so the longest that there is.
        "disable" => Ok(Some(Duration::from_secs(365 * 86_400))),
        "" => Ok(None),
        _ => match value::time_span(text) {
            Ok(TimeSpan::Finite(span)) if span.is_zero() || span >= Duration::from_millis(1) => Ok(Some(span)),
            _ => Err(format!("{text:?} is no time; write for example 30s or 1m30s")),
        },
    }
}

/// `Image=`.
pub(super) fn image(text: &str) -> Result<String, String> {
    if [".image", ".build"].iter().any(|suffix| text.ends_with(suffix) && !text.contains('/')) {
        return Err(format!(
            "{text}: images are named as a registry has them, for example docker.io/library/nginx:1.27"
        ));
    }
    if text.contains(char::is_whitespace) || text.starts_with('-') {
        return Err(format!("{text:?} is no name of an image; write for example docker.io/library/nginx:1.27"));
    }
    Ok(text.to_owned())
}

/// `ContainerName=`.
pub(super) fn container_name(text: &str) -> Result<String, String> {
    let valid = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    let begins = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    if !begins || text.len() < 2 || !text.chars().all(valid) {
        return Err(format!("{text:?} is no container's name; use letters, digits, \"_\", \".\" and \"-\""));
    }
    Ok(text.to_owned())
}

/// `Entrypoint=`: one program, or a JSON list.
pub(super) fn entrypoint(text: &str) -> Result<Vec<String>, String> {
    match text {
        "" => Ok(Vec::new()),
        _ if text.starts_with('[') => json_words(text),
        _ => Ok(vec![text.to_owned()]),
    }
}

fn json_words(text: &str) -> Result<Vec<String>, String> {
    serde_json::from_str(text).map_err(|error| format!("{text:?} is no JSON list of words: {error}"))
}

/// `EnvironmentFile=`; `None` for an empty value.
pub(super) fn environment_file(text: &str) -> Result<Option<(String, bool)>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let (path, optional) = crate::unit::environment::optional_path(text);
    absolute(Some(path.to_owned())).map(|path| path.map(|path| (path, optional)))
}

/// A path from the root, as units travel and have no folder of their own.
pub(super) fn absolute(path: Option<String>) -> Result<Option<String>, String> {
    match path {
        Some(path) if !path.starts_with('/') => Err(format!("{path:?} is not an absolute path")),
        path => Ok(path),
    }
}

/// `Volume=[SOURCE:]TARGET[:OPTIONS]`.
pub(super) fn volume(text: &str) -> Result<Vec<Volume>, String> {
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, options) = match parts.as_slice() {
        [""] => return Ok(Vec::new()),
        [target] => (None, *target, None),
        [source, target] => (Some(*source), *target, None),
        [source, target, options] => (Some(*source), *target, Some((*options).to_owned())),
        _ => return Err(format!("{text:?}: write [SOURCE:]TARGET[:OPTIONS]")),
    };
    if !target.starts_with('/') {
        return Err(format!("{target:?} is not an absolute path of the container"));
    }
    let source = source.filter(|source| !source.is_empty());
    if let Some(source) = source {
        if source.ends_with(".volume") {
            return Err(format!(
                "{source}: there are no .volume units; name the volume itself, it is made where it is missing"
            ));
        }
        let name = source.starts_with(|c: char| c.is_ascii_alphanumeric()) && !source.contains('/');
        if !source.starts_with('/') && !name {
            return Err(format!("{source:?} is neither an absolute path of the host nor the name of a volume"));
        }
    }
    Ok(vec![Volume { source: source.map(str::to_owned), target: target.to_owned(), options }])
}

/// `Tmpfs=TARGET[:OPTIONS]`.
pub(super) fn tmpfs(text: &str) -> Result<Vec<(String, String)>, String> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let (target, options) = text.split_once(':').unwrap_or((text, ""));
    absolute(Some(target.to_owned()))?;
    Ok(vec![(target.to_owned(), options.to_owned())])
}

/// `AddCapability=`, `DropCapability=`: with or without `CAP_`.
pub(super) fn capabilities(text: &str) -> Result<Vec<String>, String> {
    let one = |word: &str| {
        let upper = word.to_ascii_uppercase();
        let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
        let valid = !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase() || c == '_');
        valid
            .then(|| name.to_owned())
            .ok_or_else(|| format!("{word:?} is no capability; write for example NET_ADMIN or all"))
    };
    text.split_whitespace().map(one).collect()
}

/// `AddDevice=[-]HOST[:CONTAINER[:RIGHTS]]`.
pub(super) fn device(text: &str) -> Result<Vec<Device>, String> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let (rest, optional) = text.strip_prefix('-').map_or((text, false), |rest| (rest, true));
    let mut parts = rest.splitn(3, ':');
    let host = parts.next().unwrap_or_default();
    let (container, rights) = (parts.next().unwrap_or(host), parts.next().unwrap_or("rwm"));
    if !host.starts_with('/') || !container.starts_with('/') || !rights.chars().all(|c| "rwm".contains(c)) {
        return Err(format!("{text:?} is no device; write [-]/dev/HOST[:/dev/CONTAINER[:rwm]]"));
    }
    Ok(vec![Device { host: host.into(), container: container.into(), rights: rights.into(), optional }])
}

/// `Memory=`, `ShmSize=`: bytes, or at 1024 with `k`, `m`, `g`, small or large, and a `b` behind it or not.
pub(super) fn size(given: Option<String>) -> Result<Option<u64>, String> {
    let Some(text) = given else { return Ok(None) };
    let upper = text.to_ascii_uppercase();
    let plain = upper.strip_suffix('B').unwrap_or(&upper);
    value::bytes(plain.strip_suffix('I').unwrap_or(plain))
        .map(Some)
        .map_err(|_| format!("{text:?} is not a number of bytes: write for example 67108864, 512m or 1g"))
}

/// `PidsLimit=`.
pub(super) fn pids_limit(given: Option<String>) -> Result<Option<i64>, String> {
    let Some(text) = given else { return Ok(None) };
    let number = text.parse().ok().filter(|count| *count >= -1);
    number.map(Some).ok_or_else(|| format!("{text:?} is not a number of processes; -1 is no limit"))
}

/// `Ulimit=NAME=SOFT[:HARD]`.
pub(super) fn ulimits(text: &str) -> Result<Vec<Ulimit>, String> {
    let limit = |text: &str| match text {
        "unlimited" | "-1" => Some(-1),
        number => number.parse().ok().filter(|number| *number >= 0),
    };
    let one = |word: &str| {
        let (name, limits) = word.split_once('=')?;
        let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
        Some(Ulimit { name: name.to_ascii_lowercase(), soft: limit(soft)?, hard: limit(hard)? })
    };
    let words = text.split_whitespace();
    words
        .map(|word| {
            one(word)
                .ok_or_else(|| format!("{word:?} is no limit; write NAME=SOFT[:HARD], for example nofile=1024:2048"))
        })
        .collect()
}

/// `StopSignal=`, by the name that the engine knows.
pub(super) fn signal(given: Option<String>) -> Result<Option<String>, String> {
    let Some(text) = given else { return Ok(None) };
    let number = value::signal(&text).map_err(|error| error.to_string())?;
    Ok(Some(value::signal_name(number)))
}

/// `StopTimeout=`: seconds.
pub(super) fn seconds(text: &str) -> Result<u64, String> {
    match value::time_span(text) {
        Ok(TimeSpan::Finite(span)) => Ok(span.as_secs()),
        _ => Err(format!("{text:?} is not a number of seconds")),
    }
}

/// `LogDriver=`, Podman's names for what Docker calls otherwise included.
pub(super) fn log_driver(given: Option<String>) -> Option<String> {
    given.map(|driver| if driver == "k8s-file" { "json-file".to_owned() } else { driver })
}
