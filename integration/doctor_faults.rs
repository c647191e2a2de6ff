//! `node ctl doctor` beside faults of machines that are made for the test: a clock that is ahead (libfaketime), a disk that is slow to sync
//! (the system call is held up by strace), a certificate that ends soon. Full disks are in `full_disk.rs`, members that are lost in `doctor.rs`.

#![allow(clippy::unwrap_used)]

mod common;

use std::fs::File;
use std::process::Command;

use common::doctor::{plan, visit};
use common::machine::now;
use common::{NODE, TestNode, face, text, wait_for_output};
use corenode::base::UnixMillis;
use corenode::net::tls::{Authority, request};

const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";

fn log_of(node: &TestNode) -> File {
    File::options().create(true).append(true).open(node.dir.join("log")).unwrap()
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
    wait_for_output(
        "the clock to be named",
        || face("ctl", "", &["doctor", "--endpoint", &endpoint]),
        |output| {
            let said = text(output);
            let ahead = said.contains("the clock of n3 is at least") && said.contains("ahead of");
            let behind = said.contains("the clock of n1 is at least") && said.contains("behind that of n3");
            (output.status.code() == Some(1) && (ahead || behind) && said.contains("chrony")).then_some(())
        },
    );
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
    visit(
        &["--endpoint", &endpoint],
        1,
        &["the disk of n1", "ms to sync a small write; more than 200 ms", "remedy: put data_dir on"],
    );
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
    visit(
        &["--endpoint", &endpoint, "--cacert", &authority],
        1,
        &["cert.pem of n1 ends in", "remedy: put a new certificate"],
    );
}
