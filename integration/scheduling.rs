//! What `node ctl` says and does about where units run, on three real nodes.

#![allow(clippy::unwrap_used)]

mod common;

use std::time::Instant;

use common::{TestCluster, WITHIN, face, ok, wait_for, wait_for_output};

const UNIT: &str = "[Service]\nExecStart=/bin/sleep 1000\n";

struct Scene {
    cluster: TestCluster,
}

impl Scene {
    fn new() -> Self {
        Self { cluster: TestCluster::start(3) }
    }

    fn endpoint(&self) -> String {
        self.cluster.nodes[0].endpoint()
    }

    fn id(&self, node: usize) -> &str {
        &self.cluster.nodes[node].machine_id
    }

    /// Starts units of one text.
    fn start(&self, units: &[&str], lines: &str) {
        for unit in units {
            let file = self.cluster.folder.path().join(unit);
            std::fs::write(&file, format!("{UNIT}[X-Fleet]\n{lines}\n")).unwrap();
            ok("fleetctl", &self.endpoint(), &["start", &file.to_string_lossy()]);
        }
    }

    /// What a command of `node ctl` prints, and its exit code.
    fn ctl(&self, words: &[&str]) -> (String, i32) {
        let endpoint = self.endpoint();
        let output = face("ctl", &endpoint, &[words, &["--endpoint", &endpoint]].concat());
        let text = [output.stdout, output.stderr].concat();
        (String::from_utf8(text).unwrap(), output.status.code().unwrap())
    }

    /// The machines, as numbers of nodes, on which units are active.
    fn places(&self) -> Vec<(String, usize)> {
        let lines = ok(
            "fleetctl",
            &self.endpoint(),
            &["list-units", "--full", "--no-legend", "--fields", "unit,machine,active"],
        );
        let place = |line: &str| {
            let cells: Vec<&str> = line.split_whitespace().collect();
            let node = (0..3).find(|node| cells[1].starts_with(self.id(*node)))?;
            (cells[2] == "active").then(|| (cells[0].to_owned(), node))
        };
        lines.lines().filter_map(place).collect()
    }

    fn wait_for_places(&self, what: &str, holds: impl Fn(&[(String, usize)]) -> bool) {
        wait_for(what, Instant::now() + WITHIN, || holds(&self.places()).then_some(()));
    }
}

fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
}

#[test]
fn reasons_are_told_and_simulations_change_nothing() {
    let scene = Scene::new();
    scene.start(&["a.service"], "MachineMetadata=node=n1");
    let (text, code) = scene.ctl(&["explain", "a"]);
    assert_eq!(code, 0, "{text}");
    has(
        &text,
        &["a.service is launched on", "fits: load 0", "MachineMetadata asks for node=n1; the machine has node=n2"],
    );
    let (text, _) = scene.ctl(&["why-not", "a.service", &scene.id(1)[..8]]);
    has(&text, &["a.service cannot run on", "the machine has node=n2"]);
    let (text, code) = scene.ctl(&["explain", "nope.service"]);
    assert_eq!(code, 1);
    has(&text, &["nope.service: unit does not exist"]);
    let before = scene.places();
    let (text, code) = scene.ctl(&["simulate", "--kill", scene.id(0)]);
    assert_eq!(code, 1, "{text}");
    has(&text, &["a.service leaves", "the machine is gone", "a.service would fit nowhere:"]);
    let (text, code) = scene.ctl(&["simulate", "--kill", scene.id(1), "--drain", scene.id(2), "--add", "2"]);
    assert_eq!((text.as_str(), code), ("nothing would move\n", 0));
    assert_eq!(scene.places(), before);
    // What a unit asks for has to be well formed.
    let file = scene.cluster.folder.path().join("bad.service");
    std::fs::write(&file, format!("{UNIT}[X-Fleet]\nWeight=heavy\n")).unwrap();
    let refused = face("fleetctl", &scene.endpoint(), &["start", &file.to_string_lossy()]);
    has(&String::from_utf8_lossy(&refused.stderr), &["line 5: Weight=heavy: write a whole number from 1 to 1000"]);
}

#[test]
fn a_drained_machine_is_emptied_and_taken_back() {
    let scene = Scene::new();
    scene.start(&["a.service", "b.service", "c.service", "w@1.service", "w@2.service", "w@3.service"], "");
    scene.start(&["pinned.service"], "MachineMetadata=node=n1");
    let (text, code) = scene.ctl(&["drain", scene.id(0), "--max-parallel", "2", "--timeout", "60s"]);
    assert_eq!(code, 1, "{text}");
    has(&text, &["units have left", "pinned.service stays on", "the machine has node=n2"]);
    let left: Vec<String> = scene.places().into_iter().filter(|(_, node)| *node == 0).map(|(unit, _)| unit).collect();
    assert_eq!(left, ["pinned.service"]);
    has(&scene.ctl(&["machines"]).0, &["drained", "in service"]);
    ok("fleetctl", &scene.endpoint(), &["destroy", "pinned.service"]);
    let (text, code) = scene.ctl(&["drain", scene.id(0), "--timeout", "60s"]);
    assert_eq!(code, 0, "{text}");
    has(&text, &["is drained"]);
    scene.start(&["d.service"], "");
    scene.wait_for_places("nothing to be on the drained machine", |places| {
        places.len() == 7 && places.iter().all(|(_, node)| *node != 0)
    });
    assert_eq!(scene.ctl(&["uncordon", scene.id(0)]).1, 0);
    let (text, code) = scene.ctl(&["rebalance", "--dry-run"]);
    assert_eq!(code, 0, "{text}");
    has(&text, &["it is better off there"]);
    let (text, code) = scene.ctl(&["rebalance", "--max-parallel", "2", "--timeout", "60s"]);
    assert_eq!(code, 0, "{text}");
    scene.wait_for_places("units to be balanced", |places| {
        places.len() == 7 && (0..3).all(|node| places.iter().filter(|(_, at)| *at == node).count() >= 2)
    });
}

#[test]
fn a_one_shot_that_is_done_is_not_done_again_when_its_machine_is_lost() {
    let mut scene = Scene::new();
    let (file, runs) = (scene.cluster.folder.path().join("once.service"), scene.cluster.folder.path().join("runs"));
    let text = format!("[Service]\nType=oneshot\nExecStart=/bin/sh -c 'echo %m >>{}'\n", runs.display());
    std::fs::write(&file, text).unwrap();
    ok("fleetctl", &scene.endpoint(), &["start", "--no-block", &file.to_string_lossy()]);
    let first = wait_for("the one-shot to be noted as done", Instant::now() + WITHIN, || {
        (0..3).find(|node| scene.cluster.nodes[*node].log().contains("has done its work"))
    });
    scene.cluster.nodes[first].kill_9();
    let endpoint = scene.cluster.nodes[(first + 1) % 3].endpoint();
    let list =
        || face("fleetctl", &endpoint, &["list-unit-files", "--full", "--no-legend", "--fields", "state,target"]);
    wait_for_output("another machine to have taken it over", list, |output| {
        let line = String::from_utf8_lossy(&output.stdout).into_owned();
        let cells: Vec<&str> = line.split_whitespace().collect();
        let elsewhere = cells.get(1).is_some_and(|target| *target != "-" && !target.starts_with(scene.id(first)));
        (elsewhere && cells[0] == "launched").then_some(())
    });
    assert_eq!(std::fs::read_to_string(&runs).unwrap(), format!("{}\n", scene.id(first)));
}

#[test]
fn a_unit_that_fails_moves_and_one_that_may_not_stays() {
    let scene = Scene::new();
    // It fails on the machine that it likes best.
    let text = format!(
        "[Service]\nExecStart=/bin/sh -c 'test %m = {} && exit 3; exec sleep 1000'\n[X-Fleet]\nPrefer=node=n1 100\n",
        scene.id(0)
    );
    for (unit, line) in [("mover.service", "Reschedule=on-failure"), ("stayer.service", "Reschedule=no")] {
        let file = scene.cluster.folder.path().join(unit);
        std::fs::write(&file, format!("{text}{line}\n")).unwrap();
        ok("fleetctl", &scene.endpoint(), &["start", "--no-block", &file.to_string_lossy()]);
    }
    scene.wait_for_places("the unit to run elsewhere", |places| {
        places.len() == 1 && places[0].0 == "mover.service" && places[0].1 != 0
    });
    let failed =
        ok("fleetctl", &scene.endpoint(), &["list-units", "--full", "--no-legend", "--fields", "unit,active,machine"]);
    has(&failed, &[&format!("stayer.service\tfailed\t{}", scene.id(0))]);
}

#[test]
fn metadata_changed_at_run_time_moves_units() {
    let scene = Scene::new();
    let file = scene.cluster.folder.path().join("a.service");
    std::fs::write(&file, format!("{UNIT}[X-Fleet]\nMachineMetadata=disk=ssd\nMachineMetadata=tier!=old\n")).unwrap();
    // It fits nowhere: that is said, and not waited for.
    let refused = face("fleetctl", &scene.endpoint(), &["start", &file.to_string_lossy()]);
    assert!(!refused.status.success());
    has(&String::from_utf8_lossy(&refused.stderr), &["fits on no machine", "the machine has no disk"]);
    assert_eq!(scene.ctl(&["machine", "set-metadata", scene.id(1), "disk=ssd"]).1, 0);
    scene.wait_for_places("the unit to run where the metadata is", |places| places == [("a.service".to_owned(), 1)]);
    let machines = ok("fleetctl", &scene.endpoint(), &["list-machines", "--full", "--no-legend"]);
    has(&machines, &["disk=ssd,node=n2"]);
    assert_eq!(scene.ctl(&["machine", "set-metadata", scene.id(2), "disk=ssd"]).1, 0);
    assert_eq!(scene.ctl(&["machine", "set-metadata", scene.id(1), "tier=old"]).1, 0);
    scene.wait_for_places("the unit to leave what it does not fit any more", |places| {
        places == [("a.service".to_owned(), 2)]
    });
}
