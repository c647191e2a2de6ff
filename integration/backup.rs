//! Backups in a folder: made when due and by hand, checked, kept as many as are wanted; every one of them is restored.

#![allow(clippy::unwrap_used)]

#[path = "backup/restoring.rs"]
mod restoring;

mod common;

use std::path::Path;
use std::time::Instant;

use common::{TestCluster, TestNode, WITHIN, etcdctl_put, face, ok, wait_for};
use restoring::{made, restores};

/// The files in the folder, in the order of their names.
fn files(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Members whose backups go to one folder, and the first backup, which the leader makes because there is none.
fn start(count: usize, keep: &str) -> (TestCluster, std::path::PathBuf) {
    let mut cluster = TestCluster::plan(count);
    let folder = cluster.folder.path().join("backups");
    for node in &mut cluster.nodes {
        node.more.extend(["--backup-to".to_owned(), folder.display().to_string()]);
        node.more.extend(["--backup-keep".to_owned(), keep.to_owned()]);
        node.start();
    }
    cluster.nodes.iter_mut().for_each(TestNode::wait_until_it_serves);
    wait_for("the first backup", Instant::now() + WITHIN, || {
        files(&folder).iter().any(|name| name.ends_with(".snapshot")).then_some(())
    });
    (cluster, folder)
}

#[test]
fn every_backup_that_is_made_can_be_restored() {
    let (cluster, folder) = start(1, "2");
    let endpoint = cluster.nodes[0].endpoint();
    let first = files(&folder).remove(0);
    restores(&folder.join(&first), &[]);
    let mut held = Vec::new();
    for round in 1..=3 {
        held.push((format!("key-{round}"), format!("value {round}")));
        let (key, value) = held.last().unwrap();
        etcdctl_put(&endpoint, key, value);
        let said = ok("ctl", &endpoint, &["backup", "now", "--endpoint", &endpoint]);
        restores(&folder.join(made(&said)), &held);
        let verified = ok("ctl", &endpoint, &["backup", "verify", "--endpoint", &endpoint]);
        assert!(verified.contains(made(&said)), "{verified}\n{said}");
    }
    let left = files(&folder);
    assert_eq!(left.len(), 2, "two are kept: {left:?}");
    assert!(!left.contains(&first));
    let listed = ok("ctl", &endpoint, &["backup", "list", "--endpoint", &endpoint]);
    assert!(left.iter().all(|name| listed.contains(name.as_str())), "{listed}\n{left:?}");
    assert!(listed.contains("2 are kept"), "{listed}");
    // Without a node, where they lie.
    let place = folder.display().to_string();
    let listed = ok("ctl", "", &["backup", "list", "--to", &place]);
    assert_eq!(listed.lines().count(), 2, "{listed}");
    let fetched = cluster.folder.path().join("fetched");
    ok("ctl", "", &["backup", "fetch", &left[1], &fetched.to_string_lossy(), "--to", &place]);
    assert_eq!(std::fs::read(&fetched).unwrap(), std::fs::read(folder.join(&left[1])).unwrap());
}

#[test]
fn damage_is_found_and_what_was_left_half_done_goes() {
    let (cluster, folder) = start(1, "off");
    let endpoint = cluster.nodes[0].endpoint();
    let member = ok("etcdctl", &endpoint, &["member", "list"]).split(',').next().unwrap().to_owned();
    let half = folder.join(format!(".backup-{member}-0123456789abcdef.part"));
    std::fs::write(&half, "half").unwrap();
    let name = made(&ok("ctl", &endpoint, &["backup", "now", "--endpoint", &endpoint])).to_owned();
    assert!(!half.exists(), "{:?}", files(&folder));
    let file = folder.join(&name);
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    for by in [["--endpoint", endpoint.as_str()], ["--to", folder.to_str().unwrap()]] {
        let output = face("ctl", "", &[&["backup", "verify", &name], by.as_slice()].concat());
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains(&name), "the file is named: {stderr}");
    }
    for (line, code, expected) in [
        (vec!["backup", "verify", "nothing"], 2, "is no name of a backup"),
        (vec!["backup", "verify", "20261121T112300.042Z-00000000000000cd.snapshot"], 1, "there is no backup"),
        (vec!["backup", "eat"], 2, "`backup` takes"),
    ] {
        let output = face("ctl", "", &[line.as_slice(), &["--endpoint", &endpoint]].concat());
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{line:?}: {stderr}");
        assert!(stderr.contains(expected), "{line:?}: {stderr}");
    }
}

#[test]
fn any_of_three_makes_one_when_asked_and_none_without_a_quorum() {
    let (mut cluster, folder) = start(3, "7");
    for node in &cluster.nodes {
        etcdctl_put(&node.endpoint(), "from", &node.name);
        let said = ok("ctl", "", &["backup", "now", "--endpoint", &node.endpoint()]);
        restores(&folder.join(made(&said)), &[("from".to_owned(), node.name.clone())]);
    }
    cluster.nodes[1].kill_9();
    cluster.nodes[2].kill_9();
    let before = files(&folder);
    let output = face("ctl", "", &["backup", "now", "--endpoint", &cluster.nodes[0].endpoint()]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && stderr.contains("no "), "without a quorum none is made: {stderr}");
    assert_eq!(files(&folder), before, "and nothing is left of it");
}

#[test]
fn a_place_that_cannot_be_used_is_trouble_that_is_told() {
    let mut cluster = TestCluster::plan(1);
    let file = cluster.folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let node = &mut cluster.nodes[0];
    node.more.extend(["--backup-to".to_owned(), file.join("below").display().to_string()]);
    node.start();
    node.wait_until_it_serves();
    let endpoint = node.endpoint();
    let output = face("ctl", "", &["backup", "now", "--endpoint", &endpoint]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("file/below"), "{output:?}");
    let output = face("ctl", "", &["doctor", "--endpoint", &endpoint]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("the last backup that n1 was to make was not made") && said.contains("file/below"), "{said}");
}

#[test]
fn a_node_without_a_place_for_them_says_so() {
    let cluster = TestCluster::start(1);
    let output = face("ctl", "", &["backup", "list", "--endpoint", &cluster.nodes[0].endpoint()]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && stderr.contains("backup.to"), "{stderr}");
}
