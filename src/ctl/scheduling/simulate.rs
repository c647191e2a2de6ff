//! `simulate`: what would move where and why, if machines were lost, drained or added.

use super::ask::{Cluster, Names, escape};
use crate::api::fleet::scheduling_model::ForecastJson;
use crate::ctl::args::Parsed;

/// Asks for a scenario and prints what would come of it: 1 where units would fit nowhere that run today.
pub async fn run(cluster: &Cluster, parsed: &Parsed) -> anyhow::Result<u8> {
    let names = cluster.names().await?;
    let mut query = Vec::new();
    for flag in ["kill", "drain"] {
        for word in parsed.values(flag).flat_map(|words| words.split(',')).filter(|word| !word.is_empty()) {
            query.push(format!("{flag}={}", escape(&names.id(word)?)));
        }
    }
    for flag in ["add", "metadata"] {
        query.extend(parsed.values(flag).map(|value| format!("{flag}={}", escape(value))));
    }
    if parsed.truth("rebalance")? {
        query.push("rebalance".to_owned());
    }
    print(cluster, &format!("simulate?{}", query.join("&"))).await
}

/// Prints what would come of a question to the node.
///
/// # Errors
/// Where the node does not answer, or refuses.
pub async fn print(cluster: &Cluster, path: &str) -> anyhow::Result<u8> {
    let names = cluster.names().await?;
    let forecast: ForecastJson = cluster.get(path).await?;
    print!("{}", text(&forecast, &names));
    Ok(u8::from(forecast.waiting.iter().any(|waiting| waiting.newly)))
}

fn text(forecast: &ForecastJson, names: &Names) -> String {
    let mut lines = Vec::new();
    for moved in &forecast.moves {
        let unit = &moved.unit;
        let [from, to] = [&moved.from, &moved.to].map(|id| names.legend(id));
        let way = match (moved.from.is_empty(), moved.to.is_empty()) {
            (true, _) => format!("{unit} comes to {to}"),
            (_, true) => format!("{unit} leaves {from}"),
            _ => format!("{unit} goes from {from} to {to}"),
        };
        lines.push(format!("{way}: {}", moved.reason));
    }
    for waiting in forecast.waiting.iter().filter(|waiting| waiting.newly) {
        lines.push(format!("{} would fit nowhere:", waiting.unit));
        let others = waiting.passed_over.iter();
        lines.extend(others.map(|other| format!("  {}  {}", names.column(&other.machine_id), other.reason)));
    }
    if lines.is_empty() {
        lines.push("nothing would move".to_owned());
    }
    let waiting = forecast.waiting.iter().filter(|waiting| !waiting.newly).count();
    if waiting > 0 {
        lines.push(format!("{waiting} units that fit nowhere today would go on waiting"));
    }
    lines.into_iter().map(|line| line + "\n").collect()
}
