//! Units: the user's, and those that sections bring. Files first, then one reload, then commands in the order of the list.

use super::config::{CloudConfig, DropIn, Unit};
use super::plan::{CommandRule, NODE_UNIT, Step, stand_ins, variables};
use super::read::is_network;
use super::settings::stands_alone;

/// Units of CoreOS itself, which other systems need not have.
const COREOS_UNITS: [&str; 8] = [
    "early-docker.service",
    "early-docker.socket",
    "early-docker.target",
    "flanneld.service",
    "fleet.socket",
    "locksmithd.service",
    "update-engine.service",
    "update-engine-stub.service",
];
/// The drop-in that a section's variables are in.
const DROP_IN: &str = "20-cloudinit.conf";

/// Adds the steps. Without `with_node` the node is neither started nor enabled.
pub fn plan(config: &CloudConfig, with_node: bool, steps: &mut Vec<Step>) {
    let stand_ins: Vec<&str> = stand_ins(config).collect();
    let is_stand_in = |unit: &&Unit| stand_ins.contains(&unit.name.as_str());
    let generated = generated(config);
    let all = || config.units.iter().chain(&generated);
    let before = steps.len();
    for unit in all() {
        place(unit, steps);
        if unit.enable && !is_network(&unit.name) {
            match is_stand_in(&unit) {
                false => steps.push(Step::Enable { unit: unit.name.clone(), runtime: unit.runtime }),
                true if with_node && !unit.mask => {
                    steps.push(Step::Enable { unit: NODE_UNIT.to_owned(), runtime: unit.runtime });
                }
                true => {}
            }
        }
    }
    if asks_for_node(config) {
        let masked = |name: &str| config.unit(name).is_some_and(|unit| unit.mask);
        let aliases = stand_ins.iter().filter(|name| !masked(name));
        steps.extend(aliases.map(|name| Step::Alias((*name).to_owned())));
    }
    if steps.len() > before {
        steps.push(Step::Reload);
    }
    if all().any(|unit| is_network(&unit.name)) {
        let (verb, unit) = ("restart".to_owned(), "systemd-networkd.service".to_owned());
        steps.push(Step::Command { verb, unit, rule: CommandRule::Must });
    }
    let verb_of_node = verb_of_node(config, &stand_ins);
    for unit in all().filter(|unit| !unit.command.is_empty() && !is_network(&unit.name)) {
        let step = if !is_stand_in(&unit) {
            let own = COREOS_UNITS.contains(&unit.name.as_str()) && unit.content.is_empty();
            let rule = if own { CommandRule::IfPresent } else { CommandRule::Must };
            Step::Command { verb: unit.command.clone(), unit: unit.name.clone(), rule }
        } else if with_node && verb_of_node == Some(&unit.command) {
            Step::Command { verb: unit.command.clone(), unit: NODE_UNIT.to_owned(), rule: CommandRule::Node }
        } else {
            continue;
        };
        let is_node = matches!(&step, Step::Command { rule: CommandRule::Node, .. });
        if !is_node || !steps.contains(&step) {
            steps.push(step);
        }
    }
}

/// Whether anything of the user-data is about the node.
fn asks_for_node(config: &CloudConfig) -> bool {
    let sections = ["etcd", "etcd2", "fleet"];
    let by_section = sections
        .iter()
        .any(|name| config.section(name).next().is_some() && !stands_alone(config, &format!("{name}.service")));
    by_section || stand_ins(config).any(|name| config.unit(name).is_some_and(|unit| !unit.mask))
}

/// The services of old are one: what is started by one of its names is not stopped by another.
fn verb_of_node<'a>(config: &'a CloudConfig, stand_ins: &[&str]) -> Option<&'a String> {
    let mut verbs = Vec::new();
    for unit in config.units.iter().filter(|unit| stand_ins.contains(&unit.name.as_str())) {
        if !unit.command.is_empty() && (!unit.mask || unit.command == "stop") {
            verbs.push(&unit.command);
        }
    }
    verbs.iter().find(|verb| verb.as_str() != "stop").or(verbs.first()).copied()
}

fn place(unit: &Unit, steps: &mut Vec<Step>) {
    let root = if unit.runtime { "/run" } else { "/etc" };
    let group = if is_network(&unit.name) { "network" } else { "system" };
    let path = format!("{root}/systemd/{group}/{}", unit.name);
    let network = is_network(&unit.name);
    let file = |path: String, content: &str| match network {
        // networkd is started anew instead.
        true => Step::WriteFile { path, content: content.into(), mode: 0o644, owner: super::plan::Owner::default() },
        false => Step::PlaceUnit { path, content: content.to_owned() },
    };
    if !unit.content.is_empty() {
        steps.push(file(path.clone(), &unit.content));
    }
    for drop_in in &unit.drop_ins {
        steps.push(file(format!("{path}.d/{}", drop_in.name), &drop_in.content));
    }
    if unit.mask {
        steps.push(Step::Mask(path));
    } else if unit.runtime {
        steps.push(Step::Unmask(path));
    }
}

/// The units that sections bring: drop-ins with their variables, and what an update's strategy asks for.
fn generated(config: &CloudConfig) -> Vec<Unit> {
    let mut units = Vec::new();
    let sections = [
        ("etcd", "etcd.service"),
        ("etcd2", "etcd2.service"),
        ("fleet", "fleet.service"),
        ("locksmith", "locksmithd.service"),
    ];
    for (section, service) in sections {
        let ours = section != "locksmith" && !stands_alone(config, service);
        let variables = variables(config, section);
        if ours || variables.is_empty() {
            continue;
        }
        let lines = variables.iter().map(|(name, value)| format!("Environment=\"{name}={value}\"\n"));
        let content = format!("[Service]\n{}", lines.collect::<String>());
        let drop_in = DropIn { name: DROP_IN.to_owned(), content };
        units.push(Unit { name: service.to_owned(), runtime: true, drop_ins: vec![drop_in], ..Unit::default() });
    }
    if let Some(strategy) = config.get("update", "reboot_strategy") {
        let off = strategy.value == "off";
        let command = if off { "stop" } else { "restart" }.to_owned();
        let name = "locksmithd.service".to_owned();
        units.push(Unit { name, command, mask: off, runtime: true, ..Unit::default() });
    }
    if config.get("update", "group").is_some() || config.get("update", "server").is_some() {
        let (name, command) = ("update-engine.service".to_owned(), "restart".to_owned());
        units.push(Unit { name, command, ..Unit::default() });
    }
    units
}
