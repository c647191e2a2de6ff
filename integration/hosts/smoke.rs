//! Shows that the hosts themselves do what the other tests rely on, with a small script in place of the binary.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::CLOJURE_HTTP;
use crate::lab::{Install, Lab};
use crate::waits::wait_until;

const NAMES: [&str; 3] = ["core-01", "core-02", "core-03"];
const SERVES_BOUND: Duration = Duration::from_secs(60);

/// Says that it is ready and, for the watchdog, that it is well, as the binary does.
pub const PROGRAM: &str = "#!/bin/sh
cat /etc/node/node.toml.d/host.toml
systemd-notify --ready
while :; do
    systemd-notify WATCHDOG=1
    sleep 5
done
";

/// Boots three hosts, serves from one to another, and gives each kind of fault to one of them.
pub fn run() -> Result<()> {
    let folder = tempfile::tempdir().context("make a temporary folder")?;
    let binary = folder.path().join("node");
    fs::write(&binary, PROGRAM)?;
    fs::set_permissions(&binary, fs::Permissions::from_mode(0o755))?;
    let install = Install { binary: &binary, settings: |host, hosts| format!("# {} of {}\n", host.name, hosts.len()) };
    Lab::start(&NAMES, &install)?.tell(|lab| {
        hosts_are_machines_of_their_own(lab)?;
        a_unit_runs_a_container(lab)?;
        a_partition_and_a_pause_cut_it_off(lab)?;
        power_loss_keeps_the_disk(lab)?;
        a_stopped_container_is_a_failed_unit(lab)
    })
}

fn hosts_are_machines_of_their_own(lab: &Lab) -> Result<()> {
    let mut ids = NAMES.iter().map(|host| lab.machine_id(host)).collect::<Result<Vec<_>>>()?;
    ids.sort();
    ids.dedup();
    ensure!(ids.len() == 3 && ids.iter().all(|id| id.len() == 32), "machine ids: {ids:?}");
    for host in NAMES {
        lab.exec(host, &["systemctl", "is-active", "node", "docker", "dbus"])?.ok()?;
        let logged = lab.exec(host, &["journalctl", "-u", "node", "-o", "cat"])?.ok()?.stdout;
        ensure!(logged.contains(&format!("# {host} of 3")), "the journal of node on {host}: {logged}");
        lab.exec(host, &["sh", "-c", "getent hosts core-01 core-02 core-03"])?.ok()?;
    }
    Ok(())
}

fn a_unit_runs_a_container(lab: &Lab) -> Result<()> {
    lab.write_file("core-01", "/etc/systemd/system/clojure-http@.service", CLOJURE_HTTP)?;
    lab.exec("core-01", &["systemctl", "daemon-reload"])?.ok()?;
    lab.exec("core-01", &["systemctl", "start", "clojure-http@1.service"])?.ok()?;
    wait_until("the web server to answer", SERVES_BOUND, || answers(lab))?;
    let logged = lab.exec("core-01", &["journalctl", "-u", "clojure-http@1", "-o", "cat"])?.ok()?.stdout;
    ensure!(logged.contains("listening on port 5000"), "the journal of the unit: {logged}");
    Ok(())
}

/// Asks the web server of core-01 from core-02.
fn answers(lab: &Lab) -> Result<bool> {
    let url = format!("http://{}:5000/", lab.host("core-01")?.ip);
    let output = lab.exec("core-02", &["curl", "-sS", "--max-time", "1", &url])?.ok()?;
    Ok(output.stdout == "Hello World\n")
}

fn a_partition_and_a_pause_cut_it_off(lab: &Lab) -> Result<()> {
    lab.partition("core-01", &["core-02"])?;
    ensure!(answers(lab).is_err(), "core-01 answers core-02 across the partition");
    let ip = &lab.host("core-03")?.ip;
    // Connection refused (7) means that the packets of core-03 come through.
    lab.exec("core-01", &["curl", "-sS", "--max-time", "2", &format!("http://{ip}:1/")])?.exits_with(7)?;
    lab.heal("core-01")?;
    wait_until("the healed host to answer", SERVES_BOUND, || answers(lab))?;
    lab.pause("core-01")?;
    ensure!(answers(lab).is_err(), "core-01 answers while it is paused");
    lab.unpause("core-01")?;
    wait_until("the host that goes on to answer", SERVES_BOUND, || answers(lab))
}

fn power_loss_keeps_the_disk(lab: &Lab) -> Result<()> {
    let id = lab.machine_id("core-01")?;
    lab.write_file("core-01", "/var/lib/node/kept", "kept\n")?;
    lab.power_off("core-01")?;
    ensure!(answers(lab).is_err(), "core-01 answers without power");
    let started = Instant::now();
    lab.power_on("core-01")?;
    eprintln!("lab: core-01 is back {:.1?} after power on", started.elapsed());
    ensure!(lab.machine_id("core-01")? == id, "core-01 came back as another machine");
    let kept = lab.exec("core-01", &["cat", "/var/lib/node/kept"])?.ok()?.stdout;
    ensure!(kept == "kept\n", "the file that was written before the loss of power: {kept:?}");
    let logged = lab.exec("core-01", &["journalctl", "-u", "node", "-o", "cat"])?.ok()?.stdout;
    let boots = logged.matches("# core-01 of 3").count();
    ensure!(boots == 2, "the journal tells of {boots} boots, not of 2: {logged}");
    let containers = lab.exec("core-01", &["docker", "ps", "-aq"])?.ok()?.stdout;
    ensure!(containers.is_empty(), "containers after the loss of power, in spite of --rm: {containers}");

    lab.shut_down("core-03")?;
    lab.power_on("core-03")
}

fn a_stopped_container_is_a_failed_unit(lab: &Lab) -> Result<()> {
    lab.exec("core-01", &["systemctl", "start", "clojure-http@1.service"])?.ok()?;
    wait_until("the web server to answer again", SERVES_BOUND, || answers(lab))?;
    lab.exec("core-01", &["systemctl", "stop", "clojure-http@1.service"])?.ok()?;
    let state = lab.exec("core-01", &["systemctl", "is-failed", "clojure-http@1.service"])?;
    ensure!(state.stdout.trim() == "failed", "{state}");
    Ok(())
}
