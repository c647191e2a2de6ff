//! Timers that move between hosts: what was due while no host had the timer is run once where `Persistent=` asks for it, and what one host has
//! run is not run by another.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::cluster::settings;
use crate::lab::{Install, Lab};
use crate::units::{self, SEEN_BOUND};
use crate::waits::{holds_for, wait_until};

const NAMES: [&str; 3] = ["core-01", "core-02", "core-03"];
/// Longer than systemd takes to notice that a timer is due.
const CALM: Duration = Duration::from_secs(3);
/// A timer that runs what it missed, and one that does not.
const TIMERS: [(&str, &str); 2] = [("catches-up", "Persistent=yes"), ("skips", "Persistent=no")];

pub fn run() -> Result<()> {
    Lab::start(&NAMES, &Install { binary: &crate::binary(), settings })?.tell(|lab| {
        let story = Story { lab };
        wait_until("three machines", SEEN_BOUND, || story.machines().map(|number| number == 3))?;
        for (name, policy) in TIMERS {
            let service = format!("[Service]\nType=oneshot\nExecStart=/bin/sh -c 'echo ran >>/root/{name}.log'\n");
            lab.write_file(NAMES[0], &format!("/root/{name}.service"), &service)?;
            lab.write_file(NAMES[0], &format!("/root/{name}.timer"), &timer(name, policy, "2199-01-01 00:00:00 UTC"))?;
        }
        story.missed_while_no_host_had_it()?;
        story.not_run_again_elsewhere()
    })
}

fn timer(name: &str, policy: &str, moment: &str) -> String {
    format!("[Timer]\nOnCalendar={moment}\nAccuracySec=1s\n{policy}\n\n[X-Fleet]\nMachineOf={name}.service\n")
}

struct Story<'a> {
    lab: &'a Lab,
}

impl Story<'_> {
    /// The host of the timers is lost, no other one takes them, and their moment passes.
    fn missed_while_no_host_had_it(&self) -> Result<()> {
        let [asked, _, lost] = NAMES;
        println!("# {lost} has the timers, and is lost");
        self.only(lost)?;
        self.lab.shell(asked, "fleetctl load catches-up.service skips.service")?.ok()?;
        self.lab.shell(asked, "fleetctl start catches-up.timer skips.timer")?.ok()?;
        let begun = self.elapsed(None)?;
        self.lab.power_off(lost)?;
        wait_until("the host to be missed", SEEN_BOUND, || self.machines().map(|number| number == 2))?;
        let moment = self.lab.exec(asked, &["date", "-u", "+%Y-%m-%d %H:%M:%S UTC"])?.ok()?.stdout;
        for (name, policy) in TIMERS {
            self.lab.write_file(asked, &format!("/root/{name}.timer"), &timer(name, policy, moment.trim()))?;
            let replace = format!("fleetctl start --no-block --replace {name}.timer");
            self.lab.shell(asked, &replace)?.ok()?;
        }
        println!("# another host takes them");
        self.only("core-02")?;
        self.runs_on("core-02")?;
        wait_until("the missed run", SEEN_BOUND, || Ok(self.runs("core-02", "catches-up")? == 1))?;
        self.elapsed(Some(&begun)).map(drop)
    }

    /// A host with the same timer and no run of its own does not make up for one that another host has made.
    fn not_run_again_elsewhere(&self) -> Result<()> {
        println!("# the timers move on");
        self.lab.shell(NAMES[0], "node ctl uncordon $(cat /etc/machine-id)")?.ok()?;
        self.lab.shell("core-02", "node ctl drain $(cat /etc/machine-id)")?.ok()?;
        self.runs_on(NAMES[0])?;
        holds_for("that nothing is run twice, or made up for", CALM, || {
            let ran: Vec<usize> = ["core-01", "core-02"]
                .into_iter()
                .flat_map(|host| TIMERS.map(|(name, _)| self.runs(host, name)))
                .collect::<Result<_>>()?;
            ensure!(ran == [0, 0, 1, 0], "{ran:?}");
            Ok(())
        })
    }

    /// Lets units come to one host only.
    fn only(&self, host: &str) -> Result<()> {
        let machines = self.lab.exec(NAMES[0], &["fleetctl", "list-machines", "--no-legend", "--full"])?.ok()?;
        let ip = &self.lab.host(host)?.ip;
        for line in machines.stdout.lines() {
            let id = line.split_whitespace().next().context("a machine without an id")?;
            let verb = if line.contains(ip.as_str()) { "uncordon" } else { "cordon" };
            self.lab.shell(NAMES[0], &format!("node ctl {verb} {id}"))?.ok()?;
        }
        Ok(())
    }

    /// Waits until the cluster has noted another moment than `before` at which the timer has last elapsed.
    fn elapsed(&self, before: Option<&str>) -> Result<String> {
        let mut found = String::new();
        wait_until("the run to be noted", SEEN_BOUND, || {
            let told = self.lab.exec(NAMES[0], &["node", "ctl", "explain", "catches-up.timer"])?.ok()?.stdout;
            let line = told.lines().find(|line| line.contains("it has last elapsed at")).map(str::to_owned);
            found = line.with_context(|| told.clone())?;
            Ok(Some(found.as_str()) != before)
        })?;
        Ok(found)
    }

    /// Waits until the timers are active on a host.
    fn runs_on(&self, host: &str) -> Result<()> {
        wait_until(&format!("the timers to be active on {host}"), SEEN_BOUND, || {
            let rows = units::listed(self.lab, NAMES[0])?;
            let active = |name: &str| {
                let unit = format!("{name}.timer");
                rows.iter().any(|[on, listed, active, _]| on == host && *listed == unit && active == "active")
            };
            ensure!(TIMERS.iter().all(|(name, _)| active(name)), "{rows:?}");
            Ok(true)
        })
    }

    /// How often a service has run on a host.
    fn runs(&self, host: &str, name: &str) -> Result<usize> {
        let script = format!("cat /root/{name}.log 2>/dev/null || true");
        Ok(self.lab.exec(host, &["sh", "-c", &script])?.ok()?.stdout.lines().count())
    }

    fn machines(&self) -> Result<usize> {
        let list = self.lab.exec(NAMES[0], &["fleetctl", "list-machines", "--no-legend"])?.ok()?;
        Ok(list.stdout.lines().count())
    }
}
