//! Nodes come to run another program: one after the other under load, not at all where it would do harm, and back where it fails.

#![allow(clippy::unwrap_used)]

mod common;

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::{NODE, TestCluster, TestNode, face, main_pids, ok, wait_for};

const WITHIN: Duration = Duration::from_secs(60);

/// Without what is there for debuggers, so that less has to be sent.
fn small_copy(to: &Path) {
    let stripped = Command::new("strip").arg("-o").arg(to).arg(NODE).output();
    if !stripped.is_ok_and(|output| output.status.success()) {
        std::fs::copy(NODE, to).unwrap();
    }
}

/// A cluster whose nodes have a program of their own each, and another program that is as good.
fn cluster(count: usize) -> (TestCluster, PathBuf) {
    let mut cluster = TestCluster::plan(count);
    let other = cluster.folder.path().join("other");
    small_copy(&other);
    for node in &mut cluster.nodes {
        node.program = node.dir.join("node");
        std::fs::copy(&other, &node.program).unwrap();
        node.start();
    }
    OpenOptions::new().append(true).open(&other).unwrap().write_all(b"another build").unwrap();
    cluster.nodes.iter_mut().for_each(TestNode::wait_until_it_serves);
    (cluster, other)
}

fn upgrade(endpoint: &str, binary: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(NODE);
    command.args(["ctl", "upgrade", "--endpoint", endpoint, "--binary"]).arg(binary).args(more);
    command.stdin(Stdio::null()).output().unwrap()
}

fn said(output: &Output) -> String {
    [&output.stdout[..], &output.stderr[..]].map(String::from_utf8_lossy).concat()
}

/// A program that tells this as its version, and does this otherwise.
fn script(folder: &Path, version: &str, otherwise: &str) -> PathBuf {
    let file = folder.join(format!("script-{:08x}", rand::random::<u32>()));
    let text = format!("#!/bin/sh\n[ \"$1\" = --version ] && {{ echo '{version}'; exit; }}\n{otherwise}\n");
    std::fs::write(&file, text).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    file
}

#[test]
fn nodes_are_upgraded_one_by_one_and_neither_writes_nor_units_notice() {
    let (cluster, other) = cluster(3);
    let (folder, first) = (cluster.folder.path(), cluster.nodes[0].endpoint());
    let units: Vec<String> = (1..=4).map(|at| format!("sleeper{at}.service")).collect();
    for unit in &units {
        std::fs::write(folder.join(unit), "[Service]\nExecStart=/bin/sleep 1000\n").unwrap();
        ok("fleetctl", &first, &["start", folder.join(unit).to_str().unwrap()]);
    }
    let before = main_pids(&first, &units);
    let leads =
        |node: &&TestNode| ok("etcdctl", &node.endpoint(), &["endpoint", "status"]).split(", ").nth(4) == Some("true");
    let leader = cluster.nodes.iter().find(leads).unwrap().name.clone();
    let stop = Arc::new(AtomicBool::new(false));
    let (endpoints, until) = (cluster.endpoints(), stop.clone());
    let writer = std::thread::spawn(move || {
        let put = |number: &u32| face("etcdctl", &endpoints, &["put", &format!("w/{number:06}"), "v"]).status.success();
        (0..).take_while(|_| !until.load(Ordering::Relaxed)).filter(put).collect::<Vec<u32>>()
    });

    let output = upgrade(&first, &other, &[]);
    stop.store(true, Ordering::Relaxed);
    let (told, acknowledged) = (said(&output), writer.join().unwrap());
    assert!(output.status.success(), "{told}");
    let steps: Vec<&str> = told.lines().filter(|line| line.contains(": serves with ")).collect();
    assert_eq!(steps.len(), 3, "{told}");
    assert!(steps[2].starts_with(&leader), "{leader} led: {told}");
    assert!(cluster.nodes.iter().any(|node| node.log().contains("handed leadership over")));
    for node in &cluster.nodes {
        assert_eq!(std::fs::read(&node.program).unwrap(), std::fs::read(&other).unwrap());
        assert!(node.dir.join("node.previous").exists());
        assert!(Path::new(&format!("/proc/{}", node.pid())).exists(), "{} is another process", node.name);
        assert!(node.log().contains("this node is upgraded by="), "{}", node.log());
    }
    assert_eq!(main_pids(&first, &units), before);
    assert!(!acknowledged.is_empty());
    let keys = ok("etcdctl", &first, &["get", "--prefix", "w/", "--keys-only"]);
    let lost: Vec<&u32> = acknowledged.iter().filter(|number| !keys.contains(&format!("w/{number:06}\n"))).collect();
    assert!(lost.is_empty(), "of {} writes are gone: {lost:?}", acknowledged.len());

    let again = said(&upgrade(&first, &other, &[]));
    assert_eq!(again.matches("runs it already").count(), 3, "{again}");
    // And back, one of them.
    let back = upgrade(&first, &cluster.nodes[1].dir.join("node.previous"), &["--machine", "n2"]);
    assert!(back.status.success() && said(&back).contains("n2: serves with"), "{}", said(&back));
    assert_eq!(main_pids(&first, &units), before);
}

#[test]
fn what_would_do_harm_is_refused_before_anything_is_changed() {
    let (mut cluster, other) = cluster(1);
    let (folder, endpoint) = (cluster.folder.path().to_owned(), cluster.nodes[0].endpoint());
    let cases = [
        (script(&folder, r#"{"version":"0.0.1","format":0}"#, "exit 3"), "does not tell the format", 1),
        (script(&folder, "node 0.0.1", "exit 3"), "does not tell the format", 1),
        (PathBuf::from("/bin/false"), "does not run on this machine", 1),
        (folder.join("absent"), "No such file", 1),
    ];
    for (binary, expected, code) in cases {
        let output = upgrade(&endpoint, &binary, &[]);
        assert!(output.status.code() == Some(code) && said(&output).contains(expected), "{}", said(&output));
    }
    let output = upgrade(&endpoint, &other, &["--machine", "n7"]);
    assert!(said(&output).contains("no member is called n7; there are n1"), "{}", said(&output));
    for wrong in [&["word"][..], &["--trial", "soon"], &["--trial", "0"], &["--trial", "2h"]] {
        assert_eq!(upgrade(&endpoint, &other, wrong).status.code(), Some(2), "{wrong:?}");
    }

    // As after an upgrade to a later format: no way back to this program, neither by command nor by hand.
    let format = cluster.nodes[0].data_dir().join("format");
    std::fs::write(&format, "99\n").unwrap();
    let output = upgrade(&endpoint, &other, &[]);
    assert!(said(&output).contains("those of this node are of format 99"), "{}", said(&output));
    assert!(!cluster.nodes[0].dir.join("node.previous").exists());
    cluster.nodes[0].kill_9();
    cluster.nodes[0].start();
    assert_eq!(cluster.nodes[0].wait_for_end().code(), Some(1));
    let log = cluster.nodes[0].log();
    assert!(log.contains("are of format 99, this program reads up to format 1"), "{log}");
}

/// Ends the node that goes on as another process than the one that was started here.
struct Stray(PathBuf);

impl Stray {
    fn pids(&self) -> Vec<i32> {
        let runs = |pid: &i32| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.split(|byte| *byte == 0).any(|argument| argument == self.0.as_os_str().as_encoded_bytes())
        };
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(runs).collect()
    }
}

impl Drop for Stray {
    fn drop(&mut self) {
        for pid in self.pids() {
            let _ = rustix::process::kill_process(
                rustix::process::Pid::from_raw(pid).unwrap(),
                rustix::process::Signal::KILL,
            );
        }
    }
}

/// Has a node go on as a program that does this in the place of serving, and back; what it was told, and how it ended.
fn tried(otherwise: &str, more: &[&str], because: &str) -> std::process::ExitStatus {
    let (mut cluster, _) = cluster(1);
    let stray = Stray(cluster.nodes[0].data_dir());
    let endpoint = cluster.nodes[0].endpoint();
    ok("etcdctl", &endpoint, &["put", "a", "1"]);
    let unit = cluster.folder.path().join("sleeper.service");
    std::fs::write(&unit, "[Service]\nExecStart=/bin/sleep 1000\n").unwrap();
    ok("fleetctl", &endpoint, &["start", unit.to_str().unwrap()]);
    let units = ["sleeper.service".to_owned()];
    let before = main_pids(&endpoint, &units);
    let former = std::fs::read(&cluster.nodes[0].program).unwrap();
    let broken = script(cluster.folder.path(), r#"{"version":"9.9.9","format":1}"#, otherwise);
    let output = upgrade(&endpoint, &broken, more);
    let told = said(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    let parts = [
        "n1: has the file, 9.9.9",
        "has taken the new program back",
        because,
        "stopped at n1",
        "To go on",
        "To go back",
    ];
    for part in parts {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert_eq!(std::fs::read(&cluster.nodes[0].program).unwrap(), former);
    wait_for("the value", Instant::now() + WITHIN, || {
        let got = face("etcdctl", &endpoint, &["get", "a", "--print-value-only"]);
        (got.stdout == b"1\n").then_some(())
    });
    assert_eq!(main_pids(&endpoint, &units), before);
    let status = cluster.nodes[0].wait_for_end();
    drop(stray);
    status
}

#[test]
fn a_node_that_does_not_come_back_is_given_its_former_program() {
    assert_eq!(tried("exit 3", &[], "it ended before it served").code(), Some(3));
}

#[test]
fn a_node_that_hangs_is_given_its_former_program_when_its_time_is_over() {
    use std::os::unix::process::ExitStatusExt as _;
    // It lives on whatever it is asked to do, so that it has to be killed.
    let status =
        tried("trap '' TERM; while :; do sleep 1; done", &["--trial", "2s"], "it did not come to serve within 2s");
    assert_eq!(status.signal(), Some(9));
}
