//! `After=`, `Requires=` and `BindsTo=` between a container and another unit of the same machine, which no executor alone can
//! keep: each knows its own units only. Services among themselves are left to theirs.
//!
//! A start waits until what the unit requires is active, and until what it comes after is not on its way up any more. What
//! a unit requires is started with it. A unit that is bound to another is stopped when that is not active, and started again
//! when it is; one that requires another is stopped when somebody stops that. What comes after another is stopped before it.
//! What the cluster does not know, a service of the system for example, is taken as met.
//!
//! A container that publishes a port of the host waits until one that still has it, and is to go, has gone.

use std::collections::{BTreeMap, BTreeSet};

use super::cluster::Cluster;
use super::diff::{Task, TaskKind, TaskReason};
use super::memory::{Local, Memory};
use super::types::DesiredState;
use super::wanted::Wanted;
use crate::unit::container::{self, Port, is_container};
use crate::unit::{Specifiers, UnitName, UnitText};

/// What one unit asks of others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Needs {
    requires: BTreeSet<String>,
    binds_to: BTreeSet<String>,
    /// What it requires and is bound to among them.
    after: BTreeSet<String>,
    /// The ports of the host that it publishes.
    ports: Vec<Port>,
}

/// Who asks what of whom, on one machine.
#[derive(Clone, Debug, Default)]
pub struct Company {
    needs: BTreeMap<String, Needs>,
    /// As read, by name: of which text, and what it asks. Units are read once.
    read: BTreeMap<String, (String, Needs)>,
}

/// What is to be done after all, and which starts are put off for what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ordered {
    pub tasks: Vec<Task>,
    pub waiting: BTreeMap<String, String>,
}

impl Company {
    /// Reads what the wanted units ask of each other. Those that are still here are remembered, for the order of their stops.
    pub fn meet(&mut self, wanted: &[Wanted], memory: &Memory, cluster: &Cluster) {
        self.needs.clear();
        let held = memory.units.keys().map(String::as_str);
        if !wanted.iter().map(|unit| &*unit.file.name).chain(held).any(is_container) {
            self.read.clear();
            return;
        }
        self.read
            .retain(|name, _| memory.units.contains_key(name) || wanted.iter().any(|unit| unit.file.name == *name));
        for unit in wanted {
            let (name, hash) = (&unit.file.name, &unit.file.hash);
            if self.read.get(name).is_none_or(|(read, _)| read != hash) {
                let needs = UnitText::parse(&unit.file.text).map(|text| read(&text, name)).unwrap_or_default();
                self.read.insert(name.clone(), (hash.clone(), needs));
            }
        }
        for (name, (_, asked)) in &self.read {
            let meant = |others: &BTreeSet<String>| -> BTreeSet<String> {
                let is_one = |name: &str| cluster.units.contains_key(name) || memory.units.contains_key(name);
                let others = others.iter().filter_map(|other| meant(other, is_one));
                others.filter(|other| other != name && (is_container(name) || is_container(other))).collect()
            };
            let needs = Needs {
                requires: meant(&asked.requires),
                binds_to: meant(&asked.binds_to),
                after: meant(&asked.after),
                ports: asked.ports.clone(),
            };
            if needs != Needs::default() {
                self.needs.insert(name.clone(), needs);
            }
        }
    }

    /// What nobody has asked to start, and a unit that is to run requires, is to run with it.
    pub fn pull_in(&self, wanted: &mut [Wanted]) {
        for _ in 0..wanted.len() {
            let launched = |w: &&Wanted| w.desired == DesiredState::Launched;
            let required: BTreeMap<String, u64> = wanted
                .iter()
                .filter(launched)
                .flat_map(|unit| {
                    let needs = self.needs.get(&unit.file.name);
                    needs.into_iter().flat_map(|needs| &needs.requires).map(|other| (other.clone(), unit.launch))
                })
                .collect();
            let mut more = false;
            for unit in wanted.iter_mut().filter(|unit| unit.desired == DesiredState::Loaded && unit.launch == 0) {
                if let Some(launch) = required.get(&unit.file.name) {
                    (unit.desired, unit.launch, more) = (DesiredState::Launched, *launch, true);
                }
            }
            if !more {
                return;
            }
        }
    }

    /// Takes out what has to wait, and adds the stops that follow from others' states.
    pub fn order(&self, tasks: Vec<Task>, wanted: &[Wanted], memory: &Memory) -> Ordered {
        let mut ordered = Ordered::default();
        let starting: BTreeSet<String> = of_kind(&tasks, TaskKind::Start);
        let bound = self.bound(&tasks, wanted, memory);
        let mut going: BTreeSet<String> = of_kind(&tasks, TaskKind::Stop);
        going.extend(of_kind(&tasks, TaskKind::Unload));
        going.extend(bound.iter().cloned());
        for task in tasks {
            match &task {
                Task::Start { name, .. } => match self.start_waits(name, &starting, wanted, memory) {
                    Some(why) => drop(ordered.waiting.insert(name.clone(), why)),
                    None => ordered.tasks.push(task),
                },
                Task::Stop { name, .. } | Task::Unload { name, .. } if self.stop_waits(name, &going, memory) => {}
                _ => ordered.tasks.push(task),
            }
        }
        for name in bound {
            if !self.stop_waits(&name, &going, memory) {
                ordered.tasks.push(Task::Stop { name, reason: TaskReason::Bound });
            }
        }
        ordered.tasks.sort_by_key(Task::kind);
        ordered
    }

    /// What a unit that is to start still waits for.
    fn start_waits(
        &self,
        name: &str,
        starting: &BTreeSet<String>,
        wanted: &[Wanted],
        memory: &Memory,
    ) -> Option<String> {
        let needs = self.needs.get(name)?;
        for other in &needs.after {
            if self.follows(other, name) {
                continue;
            }
            let here = wanted.iter().find(|unit| unit.file.name == *other);
            let local = memory.units.get(other);
            if needs.requires.contains(other) {
                if here.is_none_or(|unit| unit.desired != DesiredState::Launched) {
                    return Some(format!("it requires {other}, which is not to run on this machine"));
                }
                if !local.is_some_and(is_up) {
                    return Some(format!("it requires {other}, which is {}", word(local)));
                }
            } else if here.is_some() && (starting.contains(other) || local.is_some_and(is_coming_up)) {
                return Some(format!("it comes after {other}, which is {}", word(local)));
            }
        }
        memory.units.iter().filter(|(other, _)| *other != name).find_map(|(other, local)| {
            let taken = &local.held.as_ref()?.state.ports;
            let port = needs.ports.iter().find(|port| taken.iter().any(|taken| port.clashes(taken)))?;
            Some(format!("its PublishPort={port} is still taken by {other}, which is {}", word(Some(local))))
        })
    }

    /// Whether what comes after a unit that is to go is still up and on its way down too.
    fn stop_waits(&self, name: &str, going: &BTreeSet<String>, memory: &Memory) -> bool {
        self.needs.iter().any(|(other, needs)| {
            let local = memory.units.get(other);
            let goes = going.contains(other)
                || local.is_some_and(|local| {
                    local.is_stopping() || matches!(local.in_flight, Some(TaskKind::Stop | TaskKind::Unload))
                });
            let is_down = local.is_none_or(|local| !local.is_running() && !local.is_stopping());
            needs.after.contains(name) && goes && !is_down && !self.follows(name, other)
        })
    }

    /// Units that run, and are not to while those that they are bound to do not.
    fn bound(&self, tasks: &[Task], wanted: &[Wanted], memory: &Memory) -> Vec<String> {
        let busy = |name: &str| tasks.iter().any(|task| task.name() == Some(name));
        let stopped = |other: &str| {
            // Stopped by somebody, or taken away; not one that has failed.
            wanted.iter().find(|unit| unit.file.name == other).is_none_or(|unit| unit.desired != DesiredState::Launched)
        };
        let holds = |(name, needs): (&String, &Needs)| {
            let local = memory.units.get(name)?;
            let runs = local.is_running() && local.in_flight.is_none() && !busy(name);
            let left = |other: &String| !memory.units.get(other).is_some_and(is_up);
            let lost = needs.binds_to.iter().any(left) || needs.requires.iter().any(|other| stopped(other));
            (runs && lost).then(|| name.clone())
        };
        self.needs.iter().filter_map(holds).collect()
    }

    /// Whether `one` comes after `other` by any way round: then the order between them is a ring, and is not kept.
    fn follows(&self, one: &str, other: &str) -> bool {
        let (mut seen, mut next) = (BTreeSet::new(), vec![one]);
        while let Some(name) = next.pop() {
            let after = self.needs.get(name).into_iter().flat_map(|needs| &needs.after);
            for before in after {
                if before == other {
                    return true;
                }
                if seen.insert(before.as_str()) {
                    next.push(before);
                }
            }
        }
        false
    }
}

fn read(text: &UnitText, name: &str) -> Needs {
    let specifiers = Specifiers::system(name);
    let names = |option: &str| -> BTreeSet<String> {
        let mut all = BTreeSet::new();
        for value in text.values("Unit", option) {
            if value.is_empty() {
                all.clear();
            }
            all.extend(value.split_whitespace().filter_map(|word| specifiers.expand(word).ok()));
        }
        all
    };
    let binds_to = &names("BindsTo") | &names("BindTo");
    let requires = &(&names("Requires") | &names("Requisite")) | &binds_to;
    let after = &names("After") | &requires;
    let mut ports = container::published(text, name);
    ports.retain(|port| port.host.is_some());
    Needs { requires, binds_to, after, ports }
}

/// The unit that is meant: Quadlet's units call each other by the services that it makes of them.
fn meant(name: &str, is_one: impl Fn(&str) -> bool) -> Option<String> {
    if is_one(name) {
        return Some(name.to_owned());
    }
    let container = format!("{}.container", UnitName::new(name).stem);
    (name.ends_with(".service") && is_one(&container)).then_some(container)
}

fn of_kind(tasks: &[Task], kind: TaskKind) -> BTreeSet<String> {
    tasks.iter().filter(|task| task.kind() == kind).filter_map(|task| task.name().map(str::to_owned)).collect()
}

fn is_up(local: &Local) -> bool {
    local.held.as_ref().is_some_and(|held| matches!(&*held.state.active, "active" | "reloading" | "refreshing"))
}

fn is_coming_up(local: &Local) -> bool {
    let activating = local.held.as_ref().is_some_and(|held| held.state.active == "activating");
    activating || local.in_flight == Some(TaskKind::Start)
}

fn word(local: Option<&Local>) -> String {
    match local.and_then(|local| local.held.as_ref()) {
        Some(held) => format!("{} ({})", held.state.active, held.state.sub),
        None => "not loaded".to_owned(),
    }
}

#[cfg(test)]
#[path = "company_tests.rs"]
mod tests;
