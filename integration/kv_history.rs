//! `node ctl kv` against real nodes: keys as they were, who changed them, what differs, watches from the past.

#![allow(clippy::unwrap_used)]

mod common;

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use common::{NODE, TestCluster, TestNode, WITHIN, ok, wait_for};

fn kv(node: &TestNode, arguments: &[&str]) -> Command {
    let mut command = Command::new(NODE);
    command.args(["ctl", "kv"]).args(arguments).args(["--endpoint", &node.endpoint()]).stdin(Stdio::null());
    command
}

fn run(node: &TestNode, arguments: &[&str], code: i32) -> Output {
    let output = kv(node, arguments).output().unwrap();
    let both = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{both}");
    output
}

fn said(node: &TestNode, arguments: &[&str]) -> String {
    String::from_utf8(run(node, arguments, 0).stdout).unwrap()
}

fn refused(node: &TestNode, arguments: &[&str], code: i32) -> String {
    String::from_utf8(run(node, arguments, code).stderr).unwrap()
}

fn json(node: &TestNode, arguments: &[&str]) -> serde_json::Value {
    let text = said(node, &[arguments, &["--output", "json"]].concat());
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn the_past_is_told_by_any_node_until_it_is_compacted() {
    let mut cluster = TestCluster::start(3);
    let [first, second, third] = &cluster.nodes[..] else { panic!("three nodes") };
    // Revisions 2 to 5.
    assert_eq!(said(first, &["put", "/app/port", "8080"]), "revision 2\n");
    ok("etcdctl", &second.endpoint(), &["put", "/app/host", "a"]);
    ok("etcdctl", &third.endpoint(), &["put", "/app/port", "9090"]);
    assert_eq!(said(second, &["del", "/app/host"]), "deleted 1, revision 5\n");

    assert_eq!(said(second, &["get", "/app/port", "--value-only"]), "9090\n");
    assert_eq!(said(second, &["get", "/app/port", "--rev", "2", "--value-only"]), "8080\n");
    assert!(refused(third, &["get", "/app/host"], 1).contains("no key /app/host"));
    assert!(refused(third, &["get", "/app/port", "--at", "1 hour ago"], 1).contains("no key /app/port"));
    let then = json(third, &["get", "/app", "--prefix", "--rev", "3"]);
    let values: Vec<_> = then["changes"].as_array().unwrap().iter().map(|change| &change["value"]).collect();
    assert_eq!(values, ["a", "8080"]);
    // The time at which a revision was made is a moment too.
    let made = then["at"]["time"].as_str().unwrap().to_owned();
    assert_eq!(json(first, &["get", "/app/port", "--at", &made])["changes"][0]["value"], "8080");

    let history = said(first, &["history", "/app/port"]);
    let words: Vec<Vec<&str>> = history.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(words.len(), 2, "{history}");
    for (words, expected) in words.iter().zip([["4", "put", "9090"], ["2", "create", "8080"]]) {
        assert_eq!([words[0], words[3], words[6]], expected, "{history}");
        assert!(words[1].starts_with("20") && words[2] == "-" && words[4] == "/app/port", "{history}");
    }
    let expired = said(third, &["history", "/app/host"]);
    assert!(expired.contains("delete  /app/host\n") && expired.contains("create  /app/host = a"), "{expired}");

    let diff = said(second, &["diff", "3", "now", "/app"]);
    assert!(diff.contains("- /app/host = a  (revision 5, "), "{diff}");
    assert!(diff.contains("~ /app/port = 8080 -> 9090  (revision 4, "), "{diff}");
    assert!(!said(second, &["diff", "3", "now", "/other"]).contains("/app"));
    assert!(refused(second, &["diff", "4", "3"], 1).contains("earlier moment first"));
    assert!(refused(second, &["diff", "4"], 2).contains("diff FROM TO"));

    watch_from_the_past(second, &made);

    // A clock or a crash does not take the times away.
    cluster.nodes[2].kill_9();
    cluster.nodes[2].start();
    cluster.nodes[2].wait_until_it_serves();
    let (first, third) = (&cluster.nodes[0], &cluster.nodes[2]);
    assert_eq!(json(third, &["history", "/app/port"]), json(first, &["history", "/app/port"]));

    ok("etcdctl", &first.endpoint(), &["compaction", "4"]);
    for gone in
        [&["get", "/app/port", "--rev", "3"][..], &["get", "/app/port", "--at", "1 day ago"], &["diff", "2", "now"]]
    {
        let why = refused(third, gone, 1);
        assert!(
            why.contains("history is kept since revision 4 (20") && why.contains("history_keep"),
            "{gone:?}: {why}"
        );
    }
    assert!(refused(third, &["watch", "/app/port", "--from", "3"], 1).contains("history is kept since"));
    assert_eq!(said(third, &["get", "/app/port", "--rev", "4", "--value-only"]), "9090\n");
}

/// What happened since, then what happens now.
fn watch_from_the_past(node: &TestNode, since: &str) {
    let mut child = kv(node, &["watch", "/app", "--prefix", "--from", since]).stdout(Stdio::piped()).spawn().unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    let reader = std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| tell.send(line)));
    let mut lines = Vec::new();
    let mut until = |count: usize| {
        let deadline = Instant::now() + WITHIN;
        wait_for("the watch's lines", deadline, || {
            lines.extend(told.try_iter());
            (lines.len() >= count).then(|| lines.clone())
        })
    };
    let past = until(2);
    assert!(past[0].contains("put     /app/port = 9090") && past[1].contains("delete  /app/host"), "{past:?}");
    ok("etcdctl", &node.endpoint(), &["put", "/app/new", "1"]);
    let all = until(3);
    assert!(all[2].contains("create  /app/new = 1"), "{all:?}");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(reader.join().is_ok());
}
