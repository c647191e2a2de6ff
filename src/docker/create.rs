//! A container's unit as the engine is told of it.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use bollard::models::{
    ContainerCreateBody, DeviceMapping, EndpointIpamConfig, EndpointSettings, HealthConfig, HostConfig,
    HostConfigLogConfig, NetworkingConfig, PortBinding, ResourcesUlimits,
};

use super::engine::{LABEL_HASH, LABEL_MACHINE, LABEL_SECRETS, LABEL_TEXT, LABEL_UNIT};
use super::notices::{self, NoticeFolders};
use super::secrets::Given;
use crate::fleet::executor::UnitFile;
use crate::unit::container::{Container, Health, Network, Readiness, Test, Volume};
use crate::unit::environment::environment_file;

/// What the engine is to make of a unit.
///
/// # Errors
/// A file of the host that the unit names cannot be read: which, and why.
pub fn body(
    container: &Container,
    file: &UnitFile,
    machine: &str,
    secrets: &Given,
) -> Result<ContainerCreateBody, String> {
    let mut bound = [binds(container), secrets.binds.clone()].concat();
    if container.readiness == Readiness::Told {
        let folder = NoticeFolders::of(machine).of_unit(&file.name);
        bound.push(format!("{}:{}:ro", folder.display(), notices::WITHIN));
    }
    Ok(ContainerCreateBody {
        image: Some(container.image.clone()),
        cmd: given(&container.exec),
        // An empty list would leave the image's; one empty word takes it away.
        entrypoint: container
            .entrypoint
            .clone()
            .map(|words| if words.is_empty() { vec![String::new()] } else { words }),
        env: Some(variables(container, secrets)?),
        hostname: container.host_name.clone(),
        user: container.user.clone(),
        working_dir: container.working_dir.clone(),
        labels: Some(labels(container, file, machine, secrets)),
        stop_signal: container.stop_signal.clone(),
        exposed_ports: given(&exposed(container)),
        healthcheck: container.health.as_ref().map(health),
        volumes: given(&nameless_volumes(container)),
        host_config: Some(host_config(container, bound)?),
        networking_config: networking(&container.networks),
        ..ContainerCreateBody::default()
    })
}

fn given<T: Clone>(list: &[T]) -> Option<Vec<T>> {
    (!list.is_empty()).then(|| list.to_vec())
}

fn map(pairs: &[(String, String)]) -> Option<HashMap<String, String>> {
    (!pairs.is_empty()).then(|| pairs.iter().cloned().collect())
}

fn variables(container: &Container, secrets: &Given) -> Result<Vec<String>, String> {
    let mut all = Vec::new();
    for (path, optional) in &container.environment_files {
        match std::fs::read_to_string(path) {
            Ok(text) => all.extend(environment_file(&text).variables),
            Err(error) if *optional && error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(format!("EnvironmentFile={path}: {error}")),
        }
    }
    all.extend(container.environment.iter().chain(&secrets.variables).cloned());
    if container.readiness == Readiness::Told {
        all.push(("NOTIFY_SOCKET".to_owned(), format!("{}/{}", notices::WITHIN, notices::NAME)));
    }
    // A later one wins, which the engine leaves to the program otherwise.
    let last: HashMap<&str, usize> = all.iter().enumerate().map(|(at, (name, _))| (name.as_str(), at)).collect();
    let kept = all.iter().enumerate().filter(|(at, (name, _))| last.get(name.as_str()) == Some(at));
    Ok(kept.map(|(_, (name, value))| format!("{name}={value}")).collect())
}

fn labels(container: &Container, file: &UnitFile, machine: &str, secrets: &Given) -> HashMap<String, String> {
    let mut labels: HashMap<_, _> = container.labels.iter().cloned().collect();
    let own =
        [(LABEL_UNIT, &*file.name), (LABEL_MACHINE, machine), (LABEL_HASH, &*file.hash), (LABEL_TEXT, &*file.text)];
    labels.extend(own.map(|(name, value)| (name.to_owned(), value.to_owned())));
    if !secrets.versions.is_empty() {
        labels.insert(LABEL_SECRETS.to_owned(), secrets.versions.clone());
    }
    labels
}

fn exposed(container: &Container) -> Vec<String> {
    let published = container.ports.iter().map(|port| (port.container, port.protocol));
    let all = published.chain(container.exposed.iter().copied());
    all.map(|(port, protocol)| format!("{port}/{protocol}")).collect()
}

fn health(health: &Health) -> HealthConfig {
    let nanos = |span: Option<Duration>| span.and_then(|span| i64::try_from(span.as_nanos()).ok());
    HealthConfig {
        test: health.test.as_ref().map(|test| match test {
            Test::Off => vec!["NONE".to_owned()],
            Test::Shell(line) => vec!["CMD-SHELL".to_owned(), line.clone()],
            Test::Words(words) => ["CMD".to_owned()].into_iter().chain(words.iter().cloned()).collect(),
        }),
        interval: nanos(health.interval),
        timeout: nanos(health.timeout),
        start_period: nanos(health.start_period),
        retries: health.retries.map(i64::from),
        ..HealthConfig::default()
    }
}

fn nameless_volumes(container: &Container) -> Vec<String> {
    let nameless = container.volumes.iter().filter(|volume| volume.source.is_none());
    nameless.map(|volume| volume.target.clone()).collect()
}

fn binds(container: &Container) -> Vec<String> {
    let bind = |volume: &Volume| {
        let source = volume.source.as_ref()?;
        let options = volume.options.iter().map(|options| format!(":{options}")).collect::<String>();
        Some(format!("{source}:{}{options}", volume.target))
    };
    container.volumes.iter().filter_map(bind).collect()
}

fn host_config(container: &Container, binds: Vec<String>) -> Result<HostConfig, String> {
    let limit = |limit: &crate::unit::container::Ulimit| ResourcesUlimits {
        name: Some(limit.name.clone()),
        soft: Some(limit.soft),
        hard: Some(limit.hard),
    };
    let log = HostConfigLogConfig { typ: container.log_driver.clone(), config: map(&container.log_options) };
    Ok(HostConfig {
        binds: given(&binds),
        tmpfs: map(&container.tmpfs),
        port_bindings: port_bindings(container),
        network_mode: container.networks.first().map(|network| network.name.clone()),
        cap_add: given(&container.add_capabilities),
        cap_drop: given(&container.drop_capabilities),
        group_add: given(&container.groups),
        readonly_rootfs: Some(container.read_only),
        security_opt: given(&security(container)?),
        sysctls: map(&container.sysctls),
        devices: given(&devices(container)),
        memory: container.memory.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX)),
        pids_limit: container.pids_limit,
        shm_size: container.shm_size.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX)),
        ulimits: given(&container.ulimits.iter().map(limit).collect::<Vec<_>>()),
        extra_hosts: given(&container.hosts),
        dns: given(&container.dns),
        dns_search: given(&container.dns_search),
        dns_options: given(&container.dns_options),
        log_config: (log.typ.is_some() || log.config.is_some()).then_some(log),
        annotations: map(&container.annotations),
        init: container.init.then_some(true),
        ..HostConfig::default()
    })
}

fn port_bindings(container: &Container) -> Option<HashMap<String, Option<Vec<PortBinding>>>> {
    let mut bindings: HashMap<String, Option<Vec<PortBinding>>> = HashMap::new();
    let published = container.ports.iter().filter(|_| !container.is_in_hosts_network());
    for port in published {
        let key = format!("{}/{}", port.container, port.protocol);
        bindings.entry(key).or_default().get_or_insert_default().push(PortBinding {
            host_ip: port.address.map(|address| address.to_string()),
            host_port: port.host.map(|host| host.to_string()),
        });
    }
    (!bindings.is_empty()).then_some(bindings)
}

fn security(container: &Container) -> Result<Vec<String>, String> {
    let mut options = Vec::new();
    if container.no_new_privileges {
        options.push("no-new-privileges".to_owned());
    }
    match container.seccomp_profile.as_deref() {
        None => {}
        Some("unconfined") => options.push("seccomp=unconfined".to_owned()),
        Some(path) => {
            let profile = std::fs::read_to_string(path).map_err(|error| format!("SeccompProfile={path}: {error}"))?;
            options.push(format!("seccomp={profile}"));
        }
    }
    Ok(options)
}

fn devices(container: &Container) -> Vec<DeviceMapping> {
    let wanted = container.devices.iter().filter(|device| !device.optional || Path::new(&device.host).exists());
    let mapping = |device: &crate::unit::container::Device| DeviceMapping {
        path_on_host: Some(device.host.clone()),
        path_in_container: Some(device.container.clone()),
        cgroup_permissions: Some(device.rights.clone()),
    };
    wanted.map(mapping).collect()
}

/// The engine's own networks take neither names nor addresses.
fn networking(networks: &[Network]) -> Option<NetworkingConfig> {
    let built_in = |network: &&Network| {
        !["host", "none", "bridge", "default"].contains(&network.name.as_str()) && !network.name.contains(':')
    };
    let endpoint = |network: &Network| {
        let settings = EndpointSettings {
            aliases: given(&network.aliases),
            ipam_config: (network.ip.is_some() || network.ip6.is_some()).then(|| EndpointIpamConfig {
                ipv4_address: network.ip.map(|ip| ip.to_string()),
                ipv6_address: network.ip6.map(|ip| ip.to_string()),
                link_local_ips: None,
            }),
            ..EndpointSettings::default()
        };
        (network.name.clone(), settings)
    };
    let endpoints: HashMap<_, _> = networks.iter().filter(built_in).map(endpoint).collect();
    (!endpoints.is_empty()).then_some(NetworkingConfig { endpoints_config: Some(endpoints) })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::unit::UnitText;
    use crate::unit::container::read_anywhere;
    use serde_json::{Value, json};

    fn made(lines: &str) -> Value {
        let text = format!("[Container]\nImage=web:1\n{lines}");
        let container = read_anywhere(&UnitText::parse(&text).unwrap(), "web.container").unwrap();
        let file = UnitFile { name: "web.container".into(), text, hash: "h".into() };
        serde_json::to_value(body(&container, &file, "m", &Given::default()).unwrap()).unwrap()
    }

    #[test]
    fn keys_become_the_engines_fields() {
        // Lines → where in the request → what is there.
        let cases = [
            ("", "/Image", json!("web:1")),
            ("", "/Labels/io.corenode.unit", json!("web.container")),
            ("", "/HostConfig/RestartPolicy", Value::Null),
            ("Exec=a 'b c'", "/Cmd", json!(["a", "b c"])),
            ("Entrypoint=/x", "/Entrypoint", json!(["/x"])),
            ("Entrypoint=", "/Entrypoint", json!([""])),
            ("Environment=A=1 B=2\nEnvironment=A=3", "/Env", json!(["B=2", "A=3"])),
            ("PublishPort=8080:80", "/HostConfig/PortBindings/80~1tcp", json!([{"HostPort": "8080"}])),
            ("PublishPort=[::1]::53/udp", "/HostConfig/PortBindings/53~1udp", json!([{"HostIp": "::1"}])),
            ("Volume=/a:/b:ro\nVolume=/c", "/HostConfig/Binds", json!(["/a:/b:ro"])),
            ("Tmpfs=/t:size=1m", "/HostConfig/Tmpfs", json!({"/t": "size=1m"})),
            ("Network=host", "/HostConfig/NetworkMode", json!("host")),
            ("Network=host\nPublishPort=80:80", "/HostConfig/PortBindings", Value::Null),
            ("Network=host", "/NetworkingConfig", Value::Null),
            ("Network=n:alias=w", "/NetworkingConfig/EndpointsConfig/n/Aliases", json!(["w"])),
            ("Memory=1k", "/HostConfig/Memory", json!(1024)),
            ("Ulimit=nofile=1:2", "/HostConfig/Ulimits", json!([{"Name": "nofile", "Soft": 1, "Hard": 2}])),
            (
                "HealthCmd=true\nHealthInterval=2s",
                "/Healthcheck",
                json!({"Test": ["CMD-SHELL", "true"], "Interval": 2_000_000_000}),
            ),
            ("HealthCmd=none", "/Healthcheck/Test", json!(["NONE"])),
            ("Notify=yes", "/HostConfig/Binds", json!(["/run/corenode-notify/m/web.container:/run/notify:ro"])),
            ("Notify=yes\nEnvironment=A=1", "/Env", json!(["A=1", "NOTIFY_SOCKET=/run/notify/notify.sock"])),
            ("Notify=healthy", "/Env", json!([])),
            ("LogDriver=local", "/HostConfig/LogConfig/Type", json!("local")),
            (
                "NoNewPrivileges=yes\nSeccompProfile=unconfined",
                "/HostConfig/SecurityOpt",
                json!(["no-new-privileges", "seccomp=unconfined"]),
            ),
        ];
        for (lines, place, expected) in cases {
            let made = made(lines);
            assert_eq!(made.pointer(place).unwrap_or(&Value::Null), &expected, "{lines}: {made}");
        }
    }

    #[test]
    fn a_file_that_is_missing_is_named() {
        let text = UnitText::parse("[Container]\nImage=a\nEnvironmentFile=/no/where").unwrap();
        let container = read_anywhere(&text, "a.container").unwrap();
        let file = UnitFile { name: "a.container".into(), text: String::new(), hash: String::new() };
        assert!(
            body(&container, &file, "m", &Given::default()).unwrap_err().starts_with("EnvironmentFile=/no/where: ")
        );
        assert!(made("EnvironmentFile=-/no/where").pointer("/Env").unwrap().as_array().unwrap().is_empty());
    }
}
