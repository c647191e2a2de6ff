//! Tests of what units of one machine wait for when one of them is a container.

#![allow(clippy::unwrap_used)]

use super::super::executor::{ActiveState, UnitFile};
use super::super::memory::{Launched, LocalHeld};
use super::super::testkit::Store;
use super::*;
use crate::fleet::diff;

/// A machine with units: name, `[Unit]`, what is wanted of it, how active it is.
struct World {
    wanted: Vec<Wanted>,
    memory: Memory,
    store: Store,
    company: Company,
}

impl World {
    fn new() -> Self {
        Self { wanted: Vec::new(), memory: Memory::default(), store: Store::default(), company: Company::default() }
    }

    fn unit(&mut self, name: &str, lines: &str, desired: DesiredState, active: &str) {
        self.store.unit(name, "", desired);
        let launch = u64::from(desired == DesiredState::Launched);
        let file = UnitFile { name: name.into(), text: format!("[Unit]\n{lines}"), hash: "h".into() };
        self.wanted.push(Wanted { file, desired, launch, done: false });
        let state = ActiveState::of("loaded", active, "x");
        let launched = if active == "inactive" { Launched::No } else { Launched::At(1) };
        let local = Local { held: Some(LocalHeld { hash: "h".into(), state }), launched, ..Local::default() };
        self.memory.units.insert(name.into(), local);
    }

    /// What is done now, in short words, and what is put off.
    fn turn(&mut self) -> (Vec<String>, BTreeMap<String, String>) {
        let mut wanted = self.wanted.clone();
        self.company.meet(&wanted, &self.memory, &self.store.cluster());
        self.company.pull_in(&mut wanted);
        let ordered = self.company.order(diff(&wanted, &self.memory, 0).unwrap(), &wanted, &self.memory);
        let words = ordered.tasks.iter().map(|task| format!("{:?} {}", task.kind(), task.name().unwrap_or_default()));
        (words.collect(), ordered.waiting)
    }

    fn now(&mut self, name: &str, active: &str) {
        self.memory.units.get_mut(name).unwrap().held.as_mut().unwrap().state.active = active.into();
    }
}

use DesiredState::{Launched as Up, Loaded as Down};

#[test]
fn starts_wait() {
    // What db.container is, what web.service says of it → what is done, and why it waits.
    let cases: [(&str, &str, &[&str], Option<&str>); 8] = [
        (
            "inactive",
            "After=db.container",
            &["Start db.container"],
            Some("it comes after db.container, which is inactive (x)"),
        ),
        ("activating", "After=db.container", &[], Some("it comes after db.container, which is activating (x)")),
        ("failed", "After=db.container", &["Start web.service"], None),
        ("active", "After=db.container", &["Start web.service"], None),
        ("failed", "Requires=db.container", &[], Some("it requires db.container, which is failed (x)")),
        ("active", "Requires=db.container", &["Start web.service"], None),
        ("activating", "BindsTo=db.service", &[], Some("it requires db.container, which is activating (x)")),
        ("activating", "Requires=docker.service\nAfter=network.target", &["Start web.service"], None),
    ];
    for (active, lines, tasks, why) in cases {
        let mut world = World::new();
        world.unit("db.container", "", Up, active);
        world.unit("web.service", lines, Up, "inactive");
        let (done, waiting) = world.turn();
        assert_eq!(done, tasks, "{active} {lines}");
        assert_eq!(waiting.get("web.service").map(String::as_str), why, "{active} {lines}");
    }
}

#[test]
fn services_among_themselves_are_their_executors() {
    let mut world = World::new();
    world.unit("a.service", "", Up, "activating");
    world.unit("b.service", "Requires=a.service\nAfter=a.service", Up, "inactive");
    world.unit("c.container", "", Up, "active");
    assert_eq!(world.turn().0, ["Start b.service"]);
}

#[test]
fn what_is_required_starts_too() {
    let mut world = World::new();
    world.unit("db.container", "", Down, "inactive");
    world.unit("web.container", "Requires=db.container", Up, "inactive");
    assert_eq!(world.turn().0, ["Start db.container"]);
    // Unless somebody has stopped it.
    world.wanted[0].launch = 1;
    assert_eq!(world.turn().0, [""; 0]);
}

#[test]
fn the_bound_follow() {
    for (lines, with_failed) in
        [("BindsTo=db.container", true), ("Requires=db.container", false), ("After=db.container", false)]
    {
        let mut world = World::new();
        world.unit("db.container", "", Up, "active");
        world.unit("web.service", lines, Up, "active");
        assert_eq!(world.turn().0, [""; 0], "{lines}");
        world.now("db.container", "failed");
        let expected: &[&str] = if with_failed { &["Stop web.service"] } else { &[] };
        assert_eq!(world.turn().0, expected, "{lines}");
    }
}

#[test]
fn who_comes_after_goes_before() {
    let mut world = World::new();
    world.unit("db.container", "", Down, "active");
    world.wanted[0].launch = 1;
    world.unit("web.service", "Requires=db.container", Up, "active");
    assert_eq!(world.turn().0, ["Stop web.service"], "it requires what is stopped, and goes first");
    world.now("web.service", "deactivating");
    assert_eq!(world.turn().0, [""; 0]);
    world.now("web.service", "inactive");
    world.memory.units.get_mut("web.service").unwrap().launched = Launched::No;
    assert_eq!(world.turn().0, ["Stop db.container"]);
    world.wanted.clear();
    world.now("web.service", "active");
    assert_eq!(world.turn().0, ["Unload web.service"]);
}

#[test]
fn a_ring_is_no_order() {
    let mut world = World::new();
    world.unit("a.container", "After=b.container", Up, "inactive");
    world.unit("b.container", "After=c.container", Up, "inactive");
    world.unit("c.container", "After=a.container", Up, "inactive");
    assert_eq!(world.turn().0, ["Start a.container", "Start b.container", "Start c.container"]);
}

#[test]
fn a_port_is_free_before_another_container_takes_it() {
    let mut world = World::new();
    world.unit("new.container", "[Container]\nImage=a\nPublishPort=80:80", Up, "inactive");
    world.unit("old.container", "[Container]\nImage=a\nPublishPort=80:8080", Up, "active");
    let port = Port { host: Some(80), container: 8080, ..Port::default() };
    let held = |world: &mut World, ports: Vec<Port>| {
        world.memory.units.get_mut("old.container").unwrap().held.as_mut().unwrap().state.ports = ports;
    };
    held(&mut world, vec![port]);
    world.wanted.retain(|unit| unit.file.name == "new.container");
    let (tasks, waiting) = world.turn();
    assert_eq!(tasks, ["Unload old.container"]);
    assert_eq!(
        waiting["new.container"],
        "its PublishPort=80:80/tcp is still taken by old.container, which is active (x)"
    );
    // Its container has ended: not even its unit needs to be gone.
    held(&mut world, Vec::new());
    let (tasks, waiting) = world.turn();
    assert!(tasks.contains(&"Start new.container".to_owned()), "{tasks:?}");
    assert!(waiting.is_empty());
}
