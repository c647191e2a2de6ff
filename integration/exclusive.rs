//! `Exclusive=true` on real nodes: whatever becomes of the node that has the unit, no two machines run it at once. Every
//! instance writes to one log, and that another one has the lock on it too.

#![allow(clippy::unwrap_used)]

mod common;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use common::{TestCluster, TestNode, main_pid, ok, wait_for};
use rustix::process::{Pid, Signal, kill_process};

/// Bound of every wait: generous, as machines that run tests are busy.
const WITHIN: Duration = Duration::from_secs(90);

struct Scene {
    cluster: TestCluster,
    log: PathBuf,
}

impl Scene {
    /// Three nodes, and a unit that is slow to stop: it does not listen to SIGTERM.
    fn new() -> Self {
        let cluster = TestCluster::start(3);
        let log = cluster.folder.path().join("runs");
        let unit = cluster.folder.path().join("only.service");
        let log_path = log.display();
        let script = format!(
            "exec 9>>{log_path}.lock; flock -n 9 || echo overlap >>{log_path}; trap : TERM; while :; do echo %m >>{log_path}; sleep 0.05; done"
        );
        let text =
            format!("[Service]\nExecStart=/bin/sh -c '{script}'\nTimeoutStopSec=300\n[X-Fleet]\nExclusive=true\n");
        std::fs::write(&unit, text).unwrap();
        ok("fleetctl", &cluster.nodes[0].endpoint(), &["start", &unit.to_string_lossy()]);
        let scene = Self { cluster, log };
        scene.wait_for_runs("the unit to run", |runs| runs.len() == 1);
        scene
    }

    /// The machines that ran the unit, as numbers of nodes, one after the other.
    fn runs(&self) -> Vec<usize> {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
        let number =
            |id: &str| self.cluster.nodes.iter().position(|node| node.machine_id == id).expect("no two hold the lock");
        let mut runs: Vec<usize> = whole.lines().map(number).collect();
        runs.dedup();
        runs
    }

    fn wait_for_runs(&self, what: &str, enough: impl Fn(&[usize]) -> bool) -> Vec<usize> {
        wait_for(what, Instant::now() + WITHIN, || Some(self.runs()).filter(|runs| enough(runs)))
    }

    /// How much was written.
    fn length(&self) -> u64 {
        std::fs::metadata(&self.log).unwrap().len()
    }

    fn wait_until_it_goes_on(&self) {
        let before = self.length();
        wait_for("the unit to run", Instant::now() + WITHIN, || (self.length() > before).then_some(()));
    }
}

fn signal(node: &TestNode, signal: Signal) {
    kill_process(Pid::from_raw(node.pid().try_into().unwrap()).unwrap(), signal).unwrap();
}

#[test]
fn a_node_that_is_held_up_or_killed_loses_its_unit_before_another_has_it() {
    let mut scene = Scene::new();
    let first = scene.runs()[0];
    signal(&scene.cluster.nodes[first], Signal::STOP);
    let runs = scene.wait_for_runs("a second machine", |runs| runs.len() > 1);
    signal(&scene.cluster.nodes[first], Signal::CONT);
    let second = runs[1];
    assert_ne!(first, second);
    scene.wait_until_it_goes_on();
    scene.cluster.nodes[second].kill_9();
    scene.wait_for_runs("a third machine", |runs| runs.len() > 2);
    scene.cluster.nodes[second].start();
    scene.cluster.nodes[second].wait_until_it_serves();
    scene.wait_until_it_goes_on();
    assert!(scene.runs().len() >= 3);
}

#[test]
fn without_a_quorum_it_stops_and_with_one_it_goes_on_and_a_restart_of_its_node_costs_nothing() {
    let mut scene = Scene::new();
    let first = scene.runs()[0];
    let endpoint = scene.cluster.nodes[first].endpoint();
    let before = main_pid(&endpoint, "only.service");
    scene.cluster.nodes[first].terminate();
    scene.cluster.nodes[first].start();
    scene.cluster.nodes[first].wait_until_it_serves();
    scene.wait_until_it_goes_on();
    assert_eq!(before, main_pid(&endpoint, "only.service"), "it is another process");
    let others: Vec<usize> = (0..3).filter(|node| *node != first).collect();
    for node in &others {
        signal(&scene.cluster.nodes[*node], Signal::STOP);
    }
    let mut length = scene.length();
    let mut still = Instant::now();
    wait_for("the unit to stop", Instant::now() + WITHIN, || {
        let now = scene.length();
        if now != length {
            (length, still) = (now, Instant::now());
        }
        (still.elapsed() > Duration::from_secs(2)).then_some(())
    });
    for node in &others {
        signal(&scene.cluster.nodes[*node], Signal::CONT);
    }
    scene.wait_until_it_goes_on();
    assert!(!scene.runs().is_empty());
}
