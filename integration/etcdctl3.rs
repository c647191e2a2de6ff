//! Debian's `etcdctl` 3.4 against etcd 3.4, the same against ours, and our `etcdctl` against ours: what they print and how they
//! end is compared, command by command, in the order of `etcdctl3/table.txt`.
//!
//! Needs Debian's `etcd-server` and `etcd-client`. Nothing is skipped: without them the test fails and says what to install.

#![allow(clippy::unwrap_used)]

#[path = "etcdctl3/cluster.rs"]
mod cluster;
#[path = "etcdctl3/mask.rs"]
mod mask;
#[path = "etcdctl3/table.rs"]
mod table;
#[path = "etcdctl3/track.rs"]
mod track;

use std::fmt::Write as _;

use table::Step;
use track::{Outcome, Track};

const NODE: &str = env!("CARGO_BIN_EXE_node");

/// Whose server and whose client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    /// Debian's client, Debian's etcd: what is expected.
    Etcd,
    /// Debian's client, our server.
    Server,
    /// Our client, our server.
    Face,
}

fn carried_out(side: Side, steps: &[Step]) -> Vec<Option<Outcome>> {
    let mut track = Track::start(side);
    steps.iter().map(|step| track.take(step)).collect()
}

fn same(file: &str) {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("integration/etcdctl3");
    let steps = table::read(file, &std::fs::read_to_string(folder.join(file)).unwrap());
    let (etcd, server, face) = std::thread::scope(|scope| {
        let run = |side| {
            let steps = &steps;
            scope.spawn(move || carried_out(side, steps))
        };
        let (etcd, server, face) = (run(Side::Etcd), run(Side::Server), run(Side::Face));
        (etcd.join().unwrap(), server.join().unwrap(), face.join().unwrap())
    });
    let mut compared = 0;
    let mut differences = String::new();
    let mut different = 0;
    for (at, step) in steps.iter().enumerate() {
        let Some(expected) = &etcd[at] else { continue };
        for (side, found) in [(Side::Server, &server[at]), (Side::Face, &face[at])] {
            let Some(found) = found else { continue };
            compared += 1;
            let (expected, found) = match side {
                Side::Face => (&expected.without_log(), &found.without_log()),
                _ => (expected, found),
            };
            if expected != found {
                different += 1;
                let _ = writeln!(differences, "--- {side:?}, {file}:{}: {}", step.line, step.text);
                let _ = writeln!(differences, "etcd: {expected}\nours: {found}");
            }
        }
    }
    eprintln!("{file}: {} steps, {compared} outcomes compared, {different} differ", steps.len());
    assert!(differences.is_empty(), "{different} of {compared} differ:\n{differences}");
}

#[test]
fn every_command_answers_as_with_etcd() {
    same("table.txt");
}
