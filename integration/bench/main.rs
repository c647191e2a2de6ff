//! `make bench`: three members of etcd and three of ours, the same load on both in turns, and the ratios. Figures for
//! people, never a test.

mod cases;
mod grpc;
mod load;
mod servers;
mod table;
mod units;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};

use cases::Plan;
use servers::Kind;

const USAGE: &str = "bench NODE [--etcd PATH] [--rounds 3] [--seconds 4] [--keys 1000000] [--only TEXT]";

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let ours = PathBuf::from(arguments.next().context(USAGE)?);
    let mut etcd = PathBuf::from("/usr/bin/etcd");
    let mut plan = Plan { rounds: 3, time: Duration::from_secs(4), keys: 1_000_000, only: String::new() };
    while let Some(flag) = arguments.next() {
        let value = arguments.next().with_context(|| format!("{flag} needs a value; {USAGE}"))?;
        match flag.as_str() {
            "--etcd" => etcd = value.into(),
            "--rounds" => plan.rounds = value.parse()?,
            "--seconds" => plan.time = Duration::from_secs(value.parse()?),
            "--keys" => plan.keys = value.parse()?,
            "--only" => plan.only = value,
            _ => bail!("{flag} is unknown; {USAGE}"),
        }
    }
    println!("ours: {}, {} bytes", ours.display(), std::fs::metadata(&ours)?.len());
    let version = std::process::Command::new(&etcd).arg("--version").output();
    let version = version.with_context(|| format!("{}: install Debian's etcd-server", etcd.display()))?;
    println!(
        "etcd: {}, {}",
        etcd.display(),
        String::from_utf8_lossy(&version.stdout).lines().next().unwrap_or_default()
    );
    let kinds = [Kind { name: "etcd", binary: etcd }, Kind { name: "ours", binary: ours.clone() }];
    let rows = cases::measure(&kinds, &plan).await?;
    print!("{}", table::print(&rows));
    if plan.only.is_empty() {
        units::report(&ours.to_string_lossy()).await?;
    }
    Ok(())
}
