//! `drain`: a machine's units move away, and the command waits until they have, or says what is left and why.

use std::collections::BTreeSet;

use tokio::time::Instant;

use super::Options;
use super::ask::{Cluster, Names};
use super::machines;
use crate::api::fleet::scheduling_model::{Cordon, Drain, RemainingJson};

/// Drains a machine.
pub async fn run(cluster: &Cluster, machine: &str, options: &Options) -> anyhow::Result<u8> {
    let names = cluster.names().await?;
    let id = names.id(machine)?;
    let deadline = Instant::now() + options.patience;
    let mut news = cluster.news().await;
    let before: RemainingJson = cluster.get(&machines::path(&id)).await?;
    let there = before.queued.len() + before.stuck.len();
    let drain = Some(Drain { max_parallel: options.max_parallel });
    machines::put(cluster, &id, Cordon { drain }).await?;
    if !options.block {
        println!("{} is being drained; `node ctl machines` shows how far it is", names.legend(&id));
        return Ok(0);
    }
    let mut told = BTreeSet::new();
    loop {
        let left: RemainingJson = cluster.get(&machines::path(&id)).await?;
        let still_there = left.queued.len() + left.stuck.len();
        for unit in left.moving.iter().filter(|unit| told.insert((unit.unit.clone(), unit.to.clone()))) {
            println!("{} goes to {}", unit.unit, names.legend(&unit.to));
        }
        let late = Instant::now() >= deadline;
        if late || is_over(&left) {
            println!("{} units have left {}", there.saturating_sub(still_there), names.legend(&id));
            let (text, empty) = summary(&names.legend(&id), &left, &names);
            print!("{text}");
            return Ok(u8::from(!empty));
        }
        news.wait(deadline).await;
    }
}

/// Nothing is on its way any more, and nothing will be by itself.
fn is_over(left: &RemainingJson) -> bool {
    let failed = |unit: &str| left.moving.iter().any(|moved| moved.failed && kin(&moved.unit) == kin(unit));
    left.stopping.is_empty()
        && left.moving.iter().all(|unit| unit.failed)
        && left.queued.iter().all(|unit| failed(unit))
}

/// What the instances of a template have in common.
fn kin(unit: &str) -> &str {
    unit.split_once('@').map_or(unit, |(prefix, _)| prefix)
}

/// What came of it, and whether nothing is left to be done.
fn summary(machine: &str, left: &RemainingJson, names: &Names) -> (String, bool) {
    let mut lines = Vec::new();
    for unit in &left.stuck {
        lines.push(format!("{} stays on {machine}, as it fits nowhere else:", unit.unit));
        let others = unit.passed_over.iter();
        lines.extend(others.map(|other| format!("  {}  {}", names.column(&other.machine_id), other.reason)));
    }
    for unit in &left.moving {
        let state = if unit.failed { "has failed on" } else { "is on its way to" };
        lines.push(format!(
            "{} {state} {}; `fleetctl status {}` may say why",
            unit.unit,
            names.legend(&unit.to),
            unit.unit
        ));
    }
    lines.extend(left.queued.iter().map(|unit| format!("{unit} waits on {machine} for its turn")));
    lines.extend(left.stopping.iter().map(|unit| format!("{unit} is being stopped on {machine}")));
    let empty = lines.is_empty();
    if empty {
        lines.push(format!("{machine} is drained"));
    }
    (lines.into_iter().map(|line| line + "\n").collect(), empty)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::fleet::scheduling_model::MovingJson;

    #[test]
    fn a_drain_is_over_when_nothing_moves_by_itself() {
        let moving = |unit: &str, failed| MovingJson { unit: unit.into(), to: "m2".into(), failed };
        let left = |moving: Vec<MovingJson>, queued: &[&str], stopping: &[&str]| RemainingJson {
            moving,
            queued: queued.iter().map(|unit| (*unit).to_owned()).collect(),
            stopping: stopping.iter().map(|unit| (*unit).to_owned()).collect(),
            ..RemainingJson::default()
        };
        for (left, expected) in [
            (left(vec![], &[], &[]), true),
            (left(vec![moving("a@1.service", false)], &[], &[]), false),
            (left(vec![moving("a@1.service", true)], &[], &[]), true),
            (left(vec![moving("a@1.service", true)], &["a@2.service"], &[]), true),
            (left(vec![moving("a@1.service", true)], &["b.service"], &[]), false),
            (left(vec![], &[], &["a.service"]), false),
        ] {
            assert_eq!(is_over(&left), expected, "{left:?}");
        }
    }
}
