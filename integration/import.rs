//! Another etcd's data in this cluster: Debian's etcd 3.4 filled, taken over by file, and asked the same questions before and after.

#![allow(clippy::unwrap_used)]

mod common;

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;

use common::{NODE, TestCluster, TestNode, WITHIN, etcdctl, free_addresses, http, wait_for};
use serde_json::Value;

/// Debian's etcd with both APIs.
struct Etcd {
    folder: tempfile::TempDir,
    client: SocketAddr,
    child: Option<Child>,
}

impl Etcd {
    fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("corenode-import-").tempdir().unwrap();
        let addresses = free_addresses(2);
        let mut etcd = Self { folder, client: addresses[0], child: None };
        etcd.run(&format!("http://{}", addresses[1]));
        etcd
    }

    fn run(&mut self, peer: &str) {
        let etcd = self;
        let log = File::create(etcd.path("log")).unwrap();
        let child = Command::new("/usr/bin/etcd")
            .args(["--name", "old", "--data-dir", &etcd.path("data").to_string_lossy(), "--enable-v2"])
            .args(["--listen-client-urls", &etcd.endpoint(), "--advertise-client-urls", &etcd.endpoint()])
            .args(["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer])
            .args(["--initial-cluster", &format!("old={peer}"), "--logger", "zap", "--log-outputs", "stderr"])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        etcd.child = Some(child);
        wait_for("etcd", Instant::now() + WITHIN, || {
            let log = std::fs::read_to_string(etcd.path("log")).unwrap();
            log.contains("serving client traffic").then_some(())
        });
    }

    /// An etcd that begins with a snapshot, restored by its own tool.
    fn of(snapshot: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("corenode-import-").tempdir().unwrap();
        let addresses = free_addresses(2);
        let mut etcd = Self { folder, client: addresses[0], child: None };
        let peer = format!("http://{}", addresses[1]);
        let (data, cluster) = (etcd.path("data").to_string_lossy().into_owned(), format!("old={peer}"));
        let own = ["--name", "old", "--initial-cluster", &cluster, "--initial-advertise-peer-urls", &peer];
        etcdctl(&peer, &[&["snapshot", "restore", snapshot, "--data-dir", &data], &own[..]].concat());
        etcd.run(&peer);
        etcd
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn endpoint(&self) -> String {
        format!("http://{}", self.client)
    }

    fn stop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        common::terminate(child.id());
        wait_for("etcd to end", Instant::now() + WITHIN, || child.try_wait().unwrap());
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn json(endpoint: &str, arguments: &[&str]) -> Value {
    let mut value: Value = serde_json::from_str(&etcdctl(endpoint, &[arguments, &["-w", "json"]].concat())).unwrap();
    if let Some(header) = value.get_mut("header").and_then(Value::as_object_mut) {
        header.retain(|name, _| name == "revision");
    }
    value
}

fn import(arguments: &[&str]) -> Output {
    Command::new(NODE).args(["ctl", "import", "etcd"]).args(arguments).stdin(Stdio::null()).output().unwrap()
}

fn refused(arguments: &[&str], code: i32, expected: &str) {
    let output = import(arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
    assert!(stderr.contains(expected), "{arguments:?}: not said: {expected}\n{stderr}");
}

/// Imports what `source` names for each of the nodes, which are not started yet, and starts them. Returns the last report.
fn import_for(cluster: &mut TestCluster, source: &[&str]) -> String {
    let mut report = String::new();
    for node in &mut cluster.nodes {
        let data_dir = node.data_dir().to_string_lossy().into_owned();
        let own = ["--data-dir", &data_dir, "--name", &node.name, "--initial-cluster", &node.initial_cluster];
        let output = import(&[source, &own, &["--initial-cluster-token", "test"]].concat());
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{source:?}\n{stderr}");
        report = String::from_utf8(output.stdout).unwrap();
        node.start();
    }
    cluster.nodes.iter_mut().for_each(TestNode::wait_until_it_serves);
    report
}

/// Fills an etcd with all kinds of keys; the history before revision 9 is compacted.
fn fill(endpoint: &str) {
    http("POST", &format!("{endpoint}/v3/lease/grant"), r#"{"TTL":4000,"ID":119}"#);
    http("POST", &format!("{endpoint}/v3/lease/grant"), r#"{"TTL":5000,"ID":120}"#);
    for (key, value) in [("a", "1"), ("b", "1"), ("a", "2"), ("gone", "1"), ("/dir/file", "x"), ("back", "1")] {
        etcdctl(endpoint, &["put", key, value]);
    }
    etcdctl(endpoint, &["put", "leased", "x", "--lease=77"]);
    etcdctl(endpoint, &["del", "gone"]);
    etcdctl(endpoint, &["del", "back"]);
    etcdctl(endpoint, &["compaction", "9"]);
    etcdctl(endpoint, &["put", "a", "3"]);
    etcdctl(endpoint, &["put", "back", "2"]);
    etcdctl(endpoint, &["put", "leased", "y", "--lease=78"]);
    let puts: Vec<Value> = (0..100)
        .map(|n| {
            let value = "dmFsdWVz".repeat(n);
            serde_json::json!({"requestPut": {"key": format!("dHhuLz{n:02}"), "value": value}})
        })
        .collect();
    let txn = serde_json::json!({ "success": puts }).to_string();
    assert_eq!(http("POST", &format!("{endpoint}/v3/kv/txn"), &txn)["succeeded"], true);
    etcdctl(endpoint, &["del", "txn/=", "txn/>"]);
    // A value that needs pages of its own, and enough keys for several levels of pages.
    let large = std::iter::repeat_n("bGFyZ2UK", 100_000).collect::<String>();
    let body = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(body.path(), serde_json::json!({"key": "bGFyZ2U=", "value": large}).to_string()).unwrap();
    http("POST", &format!("{endpoint}/v3/kv/put"), &format!("@{}", body.path().display()));
    for n in 0..60 {
        let puts: Vec<Value> = (0..120)
            .map(|m| serde_json::json!({"requestPut": {"key": format!("{:04}", n * 120 + m), "value": "dmFsdWUgb2YgYSBrZXkK"}}))
            .collect();
        let txn = serde_json::json!({ "success": puts }).to_string();
        assert_eq!(http("POST", &format!("{endpoint}/v3/kv/txn"), &txn)["succeeded"], true);
    }
    etcdctl(endpoint, &["del", "a"]);
}

/// All that clients can see of the keys and leases, by questions that every store with the same data answers alike.
fn seen(endpoint: &str) -> Vec<Value> {
    let mut seen = seen_now(endpoint);
    let newest = seen[0]["header"]["revision"].as_i64().unwrap();
    let past = |revision: i64| json(endpoint, &["get", "", "--prefix", "--rev", &revision.to_string()]);
    seen.extend((9..20).chain([newest - 1]).map(past));
    seen
}

/// As [`seen`], without the past.
fn seen_now(endpoint: &str) -> Vec<Value> {
    let mut seen = vec![json(endpoint, &["get", "", "--prefix"])];
    for lease in ["77", "78"] {
        let mut told = json(endpoint, &["lease", "timetolive", lease, "--keys"]);
        told.as_object_mut().unwrap().retain(|name, _| ["id", "granted-ttl", "keys"].contains(&name.as_str()));
        seen.push(told);
    }
    let mut leases = json(endpoint, &["lease", "list"]);
    leases.as_object_mut().unwrap().retain(|name, _| name == "leases");
    seen.push(leases);
    seen
}

fn assert_same(before: &[Value], after: &[Value], what: &str) {
    assert_eq!(before.len(), after.len());
    for (number, (before, after)) in before.iter().zip(after).enumerate() {
        assert!(before == after, "{what}: question {number}: {before:.2000}\n{after:.2000}");
    }
}

fn answers_of_compacted(endpoint: &str) -> String {
    let output = Command::new("/usr/bin/etcdctl")
        .args(["get", "a", "--rev", "8"])
        .env("ETCDCTL_API", "3")
        .env("ETCDCTL_ENDPOINTS", endpoint)
        .output()
        .unwrap();
    assert!(!output.status.success());
    let stderr = String::from_utf8(output.stderr).unwrap();
    stderr.lines().last().unwrap().to_owned()
}

#[test]
fn a_file_of_etcds_becomes_a_cluster_that_answers_the_same() {
    let mut etcd = Etcd::start();
    let endpoint = etcd.endpoint();
    fill(&endpoint);
    let before = seen(&endpoint);
    let compacted = answers_of_compacted(&endpoint);
    let snapshot = etcd.path("snapshot").to_string_lossy().into_owned();
    etcdctl(&endpoint, &["snapshot", "save", &snapshot]);
    let data = etcd.path("data").to_string_lossy().into_owned();
    let unused = etcd.path("unused").to_string_lossy().into_owned();
    refused(&["--snapshot", &data, "--data-dir", &unused], 1, "an etcd has it open");
    etcd.stop();

    let mut three = TestCluster::plan(3);
    let report = import_for(&mut three, &["--snapshot", &snapshot]);
    assert!(report.contains("history from 9 on") && report.contains("2 leases"), "{report}");
    assert!(report.contains("not taken the old cluster of version 3.4.0 and its members: old"), "{report}");
    for node in &three.nodes {
        assert_same(&before, &seen(&node.endpoint()), &node.name);
        assert_eq!(answers_of_compacted(&node.endpoint()), compacted);
    }
    let endpoint = three.nodes[1].endpoint();
    let newest = before[0]["header"]["revision"].as_i64().unwrap();
    assert_eq!(json(&endpoint, &["put", "a", "4"])["header"]["revision"].as_i64(), Some(newest + 1));
    assert_eq!(http("GET", &format!("{endpoint}/v2/keys/dir/file"), "")["node"]["value"], "x");
    assert_eq!(etcdctl(&endpoint, &["lease", "revoke", "78"]), "lease 0000000000000078 revoked\n");
    assert_eq!(etcdctl(&endpoint, &["get", "leased"]), "");

    let mut one = TestCluster::plan(1);
    let report = import_for(&mut one, &["--snapshot", &data]);
    assert!(report.contains("the file has no checksum"), "{report}");
    assert_same(&before, &seen(&one.nodes[0].endpoint()), "member's file");
}

#[test]
fn broken_and_foreign_files_are_refused_and_leave_nothing() {
    let mut etcd = Etcd::start();
    etcdctl(&etcd.endpoint(), &["put", "a", "1"]);
    let snapshot = etcd.path("snapshot").to_string_lossy().into_owned();
    etcdctl(&etcd.endpoint(), &["snapshot", "save", &snapshot]);
    etcd.stop();
    let whole = std::fs::read(&snapshot).unwrap();
    let (bad, dir) = (etcd.path("bad"), etcd.path("new").to_string_lossy().into_owned());
    let name = bad.to_string_lossy().into_owned();
    let source = ["--snapshot", &name, "--data-dir", &dir];
    let write = |bytes: &[u8]| std::fs::write(&bad, bytes).unwrap();
    refused(&source, 1, "No such file");
    write(&whole[..whole.len() - 7]);
    refused(&source, 1, "it is cut");
    let mut changed = whole.clone();
    changed[9_000] ^= 1;
    write(&changed);
    refused(&source, 1, "its checksum is wrong");
    write(&[7; 4096]);
    refused(&source, 1, "it is no database of etcd's");
    write(&whole[..8192]);
    refused(&source, 1, "the file is cut");
    refused(&["--snapshot", &name], 2, "--data-dir DIR is needed");
    refused(&["--data-dir", &dir], 2, "--snapshot FILE or --endpoint URL is needed");
    let nobody = format!("http://{}", free_addresses(1)[0]);
    refused(&["--endpoint", &nobody, "--data-dir", &dir], 1, "cannot connect to");
    refused(&["--endpoint", &nobody, "--into", &nobody, "--name", "x"], 2, "--into takes one URL");
    assert!(!Path::new(&dir).exists());
    let restore =
        Command::new(NODE).args(["ctl", "snapshot", "restore", &snapshot, "--data-dir", &dir]).output().unwrap();
    let stderr = String::from_utf8_lossy(&restore.stderr);
    assert!(restore.status.code() == Some(1) && stderr.contains("node ctl import etcd --snapshot"), "{stderr}");
}

/// A v2 tree without the times that pass while it is looked at.
fn tree(endpoint: &str) -> Value {
    let mut tree = http("GET", &format!("{endpoint}/v2/keys/?recursive=true&sorted=true"), "");
    forget_ttl(&mut tree);
    assert_eq!(tree["action"], "get", "{tree}");
    tree
}

fn forget_ttl(node: &mut Value) {
    match node {
        Value::Object(fields) => {
            fields.remove("ttl");
            // Ours are whole milliseconds.
            if let Some(end) = fields.get_mut("expiration") {
                *end = end.as_str().unwrap()[..19].into();
            }
            fields.values_mut().for_each(forget_ttl);
        }
        Value::Array(items) => items.iter_mut().for_each(forget_ttl),
        _ => {}
    }
}

fn fill_v2(endpoint: &str) {
    let keys = format!("{endpoint}/v2/keys");
    http("PUT", &format!("{keys}/dir/one"), "value=1");
    http("PUT", &format!("{keys}/dir/two"), "value=2&ttl=5000");
    http("PUT", &format!("{keys}/dir/one"), "value=3&prevExist=true");
    http("PUT", &format!("{keys}/empty"), "dir=true");
    http("PUT", &format!("{keys}/ends"), "dir=true&ttl=6000");
    http("PUT", &format!("{keys}/ends/file"), "value=x");
    http("PUT", &format!("{keys}/gone"), "value=x");
    http("DELETE", &format!("{keys}/gone"), "");
    http("PUT", &format!("{keys}/_hidden/file"), "value=secret");
}

#[test]
fn a_live_etcd_comes_with_both_of_its_keyspaces() {
    let etcd = Etcd::start();
    let endpoint = etcd.endpoint();
    fill(&endpoint);
    let before = seen(&endpoint);
    // Without v2 data the v3 keys are as from a file.
    let mut alone = TestCluster::plan(1);
    import_for(&mut alone, &["--endpoint", &endpoint]);
    assert_same(&before, &seen(&alone.nodes[0].endpoint()), "live");
    drop(alone);

    fill_v2(&endpoint);
    http("PUT", &format!("{endpoint}/v2/keys/dir/file"), "value=v2");
    let unused = etcd.path("unused").to_string_lossy().into_owned();
    refused(
        &["--endpoint", &endpoint, "--data-dir", &unused],
        1,
        "1 keys are in v2 and in v3 with different values: /dir/file;",
    );
    let saved = etcd.path("saved").to_string_lossy().into_owned();
    let mut both = TestCluster::plan(1);
    let nobody = format!("http://{}", free_addresses(1)[0]);
    let endpoints = format!("{nobody},{endpoint}");
    let source = ["--endpoint", &endpoints, "--prefer", "v3", "--v2-hidden", "/_hidden", "--save", &saved];
    let report = import_for(&mut both, &source);
    assert!(report.contains("of v2     4 files") && report.contains("1 keys were in v3 too"), "{report}");
    let new = both.nodes[0].endpoint();
    let newest = before[0]["header"]["revision"].as_i64().unwrap().to_string();
    let at = ["get", "", "--prefix", "--rev", &newest];
    assert_eq!(json(&new, &at)["kvs"], before[0]["kvs"]);
    // What v3 has is seen in the tree too; the rest of it is as it was, but for what both had.
    for path in ["dir/one", "dir/two", "empty", "ends"] {
        let ask = |endpoint: &str| {
            let mut node = http("GET", &format!("{endpoint}/v2/keys/{path}?recursive=true"), "");
            forget_ttl(&mut node);
            node
        };
        assert_eq!(ask(&new), ask(&endpoint), "{path}");
    }
    assert_eq!(http("GET", &format!("{new}/v2/keys/_hidden/file"), "")["node"]["value"], "secret");
    assert_eq!(http("GET", &format!("{new}/v2/keys/dir/file"), "")["node"]["value"], "x");
    let restored = etcd.path("restored").to_string_lossy().into_owned();
    let output =
        Command::new(NODE).args(["ctl", "snapshot", "restore", &saved, "--data-dir", &restored]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    drop(both);

    // v2 alone, as an etcd without v3 keys has it.
    let old = Etcd::start();
    fill_v2(&old.endpoint());
    let old_tree = tree(&old.endpoint());
    let mut alone = TestCluster::plan(1);
    import_for(&mut alone, &["--endpoint", &old.endpoint()]);
    assert_eq!(tree(&alone.nodes[0].endpoint()), old_tree);
}

#[test]
fn a_cluster_that_runs_takes_another_ones_keys() {
    let etcd = Etcd::start();
    let endpoint = etcd.endpoint();
    fill(&endpoint);
    let new = TestCluster::start(1);
    let to = new.nodes[0].endpoint();
    let output = import(&["--endpoint", &endpoint, "--into", &to]);
    assert!(output.status.success(), "{output:?}");
    let values = |endpoint: &str| {
        let mut kvs = json(endpoint, &["get", "", "--prefix"])["kvs"].take();
        for kv in kvs.as_array_mut().unwrap() {
            kv.as_object_mut().unwrap().retain(|name, _| ["key", "value", "lease"].contains(&name.as_str()));
        }
        kvs
    };
    assert!(values(&to) == values(&endpoint));
    let mut leases = [&to, &endpoint].map(|endpoint| json(endpoint, &["lease", "list"])["leases"].take());
    leases.iter_mut().for_each(|list| list.as_array_mut().unwrap().sort_by_key(Value::to_string));
    assert_eq!(leases[0], leases[1]);
    refused(&["--endpoint", &endpoint, "--into", &to], 1, "keys already; name a new cluster");
}

#[test]
fn without_a_snapshot_keys_keep_the_numbers_of_their_last_change() {
    let etcd = Etcd::start();
    let endpoint = etcd.endpoint();
    fill(&endpoint);
    let mut new = TestCluster::plan(1);
    let report = import_for(&mut new, &["--endpoint", &endpoint, "--no-snapshot"]);
    assert!(report.contains("without history"), "{report}");
    let (before, after) = (seen(&endpoint), seen_now(&new.nodes[0].endpoint()));
    assert_same(&before[..after.len()], &after, "key by key");
}

#[test]
fn this_etcdctl_takes_snapshots_of_etcds() {
    let mut etcd = Etcd::start();
    let endpoint = etcd.endpoint();
    fill(&endpoint);
    let path = |name: &str| etcd.path(name).to_string_lossy().into_owned();
    let (file, dir, raw) = (path("saved"), path("restored"), path("data/member/snap/db"));
    let own = |arguments: &[&str]| {
        let mut command = Command::new(NODE);
        command.arg("etcdctl").args(arguments).env("ETCDCTL_ENDPOINTS", &endpoint).env("ETCDCTL_API", "3");
        command.output().unwrap()
    };
    let saved = own(&["snapshot", "save", &file]);
    assert!(saved.status.success(), "{saved:?}");
    assert_eq!(String::from_utf8(saved.stdout).unwrap(), format!("Snapshot saved at {file}\n"));
    for format in ["simple", "json", "table"] {
        let status = own(&["snapshot", "status", &file, "-w", format]);
        assert!(status.status.success(), "{status:?}");
        let theirs = etcdctl(&endpoint, &["snapshot", "status", &file, "-w", format]);
        assert_eq!(String::from_utf8(status.stdout).unwrap(), theirs, "{format}");
    }
    let restored = own(&["snapshot", "restore", &file, "--data-dir", &dir]);
    assert!(restored.status.success() && restored.stdout.is_empty(), "{restored:?}");
    assert!(Path::new(&dir).join("store/identity").exists());
    let again = own(&["snapshot", "restore", &file, "--data-dir", &dir]);
    assert_eq!(again.status.code(), Some(1));
    assert_eq!(own(&["snapshot", "restore"]).status.code(), Some(128));
    etcd.stop();
    let other = etcd.path("other").to_string_lossy().into_owned();
    let unsealed = own(&["snapshot", "restore", &raw, "--data-dir", &other]);
    let stderr = String::from_utf8_lossy(&unsealed.stderr).into_owned();
    assert!(stderr.contains("snapshot missing hash but --skip-hash-check=false"), "{stderr}");
    let skipped = own(&["snapshot", "restore", &raw, "--data-dir", &other, "--skip-hash-check"]);
    assert!(skipped.status.success(), "{skipped:?}");
}

#[test]
fn there_is_a_way_out_to_etcd() {
    let mut etcd = Etcd::start();
    fill(&etcd.endpoint());
    let mut new = TestCluster::plan(1);
    import_for(&mut new, &["--endpoint", &etcd.endpoint()]);
    etcd.stop();
    let ours = new.nodes[0].endpoint();
    etcdctl(&ours, &["put", "written", "here"]);
    etcdctl(&ours, &["del", "b"]);
    let before = seen(&ours);
    let path = |name: &str| etcd.path(name).to_string_lossy().into_owned();
    let export = |more: &[&str], out: &str| {
        let arguments = [&["ctl", "snapshot", "export", "--etcd", out], more].concat();
        let output = Command::new(NODE).args(arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let (live, saved, again) = (path("live"), path("saved"), path("again"));
    let told = export(&["--endpoint", &ours], &live);
    assert!(told.contains("history from 9 on"), "{told}");
    etcdctl(&ours, &["snapshot", "save", &saved]);
    export(&[&saved], &again);
    let status = |file: &str| etcdctl(&ours, &["snapshot", "status", file]);
    assert_eq!(status(&live), status(&again));
    let revision = before[0]["header"]["revision"].to_string();
    assert!(status(&live).contains(&format!(", {revision}, ")), "{}", status(&live));
    let back = Etcd::of(&live);
    assert_same(&before, &seen(&back.endpoint()), "etcd's own");
    assert_eq!(answers_of_compacted(&back.endpoint()), answers_of_compacted(&ours));
    let revision = before[0]["header"]["revision"].as_i64().unwrap();
    assert_eq!(json(&back.endpoint(), &["put", "more", "1"])["header"]["revision"].as_i64(), Some(revision + 1));
}
