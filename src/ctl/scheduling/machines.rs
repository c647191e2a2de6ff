//! `machines`, `machine set-metadata`, `cordon` and `uncordon`.

use anyhow::{Context as _, ensure};
use hyper::Method;
use serde_json::{Value, json};

use super::ask::{Cluster, Names, escape};
use crate::api::fleet::scheduling_model::{CapacitiesJson, CapacityJson, Cordon};
use crate::fleet::reason::{cores, mebibytes};
use crate::fleet::table;

/// How full machines are.
pub async fn list(cluster: &Cluster) -> anyhow::Result<u8> {
    let names = cluster.names().await?;
    let all: CapacitiesJson = cluster.get("capacity").await?;
    let mut rows = vec![["MACHINE", "UNITS", "LOAD", "MEMORY", "CORES", "STATE"].map(str::to_owned)];
    rows.extend(all.machines.iter().map(|machine| row(machine, &names)));
    print!("{}", table::format(&rows));
    Ok(0)
}

fn row(machine: &CapacityJson, names: &Names) -> [String; 6] {
    let of = |taken: String, total: u64, text: String| if total == 0 { taken } else { format!("{taken} of {text}") };
    let memory = mebibytes(machine.reserved_memory_bytes);
    let state = match machine.cordon {
        None => "in service",
        Some(Cordon { drain: None }) => "cordoned",
        Some(Cordon { drain: Some(_) }) => "drained",
    };
    [
        names.legend(&machine.machine_id),
        machine.units.to_string(),
        machine.load.to_string(),
        of(memory, machine.memory_bytes, mebibytes(machine.memory_bytes)),
        of(cores(machine.reserved_cpu_millis), machine.cpu_millis, cores(machine.cpu_millis)),
        if machine.absent { format!("{state}, absent") } else { state.to_owned() },
    ]
}

/// Changes a machine's metadata; a key without a value is taken away.
pub async fn set_metadata(cluster: &Cluster, machine: &str, pairs: &[&str]) -> anyhow::Result<u8> {
    let id = cluster.names().await?.id(machine)?;
    let change = |pair: &&str| {
        let (key, value) =
            pair.split_once('=').with_context(|| format!("{pair}: write KEY=VALUE, or KEY= to take it away"))?;
        let path = format!("/{id}/metadata/{key}");
        Ok(match value {
            "" => json!({"op": "remove", "path": path}),
            value => json!({"op": "add", "path": path, "value": value}),
        })
    };
    let changes: Vec<Value> = pairs.iter().map(change).collect::<anyhow::Result<_>>()?;
    cluster.send(Method::PATCH, "machines", Some(&changes)).await?;
    Ok(0)
}

/// No more units come to a machine.
pub async fn cordon(cluster: &Cluster, machine: &str) -> anyhow::Result<u8> {
    let names = cluster.names().await?;
    let id = names.id(machine)?;
    put(cluster, &id, Cordon::default()).await?;
    println!("{} takes no more units; those that are there stay", names.legend(&id));
    Ok(0)
}

/// A machine takes units again. It may be one that is not there.
pub async fn uncordon(cluster: &Cluster, machine: &str) -> anyhow::Result<u8> {
    let names = cluster.names().await?;
    let id = match names.id(machine) {
        Ok(id) => id,
        Err(error) => {
            let all: CapacitiesJson = cluster.get("capacity").await?;
            let absent = all.machines.into_iter().filter(|known| known.absent).map(|known| known.machine_id);
            let meant: Vec<String> = absent.filter(|id| id.starts_with(machine.trim_end_matches('.'))).collect();
            ensure!(meant.len() == 1, error);
            meant[0].clone()
        }
    };
    cluster.send(Method::DELETE, &path(&id), None::<&()>).await?;
    println!("{} takes units", names.legend(&id));
    Ok(0)
}

/// Writes a machine's cordon.
///
/// # Errors
/// Where the node does not answer, or refuses.
pub async fn put(cluster: &Cluster, id: &str, cordon: Cordon) -> anyhow::Result<()> {
    cluster.send(Method::PUT, &path(id), Some(&cordon)).await
}

/// Where a machine's cordon is.
pub fn path(id: &str) -> String {
    format!("cordons/{}", escape(id))
}
