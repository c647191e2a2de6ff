//! What fleet's own functional suite asserted, on three real nodes, as far as no other test here does. Its tests read the same lists, and
//! their names stand beside what they are about.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::common::{TestCluster, face, ok, wait_for};
use crate::scene::HELLO;

struct Suite {
    cluster: TestCluster,
}

impl Suite {
    fn new() -> Self {
        Self { cluster: TestCluster::start(3) }
    }

    fn endpoint(&self) -> String {
        self.cluster.nodes[0].endpoint()
    }

    /// Writes a unit's file; its path.
    fn unit(&self, name: &str, fleet: &str) -> String {
        let path = self.cluster.folder.path().join(name);
        std::fs::write(&path, format!("{HELLO}\n[X-Fleet]\n{fleet}\n")).unwrap();
        path.display().to_string()
    }

    /// Starts units that are written just now, as many as may run.
    fn start(&self, units: &[(&str, &str)]) {
        let paths: Vec<String> = units.iter().map(|(name, fleet)| self.unit(name, fleet)).collect();
        let words: Vec<&str> = ["start", "--no-block"].into_iter().chain(paths.iter().map(String::as_str)).collect();
        ok("fleetctl", &self.endpoint(), &words);
    }

    fn rows(&self, list: &str, fields: &str) -> Vec<Vec<String>> {
        let text = ok("fleetctl", &self.endpoint(), &[list, "--no-legend", "--full", "--fields", fields]);
        text.lines().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
    }

    /// The machines on which each unit is active.
    fn active(&self) -> BTreeMap<String, BTreeSet<String>> {
        let mut active: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for row in self.rows("list-units", "unit,active,machine") {
            if row[1] == "active" {
                let id = row[2].split('/').next().unwrap_or_default();
                active.entry(row[0].clone()).or_default().insert(id.to_owned());
            }
        }
        active
    }

    /// Waits until that holds of what is active.
    fn until(&self, what: &str, holds: impl Fn(&BTreeMap<String, BTreeSet<String>>) -> bool) {
        wait_for(what, Instant::now() + Duration::from_secs(60), || holds(&self.active()).then_some(()));
    }

    /// Waits until so many units run, each once, and no two on one machine.
    fn until_apart(&self, what: &str, count: usize) {
        self.until(what, |active| {
            let places: BTreeSet<&String> = active.values().flatten().collect();
            active.len() == count && active.values().map(BTreeSet::len).sum::<usize>() == count && places.len() == count
        });
    }

    fn destroy_all(&self) {
        let units: Vec<String> =
            self.rows("list-unit-files", "unit").into_iter().map(|mut row| row.remove(0)).collect();
        let words: Vec<&str> = std::iter::once("destroy").chain(units.iter().map(String::as_str)).collect();
        ok("fleetctl", &self.endpoint(), &words);
        self.until("nothing to run", BTreeMap::is_empty);
    }
}

#[test]
fn g_functional_suite_scheduling() {
    let suite = Suite::new();
    let ids: Vec<String> = suite.cluster.nodes.iter().map(|node| node.machine_id.clone()).collect();

    // TestScheduleConflicts
    let units: Vec<String> = (0..5).map(|n| format!("conflict@{n}.service")).collect();
    let units: Vec<(&str, &str)> = units.iter().map(|unit| (unit.as_str(), "Conflicts=conflict@*.service")).collect();
    suite.start(&units);
    suite.until_apart("three of five units that keep off each other", 3);
    suite.destroy_all();

    // TestScheduleOneWayConflict
    suite.start(&[
        ("a.service", "MachineMetadata=node=n1\nConflicts=b.service"),
        ("b.service", "MachineMetadata=node=n1"),
    ]);
    suite.until("one of two on the only machine", |active| active.len() == 1);
    let first = suite.active().into_keys().next().unwrap();
    let other = if first == "a.service" { "b.service" } else { "a.service" };
    ok("fleetctl", &suite.endpoint(), &["destroy", &first]);
    suite.until("the other one", |active| active.keys().eq([other]));
    suite.destroy_all();

    // TestScheduleMultipleConflicts
    let apart = "Conflicts=x@*.service y@*.service";
    suite.start(&[("x@1.service", apart), ("x@2.service", apart), ("y@1.service", apart), ("y@2.service", apart)]);
    suite.until_apart("three of four", 3);
    suite.destroy_all();

    // TestScheduleMachineOf
    for n in 0..3 {
        let (ping, pong) = (format!("ping@{n}.service"), format!("pong@{n}.service"));
        suite.start(&[(&ping, "Conflicts=ping@*.service"), (&pong, "MachineOf=ping@%i.service")]);
    }
    suite.until("pairs", |active| {
        active.len() == 6
            && (0..3).all(|n| active[&format!("ping@{n}.service")] == active[&format!("pong@{n}.service")])
    });
    suite.destroy_all();

    // TestScheduleConditionMachineID, TestTemplatesWithSpecifiersInMetadata
    for (n, id) in ids.iter().enumerate() {
        let (by_id, by_name) = (format!("id@{n}.service"), format!("metadata@n{}.service", n + 1));
        suite.start(&[(&by_id, &format!("MachineID={id}")), (&by_name, "MachineMetadata=node=%i")]);
    }
    suite.until("all where they belong", |active| {
        let on = |unit: String, id: &String| active.get(&unit).is_some_and(|on| on.iter().eq([id]));
        ids.iter()
            .enumerate()
            .all(|(n, id)| on(format!("id@{n}.service"), id) && on(format!("metadata@n{}.service", n + 1), id))
    });
    let invalid = suite.unit("metadata@invalid.service", "MachineMetadata=node=%i");
    let output = face("fleetctl", &suite.endpoint(), &["start", "--block-attempts=1", &invalid]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    suite.destroy_all();

    // TestScheduleReplace, TestScheduleCircularReplace
    suite.start(&[("old.service", "")]);
    suite.until("the one that is to go", |active| active.len() == 1);
    let held = suite.active()["old.service"].clone();
    let at = ids.iter().position(|id| held.contains(id)).unwrap();
    suite.start(&[("new.service", &format!("MachineMetadata=node=n{}\nReplaces=old.service", at + 1))]);
    suite.until("the new one in its place, and the old one elsewhere", |active| {
        active.get("new.service") == Some(&held)
            && active.get("old.service").is_some_and(|on| *on != held && on.len() == 1)
    });
    suite.destroy_all();
    suite.start(&[("r1.service", "Replaces=r2.service"), ("r2.service", "Replaces=r1.service")]);
    suite.until("both of two that replace each other", |active| active.len() == 2);
    suite.destroy_all();

    // TestScheduleGlobalUnits, TestScheduleGlobalConflicts
    suite.start(&[("g.service", "Global=true"), ("h.service", "Global=true\nConflicts=g.service")]);
    suite.until("one of two on every machine", |active| {
        active.keys().eq(["g.service"]) && active["g.service"].len() == 3
    });
    assert!(ok("fleetctl", &suite.endpoint(), &["status", "g.service"]).contains("active (running)"));
    suite.destroy_all();
}

#[test]
fn g_functional_suite_members() {
    let mut suite = Suite::new();
    suite.start(&[("c@1.service", "Conflicts=c@*.service"), ("c@2.service", "Conflicts=c@*.service")]);
    suite.until_apart("two units", 2);
    let before = suite.active();
    // TestDynamicClusterNewMemberUnitMigration, TestDynamicClusterMemberReboot, TestNodeShutdown: the units of a machine that goes, and
    // no others, move to one that is free. A node that is only stopped leaves its units alone.
    let lost =
        (1..3).find(|at| before.values().flatten().any(|id| *id == suite.cluster.nodes[*at].machine_id)).unwrap();
    let id = suite.cluster.nodes[lost].machine_id.clone();
    suite.cluster.nodes[lost].kill_9();
    suite.until("the unit elsewhere", |active| active.len() == 2 && !active.values().flatten().any(|on| *on == id));
    let after = suite.active();
    assert_eq!(before.iter().filter(|(unit, on)| after[*unit] == **on).count(), 1, "from {before:?} to {after:?}");
    assert_eq!(suite.rows("list-machines", "machine").len(), 2);
    suite.cluster.nodes[lost].start();
    suite.cluster.nodes[lost].wait_until_it_serves();
    assert_eq!(suite.rows("list-machines", "machine").len(), 3);
    suite.until("nothing to move back", |active| *active == after);
}

#[test]
fn g_functional_suite_units() {
    let suite = Suite::new();
    let endpoint = suite.endpoint();
    // TestTunnelScheduleBatchUnits, without the tunnel: eleven at once, and no word of an error.
    let paths: Vec<String> = (0..11).map(|n| suite.unit(&format!("batch@{n}.service"), "")).collect();
    let words: Vec<&str> = std::iter::once("start").chain(paths.iter().map(String::as_str)).collect();
    let output = face("fleetctl", &endpoint, &words);
    assert!(output.status.success() && !String::from_utf8_lossy(&output.stderr).contains("Error"), "{output:?}");
    assert_eq!(suite.active().len(), 11);
    suite.destroy_all();

    // TestUnitSubmit, TestUnitLoad, TestUnitStart, TestUnitRestart, and the same with --replace
    let path = suite.unit("hello.service", "");
    let state = || suite.rows("list-unit-files", "unit,dstate,state");
    let row = |words: [&str; 3]| vec![words.map(str::to_owned).to_vec()];
    for (verb, found) in [("submit", "inactive"), ("load", "loaded"), ("start", "launched"), ("restart", "launched")] {
        ok("fleetctl", &endpoint, &[verb, &path]);
        assert_eq!(state(), row(["hello.service", found, found]), "{verb}");
        std::fs::write(&path, format!("{HELLO}# {verb}\nRestartSec={}\n", verb.len())).unwrap();
        if verb != "restart" {
            ok("fleetctl", &endpoint, &[verb, "--replace", &path]);
            assert_eq!(state(), row(["hello.service", found, found]), "{verb} --replace");
            assert!(ok("fleetctl", &endpoint, &["cat", "hello"]).contains(&format!("RestartSec={}", verb.len())));
        }
    }
    // TestUnitStatus, TestUnitSSHActions
    assert!(ok("fleetctl", &endpoint, &["status", "hello"]).contains("Loaded: loaded"));
    let speaker = suite.cluster.folder.path().join("speaker.service");
    std::fs::write(&speaker, "[Service]\nExecStart=/bin/sh -c 'echo Hello, World!; sleep 1000'\n").unwrap();
    ok("fleetctl", &endpoint, &["start", &speaker.display().to_string()]);
    wait_for("what the unit says", Instant::now() + Duration::from_secs(60), || {
        ok("fleetctl", &endpoint, &["journal", "--sudo", "speaker"]).contains("Hello, World!").then_some(())
    });
    suite.destroy_all();

    // TestListUnitFilesOrder
    let mut names: Vec<String> = (0..20).map(|n| format!("hello@{n}.service")).collect();
    let paths: Vec<String> = names.iter().map(|name| suite.unit(name, "")).collect();
    let words: Vec<&str> = std::iter::once("submit").chain(paths.iter().rev().map(String::as_str)).collect();
    ok("fleetctl", &endpoint, &words);
    names.sort();
    let listed: Vec<String> = suite.rows("list-unit-files", "unit").into_iter().map(|mut row| row.remove(0)).collect();
    assert_eq!(listed, names);
}
