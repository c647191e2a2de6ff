//! How long the start of a unit takes across nodes, and what a whole node weighs.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use corenode::net::Address;
use hyper::Method;
use serde_json::Value;

const STARTS: usize = 40;

struct Cluster {
    dev: Child,
    endpoints: Vec<Address>,
    dir: String,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.dev);
        // It may have ended already.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.dev.wait();
    }
}

fn cluster(binary: &str) -> anyhow::Result<Cluster> {
    let mut dev = Command::new(binary).arg("dev").stdout(Stdio::piped()).spawn().context("starting node dev")?;
    let lines = BufReader::new(dev.stdout.take().context("node dev prints nothing")?).lines();
    let mut cluster = Cluster { dev, endpoints: Vec::new(), dir: String::new() };
    for line in lines {
        let line = line?;
        if let Some(list) = line.strip_prefix("export ETCDCTL_ENDPOINTS=") {
            cluster.endpoints =
                list.split(',').map(|url| url.trim_start_matches("http://").parse()).collect::<Result<_, _>>()?;
        }
        if let Some(dir) = line.strip_prefix("export NODE_DEV_DIR=") {
            cluster.dir = dir.to_owned();
            return Ok(cluster);
        }
    }
    anyhow::bail!("node dev ended before it served")
}

pub async fn report(binary: &str) -> anyhow::Result<()> {
    let cluster = cluster(binary)?;
    for node in 1..=3 {
        let pid = std::fs::read_to_string(format!("{}/dev-{node}/pid", cluster.dir))?;
        let status = std::fs::read_to_string(format!("/proc/{}/status", pid.trim()))?;
        let resident = status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or("VmRSS: unknown");
        println!("idle node dev-{node}: {}", resident.split_whitespace().collect::<Vec<_>>().join(" "));
    }
    starts(&cluster).await
}

/// A unit is started at one node; the time until another node's list shows it active.
async fn starts(cluster: &Cluster) -> anyhow::Result<()> {
    let (near, far) = (&cluster.endpoints[0], &cluster.endpoints[1]);
    let mut taken = Vec::new();
    for number in 0..STARTS {
        let name = format!("bench-{number}.service");
        let mut changes =
            corenode::ctl::http::open(far, Method::GET, &format!("/fleet/v1/watch?unit={name}"), None).await?;
        let body = serde_json::json!({
            "desiredState": "launched",
            "options": [{"section": "Service", "name": "ExecStart", "value": "/bin/sleep infinity"}],
        });
        let path = format!("/fleet/v1/units/{name}");
        let started = Instant::now();
        let body = Some(("application/json", body.to_string().into_bytes()));
        let answer = corenode::ctl::http::call(near, Method::PUT, &path, body, Duration::from_secs(5)).await?;
        ensure!(answer.status.is_success(), "PUT {path}: {}", answer.status);
        let active = async {
            let mut text = Vec::new();
            while let Some(piece) = changes.next().await? {
                text.extend_from_slice(&piece);
                if text.split(|byte| *byte == b'\n').any(is_active) {
                    return anyhow::Ok(());
                }
            }
            anyhow::bail!("the watch ended")
        };
        tokio::time::timeout(Duration::from_secs(10), active).await.context("the unit is not active within 10 s")??;
        taken.push(started.elapsed());
    }
    taken.sort();
    let at = |share: f64| taken[((taken.len() - 1) as f64 * share) as usize].as_secs_f64() * 1000.0;
    println!(
        "start at one node until active at another, {STARTS} units: median {:.1} ms, p90 {:.1} ms, most {:.1} ms",
        at(0.5),
        at(0.9),
        at(1.0)
    );
    Ok(())
}

fn is_active(line: &[u8]) -> bool {
    let Ok(value) = serde_json::from_slice::<Value>(line) else { return false };
    value.pointer("/state/systemdActiveState").and_then(Value::as_str) == Some("active")
}
