//! Members come and go as processes: a cluster grows, is repaired, shrinks and survives emptied disks, under the eyes of
//! etcd's own etcdctl where it is installed.

#![allow(clippy::unwrap_used)]

mod common;

use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::{NODE, TestCluster, TestNode, WITHIN, face, free_addresses, ok, wait_for, wait_for_output};

/// `etcdctl` with API 3: etcd's own one where there is one, else ours.
fn etcdctl(endpoints: &str, arguments: &[&str]) -> Output {
    static THEIRS: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    let theirs = *THEIRS.get_or_init(|| {
        Command::new("etcdctl").arg("version").env("ETCDCTL_API", "3").output().is_ok_and(|out| out.status.success())
    });
    let mut command = match theirs {
        true => Command::new("etcdctl"),
        false => {
            let mut command = Command::new(NODE);
            command.arg("etcdctl");
            command
        }
    };
    command.args(["--endpoints", endpoints]).args(arguments).env("ETCDCTL_API", "3").stdin(Stdio::null());
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs etcdctl until it succeeds; while a member is on its way up, changes are refused as by etcd.
fn insist(endpoints: &str, arguments: &[&str]) -> String {
    let succeeds = |output: &Output| output.status.success().then(|| text(&output.stdout));
    wait_for_output(&format!("{arguments:?}"), || etcdctl(endpoints, arguments), succeeds)
}

/// Removes a member. It may be gone although the answer was lost, as where the leader changed meanwhile.
fn remove(endpoints: &str, id: &str) {
    let gone =
        |output: &Output| (output.status.success() || text(&output.stderr).contains("member not found")).then_some(());
    let run = || etcdctl(endpoints, &["member", "remove", id]);
    wait_for_output(&format!("member {id} to be gone"), run, gone);
}

fn refused(endpoints: &str, arguments: &[&str]) -> String {
    let output = etcdctl(endpoints, arguments);
    assert!(!output.status.success(), "{arguments:?} succeeded: {}", text(&output.stdout));
    text(&output.stderr).lines().last().unwrap_or_default().to_owned()
}

/// The id of a member by its name or a peer URL.
fn id_of(endpoints: &str, part: &str) -> String {
    let list = insist(endpoints, &["member", "list"]);
    let line = list.lines().find(|line| line.split(", ").any(|field| field == part));
    let line = line.unwrap_or_else(|| panic!("no {part} in\n{list}"));
    line.split(',').next().unwrap().to_owned()
}

/// Adds a member through etcdctl and starts it with what etcdctl said.
fn join(cluster: &mut TestCluster, endpoints: &str, name: &str) {
    let addresses = free_addresses(2);
    let url = format!("http://{}", addresses[0]);
    let said = insist(endpoints, &["member", "add", name, "--peer-urls", &url]);
    let initial = said.lines().find_map(|line| line.strip_prefix("ETCD_INITIAL_CLUSTER=")).unwrap();
    assert!(said.contains("ETCD_INITIAL_CLUSTER_STATE=\"existing\""), "{said}");
    let dir = cluster.folder.path().join(name);
    let mut node = TestNode::new(&dir, name, addresses[0], addresses[1], initial.trim_matches('"'));
    node.more = vec!["--initial-cluster-state".to_owned(), "existing".to_owned()];
    node.start();
    node.wait_until_it_serves();
    cluster.nodes.push(node);
}

/// Puts numbers at `endpoints` until told to stop; those that were acknowledged come back.
fn write_on(endpoints: String, stop: Arc<AtomicBool>) -> std::thread::JoinHandle<Vec<u64>> {
    std::thread::spawn(move || {
        let mut acknowledged = Vec::new();
        for number in 0.. {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let (key, value) = (format!("w/{number:06}"), number.to_string());
            if face("etcdctl", &endpoints, &["put", &key, &value]).status.success() {
                acknowledged.push(number);
            }
        }
        acknowledged
    })
}

fn assert_holds(endpoint: &str, acknowledged: &[u64]) {
    let keys = ok("etcdctl", endpoint, &["get", "--prefix", "w/", "--keys-only"]);
    let keys: Vec<&str> = keys.lines().filter(|line| !line.is_empty()).collect();
    for number in acknowledged {
        let key = format!("w/{number:06}");
        assert!(keys.binary_search(&key.as_str()).is_ok(), "{key} was acknowledged and is gone");
    }
}

#[test]
fn a_cluster_grows_is_repaired_and_shrinks_without_losing_a_write() {
    let mut cluster = TestCluster::start(1);
    let first = cluster.nodes[0].endpoint();
    let own = id_of(&first, "n1");
    assert!(refused(&first, &["member", "remove", &own]).contains("not enough started members"));
    assert!(refused(&first, &["member", "remove", "ff"]).contains("etcdserver: member not found"));
    assert!(refused(&first, &["member", "promote", &own]).contains("can only promote a learner member"));
    let peer = format!("http://{}", cluster.nodes[0].peer);
    assert!(refused(&first, &["member", "add", "x", "--peer-urls", &peer]).contains("Peer URLs already exists"));
    let stop = Arc::new(AtomicBool::new(false));
    let writer = write_on(first.clone(), stop.clone());
    for name in ["n2", "n3"] {
        join(&mut cluster, &first, name);
    }
    // A dead member is replaced.
    cluster.nodes[2].kill_9();
    let dead = id_of(&first, "n3");
    remove(&first, &dead);
    for name in ["n4", "n5", "n6"] {
        join(&mut cluster, &first, name);
    }
    let list = insist(&first, &["member", "list"]);
    assert_eq!(list.lines().filter(|line| line.contains(", started, ")).count(), 5, "{list}");
    // It comes back and is told why not, with an exit code of its own.
    cluster.nodes[2].start();
    let status = cluster.nodes[2].wait_for_end();
    assert_eq!(status.code(), Some(77), "{}", cluster.nodes[2].log());
    let log = cluster.nodes[2].log();
    assert!(log.contains(&format!("member {dead} (n3) has been permanently removed from the cluster")), "{log}");
    // Back to three; those that run and are removed end by themselves.
    for at in [1, 3] {
        let gone = id_of(&first, &cluster.nodes[at].name);
        remove(&first, &gone);
        assert_eq!(cluster.nodes[at].wait_for_end().code(), Some(77), "{}", cluster.nodes[at].log());
    }
    stop.store(true, Ordering::Relaxed);
    let acknowledged = writer.join().unwrap();
    assert!(acknowledged.len() > 20, "{} writes", acknowledged.len());
    // The first one goes too: only members that joined are left, and they hold it all.
    cluster.nodes[0].kill_9();
    let last = cluster.nodes[4].endpoint();
    wait_for("a leader", Instant::now() + WITHIN, || {
        face("etcdctl", &last, &["get", "w/000000"]).status.success().then_some(())
    });
    assert_holds(&last, &acknowledged);
}

#[test]
fn a_member_with_an_emptied_disk_does_not_make_the_cluster_forget() {
    let mut cluster = TestCluster::start(3);
    let endpoints = cluster.endpoints();
    let started = |name: &str| id_of(&endpoints, name);
    for name in ["n1", "n2", "n3"] {
        started(name);
    }
    let leader = (0..3)
        .find(|at| {
            let status = ok("etcdctl", &cluster.nodes[*at].endpoint(), &["endpoint", "status"]);
            status.split(", ").nth(4) == Some("true")
        })
        .unwrap();
    let (absent, wiped) = ((leader + 1) % 3, (leader + 2) % 3);
    cluster.nodes[absent].kill_9();
    let at_leader = cluster.nodes[leader].endpoint();
    let numbers: Vec<u64> = (0..30).collect();
    for number in &numbers {
        ok("etcdctl", &at_leader, &["put", &format!("w/{number:06}"), "v", "--command-timeout=20s"]);
    }
    cluster.nodes[leader].kill_9();
    cluster.nodes[wiped].kill_9();
    std::fs::remove_dir_all(cluster.nodes[wiped].data_dir().join("store")).unwrap();
    cluster.nodes[absent].start();
    cluster.nodes[wiped].start();
    wait_for("the finding", Instant::now() + WITHIN, || {
        cluster.nodes[wiped].log().contains("the data of this member is gone").then_some(())
    });
    let without = cluster.nodes[absent].endpoint();
    assert!(!face("etcdctl", &without, &["put", "x", "y", "--command-timeout=4s"]).status.success());
    cluster.nodes[leader].start();
    for node in &mut cluster.nodes {
        node.wait_until_it_serves();
    }
    for node in &cluster.nodes {
        assert_holds(&node.endpoint(), &numbers);
    }
    // With its memory back it counts again.
    wait_for("trust", Instant::now() + WITHIN, || cluster.nodes[wiped].log().contains("votes again").then_some(()));
    cluster.nodes[leader].kill_9();
    ok("etcdctl", &cluster.nodes[wiped].endpoint(), &["put", "after", "v", "--command-timeout=20s"]);
}

/// `node ctl recover` on the machine of a node.
fn recover(node: &TestNode, more: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(NODE);
    command.args(["ctl", "recover", "--endpoint", &node.endpoint(), "--data-dir"]).arg(node.data_dir()).args(more);
    let output = command.stdin(Stdio::null()).output().unwrap();
    (output.status.code(), text(&output.stdout) + &text(&output.stderr))
}

#[test]
fn a_cluster_is_recovered_from_one_member_and_the_others_join_anew() {
    let mut cluster = TestCluster::start(3);
    let survivor = cluster.nodes[0].endpoint();
    let numbers: Vec<u64> = (0..20).collect();
    for number in &numbers {
        ok("etcdctl", &survivor, &["put", &format!("w/{number:06}"), "v"]);
    }
    let (code, told) = recover(&cluster.nodes[0], &["--yes"]);
    assert!(code == Some(1) && told.contains("has a leader"), "{told}");
    // Nor does a member that is only stopped leave the others.
    cluster.nodes[0].kill_9();
    let (code, told) = recover(&cluster.nodes[0], &["--yes"]);
    assert!(code == Some(1) && told.contains("2 of 3 voters are there without this machine"), "{told}");
    cluster.nodes[0].start();
    cluster.nodes[0].wait_until_it_serves();
    cluster.nodes[1].kill_9();
    cluster.nodes[2].kill_9();
    // While it runs it compares; it is not a service here, so that it cannot stop itself.
    wait_for("the loss to be noticed", Instant::now() + WITHIN, || {
        let (_, told) = recover(&cluster.nodes[0], &[]);
        told.contains("nothing was changed").then(|| {
            assert!(told.contains("n1, this machine: votes; its log ends at entry"), "{told}");
            assert!(told.contains("may be lost: what n2 and n3 acknowledged"), "{told}");
        })
    });
    assert!(recover(&cluster.nodes[0], &["--yes"]).1.contains("stop it, and run this again"));
    assert!(cluster.nodes[0].terminate().success());
    let (code, told) = recover(&cluster.nodes[0], &[]);
    assert!(code == Some(1) && told.contains("nothing was changed"), "{told}");
    let (code, told) = recover(&cluster.nodes[0], &["--yes"]);
    assert!(code == Some(0) && told.contains("has this machine as its only member"), "{told}");
    cluster.nodes[0].start();
    cluster.nodes[0].wait_until_it_serves();
    assert_holds(&survivor, &numbers);
    ok("etcdctl", &survivor, &["put", "after", "v"]);
    assert_eq!(insist(&survivor, &["member", "list"]).lines().count(), 1);

    // Those that were gone come back, a quorum of the old cluster: they are told, and stop.
    cluster.nodes[1].start();
    cluster.nodes[2].start();
    for at in [1, 2] {
        assert_eq!(cluster.nodes[at].wait_for_end().code(), Some(77), "{}", cluster.nodes[at].log());
        let log = cluster.nodes[at].log();
        assert!(log.contains("was given up when its quorum was gone"), "{log}");
    }
    // Without the old data they are as good as new machines.
    for name in ["n4", "n5"] {
        join(&mut cluster, &survivor, name);
    }
    wait_for("both to vote", Instant::now() + WITHIN, || {
        (cluster.nodes[0].log().matches("has caught up and votes now").count() == 2).then_some(())
    });
    cluster.nodes[0].kill_9();
    let last = cluster.nodes[4].endpoint();
    wait_for("a leader", Instant::now() + WITHIN, || {
        face("etcdctl", &last, &["get", "after"]).status.success().then_some(())
    });
    assert_holds(&last, &numbers);
    // It knows for which cluster it stands after another start, too.
    cluster.nodes[0].start();
    cluster.nodes[0].wait_until_it_serves();
}

#[test]
fn a_leader_that_ends_hands_over_first() {
    let mut cluster = TestCluster::start(3);
    let leader = (0..3)
        .find(|at| {
            let status = ok("etcdctl", &cluster.nodes[*at].endpoint(), &["endpoint", "status"]);
            status.split(", ").nth(4) == Some("true")
        })
        .unwrap();
    assert!(cluster.nodes[leader].terminate().success());
    let log = cluster.nodes[leader].log();
    assert!(log.contains("handed leadership over"), "{log}");
    ok("etcdctl", &cluster.nodes[(leader + 1) % 3].endpoint(), &["put", "a", "1"]);
}

#[test]
fn a_node_that_was_stopped_for_a_while_ends_no_lease_that_is_kept_alive() {
    use corenode::wire::etcdserverpb::lease_client::LeaseClient;
    use corenode::wire::etcdserverpb::{LeaseGrantRequest, LeaseKeepAliveRequest, LeaseTimeToLiveRequest};
    let cluster = TestCluster::start(1);
    let address = cluster.nodes[0].client.to_string().parse().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let channel = corenode::remote::channel(&address, Duration::from_secs(5)).await.unwrap();
        let mut client = LeaseClient::new(channel);
        let id = client.lease_grant(LeaseGrantRequest { ttl: 2, id: 0 }).await.unwrap().into_inner().id;
        let (sender, receiver) = tokio::sync::mpsc::channel(16);
        let stream =
            futures_util::stream::unfold(
                receiver,
                |mut receiver| async move { Some((receiver.recv().await?, receiver)) },
            );
        let mut answers = client.lease_keep_alive(stream).await.unwrap().into_inner();
        sender.send(LeaseKeepAliveRequest { id }).await.unwrap();
        assert_eq!(answers.message().await.unwrap().unwrap().ttl, 2);
        signal(cluster.nodes[0].pid(), rustix::process::Signal::STOP);
        for _ in 0..6 {
            sender.send(LeaseKeepAliveRequest { id }).await.unwrap();
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        signal(cluster.nodes[0].pid(), rustix::process::Signal::CONT);
        for _ in 0..6 {
            assert_eq!(answers.message().await.unwrap().unwrap().ttl, 2, "the lease ended");
        }
        let left = client.lease_time_to_live(LeaseTimeToLiveRequest { id, keys: false }).await.unwrap().into_inner();
        assert!(left.ttl > 0, "{left:?}");
    });
}

fn signal(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(pid.try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}
