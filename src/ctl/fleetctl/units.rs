//! What changes units: submit, load, start, stop, unload, destroy.

use futures_util::stream::{self, StreamExt as _};

use super::client::{ApiError, IN_FLIGHT};
use super::create::create;
use super::find::is_global;
use super::wait::{Goal, Waiter};
use super::{Context, Failed, find, say};
use crate::api::fleet::model::UnitJson;
use crate::unit::name::from_argument;

/// `submit`
pub async fn submit(context: &Context) -> Result<u8, Failed> {
    create(context, "submit").await?;
    Ok(0)
}

/// `load`
pub async fn load(context: &Context) -> Result<u8, Failed> {
    let mut triggered = create(context, "load").await?;
    triggered.extend(set_all(context, "loaded").await.map_err(|error| failed("Error loading units", &error))?);
    wait(context, "load", Goal::Loaded, &triggered).await.map_err(|error| waiting(&error))?;
    Ok(0)
}

/// `start`
pub async fn start(context: &Context) -> Result<u8, Failed> {
    let mut triggered = create(context, "start").await?;
    triggered.extend(set_all(context, "launched").await.map_err(|error| failed("Error starting units", &error))?);
    wait(context, "start", Goal::Launched, &triggered).await.map_err(|error| {
        if error.starts_with("Failed to find") {
            failed("Error waiting for systemd unit states, err", &error)
        } else {
            waiting(&error)
        }
    })?;
    Ok(0)
}

/// `stop`
pub async fn stop(context: &Context) -> Result<u8, Failed> {
    let units = find::units(context, false).await?;
    if units.is_empty() {
        return nothing_found();
    }
    let is_up = |unit: &&UnitJson| is_global(unit) || unit.current_state != "inactive";
    let mut stopping: Vec<&UnitJson> = units.iter().take_while(is_up).collect();
    let down = units.get(stopping.len());
    // One that is about to be launched is not stopped yet.
    stopping.retain(|unit| is_global(unit) || unit.current_state != "loaded" || unit.desired_state == "launched");
    let waited = set_some(context, &stopping, ("stop", "loaded")).await?;
    if let Some(unit) = down {
        return Err(Failed::new(format!("Unable to stop unit {} in state inactive", unit.name)));
    }
    finish(context, ("stop", "stopped"), Goal::Loaded, &waited).await
}

/// `unload`
pub async fn unload(context: &Context) -> Result<u8, Failed> {
    let units = find::units(context, false).await?;
    if units.is_empty() {
        return nothing_found();
    }
    let is_up = |unit: &&UnitJson| unit.current_state != "inactive" || unit.desired_state != "inactive";
    let unloading: Vec<&UnitJson> = units.iter().filter(is_up).collect();
    let waited = set_some(context, &unloading, ("unload", "inactive")).await?;
    finish(context, ("unload", "unloaded"), Goal::Inactive, &waited).await
}

/// Sets the desired state of units; returns the names of those that are to be waited for.
async fn set_some(context: &Context, units: &[&UnitJson], verb: (&str, &str)) -> Result<Vec<String>, Failed> {
    let writes = units.iter().map(async |unit| (unit, set(context, unit, verb.1).await));
    let mut writes = stream::iter(writes).buffered(IN_FLIGHT);
    let mut waited = Vec::new();
    while let Some((unit, outcome)) = writes.next().await {
        outcome.map_err(|error| failed(&format!("Error setting target state for unit {}", unit.name), &error))?;
        if is_global(unit) {
            say::out(&format!("Triggered global unit {} {}\n", unit.name, verb.0));
        } else {
            waited.push(unit.name.clone());
        }
    }
    Ok(waited)
}

/// `destroy`
pub async fn destroy(context: &Context) -> Result<u8, Failed> {
    let units = find::units(context, true).await?;
    if units.is_empty() {
        return nothing_found();
    }
    let mut code = 0;
    let removals = units.iter().map(async |unit| (unit, context.client.destroy(&unit.name).await));
    let mut removals = stream::iter(removals).buffered(IN_FLIGHT);
    while let Some((unit, outcome)) = removals.next().await {
        match outcome {
            Ok(()) => {
                say::out(&format!("Destroyed {}\n", unit.name));
            }
            // Somebody else was quicker.
            Err(error) if error.is_missing() => {}
            Err(error) => {
                say::warn(&format!("Error destroying units: {error}"));
                code = 1;
            }
        }
    }
    Ok(code)
}

/// Sets the desired state of the units of all words; returns those that are to be waited for. Units that are to be so
/// already are passed over.
async fn set_all(context: &Context, desired: &str) -> Result<Vec<String>, String> {
    let verb = if desired == "launched" { "start" } else { "load" };
    let names: Vec<String> = context.words.iter().map(|word| from_argument(word)).collect();
    let changes = names.iter().enumerate().filter(|(at, name)| !names[..*at].contains(name)).map(async |(_, name)| {
        let retrieving = |error: ApiError| format!("error retrieving unit {name} from registry: {error}");
        let unit = context.client.unit(name).await.map_err(retrieving)?;
        let unit = unit.ok_or_else(|| format!("unable to find unit {name}"))?;
        if unit.desired_state == desired {
            return Ok(None);
        }
        set(context, &unit, desired).await.map(|()| Some(unit))
    });
    let mut changes = stream::iter(changes).buffered(IN_FLIGHT);
    let mut triggered = Vec::new();
    while let Some(changed) = changes.next().await {
        match changed? {
            Some(unit) if is_global(&unit) => {
                say::out(&format!("Triggered global unit {} {verb}\n", unit.name));
            }
            Some(unit) => triggered.push(unit.name),
            None => {}
        }
    }
    Ok(triggered)
}

pub(super) async fn set(context: &Context, unit: &UnitJson, desired: &str) -> Result<(), String> {
    context.client.set_desired(&unit.name, desired).await.map_err(|error| error.to_string())
}

/// Waits, unless nobody wants to.
pub(super) async fn wait(context: &Context, verb: &str, goal: Goal, names: &[String]) -> Result<(), String> {
    let no_block = context.parsed.truth("no-block").map_err(|error| error.to_string())?;
    if no_block {
        for name in names {
            say::out(&format!("Triggered unit {name} {verb}\n"));
        }
        return Ok(());
    }
    if names.is_empty() {
        return Ok(());
    }
    let mut waiter = Waiter::new(context, names).map_err(|failed| failed.message)?;
    waiter.until(goal, names).await
}

async fn finish(context: &Context, verb: (&str, &str), goal: Goal, names: &[String]) -> Result<u8, Failed> {
    let list = names.join(" ");
    let outcome = wait(context, verb.0, goal, names).await;
    outcome.map_err(|error| Failed::new(format!("Failed to {} units [{list}]. err: {error}", verb.0)))?;
    say::warn(&format!("Successfully {} units [{list}].", verb.1));
    Ok(0)
}

pub(super) fn nothing_found() -> Result<u8, Failed> {
    say::warn("Units not found in registry");
    Ok(0)
}

pub(super) fn failed(doing: &str, error: &str) -> Failed {
    Failed::new(format!("{doing}: {error}"))
}

pub(super) fn waiting(error: &str) -> Failed {
    failed("Error waiting for unit states, exit status", error)
}
