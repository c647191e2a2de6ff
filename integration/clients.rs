//! Published clients as they come, against three nodes of ours: the crate `etcd-client`, and the Python packages `etcd3` and
//! `python-etcd`, which speaks the v2 API.
//!
//! They are fetched and built at test time, under the target folder. Where a registry cannot be reached the test fails and says so.

#![allow(clippy::unwrap_used)]

mod common;

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{TestCluster, wait_for};

/// A client that says nothing for so long is stuck.
const ENDS_WITHIN: Duration = Duration::from_secs(120);

fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("integration/clients").join(path)
}

/// Where clients are built; what an earlier run has built is used again.
fn built(path: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clients");
    std::fs::create_dir_all(&folder).unwrap();
    folder.join(path)
}

fn must(command: &mut Command, remedy: &str) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; {remedy}"));
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}; {remedy}\n{said}", output.status);
}

/// A Python of its own with packages from PyPI. `marker` is there when all of them are.
fn python(name: &str, pip: &[&[&str]]) -> PathBuf {
    let (folder, marker) = (built(name), built(&format!("{name}.ready")));
    let python = folder.join("bin/python");
    let wanted = format!("{pip:?}");
    if std::fs::read_to_string(&marker).is_ok_and(|have| have == wanted) {
        return python;
    }
    must(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder), "python3 with venv is needed");
    for packages in pip {
        let mut command = Command::new(&python);
        command.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(*packages);
        must(&mut command, "PyPI must be reachable from here");
    }
    std::fs::write(marker, wanted).unwrap();
    python
}

/// A `protoc` for the crate's build: the one that is there, or that of the Python package grpcio-tools.
fn protoc() -> PathBuf {
    if let Some(given) = std::env::var_os("PROTOC") {
        return given.into();
    }
    if Command::new("protoc").arg("--version").output().is_ok_and(|output| output.status.success()) {
        return "protoc".into();
    }
    let python = python("protoc-python", &[&["grpcio-tools"]]);
    let wrapper = built("protoc");
    std::fs::write(&wrapper, format!("#!/bin/sh\nexec '{}' -m grpc_tools.protoc \"$@\"\n", python.display())).unwrap();
    must(Command::new("chmod").args(["+x"]).arg(&wrapper), "chmod is needed");
    wrapper
}

fn rust_client() -> Command {
    let target = built("rust");
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args(["build", "--locked", "--manifest-path"])
        .arg(source("rust/Cargo.toml"))
        .env("CARGO_TARGET_DIR", &target)
        .env("PROTOC", protoc());
    must(&mut cargo, "crates.io must be reachable from here");
    Command::new(target.join("debug/etcd-client-user"))
}

fn python_client() -> Command {
    let requirements = source("requirements.txt").display().to_string();
    let pip: [&[&str]; 2] =
        [&["setuptools==80.9.0", "wheel"], &["--no-build-isolation", "--requirement", &requirements]];
    let mut command = Command::new(python("etcd3-python", &pip));
    command.arg(source("etcd3_client.py")).env("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python");
    command
}

fn python_v2_client() -> Command {
    let requirements = source("python_etcd_requirements.txt").display().to_string();
    let pip: [&[&str]; 2] =
        [&["setuptools==80.9.0", "wheel"], &["--no-build-isolation", "--requirement", &requirements]];
    let mut command = Command::new(python("python-etcd", &pip));
    command.arg(source("python_etcd_client.py"));
    command
}

/// The number of the node that leads, by its own word.
fn leader(cluster: &TestCluster) -> usize {
    wait_for("a leader", Instant::now() + common::WITHIN, || {
        cluster.nodes.iter().position(|node| {
            let status = common::face("etcdctl", &node.endpoint(), &["endpoint", "status"]);
            let line = String::from_utf8_lossy(&status.stdout).into_owned();
            line.split(", ").nth(4) == Some("true")
        })
    })
}

/// Runs a client at a node that does not lead, and kills the leader while it watches.
fn goes_through(mut client: Command) {
    let mut cluster = TestCluster::start(3);
    let leading = leader(&cluster);
    let at = (leading + 1) % 3;
    let mut child = client
        .arg(cluster.nodes[at].client.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let (said, hears) = std::sync::mpsc::channel();
    std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| said.send(line)));
    let mut heard = Vec::new();
    while let Ok(line) = hears.recv_timeout(ENDS_WITHIN) {
        if line == "watching" {
            cluster.nodes[leading].kill_9();
            let _ = child.stdin.take().unwrap().write_all(b"go\n");
        }
        heard.push(line);
    }
    let _ = child.kill();
    let output = child.wait_with_output().unwrap();
    assert_eq!(heard, ["watching", "done"], "{}", String::from_utf8_lossy(&output.stderr));
    assert_ne!(leader(&cluster), leading);
}

#[test]
fn the_rust_crate_etcd_client() {
    goes_through(rust_client());
}

#[test]
fn the_python_package_etcd3() {
    goes_through(python_client());
}

#[test]
fn the_python_package_python_etcd() {
    goes_through(python_v2_client());
}
