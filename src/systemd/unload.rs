//! Stopping units, and forgetting them: to their end, so that `ExecStop=` and `ExecStopPost=` have run.

use std::time::Duration;

use zbus::Variant;

use super::bus;
use super::files;
use super::load::blocking;
use super::shared::{Caller, Shared};
use super::states::at_rest;
use crate::base::limits::{SYSTEMD_STOP_MARGIN_MS, SYSTEMD_STOP_MS_MAX};
use crate::fleet::executor::ExecutorError;

pub const STOPPING: &str = "stopping it";

/// Phases of a stop that systemd gives its time-out each: ExecStop, SIGTERM, SIGKILL, ExecStopPost, SIGTERM, SIGKILL.
const STOP_PHASES: u32 = 6;
/// systemd's `DefaultTimeoutStopSec`, for types of units that have no time-out of their own.
const STOP_TIMEOUT_DEFAULT: Duration = Duration::from_secs(90);

/// Asks for a unit to be stopped. That there is nothing to stop is fine.
pub async fn stop(caller: &Caller, name: &str) -> Result<(), ExecutorError> {
    match caller.manager.stop_unit(name.to_owned(), "replace".to_owned()).await {
        Err(error) if !bus::is_missing(&error) => Err(bus::failed(name, STOPPING, &error)),
        _ => Ok(()),
    }
}

/// Stops a unit to its end and takes it out of systemd and out of the directory. Where it fails, the unit is still held,
/// and it can be tried again.
pub async fn unload(shared: &Shared, name: &str) -> Result<(), ExecutorError> {
    let doing = "unloading it";
    let caller = shared.caller(name, doing).await?;
    let bound = stop_bound(&caller, name).await;
    stop(&caller, name).await?;
    // Read after the stop was accepted: what is at rest now stays so.
    let names = [name.to_owned()];
    shared.read_states(&caller, &names).await.map_err(|error| bus::failed(name, doing, &error))?;
    let ended = shared.wait_for(name, |state| state.is_none_or(at_rest));
    if tokio::time::timeout(bound, ended).await.is_err() {
        return Err(ExecutorError::TimedOut { doing: format!("{name}: waiting for it to stop"), waited: bound });
    }
    // The stop may have taken long: systemd may have come anew since.
    let caller = shared.caller(name, doing).await?;
    disable(&caller, name).await.map_err(|error| bus::failed(name, "unlinking it", &error))?;
    reset(&caller, name).await?;
    let (dir, unit) = (shared.units_dir.clone(), name.to_owned());
    blocking(name, "removing its file", move || files::remove(&dir, &unit)).await?;
    shared.reload(name, &caller).await?;
    shared.update(|board| board.forget(name));
    Ok(())
}

/// Removes all links to a unit file, those of `[Install]` included.
pub async fn disable(caller: &Caller, name: &str) -> zbus::Result<()> {
    match caller.manager.disable_unit_files(vec![name.to_owned()], true).await {
        Err(error) if !bus::is_missing(&error) => Err(error),
        _ => Ok(()),
    }
}

/// Lets systemd forget that a unit failed; it would keep it for ever otherwise.
async fn reset(caller: &Caller, name: &str) -> Result<(), ExecutorError> {
    match caller.manager.reset_failed_unit(name.to_owned()).await {
        Err(error) if !bus::is_missing(&error) => Err(bus::failed(name, "forgetting that it failed", &error)),
        _ => Ok(()),
    }
}

/// How long a stop of the unit may take by its own time-outs, and a margin. systemd ends it earlier; this bound is for
/// when nothing is heard of that.
async fn stop_bound(caller: &Caller, name: &str) -> Duration {
    let interface = match name.rsplit_once('.') {
        Some((_, "service")) => "org.freedesktop.systemd1.Service",
        _ => return bound_of(STOP_TIMEOUT_DEFAULT),
    };
    let answer = bus::property(&caller.connection, name, interface, "TimeoutStopUSec").await;
    match answer.as_deref() {
        Ok(Variant::U64(micros)) => bound_of(Duration::from_micros(*micros)),
        _ => bound_of(STOP_TIMEOUT_DEFAULT),
    }
}

fn bound_of(timeout: Duration) -> Duration {
    let margin = Duration::from_millis(SYSTEMD_STOP_MARGIN_MS);
    timeout.saturating_mul(STOP_PHASES).saturating_add(margin).min(Duration::from_millis(SYSTEMD_STOP_MS_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stops_are_bounded_whatever_the_unit_says() {
        assert_eq!(bound_of(Duration::from_secs(90)), Duration::from_secs(550));
        assert_eq!(bound_of(Duration::ZERO), Duration::from_secs(10));
        assert_eq!(bound_of(Duration::from_micros(u64::MAX)), Duration::from_secs(3600));
    }
}
