//! Debian's `etcdctl` 3.4 against etcd 3.4, the same against ours, and our `etcdctl` against ours: what they print and how they
//! end is compared, command by command, in the order of `etcdctl3/table.txt`.
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

const NODE: &str = env!("CARGO_BIN_EXE_node");

#[test]
fn every_command_answers_as_with_etcd() {
    let setup = Setup { api: "3", members: 3, more: &[] };
    compare::same("etcdctl3/table.txt", &setup, &[Side::Server, Side::Face]);
}
