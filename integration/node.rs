//! The binary as a user meets it: starts, refusals, restarts. One machine, loopback, units as processes.

#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use common::{
    NODE, TestCluster, TestNode, WITHIN, face, free_addresses, main_pid, ok, runs_with_argument, terminate, wait_for,
};

/// Runs a node that is to refuse, and gives back how it did; one that does not end by itself is a failure.
fn refusal(node: &TestNode) -> Output {
    let mut child = node.command().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + WITHIN;
    let ended = loop {
        match child.try_wait().unwrap() {
            Some(_) => break true,
            None if Instant::now() > deadline => break false,
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    if !ended {
        child.kill().unwrap();
    }
    let output = child.wait_with_output().unwrap();
    assert!(ended, "it went on instead of refusing:\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(!output.status.success(), "it ended with {}", output.status);
    output
}

fn says(output: &Output, expected: &[&str]) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    for words in expected {
        assert!(stderr.contains(words), "not said: {words}\nbut:\n{stderr}");
    }
}

#[test]
fn version_and_help() {
    let print = |arguments: &[&str]| {
        let output = Command::new(NODE).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", output.status);
        String::from_utf8(output.stdout).unwrap()
    };
    let version = print(&["--version"]);
    for feature in ["scheduler", "systemd", "template", "api", "cloudinit"] {
        assert!(version.contains(feature), "{version}");
    }
    for face in [
        &["--help"][..],
        &["run", "--help"],
        &["dev", "--help"],
        &["ctl", "--help"],
        &["fleetctl", "--help"],
        &["etcdctl", "--help"],
        &["confd", "--help"],
        &["cloudinit", "--help"],
    ] {
        let help = print(face);
        assert!(help.contains("$ "), "{face:?} teaches by no example:\n{help}");
    }
    let unknown = Command::new(NODE).arg("nonsense").output().unwrap();
    assert_eq!(unknown.status.code(), Some(2));
}

#[test]
fn a_config_with_an_unknown_key_is_refused_with_all_its_mistakes() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("node.toml");
    std::fs::write(&file, "nmae = \"a\"\n[client]\nlisten = \"nowhere\"\n").unwrap();
    for arguments in [&["run"][..], &["config", "check"]] {
        let output = Command::new(NODE).args(arguments).arg("--config").arg(&file).output().unwrap();
        assert_eq!(output.status.code(), Some(78), "{arguments:?}");
        says(
            &output,
            &["2 mistakes", "node.toml:1: unknown key `nmae`; did you mean `name`?", "node.toml:3: `client.listen`"],
        );
    }
}

#[test]
fn a_port_in_use_is_refused() {
    let cluster = TestCluster::start(1);
    let first = &cluster.nodes[0];
    let addresses = free_addresses(2);
    let initial = format!("x=http://{}", addresses[0]);
    let twin = TestNode::new(&cluster.folder.path().join("twin"), "x", addresses[0], first.client, &initial);
    says(&refusal(&twin), &["client.listen", &first.client.to_string(), "in use"]);
    let initial = format!("x=http://{}", first.peer);
    let twin = TestNode::new(&cluster.folder.path().join("twin2"), "x", first.peer, addresses[1], &initial);
    says(&refusal(&twin), &["peer.listen", &first.peer.to_string(), "in use"]);
    ok("etcdctl", &first.endpoint(), &["put", "still", "there"]);
}

#[test]
fn a_node_on_a_leash_ends_when_asked_to_and_when_the_leash_does() {
    for asked in [true, false] {
        let cluster = TestCluster::plan(1);
        let node = &cluster.nodes[0];
        let mut child = Command::new(NODE)
            .args(["run", "--leash"])
            .args(node.command().get_args().skip(1))
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let leash = child.stdin.take();
        let deadline = Instant::now() + WITHIN;
        wait_for("the doors to open", deadline, || std::net::TcpStream::connect(node.client).ok());
        if asked {
            terminate(child.id());
        } else {
            drop(leash);
        }
        let status = wait_for("the node to end", deadline, || child.try_wait().unwrap());
        assert!(status.success(), "{status}");
    }
}

#[test]
fn a_damaged_data_directory_is_refused_and_left_as_it_is() {
    let mut cluster = TestCluster::start(1);
    let node = &mut cluster.nodes[0];
    for number in 0..50 {
        ok("etcdctl", &node.endpoint(), &["put", &format!("k{number}"), &"v".repeat(200)]);
    }
    node.terminate();
    for (pattern, at) in [("wal", 0.05), ("state", 0.0)] {
        let file = largest_file(&node.data_dir(), pattern);
        let good = std::fs::read(&file).unwrap();
        let mut bad = good.clone();
        let start = ((good.len() as f64 * at) as usize).min(4096);
        let end = (start + 64).min(bad.len());
        bad[start..end].iter_mut().for_each(|byte| *byte ^= 0x5a);
        std::fs::write(&file, &bad).unwrap();
        let output = refusal(node);
        says(&output, &[&node.data_dir().to_string_lossy()]);
        assert_eq!(std::fs::read(&file).unwrap(), bad, "the damaged file was changed");
        std::fs::write(&file, &good).unwrap();
    }
    node.start();
    node.wait_until_it_serves();
    assert!(ok("etcdctl", &node.endpoint(), &["get", "k49"]).starts_with("k49\n"));
}

fn largest_file(data_dir: &Path, pattern: &str) -> std::path::PathBuf {
    let mut found = Vec::new();
    let mut folders = vec![data_dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let path = entry.path();
            match path.is_dir() {
                true => folders.push(path),
                false if path.strip_prefix(data_dir).unwrap().to_string_lossy().contains(pattern) => {
                    found.push((entry.metadata().unwrap().len(), path));
                }
                false => {}
            }
        }
    }
    found.into_iter().max().unwrap_or_else(|| panic!("no file of {pattern} in {}", data_dir.display())).1
}

#[test]
fn a_peer_of_another_cluster_is_refused_and_named() {
    let mut cluster = TestCluster::plan(2);
    cluster.nodes[1].more = vec!["--cluster-token=other".to_owned()];
    cluster.nodes.iter_mut().for_each(TestNode::start);
    let deadline = Instant::now() + WITHIN;
    wait_for("both to tell of the other's cluster", deadline, || {
        let told = |node: &TestNode| node.log().contains("cluster");
        cluster.nodes.iter().all(told).then_some(())
    });
    let answer = face("etcdctl", &cluster.nodes[0].endpoint(), &["put", "a", "b", "--command-timeout=10s"]);
    assert!(!answer.status.success());
}

#[test]
fn a_second_node_with_the_same_machine_id_is_refused() {
    let mut cluster = TestCluster::plan(3);
    cluster.nodes[2].machine_id = cluster.nodes[0].machine_id.clone();
    for node in &mut cluster.nodes[..2] {
        node.start();
    }
    for node in &mut cluster.nodes[..2] {
        node.wait_until_it_serves();
    }
    let endpoint = cluster.nodes[0].endpoint();
    let (file, starts) = (cluster.folder.path().join("once.service"), cluster.folder.path().join("starts"));
    let line = format!("echo started >>{}; exec sleep infinity", starts.display());
    let text = format!("[Service]\nExecStart=/bin/sh -c '{line}'\n[X-Fleet]\nMachineMetadata=node=n1\n");
    std::fs::write(&file, text).unwrap();
    ok("fleetctl", &endpoint, &["start", &file.to_string_lossy()]);
    let output = refusal(&cluster.nodes[2]);
    says(&output, &["machine-id", &cluster.nodes[0].machine_id, "/etc/machine-id"]);
    assert_eq!(std::fs::read_to_string(&starts).unwrap(), "started\n", "the second node ran the first one's unit");
    let machines = ok("fleetctl", &cluster.nodes[0].endpoint(), &["list-machines", "--full", "--no-legend"]);
    assert_eq!(machines.lines().count(), 2, "{machines}");
}

#[test]
fn a_unit_file_with_a_broken_line_is_refused() {
    let cluster = TestCluster::start(1);
    let file = cluster.folder.path().join("bad.service");
    std::fs::write(&file, "[Service]\nExecStart=/bin/true\nthis line is broken\n").unwrap();
    let output = face("fleetctl", &cluster.nodes[0].endpoint(), &["submit", &file.to_string_lossy()]);
    assert_eq!(output.status.code(), Some(1));
    says(&output, &["bad.service", "3", "this line is broken"]);
    assert_eq!(ok("fleetctl", &cluster.nodes[0].endpoint(), &["list-unit-files", "--no-legend"]), "");
}

#[test]
fn restarts_and_kills_of_the_node_leave_units_alone() {
    let mut cluster = TestCluster::start(1);
    let file = cluster.folder.path().join("long.service");
    std::fs::write(&file, "[Service]\nExecStart=/bin/sh -c 'echo pid is $$$$; exec sleep infinity'\n").unwrap();
    let endpoint = cluster.nodes[0].endpoint();
    ok("fleetctl", &endpoint, &["start", &file.to_string_lossy()]);
    let before = main_pid(&endpoint, "long.service");
    for round in 0..4 {
        let node = &mut cluster.nodes[0];
        match round % 2 {
            0 => assert!(node.terminate().success()),
            _ => node.kill_9(),
        }
        assert!(Path::new(&format!("/proc/{before}")).exists(), "the unit's process is gone");
        node.start();
        node.wait_until_it_serves();
        let deadline = Instant::now() + WITHIN;
        wait_for("the unit to be shown again", deadline, || {
            ok("fleetctl", &endpoint, &["list-units", "--no-legend"]).contains("running").then_some(())
        });
        assert_eq!(main_pid(&endpoint, "long.service"), before, "the unit was started again");
    }
    let journal = ok("fleetctl", &endpoint, &["journal", "--lines=100", "long.service"]);
    assert_eq!(journal.matches("pid is").count(), 1, "{journal}");
    ok("fleetctl", &endpoint, &["destroy", "long.service"]);
    let deadline = Instant::now() + WITHIN;
    wait_for("the unit's end", deadline, || (!Path::new(&format!("/proc/{before}")).exists()).then_some(()));
}

#[test]
fn a_node_whose_log_cannot_be_written_goes_on() {
    let mut cluster = TestCluster::plan(1);
    let node = &mut cluster.nodes[0];
    node.start_with_log(std::fs::File::options().write(true).open("/dev/full").unwrap());
    node.wait_until_it_serves();
    ok("etcdctl", &node.endpoint(), &["put", "a", "1"]);
    assert!(node.terminate().success());
}

#[test]
fn output_that_cannot_be_written_ends_a_tool_in_good_order() {
    let full = || std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = Command::new(NODE).arg("--help").stdout(full()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    says(&output, &["cannot write to stdout: No space left on device"]);

    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = Command::new(NODE).arg("--help").stdout(writer).output().unwrap();
    assert_eq!(output.status.code(), Some(141));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");

    let both = Command::new(NODE).args(["run", "--nonsense"]).stdout(full()).stderr(full()).status().unwrap();
    assert_eq!(both.code(), Some(1));
}

#[test]
fn dev_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let env = folder.path().join("env");
    let unit = folder.path().join("left.service");
    // The marker makes the unit's process findable.
    let marker = format!("{}", rand::random::<u32>() as f64 / 8.0 + 1e6);
    std::fs::write(&unit, format!("[Service]\nExecStart=/bin/sleep {marker}\n")).unwrap();
    let mut dev =
        Command::new(NODE).args(["dev", "--nodes", "1", "--env"]).arg(&env).stdout(Stdio::null()).spawn().unwrap();
    wait_for("the cluster", Instant::now() + WITHIN, || env.exists().then_some(()));
    let text = std::fs::read_to_string(&env).unwrap();
    let value =
        |name: &str| text.lines().find_map(|line| line.strip_prefix(&format!("export {name}="))).unwrap().to_owned();
    let data = value("NODE_DEV_DIR");
    ok("fleetctl", &value("FLEETCTL_ENDPOINT"), &["start", &unit.to_string_lossy()]);
    assert!(runs_with_argument(&marker));
    terminate(dev.id());
    assert!(dev.wait().unwrap().success());
    assert!(!runs_with_argument(&marker), "the unit goes on");
    assert!(!Path::new(&data).exists() && !env.exists());
}
