//! Debian's `etcdctl` 3.4 against etcd 3.4, the same against ours, and our `etcdctl` against ours: what they print and how they
//! end is compared, command by command, in the order of the tables in `etcdctl3/`.
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

use cluster::Setup;
use compare::Side;
use table::Step;

const NODE: &str = env!("CARGO_BIN_EXE_node");

const THREE: Setup = Setup { api: "3", members: 3, more: &[] };
const BOTH: [Side; 2] = [Side::Server, Side::Face];

#[test]
fn every_command_answers_as_with_etcd() {
    compare::same("etcdctl3/table.txt", &THREE, &BOTH);
}

#[test]
fn a_member_alone_answers_as_etcds() {
    compare::same("etcdctl3/alone.txt", &Setup { members: 1, ..THREE }, &BOTH);
}

#[test]
fn members_come_and_go_as_with_etcd() {
    compare::same("etcdctl3/members.txt", &THREE, &BOTH);
}

#[test]
fn every_command_of_etcdctl_is_in_a_table() {
    /// What only writes a script for a shell.
    const ALONE: [&str; 1] = ["completion"];
    let help = std::process::Command::new(cluster::ETCDCTL).env("ETCDCTL_API", "3").arg("help").output().unwrap();
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    let commands = help.split("COMMANDS:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let commands = commands.lines().map(|line| line.trim().split('\t').next().unwrap().trim());
    let steps: Vec<Step> = ["table.txt", "alone.txt", "members.txt"]
        .into_iter()
        .flat_map(|file| compare::steps(&format!("etcdctl3/{file}")))
        .collect();
    let missing: Vec<&str> = commands
        .filter(|command| !ALONE.iter().any(|alone| command.starts_with(alone)))
        .filter(|command| {
            let words: Vec<&str> = command.split(' ').collect();
            !steps.iter().any(|step| step.words.windows(words.len()).any(|found| found == words))
        })
        .collect();
    assert!(missing.is_empty(), "in no table: {missing:?}");
}
