//! What is measured, in which order.

use std::time::{Duration, Instant};

use super::load::{self, Ask, Outcome};
use super::servers::{Cluster, Kind, Usage};
use super::table::{Goal, Row};

const WATCHERS: usize = 200;
const WATCH_WRITERS: usize = 100;
/// Longer than either store takes to bring what was written to the disk.
const SETTLES_WITHIN: Duration = Duration::from_millis(2_500);
const RESTARTS: usize = 3;

/// How long and how often.
pub struct Plan {
    pub rounds: usize,
    pub time: Duration,
    /// Keys for the figures of a large store.
    pub keys: usize,
    /// Only cases whose name contains this.
    pub only: String,
}

/// A figure of a load: its name, unit, goal, and how it follows from what happened.
type Figure = (&'static str, &'static str, Goal, fn(&Seen) -> f64);

/// What happened in one load.
struct Seen {
    outcome: Outcome,
    used: Usage,
}

enum Load {
    Loop(usize, Ask),
    FanOut,
}

fn loads() -> Vec<(Load, Vec<Figure>)> {
    use Goal::{AtLeast, AtMost, None};
    let rate: fn(&Seen) -> f64 = |seen| seen.outcome.rate();
    let linearizable = Ask::Range { serializable: false };
    let serializable = Ask::Range { serializable: true };
    vec![
        (Load::Loop(1, Ask::Put), vec![("put p50, 1 client", "ms", AtMost(1.0), |seen| seen.outcome.p50_ms)]),
        (
            Load::Loop(100, Ask::Put),
            vec![
                ("puts, 100 clients", "1/s", AtLeast(2.0), rate),
                ("put p99, 100 clients", "ms", AtMost(0.5), |seen| seen.outcome.p99_ms),
                ("CPU for 1000 puts, 100 clients", "s", None, |seen| {
                    seen.used.cpu_seconds / seen.outcome.operations * 1e3
                }),
                ("written for 1000 puts, 100 clients", "KiB", AtMost(0.5), |seen| {
                    seen.used.written_bytes / 1024.0 / seen.outcome.operations * 1e3
                }),
            ],
        ),
        (Load::Loop(500, Ask::Put), vec![("puts, 500 clients", "1/s", AtLeast(2.0), rate)]),
        (
            Load::Loop(100, linearizable),
            vec![
                ("linearizable ranges, 100 clients", "1/s", AtLeast(2.5), rate),
                ("CPU for 1000 linearizable ranges", "s", None, |seen| {
                    seen.used.cpu_seconds / seen.outcome.operations * 1e3
                }),
            ],
        ),
        (Load::Loop(100, serializable), vec![("serializable ranges, 100 clients", "1/s", None, rate)]),
        (Load::Loop(100, Ask::Mixed), vec![("90 % ranges, 10 % puts, 100 clients", "1/s", None, rate)]),
        (Load::Loop(100, Ask::Txn), vec![("transactions, 100 clients", "1/s", None, rate)]),
        (Load::Loop(100, Ask::LeasedPut), vec![("lease grant and put, 100 clients", "1/s", None, rate)]),
        (Load::FanOut, vec![("watch events, 200 watchers", "1/s", AtLeast(2.0), rate)]),
    ]
}

impl Load {
    async fn run(&self, cluster: &Cluster, plan: &Plan) -> anyhow::Result<Seen> {
        let before = cluster.usage()?;
        let outcome = match self {
            Load::Loop(clients, ask) => load::closed_loop(&cluster.clients(), *clients, plan.time, *ask).await?,
            Load::FanOut => load::fan_out(&cluster.clients(), WATCHERS, WATCH_WRITERS, plan.time).await?,
        };
        tokio::time::sleep(SETTLES_WITHIN).await;
        let after = cluster.usage()?;
        let used = Usage {
            cpu_seconds: after.cpu_seconds - before.cpu_seconds,
            written_bytes: after.written_bytes - before.written_bytes,
        };
        Ok(Seen { outcome, used })
    }
}

/// Runs everything; a row for each figure. `kinds` are etcd and ours, in this order.
pub async fn measure(kinds: &[Kind; 2], plan: &Plan) -> anyhow::Result<Vec<Row>> {
    let dir = tempfile::Builder::new().prefix("corenode-bench-").tempdir()?;
    let mut rows = under_load(kinds, plan, dir.path()).await?;
    if "large store".contains(&plan.only) {
        rows.extend(large(kinds, plan, dir.path()).await?);
    }
    Ok(rows)
}

async fn under_load(kinds: &[Kind; 2], plan: &Plan, dir: &std::path::Path) -> anyhow::Result<Vec<Row>> {
    let dir = dir.join("load");
    let mut clusters = Vec::new();
    for kind in kinds {
        let cluster = Cluster::start(kind, &dir).await?;
        load::fill(&cluster.clients(), load::KEYS).await?;
        clusters.push(cluster);
    }
    let mut rows = Vec::new();
    for (load, figures) in loads() {
        if !figures.iter().any(|(name, ..)| name.contains(&plan.only)) {
            continue;
        }
        let mut seen = [Vec::new(), Vec::new()];
        for round in 0..plan.rounds {
            // The one that went first goes second in the next round.
            for turn in 0..2 {
                let at = (round + turn) % 2;
                let one = load.run(&clusters[at], plan).await?;
                eprintln!(
                    "{} {}: {:.0}/s, p50 {:.2} ms, p99 {:.2} ms",
                    kinds[at].name,
                    figures[0].0,
                    one.outcome.rate(),
                    one.outcome.p50_ms,
                    one.outcome.p99_ms
                );
                seen[at].push(one);
            }
        }
        let [etcd, ours] = seen;
        for (name, unit, goal, of) in figures {
            rows.push(Row {
                name,
                unit,
                goal,
                etcd: etcd.iter().map(of).collect(),
                ours: ours.iter().map(of).collect(),
            });
        }
    }
    Ok(rows)
}

/// Idle memory, and what many keys do to it and to a restart. One cluster runs at a time.
async fn large(kinds: &[Kind; 2], plan: &Plan, dir: &std::path::Path) -> anyhow::Result<Vec<Row>> {
    let mut figures: [[Vec<f64>; 4]; 2] = Default::default();
    for (kind, [idle, filling, filled, restart]) in kinds.iter().zip(&mut figures) {
        let mut cluster = Cluster::start(kind, &dir.join("large")).await?;
        tokio::time::sleep(SETTLES_WITHIN).await;
        idle.push(cluster.resident_bytes()? / f64::from(1 << 20));
        let began = Instant::now();
        load::fill(&cluster.clients(), plan.keys).await?;
        filling.push(began.elapsed().as_secs_f64());
        tokio::time::sleep(SETTLES_WITHIN).await;
        filled.push(cluster.resident_bytes()? / f64::from(1 << 20));
        for _ in 0..RESTARTS {
            cluster.stop();
            restart.push(cluster.run().await?.as_secs_f64());
        }
        eprintln!(
            "{}: idle {idle:.0?} MiB, filled in {filling:.1?} s to {filled:.0?} MiB, restarts {restart:.2?} s",
            kind.name
        );
    }
    let [etcd, ours] = figures;
    let names = [
        ("resident memory, idle", "MiB", Goal::AtMost(0.5)),
        ("a million keys of 256 B written", "s", Goal::None),
        ("resident memory with them", "MiB", Goal::AtMost(0.7)),
        ("restart to serving with them", "s", Goal::AtMost(0.5)),
    ];
    let rows = names.into_iter().zip(etcd.into_iter().zip(ours));
    Ok(rows.map(|((name, unit, goal), (etcd, ours))| Row { name, unit, goal, etcd, ours }).collect())
}
