//! A cluster whose quorum is gone is recovered from one member while its units run: they stay where they are, as long as their machines
//! join the new cluster in time.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Instant;

use common::machine::{Machine, done, folder, machines, token_in};
use common::{NODE, WITHIN, main_pids, ok, text, wait_for};

/// Longer than any stall of a loaded machine: no machine counts as lost while its cluster still has a quorum.
const PRESENCE: [&str; 2] = ["--fleet-presence-ms", "15000"];

/// A cluster of these machines.
fn cluster(folder: &Path, names: &[&str], more: &[&str]) -> Vec<Machine> {
    let mut machines = machines(folder, names);
    let token = token_in(&done(&machines[0].asked(&[&["init"], more].concat())));
    for (at, machine) in machines.iter_mut().enumerate() {
        if at > 0 {
            done(&machine.asked(&[&["join", &token], more].concat()));
        }
        machine.run();
        machine.wait_until_it_writes();
    }
    machines
}

fn active(endpoint: &str) -> BTreeMap<String, String> {
    let list = ok("fleetctl", endpoint, &["list-units", "--no-legend", "--full", "--fields", "unit,machine,active"]);
    let rows = list.lines().map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
    rows.filter(|row| row[2] == "active").map(|row| (row[0].clone(), row[1].clone())).collect()
}

/// Starts three units, one comes to each machine, and tells where they run.
fn three_units(folder: &Path, machine: &Machine, options: &str) -> (Vec<String>, BTreeMap<String, String>) {
    let template = folder.join("web@.service");
    std::fs::write(&template, format!("[Service]\nExecStart=/bin/sleep 1000\n{options}")).unwrap();
    let units: Vec<String> = (1..=3).map(|number| format!("web@{number}.service")).collect();
    for unit in &units {
        ok("fleetctl", &machine.endpoint(), &["start", folder.join(unit).to_str().unwrap()]);
    }
    let all = || Some(active(&machine.endpoint())).filter(|active| active.len() == units.len());
    let places = wait_for("all units", Instant::now() + WITHIN, all);
    let mut machines: Vec<&String> = places.values().collect();
    machines.sort();
    machines.dedup();
    assert_eq!(machines.len(), 3, "{places:?}");
    (units, places)
}

fn recover(machine: &Machine, more: &[&str]) -> Output {
    machine.ctl(&[&["recover", "--data-dir", &machine.path("data")], more].concat())
}

/// Ends the nodes of all machines but the first, and makes that one the cluster.
fn recovered(machines: &mut [Machine], more: &[&str]) -> String {
    machines.iter_mut().skip(1).for_each(Machine::kill_9);
    // Once the node here runs, and has noticed.
    let lost = || {
        let told = text(&recover(&machines[0], &[]));
        (told.contains("may be lost: what b and c acknowledged") && told.contains("nothing was changed")).then_some(())
    };
    wait_for("the loss to be noticed", Instant::now() + WITHIN, lost);
    machines[0].kill_9();
    let told = done(&recover(&machines[0], &[&["--yes"], more].concat()));
    machines[0].run();
    machines[0].wait_until_it_writes();
    told
}

/// `node join` with nothing but the token: all else is in the settings that the machine has.
fn join_again(machine: &mut Machine, words: &[&str]) -> String {
    let mut command = Command::new(NODE);
    command.arg("join").args(words).args(["--no-start", "--config", &machine.path("node.toml")]);
    let told = done(&command.output().unwrap());
    machine.run();
    machine.wait_until_it_writes();
    told
}

#[test]
fn units_stay_on_machines_that_join_the_recovered_cluster() {
    let folder = folder();
    let mut machines = cluster(folder.path(), &["a", "b", "c"], &PRESENCE);
    let (units, places) = three_units(folder.path(), &machines[0], "[X-Fleet]\nConflicts=web@*.service\n");
    let before = main_pids(&machines[0].endpoint(), &units);

    let told = recovered(&mut machines, &[]);
    assert!(told.contains("units stay on b and c for 15m"), "{told}");
    assert_eq!(active(&machines[0].endpoint()), places);

    let token = token_in(&done(&machines[0].ctl(&["token", "create", "--uses", "2"])));
    let refused = text(&machines[1].asked(&["join", &token]));
    assert!(refused.contains("`node join --anew TOKEN`"), "{refused}");
    let told = join_again(&mut machines[1], &["--anew", &token]);
    assert!(told.contains("what it had of another cluster is in"), "{told}");
    // Where somebody has moved all but the units away by hand, the machine is the same to the cluster.
    for gone in ["store", "identity"] {
        std::fs::remove_dir_all(machines[2].dir.join("data").join(gone)).unwrap();
    }
    std::fs::remove_file(machines[2].dir.join("data/owner")).unwrap();
    join_again(&mut machines[2], &[&token]);

    let votes = || {
        let members = ok("etcdctl", &machines[1].endpoint(), &["member", "list"]);
        (members.matches("started").count() == 3 && members.matches(", false").count() == 3).then_some(())
    };
    wait_for("three voters", Instant::now() + WITHIN, votes);
    let settled = || (active(&machines[2].endpoint()) == places).then_some(());
    wait_for("all units where they were", Instant::now() + WITHIN, settled);
    assert_eq!(main_pids(&machines[1].endpoint(), &units), before);
    // The new cluster stands on those who joined, too.
    machines[0].kill_9();
    machines[1].wait_until_it_writes();
}

#[test]
fn units_of_machines_that_do_not_come_back_are_moved() {
    let folder = folder();
    let mut machines = cluster(folder.path(), &["a", "b", "c"], &PRESENCE);
    let (units, _) = three_units(folder.path(), &machines[0], "");
    machines.iter_mut().skip(1).for_each(Machine::kill_9);
    machines[0].kill_9();
    let wrong = recover(&machines[0], &["--yes", "--gone", "d"]);
    assert!(text(&wrong).contains("no machine and no member is called d; the members are"), "{}", text(&wrong));
    assert_eq!(recover(&machines[0], &["--yes", "--grace", "soon"]).status.code(), Some(2));
    machines[0].run();
    // Until it listens it counts as stopped, and its data are looked at by whoever asks for them first.
    let listens = || UnixStream::connect(machines[0].path("node.sock")).ok();
    wait_for("the node to listen", Instant::now() + WITHIN, listens);

    // One is known to be gone, the other has its time, and that passes.
    let told = recovered(&mut machines, &["--gone", "b", "--grace", "20s"]);
    assert!(told.contains("units stay on c for 20s"), "{told}");
    let own =
        ok("fleetctl", &machines[0].endpoint(), &["list-machines", "--no-legend", "--full", "--fields", "machine"]);
    assert!(own.lines().count() < 3, "{own}");
    let here = || {
        let active = active(&machines[0].endpoint());
        let machines: std::collections::BTreeSet<&String> = active.values().collect();
        (active.len() == units.len() && machines.len() == 1).then_some(())
    };
    wait_for("all units on the one machine", Instant::now() + WITHIN, here);
}
