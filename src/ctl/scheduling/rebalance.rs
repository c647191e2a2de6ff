//! `rebalance`: units move to better machines, a few at a time, until none is better off elsewhere.

use tokio::time::Instant;

use super::Options;
use super::ask::Cluster;
use super::simulate;
use crate::api::fleet::scheduling_model::RebalanceJson;

/// Rebalances, or tells what would move.
pub async fn run(cluster: &Cluster, options: &Options) -> anyhow::Result<u8> {
    if options.dry_run {
        return simulate::print(cluster, "simulate?rebalance").await;
    }
    let names = cluster.names().await?;
    let deadline = Instant::now() + options.patience;
    let mut news = cluster.news().await;
    let mut count = 0;
    loop {
        let done: RebalanceJson = cluster.post(&format!("rebalance?max={}", options.max_parallel)).await?;
        for moved in &done.moves {
            println!("{} goes from {} to {}", moved.unit, names.legend(&moved.from), names.legend(&moved.to));
        }
        count += done.moves.len();
        let on_their_way = done.moving.iter().filter(|unit| !unit.failed).count();
        if done.moves.is_empty() && on_their_way == 0 {
            for unit in &done.moving {
                println!("{} has failed on {}; nothing of its kind is moved", unit.unit, names.legend(&unit.to));
            }
            println!("{count} moved; no other unit is better off elsewhere");
            return Ok(u8::from(!done.moving.is_empty()));
        }
        if Instant::now() >= deadline {
            println!("{count} moved; {on_their_way} are still on their way after {:?}", options.patience);
            return Ok(1);
        }
        news.wait(deadline).await;
    }
}
