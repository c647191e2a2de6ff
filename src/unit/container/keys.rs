//! The keys of `[Container]`, one by one.

use super::parts::{self, Pull, Readiness};
use super::{Container, assignments, network, secret, variables};
use crate::unit::specifier::Specifiers;
use crate::unit::value;
use crate::unit::words;

/// Every key that is taken.
const KNOWN: [&str; 62] = [
    "AddCapability",
    "AddDevice",
    "AddHost",
    "Annotation",
    "AutoUpdate",
    "ContainerName",
    "DNS",
    "DNSOption",
    "DNSSearch",
    "DropCapability",
    "Entrypoint",
    "Environment",
    "EnvironmentFile",
    "Exec",
    "ExposeHostPort",
    "Group",
    "GroupAdd",
    "HealthCmd",
    "HealthInterval",
    "HealthOnFailure",
    "HealthRetries",
    "HealthStartPeriod",
    "HealthTimeout",
    "HostName",
    "IP",
    "IP6",
    "Image",
    "Label",
    "LogDriver",
    "LogOpt",
    "Memory",
    "Network",
    "NetworkAlias",
    "NoNewPrivileges",
    "Notify",
    "PidsLimit",
    "PublishPort",
    "Pull",
    "ReadOnly",
    "RunInit",
    "SeccompProfile",
    "Secret",
    "ShmSize",
    "StopSignal",
    "StopTimeout",
    "Sysctl",
    "Timezone",
    "Tmpfs",
    "Ulimit",
    "User",
    "Volume",
    "WorkingDir",
    "AppArmor",
    "SecurityLabelDisable",
    "SecurityLabelFileType",
    "SecurityLabelLevel",
    "SecurityLabelNested",
    "SecurityLabelType",
    "Retry",
    "RetryDelay",
    "StartWithPod",
    "ServiceName",
];

/// Quadlet's keys that only Podman can do, and what to write instead.
const PODMANS_OWN: [(&str, &str); 18] = [
    ("PodmanArgs", "write the key that it stands for"),
    ("GlobalArgs", "set the engine up by its own configuration"),
    ("ContainersConfModule", "set the engine up by its own configuration"),
    ("Rootfs", "make an image of it and name that in Image="),
    ("Pod", "put units on one machine with MachineOf= and join them by a network"),
    ("UserNS", "set up user namespaces in the engine's own configuration"),
    ("RemapUsers", "set up user namespaces in the engine's own configuration"),
    ("RemapUid", "set up user namespaces in the engine's own configuration"),
    ("RemapGid", "set up user namespaces in the engine's own configuration"),
    ("RemapUidSize", "set up user namespaces in the engine's own configuration"),
    ("UIDMap", "set up user namespaces in the engine's own configuration"),
    ("GIDMap", "set up user namespaces in the engine's own configuration"),
    ("SubUIDMap", "set up user namespaces in the engine's own configuration"),
    ("SubGIDMap", "set up user namespaces in the engine's own configuration"),
    ("Mask", "leave it away: the engine masks what must not be seen"),
    ("Unmask", "leave it away: the engine masks what must not be seen"),
    ("Mount", "use Volume= or Tmpfs="),
    ("EnvironmentHost", "name the variables in Environment="),
];

impl Container {
    /// Takes one key. `Some`: what is said about it not being done, to follow `Key=`.
    pub(super) fn key(&mut self, key: &str, value: &str, specifiers: &Specifiers) -> Result<Option<String>, String> {
        let text = specifiers.expand(value).map_err(|error| error.to_string())?;
        let given = (!text.is_empty()).then(|| text.clone());
        match key {
            "Image" => self.image = parts::image(&text)?,
            "ContainerName" => self.name = parts::container_name(&text)?,
            "Exec" => self.exec = command_words(value, specifiers)?,
            "Entrypoint" => self.entrypoint = Some(parts::entrypoint(&text)?),
            "Environment" => extend(&mut self.environment, value, variables(value, specifiers)?),
            "EnvironmentFile" => {
                let file = parts::environment_file(&text)?;
                extend(&mut self.environment_files, value, file.into_iter().collect());
            }
            "PublishPort" => extend(&mut self.ports, value, network::ports(&text)?),
            "ExposeHostPort" => extend(&mut self.exposed, value, network::exposed(&text)?),
            "Volume" => extend(&mut self.volumes, value, parts::volume(&text)?),
            "Tmpfs" => extend(&mut self.tmpfs, value, parts::tmpfs(&text)?),
            "Network" => extend(&mut self.networks, value, network::network(&text)?),
            "NetworkAlias" | "IP" | "IP6" => network::of_first(&mut self.networks, key, &text)?,
            "User" | "Group" => self.user_and_group(key, &text)?,
            "WorkingDir" => self.working_dir = parts::absolute(given)?,
            "Label" => extend(&mut self.labels, value, assignments(value, specifiers)?),
            "Annotation" => extend(&mut self.annotations, value, assignments(value, specifiers)?),
            "AddCapability" => extend(&mut self.add_capabilities, value, parts::capabilities(&text)?),
            "DropCapability" => extend(&mut self.drop_capabilities, value, parts::capabilities(&text)?),
            "GroupAdd" => extend(&mut self.groups, value, words_of(&text)),
            "Sysctl" => extend(&mut self.sysctls, value, assignments(value, specifiers)?),
            "AddDevice" => extend(&mut self.devices, value, parts::device(&text)?),
            "ReadOnly" => self.read_only = truth(&text)?,
            "NoNewPrivileges" => self.no_new_privileges = truth(&text)?,
            "RunInit" => self.init = truth(&text)?,
            "SeccompProfile" => self.seccomp_profile = given,
            "Memory" => self.memory = parts::size(given)?,
            "ShmSize" => self.shm_size = parts::size(given)?,
            "PidsLimit" => self.pids_limit = parts::pids_limit(given)?,
            "Ulimit" => extend(&mut self.ulimits, value, parts::ulimits(&text)?),
            "HostName" => self.host_name = given,
            "AddHost" => extend(&mut self.hosts, value, network::hosts(&text)?),
            "DNS" => extend(&mut self.dns, value, network::addresses(&text)?),
            "DNSSearch" => extend(&mut self.dns_search, value, words_of(&text)),
            "DNSOption" => extend(&mut self.dns_options, value, words_of(&text)),
            "Secret" => extend(&mut self.secrets, value, secret::read(&text)?),
            "Pull" => self.pull = Pull::read(&text)?,
            "StopSignal" => self.stop_signal = parts::signal(given)?,
            "StopTimeout" => self.stop_timeout_s = parts::seconds(&text)?,
            "LogDriver" => self.log_driver = parts::log_driver(given),
            "LogOpt" => extend(&mut self.log_options, value, assignments(value, specifiers)?),
            "Notify" => self.notify(&text)?,
            "Timezone" => self.timezone(&text),
            "HealthOnFailure" => self.on_unhealthy = parts::OnUnhealthy::read(&text)?,
            _ if key.starts_with("Health") && KNOWN.contains(&key) => self.health_key(key, &text)?,
            _ => return not_done(key, &text),
        }
        Ok(None)
    }

    fn user_and_group(&mut self, key: &str, text: &str) -> Result<(), String> {
        let (user, group) = match self.user.as_deref().unwrap_or("").split_once(':') {
            Some((user, group)) => (user.to_owned(), group.to_owned()),
            None => (self.user.clone().unwrap_or_default(), String::new()),
        };
        let (user, group) = match (key, text.split_once(':')) {
            ("User", Some((user, group))) => (user.to_owned(), group.to_owned()),
            ("User", None) => (text.to_owned(), group),
            _ => (user, text.to_owned()),
        };
        self.user = match (user.as_str(), group.as_str()) {
            ("", "") => None,
            (user, "") => Some(user.to_owned()),
            // What the engine takes for the image's user with another group.
            ("", group) => Some(format!("0:{group}")),
            (user, group) => Some(format!("{user}:{group}")),
        };
        Ok(())
    }

    fn notify(&mut self, text: &str) -> Result<(), String> {
        self.readiness = match text {
            "healthy" => Readiness::Healthy,
            "" => Readiness::Running,
            _ if truth(text)? => Readiness::Told,
            _ => Readiness::Running,
        };
        Ok(())
    }

    fn timezone(&mut self, text: &str) {
        if text == "local" {
            self.volumes.extend(parts::volume("/etc/localtime:/etc/localtime:ro").unwrap_or_default());
        } else if !text.is_empty() {
            self.environment.push(("TZ".to_owned(), text.to_owned()));
        }
    }

    fn health_key(&mut self, key: &str, text: &str) -> Result<(), String> {
        self.health.get_or_insert_default().key(key, text)
    }
}

/// A key that means nothing here: passed over aloud, or refused.
fn not_done(key: &str, text: &str) -> Result<Option<String>, String> {
    match key {
        "AutoUpdate" if text.is_empty() => Ok(None),
        "AutoUpdate" => {
            Ok(Some(format!("{text}: not done; images change when a new text is applied (node ctl apply)")))
        }
        "Retry" | "RetryDelay" => Ok(Some(format!("{text}: not done; images are pulled again with growing pauses"))),
        "StartWithPod" | "ServiceName" => {
            Ok(Some(format!("{text}: not done; there are no pods, and the unit has its own name")))
        }
        "AppArmor" => Ok(Some(format!("{text}: not done; the engine's own profile is used"))),
        _ if key.starts_with("SecurityLabel") && KNOWN.contains(&key) => {
            Ok(Some(format!("{text}: not done; the engine labels containers itself")))
        }
        _ if key.starts_with("X-") => Ok(None),
        _ => Err(refusal(key)),
    }
}

fn refusal(key: &str) -> String {
    if let Some((_, instead)) = PODMANS_OWN.iter().find(|(own, _)| *own == key) {
        return format!("only Podman can do this; {instead}");
    }
    let distance = |known: &&&str| strsim::damerau_levenshtein(&key.to_lowercase(), &known.to_lowercase());
    match KNOWN.iter().min_by_key(distance).filter(|known| distance(known) <= 2) {
        Some(near) => format!("unknown key; did you mean {near}?"),
        None => "unknown key; remove it, or begin its name with X- to keep it as a note".to_owned(),
    }
}

/// Adds to a list; an empty value empties it, as in systemd.
fn extend<T>(list: &mut Vec<T>, value: &str, more: Vec<T>) {
    if value.is_empty() {
        list.clear();
    }
    list.extend(more);
}

fn truth(text: &str) -> Result<bool, String> {
    value::boolean(text).map_err(|error| error.to_string())
}

fn words_of(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// A command's words; `$$` is a dollar sign, as in `ExecStart=` that Quadlet makes of it.
fn command_words(value: &str, specifiers: &Specifiers) -> Result<Vec<String>, String> {
    let words = words::all_words(value, words::Mode::Strict).map_err(|error| error.to_string())?;
    let expand = |word: &String| specifiers.expand(word).map(|word| word.replace("$$", "$"));
    words.iter().map(expand).collect::<Result<_, _>>().map_err(|error| error.to_string())
}
