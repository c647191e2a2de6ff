//! One table of commands, taken by a client and a cluster of either side, and what differs between them.

use std::fmt::Write as _;
use std::path::Path;

use crate::cluster::Setup;
use crate::table::{self, Step};
use crate::track::{Outcome, Track};

/// Whose server and whose client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code, reason = "not every test has every side")]
pub enum Side {
    /// Debian's client, Debian's etcd: what is expected.
    Etcd,
    /// Debian's client, our server.
    Server,
    /// Our client, our server.
    Face,
    /// Our client, Debian's etcd.
    FaceThere,
}

impl Side {
    pub fn is_our_server(self) -> bool {
        matches!(self, Self::Server | Self::Face)
    }

    pub fn is_our_client(self) -> bool {
        matches!(self, Self::Face | Self::FaceThere)
    }
}

fn carried_out(side: Side, setup: &Setup, steps: &[Step]) -> Vec<Option<Outcome>> {
    let mut track = Track::start(side, setup);
    steps.iter().map(|step| track.take(step)).collect()
}

/// The commands of a table. `file` is below `integration`.
pub fn steps(file: &str) -> Vec<Step> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("integration");
    table::read(file, &std::fs::read_to_string(folder.join(file)).unwrap())
}

/// Every outcome at `sides` is that of Debian's client and server. `file` is below `integration`.
pub fn same(file: &str, setup: &Setup, sides: &[Side]) {
    let steps = steps(file);
    let (etcd, others) = std::thread::scope(|scope| {
        let run = |side| {
            let steps = &steps;
            scope.spawn(move || carried_out(side, setup, steps))
        };
        let etcd = run(Side::Etcd);
        let others: Vec<_> = sides.iter().map(|side| (*side, run(*side))).collect();
        let others: Vec<_> = others.into_iter().map(|(side, run)| (side, run.join().unwrap())).collect();
        (etcd.join().unwrap(), others)
    });
    let mut compared = 0;
    let mut differences = String::new();
    let mut different = 0;
    for (at, step) in steps.iter().enumerate() {
        let Some(expected) = &etcd[at] else { continue };
        for (side, found) in &others {
            let Some(found) = &found[at] else { continue };
            compared += 1;
            let (expected, found) = match side.is_our_client() {
                true => (&expected.without_log(), &found.without_log()),
                false => (expected, found),
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
