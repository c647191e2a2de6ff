//! `Condition…=` of containers.

use std::fs;

use crate::engine::Kind;
use crate::world::{SLEEP, World, unit};

pub fn a_unit_whose_conditions_are_not_met_is_passed_over(kind: Kind) {
    let world = World::start(kind, 1);
    let there = world.cluster.folder.path().join("there");
    let lines = format!("[Unit]\nConditionPathExists={}\n[Service]\nRestart=always", there.display());
    world.begin("careful.container", &unit(SLEEP, "", &lines));
    world.wait_for_journal("careful.container", "not started: ConditionPathExists=", 1);
    world.wait_for_state("careful.container", "inactive dead");
    assert!(world.engine.running().is_empty());
    fs::write(&there, "").unwrap();
    world.fleetctl(&["--no-block", "restart", "careful.container"]);
    world.wait_for_state("careful.container", "active running");

    // What cannot be looked at is refused at the door.
    let wrong = world.cluster.folder.path().join("wrong.container");
    fs::write(&wrong, "[Unit]\nConditionKernelVersion=>6\n[Container]\nImage=a\n").unwrap();
    let said = world.said(&["submit", &wrong.to_string_lossy()]);
    assert!(said.contains("line 2: [Unit] ConditionKernelVersion=: not offered; of Condition"), "{said}");
}
