//! `node ctl apply`, `rollback` and `history` on real nodes: units replaced one after the other, held to their health, and
//! taken back. Units run as processes.

#![allow(clippy::unwrap_used)]

mod common;

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use common::{NODE, TestCluster, main_pid, ok, text, wait_for_ok};

fn ctl(cluster: &TestCluster, arguments: &[&str]) -> Output {
    let endpoint = cluster.nodes[0].endpoint();
    Command::new(NODE)
        .arg("ctl")
        .args(arguments)
        .env("NODE_CTL_ENDPOINT", endpoint)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// Runs a command that must end with this code; what it printed, both streams.
fn ctl_ends(cluster: &TestCluster, code: i32, arguments: &[&str]) -> String {
    let output = ctl(cluster, arguments);
    let text = text(&output);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}:\n{text}");
    text
}

fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join(name), text).unwrap();
    folder.join(name)
}

fn sleeper(what: &str, more: &str) -> String {
    format!("[Service]\nExecStart=/bin/sh -c 'echo {what}; exec sleep 10000'\n{more}")
}

fn texts(cluster: &TestCluster, units: &[&str]) -> Vec<String> {
    let endpoint = cluster.nodes[0].endpoint();
    let word = |unit: &&str| {
        let text = ok("fleetctl", &endpoint, &["cat", unit]);
        text.split("echo ").nth(1).unwrap_or_default().split(';').next().unwrap_or_default().to_owned()
    };
    units.iter().map(word).collect()
}

/// The process of each instance.
fn running(cluster: &TestCluster, units: &[&str]) -> Vec<u32> {
    let endpoint = cluster.nodes[0].endpoint();
    units.iter().map(|unit| main_pid(&endpoint, unit)).collect()
}

/// `apply` of a folder, with short waits and more flags.
fn apply<'a>(folder: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["apply", "--settle", "0.2", "--timeout", "60", folder], more].concat()
}

const UNITS: [&str; 3] = ["web@1.service", "web@2.service", "web@3.service"];

#[test]
fn units_are_applied_replaced_and_taken_back() {
    let cluster = TestCluster::start(1);
    let folder = cluster.folder.path().join("units");
    write(&folder, "web@.service", &sleeper("one", ""));
    for unit in UNITS {
        std::os::unix::fs::symlink("web@.service", folder.join(unit)).unwrap();
    }
    let dir = folder.to_string_lossy().into_owned();

    let plan = ctl_ends(&cluster, 0, &apply(&dir, &["--dry-run"]));
    assert!(plan.contains("+ create  web@1.service (launched)") && plan.contains("as web@.service"), "{plan}");
    assert!(!ok("fleetctl", &cluster.nodes[0].endpoint(), &["list-unit-files"]).contains("web@"));
    let told = ctl_ends(&cluster, 0, &apply(&dir, &[]));
    assert!(told.contains("revision 1 begins: 4 units") && told.contains("revision 1 is done"), "{told}");
    let first = running(&cluster, &UNITS);
    assert!(ctl_ends(&cluster, 0, &apply(&dir, &[])).contains("nothing to change"));
    assert_eq!(running(&cluster, &UNITS), first);

    write(&folder, "web@.service", &sleeper("two", "[X-Fleet]\nHealthCmd=/bin/test %i -lt 9\n"));
    let told = ctl_ends(&cluster, 0, &apply(&dir, &[]));
    assert!(told.contains("~ change  web@3.service") && told.contains("+ExecStart"), "{told}");
    assert_eq!(texts(&cluster, &UNITS), ["two", "two", "two"]);
    let second = running(&cluster, &UNITS);
    assert!(second.iter().all(|pid| !first.contains(pid)));

    // The check fails for the second instance: the first goes back too, the third is never touched.
    write(&folder, "web@.service", &sleeper("three", "[X-Fleet]\nHealthCmd=test %i -ne 2 || { echo sick; exit 4; }\n"));
    let told = ctl_ends(&cluster, 1, &apply(&dir, &["--timeout", "5"]));
    assert!(
        told.contains("web@2.service on ") && told.contains("not well within 5 s: unhealthy: exit status 4: sick"),
        "{told}"
    );
    assert_eq!(texts(&cluster, &UNITS), ["two", "two", "two"]);
    let third = running(&cluster, &UNITS);
    assert_eq!(third[2], second[2], "the third was replaced");

    let told = ctl_ends(&cluster, 0, &["rollback", "--settle", "0"]);
    assert!(told.contains("revision 4 is done"), "{told}");
    assert_eq!(texts(&cluster, &UNITS), ["one", "one", "one"]);
    let history = ctl_ends(&cluster, 0, &["history"]);
    let lines: Vec<&str> = history.lines().collect();
    assert_eq!(lines.len(), 5, "{history}");
    assert!(lines[1].starts_with("4\t") && lines[1].contains("back to 1: "), "{history}");
    assert!(lines[2].starts_with("3\t") && lines[2].contains("taken back: web@2.service"), "{history}");
    assert!(ctl_ends(&cluster, 0, &["history", "2"]).contains("-ExecStart=/bin/sh -c 'echo one"));

    // What the set no longer has goes, what it never had stays.
    ok(
        "fleetctl",
        &cluster.nodes[0].endpoint(),
        &["submit", &write(cluster.folder.path(), "own.service", "[Service]\nExecStart=/bin/true\n").to_string_lossy()],
    );
    std::fs::remove_file(folder.join("web@3.service")).unwrap();
    write(&folder, "web@.service", &sleeper("one", ""));
    assert!(!ctl_ends(&cluster, 0, &apply(&dir, &["--dry-run"])).contains("- remove"));
    ctl_ends(&cluster, 0, &apply(&dir, &["--prune"]));
    let left = ok("fleetctl", &cluster.nodes[0].endpoint(), &["list-unit-files", "--no-legend", "--fields", "unit"]);
    assert_eq!(left, "own.service\nweb@.service\nweb@1.service\nweb@2.service\n");
    for (line, code) in
        [("history 77", 1), ("rollback x", 2), ("apply", 2), ("apply /nowhere", 1), ("apply --bogus x", 2)]
    {
        let words: Vec<&str> = line.split(' ').collect();
        ctl_ends(&cluster, code, &words);
    }
}

/// Answers requests for `/VERSION/2` as a service that is not well if the version is `bad`, others as one that is.
fn health_of_versions() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let asked = lines.next().and_then(Result::ok).unwrap_or_default();
            // The rest of the head; a client that has gone is not told anything.
            lines.map_while(Result::ok).find(String::is_empty);
            let status = if asked.starts_with("GET /bad/2 ") { "503 Service Unavailable" } else { "204 No Content" };
            let _ = write!(stream, "HTTP/1.1 {status}\r\nConnection: close\r\n\r\n");
        }
    });
    address
}

#[test]
fn an_http_answer_holds_an_apply_back() {
    let cluster = TestCluster::start(1);
    let folder = cluster.folder.path().join("units");
    let dir = folder.to_string_lossy().into_owned();
    let health = health_of_versions();
    let template = |version: &str| {
        let check = format!("[X-Fleet]\nHealthHttp=http://{health}/{version}/%i\n");
        write(&folder, "web@.service", &sleeper(version, &check));
    };
    template("good");
    for unit in UNITS {
        std::os::unix::fs::symlink("web@.service", folder.join(unit)).unwrap();
    }
    ctl_ends(&cluster, 0, &apply(&dir, &[]));
    template("better");
    ctl_ends(&cluster, 0, &apply(&dir, &[]));
    let well = running(&cluster, &UNITS);

    // The second instance answers with 503: the first goes back too, the third is never touched.
    template("bad");
    let told = ctl_ends(&cluster, 1, &apply(&dir, &["--timeout", "5"]));
    assert!(told.contains("web@2.service on ") && told.contains("not well within 5 s: unhealthy: "), "{told}");
    assert!(told.contains("503"), "{told}");
    assert_eq!(texts(&cluster, &UNITS), ["better", "better", "better"]);
    let now = running(&cluster, &UNITS);
    assert!(now[0] != well[0] && now[1] != well[1] && now[2] == well[2], "{well:?} {now:?}");
}

#[test]
fn an_apply_outlives_its_client_and_the_leader() {
    let mut cluster = TestCluster::start(3);
    let folder = cluster.folder.path().join("units");
    let dir = folder.to_string_lossy().into_owned();
    let all = ["g.service", "a.service", "b.service"];
    let write_all = |what: &str| {
        write(&folder, "g.service", &sleeper(what, "[X-Fleet]\nGlobal=true\n"));
        write(&folder, "a.service", &sleeper(what, ""));
        write(&folder, "b.service", &sleeper(what, ""));
    };
    write_all("one");
    ctl_ends(&cluster, 0, &["apply", "--settle", "0", &dir]);
    write_all("two");
    let told = ctl_ends(&cluster, 0, &["apply", "--settle", "3", "--no-block", &dir]);
    assert!(told.contains("revision 2 begins"), "{told}");
    // Others have to wait; the same is followed.
    let other = write(&cluster.folder.path().join("other"), "x.service", &sleeper("x", ""));
    let refused = ctl_ends(&cluster, 1, &["apply", &other.to_string_lossy()]);
    assert!(refused.contains("revision 2 of ") && refused.contains("is under way"), "{refused}");
    let told = ctl_ends(&cluster, 0, &["apply", "--no-block", &dir]);
    assert!(told.contains("revision 2 is under way already"), "{told}");

    // The leader dies; another goes on. Node 1 is the one that is asked.
    let status = ctl_ends(&cluster, 0, &["status"]);
    let leader = status.lines().find_map(|line| line.strip_prefix("leader    ")).unwrap()[..2].to_owned();
    if leader != "n1" {
        cluster.nodes.iter_mut().find(|node| node.name == leader).unwrap().kill_9();
    }
    let told = wait_for_ok("the end of the apply", || ctl(&cluster, &["apply", &dir]));
    assert!(told.contains("revision 2 is done") || told.contains("nothing to change"), "{told}");
    assert_eq!(texts(&cluster, &all), ["two", "two", "two"]);
    assert!(ctl_ends(&cluster, 0, &["history"]).lines().nth(1).unwrap().contains("\tdone\t"));
}
