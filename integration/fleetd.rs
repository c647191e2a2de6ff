//! The face `fleetd`: three machines around an etcd that is not theirs — Debian's, where it is installed, and one of our own
//! nodes. Units run as processes.

#![allow(clippy::unwrap_used)]

mod common;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use common::{
    NODE, TestCluster, WITHIN, face, free_addresses, ok, runs_with_argument, terminate, wait_for, wait_for_output,
};

const ETCD: &str = "/usr/bin/etcd";

/// An etcd, killed with the value.
struct Etcd(Child);

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One fleetd: its folder, its machine's id, and its process.
struct Fleetd {
    folder: PathBuf,
    machine: String,
    child: Option<Child>,
}

impl Fleetd {
    fn new(folder: &Path, number: u128, etcd: &str) -> Self {
        let folder = folder.join(format!("f{number}"));
        std::fs::create_dir_all(&folder).unwrap();
        std::os::unix::fs::symlink(NODE, folder.join("fleetd")).unwrap();
        let machine = format!("{:032x}", rand::random::<u128>());
        let conf = format!(
            "# as of old\netcd_servers=[\"{etcd}\"]\nmetadata=\"node=n{number}\"\nagent_ttl=3s\nengine_reconcile_interval=0.5\n\
             public_ip=127.0.0.1\ntoken_limit=50\nmachine_id={machine}\nexecutor=process\ndata_dir={0}/data\nsocket={0}/sock\n",
            folder.display()
        );
        std::fs::write(folder.join("fleet.conf"), conf).unwrap();
        let mut fleetd = Self { folder, machine, child: None };
        fleetd.start();
        fleetd
    }

    fn start(&mut self) {
        let log = File::options().create(true).append(true).open(self.folder.join("log")).unwrap();
        let mut command = Command::new(self.folder.join("fleetd"));
        command.arg("-config").arg(self.folder.join("fleet.conf")).env_remove("NOTIFY_SOCKET");
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.child = Some(command.spawn().unwrap());
    }

    fn endpoint(&self) -> String {
        format!("unix://{}/sock", self.folder.display())
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    fn kill_9(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

impl Drop for Fleetd {
    fn drop(&mut self) {
        self.kill_9();
        corenode::process::kill_all(&self.folder.join("data/units"));
    }
}

/// Lines of a list, once there are so many.
fn lines(at: &Fleetd, count: usize, arguments: &[&str]) -> Vec<String> {
    let list = || face("fleetctl", &at.endpoint(), &[arguments, &["--no-legend", "--full"]].concat());
    wait_for_output(&format!("{count} lines of {arguments:?}"), list, |output| {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let lines: Vec<String> = text.lines().map(|line| line.replace('\t', " ")).collect();
        (output.status.success() && lines.len() == count).then_some(lines)
    })
}

/// The machine on which a unit is active.
fn place(at: &Fleetd, unit: &str, but: &str) -> String {
    wait_for(&format!("{unit} to be active"), Instant::now() + WITHIN, || {
        let states =
            ok("fleetctl", &at.endpoint(), &["list-units", "--no-legend", "--full", "--fields", "unit,active,machine"]);
        let line = states.lines().find(|line| line.starts_with(unit) && line.contains("\tactive\t"))?.to_owned();
        let machine = line.split_whitespace().nth(2)?.split('/').next()?.to_owned();
        (machine != but).then_some(machine)
    })
}

fn a_cluster_works_around(etcd: &str) {
    let folder = tempfile::Builder::new().prefix("corenode-fleetd-").tempdir().unwrap();
    let mut machines: Vec<Fleetd> = (1..=3).map(|number| Fleetd::new(folder.path(), number, etcd)).collect();
    wait_for("the sockets", Instant::now() + WITHIN, || {
        machines.iter().all(|one| one.folder.join("sock").exists()).then_some(())
    });
    lines(&machines[0], 3, &["list-machines"]);
    assert!(machines[0].log().contains("token_limit steers nothing"), "{}", machines[0].log());

    // Three that exclude each other, one on each machine, started through any of them.
    let mark = format!("{}", 100_000 + rand::random::<u16>() as u32);
    let unit = folder.path().join("web@.service");
    let text = format!("[Service]\nExecStart=/bin/sleep {mark}\n[X-Fleet]\nConflicts=web@*.service\n");
    std::fs::write(&unit, text).unwrap();
    let words = ["web@1", "web@2", "web@3"].map(|name| folder.path().join(name).to_string_lossy().into_owned());
    ok("fleetctl", &machines[1].endpoint(), &["start", &words[0], &words[1], &words[2]]);
    let mut on: Vec<String> = lines(&machines[2], 3, &["list-units", "--fields", "machine"]);
    on.sort();
    on.dedup();
    assert_eq!(on.len(), 3, "{on:?}");
    let here = machines.iter().find(|one| place(one, "web@1.service", "") == one.machine).unwrap();
    assert!(ok("fleetctl", &here.endpoint(), &["status", "web@1"]).contains("Active: active"));

    // All is below the prefix, in the etcd.
    let keys = ok("etcdctl", etcd, &["get", "--prefix", "/_coreos.com/fleet", "--keys-only"]);
    assert!(keys.contains("/_coreos.com/fleet/fleet/units/web@1.service"), "{keys}");

    // What its engine does is counted.
    let socket = machines[0].folder.join("sock");
    let curl =
        Command::new("curl").args(["-sS", "http://fleet/metrics", "--unix-socket"]).arg(socket).output().unwrap();
    assert!(String::from_utf8_lossy(&curl.stdout).contains("fleet_engine_reconcile_count_total"), "{curl:?}");

    // The end of a fleetd touches no unit, and the next one adopts it.
    let pid = machines[0].child.as_ref().unwrap().id();
    terminate(pid);
    let mut child = machines[0].child.take().unwrap();
    let status = wait_for("fleetd to end", Instant::now() + WITHIN, || child.try_wait().unwrap());
    assert!(status.success() && runs_with_argument(&mark), "{status}");
    machines[0].start();
    lines(&machines[0], 3, &["list-machines"]);

    // SIGHUP reads the configuration anew.
    let pid = rustix::process::Pid::from_raw(machines[1].child.as_ref().unwrap().id().cast_signed()).unwrap();
    let conf = machines[1].folder.join("fleet.conf");
    let text = std::fs::read_to_string(&conf).unwrap().replace("node=n2", "node=n2,new=yes");
    std::fs::write(&conf, text).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    wait_for("the new metadata", Instant::now() + WITHIN, || {
        let list = lines(&machines[0], 3, &["list-machines", "--fields", "metadata"]);
        list.contains(&"new=yes,node=n2".to_owned()).then_some(())
    });
    assert!(machines[1].log().contains("Reloading configuration") && runs_with_argument(&mark));

    // A machine that is lost: its unit that fits elsewhere goes there, whoever led.
    let lone = folder.path().join("lone.service");
    std::fs::write(&lone, format!("[Service]\nExecStart=/bin/sleep {mark}\n")).unwrap();
    ok("fleetctl", &machines[0].endpoint(), &["start", &lone.to_string_lossy()]);
    let first = place(&machines[0], "lone.service", "");
    let at = machines.iter().position(|one| one.machine == first).unwrap();
    machines[at].kill_9();
    let left = &machines[(at + 1) % 3];
    lines(left, 2, &["list-machines"]);
    place(left, "lone.service", &first);

    // Units can be applied here too.
    std::fs::write(&lone, format!("[Service]\nExecStart=/bin/sleep {mark} 0\n")).unwrap();
    let output = Command::new(NODE)
        .args(["ctl", "apply", "--settle", "0", "--endpoint", &left.endpoint(), &lone.to_string_lossy()])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && told.contains("revision 1 is done"), "{told}\n{:?}", output.stderr);
    ok("fleetctl", &left.endpoint(), &["destroy", "lone.service", "web@*"]);
}

#[test]
fn around_debians_etcd() {
    if !Path::new(ETCD).exists() {
        eprintln!("skipped: no {ETCD}");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let addresses = free_addresses(2);
    let (client, peer) = (format!("http://{}", addresses[0]), format!("http://{}", addresses[1]));
    let child = Command::new(ETCD)
        .args(["--data-dir", &folder.path().join("data").to_string_lossy(), "--name", "one"])
        .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer, "--initial-cluster"])
        .arg(format!("one={peer}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let etcd = Etcd(child);
    a_cluster_works_around(&client);
    drop(etcd);
}

#[test]
fn around_our_own_node() {
    let mut cluster = TestCluster::plan(1);
    cluster.nodes[0].more = vec!["--fleet-enabled".into(), "false".into()];
    cluster.nodes[0].start();
    cluster.nodes[0].wait_until_it_serves();
    a_cluster_works_around(&cluster.nodes[0].endpoint());
}

#[test]
fn command_lines_as_of_old() {
    let folder = tempfile::tempdir().unwrap();
    let fleetd = folder.path().join("fleetd");
    std::os::unix::fs::symlink(NODE, &fleetd).unwrap();
    let bad = folder.path().join("bad.conf");
    std::fs::write(&bad, "etcd_cafile=/ca.pem\nagent_ttl=soon\n").unwrap();
    let bad = bad.to_string_lossy().into_owned();
    for (arguments, code, said) in [
        (&["-version"][..], 0, "fleetd version 1.0.0"),
        (&["version"], 0, "fleetd version 1.0.0"),
        (&["--help"], 0, "etcd_request_timeout"),
        (&["start"], 1, "Did you mean to invoke fleetctl instead?"),
        (&["-bogus"], 2, "flag provided but not defined: -bogus"),
        (&["-config", "/nowhere"], 1, "/nowhere: "),
        (&["-config", &bad], 1, "agent_ttl=soon: expect a duration"),
    ] {
        let output = Command::new(&fleetd).args(arguments).env_remove("FLEET_ETCD_SERVERS").output().unwrap();
        let text = [&output.stdout[..], &output.stderr[..]].map(String::from_utf8_lossy).concat();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
        assert!(text.contains(said), "{arguments:?}: {text}");
    }
}
