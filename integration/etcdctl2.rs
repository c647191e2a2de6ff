//! Debian's `etcdctl` 3.4 with ETCDCTL_API=2 against etcd 3.4, the same against ours, and our `etcdctl` against ours: what they print
//! and how they end is compared, command by command. Tables and helpers are in the form of `etcdctl3`.
//!
//! Needs Debian's `etcd-server` and `etcd-client`. Nothing is skipped: without them the test fails and says what to install.

#![allow(clippy::unwrap_used)]

#[path = "etcdctl3/cluster.rs"]
mod cluster;
#[path = "etcdctl3/compare.rs"]
mod compare;
#[path = "etcdctl3/mask.rs"]
mod mask;
#[path = "etcdctl3/table.rs"]
mod table;
#[path = "etcdctl3/track.rs"]
mod track;

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use cluster::{Cluster, Setup};
use compare::Side;

const NODE: &str = env!("CARGO_BIN_EXE_node");

/// A client that has found the members asks any of them, and v2 reads what that one has: so one member for keys.
const ALONE: Setup = Setup { api: "2", members: 1, more: &["--enable-v2"] };
const THREE: Setup = Setup { members: 3, ..ALONE };

#[test]
fn keys_are_read_and_written_as_with_etcd() {
    compare::same("etcdctl2/keys.txt", &ALONE, &[Side::Server, Side::Face]);
}

#[test]
fn help_and_mistakes_are_etcds() {
    compare::same("etcdctl2/usage.txt", &ALONE, &[Side::Face]);
}

#[test]
fn members_are_shown_and_changed_as_with_etcd() {
    compare::same("etcdctl2/members.txt", &THREE, &[Side::Server, Side::Face]);
}

/// Our client speaks of users to etcd as etcd's own does, and ours answers both as etcd does.
#[test]
fn users_and_roles_are_steered_as_with_etcd() {
    compare::same("etcdctl2/users.txt", &ALONE, &[Side::Server, Side::Face, Side::FaceThere]);
}

/// What the documentation of the original shows. Its 3.4 takes the last word for the key where there is a flag.
#[test]
fn exec_watch_runs_a_program_for_each_change() {
    let cluster = Cluster::start(Side::Face, &ALONE);
    let etcdctl = |words: &[&str]| {
        let mut command = Command::new(NODE);
        command.arg("etcdctl").args(words).env("ETCDCTL_ENDPOINTS", format!("http://{}", cluster.clients[0]));
        command.env_remove("ETCDCTL_API");
        command
    };
    assert!(etcdctl(&["mkdir", "/watched/dir"]).status().unwrap().success());
    assert!(etcdctl(&["set", "/watched/key", "a value"]).status().unwrap().success());
    let script = "echo $ETCD_WATCH_ACTION $ETCD_WATCH_KEY $ETCD_WATCH_MODIFIED_INDEX \"$ETCD_WATCH_VALUE\"";
    let words = ["exec-watch", "--recursive", "--after-index", "3", "/watched", "--", "sh", "-c", script];
    let mut watch = etcdctl(&words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(watch.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "set /watched/key 5 a value\n");
    let pid = rustix::process::Pid::from_child(&watch);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let ended = watch.wait_with_output().unwrap();
    assert!(ended.status.success(), "{}", ended.status);
    assert_eq!(String::from_utf8_lossy(&ended.stderr), "Ignored dir /watched/dir change\n");
}
