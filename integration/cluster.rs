//! Three nodes under the worst of days: killed all at once while they write, left without a quorum, asked by old clients.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{NODE, TestCluster, WITHIN, face, main_pid, ok, wait_for, wait_for_ok};
use corenode::net::Address;
use corenode::wire::etcdserverpb::kv_client::KvClient;
use corenode::wire::etcdserverpb::{PutRequest, RangeRequest};

const ROUNDS: usize = 20;
const WRITERS: usize = 8;

type Acknowledged = Arc<Mutex<BTreeMap<String, u64>>>;

/// Writes its own keys with growing numbers at one node until told to stop, and notes what was acknowledged.
async fn write(
    address: Address,
    writer: usize,
    stop: Arc<AtomicBool>,
    next: Arc<AtomicU64>,
    acknowledged: Acknowledged,
) {
    while !stop.load(Ordering::Relaxed) {
        let Ok(channel) = corenode::remote::channel(&address, Duration::from_secs(2)).await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let mut client = KvClient::new(channel);
        while !stop.load(Ordering::Relaxed) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let key = format!("w{writer}/{}", number % 50);
            let request =
                PutRequest { key: key.clone().into(), value: number.to_string().into(), ..PutRequest::default() };
            match client.put(request).await {
                Ok(_) => {
                    acknowledged.lock().unwrap().insert(key, number);
                }
                Err(_) => break,
            }
        }
    }
}

#[test]
fn every_acknowledged_write_survives_kill_9_of_all_nodes() {
    let mut cluster = TestCluster::start(3);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let acknowledged = Acknowledged::default();
    let next = Arc::new(AtomicU64::new(1));
    for round in 0..ROUNDS {
        let before = acknowledged.lock().unwrap().values().max().copied().unwrap_or(0);
        let stop = Arc::new(AtomicBool::new(false));
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let address = cluster.nodes[writer % 3].client.to_string().parse().unwrap();
                runtime.spawn(write(address, writer, stop.clone(), next.clone(), acknowledged.clone()))
            })
            .collect();
        // Killed in the midst of writing: each round after another number of writes.
        let enough = before + 200 + 37 * round as u64;
        wait_for("writes to be acknowledged", Instant::now() + WITHIN, || {
            acknowledged.lock().unwrap().values().any(|number| *number >= enough).then_some(())
        });
        cluster.nodes.iter_mut().for_each(|node| node.kill_9());
        stop.store(true, Ordering::Relaxed);
        runtime.block_on(async {
            for writer in writers {
                tokio::time::timeout(WITHIN, writer).await.expect("a writer hangs").unwrap();
            }
        });
        cluster.nodes.iter_mut().for_each(|node| node.start());
        cluster.nodes.iter_mut().for_each(|node| node.wait_until_it_serves());
        let expected = acknowledged.lock().unwrap().clone();
        let found = runtime.block_on(read_all(&cluster.nodes[round % 3].client.to_string()));
        for (key, number) in &expected {
            let value =
                found.get(key).unwrap_or_else(|| panic!("round {round}: {key} is gone, {number} was acknowledged"));
            assert!(value >= number, "round {round}: {key} is {value}, {number} was acknowledged");
        }
        println!("round {}: all of {} keys hold what was acknowledged", round + 1, expected.len());
    }
}

async fn read_all(address: &str) -> BTreeMap<String, u64> {
    let channel = corenode::remote::channel(&address.parse().unwrap(), Duration::from_secs(5)).await.unwrap();
    let request = RangeRequest { key: "w".into(), range_end: "x".into(), ..RangeRequest::default() };
    let reply = KvClient::new(channel).range(request).await.unwrap().into_inner();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    reply.kvs.iter().map(|kv| (text(&kv.key), text(&kv.value).parse().unwrap())).collect()
}

#[test]
fn without_a_quorum_requests_fail_in_time_and_units_go_on() {
    let mut cluster = TestCluster::start(3);
    let unit = cluster.folder.path().join("steady.service");
    std::fs::write(&unit, "[Service]\nExecStart=/bin/sleep infinity\n[X-Fleet]\nMachineMetadata=node=n1\n").unwrap();
    let endpoint = cluster.nodes[0].endpoint();
    ok("fleetctl", &endpoint, &["start", &unit.to_string_lossy()]);
    ok("etcdctl", &endpoint, &["put", "a", "1"]);
    let pid = main_pid(&endpoint, "steady.service");
    cluster.nodes[1].kill_9();
    cluster.nodes[2].kill_9();
    for arguments in [&["put", "a", "2"][..], &["get", "a"], &["set", "/b", "1"], &["get", "/b", "--quorum"]] {
        // The node tells it well before the client would give up.
        let mut arguments = arguments.to_vec();
        arguments.push("--command-timeout=60s");
        let output = face("etcdctl", &endpoint, &arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{arguments:?} succeeded");
        assert!(
            stderr.contains("no quorum") && stderr.contains("n2") && stderr.contains("n3"),
            "{arguments:?}: {stderr}"
        );
    }
    assert_eq!(ok("etcdctl", &endpoint, &["get", "a", "--consistency=s"]), "a\n1\n");
    assert!(std::path::Path::new(&format!("/proc/{pid}")).exists(), "the unit was stopped");
    cluster.nodes[1].start();
    cluster.nodes[1].wait_until_it_serves();
    wait_for_ok("a write by the quorum that is back", || face("etcdctl", &endpoint, &["put", "a", "3"]));
    assert!(std::path::Path::new(&format!("/proc/{pid}")).exists(), "the unit was stopped");
}

#[test]
fn an_idle_cluster_writes_nothing() {
    let cluster = TestCluster::start(3);
    let unit = cluster.folder.path().join("idle.service");
    std::fs::write(&unit, "[Service]\nExecStart=/bin/sleep infinity\n").unwrap();
    ok("fleetctl", &cluster.nodes[0].endpoint(), &["start", &unit.to_string_lossy()]);
    // member, leader, term, index, applied index: the eighth field is the log's end.
    let log_end = || {
        let status = ok("etcdctl", &cluster.nodes[0].endpoint(), &["endpoint", "status"]);
        status.split(", ").nth(7).unwrap().to_owned()
    };
    // What the start set off may still be on its way; a stretch without a write must come.
    let stretch = Duration::from_secs(4);
    wait_for("four seconds without a write", Instant::now() + WITHIN, || {
        let before = log_end();
        std::thread::sleep(stretch);
        (log_end() == before).then_some(())
    });
}

/// Debian's etcdctl, as it comes.
fn etcdctl(api: &str, endpoint: &str, arguments: &[&str]) -> String {
    let output = Command::new("/usr/bin/etcdctl")
        .env("ETCDCTL_API", api)
        .args(["--endpoints", endpoint])
        .args(arguments)
        .output()
        .expect("the package etcd-client is installed by integration/hosts/provision.sh");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "etcdctl {arguments:?}: {}\n{stderr}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn debians_etcdctl_works_against_any_node() {
    let cluster = TestCluster::start(3);
    for (at, node) in cluster.nodes.iter().enumerate() {
        let endpoint = node.endpoint();
        let v3 = |arguments: &[&str]| etcdctl("3", &endpoint, arguments);
        assert_eq!(v3(&["put", "key", "one"]), "OK\n");
        assert_eq!(v3(&["get", "key"]), "key\none\n");
        assert_eq!(v3(&["put", "key2", "two"]), "OK\n");
        assert_eq!(v3(&["get", "--prefix", "key", "--print-value-only"]), "one\ntwo\n");
        assert_eq!(v3(&["del", "--prefix", "key"]), "2\n");
        assert_eq!(v3(&["member", "list"]).lines().count(), 3);
        assert!(v3(&["endpoint", "status"]).contains(&node.client.to_string()));
        assert!(v3(&["lease", "grant", "60"]).contains("granted with TTL(60s)"));
        assert!(
            v3(&["lease", "list"]).starts_with(&format!("found {} leases", at + 1)),
            "machines' leases are nobody's"
        );
        let v2 = |arguments: &[&str]| etcdctl("2", &endpoint, arguments);
        assert_eq!(v2(&["set", "/dir/a", "1"]), "1\n");
        assert_eq!(v2(&["get", "/dir/a"]), "1\n");
        assert_eq!(v2(&["mk", "/dir/b", "2", "--ttl", "100"]), "2\n");
        assert_eq!(v2(&["ls", "--recursive", "/dir"]), "/dir/a\n/dir/b\n");
        assert_eq!(v2(&["rm", "/dir/a"]), "PrevNode.Value: 1\n");
        v2(&["mkdir", "/empty"]);
        v2(&["rm", "--recursive", "/dir"]);
        v2(&["rmdir", "/empty"]);
    }
}

#[test]
fn two_clusters_of_node_dev_started_at_once_both_serve() {
    let folder = tempfile::tempdir().unwrap();
    let envs = ["one", "two"].map(|name| folder.path().join(name));
    let devs = envs.each_ref().map(|env| {
        Command::new(NODE).args(["dev", "--nodes", "1", "--env"]).arg(env).stdout(Stdio::null()).spawn().unwrap()
    });
    let deadline = Instant::now() + WITHIN;
    for env in &envs {
        wait_for("a cluster that serves", deadline, || env.exists().then_some(()));
    }
    for mut dev in devs {
        assert!(Command::new("kill").arg(dev.id().to_string()).status().unwrap().success());
        assert!(dev.wait().unwrap().success());
    }
}
