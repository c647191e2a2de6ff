//! The plan: what is done to a machine for a cloud-config, in coreos-cloudinit's order.

use std::collections::BTreeMap;
use std::fmt;

use super::config::{CloudConfig, User};
use super::merge;
use super::sections;
use super::settings::{NodeSetting, render, stands_alone};
use super::units;
use super::userdata::Addresses;

/// The node's settings out of the user-data, beside `/etc/node/node.toml`.
pub const NODE_SETTINGS: &str = "/etc/node/node.toml.d/20-cloudinit.toml";
/// The unit that stands in for etcd.service, etcd2.service and fleet.service.
pub const NODE_UNIT: &str = "node.service";
/// Where those names are links to it.
pub const ALIASES_FOLDER: &str = "/run/systemd/system";
/// The user whom `ssh_authorized_keys` let in.
const CORE: &str = "core";

/// What a plan needs to know of the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    pub hostname: String,
    pub machine_id: String,
    pub addresses: Addresses,
    /// `/etc/environment`; empty where there is none.
    pub environment: String,
    /// `/etc/coreos/update.conf`, or the one below `/usr/share`; empty where there is none.
    pub update_conf: String,
    /// What the keys of the user-data are called among a user's other keys.
    pub ssh_key_name: String,
}

/// Who a file shall belong to. What is not said is root's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    pub user: Option<String>,
    pub group: Option<String>,
}

/// One thing that is done. Each changes nothing where it is done already, but for commands of units.
#[derive(Clone, PartialEq, Eq)]
pub enum Step {
    Hostname(String),
    /// Makes the user where there is none, with these arguments of useradd; gives him the password's hash, if any.
    User {
        name: String,
        arguments: Vec<String>,
        passwd: String,
    },
    /// Lets keys in; those that stood there under the same name before go.
    AuthorizeKeys {
        user: String,
        name: String,
        keys: Vec<String>,
    },
    /// The same with keys that are fetched.
    FetchKeys {
        user: String,
        name: String,
        url: String,
    },
    /// Writes a file with the folders above it.
    WriteFile {
        path: String,
        content: Vec<u8>,
        mode: u32,
        owner: Owner,
    },
    RemoveFile(String),
    /// The same for a file of systemd's, which must be told of it.
    PlaceUnit {
        path: String,
        content: String,
    },
    /// A unit of this name is the node's, if there is no other of that name.
    Alias(String),
    /// Makes the unit's file a link to nowhere.
    Mask(String),
    /// Takes such a link away.
    Unmask(String),
    Enable {
        unit: String,
        runtime: bool,
    },
    /// systemd reads its files anew, if one of them was changed.
    Reload,
    Command {
        verb: String,
        unit: String,
        rule: CommandRule,
    },
}

/// How a command of a unit is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandRule {
    /// Its failure ends the plan.
    Must,
    /// Where there is no such unit it is left out: one of CoreOS's own.
    IfPresent,
    /// It is not waited for: the node is ready only once other machines are. It is started anew if its settings were changed.
    Node,
}

impl fmt::Display for Step {
    /// Without content, hashes and keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Hostname(name) => write!(f, "set the host's name to {name}"),
            Step::User { name, passwd, .. } if passwd.is_empty() => write!(f, "have a user {name}"),
            Step::User { name, .. } => write!(f, "have a user {name}, with a password"),
            Step::AuthorizeKeys { user, name, keys } => {
                write!(f, "authorize {} of {user}, as {name}", count(keys.len(), "SSH key"))
            }
            Step::FetchKeys { user, name, url } => write!(f, "authorize SSH keys of {user} from {url}, as {name}"),
            Step::WriteFile { path, content, mode, owner } => {
                write!(f, "write {path}, {}, mode {mode:04o}", count(content.len(), "byte"))?;
                match (&owner.user, &owner.group) {
                    (None, None) => Ok(()),
                    (user, group) => {
                        let part = |part: &Option<String>| part.as_deref().unwrap_or("root").to_owned();
                        write!(f, ", of {}:{}", part(user), part(group))
                    }
                }
            }
            Step::RemoveFile(path) => write!(f, "remove {path}"),
            Step::PlaceUnit { path, content } => write!(f, "write {path}, {}", count(content.len(), "byte")),
            Step::Alias(unit) => write!(f, "call {NODE_UNIT} {unit} too"),
            Step::Mask(path) => write!(f, "mask {path}"),
            Step::Unmask(path) => write!(f, "unmask {path}"),
            Step::Enable { unit, runtime } => {
                write!(f, "systemctl enable{} {unit}", if *runtime { " --runtime" } else { "" })
            }
            Step::Reload => write!(f, "systemctl daemon-reload, if a unit's file was changed"),
            Step::Command { verb, unit, rule } => match rule {
                CommandRule::Must => write!(f, "systemctl {verb} {unit}"),
                CommandRule::IfPresent => write!(f, "systemctl {verb} {unit}, if there is such a unit"),
                CommandRule::Node => write!(f, "systemctl {verb} {unit}, anew if its settings were changed"),
            },
        }
    }
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// Makes the plan. `node` are the node's settings; `None`: they cannot be used, and the node is left as it is.
pub fn plan(config: &CloudConfig, facts: &Facts, node: Option<&[NodeSetting]>) -> Vec<Step> {
    let mut steps: Vec<Step> = config.hostname.clone().map(Step::Hostname).into_iter().collect();
    users(config, facts, &mut steps);
    files(config, facts, &mut steps);
    match node {
        Some([]) => steps.push(Step::RemoveFile(NODE_SETTINGS.to_owned())),
        Some(settings) => steps.push(file(NODE_SETTINGS, render(settings))),
        None => {}
    }
    units::plan(config, node.is_some(), &mut steps);
    steps
}

fn file(path: &str, content: String) -> Step {
    Step::WriteFile { path: path.to_owned(), content: content.into_bytes(), mode: 0o644, owner: Owner::default() }
}

fn users(config: &CloudConfig, facts: &Facts, steps: &mut Vec<Step>) {
    for user in &config.users {
        steps.push(Step::User { name: user.name.clone(), arguments: useradd(user), passwd: user.passwd.clone() });
        let mut keys = user.ssh_authorized_keys.clone();
        if user.name == CORE {
            keys.extend(config.ssh_authorized_keys.iter().cloned());
        }
        authorize(&user.name, keys, facts, steps);
        for login in &user.import_github {
            let url = format!("https://api.github.com/users/{login}/keys");
            steps.push(Step::FetchKeys { user: user.name.clone(), name: format!("github-{login}"), url });
        }
        if !user.import_url.is_empty() {
            let (name, url) = (format!("coreos-cloudinit-{}", user.name), user.import_url.clone());
            steps.push(Step::FetchKeys { user: user.name.clone(), name, url });
        }
    }
    if !config.ssh_authorized_keys.is_empty() && config.users.iter().all(|user| user.name != CORE) {
        let core = User { name: CORE.to_owned(), shell: "/bin/bash".to_owned(), ..User::default() };
        steps.push(Step::User { name: core.name.clone(), arguments: useradd(&core), passwd: String::new() });
        authorize(CORE, config.ssh_authorized_keys.clone(), facts, steps);
    }
}

fn authorize(user: &str, keys: Vec<String>, facts: &Facts, steps: &mut Vec<Step>) {
    if !keys.is_empty() {
        steps.push(Step::AuthorizeKeys { user: user.to_owned(), name: facts.ssh_key_name.clone(), keys });
    }
}

/// useradd's arguments. The password is set apart, so that its hash is in no list of processes.
fn useradd(user: &User) -> Vec<String> {
    let mut arguments = vec!["--password".to_owned(), "*".to_owned()];
    let mut with = |flag: &str, value: &str| {
        if !value.is_empty() {
            arguments.extend([flag.to_owned(), value.to_owned()]);
        }
    };
    with("--comment", &user.gecos);
    with("--home-dir", &user.homedir);
    with("--gid", &user.primary_group);
    with("--groups", &user.groups.join(","));
    with("--shell", &user.shell);
    let flags = [
        (user.no_create_home, "--no-create-home"),
        (!user.no_create_home, "--create-home"),
        (user.no_user_group, "--no-user-group"),
        (user.system, "--system"),
        (user.no_log_init, "--no-log-init"),
    ];
    arguments.extend(flags.iter().filter(|(given, _)| *given).map(|(_, flag)| (*flag).to_owned()));
    arguments.push(user.name.clone());
    arguments
}

/// `user`, `user:group` or `:group`.
fn owner(text: &str) -> Owner {
    let (user, group) = text.split_once(':').unwrap_or((text, ""));
    let given = |part: &str| Some(part.to_owned()).filter(|part| !part.is_empty());
    Owner { user: given(user), group: given(group) }
}

fn files(config: &CloudConfig, facts: &Facts, steps: &mut Vec<Step>) {
    for file in &config.write_files {
        steps.push(Step::WriteFile {
            path: file.path.clone(),
            content: file.content.clone(),
            mode: file.mode,
            owner: owner(&file.owner),
        });
    }
    if config.get("oem", "id").is_some() {
        steps.push(file("/etc/oem-release", oem_release(config)));
    }
    let update = variables(config, "update");
    if !update.is_empty() {
        let lines = update.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        steps.push(file("/etc/coreos/update.conf", merge::update_conf(&facts.update_conf, lines)));
    }
    if config.manages_etc_hosts {
        let hostname = config.hostname.as_deref().unwrap_or(&facts.hostname);
        steps.push(file("/etc/hosts", format!("127.0.0.1 {hostname}\n")));
    }
    let flannel = variables(config, "flannel");
    if !flannel.is_empty() {
        let lines: Vec<String> = flannel.iter().map(|(name, value)| format!("{name}={value}")).collect();
        steps.push(file("/run/flannel/options.env", lines.join("\n")));
    }
    let named = facts.addresses.named().map(|(name, value)| (format!("COREOS_{}", name.to_uppercase()), value));
    let known: BTreeMap<&str, &str> =
        named.iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| (name.as_str(), *value)).collect();
    if !known.is_empty() && config.write_files.iter().all(|file| file.path != "/etc/environment") {
        steps.push(file("/etc/environment", merge::environment(&facts.environment, known)));
    }
}

/// A section's keys as variables, in the section's order.
pub fn variables<'a>(config: &'a CloudConfig, name: &'a str) -> Vec<(String, &'a str)> {
    let Some(section) = sections::find(name) else { return Vec::new() };
    config.section(name).map(|setting| (section.variable(setting.key), setting.value.as_str())).collect()
}

fn oem_release(config: &CloudConfig) -> String {
    let value = |key: &str| config.get("oem", key).map_or("", |setting| setting.value.as_str());
    let quoted = |key: &str| serde_json::Value::from(value(key)).to_string();
    format!(
        "ID={}\nVERSION_ID={}\nNAME={}\nHOME_URL={}\nBUG_REPORT_URL={}\n",
        value("id"),
        value("version_id"),
        quoted("name"),
        quoted("home_url"),
        quoted("bug_report_url")
    )
}

/// The services of old that the node stands in for, but for those whose units the user-data brings.
pub fn stand_ins(config: &CloudConfig) -> impl Iterator<Item = &'static str> {
    ["etcd.service", "etcd2.service", "fleet.service"].into_iter().filter(|name| !stands_alone(config, name))
}
