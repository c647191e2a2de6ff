//! `restart`: one unit after the other, a global one machine by machine, the next once the one before is active again.

use super::find::is_global;
use super::units::{failed, nothing_found, set, wait, waiting};
use super::wait::{Goal, Waiter};
use super::{Context, Failed, create, find, remote, say};
use crate::api::fleet::model::UnitJson;

/// `restart`
pub async fn restart(context: &Context) -> Result<u8, Failed> {
    if context.words.iter().any(|word| !find::is_pattern(word)) {
        create::create(context, "restart").await?;
    }
    let units = find::units(context, false).await?;
    if units.is_empty() {
        return nothing_found();
    }
    for unit in &units {
        if is_global(unit) {
            restart_global(context, unit).await?;
            continue;
        }
        if unit.current_state == "inactive" {
            say::warn(&format!("Unable to restart unit {} in state inactive", unit.name));
            continue;
        }
        match context.client.restart(&unit.name).await {
            Ok(()) => {}
            Err(error) if error.is_unknown_path() => restart_of_old(context, unit).await?,
            Err(error) => {
                return Err(Failed::new(format!("Error setting target state for unit {}: {error}", unit.name)));
            }
        }
        let one = [unit.name.clone()];
        wait(context, "restart", Goal::Launched, &one).await.map_err(|error| waiting(&error))?;
    }
    Ok(0)
}

/// All machines at once where nobody waits, else one after the other.
async fn restart_global(context: &Context, unit: &UnitJson) -> Result<(), Failed> {
    let name = &unit.name;
    let wrong = |error| Failed::new(format!("Error setting target state for unit {name}: {error}"));
    if context.parsed.truth("no-block")? || unit.desired_state != "launched" {
        context.client.restart(name).await.map_err(wrong)?;
        say::out(&format!("Triggered global unit {name} restart\n"));
        return Ok(());
    }
    let states = context.client.states().await.map_err(wrong)?;
    let mut machines: Vec<String> =
        states.into_iter().filter(|state| state.name == *name).map(|state| state.machine_id).collect();
    machines.sort();
    let mut waiter = Waiter::new(context, std::slice::from_ref(name))?;
    for machine in machines {
        let launch = match context.client.restart_on(name, &machine).await {
            Ok(launch) => launch,
            // A fleetd of old: its machines are asked themselves.
            Err(error) if error.is_unknown_path() => {
                remote::on_machine(context, &machine, &["systemctl", "restart", name]).await?;
                continue;
            }
            Err(error) => return Err(wrong(error)),
        };
        waiter.until_restarted(name, &machine, launch).await.map_err(|error| waiting(&error))?;
    }
    Ok(())
}

/// A fleetd of old knows no restart: the unit is stopped, to the end of its stop, and launched again.
async fn restart_of_old(context: &Context, unit: &UnitJson) -> Result<(), Failed> {
    if unit.current_state == "launched" {
        set(context, unit, "loaded").await.map_err(|error| failed("Error restarting units", &error))?;
        let one = [unit.name.clone()];
        Waiter::new(context, &one)?.until(Goal::Loaded, &one).await.map_err(|error| waiting(&error))?;
    }
    set(context, unit, "launched").await.map_err(|error| failed("Error restarting units", &error))
}
