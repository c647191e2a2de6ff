//! `node ctl doctor` beside nodes of which nothing is wrong but what a test does to them.

use super::{TestCluster, face, text, wait_for_output};

/// `count` nodes to which the disk that the tests run on is no matter: however full it is, and slow while others use it.
pub fn plan(count: usize) -> TestCluster {
    let mut cluster = TestCluster::plan(count);
    let flags =
        "--disk-warn-percent 100 --disk-full-percent 100 --disk-free-min 0 --heartbeat-ms 400 --election-ms 4000";
    for node in &mut cluster.nodes {
        node.more.extend(flags.split(' ').map(str::to_owned));
    }
    cluster
}

/// Waits for a visit that ends with `code` and says all of these; all that it said.
#[track_caller]
pub fn visit(flags: &[&str], code: i32, expected: &[&str]) -> String {
    let doctor = || face("ctl", "", &[&["doctor"], flags].concat());
    wait_for_output(&format!("a visit that ends with {code} and says {expected:?}"), doctor, |output| {
        let said = text(output);
        (output.status.code() == Some(code) && expected.iter().all(|part| said.contains(part))).then_some(said)
    })
}
