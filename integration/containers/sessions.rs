//! Commands in containers by `node ctl exec`: what goes in and comes out, terminals, and what becomes of a command when its client
//! or the engine goes.

use std::io::{BufReader, Read as _, Write as _};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::Instant;

use crate::common::{NODE, runs_with_argument, wait_for};
use crate::engine::{Engine, Kind};
use crate::world::{SLEEP, SOON, World, unit};

pub fn ctl(endpoint: &str, words: &[&str]) -> Command {
    let mut command = Command::new(NODE);
    command.args(["ctl", "--endpoint", endpoint]).args(words).env("NODE_CREDENTIALS", "/nowhere").stdin(Stdio::null());
    command
}

/// Both streams, and the exit code.
pub fn said(mut command: Command) -> (String, i32) {
    let Output { stdout, stderr, status } = command.output().unwrap();
    ([stdout, stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat(), status.code().unwrap())
}

/// A node with a socket, over which `web.container` runs.
fn stage(kind: Kind) -> (World, String) {
    let world = World::with(1, Engine::start(kind, &[]), |node| {
        let socket = node.dir.join("node.sock").to_string_lossy().into_owned();
        node.more.extend(["--client-socket".to_owned(), socket]);
    });
    let socket = format!("unix://{}", world.cluster.nodes[0].dir.join("node.sock").display());
    world.begin("web.container", &unit(SLEEP, "Environment=NAME=web", ""));
    world.wait_for_state("web.container", "active running");
    (world, socket)
}

/// A program that goes on, with its input and its output.
fn going(mut command: Command) -> (Child, BufReader<ChildStdout>) {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    (child, output)
}

/// `node ctl exec -it web` on a terminal of 24 lines and 80 columns.
fn on_a_terminal(socket: &str, script: &str) -> Command {
    let line = format!("{NODE} ctl --endpoint {socket} exec -it web -- sh -c '{script}'");
    let mut command = Command::new("timeout");
    command.args(["60", "script", "-qec", &line, "/dev/null"]).stdin(Stdio::null());
    command
}

fn wait_for_line(output: &mut impl std::io::BufRead, expected: &str) {
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    assert_eq!(line.trim_end(), expected);
}

pub fn commands_in_containers_have_streams_terminals_and_ends(kind: Kind) {
    let (world, socket) = stage(kind);
    let exec = |words: &[&str]| said(ctl(&socket, &[&["exec"], words].concat()));
    assert_eq!(exec(&["web.container", "--", "sh", "-c", "echo $NAME; exit 6"]), ("web\n".to_owned(), 6));
    assert_eq!(exec(&["web", "/busybox", "false"]).1, 1);
    let both = ctl(&socket, &["exec", "web", "--", "sh", "-c", "echo out; echo err >&2"]).output().unwrap();
    assert_eq!((&both.stdout[..], &both.stderr[..]), (&b"out\n"[..], &b"err\n"[..]));

    // What goes in comes out, however much, and its end arrives.
    let sent: Vec<u8> = (0..3 << 20).map(|number: u32| number.to_le_bytes()[1]).collect();
    let (mut cat, mut output) = going(ctl(&socket, &["exec", "-i", "web", "/busybox", "cat"]));
    let mut stdin = cat.stdin.take().unwrap();
    let writer = std::thread::spawn({
        let sent = sent.clone();
        move || stdin.write_all(&sent).unwrap()
    });
    let mut came = Vec::new();
    output.read_to_end(&mut came).unwrap();
    writer.join().unwrap();
    assert!(cat.wait().unwrap().success() && came == sent, "{} bytes of {} came back", came.len(), sent.len());

    // The last of much output is not lost to the end that follows it at once.
    let much = ctl(&socket, &["exec", "web", "--", "sh", "-c", "/busybox seq 300000; exit 3"]).output().unwrap();
    let lines = String::from_utf8(much.stdout).unwrap();
    assert_eq!((lines.lines().count(), lines.lines().last(), much.status.code()), (300_000, Some("300000"), Some(3)));

    // A terminal has a size, and Ctrl-C is the command's. Old engines tell it its size a moment after it has begun.
    let ask = r#"test -t 0 || exit 4; until size=$(/busybox stty size) && test -n "$size" && test "$size" != "0 0"; do sleep 0.1; done; echo $size; exit 5"#;
    let (size, code) = said(on_a_terminal(&socket, ask));
    assert!(size.contains("24 80") && code == 5, "{size} {code}");
    let (mut child, mut output) =
        going(on_a_terminal(&socket, "trap \"echo caught; exit 9\" INT; echo ready; while :; do sleep 0.1; done"));
    wait_for_line(&mut output, "ready");
    child.stdin.as_ref().unwrap().write_all(b"\x03").unwrap();
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("caught") && child.wait().unwrap().code() == Some(9), "{rest}");

    // What cannot be run is said.
    let (refusal, code) = exec(&["web", "--", "/no/such/program"]);
    assert!([126, 127].contains(&code) && refusal.contains("/no/such/program"), "{code} {refusal}");

    // A client that is killed takes its command with it.
    let (mut client, mut output) =
        going(ctl(&socket, &["exec", "web", "--", "sh", "-c", "echo ready; exec sleep 998875"]));
    wait_for_line(&mut output, "ready");
    client.kill().unwrap();
    client.wait().unwrap();
    wait_for("the command to end", Instant::now() + SOON, || (!runs_with_argument("998875")).then_some(()));

    // Who did what is noted, and not with what.
    let log = world.cluster.nodes[0].log();
    let noted = |words: &[&str]| log.lines().any(|line| words.iter().all(|word| line.contains(word)));
    assert!(noted(&["a command has ended", "unit=\"web.container\"", "command=\"sh\"", "exit code 6"]), "{log}");
    assert!(noted(&["a command has ended", "its client has gone"]), "{log}");
    assert!(!log.contains("998875"), "{log}");

    world.fleetctl(&["stop", "web.container"]);
    world.wait_for_state("web.container", "inactive dead");
    let (refusal, code) = exec(&["web", "--", "true"]);
    assert!(code == 126 && refusal.contains("its container does not run"), "{code} {refusal}");
}

pub fn a_command_ends_with_the_engine(kind: Kind) {
    let (mut world, socket) = stage(kind);
    let (mut client, mut output) = going({
        let mut command = ctl(&socket, &["exec", "web", "--", "sh", "-c", "echo ready; exec sleep 998874"]);
        command.stderr(Stdio::piped());
        command
    });
    wait_for_line(&mut output, "ready");
    world.engine.stop();
    let mut reason = String::new();
    client.stderr.take().unwrap().read_to_string(&mut reason).unwrap();
    let code = client.wait().unwrap().code().unwrap();
    assert!([255, 137, 143].contains(&code), "{code} {reason}");
    // And while it is away nothing is begun.
    let (refusal, code) = said(ctl(&socket, &["exec", "web", "--", "true"]));
    assert!(code == 126 && refusal.contains("the container engine"), "{code} {refusal}");
    world.wait_for_state("web.container", "active engine-away");
    world.engine.start_again();
    world.wait_for_state("web.container", "active running");
    assert_eq!(said(ctl(&socket, &["exec", "web", "--", "sh", "-c", "echo back"])), ("back\n".to_owned(), 0));
    // Podman's service is not what keeps commands running: it goes with its container at the latest.
    world.fleetctl(&["destroy", "web.container"]);
    wait_for("the command to be gone", Instant::now() + SOON, || (!runs_with_argument("998874")).then_some(()));
}
