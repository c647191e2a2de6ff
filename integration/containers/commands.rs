//! Containers from a command line: `node ctl run`, and `node ctl exec` and `logs` in what it started.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use crate::common::{NODE, wait_for};
use crate::engine::{Engine, IMAGE, Kind};
use crate::world::{SLEEP, SOON, World};

fn ctl(endpoint: &str, words: &[&str]) -> Command {
    let mut command = Command::new(NODE);
    command.args(["ctl", "--endpoint", endpoint]).args(words).env("NODE_CREDENTIALS", "/nowhere").stdin(Stdio::null());
    command
}

/// Both streams, and the exit code.
fn said(mut command: Command) -> (String, i32) {
    let Output { stdout, stderr, status } = command.output().unwrap();
    ([stdout, stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat(), status.code().unwrap())
}

#[test]
fn containers_are_run_and_entered_from_a_command_line() {
    let engine = Engine::start(Kind::Docker, &[]);
    let world = World::with(1, engine, |node| {
        let socket = node.dir.join("node.sock").to_string_lossy().into_owned();
        node.more.extend(["--client-socket".to_owned(), socket]);
    });
    let socket = format!("unix://{}", world.cluster.nodes[0].dir.join("node.sock").display());
    let script = format!("echo hello $NAME; {SLEEP}");
    let run = ["run", "--name", "web", "--replicas", "2", "--env", "NAME=%i", IMAGE, "--", "sh", "-c", &script];

    // What would be written is shown, and nothing is done; then it is.
    let (shown, code) = said(ctl(&socket, &[&["run", "--dry-run"], &run[1..]].concat()));
    assert!(
        code == 0 && shown.contains(&format!("[Container]\nImage={IMAGE}\nExec=sh -c \"echo hello $$NAME")),
        "{shown}"
    );
    assert_eq!(world.fleetctl(&["list-unit-files", "--no-legend"]), "");
    let (started, code) = said(ctl(&socket, &run));
    assert!(code == 0 && started.contains("Unit web@2.container launched"), "{started}");
    world.wait_for_state("web@1.container", "active running");
    let (again, code) = said(ctl(&socket, &run));
    assert!(code == 1 && again.contains("unit web@.container is there already"), "{again}");
    let (missing, code) = said(ctl(&socket, &["run", "--name", "x", "127.0.0.1:1/nowhere:1"]));
    assert!(code == 1 && missing.contains("x.container is failed (image)"), "{missing}");

    wait_for("both instances' output", Instant::now() + SOON, || {
        let (logs, _) = said(ctl(&socket, &["logs", "web@*"]));
        ["web@1.container | hello 1\n", "web@2.container | hello 2\n"]
            .iter()
            .all(|line| logs.contains(line))
            .then_some(())
    });

    // Streams, exit codes, what goes in, and a terminal.
    let exec = |words: &[&str]| said(ctl(&socket, &[&["exec"], words].concat()));
    assert_eq!(exec(&["web@2.container", "--", "sh", "-c", "echo $NAME; exit 6"]), ("2\n".to_owned(), 6));
    assert_eq!(exec(&["web@2", "/busybox", "false"]).1, 1);
    let mut cat = ctl(&socket, &["exec", "-i", "web@1", "/busybox", "cat"]);
    let mut cat = cat.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    cat.stdin.take().unwrap().write_all(b"in and out").unwrap();
    let came = cat.wait_with_output().unwrap();
    assert!(came.status.success() && came.stdout == b"in and out", "{came:?}");
    let ask = r#"test -t 0 || exit 4; until size=$(/busybox stty size) && test -n "$size"; do sleep 0.1; done; echo $size; exit 5"#;
    let line = format!("{NODE} ctl --endpoint {socket} exec -it web@1 -- sh -c '{ask}'");
    let (size, code) = said({
        // Old engines tell it its size a moment after it has begun.
        let mut script = Command::new("timeout");
        script.args(["60", "script", "-qec", &line, "/dev/null"]).stdin(Stdio::null());
        script
    });
    assert!(size.contains("24 80") && code == 5, "{size} {code}");
    let (refusal, code) = exec(&["web@1", "--", "/no/such/program"]);
    assert!([126, 127].contains(&code), "{code} {refusal}");

    // A client that is killed takes its command with it.
    let mut client = ctl(&socket, &["exec", "web@1", "--", "sh", "-c", "echo ready; exec sleep 998875"]);
    let mut client = client.stdout(Stdio::piped()).spawn().unwrap();
    let mut ready = String::new();
    BufReader::new(client.stdout.take().unwrap()).read_line(&mut ready).unwrap();
    assert_eq!(ready, "ready\n");
    client.kill().unwrap();
    client.wait().unwrap();
    let gone = || (!crate::common::runs_with_argument("998875")).then_some(());
    wait_for("the command to end", Instant::now() + SOON, gone);

    world.fleetctl(&["stop", "web@1.container"]);
    world.wait_for_state("web@1.container", "inactive dead");
    let (refusal, code) = exec(&["web@1", "--", "true"]);
    assert!(code == 126 && refusal.contains("its container does not run"), "{code} {refusal}");
}
