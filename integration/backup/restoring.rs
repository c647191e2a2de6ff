//! A backup becomes a new cluster by the command that the handbook names, and is asked for what it must hold.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use crate::common::{TestCluster, TestNode, ok};

/// The name in what `backup now` says.
pub fn made(said: &str) -> &str {
    let line = said.lines().find_map(|line| line.strip_prefix("made"));
    line.unwrap_or_else(|| panic!("no name in: {said}")).trim()
}

/// Restores a backup and asks the new cluster for all keys: it must have these and no others.
pub fn restores(file: &Path, expected: &[(String, String)]) {
    let mut cluster = TestCluster::plan(1);
    let node: &mut TestNode = &mut cluster.nodes[0];
    let (file, data_dir) = (file.display().to_string(), node.data_dir().display().to_string());
    let arguments = ["snapshot", "restore", &file, "--data-dir", &data_dir, "--name", &node.name];
    let more = ["--initial-cluster", &node.initial_cluster, "--initial-cluster-token", "test"];
    ok("ctl", "", &[arguments.as_slice(), more.as_slice()].concat());
    node.start();
    node.wait_until_it_serves();
    let endpoint = node.endpoint();
    let keys = ok("etcdctl", &endpoint, &["get", "", "--prefix", "--keys-only"]);
    let wanted: Vec<&str> = expected.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys.lines().filter(|line| !line.is_empty()).collect::<Vec<_>>(), wanted, "{file}");
    for (key, value) in expected {
        let found = ok("etcdctl", &endpoint, &["get", key, "--print-value-only"]);
        assert!(found.trim_end() == value, "{file}: {key} is not what it was");
    }
}
