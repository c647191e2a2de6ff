//! Containers from a command line: `node ctl run`, and `node ctl logs` of what it started.

use std::time::Instant;

use crate::common::wait_for;
use crate::engine::{IMAGE, Kind};
use crate::sessions::{ctl, said};
use crate::world::{SLEEP, SOON, World};

pub fn containers_are_run_from_a_command_line(kind: Kind) {
    let world = World::start(kind, 1);
    let endpoint = world.endpoint();
    let script = format!("echo hello $NAME; {SLEEP}");
    let run = ["run", "--name", "web", "--replicas", "2", "--env", "NAME=%i", IMAGE, "--", "sh", "-c", &script];

    // What would be written is shown, and nothing is done; then it is.
    let (shown, code) = said(ctl(&endpoint, &[&["run", "--dry-run"], &run[1..]].concat()));
    assert!(
        code == 0 && shown.contains(&format!("[Container]\nImage={IMAGE}\nExec=sh -c \"echo hello $$NAME")),
        "{shown}"
    );
    assert_eq!(world.fleetctl(&["list-unit-files", "--no-legend"]), "");
    let (started, code) = said(ctl(&endpoint, &run));
    assert!(code == 0 && started.contains("Unit web@2.container launched"), "{started}");
    world.wait_for_state("web@1.container", "active running");
    let (again, code) = said(ctl(&endpoint, &run));
    assert!(code == 1 && again.contains("unit web@.container is there already"), "{again}");
    let (missing, code) = said(ctl(&endpoint, &["run", "--name", "x", "127.0.0.1:1/nowhere:1"]));
    assert!(code == 1 && missing.contains("x.container is failed (image)"), "{missing}");

    wait_for("both instances' output", Instant::now() + SOON, || {
        let (logs, _) = said(ctl(&endpoint, &["logs", "web@*"]));
        ["web@1.container | hello 1\n", "web@2.container | hello 2\n"]
            .iter()
            .all(|line| logs.contains(line))
            .then_some(())
    });
}
