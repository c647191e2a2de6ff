//! The units of a cluster as `fleetctl` lists them and as the hosts' own systemd knows them, beside each other.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::lab::Lab;
use crate::waits::wait_until;

/// From a change until both tell of it.
pub const SEEN_BOUND: Duration = Duration::from_secs(60);

/// What runs: host and unit, and the life of it, which another start would change.
pub type Running = BTreeMap<(String, String), String>;

/// PID and invocation of a unit that runs; both change when it is started anew.
pub fn invocation(lab: &Lab, host: &str, unit: &str) -> Result<String> {
    let argv = ["systemctl", "show", "-p", "MainPID,InvocationID,ActiveState", unit];
    let shown = lab.exec(host, &argv)?.ok()?.stdout;
    if !shown.contains("ActiveState=active") || shown.contains("MainPID=0") {
        bail!("{unit} does not run on {host}: {shown}");
    }
    Ok(shown.trim().replace('\n', " "))
}

/// The rows of `fleetctl list-units`, asked from a host: host, unit, active and sub state.
pub fn listed(lab: &Lab, from: &str) -> Result<BTreeSet<[String; 4]>> {
    let fields = "machine,unit,active,sub";
    let list = lab.exec(from, &["fleetctl", "list-units", "--no-legend", "--fields", fields])?.ok()?;
    let row = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [machine, unit, active, sub] = words[..] else { bail!("a row that has not 4 columns: {line:?}") };
        let ip = machine.split_once('/').map_or(machine, |(_, ip)| ip);
        let host = lab.hosts().iter().find(|host| host.ip == ip).with_context(|| format!("no host is {machine}"))?;
        Ok([&host.name, unit, active, sub].map(str::to_owned))
    };
    list.stdout.lines().map(row).collect()
}

/// What of the units that match `patterns` runs on these hosts, by the word of their systemd alone.
pub fn running(lab: &Lab, hosts: &[&str], patterns: &[&str]) -> Result<Running> {
    let mut running = Running::new();
    for host in hosts {
        let argv = [&["systemctl", "show", "-p", "Id,MainPID,InvocationID,ActiveState"], patterns].concat();
        for shown in lab.exec(host, &argv)?.ok()?.stdout.split("\n\n") {
            let value = |key: &str| shown.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            let (Some(unit), Some("active")) = (value("Id"), value("ActiveState")) else { continue };
            let life = format!("{} {}", value("MainPID").unwrap_or("-"), value("InvocationID").unwrap_or("-"));
            running.insert(((*host).to_owned(), unit.to_owned()), life);
        }
    }
    Ok(running)
}

/// Waits until `fleetctl`, asked from a host, lists exactly what runs on `hosts`, and `condition` holds for it.
pub fn settle(
    lab: &Lab,
    from: &str,
    hosts: &[&str],
    patterns: &[&str],
    condition: impl Fn(&Running) -> Result<()>,
) -> Result<Running> {
    let mut settled = Running::new();
    wait_until(&format!("{from} to list what runs on {hosts:?}"), SEEN_BOUND, || {
        let (rows, found) = (listed(lab, from)?, running(lab, hosts, patterns)?);
        let row = |(host, unit): &(String, String)| [host, unit, "active", "running"].map(str::to_owned);
        ensure!(found.keys().map(row).collect::<BTreeSet<_>>() == rows, "listed {rows:?}, running {found:?}");
        condition(&found)?;
        settled = found;
        Ok(true)
    })?;
    Ok(settled)
}
