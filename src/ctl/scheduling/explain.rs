//! `explain` and `why-not`: what speaks for and against machines.

use super::ask::{Cluster, Names, escape};
use crate::api::fleet::model::{Explanation, UnitJson, Verdict};
use crate::unit::name::from_argument;

/// Every machine, for one unit.
pub async fn explain(cluster: &Cluster, word: &str) -> anyhow::Result<u8> {
    let (unit, explanation) = read(cluster, word).await?;
    let names = cluster.names().await?;
    println!("{}", standing(&unit, &names));
    if let Some(elapsed) = &explanation.elapsed {
        println!("  it has last elapsed at {elapsed}, and goes on from there on any machine");
    }
    for verdict in &explanation.machines {
        let mark = if verdict.holds { '*' } else { ' ' };
        println!("{mark} {}  {}", names.column(&verdict.machine_id), text(verdict));
    }
    if explanation.machines.is_empty() {
        println!("  there is no machine in the cluster");
    }
    Ok(0)
}

/// One machine, for one unit.
pub async fn why_not(cluster: &Cluster, word: &str, machine: &str) -> anyhow::Result<u8> {
    let (unit, explanation) = read(cluster, word).await?;
    let names = cluster.names().await?;
    let id = names.id(machine)?;
    let about = explanation.machines.iter().find(|verdict| verdict.machine_id == id);
    let about = about.ok_or_else(|| anyhow::anyhow!("machine {id} has just gone"))?;
    println!("{}", answer(&unit.name, about, &explanation, &names));
    Ok(0)
}

async fn read(cluster: &Cluster, word: &str) -> anyhow::Result<(UnitJson, Explanation)> {
    let name = from_argument(word);
    let told = |error: anyhow::Error| error.context(name.clone());
    let unit = cluster.get(&format!("units/{}", escape(&name))).await.map_err(told)?;
    let explanation = cluster.get(&format!("explain/{}", escape(&name))).await.map_err(told)?;
    Ok((unit, explanation))
}

fn standing(unit: &UnitJson, names: &Names) -> String {
    let place = match (unit.machine_id.as_str(), unit.current_state.as_str()) {
        // Of a global unit there is no state of the whole.
        ("", "") => "runs on every machine that it fits".to_owned(),
        ("", _) => "is on no machine".to_owned(),
        (id, state) => format!("is {state} on {}", names.legend(id)),
    };
    format!("{} {place}; wanted {}", unit.name, unit.desired_state)
}

fn text(verdict: &Verdict) -> &str {
    if verdict.fits { &verdict.fit } else { &verdict.reason }
}

fn answer(unit: &str, about: &Verdict, all: &Explanation, names: &Names) -> String {
    let here = names.legend(&about.machine_id);
    let holder = all.machines.iter().find(|verdict| verdict.holds);
    let best = all.machines.iter().find(|verdict| verdict.best);
    if about.holds {
        return format!("{unit} is on {here} ({})", text(about));
    }
    if !about.fits {
        return format!("{unit} cannot run on {here}: {}", about.reason);
    }
    let verdict = match best.filter(|_| !about.best) {
        Some(best) => format!("{} is better ({})", names.legend(&best.machine_id), best.fit),
        None => "no machine is better".to_owned(),
    };
    let stays = match holder {
        Some(holder) => {
            let there = names.legend(&holder.machine_id);
            format!("; it is on {there} and stays there unless it is moved (`node ctl rebalance`)")
        }
        None => String::new(),
    };
    format!("{unit} could run on {here} ({}): {verdict}{stays}", about.fit)
}
