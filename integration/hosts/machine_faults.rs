//! What happens on one machine: units are replaced, destroyed and stopped by hand; beside the node the disk is full under /run,
//! systemd is executed anew, the bus is gone and back.

use anyhow::{Result, ensure};

use crate::cluster::settings;
use crate::lab::{Install, Lab};
use crate::units::{self, Running, SEEN_BOUND};
use crate::waits::wait_until;

const HOST: &str = "core-01";
const SLEEPER: &str = "[Service]\nExecStart=/bin/sleep infinity\n";
/// What must not be touched: the node itself, too.
const PATTERNS: [&str; 2] = ["steady*", "node.service"];

/// Boots one host and tells all of them.
pub fn run() -> Result<()> {
    Lab::start(&[HOST], &Install { binary: &crate::binary(), settings })?.tell(|lab| {
        let story = Story { lab };
        for unit in ["steady-1", "steady-2", "steady-3", "late-1", "late-2", "late-3"] {
            lab.write_file(HOST, &format!("/root/{unit}.service"), SLEEPER)?;
        }
        lab.shell(HOST, "fleetctl start steady-1 steady-2 steady-3")?.ok()?;
        story.replaced_and_destroyed()?;
        story.stopped_while_the_node_was_away()?;
        story.disk_full_under_run()?;
        story.systemd_executed_anew()?;
        story.bus_killed()?;
        story.bus_away()
    })
}

struct Story<'a> {
    lab: &'a Lab,
}

impl Story<'_> {
    /// A unit that is replaced or destroyed is stopped as it asks to be.
    fn replaced_and_destroyed(&self) -> Result<()> {
        println!("# a unit is replaced, and destroyed");
        let text = |seconds: u32| {
            format!(
                "[Service]\nExecStart=/bin/sleep {seconds}\nExecStop=/bin/sh -c 'echo stop >>/root/left'\n\
                 ExecStopPost=/bin/sh -c 'echo post {seconds} >>/root/left'\n"
            )
        };
        self.lab.write_file(HOST, "/root/leaver.service", &text(1000))?;
        self.lab.shell(HOST, "fleetctl start leaver")?.ok()?;
        self.lab.write_file(HOST, "/root/leaver.service", &text(2000))?;
        self.lab.shell(HOST, "fleetctl start --replace leaver")?.ok()?;
        let runs = self.lab.exec(HOST, &["sh", "-c", "ps -o args= -p $(systemctl show -P MainPID leaver)"])?.ok()?;
        ensure!(runs.stdout == "/bin/sleep 2000\n", "{runs}");
        self.lab.shell(HOST, "fleetctl destroy leaver")?.ok()?;
        wait_until("the unit to be gone from systemd", SEEN_BOUND, || {
            let load = self.lab.exec(HOST, &["systemctl", "show", "-P", "LoadState", "leaver"])?.ok()?;
            Ok(load.stdout == "not-found\n")
        })?;
        let left = self.lab.exec(HOST, &["cat", "/root/left"])?.ok()?.stdout;
        ensure!(left == "stop\npost 1000\nstop\npost 2000\n", "{left}");
        Ok(())
    }

    /// Who stops a unit by hand while no node looks has meant it.
    fn stopped_while_the_node_was_away(&self) -> Result<()> {
        println!("# a unit is stopped while the node is away");
        self.lab.shell(HOST, "systemctl stop node; systemctl stop steady-1; systemctl start node")?.ok()?;
        self.is("steady-1.service", "inactive")?;
        self.is("steady-2.service", "active")?;
        self.lab.shell(HOST, "fleetctl restart steady-1")?.ok()?;
        self.runs("steady-1.service")
    }

    /// A unit that cannot be written says why, and starts by itself once there is room.
    fn disk_full_under_run(&self) -> Result<()> {
        println!("# /run is full");
        let before = self.all_run()?;
        // A limit at what is used, and the rest of the last page filled.
        let fill = "mount -o remount,size=$(($(df --output=used -k /run | tail -n 1) + 64))k /run; \
            dd if=/dev/zero of=/run/filler bs=4k 2>/dev/null; df -k /run";
        self.lab.shell(HOST, fill)?.ok()?;
        self.lab.shell(HOST, "fleetctl start --no-block late-1")?.ok()?;
        wait_until("the reason to be shown", SEEN_BOUND, || {
            let status = self.lab.exec(HOST, &["fleetctl", "status", "late-1"])?;
            let told = format!("{}{}", status.stdout, status.stderr);
            ensure!(
                told.contains("late-1.service: writing its file: /run/fleet/units: No space left on device"),
                "{status}"
            );
            Ok(true)
        })?;
        self.lab.shell(HOST, "fleetctl status late-1")?;
        self.lab.shell(HOST, "rm /run/filler; mount -o remount,size=1g /run")?.ok()?;
        self.runs("late-1.service")?;
        ensure!(self.all_run()? == before, "units were restarted");
        Ok(())
    }

    fn systemd_executed_anew(&self) -> Result<()> {
        println!("# systemd is executed anew");
        let before = self.all_run()?;
        self.lab.shell(HOST, "systemctl daemon-reexec")?.ok()?;
        self.lab.shell(HOST, "fleetctl start late-2")?.ok()?;
        self.runs("late-2.service")?;
        self.lab.shell(HOST, "systemctl kill -s KILL late-2")?.ok()?;
        self.is("late-2.service", "failed")?;
        ensure!(self.all_run()? == before, "units were restarted");
        Ok(())
    }

    fn bus_killed(&self) -> Result<()> {
        println!("# the bus is killed");
        let before = self.all_run()?;
        self.lab.shell(HOST, "kill -9 $(systemctl show -P MainPID dbus)")?.ok()?;
        self.lab.shell(HOST, "fleetctl start late-3")?.ok()?;
        self.runs("late-3.service")?;
        self.lab.shell(HOST, "systemctl restart dbus; fleetctl stop late-3")?.ok()?;
        self.is("late-3.service", "inactive")?;
        ensure!(self.all_run()? == before, "units were restarted");
        Ok(())
    }

    /// What ends meanwhile is told once the bus is back, what is asked for meanwhile is done then.
    fn bus_away(&self) -> Result<()> {
        println!("# the bus is away");
        let before = self.all_run()?;
        self.lab.shell(HOST, "systemctl stop dbus.socket dbus.service")?.ok()?;
        self.lab.shell(HOST, "kill -9 $(systemctl show -P MainPID steady-3)")?.ok()?;
        self.lab.shell(HOST, "fleetctl start --no-block late-3")?.ok()?;
        self.lab.shell(HOST, "systemctl start dbus.socket dbus.service")?.ok()?;
        self.is("steady-3.service", "failed")?;
        self.runs("late-3.service")?;
        let mut expected = before;
        expected.remove(&(HOST.to_owned(), "steady-3.service".to_owned()));
        let after = units::running(self.lab, &[HOST], &PATTERNS)?;
        ensure!(after == expected, "from {expected:?} to {after:?}");
        Ok(())
    }

    /// The three that are always there, once the cluster lists them, and the node.
    fn all_run(&self) -> Result<Running> {
        for unit in ["steady-1.service", "steady-2.service", "steady-3.service"] {
            self.is(unit, "active")?;
        }
        units::running(self.lab, &[HOST], &PATTERNS)
    }

    /// Waits until the cluster has this state of the unit.
    fn is(&self, unit: &str, active: &str) -> Result<()> {
        wait_until(&format!("{unit} to be listed as {active}"), SEEN_BOUND, || {
            let rows = units::listed(self.lab, HOST)?;
            ensure!(rows.iter().any(|[_, listed, state, _]| listed == unit && state == active), "{rows:?}");
            Ok(true)
        })
    }

    fn runs(&self, unit: &str) -> Result<()> {
        self.is(unit, "active")?;
        units::invocation(self.lab, HOST, unit).map(drop)
    }
}
