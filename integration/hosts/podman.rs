//! Podman's service as a host's engine, with systemd beside it: by systemd's timers Podman looks at its containers' health, and a
//! change goes by what it finds.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::app_image;
use crate::cluster;
use crate::lab::{Host, Install, Lab};
use crate::waits::wait_until;

const HOST: &str = "core-01";
/// From a change until it is seen.
const SEEN_BOUND: Duration = Duration::from_secs(60);

/// A host is a container itself: it can neither lay one file system over another nor raise limits.
const STORAGE: &str = "[storage]\ndriver = \"vfs\"\nrunroot = \"/run/containers/storage\"\n\
    graphroot = \"/var/lib/containers/storage\"\n";
const CONTAINERS: &str = "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=4096:4096\"]\n\
    log_driver = \"k8s-file\"\n[engine]\nruntime = \"runc\"\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n";

const UNIT: &str = "[Container]
Image=web:1
Entrypoint=/bin/sh
Exec=-c 'echo >/WELL; trap exit TERM; /bin/busybox sleep 1000 & wait'
HealthCmd=/bin/busybox test -e /well
HealthInterval=1s
HealthRetries=1
HealthStartPeriod=5s
StopTimeout=5
";

/// What a host sets whose engine is Podman's.
pub fn settings(host: &Host, hosts: &[Host]) -> String {
    cluster::settings(host, hosts) + "\n[docker]\nsocket = \"/run/podman/podman.sock\"\n"
}

/// Sets Podman up on a host, gives it the image `web:1`, and starts the node anew, which finds it then.
pub fn prepare(lab: &Lab, host: &str) -> Result<()> {
    lab.write_file(host, "/etc/containers/storage.conf", STORAGE)?;
    lab.write_file(host, "/etc/containers/containers.conf", CONTAINERS)?;
    let import = format!("podman import {} web:1", app_image::ARCHIVE);
    lab.shell(host, &format!("systemctl start podman.socket && {import} && systemctl restart node"))?.ok().map(drop)
}

/// Plays it.
pub fn run() -> Result<()> {
    Lab::start(&[HOST], &Install { binary: &crate::binary(), settings })?.tell(|lab| {
        prepare(lab, HOST)?;
        let write = |well: &str| lab.write_file(HOST, "/root/web.container", &UNIT.replace("WELL", well));
        let apply = "node ctl apply --settle 0 --timeout 30 web.container";

        write("well")?;
        wait_until("the node to take containers", SEEN_BOUND, || Ok(lab.exec(HOST, &["sh", "-c", apply])?.code == 0))?;
        is(lab, "active running")?;
        lab.shell(HOST, "systemctl is-active $(podman ps -q --no-trunc).timer")?.ok()?;
        lab.shell(HOST, "podman exec systemd-web /bin/busybox rm /well")?.ok()?;
        is(lab, "active unhealthy")?;
        lab.shell(HOST, "podman exec systemd-web /bin/busybox touch /well")?.ok()?;
        is(lab, "active running")?;

        // One that never gets well is taken back.
        write("ill")?;
        let told = lab.shell(HOST, apply)?.exits_with(1)?;
        ensure!(told.stdout.contains("not well"), "{told}");
        is(lab, "active running")?;
        lab.shell(HOST, "podman exec systemd-web /bin/busybox test -e /well")?.ok().map(drop)
    })
}

/// Waits until the unit is in this state.
fn is(lab: &Lab, state: &str) -> Result<()> {
    wait_until(&format!("web.container to be {state}"), SEEN_BOUND, || {
        let listed = lab.exec(HOST, &["fleetctl", "list-units", "--no-legend", "--fields", "active,sub"])?.ok()?;
        let now: Vec<&str> = listed.stdout.split_whitespace().collect();
        ensure!(now.join(" ") == state, "{listed}");
        Ok(true)
    })
}
