//! From a container that runs to one that does not.

use super::*;
use crate::base::limits::CONTAINER_KILL_MS_MAX;
use crate::docker::engine::Stage;
use crate::docker::host;

impl Keeper {
    /// Stops the unit's container to its end: ExecStop=, the signal, and after `StopTimeout=` the one that cannot be ignored.
    pub(super) async fn bring_down(&mut self, wish: &Wish) {
        let rests = |state: &ActiveState| matches!(state.active.as_str(), "inactive" | "failed");
        // Then nothing is asked of the engine either, which may be away.
        if self.shared.board().units.get(&self.name).is_none_or(|entry| rests(&entry.report.state)) {
            return;
        }
        let running = self.find().await.filter(|seen| matches!(seen.stage, Stage::Running(_)));
        if let Some(seen) = running {
            let code = self.stop(wish, &seen.id).await;
            self.shared.report(&self.name, |report| report.exit_code = code.or(report.exit_code));
        }
        self.shared.secret_files.take_back(&self.name);
        self.notices = None;
        let life = &wish.container.life;
        if !life.stop_post.is_empty() {
            self.tell("deactivating", "stop-post", "");
            if let Err(reason) = host::run(&self.shared, &self.name, life, &life.stop_post, life.stop_timeout).await {
                self.note(&format!("ExecStopPost: {reason}"));
            }
        }
        self.tell("inactive", "dead", "");
    }

    async fn stop(&mut self, wish: &Wish, id: &str) -> Option<i32> {
        let life = &wish.container.life;
        if !life.stop.is_empty() {
            self.tell("deactivating", "stop", "");
            if let Err(reason) = host::run(&self.shared, &self.name, life, &life.stop, life.stop_timeout).await {
                self.note(&format!("ExecStop: {reason}"));
            }
        }
        self.tell("deactivating", "stop-sigterm", "");
        let signal = match &wish.container.stop_signal {
            Some(signal) => signal.clone(),
            None => self.images_signal(id).await,
        };
        self.signal(id, &signal).await;
        let within = Duration::from_secs(wish.container.stop_timeout_s);
        if let Some(code) = self.await_end(id, within).await {
            return code;
        }
        self.tell("deactivating", "stop-sigkill", format!("no end within {} s of {signal}", within.as_secs()));
        self.note(&format!("no end within {} s of {signal}: killed", within.as_secs()));
        self.signal(id, "SIGKILL").await;
        let ended = self.await_end(id, Duration::from_millis(CONTAINER_KILL_MS_MAX)).await;
        if ended.is_none() {
            self.note("the container outlives SIGKILL: the engine or the kernel is stuck");
        }
        ended.flatten()
    }

    async fn signal(&mut self, id: &str, signal: &str) {
        let sent = self
            .change(|docker| {
                let (id, signal) = (id.to_owned(), signal.to_owned());
                async move { engine::signal(&docker, &id, &signal).await }
            })
            .await;
        if let Err(error) = sent {
            self.note(&format!("{signal} could not be sent: {error}"));
        }
    }

    /// The signal that the image wants to be stopped by.
    async fn images_signal(&mut self, id: &str) -> String {
        let asked = self
            .call(|docker| {
                let id = id.to_owned();
                async move { engine::stop_signal(&docker, &id).await }
            })
            .await;
        asked.ok().flatten().unwrap_or_else(|| "SIGTERM".to_owned())
    }
}
