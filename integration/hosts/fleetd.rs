//! A cluster that keeps its etcd: `fleetd`, configured and started as fleet's was, runs units under systemd around Debian's etcd.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::cluster::settings;
use crate::lab::{Install, Lab};
use crate::units::{self, SEEN_BOUND};
use crate::waits::wait_until;

const NAMES: [&str; 2] = ["core-01", "core-02"];
/// From the package etcd-server, which provision.sh installs.
const ETCD: &str = "/usr/bin/etcd";
const SOCKET: &str = "[Socket]\nListenStream=/var/run/fleet.sock\n";
const SERVICE: &str = "[Unit]
Description=fleet daemon
After=fleet.socket
Requires=fleet.socket

[Service]
ExecStart=/usr/bin/fleetd
Restart=always
RestartSec=1s
";
const WEB: &str = "[Service]\nExecStart=/bin/sleep infinity\n\n[X-Fleet]\nConflicts=web@*.service\n";

/// Plays it on two hosts, one of which has the etcd.
pub fn run() -> Result<()> {
    Lab::start(&NAMES, &Install { binary: &crate::binary(), settings })?.tell(|lab| {
        let etcd = format!("http://{}:2379", lab.host(NAMES[0])?.ip);
        start_etcd(lab, &etcd)?;
        for host in NAMES {
            start_fleetd(lab, host, &etcd)?;
        }
        wait_until("both machines to be listed", SEEN_BOUND, || {
            let list = lab.exec(NAMES[1], &["fleetctl", "list-machines", "--no-legend"])?.ok()?;
            ensure!(list.stdout.lines().count() == 2, "{list}");
            Ok(true)
        })?;
        lab.shell(NAMES[1], "fleetctl list-machines")?.ok()?;

        lab.write_file(NAMES[1], "/root/web@.service", WEB)?;
        lab.shell(NAMES[1], "fleetctl start web@1 web@2")?.ok()?;
        let running = units::settle(lab, NAMES[0], &NAMES, &["web@*"], |running| {
            ensure!(running.len() == 2, "{running:?}");
            Ok(())
        })?;
        let hosts: Vec<&str> = running.keys().map(|(host, _)| host.as_str()).collect();
        ensure!(hosts == NAMES, "units that exclude each other: {running:?}");
        lab.shell(NAMES[0], "systemctl restart fleet")?.ok()?;
        let adopted = units::settle(lab, NAMES[0], &NAMES, &["web@*"], |_| Ok(()))?;
        ensure!(adopted == running, "from {running:?} to {adopted:?}");

        lab.shell(NAMES[0], "fleetctl destroy web@1 web@2")?.ok()?;
        wait_until("both units to be gone from systemd", SEEN_BOUND, || {
            Ok(units::running(lab, &NAMES, &["web@*"])?.is_empty() && units::listed(lab, NAMES[1])?.is_empty())
        })
    })
}

/// Debian's etcd in the place of the nodes.
fn start_etcd(lab: &Lab, url: &str) -> Result<()> {
    for host in NAMES {
        lab.exec(host, &["systemctl", "disable", "--now", "node"])?.ok()?;
    }
    lab.copy_file(NAMES[0], Path::new(ETCD), "/usr/local/bin/etcd")?;
    let line = format!(
        "systemd-run --quiet --unit etcd /usr/local/bin/etcd --data-dir /var/lib/etcd --listen-client-urls http://0.0.0.0:2379 \
         --advertise-client-urls {url}"
    );
    lab.shell(NAMES[0], &line)?.ok()?;
    wait_until("etcd to answer", SEEN_BOUND, || {
        let version = lab.exec(NAMES[1], &["curl", "-sf", "--max-time", "2", &format!("{url}/version")])?.ok()?;
        Ok(version.stdout.contains("etcdserver"))
    })
    .context("Debian's etcd")
}

fn start_fleetd(lab: &Lab, host: &str, etcd: &str) -> Result<()> {
    let ip = &lab.host(host)?.ip;
    let conf = format!("etcd_servers=[\"{etcd}\"]\nmetadata=\"host={host}\"\npublic_ip=\"{ip}\"\nagent_ttl=\"3s\"\n");
    lab.write_file(host, "/etc/fleet/fleet.conf", &conf)?;
    lab.write_file(host, "/etc/systemd/system/fleet.socket", SOCKET)?;
    lab.write_file(host, "/etc/systemd/system/fleet.service", SERVICE)?;
    let line = "ln -s node /usr/bin/fleetd; systemctl daemon-reload; systemctl start fleet.socket fleet.service";
    lab.shell(host, line)?.ok().map(drop)
}
