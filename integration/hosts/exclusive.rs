//! `Exclusive=true` under systemd: a host that is cut off, and one whose node has ended, stop the unit before another starts it. Each
//! host writes down when it runs, by the clock that all hosts of the lab share.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::cluster::settings;
use crate::lab::{Install, Lab};
use crate::waits::wait_until;

const NAMES: [&str; 3] = ["core-01", "core-02", "core-03"];
/// It does not listen to SIGTERM, and its own time to stop is long.
const UNIT: &str = "[Service]
ExecStart=/bin/sh -c 'trap : TERM; while :; do cut -d\" \" -f1 /proc/uptime >>/var/log/only; sleep 0.05; done'
TimeoutStopSec=300
Restart=always

[X-Fleet]
Exclusive=true
";
/// From the loss of a host until another one runs the unit: its lease, the time to stop, a margin.
const MOVES_BOUND: Duration = Duration::from_secs(60);
const FORMS_BOUND: Duration = Duration::from_secs(60);

pub fn run() -> Result<()> {
    Lab::start(&NAMES, &Install { binary: &crate::binary(), settings })?.tell(|lab| {
        wait_until("three machines", FORMS_BOUND, || {
            Ok(lab.exec(NAMES[0], &["fleetctl", "list-machines", "--no-legend"])?.ok()?.stdout.lines().count() == 3)
        })?;
        lab.write_file(NAMES[0], "/root/only.service", UNIT)?;
        lab.shell(NAMES[0], "fleetctl start only.service")?.ok()?;
        let first = next(lab, &[])?;
        let others: Vec<&str> = NAMES.into_iter().filter(|host| *host != first).collect();
        lab.partition(first, &others)?;
        let second = next(lab, &[first])?;
        lab.heal(first)?;
        in_turn(lab, first, second)?;

        lab.shell(second, "systemctl stop node")?.ok()?;
        let before = times(lab, first)?.len();
        let third = wait_for_another(lab, second, &[(first, before)])?;
        let (ended, begun) = (last(lab, second)?, begin(lab, third, if third == first { before } else { 0 })?);
        ensure!(ended < begun, "{second} ran until {ended}, {third} from {begun}");
        let said = lab.shell(second, "journalctl -u node-fence -o cat")?.ok()?;
        ensure!(said.stdout.contains("stopping only.service"), "{said}");
        lab.shell(second, "systemctl start node")?.ok()?;
        in_turn_after(lab, second, third)
    })
}

/// The moments at which a host ran the unit.
fn times(lab: &Lab, host: &str) -> Result<Vec<f64>> {
    let text = lab.exec(host, &["sh", "-c", "cat /var/log/only 2>/dev/null || true"])?.ok()?.stdout;
    let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
    whole.lines().map(|line| line.parse().with_context(|| format!("{host}: {line:?}"))).collect()
}

fn last(lab: &Lab, host: &str) -> Result<f64> {
    times(lab, host)?.last().copied().with_context(|| format!("{host} never ran it"))
}

/// The first moment after the first `skipped`.
fn begin(lab: &Lab, host: &str, skipped: usize) -> Result<f64> {
    times(lab, host)?.get(skipped).copied().with_context(|| format!("{host} did not run it"))
}

/// The host that begins to run the unit, besides those that did.
fn next(lab: &Lab, before: &[&str]) -> Result<&'static str> {
    let mut found = None;
    wait_until("a host to run the unit", MOVES_BOUND, || {
        for host in NAMES.into_iter().filter(|host| !before.contains(host)) {
            if !times(lab, host)?.is_empty() {
                found = Some(host);
            }
        }
        Ok(found.is_some())
    })?;
    found.context("no host runs the unit")
}

/// A host other than `from` that has written more than it had.
fn wait_for_another(lab: &Lab, from: &str, had: &[(&str, usize)]) -> Result<&'static str> {
    let had: BTreeMap<&str, usize> = had.iter().copied().collect();
    let mut found = None;
    wait_until("another host to run the unit", MOVES_BOUND, || {
        for host in NAMES.into_iter().filter(|host| *host != from) {
            if times(lab, host)?.len() > had.get(host).copied().unwrap_or(0) {
                found = Some(host);
            }
        }
        Ok(found.is_some())
    })?;
    found.context("no other host runs the unit")
}

/// The one had ended before the other began, and has not begun again.
fn in_turn(lab: &Lab, first: &str, second: &str) -> Result<()> {
    let (ended, begun) = (last(lab, first)?, begin(lab, second, 0)?);
    ensure!(ended < begun, "{first} ran until {ended}, {second} from {begun}");
    in_turn_after(lab, first, second)
}

/// While the one runs on, the other does not.
fn in_turn_after(lab: &Lab, rests: &str, runs: &str) -> Result<()> {
    let (rested, ran) = (times(lab, rests)?.len(), times(lab, runs)?.len());
    wait_until("the unit to go on", MOVES_BOUND, || Ok(times(lab, runs)?.len() > ran + 20))?;
    ensure!(times(lab, rests)?.len() == rested, "{rests} runs it too");
    Ok(())
}
