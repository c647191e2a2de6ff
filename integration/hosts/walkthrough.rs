//! The fleet walk-through with the commands as a person types them, then the loss of a host that runs a unit.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::CLOJURE_HTTP;
use crate::cluster::settings;
use crate::command::Output;
use crate::lab::{Host, Install, Lab};
use crate::tables::table;
use crate::units::invocation;
use crate::waits::{holds_for, wait_until};

const NAMES: [&str; 3] = ["core-01", "core-02", "core-03"];
const TEMPLATE: &str = "clojure-http@.service";
const FIRST: &str = "clojure-http@1.service";
const SECOND: &str = "clojure-http@2.service";

/// From the end of the boot until all machines are in the list.
const FORMS_BOUND: Duration = Duration::from_secs(60);
/// From a command that returned until what it caused is seen in a list or answers.
const SEEN_BOUND: Duration = Duration::from_secs(60);
/// From the loss of a host until its unit runs and answers elsewhere.
const FAILOVER_BOUND: Duration = Duration::from_secs(30);
/// How long nothing may happen to the others after a host has returned.
const CALM: Duration = Duration::from_secs(5);

/// A machine as the lists show it.
#[derive(Clone, Debug, PartialEq)]
struct Machine {
    host: String,
    ip: String,
    id: String,
}

impl Machine {
    /// The short id, as in the column MACHINE of `list-machines`.
    fn short(&self) -> String {
        format!("{}...", &self.id[..8])
    }

    /// Short id and address, as in `list-units`.
    fn legend(&self) -> String {
        format!("{}/{}", self.short(), self.ip)
    }
}

/// Forms a cluster of three hosts and tells both parts of the story.
pub fn run() -> Result<()> {
    Lab::start(&NAMES, &Install { binary: &crate::binary(), settings })?.tell(|lab| {
        let story = Story { lab, machines: machines(lab)? };
        story.machines_are_listed("core-01")?;
        story.submit()?;
        story.start("core-01")?;
        story.look_at_the_units()?;
        story.a_restart_of_node_touches_no_unit()?;
        story.stop()?;
        story.destroy()?;
        story.lose_a_host()
    })
}

/// All machines of the lab, in the order of their ids, as every list has them.
fn machines(lab: &Lab) -> Result<Vec<Machine>> {
    let mut machines = Vec::new();
    for Host { name, ip } in lab.hosts() {
        machines.push(Machine { host: name.clone(), ip: ip.clone(), id: lab.machine_id(name)? });
    }
    machines.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(machines)
}

struct Story<'a> {
    lab: &'a Lab,
    machines: Vec<Machine>,
}

impl Story<'_> {
    fn machines_are_listed(&self, from: &str) -> Result<()> {
        for host in NAMES {
            self.lab.exec(host, &["systemctl", "is-active", "node"])?.ok()?;
        }
        let rows: Vec<_> = self
            .machines
            .iter()
            .map(|machine| [machine.short(), machine.ip.clone(), format!("host={},role=web", machine.host)])
            .collect();
        self.list_becomes(from, "fleetctl list-machines", ["MACHINE", "IP", "METADATA"], &rows, FORMS_BOUND)
    }

    fn submit(&self) -> Result<()> {
        self.lab.write_file("core-01", &format!("/root/{TEMPLATE}"), CLOJURE_HTTP)?;
        let output = self.lab.shell("core-01", &format!("fleetctl submit {TEMPLATE}"))?.ok()?;
        ensure!(output.stdout == format!("Unit {TEMPLATE} inactive\n"), "{output}");
        self.unit_files_are("core-01", &[[TEMPLATE, "inactive", "inactive", "-"]])
    }

    /// Starts both instances; they come up on two different machines.
    fn start(&self, from: &str) -> Result<()> {
        let output = self.lab.shell(from, &format!("fleetctl start {FIRST} {SECOND}"))?.ok()?;
        let placed = self.placement(from)?;
        let (first, second) = (&placed[FIRST], &placed[SECOND]);
        ensure!(first != second, "both instances are on {}, in spite of their conflict", first.host);
        for (unit, machine) in &placed {
            has_line(&output, &format!("Unit {unit} inactive"))?;
            has_line(&output, &format!("Unit {unit} launched on {}", machine.legend()))?;
        }
        self.units_are(from, &[(FIRST, first, "active", "running"), (SECOND, second, "active", "running")])?;
        let (first_target, second_target) = (first.legend(), second.legend());
        self.unit_files_are(
            from,
            &[
                [TEMPLATE, "inactive", "inactive", "-"],
                [FIRST, "launched", "launched", &first_target],
                [SECOND, "launched", "launched", &second_target],
            ],
        )?;
        for machine in [first, second] {
            wait_until(&format!("{} to answer", machine.host), SEEN_BOUND, || self.answers(from, machine))?;
        }
        Ok(())
    }

    /// Status and journal come from whichever machine runs the unit; asked from a third one, too.
    fn look_at_the_units(&self) -> Result<()> {
        for from in NAMES {
            for unit in [FIRST, SECOND] {
                let status = self.lab.shell(from, &format!("fleetctl status {unit}"))?.ok()?;
                ensure!(status.stdout.contains("Active: active (running)"), "{status}");
                let journal = self.lab.shell(from, &format!("fleetctl journal {unit}"))?.ok()?;
                ensure!(journal.stdout.contains("listening on port 5000"), "{journal}");
            }
        }
        let text = self.lab.shell("core-02", &format!("fleetctl cat {FIRST}"))?.ok()?;
        ensure!(text.stdout == CLOJURE_HTTP, "{text}");
        Ok(())
    }

    fn a_restart_of_node_touches_no_unit(&self) -> Result<()> {
        for (unit, machine) in self.placement("core-01")? {
            let before = invocation(self.lab, &machine.host, &unit)?;
            self.lab.shell(&machine.host, "systemctl restart node")?.ok()?;
            wait_until(&format!("node on {} to see its unit again", machine.host), FORMS_BOUND, || {
                Ok(self.placement(&machine.host)?.get(&unit) == Some(&machine))
            })?;
            let after = invocation(self.lab, &machine.host, &unit)?;
            ensure!(before == after, "a restart of node changed {unit} from {before} to {after}");
        }
        Ok(())
    }

    fn stop(&self) -> Result<()> {
        let placed = self.placement("core-01")?;
        let (first, second) = (&placed[FIRST], &placed[SECOND]);
        let output = self.lab.shell("core-01", &format!("fleetctl stop {FIRST} {SECOND}"))?.ok()?;
        has_line(&output, &format!("Unit {FIRST} loaded on {}", first.legend()))?;
        has_line(&output, &format!("Unit {SECOND} loaded on {}", second.legend()))?;
        let said = format!("Successfully stopped units [{FIRST} {SECOND}].");
        ensure!(output.stderr.lines().any(|line| line == said), "no line {said:?} on stderr\n{output}");
        // A program that ends with 143 on SIGTERM has failed, says systemd.
        self.units_are("core-01", &[(FIRST, first, "failed", "failed"), (SECOND, second, "failed", "failed")])
    }

    fn destroy(&self) -> Result<()> {
        let output = self.lab.shell("core-01", &format!("fleetctl destroy {FIRST} {SECOND} {TEMPLATE}"))?.ok()?;
        for unit in [FIRST, SECOND, TEMPLATE] {
            has_line(&output, &format!("Destroyed {unit}"))?;
        }
        self.units_are("core-01", &[])?;
        self.unit_files_are("core-01", &[])
    }

    /// Takes the power from the host that runs the first instance; the third takes over, and the return changes nothing.
    fn lose_a_host(&self) -> Result<()> {
        self.submit()?;
        self.start("core-01")?;
        let placed = self.placement("core-01")?;
        let (lost, other) = (&placed[FIRST], &placed[SECOND]);
        let third =
            self.machines.iter().find(|machine| *machine != lost && *machine != other).context("no third machine")?;
        let other_before = invocation(self.lab, &other.host, SECOND)?;

        println!("# the power of {} fails", lost.host);
        let failed = Instant::now();
        self.lab.power_off(&lost.host)?;
        wait_until(&format!("{FIRST} to run on {}", third.host), FAILOVER_BOUND, || {
            ensure!(self.units_now(&third.host)? == running_on(third, other), "{:?}", self.units_now(&third.host)?);
            self.answers(&other.host, third)
        })?;
        println!("# {FIRST} answers on {} after {:.1?}", third.host, failed.elapsed());
        let third_before = invocation(self.lab, &third.host, FIRST)?;

        println!("# the power of {} returns", lost.host);
        self.lab.power_on(&lost.host)?;
        self.machines_are_listed(&lost.host)?;
        holds_for("that the return of a host stops nothing", CALM, || {
            ensure!(self.units_now(&lost.host)? == running_on(third, other), "{:?}", self.units_now(&lost.host)?);
            ensure!(invocation(self.lab, &other.host, SECOND)? == other_before, "{SECOND} was restarted");
            ensure!(invocation(self.lab, &third.host, FIRST)? == third_before, "{FIRST} was restarted");
            let containers = self.lab.exec(&lost.host, &["docker", "ps", "-q"])?.ok()?;
            ensure!(containers.stdout.is_empty(), "{} runs a second copy\n{containers}", lost.host);
            Ok(())
        })?;
        self.lab.shell(&lost.host, "fleetctl list-units")?.ok().map(drop)
    }

    /// Waits until a list is exactly the header and `rows`, then shows it as a person would see it.
    fn list_becomes<const N: usize>(
        &self,
        from: &str,
        command: &str,
        header: [&str; N],
        rows: &[[String; N]],
        bound: Duration,
    ) -> Result<()> {
        let mut expected = vec![header];
        expected.extend(rows.iter().map(|row| row.each_ref().map(String::as_str)));
        let expected = table(&expected);
        wait_until(&format!("`{command}` to print\n{expected}"), bound, || {
            let output = self.lab.exec(from, &["sh", "-c", command])?.ok()?;
            ensure!(output.stdout == expected, "{output}");
            Ok(true)
        })?;
        self.lab.shell(from, command)?.ok().map(drop)
    }

    /// `list-units` becomes exactly this: unit, machine, active and sub state.
    fn units_are(&self, from: &str, units: &[(&str, &Machine, &str, &str)]) -> Result<()> {
        let rows: Vec<_> = units
            .iter()
            .map(|(unit, machine, active, sub)| {
                [(*unit).to_owned(), machine.legend(), (*active).to_owned(), (*sub).to_owned()]
            })
            .collect();
        self.list_becomes(from, "fleetctl list-units", ["UNIT", "MACHINE", "ACTIVE", "SUB"], &rows, SEEN_BOUND)
    }

    /// `list-unit-files` becomes exactly this: unit, desired state, state and target; every unit has the template's hash.
    fn unit_files_are(&self, from: &str, files: &[[&str; 4]]) -> Result<()> {
        // The file is written as the hash wants it: without comments, one empty line between sections.
        let sum = self.lab.exec("core-02", &["sh", "-c", "printf %s \"$0\" | sha1sum", CLOJURE_HTTP])?.ok()?;
        let hash = &sum.stdout[..7];
        let rows: Vec<_> = files
            .iter()
            .map(|[unit, dstate, state, target]| [unit, hash, dstate, state, target].map(str::to_owned))
            .collect();
        let header = ["UNIT", "HASH", "DSTATE", "STATE", "TARGET"];
        self.list_becomes(from, "fleetctl list-unit-files", header, &rows, SEEN_BOUND)
    }

    /// What `list-units` says now: unit, machine, active and sub state of each row.
    fn units_now(&self, from: &str) -> Result<Vec<[String; 4]>> {
        let output = self.lab.exec(from, &["fleetctl", "list-units", "--no-legend"])?.ok()?;
        let rows = output.stdout.lines().map(|line| {
            let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            words.try_into().map_err(|_| anyhow::anyhow!("a row that has not 4 columns: {line:?}"))
        });
        rows.collect()
    }

    /// Which machine runs which unit, once both instances are active.
    fn placement(&self, from: &str) -> Result<BTreeMap<String, Machine>> {
        let mut placed = BTreeMap::new();
        wait_until("both instances to be active", SEEN_BOUND, || {
            placed.clear();
            for [unit, legend, active, sub] in self.units_now(from)? {
                ensure!(active == "active" && sub == "running", "{unit} on {legend} is {active} ({sub})");
                let machine = self.machines.iter().find(|machine| machine.legend() == legend);
                placed.insert(unit, machine.with_context(|| format!("no machine is {legend}"))?.clone());
            }
            ensure!(placed.keys().eq([FIRST, SECOND]), "{placed:?}");
            Ok(true)
        })?;
        Ok(placed)
    }

    fn answers(&self, from: &str, machine: &Machine) -> Result<bool> {
        let url = format!("http://{}:5000", machine.ip);
        let output = self.lab.exec(from, &["curl", "-sS", "--max-time", "1", &url])?.ok()?;
        ensure!(output.stdout == "Hello World\n", "{output}");
        Ok(true)
    }
}

/// The rows of `list-units` when the first instance runs on one machine and the second on another.
fn running_on(first: &Machine, second: &Machine) -> Vec<[String; 4]> {
    let row = |unit: &str, machine: &Machine| [unit, &machine.legend(), "active", "running"].map(str::to_owned);
    vec![row(FIRST, first), row(SECOND, second)]
}

/// Checks that one line on stdout is exactly `line`; the order in which units become ready is not fixed.
fn has_line(output: &Output, line: &str) -> Result<()> {
    ensure!(output.stdout.lines().any(|said| said == line), "no line {line:?} on stdout\n{output}");
    Ok(())
}
