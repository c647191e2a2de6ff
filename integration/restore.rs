//! Snapshots as the beginning of a new cluster: saved with two tools, restored for three members, everything there.

#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;
use std::process::{Command, Output, Stdio};

use common::{NODE, TestCluster, TestNode, etcdctl, free_addresses, http, ok};
use serde_json::Value;

fn node_ctl(arguments: &[&str]) -> Output {
    Command::new(NODE).arg("ctl").args(arguments).stdin(Stdio::null()).output().unwrap()
}

fn refused(arguments: &[&str], code: i32, expected: &str) {
    let output = node_ctl(arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
    assert!(stderr.contains(expected), "{arguments:?}: not said: {expected}\n{stderr}");
}

/// An answer of etcdctl's without what tells clusters and moments apart.
fn json(endpoint: &str, arguments: &[&str]) -> Value {
    let mut value: Value = serde_json::from_str(&etcdctl(endpoint, &[arguments, &["-w", "json"]].concat())).unwrap();
    for field in ["cluster_id", "member_id", "raft_term"] {
        if let Some(header) = value.get_mut("header").and_then(Value::as_object_mut) {
            header.remove(field);
        }
    }
    value
}

/// All that clients can see of the keys, by questions that every cluster with the same data answers alike.
fn seen(endpoint: &str, revisions: &[i64]) -> Vec<Value> {
    let mut seen = vec![json(endpoint, &["get", "", "--prefix"])];
    for revision in revisions {
        seen.push(json(endpoint, &["get", "", "--prefix", "--rev", &revision.to_string()]));
    }
    let mut leases = json(endpoint, &["lease", "list"]);
    leases.as_object_mut().unwrap().retain(|name, _| name == "leases");
    seen.push(leases);
    let mut lease = json(endpoint, &["lease", "timetolive", "77", "--keys"]);
    lease.as_object_mut().unwrap().retain(|name, _| ["id", "granted-ttl", "keys"].contains(&name.as_str()));
    seen.push(lease);
    let mut tree = http("GET", &format!("{endpoint}/v2/keys/?recursive=true&sorted=true"), "");
    forget_ttl(&mut tree);
    seen.push(tree);
    seen
}

fn forget_ttl(node: &mut Value) {
    match node {
        Value::Object(fields) => {
            fields.remove("ttl");
            fields.values_mut().for_each(forget_ttl);
        }
        Value::Array(items) => items.iter_mut().for_each(forget_ttl),
        _ => {}
    }
}

fn write_data(cluster: &TestCluster) {
    let endpoint = cluster.nodes[0].endpoint();
    etcdctl(&endpoint, &["lease", "grant", "3000"]);
    let granted = json_rpc(&endpoint, "lease/grant", r#"{"TTL":4000,"ID":119}"#);
    assert_eq!(granted["ID"], "119");
    for (key, value) in [("a", "1"), ("b", "1"), ("a", "2"), ("gone", "1"), ("/v2/file", "from v3")] {
        etcdctl(&endpoint, &["put", key, value]);
    }
    etcdctl(&endpoint, &["put", "leased", "x", "--lease=77"]);
    etcdctl(&endpoint, &["del", "gone"]);
    etcdctl(&endpoint, &["compaction", "4"]);
    http("PUT", &format!("{endpoint}/v2/keys/v2/ends"), "value=soon&ttl=5000");
    http("PUT", &format!("{endpoint}/v2/keys/v2/empty"), "dir=true");
    etcdctl(&endpoint, &["put", "a", "3"]);
    std::fs::write(cluster.folder.path().join("web.service"), "[Service]\nExecStart=/bin/sleep 1000\n").unwrap();
    let unit = cluster.folder.path().join("web.service");
    ok("fleetctl", &endpoint, &["submit", &unit.to_string_lossy()]);
}

fn json_rpc(endpoint: &str, path: &str, body: &str) -> Value {
    http("POST", &format!("{endpoint}/v3/{path}"), body)
}

/// Restores `file` for each of the nodes, which are not started yet, and starts them.
fn restore(cluster: &mut TestCluster, file: &Path, more: &[&str]) {
    let file = file.to_string_lossy().into_owned();
    for node in &mut cluster.nodes {
        let data_dir = node.data_dir().to_string_lossy().into_owned();
        let mut arguments = vec!["snapshot", "restore", &file, "--data-dir", &data_dir, "--name", &node.name];
        arguments.extend(["--initial-cluster", &node.initial_cluster, "--initial-cluster-token", "test"]);
        arguments.extend(more);
        let output = node_ctl(&arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}\n{stderr}");
        refused(&arguments, 1, "is not empty");
        node.start();
    }
    cluster.nodes.iter_mut().for_each(TestNode::wait_until_it_serves);
}

#[test]
fn a_cluster_comes_back_from_what_either_tool_saved() {
    let mut old = TestCluster::start(3);
    write_data(&old);
    let endpoint = old.nodes[1].endpoint();
    let before = seen(&endpoint, &[5, 8]);
    let old_status = json(&endpoint, &["endpoint", "status"]);
    let (theirs, ours) = (old.folder.path().join("theirs"), old.folder.path().join("ours"));
    etcdctl(&endpoint, &["snapshot", "save", &theirs.to_string_lossy()]);
    ok("ctl", &endpoint, &["snapshot", "save", &ours.to_string_lossy(), "--endpoint", &endpoint]);
    old.nodes.iter_mut().for_each(TestNode::kill_9);
    for file in [&theirs, &ours] {
        let mut new = TestCluster::plan(3);
        // The machines are the same ones: the old cluster's word of them must not keep them out.
        for (new, old) in new.nodes.iter_mut().zip(&old.nodes) {
            new.machine_id.clone_from(&old.machine_id);
        }
        restore(&mut new, file, &[]);
        for node in &new.nodes {
            assert_eq!(seen(&node.endpoint(), &[5, 8]), before, "{}", node.name);
        }
        let endpoint = new.nodes[2].endpoint();
        let status = json(&endpoint, &["endpoint", "status"]);
        assert_ne!(status[0]["Status"]["header"]["cluster_id"], old_status[0]["Status"]["header"]["cluster_id"]);
        let members = etcdctl(&endpoint, &["member", "list"]);
        for node in &new.nodes {
            assert!(members.contains(&format!("http://{}", node.peer)), "{members}");
        }
        assert_eq!(members.lines().count(), 3, "{members}");
        let machines = ok("fleetctl", &endpoint, &["list-machines", "--no-legend"]);
        assert_eq!(machines.lines().count(), 3, "{machines}");
        assert!(ok("fleetctl", &endpoint, &["cat", "web.service"]).contains("/bin/sleep 1000"));
        let revision = before[0]["header"]["revision"].as_i64().unwrap();
        let put = json(&endpoint, &["put", "new", "1"]);
        assert_eq!(put["header"]["revision"].as_i64().unwrap(), revision + 1);
        // A member that has lost its disk gets the state from the others, not only the log.
        new.nodes[0].kill_9();
        std::fs::remove_dir_all(new.nodes[0].data_dir()).unwrap();
        new.nodes[0].start();
        new.nodes[0].wait_until_it_serves();
        let own = ["get", "", "--prefix", "--consistency=s"];
        let others = json(&new.nodes[1].endpoint(), &["get", "", "--prefix"]);
        common::wait_for("the state", std::time::Instant::now() + common::WITHIN, || {
            (json(&new.nodes[0].endpoint(), &own)["kvs"] == others["kvs"]).then_some(())
        });
        new.nodes.iter_mut().for_each(TestNode::kill_9);
        new.nodes.iter_mut().for_each(TestNode::start);
        new.nodes.iter_mut().for_each(TestNode::wait_until_it_serves);
        assert_eq!(json(&endpoint, &["get", "new"])["kvs"][0]["version"], 1);
    }
}

#[test]
fn revisions_can_skip_ahead() {
    let mut old = TestCluster::start(1);
    write_data(&old);
    let endpoint = old.nodes[0].endpoint();
    let revision = json(&endpoint, &["get", "a"])["header"]["revision"].as_i64().unwrap();
    let file = old.folder.path().join("snapshot");
    etcdctl(&endpoint, &["snapshot", "save", &file.to_string_lossy()]);
    old.nodes[0].kill_9();
    let mut new = TestCluster::plan(1);
    restore(&mut new, &file, &["--bump-revision", "1000", "--mark-compacted"]);
    let endpoint = new.nodes[0].endpoint();
    assert_eq!(json(&endpoint, &["get", "a"])["header"]["revision"], revision + 1_000);
    assert_eq!(json(&endpoint, &["put", "a", "4"])["header"]["revision"], revision + 1_001);
    let watch = Command::new("/usr/bin/etcdctl")
        .args(["watch", "a", "--rev", &revision.to_string()])
        .env("ETCDCTL_API", "3")
        .env("ETCDCTL_ENDPOINTS", &endpoint)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&watch.stderr).contains("compacted"), "{watch:?}");
}

#[test]
fn bad_files_and_command_lines_are_refused_and_leave_nothing() {
    let place = tempfile::tempdir().unwrap();
    let path = |name: &str| place.path().join(name).to_string_lossy().into_owned();
    let (dir, file) = (path("data"), path("file"));
    refused(&["snapshot", "restore", &file, "--data-dir", &dir], 1, "No such file");
    std::fs::write(&file, vec![7; 1024]).unwrap();
    refused(&["snapshot", "restore", &file, "--data-dir", &dir], 1, "it is cut");
    std::fs::write(&file, vec![7; 1024 + 32]).unwrap();
    refused(&["snapshot", "restore", &file, "--data-dir", &dir], 1, "is not a corenode snapshot");
    refused(&["snapshot", "restore", &file], 2, "--data-dir DIR is needed");
    refused(&["snapshot", "restore"], 2, "requires exactly one argument");
    refused(&["snapshot", "restore", &file, "--data-dir", &dir, "--mark-compacted"], 2, "--bump-revision");
    refused(&["snapshot", "restore", &file, "--nope"], 2, "unknown flag");
    assert!(!Path::new(&dir).exists());
    // A node does not take up what is half made.
    std::fs::create_dir_all(Path::new(&dir).join("store.unfinished")).unwrap();
    let addresses = free_addresses(2);
    let output = Command::new(NODE)
        .args(["run", "--data-dir", &dir, "--peer-listen", &addresses[0].to_string()])
        .args(["--client-listen", &addresses[1].to_string(), "--client-socket", "", "--fleet-enabled", "false"])
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && stderr.contains("did not come to its end"), "{stderr}");
}

#[test]
fn a_restore_that_is_killed_leaves_nothing_that_a_node_takes_up() {
    let mut old = TestCluster::start(1);
    write_data(&old);
    let endpoint = old.nodes[0].endpoint();
    let file = old.folder.path().join("snapshot").to_string_lossy().into_owned();
    etcdctl(&endpoint, &["snapshot", "save", &file]);
    let before = seen(&endpoint, &[5, 8]);
    old.nodes[0].kill_9();
    let mut new = TestCluster::plan(1);
    let data_dir = new.nodes[0].data_dir();
    let dir = data_dir.to_string_lossy().into_owned();
    let cluster = new.nodes[0].initial_cluster.clone();
    let arguments = ["snapshot", "restore", &file, "--data-dir", &dir, "--name", "n1", "--initial-cluster", &cluster];
    let arguments = [&arguments[..], &["--initial-cluster-token", "test"]].concat();
    let mut unfinished = 0;
    for wait_ms in [2, 5, 10, 20, 40, 60, 80, 100, 130, 160, 200, 250, 300, 400] {
        let mut child = Command::new(NODE).arg("ctl").args(&arguments).stdout(Stdio::null()).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(wait_ms));
        child.kill().unwrap();
        child.wait().unwrap();
        if data_dir.join("store").exists() {
            break;
        }
        unfinished += usize::from(data_dir.join("store.unfinished").exists());
    }
    println!("killed {unfinished} times in the midst of it");
    if !data_dir.join("store").exists() {
        let output = node_ctl(&arguments);
        assert!(output.status.success(), "{output:?}");
    }
    new.nodes[0].start();
    new.nodes[0].wait_until_it_serves();
    assert_eq!(seen(&new.nodes[0].endpoint(), &[5, 8]), before);
}
