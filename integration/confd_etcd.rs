//! The face `confd` beside a real etcd 3.4 with both of its APIs, and beside our own node. Needs Debian's etcd-server.

#![allow(clippy::unwrap_used)]

mod common;

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;

use common::{NODE, TestCluster, WITHIN, free_addresses, ok, wait_for};

/// Debian's etcd.
struct Etcd {
    child: Child,
    client: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Etcd {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let addresses = free_addresses(2);
        let (client, peer) = (format!("http://{}", addresses[0]), format!("http://{}", addresses[1]));
        let child = Command::new("/usr/bin/etcd")
            .args(["--name", "e", "--enable-v2", "--log-level", "error", "--data-dir"])
            .arg(folder.path())
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("e={peer}")])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let etcd = Self { child, client: addresses[0], _folder: folder };
        let up = || std::net::TcpStream::connect(etcd.client).ok();
        wait_for("etcd", Instant::now() + WITHIN, up);
        etcd
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn resources(folder: &Path) {
    std::fs::create_dir_all(folder.join("conf.d")).unwrap();
    std::fs::create_dir_all(folder.join("templates")).unwrap();
    let dest = folder.join("out").display().to_string();
    let text = format!("[template]\nsrc = \"x.tmpl\"\ndest = \"{dest}\"\nprefix = \"/app\"\nkeys = [\"/server\"]\n");
    std::fs::write(folder.join("conf.d/x.toml"), text).unwrap();
    std::fs::write(folder.join("templates/x.tmpl"), "{{range gets \"/server/*\"}}{{base .Key}}={{.Value}} {{end}}")
        .unwrap();
}

fn confd(folder: &Path, args: &str) -> Command {
    let mut command = Command::new(NODE);
    command.arg("confd").args(args.split_whitespace()).arg("-confdir").arg(folder);
    command.args(["-config-file", "/nonexistent"]).stdin(Stdio::null());
    command
}

fn once(folder: &Path, args: &str) -> Output {
    confd(folder, args).output().unwrap()
}

fn out(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("out")).unwrap_or_else(|_| "(none)".to_owned())
}

/// The same story by one API: missing, there, changed under watch.
fn story(node: SocketAddr, backend: &str, set: &dyn Fn(&str, Option<&str>), missing: Option<&str>) {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    resources(folder);
    let args = format!("-backend {backend} -node http://{node}");
    let first = once(folder, &format!("-onetime {args}"));
    let stderr = String::from_utf8_lossy(&first.stderr).into_owned();
    match missing {
        Some(words) => {
            assert_eq!(first.status.code(), Some(1), "{stderr}");
            assert!(
                stderr.contains(&format!("ERROR {words}")) && stderr.contains(&format!("FATAL {words}")),
                "{stderr}"
            );
            assert_eq!(out(folder), "(none)");
        }
        None => assert!(first.status.success() && out(folder).is_empty(), "{stderr}"),
    }
    set("/app/server/1", Some("a"));
    let second = once(folder, &format!("-onetime {args}"));
    assert!(second.status.success(), "{}", String::from_utf8_lossy(&second.stderr));
    assert_eq!(out(folder), "1=a ");
    let mut child = confd(folder, &format!("-watch {args}")).stderr(Stdio::null()).spawn().unwrap();
    let until = |expected: &str| {
        let looked = || (out(folder) == expected).then_some(());
        wait_for(&format!("{backend}: {expected}"), Instant::now() + WITHIN, looked);
    };
    set("/app/server/2", Some("b"));
    until("1=a 2=b ");
    set("/app/server/1", None);
    until("2=b ");
    set("/app/server/2", Some("c"));
    until("2=c ");
    common::terminate(child.id());
    assert!(child.wait().unwrap().success());
}

fn set(endpoint: &str, version: &str, key: &str, value: Option<&str>) {
    let words: Vec<&str> = match (version, value) {
        ("2", Some(value)) => vec!["set", key, value],
        ("2", None) => vec!["rm", key],
        (_, Some(value)) => vec!["put", key, value],
        (_, None) => vec!["del", key],
    };
    let output = Command::new(NODE)
        .arg("etcdctl")
        .args(["--endpoints", endpoint])
        .args(words)
        .env("ETCDCTL_API", version)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn both_apis_of_an_etcd_are_spoken() {
    let etcd = Etcd::start();
    let endpoint = format!("http://{}", etcd.client);
    story(etcd.client, "etcdv3", &|key, value| set(&endpoint, "3", key, value), None);
    // The stores of the two APIs are two: nothing of the other is seen.
    let missing = Some("100: Key not found (/app/server)");
    story(etcd.client, "etcd", &|key, value| set(&endpoint, "2", key, value), missing);
}

#[test]
fn a_node_of_ours_has_the_keys_of_both() {
    let cluster = TestCluster::start(1);
    let node = &cluster.nodes[0];
    let endpoint = node.endpoint();
    story(node.client, "etcd", &|key, value| set(&endpoint, "2", key, value), None);
    ok("etcdctl", &endpoint, &["del", "/app/server", "--prefix"]);
    story(node.client, "etcdv3", &|key, value| set(&endpoint, "3", key, value), None);
}

#[test]
fn nodes_that_do_not_answer_are_an_error() {
    let folder = tempfile::tempdir().unwrap();
    resources(folder.path());
    for backend in ["etcd", "etcdv3"] {
        let output = once(folder.path(), &format!("-onetime -backend {backend} -node http://127.0.0.1:1"));
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains("FATAL "), "{stderr}");
    }
}
