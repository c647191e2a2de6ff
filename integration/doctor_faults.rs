//! `node ctl doctor` beside faults of machines that are made for the test: a clock that is ahead (libfaketime), a disk that is slow to sync
//! (the system call is held up by strace), a certificate that ends soon. Full disks are in `full_disk.rs`, members that are lost in `doctor.rs`.

#![allow(clippy::unwrap_used)]

mod common;

use std::fs::File;
use std::process::Command;
use std::time::{Duration, Instant};

use common::machine::now;
use common::{NODE, TestCluster, TestNode, face, wait_for};
use corenode::base::UnixMillis;
use corenode::net::tls::{Authority, request};

const SEEN_WITHIN: Duration = Duration::from_secs(60);
const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";

/// Nodes to which the disk that the tests run on is no matter, and that bear some slowness.
fn plan(count: usize) -> TestCluster {
    let mut cluster = TestCluster::plan(count);
    let flags =
        "--disk-warn-percent 100 --disk-full-percent 100 --disk-free-min 0 --heartbeat-ms 400 --election-ms 4000";
    for node in &mut cluster.nodes {
        node.more.extend(flags.split(' ').map(str::to_owned));
    }
    cluster
}

fn log_of(node: &TestNode) -> File {
    File::options().create(true).append(true).open(node.dir.join("log")).unwrap()
}

/// Waits for a visit that finds something and says all of these.
fn finds(endpoint: &str, more: &[&str], expected: &[&str]) {
    let mut last = String::new();
    let deadline = Instant::now() + SEEN_WITHIN;
    loop {
        let output = face("ctl", "", &[&["doctor", "--endpoint", endpoint], more].concat());
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.code() == Some(1) && expected.iter().all(|part| text.contains(part)) {
            return;
        }
        assert!(Instant::now() < deadline, "not said: {expected:?}, but {:?}:\n{text}", output.status.code());
        if last != text {
            eprintln!("the doctor said:\n{text}");
            last = text;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn a_clock_that_is_ahead_is_found() {
    assert!(std::path::Path::new(FAKETIME).exists(), "integration/hosts/provision.sh installs libfaketime");
    let mut cluster = plan(3);
    for (at, node) in cluster.nodes.iter_mut().enumerate() {
        let mut command = node.command();
        if at == 2 {
            // Its time since the start is as it was: only what the clock says differs.
            command.env("LD_PRELOAD", FAKETIME).env("FAKETIME", "+30s").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        }
        let log = log_of(node);
        node.start_as(command, log);
    }
    cluster.nodes.iter_mut().for_each(TestNode::wait_until_it_serves);
    // Whichever of them leads, one is ahead or the others are behind.
    let endpoint = cluster.nodes[0].endpoint();
    let deadline = Instant::now() + SEEN_WITHIN;
    wait_for("the clock to be named", deadline, || {
        let output = face("ctl", "", &["doctor", "--endpoint", &endpoint]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let ahead = text.contains("the clock of n3 is at least") && text.contains("ahead of");
        let behind = text.contains("the clock of n1 is at least") && text.contains("behind that of n3");
        (output.status.code() == Some(1) && (ahead || behind) && text.contains("chrony")).then_some(())
    });
}

#[test]
fn a_disk_that_is_slow_to_sync_is_found() {
    let mut cluster = plan(1);
    let node = &mut cluster.nodes[0];
    let plain = node.command();
    // The kernel holds each sync up for 400 ms, as a slow disk would.
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "--seccomp-bpf", "-o", "/dev/null", "-e", "trace=fdatasync,fsync"]);
    command
        .args(["-e", "inject=fdatasync,fsync:delay_exit=400000"])
        .args(["setpriv", "--pdeathsig", "KILL", NODE])
        .args(plain.get_args());
    command.env_remove("NOTIFY_SOCKET");
    let log = log_of(node);
    node.start_as(command, log);
    node.wait_until_it_serves();
    let endpoint = node.endpoint();
    finds(&endpoint, &[], &["the disk of n1", "ms to sync a small write; more than 200 ms", "remedy: put data_dir on"]);
    // strace lets go of what it holds when it ends; the node is asked to end first.
    let children = format!("/proc/{}/task/{}/children", node.pid(), node.pid());
    for child in std::fs::read_to_string(children).unwrap().split_whitespace() {
        common::terminate(child.parse().unwrap());
    }
    node.wait_for_end();
}

#[test]
fn a_certificate_that_ends_soon_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let (authority, _) = Authority::found("x", now()).unwrap();
    let asked = request(&["127.0.0.1".to_owned()]).unwrap();
    // Three weeks of its life are over, two days are left.
    let made = UnixMillis(now().0 - 20 * 86_400_000);
    let certificate = authority.admit_member(&asked.text, made, 22).unwrap();
    let file = |name: &str, text: &str| {
        let file = folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        file.display().to_string()
    };
    let (certificate, key) = (file("cert.pem", &certificate), file("key.pem", &asked.key));
    let authority = file("ca.pem", authority.certificate());
    let mut cluster = plan(1);
    let node = &mut cluster.nodes[0];
    node.more.extend(["--client-cert-file", &certificate, "--client-key-file", &key].map(str::to_owned));
    node.start();
    node.wait_until_it_serves();
    let endpoint = format!("https://{}", node.client);
    finds(&endpoint, &["--cacert", &authority], &["cert.pem of n1 ends in", "remedy: put a new certificate"]);
}
