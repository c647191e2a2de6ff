//! Disks that are full or read-only, as small file systems of their own. Needs root.

#![allow(clippy::unwrap_used)]

mod common;

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use common::{TestCluster, TestNode, WITHIN, face, free_addresses, ok, wait_for};

/// A file system in memory; unmounted when dropped.
struct Small(PathBuf);

impl Small {
    fn mount(at: &Path, options: &str) -> Self {
        std::fs::create_dir_all(at).unwrap();
        let status = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(at).status();
        assert!(status.unwrap().success(), "mounting needs root");
        Self(at.to_owned())
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }

    /// Fills it until so many bytes are free; `false` if fewer are already.
    fn fill_up_to(&self, free: u64) -> bool {
        let sizes = rustix::fs::statvfs(&self.0).unwrap();
        let left = (sizes.f_bavail * sizes.f_frsize).saturating_sub(free);
        let mut file = File::options().create(true).append(true).open(self.ballast()).unwrap();
        file.write_all(&vec![7; left as usize]).is_ok() && left > 0
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // Somebody may still be in it; it goes when he does.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn put(node: &TestNode, key: &str, value: &str) -> Result<(), String> {
    let output = face("etcdctl", &node.endpoint(), &["put", key, value]);
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

fn status(node: &TestNode) -> String {
    let output = face("ctl", "", &["status", "--endpoint", &node.endpoint()]);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_full_disk_stops_what_grows_everywhere_and_only_until_there_is_room() {
    let mut cluster = TestCluster::plan(3);
    let disk = Small::mount(&cluster.nodes[1].data_dir(), "size=400m");
    cluster.nodes.iter_mut().for_each(TestNode::start);
    cluster.nodes.iter_mut().for_each(TestNode::wait_until_it_serves);
    let (one, two) = (&cluster.nodes[0], &cluster.nodes[1]);
    put(one, "a", "1").unwrap();
    disk.fill_up_to(10 << 20);
    let refusal = wait_for("a refusal", Instant::now() + WITHIN, || put(one, "a", "2").err());
    assert!(refusal.contains("etcdserver: mvcc: database space exceeded"), "{refusal}");
    let told = status(one);
    assert!(told.contains("trouble   memberID:") && told.contains("alarm:NOSPACE"), "{told}");
    assert!(told.contains("the disk of n2"), "{told}");
    assert!(two.log().contains("writes that grow are refused until there is room again"), "{}", two.log());
    let visit = face("ctl", "", &["doctor", "--endpoint", &one.endpoint()]);
    let said = String::from_utf8_lossy(&visit.stdout).into_owned();
    assert!(visit.status.code() == Some(1) && said.contains("the disk of n2"), "{said}");
    assert!(said.contains("is full: ") && said.contains("remedy: delete keys or files there"), "{said}");
    assert!(ok("etcdctl", &one.endpoint(), &["get", "a"]).starts_with("a\n"));
    ok("etcdctl", &one.endpoint(), &["del", "a"]);
    std::fs::remove_file(disk.ballast()).unwrap();
    wait_for("writes to be taken again", Instant::now() + WITHIN, || put(one, "a", "3").ok());
    assert!(!status(one).contains("alarm:NOSPACE"));
}

#[test]
fn a_disk_that_is_full_to_the_last_byte_costs_no_acknowledged_write() {
    let mut cluster = TestCluster::plan(1);
    let node = &mut cluster.nodes[0];
    let disk = Small::mount(&node.data_dir(), "size=300m");
    node.more = ["--disk-full-percent", "100", "--disk-free-min", "0"].map(str::to_owned).into();
    node.start();
    node.wait_until_it_serves();
    let value = "v".repeat(120_000);
    let deadline = Instant::now() + WITHIN;
    let mut acknowledged = 0;
    let failed = loop {
        // As much as the log's segments hold goes; then one more is needed, or the state grows.
        disk.fill_up_to(0);
        match put(node, &format!("k{acknowledged:04}"), &value) {
            Ok(()) => acknowledged += 1,
            Err(error) => break error,
        }
        assert!(Instant::now() < deadline, "{acknowledged} puts went into a full disk");
    };
    assert!(acknowledged > 0, "{failed}\n{}", node.log());
    let log =
        wait_for("a word on what happened", deadline, || Some(node.log()).filter(|log| log.contains("No space left")));
    assert!(log.contains("ERROR"), "{log}");
    node.kill_9();
    std::fs::remove_file(disk.ballast()).unwrap();
    node.start();
    node.wait_until_it_serves();
    for n in 0..acknowledged {
        let found = ok("etcdctl", &node.endpoint(), &["get", "--print-value-only", &format!("k{n:04}")]);
        assert_eq!(found.trim_end(), value, "k{n:04} of {acknowledged}");
    }
    put(node, "after", "1").unwrap();
}

#[test]
fn a_read_only_disk_is_named_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let addresses = free_addresses(2);
    let initial = format!("n1=http://{}", addresses[0]);
    let node = TestNode::new(folder.path(), "n1", addresses[0], addresses[1], &initial);
    let _disk = Small::mount(&node.data_dir(), "size=1m,ro");
    let output = node.command().output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(told.contains("Read-only file system") && told.contains(&*node.data_dir().to_string_lossy()), "{told}");
}

#[test]
fn a_file_of_a_template_on_a_full_disk_stays_and_follows_when_there_is_room() {
    let mut cluster = TestCluster::plan(1);
    let confd = cluster.nodes[0].dir.join("confd");
    let small = Small::mount(&cluster.folder.path().join("small"), "size=256k");
    for folder in ["conf.d", "templates"] {
        std::fs::create_dir_all(confd.join(folder)).unwrap();
    }
    let dest = small.0.join("out");
    let text = format!("[template]\nsrc = \"x.tmpl\"\ndest = \"{}\"\nkeys = [\"/k\"]\n", dest.display());
    std::fs::write(confd.join("conf.d/x.toml"), text).unwrap();
    std::fs::write(confd.join("templates/x.tmpl"), "{{range seq 1 20000}}{{getv \"/k\"}}{{end}}").unwrap();
    let more = ["--template-enabled", "true", "--template-confdir", &confd.to_string_lossy()].map(str::to_owned);
    let node = &mut cluster.nodes[0];
    node.more.extend(more);
    node.start();
    node.wait_until_it_serves();
    let becomes = |value: &str| {
        let looked = || std::fs::read_to_string(&dest).is_ok_and(|text| text == value.repeat(20_000)).then_some(());
        wait_for(&format!("the file to be full of {value}"), Instant::now() + WITHIN, looked);
    };
    put(node, "/k", "1").unwrap();
    becomes("1");
    small.fill_up_to(4096);
    put(node, "/k", "2").unwrap();
    let told = || {
        let output = face("ctl", "", &["templates", "x", "--endpoint", &node.endpoint()]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (text.contains("FAILED") && text.contains("No space left on device")).then_some(text)
    };
    let text = wait_for("the full disk to be told of", Instant::now() + WITHIN, told);
    assert!(text.contains(&dest.display().to_string()), "{text}");
    becomes("1");
    std::fs::remove_file(small.ballast()).unwrap();
    becomes("2");
    node.kill_9();
}
