//! Forgetting units: they are stopped first, to their end, so that `ExecStop=` and `ExecStopPost=` have run.

use std::time::Duration;

use zbus::Variant;

use super::bus;
use super::caller::Caller;
use super::files;
use super::load::blocking;
use super::shared::Shared;
use super::states::at_rest;
use crate::base::limits::{SYSTEMD_STOP_MARGIN_MS, SYSTEMD_STOP_MS_MAX};
use crate::fleet::executor::ExecutorError;

pub const STOPPING: &str = "stopping it";

/// Phases of a stop that systemd gives its time-out each: ExecStop, SIGTERM, SIGKILL, ExecStopPost, SIGTERM, SIGKILL.
const STOP_PHASES: u32 = 6;
/// systemd's `DefaultTimeoutStopSec`, for types of units that have no time-out of their own.
const STOP_TIMEOUT_DEFAULT: Duration = Duration::from_secs(90);

/// Stops a unit to its end and takes it out of systemd and out of the directory. Where it fails, the unit is still held,
/// and it can be tried again.
pub async fn unload(shared: &Shared, name: &str) -> Result<(), ExecutorError> {
    let doing = "unloading it";
    let caller = shared.caller(name, doing).await?;
    let bound = stop_bound(&caller, name).await;
    let failed = |doing: &str, error: zbus::Error| bus::failed(name, doing, &error);
    caller.stop(name).await.map_err(|error| failed(STOPPING, error))?;
    // Read after the stop was accepted: what is at rest now stays so.
    let names = [name.to_owned()];
    shared.read_states(&caller, &names).await.map_err(|error| failed(doing, error))?;
    let ended = shared.wait_for(name, |state| state.is_none_or(at_rest));
    if tokio::time::timeout(bound, ended).await.is_err() {
        return Err(ExecutorError::TimedOut { doing: format!("{name}: waiting for it to stop"), waited: bound });
    }
    // The stop may have taken long: systemd may have come anew since.
    let caller = shared.caller(name, doing).await?;
    caller.disable(name).await.map_err(|error| failed("unlinking it", error))?;
    // systemd would keep a unit that failed in memory for ever.
    caller.reset_failed(name).await.map_err(|error| failed("forgetting that it failed", error))?;
    let (dir, fence, unit) = (shared.units_dir.clone(), shared.fence.clone(), name.to_owned());
    let remove = move || fence.forget(&unit).and_then(|()| files::remove(&dir, &unit));
    blocking(name, "removing its file", remove).await?;
    shared.reload(name, &caller).await?;
    shared.update(|board| board.forget(name));
    Ok(())
}

/// How long a stop of the unit may take by its own time-outs, and a margin. systemd ends it earlier; this bound is for
/// when nothing is heard of that.
async fn stop_bound(caller: &Caller, name: &str) -> Duration {
    let interface = match name.rsplit_once('.') {
        Some((_, "service")) => "org.freedesktop.systemd1.Service",
        _ => return bound_of(STOP_TIMEOUT_DEFAULT),
    };
    let answer = caller.property(name, interface, "TimeoutStopUSec").await;
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
