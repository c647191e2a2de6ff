//! The face `fleetctl` against real nodes: restarts one after the other, replacement in place, reasons, and who is let in while
//! users are asked for. Units run as processes.

#![allow(clippy::unwrap_used)]

mod common;

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use common::{NODE, TestCluster, face, ok, wait_for};

const SOON: Duration = Duration::from_secs(60);

fn write(cluster: &TestCluster, name: &str, text: &str) -> String {
    let file: PathBuf = cluster.folder.path().join(name);
    std::fs::write(&file, text).unwrap();
    file.to_string_lossy().into_owned()
}

/// What a command prints on both streams, and its exit code.
fn said(endpoint: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let output = face("fleetctl", endpoint, arguments);
    (output.status.code(), [&output.stdout[..], &output.stderr[..]].map(String::from_utf8_lossy).concat())
}

/// Every process of a unit, on whichever machine.
fn pids(endpoint: &str, unit: &str) -> Vec<u32> {
    let status = ok("fleetctl", endpoint, &["status", unit]);
    let lines = status.lines().filter_map(|line| line.trim_start().strip_prefix("Main PID: "));
    lines.map(|line| line.split(' ').next().unwrap().parse().unwrap()).collect()
}

#[test]
fn restart_restarts_one_after_the_other() {
    let cluster = TestCluster::start(3);
    let endpoint = cluster.nodes[0].endpoint();
    let log = cluster.folder.path().join("starts");
    // Written before a unit counts as active, and before it counts as down.
    let note = |word: &str| format!("/bin/sh -c 'echo {word} >> {}'", log.display());
    let text = format!(
        "[Service]\nExecStartPre={}\nExecStart=/bin/sleep 1000\nExecStopPost={}\n[X-Fleet]\nGlobal=true\n",
        note("start"),
        note("stop")
    );
    let global = write(&cluster, "g.service", &text);
    ok("fleetctl", &endpoint, &["start", &global]);
    let starts = || std::fs::read_to_string(&log).unwrap_or_default();
    wait_for("three starts", Instant::now() + SOON, || (starts().lines().count() == 3).then_some(()));
    wait_for("three processes", Instant::now() + SOON, || (pids(&endpoint, "g.service").len() == 3).then_some(()));
    let before = pids(&endpoint, "g.service");
    let told = ok("fleetctl", &endpoint, &["restart", "g.service"]);
    assert_eq!(told.matches("Unit g.service launched on ").count(), 3, "{told}");
    let after = pids(&endpoint, "g.service");
    assert!(after.len() == 3 && after.iter().all(|pid| !before.contains(pid)), "{before:?} {after:?}");
    let events = starts();
    let events: Vec<&str> = events.lines().skip(3).collect();
    assert_eq!(events, ["stop", "start", "stop", "start", "stop", "start"], "one machine at a time");

    let plain = write(&cluster, "p.service", "[Service]\nExecStart=/bin/sleep 1000\n");
    ok("fleetctl", &endpoint, &["start", &plain]);
    let before = pids(&endpoint, "p.service");
    ok("fleetctl", &endpoint, &["-block-attempts=30", "restart", "p"]);
    assert_ne!(pids(&endpoint, "p.service"), before);
}

#[test]
fn replace_keeps_a_unit_where_it_is() {
    let cluster = TestCluster::start(3);
    let endpoint = cluster.nodes[0].endpoint();
    let target =
        || ok("fleetctl", &endpoint, &["list-unit-files", "--no-legend", "--full", "--fields", "unit,dstate,target"]);
    let file = write(&cluster, "a.service", "[Service]\nExecStart=/bin/sleep 1000\n");
    ok("fleetctl", &endpoint, &["start", &file]);
    let (place, before) = (target(), pids(&endpoint, "a.service"));
    write(&cluster, "a.service", "[Service]\nExecStart=/bin/sleep 2000\n");
    let (code, text) = said(&endpoint, &["start", &file]);
    assert!(code == Some(0) && text.contains("differs from local unit file"), "{text}");
    assert_eq!(pids(&endpoint, "a.service"), before);
    for (command, may) in [("submit", false), ("load", false), ("start", true)] {
        let (code, text) = said(&endpoint, &[command, "--replace", &file]);
        let refused = text.contains("can not replace Unit(a.service) in state 'launched'");
        assert_eq!((code, refused), (Some(0), !may), "{command}: {text}");
        if command == "load" {
            ok("fleetctl", &endpoint, &["start", "a.service"]);
        }
    }
    assert!(ok("fleetctl", &endpoint, &["cat", "a.service"]).contains("sleep 2000"));
    assert_eq!(target(), place);
    assert_ne!(pids(&endpoint, "a.service"), before);
    let (_, text) = said(&endpoint, &["start", "--replace", &file]);
    assert!(text.contains("Found same Unit(a.service) in Registry, nothing to do"), "{text}");
}

#[test]
fn status_and_journal_say_what_start_says() {
    let cluster = TestCluster::start(1);
    let endpoint = cluster.nodes[0].endpoint();
    let refused = write(&cluster, "r.service", "[Service]\nType=dbus\nExecStart=/bin/true\n");
    let nowhere = write(&cluster, "n.service", "[Service]\nExecStart=/bin/true\n[X-Fleet]\nMachineMetadata=disk=ssd\n");
    for (file, unit, reason) in [
        (&refused, "r.service", "Unit r.service: r.service: line 2, [Service] Type=: \"dbus\" is not offered"),
        (&nowhere, "n.service", "Unit n.service fits on no machine:\n"),
    ] {
        for arguments in [&["start", file.as_str()][..], &["status", unit], &["journal", unit]] {
            let (code, text) = said(&endpoint, arguments);
            assert_eq!(code, Some(1), "{arguments:?}: {text}");
            assert!(text.contains(reason), "{arguments:?}: {text}");
        }
    }
}

#[test]
fn units_are_roots_while_users_are_asked_for() {
    let mut cluster = TestCluster::plan(1);
    let socket = cluster.folder.path().join("node.sock");
    cluster.nodes[0].more = vec!["--client-socket".into(), socket.to_string_lossy().into_owned()];
    cluster.nodes[0].start();
    cluster.nodes[0].wait_until_it_serves();
    let endpoint = cluster.nodes[0].endpoint();
    let local = format!("unix://{}", socket.display());
    let file = write(&cluster, "a.service", "[Service]\nExecStart=/bin/sleep 1000\n");
    ok("fleetctl", &endpoint, &["start", &file]);
    for line in ["user add root:rpw", "user grant-role root root", "user add eve:epw", "auth enable"] {
        ok("etcdctl", &endpoint, &line.split(' ').collect::<Vec<_>>());
    }
    for (arguments, expected) in [
        (&["list-units"][..], "Error 401: users are asked for"),
        (&["stop", "a.service"], "Error 401: users are asked for"),
        (&["--username", "eve:epw", "list-units"], "Error 403: users are asked for"),
        (&["--username", "root:no", "list-units"], "Error 401: users are asked for"),
    ] {
        let (code, text) = said(&endpoint, arguments);
        assert!(code == Some(1) && text.contains(expected), "{arguments:?}: {text}");
    }
    assert!(ok("fleetctl", &endpoint, &["--username", "root:rpw", "list-units"]).contains("a.service"));
    assert!(ok("fleetctl", &local, &["list-units"]).contains("a.service"), "the socket's mode says who may");
    ok("fleetctl", &local, &["stop", "a.service"]);
    let apply = |more: &[&str]| {
        let output = Command::new(NODE).args(["ctl", "apply", "--settle", "0", &file]).args(more).output().unwrap();
        (output.status.code(), [&output.stdout[..], &output.stderr[..]].map(String::from_utf8_lossy).concat())
    };
    let (code, text) = apply(&["--endpoint", &endpoint]);
    assert!(code == Some(1) && text.contains("users are asked for"), "{text}");
    assert_eq!(apply(&["--endpoint", &endpoint, "--user", "root:rpw"]).0, Some(0));
    assert_eq!(apply(&["--endpoint", &local]).0, Some(0));
}

/// Writes down how it was stopped.
fn stopper(log: &std::path::Path, more: &str) -> String {
    let log = log.display();
    format!(
        "[Service]\nExecStart=/bin/sleep 1000{more}\nExecStop=/bin/sh -c 'echo stop >> {log}'\n\
         ExecStopPost=/bin/sh -c 'echo post >> {log}'\n"
    )
}

#[test]
fn stops_run_to_their_end_and_nobody_waits_for_a_unit_that_hangs() {
    let cluster = TestCluster::start(1);
    let endpoint = cluster.nodes[0].endpoint();
    let log = cluster.folder.path().join("stops");
    let stops = |expected: &str| {
        wait_for(&format!("{expected:?}"), Instant::now() + SOON, || {
            (std::fs::read_to_string(&log).unwrap_or_default() == expected).then_some(())
        });
    };
    let hung = write(&cluster, "hung.service", "[Service]\nExecStartPre=/bin/sleep 1000\nExecStart=/bin/true\n");
    ok("fleetctl", &endpoint, &["start", "--no-block", &hung]);
    let file = write(&cluster, "a.service", &stopper(&log, ""));
    ok("fleetctl", &endpoint, &["start", &file]);
    write(&cluster, "a.service", &stopper(&log, "0"));
    ok("fleetctl", &endpoint, &["start", "--replace", &file]);
    stops("stop\npost\n");
    ok("fleetctl", &endpoint, &["destroy", "a.service"]);
    stops("stop\npost\nstop\npost\n");
    wait_for("only what hangs to be left", Instant::now() + SOON, || {
        let units = ok("fleetctl", &endpoint, &["list-units", "--no-legend", "--fields", "unit,active"]);
        (units == "hung.service\tactivating\n").then_some(())
    });
    ok("fleetctl", &endpoint, &["destroy", "hung.service"]);
}

#[test]
fn what_was_ordered_while_a_node_was_away_is_done_when_it_is_back() {
    let mut cluster = TestCluster::start(3);
    let endpoint = cluster.nodes[0].endpoint();
    let log = cluster.folder.path().join("stops");
    let pinned = format!("{}[X-Fleet]\nMachineID={}\n", stopper(&log, ""), cluster.nodes[2].machine_id);
    let files = ["a.service", "b.service"].map(|name| write(&cluster, name, &pinned));
    ok("fleetctl", &endpoint, &["start", &files[0], &files[1]]);
    cluster.nodes[2].kill_9();
    ok("fleetctl", &endpoint, &["destroy", "a.service"]);
    // Where its machine counts as lost by now it is on none, and nothing is left to be waited for.
    face("fleetctl", &endpoint, &["unload", "--no-block", "b.service"]);
    assert!(!log.exists(), "a unit was stopped while its node was away");
    cluster.nodes[2].start();
    wait_for("both stops", Instant::now() + SOON, || {
        let told = std::fs::read_to_string(&log).unwrap_or_default();
        (told.matches("stop\n").count() == 2 && told.matches("post\n").count() == 2).then_some(())
    });
    cluster.nodes[2].wait_until_it_serves();
}
