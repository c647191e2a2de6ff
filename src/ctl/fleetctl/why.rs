//! Why a unit does not run, in the words in which `start`, `status` and `journal` all say it.

use super::Context;
use super::client::escape;
use super::list::{Machines, known_machines, machine_legend};
use crate::api::fleet::model::{Explanation, UnitJson};

/// For each machine what speaks against it; `None` where one does not, or nobody can say.
pub async fn nowhere(context: &Context, name: &str, machines: &Machines) -> Option<String> {
    let explained = context.client.get::<Explanation>(&format!("explain/{}", escape(name))).await.ok()?;
    if explained.machines.iter().any(|verdict| verdict.fits) {
        return None;
    }
    if explained.machines.is_empty() {
        return Some(format!("Unit {name} fits on no machine: there is none in the cluster"));
    }
    let reasons = explained
        .machines
        .iter()
        .map(|verdict| format!("\n  {}: {}", machine_legend(&verdict.machine_id, machines), verdict.reason));
    Some(format!("Unit {name} fits on no machine:{}", reasons.collect::<String>()))
}

/// What its machine complained of.
pub fn refused(name: &str, problem: &str) -> String {
    format!("Unit {name}: {problem}")
}

/// What keeps a unit from running, as far as somebody said so.
pub async fn reasons(context: &Context, unit: &UnitJson) -> Option<String> {
    let states = context.client.states().await.unwrap_or_default();
    let problems = states.iter().filter(|state| state.name == unit.name && !state.problem.is_empty());
    let problems: Vec<String> = problems.map(|state| refused(&unit.name, &state.problem)).collect();
    if !problems.is_empty() {
        return Some(problems.join("\n"));
    }
    if unit.machine_id.is_empty() && unit.desired_state != "inactive" {
        return nowhere(context, &unit.name, &known_machines(context).await).await;
    }
    None
}
