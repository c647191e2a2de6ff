//! An engine whose disk is full.

use std::fs::{self, File};
use std::io::Write as _;

use crate::engine::{Engine, Kind};
use crate::world::{SLEEP, World, unit};

/// Fills a file until nothing more fits.
fn fill(path: &std::path::Path) {
    let mut file = File::create(path).unwrap();
    let block = [7; 1 << 16];
    while file.write_all(&block).is_ok() {}
    // What is smaller than a block.
    while file.write_all(&block[..512]).is_ok() {}
}

#[test]
fn a_full_disk_of_the_engine_is_told_and_got_over() {
    let engine = Engine::start_on_small_disk(Kind::Docker, "64m");
    let ballast = engine.path("data").join("ballast");
    fill(&ballast);
    let world = World::over(1, engine);
    world.begin("a.container", &unit(SLEEP, "", "[Service]\nRestart=always\nRestartMaxDelaySec=2s"));
    world.wait_for_journal("a.container", "no space left on device", 2);
    assert!(world.state("a.container").starts_with("activating"), "{}", world.state("a.container"));
    fs::remove_file(&ballast).unwrap();
    world.wait_for_state("a.container", "active running");
}
