//! `node ctl doctor` beside real nodes: nothing where all is well, a killed member and a unit without a place by name.

#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;

use common::doctor::{plan, visit};
use common::{TestNode, face, ok};

/// Waits for a visit that ends with `code` and says all of these.
#[track_caller]
fn says(node: &TestNode, code: i32, expected: &[&str]) -> String {
    visit(&["--endpoint", &node.endpoint()], code, expected)
}

fn unit(folder: &Path, name: &str, more: &str) -> String {
    let file = folder.join(name);
    std::fs::write(&file, format!("[Service]\nExecStart=/bin/sleep 1000\n{more}")).unwrap();
    file.display().to_string()
}

#[test]
fn what_is_wrong_is_named_with_its_remedy_and_a_healthy_cluster_has_nothing() {
    let mut cluster = plan(3);
    cluster.nodes.iter_mut().for_each(TestNode::start);
    cluster.nodes.iter_mut().for_each(TestNode::wait_until_it_serves);
    let endpoint = cluster.nodes[0].endpoint();
    let folder = cluster.folder.path().to_owned();
    ok("fleetctl", &endpoint, &["start", &unit(&folder, "fits.service", "")]);
    says(&cluster.nodes[0], 0, &["nothing is wrong; 3 members and 1 units were looked at"]);

    let nowhere = unit(&folder, "nowhere.service", "[X-Fleet]\nMachineMetadata=disk=tape\n");
    ok("fleetctl", &endpoint, &["start", "--no-block", &nowhere]);
    let text = says(
        &cluster.nodes[1],
        1,
        &["nowhere.service fits on no machine", "disk", "`node ctl explain nowhere.service`"],
    );
    assert!(!text.contains("fits.service fits"), "{text}");
    ok("fleetctl", &endpoint, &["destroy", "nowhere.service"]);
    says(&cluster.nodes[2], 0, &["nothing is wrong"]);

    let url = cluster.nodes[2].endpoint();
    cluster.nodes[2].kill_9();
    let away = format!("n3 ({url}) does not answer");
    says(&cluster.nodes[0], 1, &[&away, "remedy: on that machine", "the quorum is thin: 2 of 3 voters"]);
    let url = cluster.nodes[1].endpoint();
    cluster.nodes[1].kill_9();
    says(&cluster.nodes[0], 1, &[&format!("n2 ({url}) does not answer"), &away, "there is no quorum: 1 of 3"]);
    cluster.nodes[1].start();
    cluster.nodes[2].start();
    says(&cluster.nodes[0], 0, &["nothing is wrong"]);
}

#[test]
fn a_certificate_that_cannot_be_read_is_named() {
    let mut cluster = plan(1);
    let node = &mut cluster.nodes[0];
    node.more.extend(["--client-auto-tls".to_owned(), "true".to_owned()]);
    node.start();
    node.wait_until_it_serves();
    let url = format!("https://{}", node.client);
    let flags = ["--endpoint", &url, "--insecure-skip-tls-verify"];
    visit(&flags, 0, &["nothing is wrong"]);
    let certificate = node.data_dir().join("certificates/client/cert.pem");
    assert!(certificate.exists());
    std::fs::write(&certificate, "no certificate").unwrap();
    visit(&flags, 1, &["a certificate of n1 cannot be read"]);
}

#[test]
fn command_lines() {
    let output = face("ctl", "", &["doctor", "house"]);
    assert_eq!(output.status.code(), Some(2));
    let output = face("ctl", "", &["doctor", "--endpoint", "http://127.0.0.1:1"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("127.0.0.1:1"));
    assert!(ok("ctl", "", &["doctor", "--help"]).contains("exit code is 1"));
}
