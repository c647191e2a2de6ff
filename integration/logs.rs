//! What keys hold, what units print and what people log in with is in no log, however much it is asked to tell.

#![allow(clippy::unwrap_used)]

mod common;

use std::time::Instant;

use common::{TestCluster, TestNode, WITHIN, face, http, ok, wait_for};

/// Stands in every value, and in the output of the unit.
const PLANTED: &str = "planted-5a1f0c77";
/// The same as the JSON gateway has it.
const CODED: &str = "cGxhbnRlZC01YTFmMGM3Nw";

#[test]
fn nothing_that_a_key_holds_or_a_unit_prints_is_logged() {
    let mut cluster = TestCluster::plan(3);
    for node in &mut cluster.nodes {
        node.more.extend(["--log-level", "trace"].map(str::to_owned));
        node.start();
    }
    cluster.nodes.iter_mut().for_each(TestNode::wait_until_it_serves);
    let endpoints: Vec<String> = cluster.nodes.iter().map(TestNode::endpoint).collect();
    let etcdctl = |endpoint: &str, words: &[&str]| {
        ok("etcdctl", endpoint, &[&["--command-timeout", "60s"], words].concat());
    };
    for endpoint in &endpoints {
        etcdctl(endpoint, &["put", "a", PLANTED]);
        etcdctl(endpoint, &["get", "a"]);
        http("PUT", &format!("{endpoint}/v2/keys/b"), &format!("value={PLANTED}"));
        http("PUT", &format!("{endpoint}/v2/keys/b?prevValue={PLANTED}"), &format!("value={PLANTED}2"));
        http("POST", &format!("{endpoint}/v3/kv/put"), &format!(r#"{{"key":"YQ==","value":"{CODED}"}}"#));
        ok("ctl", endpoint, &["kv", "history", "a", "--endpoint", endpoint]);
    }
    // Refusals name what is wrong, not what was said.
    http("POST", &format!("{}/v3/kv/put", endpoints[0]), &format!(r#"{{"key":"YQ==","value":["{CODED}"]}}"#));
    face("etcdctl", &endpoints[0], &["put", "", PLANTED]);
    let unit = cluster.folder.path().join("prints.service");
    let text = format!(
        "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sh -c 'echo {PLANTED}; echo {PLANTED} >&2'\n"
    );
    std::fs::write(&unit, text).unwrap();
    ok("fleetctl", &endpoints[0], &["start", unit.to_str().unwrap()]);
    let printed = || ok("fleetctl", &endpoints[1], &["journal", "prints.service"]).contains(PLANTED).then_some(());
    wait_for("the unit's output", Instant::now() + WITHIN, printed);
    etcdctl(&endpoints[0], &["user", "add", &format!("root:{PLANTED}")]);
    etcdctl(&endpoints[0], &["user", "grant-role", "root", "root"]);
    etcdctl(&endpoints[0], &["auth", "enable"]);
    let login = format!("root:{PLANTED}");
    etcdctl(&endpoints[1], &["--user", &login, "get", "a"]);
    ok("fleetctl", &endpoints[2], &["--username", &login, "list-units"]);
    for node in &cluster.nodes {
        let log = node.log();
        assert!(log.contains("TRACE") || log.contains("DEBUG"), "{} says little", node.name);
        let told = log.lines().find(|line| line.contains(PLANTED) || line.contains(CODED));
        // The unit's text is no secret; a log has no reason to repeat it for all that.
        assert_eq!(told, None, "{}", node.name);
    }
}
