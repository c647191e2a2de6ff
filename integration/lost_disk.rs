//! Disks that go while a node runs: read-only after an error, and gone with all that was not synced, as when the power fails.
//! File systems of their own in an image each. Needs root and loop devices.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::{TestCluster, TestNode, WITHIN, wait_for};
use corenode::remote::channel;
use corenode::wire::etcdserverpb::kv_client::KvClient;
use corenode::wire::etcdserverpb::{PutRequest, RangeRequest};

/// One request; a node that has lost its disk does not answer.
const ANSWER: Duration = Duration::from_secs(10);

/// A disk that can be taken away.
struct Disk {
    image: PathBuf,
    at: PathBuf,
}

fn run(program: &str, arguments: &[&Path]) -> bool {
    Command::new(program).args(arguments).output().unwrap().status.success()
}

impl Disk {
    fn mount(folder: &Path, at: &Path) -> Self {
        let image = folder.join("image");
        File::create(&image).unwrap().set_len(400 << 20).unwrap();
        assert!(run("mkfs.ext4", &[Path::new("-q"), &image]));
        std::fs::create_dir_all(at).unwrap();
        let disk = Self { image, at: at.to_owned() };
        disk.attach();
        disk
    }

    fn attach(&self) {
        let options = ["-t", "ext4", "-o", "loop,errors=remount-ro"].map(Path::new);
        assert!(
            run("mount", &[&options[..], &[&self.image, &self.at]].concat()),
            "mounting needs root and a loop device"
        );
    }

    /// Has the kernel find an error on it.
    fn fail(&self) {
        let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
        let mount = mounts.lines().find(|line| line.split(' ').nth(1) == self.at.to_str()).unwrap();
        let device = mount.split(' ').next().unwrap().strip_prefix("/dev/").unwrap();
        std::fs::write(format!("/sys/fs/ext4/{device}/trigger_fs_error"), "a test").unwrap();
    }

    /// From now on nothing is written to it, nor what the file system had put off.
    fn cut_power(&self) {
        use rustix::ioctl::{Setter, ioctl, opcode};
        const SHUTDOWN: rustix::ioctl::Opcode = opcode::read::<u32>(b'X', 125);
        const WITHOUT_JOURNAL: u32 = 2;
        let root = File::open(&self.at).unwrap();
        // SAFETY: EXT4_IOC_SHUTDOWN reads a 32-bit number of flags.
        unsafe { ioctl(&root, Setter::<SHUTDOWN, u32>::new(WITHOUT_JOURNAL)) }.unwrap();
    }

    /// Takes it away and puts it back.
    fn replace(&self) {
        wait_for("the disk to be free", Instant::now() + WITHIN, || run("umount", &[&self.at]).then_some(()));
        self.attach();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.at).status();
    }
}

/// Puts keys one after another, at one node after another, until it is told to stop. Returns those that were acknowledged.
async fn write(addresses: Vec<String>, name: usize, stop: Arc<AtomicBool>, count: Arc<Count>) -> BTreeSet<String> {
    let mut acknowledged = BTreeSet::new();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let key = format!("w{name}-{number:05}");
        let address = addresses[number % addresses.len()].parse().unwrap();
        let putting = async {
            let channel = channel(&address, ANSWER).await.ok()?;
            let put = PutRequest { key: key.clone().into(), value: vec![b'v'; 2_000].into(), ..PutRequest::default() };
            KvClient::new(channel).put(put).await.ok()
        };
        if matches!(tokio::time::timeout(ANSWER, putting).await, Ok(Some(_))) {
            acknowledged.insert(key);
            count.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    acknowledged
}

/// Writes that were acknowledged so far.
#[derive(Default)]
struct Count(std::sync::atomic::AtomicUsize);

impl Count {
    /// Waits for so many more.
    fn wait(&self, more: usize) {
        let goal = self.0.load(Ordering::Relaxed) + more;
        wait_for("writes", Instant::now() + WITHIN, || (self.0.load(Ordering::Relaxed) >= goal).then_some(()));
    }
}

/// The keys that a node has.
async fn keys(node: &TestNode, serializable: bool) -> BTreeSet<String> {
    let channel = channel(&node.client.to_string().parse().unwrap(), WITHIN).await.unwrap();
    let range = RangeRequest {
        key: "w".into(),
        range_end: "x".into(),
        serializable,
        keys_only: true,
        ..RangeRequest::default()
    };
    let found = KvClient::new(channel).range(range).await.unwrap().into_inner();
    found.kvs.into_iter().map(|kv| String::from_utf8(kv.key.to_vec()).unwrap()).collect()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

#[test]
fn a_member_whose_disk_goes_read_only_says_so_and_comes_back_with_everything() {
    let mut cluster = TestCluster::plan(3);
    let disk = Disk::mount(cluster.folder.path(), &cluster.nodes[1].data_dir());
    cluster.nodes.iter_mut().for_each(TestNode::start);
    cluster.nodes.iter_mut().for_each(TestNode::wait_until_it_serves);
    let addresses: Vec<String> = cluster.nodes.iter().map(|node| node.client.to_string()).collect();
    let runtime = runtime();
    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(Count::default()));
    let writer = runtime.spawn(write(addresses, 0, stop.clone(), count.clone()));
    count.wait(40);
    disk.fail();
    let status = cluster.nodes[1].wait_for_end();
    let log = cluster.nodes[1].log();
    assert!(!status.success() && log.contains("Read-only file system") && log.contains("restart the node"), "{log}");
    // The others go on, for those who write and for those who read.
    count.wait(40);
    let seen = runtime.block_on(keys(&cluster.nodes[0], false)).len();
    assert!(seen >= 80, "{seen}");
    disk.replace();
    cluster.nodes[1].start();
    cluster.nodes[1].wait_until_it_serves();
    stop.store(true, Ordering::Relaxed);
    runtime.block_on(async {
        let acknowledged = writer.await.unwrap();
        for serializable in [false, true] {
            let found = keys(&cluster.nodes[1], serializable).await;
            let lost: Vec<_> = acknowledged.difference(&found).collect();
            assert!(lost.is_empty(), "{lost:?}");
        }
    });
    drop(cluster);
}

#[test]
fn power_that_fails_while_a_node_writes_costs_no_acknowledged_write() {
    const WRITERS: usize = 4;
    let mut cluster = TestCluster::plan(1);
    let disk = Disk::mount(cluster.folder.path(), &cluster.nodes[0].data_dir());
    let node = &mut cluster.nodes[0];
    let runtime = runtime();
    let mut acknowledged = BTreeSet::new();
    for round in 0..3 {
        node.start();
        node.wait_until_it_serves();
        let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(Count::default()));
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let name = round * WRITERS + writer;
                runtime.spawn(write(vec![node.client.to_string()], name, stop.clone(), count.clone()))
            })
            .collect();
        // The state is made durable in the background meanwhile, or not yet.
        count.wait([30, 300, 1_000][round]);
        disk.cut_power();
        stop.store(true, Ordering::Relaxed);
        for writer in writers {
            acknowledged.extend(runtime.block_on(writer).unwrap());
        }
        node.kill_9();
        disk.replace();
    }
    node.start();
    node.wait_until_it_serves();
    let found = runtime.block_on(keys(node, false));
    let lost: Vec<_> = acknowledged.difference(&found).collect();
    assert!(lost.is_empty() && acknowledged.len() >= 1_330, "{} of {}: {lost:?}", lost.len(), acknowledged.len());
    drop(cluster);
}
