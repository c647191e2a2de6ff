//! `make bench-containers`: fifty containers of a present image started by the node, beside `docker run` in a loop. Figures for
//! people, never a test.

use std::time::{Duration, Instant};

use crate::common::wait_for;
use crate::engine::{IMAGE, Kind};
use crate::world::{SLEEP, World, unit};

const CONTAINERS: usize = 50;
const ROUNDS: usize = 3;
const WITHIN: Duration = Duration::from_secs(300);

#[test]
#[ignore = "a measurement"]
fn fifty_starts() {
    let world = World::start(Kind::Docker, 1);
    world.submit("c@.container", &unit(SLEEP, "", ""));
    let units: Vec<String> = (0..CONTAINERS).map(|number| format!("c@{number}.container")).collect();
    let all = |verb: &str| {
        let words: Vec<&str> = [verb].into_iter().chain(units.iter().map(String::as_str)).collect();
        let begun = Instant::now();
        world.fleetctl(&words);
        begun
    };
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let begun = all("start");
        wait_for("all to run", begun + WITHIN, || {
            let listed = world.said(&["list-units", "--no-legend", "--fields", "active,sub"]);
            let run = |line: &&str| line.split_whitespace().eq(["active", "running"]);
            (listed.lines().filter(run).count() == CONTAINERS).then_some(())
        });
        ours.push(begun.elapsed());
        let begun = all("destroy");
        wait_for("all to be gone", begun + WITHIN, || world.engine.docker(&["ps", "-aq"]).is_empty().then_some(()));
        let begun = Instant::now();
        for number in 0..CONTAINERS {
            let name = format!("loop-{number}");
            world.engine.docker(&["run", "-d", "--name", &name, IMAGE, "sh", "-c", SLEEP]);
        }
        theirs.push(begun.elapsed());
        let ids = world.engine.docker(&["ps", "-aq"]);
        let words: Vec<&str> = ["rm", "-f"].into_iter().chain(ids.split_whitespace()).collect();
        world.engine.docker(&words);
    }
    let median = |times: &mut Vec<Duration>| {
        times.sort_unstable();
        times[ROUNDS / 2].as_secs_f64()
    };
    let (ours, theirs) = (median(&mut ours), median(&mut theirs));
    println!("\n{CONTAINERS} starts of an image that is here, medians of {ROUNDS} rounds");
    println!("fleetctl start, all active   {ours:6.2} s");
    println!("docker run -d in a loop      {theirs:6.2} s");
    println!("ratio                        {:6.2}", ours / theirs);
}
