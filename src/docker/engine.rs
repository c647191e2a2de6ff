//! The engine's API, as much of it as is used here, and what goes wrong with it in four words.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use bollard::Docker;
use bollard::errors::Error;
use bollard::models::{ContainerCreateBody, ContainerStateStatusEnum, HealthStatusEnum, PortBinding};
use bollard::query_parameters as query;

use crate::base::limits::{CONTAINER_CALL_MS_MAX, HEALTH_WORDS_BYTES_MAX};
use crate::base::with_causes;
use crate::unit::container::{Port, Protocol};

/// Labels on every container that is made here.
pub const LABEL_UNIT: &str = "io.corenode.unit";
pub const LABEL_MACHINE: &str = "io.corenode.machine";
pub const LABEL_HASH: &str = "io.corenode.hash";
pub const LABEL_TEXT: &str = "io.corenode.text";
pub const LABEL_SECRETS: &str = "io.corenode.secrets";

/// What came of a call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// It does not answer: nothing is known of what became of the call.
    #[error("the container engine does not answer: {0}")]
    Away(String),
    #[error("{0}")]
    NotFound(String),
    #[error("{0}")]
    Conflict(String),
    #[error("{0}")]
    Refused(String),
}

impl From<Error> for EngineError {
    fn from(error: Error) -> Self {
        match error {
            Error::DockerResponseServerError { status_code: 404, message } => Self::NotFound(message),
            Error::DockerResponseServerError { status_code: 409, message } => Self::Conflict(message),
            Error::DockerResponseServerError { message, .. } => Self::Refused(message),
            Error::DockerStreamError { error } => Self::Refused(error),
            other => Self::Away(with_causes(&other)),
        }
    }
}

/// What a look at a container found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub id: String,
    pub hash: String,
    /// Which secrets it was given.
    pub secrets: String,
    pub stage: Stage,
    /// The ports of the host that it is reached through.
    pub ports: Vec<Port>,
}

/// How far a container is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Made and never started.
    Created,
    Running(Pulse),
    Ended {
        code: i32,
        out_of_memory: bool,
    },
}

/// What the container's health check says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pulse {
    /// There is none.
    Unasked,
    Starting,
    Healthy,
    Unhealthy,
}

/// Connects and settles on a version of the API that both know.
pub async fn connect(socket: &Path) -> Result<Docker, EngineError> {
    let path = socket.to_string_lossy();
    let seconds = CONTAINER_CALL_MS_MAX / 1000;
    let docker = Docker::connect_with_unix(&path, seconds, bollard::API_DEFAULT_VERSION)?;
    let asked = tokio::time::timeout(Duration::from_millis(CONTAINER_CALL_MS_MAX), docker.negotiate_version()).await;
    Ok(asked.map_err(|_| EngineError::Away(format!("{path}: no answer within {seconds} s")))??)
}

/// Looks at a container by its name or id; `None`: there is none.
pub async fn look(docker: &Docker, container: &str) -> Result<Option<Seen>, EngineError> {
    let found = match docker.inspect_container(container, None::<query::InspectContainerOptions>).await {
        Ok(found) => found,
        Err(error) => {
            return match EngineError::from(error) {
                EngineError::NotFound(_) => Ok(None),
                error => Err(error),
            };
        }
    };
    let (state, config) = (found.state.unwrap_or_default(), found.config.unwrap_or_default());
    let labels = config.labels.unwrap_or_default();
    let stage = match state.status {
        Some(ContainerStateStatusEnum::CREATED) => Stage::Created,
        // Being removed by somebody: as good as gone.
        Some(ContainerStateStatusEnum::REMOVING) => return Ok(None),
        Some(ContainerStateStatusEnum::EXITED | ContainerStateStatusEnum::DEAD) => Stage::Ended {
            code: state.exit_code.and_then(|code| i32::try_from(code).ok()).unwrap_or(-1),
            out_of_memory: state.oom_killed.unwrap_or(false),
        },
        _ => Stage::Running(match state.health.and_then(|health| health.status) {
            Some(HealthStatusEnum::STARTING) => Pulse::Starting,
            Some(HealthStatusEnum::HEALTHY) => Pulse::Healthy,
            Some(HealthStatusEnum::UNHEALTHY) => Pulse::Unhealthy,
            _ => Pulse::Unasked,
        }),
    };
    Ok(Some(Seen {
        id: found.id.unwrap_or_default(),
        hash: labels.get(LABEL_HASH).cloned().unwrap_or_default(),
        secrets: labels.get(LABEL_SECRETS).cloned().unwrap_or_default(),
        stage,
        ports: found.network_settings.and_then(|settings| settings.ports).map(bound).unwrap_or_default(),
    }))
}

/// What the engine says of ports (`80/tcp`, and where it is bound), sorted.
fn bound(map: HashMap<String, Option<Vec<PortBinding>>>) -> Vec<Port> {
    let mut ports = Vec::new();
    for (key, bindings) in map {
        let Some((container, protocol)) = key.split_once('/') else { continue };
        let protocol = match protocol {
            "udp" => Protocol::Udp,
            "sctp" => Protocol::Sctp,
            _ => Protocol::Tcp,
        };
        let Ok(container) = container.parse() else { continue };
        ports.extend(bindings.unwrap_or_default().into_iter().map(|binding| Port {
            address: binding.host_ip.and_then(|ip| ip.parse().ok()),
            host: binding.host_port.and_then(|port| port.parse().ok()),
            container,
            protocol,
        }));
    }
    ports.retain(|port| port.host.is_some());
    ports.sort();
    ports
}

/// What a unit's `PublishPort=` became, in its order; those that are not bound are left away.
pub fn published(asked: &[Port], bound: &[Port]) -> Vec<Port> {
    let is_of = |asked: &Port, bound: &Port| {
        (asked.container, asked.protocol) == (bound.container, bound.protocol)
            && asked.host.is_none_or(|_| asked.host == bound.host)
            && asked.one_address().is_none_or(|_| asked.address == bound.address)
    };
    let mut left = bound.to_vec();
    let mut take = |asked: &Port| {
        let place = left.iter().position(|bound| is_of(asked, bound))?;
        Some(Port { address: asked.address, ..left.remove(place) })
    };
    asked.iter().filter_map(&mut take).collect()
}

/// A container of this machine's, from the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub id: String,
    pub unit: String,
    pub hash: String,
    pub text: String,
    pub running: bool,
}

/// All containers that carry this machine's label, or those of one unit, running or not.
pub async fn list(docker: &Docker, machine: &str, unit: Option<&str>) -> Result<Vec<Listed>, EngineError> {
    let options = query::ListContainersOptionsBuilder::default().all(true).filters(&labelled(machine, unit)).build();
    let found = docker.list_containers(Some(options)).await?;
    let listed = |summary: bollard::models::ContainerSummary| {
        let mut labels = summary.labels?;
        Some(Listed {
            id: summary.id?,
            unit: labels.remove(LABEL_UNIT)?,
            hash: labels.remove(LABEL_HASH).unwrap_or_default(),
            text: labels.remove(LABEL_TEXT).unwrap_or_default(),
            running: summary.state.is_some_and(|state| state.to_string() == "running"),
        })
    };
    Ok(found.into_iter().filter_map(listed).collect())
}

/// The filter for this machine's containers, or for those of one unit.
pub fn labelled(machine: &str, unit: Option<&str>) -> HashMap<String, Vec<String>> {
    let mut labels = vec![format!("{LABEL_MACHINE}={machine}")];
    labels.extend(unit.map(|unit| format!("{LABEL_UNIT}={unit}")));
    HashMap::from([("label".to_owned(), labels)])
}

/// Makes a container; its id.
pub async fn create(docker: &Docker, name: &str, body: ContainerCreateBody) -> Result<String, EngineError> {
    let options = query::CreateContainerOptionsBuilder::default().name(name).build();
    Ok(docker.create_container(Some(options), body).await?.id)
}

/// Starts a container; a no-op where it runs.
pub async fn start(docker: &Docker, id: &str) -> Result<(), EngineError> {
    Ok(docker.start_container(id, None::<query::StartContainerOptions>).await?)
}

/// Sends a signal; a container that does not run is no error.
pub async fn signal(docker: &Docker, id: &str, signal: &str) -> Result<(), EngineError> {
    let options = query::KillContainerOptionsBuilder::default().signal(signal).build();
    match docker.kill_container(id, Some(options)).await.map_err(EngineError::from) {
        Err(EngineError::NotFound(_) | EngineError::Conflict(_)) | Ok(()) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Removes a container and its nameless volumes, running or not; one that is gone is no error.
pub async fn remove(docker: &Docker, id: &str) -> Result<(), EngineError> {
    let options = query::RemoveContainerOptionsBuilder::default().force(true).v(true).build();
    match docker.remove_container(id, Some(options)).await.map_err(EngineError::from) {
        // A conflict: its removal is under way already.
        Err(EngineError::NotFound(_) | EngineError::Conflict(_)) | Ok(()) => Ok(()),
        Err(error) => Err(error),
    }
}

/// The signal that a container is to be stopped by, where its image names one.
pub async fn stop_signal(docker: &Docker, id: &str) -> Result<Option<String>, EngineError> {
    let found = docker.inspect_container(id, None::<query::InspectContainerOptions>).await?;
    Ok(found.config.and_then(|config| config.stop_signal).filter(|signal| !signal.is_empty()))
}

/// What the container's last health check printed, on one line.
pub async fn last_check(docker: &Docker, id: &str) -> Result<Option<String>, EngineError> {
    let found = docker.inspect_container(id, None::<query::InspectContainerOptions>).await?;
    let checks = found.state.and_then(|state| state.health).and_then(|health| health.log);
    let last = checks.and_then(|checks| checks.into_iter().next_back());
    Ok(last.map(|check| {
        let output = check.output.unwrap_or_default();
        let code = check.exit_code.unwrap_or_default();
        let words = output.split_whitespace().collect::<Vec<_>>().join(" ");
        let words = &words[..words.floor_char_boundary(HEALTH_WORDS_BYTES_MAX)];
        if words.is_empty() { format!("exit code {code}") } else { format!("exit code {code}: {words}") }
    }))
}

/// Podman's own API is asked for by the version from which on it has what is asked.
const PODMANS_API: &str = "4.0.0";

/// Whether it is Podman's service.
pub async fn is_podman(docker: &Docker) -> Result<bool, EngineError> {
    let parts = docker.version().await?.components.unwrap_or_default();
    Ok(parts.iter().any(|part| part.name == "Podman Engine"))
}

/// The pause between two health checks of a container; `None`: none are to be made.
pub async fn health_interval(docker: &Docker, id: &str) -> Result<Option<Duration>, EngineError> {
    let found = docker.inspect_container(id, None::<query::InspectContainerOptions>).await?;
    let nanos = found.config.and_then(|config| config.healthcheck).and_then(|health| health.interval);
    Ok(nanos.and_then(|nanos| u64::try_from(nanos).ok()).filter(|nanos| *nanos > 0).map(Duration::from_nanos))
}

/// Has Podman make one health check. The call is its own API's, of which bollard knows nothing: it takes another call's place.
pub async fn check_health(docker: &Docker, id: &str) -> Result<(), EngineError> {
    let path = format!("/v{PODMANS_API}/libpod/containers/{id}/healthcheck");
    let asking = docker.clone().with_request_modifier(move |mut request| {
        let mut parts = request.uri().clone().into_parts();
        parts.path_and_query = path.parse().ok();
        if let Ok(uri) = parts.try_into() {
            *request.uri_mut() = uri;
        }
        request
    });
    Ok(asking.ping().await.map(drop)?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::unit::UnitText;
    use crate::unit::container::read_anywhere;

    #[test]
    fn published_ports_are_the_units_in_its_order() {
        let binding = |ip: &str, port: &str| PortBinding { host_ip: Some(ip.into()), host_port: Some(port.into()) };
        let map = HashMap::from([
            ("80/tcp".to_owned(), Some(vec![binding("0.0.0.0", "32768"), binding("::", "32769")])),
            ("81/tcp".to_owned(), Some(vec![binding("127.0.0.1", "8081"), binding("127.0.0.2", "8081")])),
            ("53/udp".to_owned(), Some(vec![binding("0.0.0.0", "53")])),
            ("443/tcp".to_owned(), None),
            ("nonsense".to_owned(), None),
        ]);
        let bound = bound(map);
        let cases: [(&[&str], &[&str]); 5] = [
            (&["80"], &["32768:80/tcp"]),
            (&["53:53/udp", "80"], &["53:53/udp", "32768:80/tcp"]),
            (&["127.0.0.2:8081:81", "127.0.0.1:8081:81"], &["127.0.0.2:8081:81/tcp", "127.0.0.1:8081:81/tcp"]),
            (&["443", "82:82", "80"], &["32768:80/tcp"]),
            (&[], &[]),
        ];
        for (lines, expected) in cases {
            let lines: String = lines.iter().map(|line| format!("PublishPort={line}\n")).collect();
            let text = UnitText::parse(&format!("[Container]\nImage=a\n{lines}")).unwrap();
            let asked = read_anywhere(&text, "a.container").unwrap().ports;
            let found: Vec<String> = published(&asked, &bound).iter().map(ToString::to_string).collect();
            assert_eq!(found, expected);
        }
    }
}
