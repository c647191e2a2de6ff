//! `make bench-fleet`: how long the scheduler takes over 10,000 units on 1,000 simulated machines in one process, and what a
//! cluster does with 200 units on three real hosts, beside fleet's figures. Figures for people.

#[path = "../hosts/app_image.rs"]
mod app_image;
#[path = "../hosts/cluster.rs"]
mod cluster;
#[path = "../hosts/command.rs"]
mod command;
mod hosts;
#[path = "../hosts/lab.rs"]
#[expect(dead_code, reason = "faults that nothing here needs")]
mod lab;
mod table;
#[path = "../hosts/waits.rs"]
#[expect(dead_code, reason = "nothing here has to stay as it is")]
mod waits;
mod watched;
mod world;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use corenode::fleet::{Cluster, plan, rebalance};
use world::World;

const USAGE: &str = "bench_fleet NODE: the program that the hosts run; needs root";
const MACHINES: usize = 1_000;
const UNITS: usize = 10_000;
const RUNS: usize = 15;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let binary = PathBuf::from(std::env::args().nth(1).context(USAGE)?);
    schedule();
    let mut rows = Vec::new();
    for kind in &hosts::KINDS {
        rows.extend(hosts::measure(&binary, kind).await?);
    }
    print!("\n{}", table::print(&rows));
    Ok(())
}

/// Passes of the scheduler.
fn schedule() {
    let mut world = World::new(MACHINES, UNITS);
    println!("{UNITS} units on {MACHINES} simulated machines; medians of {RUNS} runs, and the slowest\n");
    tell("all units new", &world.cluster);
    let first = world.settle();
    println!("    {} placed, {} wait", first.decisions.len(), first.waiting.len());
    tell("nothing to do", &world.cluster);
    world.launch("late.service", "");
    tell("one unit more", &world.cluster);
    world.settle();
    let moved = world.lose_every(10);
    tell("a tenth of the machines lost", &world.cluster);
    let again = world.settle();
    println!("    {moved} units were there; {} placed, {} wait", again.decisions.len(), again.waiting.len());
    report("rebalance, ten units", || drop(rebalance(&world.cluster, 10)));
}

fn tell(what: &str, cluster: &Cluster) {
    report(what, || drop(plan(cluster)));
}

fn report(what: &str, pass: impl Fn()) {
    let mut times: Vec<Duration> = (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            pass();
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    let millis = |time: Duration| time.as_secs_f64() * 1_000.0;
    println!("{what:32} {:8.1} ms {:8.1} ms", millis(times[RUNS / 2]), millis(times[RUNS - 1]));
}
