//! A cluster of the previous version is upgraded to this one while it is written to and runs units: no write that was acknowledged is
//! lost, and no unit has another process.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::cluster::settings;
use crate::command;
use crate::lab::{Install, Lab};
use crate::units;
use crate::waits::wait_until;

const NAMES: [&str; 3] = ["core-01", "core-02", "core-03"];
const PATTERNS: [&str; 1] = ["sleeper@*"];
const SLEEPER: &str = "[Service]\nExecStart=/bin/sleep infinity\n";
const FORMS_BOUND: Duration = Duration::from_secs(60);
const UPGRADE_BOUND: Duration = Duration::from_secs(300);
/// A build of the other crates, too, where nothing is built yet.
const BUILD_BOUND: Duration = Duration::from_secs(1800);
/// Writes one key after the other by all nodes, and notes each that was acknowledged.
const WRITER: &str = "i=0
while [ ! -e /root/stop ]; do
    i=$((i + 1))
    etcdctl put w/$i v >/dev/null 2>&1 && echo w/$i >>/root/acknowledged
done
";
/// What of it is not there afterwards, and how many there were.
const LOST: &str = "etcdctl get --prefix w/ --keys-only | sort >/tmp/there
sort /root/acknowledged | comm -23 - /tmp/there
wc -l </root/acknowledged";

/// A program that tells a version and then does nothing, whatever it is asked.
const HANGS: &str = r#"#!/bin/sh
[ "$1" = --version ] && { echo '{"version":"9.9.9","format":1}'; exit; }
trap '' TERM
while :; do sleep 1; done
"#;

pub fn run() -> Result<()> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/integration/previous.sh");
    let begun = Instant::now();
    let built = command::run(&[script], None, BUILD_BOUND)?.ok()?;
    eprintln!("{}the previous version is there after {:.1?}", built.stderr, begun.elapsed());
    let previous = Path::new(built.stdout.trim()).to_owned();
    let folder = tempfile::tempdir().context("make a temporary folder")?;
    let new = folder.path().join("node");
    let binary = crate::binary();
    command::run(&["strip", "-o", &new.to_string_lossy(), &binary.to_string_lossy()], None, FORMS_BOUND)?.ok()?;
    Lab::start(&NAMES, &Install { binary: &previous, settings })?.tell(|lab| upgraded(lab, &new))
}

fn upgraded(lab: &Lab, new: &Path) -> Result<()> {
    wait_until("three machines", FORMS_BOUND, || {
        Ok(lab.exec(NAMES[0], &["fleetctl", "list-machines", "--no-legend"])?.ok()?.stdout.lines().count()
            == NAMES.len())
    })?;
    lab.write_file(NAMES[0], "/root/sleeper@.service", SLEEPER)?;
    lab.shell(NAMES[0], "fleetctl start sleeper@1 sleeper@2 sleeper@3 sleeper@4 sleeper@5 sleeper@6")?.ok()?;
    let six = |running: &units::Running| {
        ensure!(running.len() == 6, "{running:?}");
        Ok(())
    };
    let before = units::settle(lab, NAMES[0], &NAMES, &PATTERNS, six)?;
    let old = lab.shell(NAMES[1], "node --version")?.ok()?.stdout;
    let endpoints: Vec<String> = lab.hosts().iter().map(|host| format!("http://{}:2379", host.ip)).collect();
    let endpoints = format!("--setenv=ETCDCTL_ENDPOINTS={}", endpoints.join(","));
    lab.write_file(NAMES[1], "/root/writer", WRITER)?;
    lab.exec(NAMES[1], &["systemd-run", "--unit=writer", &endpoints, "sh", "/root/writer"])?.ok()?;
    lab.copy_file(NAMES[0], new, "/root/node")?;
    let begun = Instant::now();
    let told = lab.shell_within(NAMES[0], "node ctl upgrade --binary /root/node", UPGRADE_BOUND)?.ok()?;
    eprintln!("lab: three hosts were upgraded in {:.1?}", begun.elapsed());
    ensure!(told.stdout.matches(": serves with ").count() == NAMES.len(), "{told}");
    lab.exec(NAMES[1], &["touch", "/root/stop"])?.ok()?;
    wait_until("the last write", FORMS_BOUND, || {
        Ok(lab.exec(NAMES[1], &["systemctl", "is-active", "writer"])?.stdout.trim() != "active")
    })?;
    for name in NAMES {
        let now = lab.exec(name, &["node", "--version"])?.ok()?.stdout;
        ensure!(now != old, "{name} still has {now}");
        let log = lab.exec(name, &["journalctl", "-u", "node", "-o", "cat"])?.ok()?.stdout;
        ensure!(log.contains("this node is upgraded by="), "{log}");
        // The same life of the service: systemd has seen no restart.
        let restarts = lab.exec(name, &["systemctl", "show", "-P", "NRestarts", "node"])?.ok()?.stdout;
        ensure!(restarts.trim() == "0", "{name}: systemd has restarted the node {restarts} times");
    }
    let after = units::settle(lab, NAMES[2], &NAMES, &PATTERNS, six)?;
    ensure!(after == before, "units have other processes: {before:?} became {after:?}");
    let left = lab.shell(NAMES[1], LOST)?.ok()?.stdout;
    let lines: Vec<&str> = left.lines().collect();
    let [acknowledged] = lines[..] else { anyhow::bail!("acknowledged and gone: {left}") };
    ensure!(acknowledged.trim().parse::<u32>()? > 0, "nothing was written");
    taken_back(lab)?;
    // While its node hung, the machine counted as lost.
    units::settle(lab, NAMES[0], &NAMES, &PATTERNS, six)?;
    Ok(())
}

/// A node that hangs with another program is given its former one back, and systemd starts that.
fn taken_back(lab: &Lab) -> Result<()> {
    let name = NAMES[2];
    lab.write_file(name, "/root/hangs", HANGS)?;
    let had = lab.exec(name, &["sha256sum", "/usr/bin/node"])?.ok()?.stdout;
    let line = format!("chmod +x /root/hangs; node ctl upgrade --binary /root/hangs --machine {name} --trial 5s");
    let told = lab.shell_within(name, &line, UPGRADE_BOUND)?;
    ensure!(told.stdout.contains("has taken the new program back"), "{told}");
    ensure!(told.stdout.contains("it did not come to serve within 5s"), "{told}");
    let has = lab.exec(name, &["sha256sum", "/usr/bin/node"])?.ok()?.stdout;
    ensure!(has == had, "{name} has another program than before: {has} was {had}");
    lab.exec(name, &["systemctl", "is-active", "node"])?.ok()?;
    Ok(())
}
