//! `node ctl doctor` beside real nodes: nothing where all is well, a killed member and a unit without a place by name.

#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;
use std::time::{Duration, Instant};

use common::{TestCluster, TestNode, face, ok, wait_for};

/// States settle: what is to be seen comes within this.
const SEEN_WITHIN: Duration = Duration::from_secs(60);

/// `count` nodes to which the disk that the tests run on is no matter: however full it is, and slow while others use it.
fn plan(count: usize) -> TestCluster {
    let mut cluster = TestCluster::plan(count);
    let flags =
        "--disk-warn-percent 100 --disk-full-percent 100 --disk-free-min 0 --heartbeat-ms 400 --election-ms 2000";
    for node in &mut cluster.nodes {
        node.more.extend(flags.split(' ').map(str::to_owned));
    }
    cluster
}

/// What the doctor prints, and its exit code.
fn doctor(node: &TestNode) -> (String, Option<i32>) {
    let output = face("ctl", "", &["doctor", "--endpoint", &node.endpoint()]);
    let text = [output.stdout, output.stderr].concat();
    (String::from_utf8_lossy(&text).into_owned(), output.status.code())
}

/// Waits for a visit that ends with `code` and says all of these.
fn says(node: &TestNode, code: i32, expected: &[&str]) -> String {
    let mut last = String::new();
    let deadline = Instant::now() + SEEN_WITHIN;
    loop {
        let (text, ended) = doctor(node);
        if ended == Some(code) && expected.iter().all(|part| text.contains(part)) {
            return text;
        }
        assert!(Instant::now() < deadline, "not said: {expected:?} with {code}, but {ended:?}:\n{text}");
        if last != text {
            eprintln!("the doctor said:\n{text}");
            last = text;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
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
    let visit = |expected: &str, code: i32| {
        wait_for(expected, Instant::now() + SEEN_WITHIN, || {
            let url = format!("https://{}", node.client);
            let output = face("ctl", "", &["doctor", "--endpoint", &url, "--insecure-skip-tls-verify"]);
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            (output.status.code() == Some(code) && text.contains(expected)).then_some(())
        });
    };
    visit("nothing is wrong", 0);
    let certificate = node.data_dir().join("certificates/client/cert.pem");
    assert!(certificate.exists());
    std::fs::write(&certificate, "no certificate").unwrap();
    visit("a certificate of n1 cannot be read", 1);
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
