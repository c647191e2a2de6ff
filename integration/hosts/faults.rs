//! What happens to machines, and what must not happen to their units: three hosts live through reboots, losses of power,
//! partitions, lost quorums, upgrades and an id that two of them have.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::cluster::settings;
use crate::lab::{Host, Install, Lab};
use crate::units::{self, Running, SEEN_BOUND};
use crate::waits::{holds_for, wait_until};

const NAMES: [&str; 3] = ["core-01", "core-02", "core-03"];
/// One for each host, which none else may run.
const PINNED: &str = "[Service]
ExecStart=/bin/sleep infinity

[X-Fleet]
MachineMetadata=host=%i
";
/// One that may run anywhere.
const ROAMER: &str = "[Service]\nExecStart=/bin/sleep infinity\n";
const PATTERNS: [&str; 2] = ["pinned@*", "roamer*"];
/// Longer than a machine's lease and an election together.
const CALM: Duration = Duration::from_secs(7);

/// Boots three hosts and gives them everything in turn.
pub fn run() -> Result<()> {
    // A machine that is only slow, as those of a test may be, is not lost so soon.
    let patient = |host: &Host, hosts: &[Host]| settings(host, hosts) + "presence_ms = 5000\n";
    Lab::start(&NAMES, &Install { binary: &crate::binary(), settings: patient })?.tell(|lab| {
        let story = Story { lab };
        story.start()?;
        story.quorum_lost_and_back()?;
        story.rolling_upgrade()?;
        story.node_away_for_long()?;
        story.machine_id_used_twice()?;
        story.partition_of_one_machine()?;
        story.reboot()?;
        story.power_loss()
    })
}

struct Story<'a> {
    lab: &'a Lab,
}

impl Story<'_> {
    fn start(&self) -> Result<()> {
        self.lab.write_file("core-01", "/root/pinned@.service", PINNED)?;
        wait_until("all machines to be listed", SEEN_BOUND, || Ok(self.machines("core-01")? == NAMES.len()))?;
        let units = NAMES.map(|name| format!("pinned@{name}")).join(" ");
        self.lab.shell("core-01", &format!("fleetctl start {units}"))?.ok()?;
        self.pinned_run("core-01").map(drop)
    }

    /// Nobody reaches anybody, for longer than leases last: nothing is restarted, then or afterwards.
    fn quorum_lost_and_back(&self) -> Result<()> {
        println!("# no host reaches another");
        let before = self.pinned_run("core-01")?;
        for host in NAMES {
            self.lab.partition(host, &others(host))?;
        }
        wait_until("the loss of the quorum to be told", SEEN_BOUND, || {
            let refused = self.lab.shell("core-01", "etcdctl put quorum lost --command-timeout=20s")?;
            Ok(refused.code != 0 && refused.stderr.contains("no quorum"))
        })?;
        self.stays(&before)?;
        for host in NAMES {
            self.lab.heal(host)?;
        }
        ensure!(self.pinned_run("core-02")? == before, "a unit was restarted by the quorum's return");
        self.stays(&before)
    }

    /// The program is replaced machine by machine: no unit hears of it.
    fn rolling_upgrade(&self) -> Result<()> {
        let before = self.pinned_run("core-01")?;
        for host in NAMES {
            println!("# {host} is upgraded");
            // What follows an ELF file's sections is another file and the same program.
            let replace = "cp /usr/bin/node /usr/bin/node.new; echo new >>/usr/bin/node.new; mv /usr/bin/node.new /usr/bin/node; \
                systemctl restart node";
            self.lab.shell(host, replace)?.ok()?;
            let same = "cmp /usr/bin/node /proc/$(systemctl show -P MainPID node)/exe";
            self.lab.shell(host, same)?.ok()?;
            ensure!(self.pinned_run(host)? == before, "the upgrade of {host} touched units");
        }
        Ok(())
    }

    /// A node is stopped for longer than its machine's lease: what is to go on there does, what was destroyed meanwhile goes.
    fn node_away_for_long(&self) -> Result<()> {
        let host = "core-02";
        println!("# the node of {host} is away for long");
        self.lab.write_file("core-01", "/root/extra@.service", PINNED)?;
        self.lab.shell("core-01", &format!("fleetctl start extra@{host}"))?.ok()?;
        let before = self.running()?;
        self.lab.shell(host, "systemctl stop node")?.ok()?;
        self.lab.shell("core-01", &format!("fleetctl destroy extra@{host}"))?.ok()?;
        wait_until(&format!("{host} to be missed"), SEEN_BOUND, || Ok(self.machines("core-01")? == 2))?;
        units::invocation(self.lab, host, &format!("extra@{host}"))?;
        self.lab.shell(host, "systemctl start node")?.ok()?;
        let after = self.pinned_run(host)?;
        ensure!(after == before, "from {before:?} to {after:?}");
        wait_until("the destroyed unit to be stopped", SEEN_BOUND, || {
            Ok(units::running(self.lab, &[host], &["extra@*"])?.is_empty())
        })
    }

    /// A disk that was copied: the second machine with the id is refused, and neither's units are touched.
    fn machine_id_used_twice(&self) -> Result<()> {
        let (first, second) = ("core-01", "core-03");
        println!("# {second} has the machine-id of {first}");
        let (id, own) = (self.lab.machine_id(first)?, self.lab.machine_id(second)?);
        let before = self.pinned_run(first)?;
        self.lab.exec(second, &["sh", "-c", &format!("echo {id} >/etc/machine-id; systemctl restart node")])?;
        let said = format!("machine-id {id} is in use by another node of this cluster");
        wait_until("the refusal to be in the journal", SEEN_BOUND, || {
            let journal = format!("journalctl -D /var/log/journal/{own} -u node -o cat");
            let journal = self.lab.exec(second, &["sh", "-c", &journal])?.ok()?;
            Ok(journal.stdout.lines().any(|line| line.starts_with("node: ") && line.contains(&said)))
        })?;
        ensure!(self.machines(first)? == 2, "the machine with the second id is listed");
        let only: Vec<_> = before.keys().filter(|(host, _)| host == second).collect();
        ensure!(
            units::running(self.lab, &[second], &PATTERNS)?.keys().collect::<Vec<_>>() == only,
            "it runs others' units"
        );
        self.lab.shell(second, &format!("echo {own} >/etc/machine-id; systemctl restart node"))?.ok()?;
        ensure!(self.pinned_run(first)? == before, "the right id's return touched units");
        self.stays(&before)
    }

    /// The units of a machine that is cut off go on there, and what may run elsewhere does so; afterwards one copy is left.
    fn partition_of_one_machine(&self) -> Result<()> {
        self.lab.write_file("core-01", "/root/roamer.service", ROAMER)?;
        self.lab.shell("core-01", "fleetctl start roamer")?.ok()?;
        let before = self.all_run("core-01")?;
        let cut_off = roamers_host(&before)?;
        println!("# {cut_off} is cut off");
        let rest = others(cut_off);
        self.lab.partition(cut_off, &rest)?;
        let elsewhere = units::settle(self.lab, rest[0], &rest, &PATTERNS, |running| {
            ensure!(running.len() == 3, "{running:?}");
            roamers_host(running).map(drop)
        })?;
        let running = self.running()?;
        ensure!(kept(&before, &running) == before.len(), "from {before:?} to {running:?}");
        self.lab.heal(cut_off)?;
        let healed = self.all_run(cut_off)?;
        ensure!(kept(&elsewhere, &healed) == 3, "from {elsewhere:?} to {healed:?}");
        ensure!(kept(&before, &healed) == 3, "from {before:?} to {healed:?}");
        self.stays(&healed)
    }

    /// A host is shut down in order and boots: its units are there again, and the others' were left alone.
    fn reboot(&self) -> Result<()> {
        let before = self.all_run("core-02")?;
        println!("# core-01 reboots");
        self.lab.shut_down("core-01")?;
        self.lab.power_on("core-01")?;
        let after = self.all_run("core-01")?;
        let elsewhere = before.iter().filter(|((on, _), _)| on != "core-01").count();
        ensure!(kept(&before, &after) == elsewhere, "from {before:?} to {after:?}");
        Ok(())
    }

    /// The same without a word, of the host that runs what may run elsewhere: it does so, and stays there.
    fn power_loss(&self) -> Result<()> {
        let before = self.all_run("core-01")?;
        let lost = roamers_host(&before)?;
        println!("# the power of {lost} fails");
        let rest = others(lost);
        self.lab.power_off(lost)?;
        let moved = units::settle(self.lab, rest[1], &rest, &PATTERNS, |running| {
            ensure!(running.len() == 3, "{running:?}");
            Ok(())
        })?;
        ensure!(kept(&before, &moved) == 2, "from {before:?} to {moved:?}");
        println!("# the power of {lost} returns");
        self.lab.power_on(lost)?;
        let after = self.all_run(lost)?;
        ensure!(kept(&moved, &after) == 3, "from {moved:?} to {after:?}");
        self.stays(&after)
    }

    /// Waits until the cluster lists the units that may run on one host only as running there, and systemd agrees.
    fn pinned_run(&self, from: &str) -> Result<Running> {
        units::settle(self.lab, from, &NAMES, &["pinned@*"], all_are_pinned)
    }

    /// The same of all units.
    fn all_run(&self, from: &str) -> Result<Running> {
        units::settle(self.lab, from, &NAMES, &PATTERNS, |running| {
            ensure!(running.len() == NAMES.len() + 1, "{running:?}");
            all_are_pinned(running)
        })
    }

    fn running(&self) -> Result<Running> {
        units::running(self.lab, &NAMES, &PATTERNS)
    }

    /// For a while exactly this runs, and nothing of it is started anew.
    fn stays(&self, expected: &Running) -> Result<()> {
        holds_for("that units are left alone", CALM, || {
            let running = self.running()?;
            ensure!(running == *expected, "from {expected:?} to {running:?}");
            Ok(())
        })
    }

    fn machines(&self, from: &str) -> Result<usize> {
        let list = self.lab.exec(from, &["fleetctl", "list-machines", "--no-legend"])?.ok()?;
        Ok(list.stdout.lines().count())
    }
}

fn others(host: &str) -> Vec<&'static str> {
    NAMES.into_iter().filter(|name| *name != host).collect()
}

/// That each host runs the unit that no other may run.
fn all_are_pinned(running: &Running) -> Result<()> {
    let unit = |host: &str| (host.to_owned(), format!("pinned@{host}.service"));
    ensure!(NAMES.iter().all(|host| running.contains_key(&unit(host))), "{running:?}");
    Ok(())
}

/// How much of what ran then runs now, in the same life.
fn kept(then: &Running, now: &Running) -> usize {
    then.iter().filter(|(unit, life)| now.get(*unit) == Some(*life)).count()
}

fn roamers_host(running: &Running) -> Result<&'static str> {
    let on = running.keys().find(|(_, unit)| unit == "roamer.service").map(|(host, _)| host);
    NAMES.into_iter().find(|name| on.is_some_and(|on| on == name)).context("roamer.service runs nowhere")
}
