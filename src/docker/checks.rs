//! Health checks that the engine does not begin by itself. Docker's does; Podman leaves it to timers of systemd, so where there is
//! none each check is asked for here, and Podman keeps the count of them.

use std::sync::Arc;
use std::time::Duration;

use bollard::Docker;

use super::engine::{self, EngineError};
use super::shared::Shared;

/// Has the checks of a container made at its unit's pace, for as long as it runs. Ends at once where that is not needed.
pub async fn drive(shared: Arc<Shared>, docker: Docker, unit: String, id: String) {
    if shared.options.systemd {
        return;
    }
    let interval = match pace(&docker, &id).await {
        Ok(Some(interval)) => interval,
        Ok(None) => return,
        Err(error) => return tracing::warn!(unit, %error, "a container's health is not looked at"),
    };
    loop {
        match engine::check_health(&docker, &id).await {
            Ok(()) => shared.nudge(Some(&unit)),
            // It is gone, or does not run.
            Err(EngineError::NotFound(_) | EngineError::Conflict(_)) => return,
            Err(error) => tracing::debug!(unit, %error, "a container's health could not be looked at"),
        }
        tokio::time::sleep(interval).await;
    }
}

/// The pause between two checks; `None`: they are none of ours.
async fn pace(docker: &Docker, id: &str) -> Result<Option<Duration>, EngineError> {
    match engine::is_podman(docker).await? {
        true => engine::health_interval(docker, id).await,
        false => Ok(None),
    }
}
