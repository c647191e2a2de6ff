//! The cluster's work on three real hosts: starting many units and one, idling with them, losing a host.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use corenode::ctl::http::call;
use corenode::net::Address;
use hyper::Method;
use serde_json::Value;

use crate::cluster;
use crate::lab::{Host, Install, Lab};
use crate::table::Row;
use crate::watched::Watched;

const NAMES: [&str; 3] = ["core-01", "core-02", "core-03"];
/// The host whose power fails.
const LOST: &str = "core-03";
const UNITS: usize = 200;
const UNIT: &str = "[Service]\nExecStart=/bin/sleep infinity\n";
const ROUNDS: usize = 3;
/// Units that are started one after the other.
const SINGLES: usize = 20;
/// From the last start until the cluster counts as idle, and how long it is looked at then.
const REST: Duration = Duration::from_secs(10);
const IDLE: Duration = Duration::from_secs(40);
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// An executor, and what is asked of it.
pub struct Kind {
    pub name: &'static str,
    pub settings: fn(&Host, &[Host]) -> String,
    pub many_seconds: f64,
    pub one_seconds: Option<f64>,
}

/// systemd's, which is there, and our own.
pub const KINDS: [Kind; 2] = [
    Kind { name: "systemd", settings: cluster::settings, many_seconds: 2.5, one_seconds: Some(0.2) },
    Kind {
        name: "process",
        settings: |host, hosts| cluster::settings(host, hosts) + "executor = \"process\"\n",
        many_seconds: 1.5,
        one_seconds: None,
    },
];

/// Measures all of it with one executor.
pub async fn measure(binary: &Path, kind: &Kind) -> anyhow::Result<Vec<Row>> {
    let lab = Lab::start(&NAMES, &Install { binary, settings: kind.settings })?;
    let bench = Bench::new(&lab, binary)?;
    bench.rows(kind).await.inspect_err(|_| lab.report())
}

struct Bench<'a> {
    lab: &'a Lab,
    binary: &'a Path,
    /// Where the units' files are.
    folder: tempfile::TempDir,
    endpoints: Vec<Address>,
    lost_id: String,
}

/// What a node has used so far.
struct Used {
    cpu_seconds: Vec<f64>,
    entries: f64,
}

impl<'a> Bench<'a> {
    fn new(lab: &'a Lab, binary: &'a Path) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("make a temporary folder")?;
        for template in ["bench@.service", "one@.service"] {
            std::fs::write(folder.path().join(template), UNIT)?;
        }
        let url = |host: &Host| format!("{}:2379", host.ip).parse();
        let endpoints = lab.hosts().iter().map(url).collect::<Result<_, _>>()?;
        Ok(Self { lab, binary, folder, endpoints, lost_id: lab.machine_id(LOST)? })
    }

    async fn rows(&self, kind: &Kind) -> anyhow::Result<Vec<Row>> {
        let row = |what: String, unit, fleet, at_most, ours| Row { what, unit, fleet, at_most, ours };
        let (mut many, mut moved, mut idle) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            self.all_machines().await?;
            many.push(self.start_many().await?);
            if round == 0 {
                idle = self.idle(kind).await?;
            }
            moved.push(self.lose_a_host().await?);
            self.lab.power_on(LOST)?;
            self.destroy_many().await?;
        }
        self.all_machines().await?;
        let one = self.start_one_by_one().await?;
        let (name, many_most) = (kind.name, Some(kind.many_seconds));
        let mut rows = vec![
            row(format!("{UNITS} instances, command to all active, {name}"), "s", "3.7", many_most, many),
            row(format!("one start, command to active, {name}"), "s", "1.7–3.3", kind.one_seconds, one),
            row(format!("host lost to its 66 units active elsewhere, {name}"), "s", "30.5", Some(5.0), moved),
        ];
        rows.append(&mut idle);
        Ok(rows)
    }

    /// What `fleetctl` is told at the first host, from this machine.
    async fn fleetctl(&self, verb: &str, units: impl IntoIterator<Item = String>) -> anyhow::Result<()> {
        let mut command = tokio::process::Command::new(self.binary);
        command.args(["fleetctl", "--endpoint", &format!("http://{}", self.endpoints[0]), verb]).args(units);
        let output = command.current_dir(self.folder.path()).stdin(Stdio::null()).output().await?;
        ensure!(output.status.success(), "fleetctl: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    async fn all_machines(&self) -> anyhow::Result<()> {
        let started = Instant::now();
        loop {
            let answer = call(&self.endpoints[0], Method::GET, "/fleet/v1/machines", None, ANSWER_WITHIN).await;
            let machines = answer.ok().and_then(|answer| serde_json::from_slice::<Value>(&answer.body).ok());
            if machines.is_some_and(|list| list["machines"].as_array().map(Vec::len) == Some(NAMES.len())) {
                return Ok(());
            }
            ensure!(
                started.elapsed() < Duration::from_secs(60),
                "the machines have not found each other within a minute"
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Seconds from the command at one node until another tells that the last unit is active.
    async fn start_many(&self) -> anyhow::Result<f64> {
        let mut watched = Watched::open(&self.endpoints[1]).await?;
        let started = Instant::now();
        let (told, active) = tokio::join!(
            self.fleetctl("start", units()),
            watched.until("all units to be active", |active| active.len() == UNITS)
        );
        let taken = started.elapsed().as_secs_f64();
        told.and(active).map(|()| taken)
    }

    async fn destroy_many(&self) -> anyhow::Result<()> {
        self.fleetctl("destroy", units()).await?;
        let mut watched = Watched::open(&self.endpoints[1]).await?;
        watched.until("all units to be gone", |active| active.is_empty()).await
    }

    async fn start_one_by_one(&self) -> anyhow::Result<Vec<f64>> {
        let mut taken = Vec::new();
        let mut watched = Watched::open(&self.endpoints[1]).await?;
        for number in 0..SINGLES {
            let name = format!("one@{number}.service");
            let started = Instant::now();
            let (told, active) = tokio::join!(
                self.fleetctl("start", [name.clone()]),
                watched.until("the unit to be active", |active| active.iter().any(|(unit, _)| *unit == name))
            );
            taken.push(started.elapsed().as_secs_f64());
            told.and(active)?;
        }
        Ok(taken)
    }

    /// Seconds from the loss of power until as many units as before are active on the machines that are left.
    async fn lose_a_host(&self) -> anyhow::Result<f64> {
        let mut watched = Watched::open(&self.endpoints[1]).await?;
        let lost = |active: &crate::watched::Active| active.iter().filter(|(_, on)| *on == self.lost_id).count();
        watched.until("the host to have its share", |active| lost(active) >= UNITS / NAMES.len()).await?;
        let failed = Instant::now();
        self.lab.power_off(LOST)?;
        watched.until("all units to be active again", |active| lost(active) == 0 && active.len() == UNITS).await?;
        Ok(failed.elapsed().as_secs_f64())
    }

    async fn idle(&self, kind: &Kind) -> anyhow::Result<Vec<Row>> {
        tokio::time::sleep(REST).await;
        let before = self.used().await?;
        tokio::time::sleep(IDLE).await;
        let after = self.used().await?;
        let seconds = IDLE.as_secs_f64();
        let writes = (after.entries - before.entries) / seconds;
        let cpu =
            after.cpu_seconds.iter().zip(&before.cpu_seconds).map(|(after, before)| (after - before) * 40.0 / seconds);
        let name = kind.name;
        let row = |what: String, unit, fleet, at_most, ours| Row { what, unit, fleet, at_most: Some(at_most), ours };
        Ok(vec![
            row(format!("writes to the store while {UNITS} units are idle, {name}"), "1/s", "36", 0.0, vec![writes]),
            row(
                format!("a node's CPU while {UNITS} units are idle, {name}"),
                "s per 40 s",
                "0.8 and etcd",
                0.1,
                cpu.collect(),
            ),
            row(
                format!("resident memory of a node, {UNITS} units, {name}"),
                "MiB",
                "18 and etcd",
                40.0,
                self.memory()?,
            ),
        ])
    }

    async fn used(&self) -> anyhow::Result<Used> {
        let body = Some(("application/json", b"{}".to_vec()));
        let answer = call(&self.endpoints[0], Method::POST, "/v3/maintenance/status", body, ANSWER_WITHIN).await?;
        let status: Value = serde_json::from_slice(&answer.body)?;
        let entries = status["raftIndex"].as_str().context("no raftIndex in the status")?.parse()?;
        let cpu_seconds = NAMES.iter().map(|host| self.cpu_seconds(host)).collect::<Result<_, _>>()?;
        Ok(Used { cpu_seconds, entries })
    }

    /// What the node's own process has used so far, all its threads together.
    fn cpu_seconds(&self, host: &str) -> anyhow::Result<f64> {
        let stat = self.of_process(host, "stat")?;
        // After the name, which may have blanks in it: state is the first, user and system time are 12th and 13th.
        let words: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let [Some(user), Some(system)] = [words.get(11), words.get(12)] else { bail!("no times in {stat:?}") };
        Ok((user.parse::<f64>()? + system.parse::<f64>()?) / 100.0)
    }

    fn memory(&self) -> anyhow::Result<Vec<f64>> {
        let of = |host: &&str| {
            let status = self.of_process(host, "status")?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
            let kilobytes: f64 = line.split_whitespace().next().context("no number")?.parse()?;
            anyhow::Ok(kilobytes / 1024.0)
        };
        NAMES.iter().map(of).collect()
    }

    /// A file about the node's process.
    fn of_process(&self, host: &str, file: &str) -> anyhow::Result<String> {
        let line = format!("cat /proc/$(systemctl show -P MainPID node)/{file}");
        Ok(self.lab.exec(host, &["sh", "-c", &line])?.ok()?.stdout)
    }
}

fn units() -> impl Iterator<Item = String> {
    (1..=UNITS).map(|number| format!("bench@{number}.service"))
}
