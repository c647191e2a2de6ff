//! The cloud-configs of the tutorials and of vagrant/, as they are but for the token: three machines become a cluster.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::lab::{Host, Install, Lab};
use crate::waits::wait_until;

/// Gives the tokens out; the others are the machines of the tutorial.
const GIVES_TOKENS: &str = "found";
const NAMES: [&str; 3] = ["core-01", "core-02", "core-03"];
const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const EXAMPLES: &str = "config/usr/share/doc/node/examples";
/// From the start of the user-data until all machines are in the list.
const FORMS_BOUND: Duration = Duration::from_secs(60);
/// Takes away what a machine has been so far.
const RESET: &str = "systemctl stop node-cloudinit node hello 2>/dev/null; rm -rf /var/lib/node/* /var/lib/coreos-cloudinit \
    /etc/node/node.toml.d /run/fleet/units/*; systemctl daemon-reload";

fn settings(host: &Host, _: &[Host]) -> String {
    match host.name.as_str() {
        GIVES_TOKENS => "[client]\nlisten = \"0.0.0.0:2379\"\n".to_owned(),
        _ => String::new(),
    }
}

/// Each of the files, one after the other on the same machines.
pub fn run() -> Result<()> {
    let hosts = [&[GIVES_TOKENS], NAMES.as_slice()].concat();
    Lab::start(&hosts, &Install { binary: &crate::binary(), settings })?.tell(|lab| {
        for file in [&format!("{EXAMPLES}/cloud-config/etcd.yaml"), "vagrant/user-data.sample"] {
            a_cluster_comes_of(lab, file).with_context(|| file.to_owned())?;
        }
        Ok(())
    })
}

fn a_cluster_comes_of(lab: &Lab, file: &str) -> Result<()> {
    let tokens = format!("http://{}:2379", lab.host(GIVES_TOKENS)?.ip);
    let token = lab.exec(GIVES_TOKENS, &["curl", "-sS", "-f", &format!("{tokens}/new?size=3")])?.ok()?.stdout;
    let text = std::fs::read_to_string(format!("{ROOT}/{file}"))?;
    let line = |line: &str| match line.split_once("discovery:") {
        Some((before, _)) => format!("{}discovery: {}\n", before.trim_end_matches('#'), token.trim()),
        None => format!("{line}\n"),
    };
    let user_data: String = text.lines().map(line).collect();
    let begun = Instant::now();
    for name in NAMES {
        let ip = &lab.host(name)?.ip;
        lab.exec(name, &["sh", "-c", RESET])?.ok()?;
        lab.write_file(name, "/etc/environment", &format!("COREOS_PUBLIC_IPV4={ip}\nCOREOS_PRIVATE_IPV4={ip}\n"))?;
        lab.write_file(name, "/var/lib/node-cloudinit/user-data", &user_data)?;
        lab.exec(name, &["systemctl", "start", "--no-block", "node-cloudinit"])?.ok()?;
    }
    wait_until("three machines to be a cluster", FORMS_BOUND, || {
        let machines = lab.exec(NAMES[2], &["fleetctl", "list-machines", "--no-legend"])?.ok()?;
        ensure!(machines.stdout.lines().count() == NAMES.len(), "{machines}");
        Ok(true)
    })?;
    eprintln!("lab: {file} has made a cluster {:.1?} after the first machine got it", begun.elapsed());
    lab.write_file(
        NAMES[0],
        "/root/hello.service",
        &std::fs::read_to_string(format!("{ROOT}/{EXAMPLES}/hello.service"))?,
    )?;
    lab.exec(NAMES[0], &["fleetctl", "start", "hello.service"])?.ok()?;
    wait_until("the unit to be in the list", FORMS_BOUND, || {
        let units = lab.exec(NAMES[1], &["fleetctl", "list-units", "--no-legend"])?.ok()?;
        ensure!(units.stdout.contains("hello.service") && units.stdout.contains("active\trunning"), "{units}");
        Ok(true)
    })?;
    // The port that these tutorials' clients use.
    let peers = format!("http://{}:4001", lab.host(NAMES[1])?.ip);
    lab.exec(NAMES[0], &["etcdctl", "--peers", &peers, "set", "/message", file])?.ok()?;
    let told = lab.exec(NAMES[2], &["etcdctl", "--peers", &peers, "get", "/message"])?.ok()?;
    ensure!(told.stdout.trim() == file, "{told}");
    // At the next boot there is nothing left to do.
    for name in NAMES {
        lab.exec(name, &["systemctl", "restart", "node-cloudinit"])?.ok()?;
    }
    lab.exec(NAMES[0], &["fleetctl", "destroy", "hello.service"])?.ok().map(drop)
}
