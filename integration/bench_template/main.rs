//! `make bench-template`: how fast templates follow their keys, and the engine beside Go's own. Figures for people, never a
//! test.

mod engine;
mod nodes;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use nodes::Nodes;

/// Writes in the first row.
const WRITES: usize = 200;
/// Resources that read one key.
const RESOURCES: usize = 1_000;
/// Rounds of the second row.
const ROUNDS: usize = 5;
/// Between two rounds.
const PAUSE: Duration = Duration::from_secs(3);
/// How long nothing happens in the last row.
const IDLE: Duration = Duration::from_secs(20);

fn main() -> anyhow::Result<()> {
    let node = PathBuf::from(std::env::args().nth(1).context("bench_template NODE")?);
    let folder = tempfile::tempdir()?;
    let mut rows = Vec::new();
    following(&node, &folder.path().join("one"), &mut rows)?;
    many(&node, &folder.path().join("many"), &mut rows)?;
    engine::compare(&folder.path().join("engine"), &mut rows)?;
    println!("| | unit | measured | asked for |\n| --- | --- | --- | --- |");
    for Row { name, unit, value, most } in rows {
        let mark = if value <= most { "reached" } else { "MISSED" };
        println!("| {name} | {unit} | {value:.2} | <= {most:.2} {mark} |");
    }
    Ok(())
}

/// One figure.
pub struct Row {
    pub name: &'static str,
    pub unit: &'static str,
    pub value: f64,
    pub most: f64,
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

fn share(sorted: &[Duration], share: f64) -> f64 {
    ms(sorted[((sorted.len() - 1) as f64 * share) as usize])
}

/// A key written at one node → the file replaced at another, and its reload begun: the reload tells so through a pipe.
fn following(node: &Path, dir: &Path, rows: &mut Vec<Row>) -> anyhow::Result<()> {
    let nodes = Nodes::plan(node, dir, 3)?;
    let told = nodes.dir(0).join("told");
    rustix::fs::mknodat(rustix::fs::CWD, &told, rustix::fs::FileType::Fifo, rustix::fs::Mode::from_raw_mode(0o600), 0)?;
    let reload = format!("reload_cmd = \"cat {{{{.dest}}}} > {}\"", told.display());
    nodes.resource(0, "x", "{{getv \"/bench/key\"}}\n", &reload)?;
    let mut nodes = nodes;
    nodes.start()?;
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        // Each reload opens and closes the pipe.
        while let Ok(text) = std::fs::read_to_string(&told) {
            if sender.send((text, Instant::now())).is_err() {
                return;
            }
        }
    });
    let mut times = Vec::new();
    for number in 0..WRITES + 10 {
        let value = format!("value {number}\n");
        let began = Instant::now();
        nodes.put(1, "/bench/key", value.trim_end())?;
        loop {
            let (text, at) = receiver.recv_timeout(Duration::from_secs(10)).context("the reload was not begun")?;
            if text == value {
                times.push(at - began);
                break;
            }
        }
    }
    // The first ones find caches cold.
    let mut times = times.split_off(10);
    times.sort();
    let row = |name, value, most| Row { name, unit: "ms", value, most };
    rows.push(row("key written at another node → file replaced and reload begun, median", share(&times, 0.5), 10.0));
    rows.push(row("the same, p99", share(&times, 0.99), 30.0));
    Ok(())
}

/// Many resources read one key: one write replaces all files. Then nothing happens, and nothing is done.
fn many(node: &Path, dir: &Path, rows: &mut Vec<Row>) -> anyhow::Result<()> {
    let mut nodes = Nodes::plan(node, dir, 1)?;
    for number in 0..RESOURCES {
        nodes.resource(0, &format!("r{number}"), &format!("{number} {{{{getv \"/bench/key\"}}}}\n"), "")?;
    }
    nodes.start()?;
    let mut times = Vec::new();
    for round in 0..=ROUNDS {
        let began = Instant::now();
        nodes.put(0, "/bench/key", &format!("round {round}"))?;
        for number in 0..RESOURCES {
            let (file, expected) = (nodes.out(0, &format!("r{number}")), format!("{number} round {round}\n"));
            while std::fs::read_to_string(&file).unwrap_or_default() != expected {
                ensure!(began.elapsed() < Duration::from_secs(60), "{} does not follow", file.display());
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        times.push(began.elapsed());
        // What the write before left to be done (files to be freed, status to be told) is not measured.
        std::thread::sleep(PAUSE);
    }
    times.remove(0);
    times.sort();
    let name = "1,000 resources reading one key, one write → all replaced, median";
    rows.push(Row { name, unit: "s", value: share(&times, 0.5) / 1_000.0, most: 0.5 });

    std::thread::sleep(Duration::from_secs(3));
    let before = nodes.passes(0)?;
    std::thread::sleep(IDLE);
    let passes = nodes.passes(0)? - before;
    rows.push(Row {
        name: "renders and reads of 1,000 idle resources in 20 s",
        unit: "",
        value: passes as f64,
        most: 0.0,
    });
    Ok(())
}
