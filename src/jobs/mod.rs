//! The loops, all of one shape: a name, one run that ends with the node or with an error, and a back-off before the next.

use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::base::BoxFuture;
use crate::base::limits::{JOB_BACKOFF_MS_MAX, JOB_BACKOFF_MS_MIN};
use crate::kv::{Applied, Reply, StoreError};

#[cfg(feature = "scheduler")]
pub mod agent;
pub mod authority_key;
#[cfg(feature = "api")]
pub mod backups;
pub mod certificates;
#[cfg(feature = "scheduler")]
pub mod engine;
pub mod executors;
#[cfg(feature = "api")]
pub mod first_token;
#[cfg(feature = "scheduler")]
mod follow;
#[cfg(feature = "scheduler")]
mod health;
#[cfg(any(feature = "scheduler", feature = "api"))]
mod leading;
pub mod member;
#[cfg(feature = "scheduler")]
pub mod presence;
#[cfg(feature = "docker")]
pub mod register;
#[cfg(feature = "scheduler")]
pub mod rollout;
#[cfg(feature = "docker")]
pub mod secrets;
#[cfg(feature = "template")]
pub mod templates;

/// Why a run of a job ended early. It is started again after a pause.
#[derive(Debug, thiserror::Error)]
#[error("{doing}: {cause}")]
pub struct JobError {
    pub doing: String,
    pub cause: String,
}

impl JobError {
    /// An error of whoever was asked, with what we were doing.
    pub fn new(doing: impl Into<String>, cause: impl std::fmt::Display) -> Self {
        Self { doing: doing.into(), cause: cause.to_string() }
    }
}

/// A background loop.
pub trait Job: Send + 'static {
    /// For logs and listings.
    fn name(&self) -> &'static str;
    /// Works until `stop` says so. After an error it is called again, so it starts from what the store says, not from memory.
    fn run(&mut self, stop: Stop) -> BoxFuture<'_, Result<(), JobError>>;
}

/// Tells a job that the node is closing.
#[derive(Clone)]
pub struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Completes when the node is closing.
    pub async fn wait(&mut self) {
        // An error means that the sender is gone, which is a stop too.
        let _ = self.0.wait_for(|stopped| *stopped).await;
    }
}

/// The jobs of one node.
pub struct Jobs {
    stop: watch::Sender<bool>,
    running: Vec<(&'static str, JoinHandle<()>)>,
}

impl Default for Jobs {
    fn default() -> Self {
        Self { stop: watch::channel(false).0, running: Vec::new() }
    }
}

impl Jobs {
    /// Starts a job.
    pub fn start(&mut self, job: impl Job) {
        let stop = Stop(self.stop.subscribe());
        self.running.push((job.name(), tokio::spawn(keep_running(job, stop))));
    }

    /// Asks all jobs to end and waits for each, at most `patience` in all.
    pub async fn stop(self, patience: Duration) {
        self.stop.send_replace(true);
        let deadline = tokio::time::Instant::now() + patience;
        for (name, handle) in self.running {
            let abort = handle.abort_handle();
            if tokio::time::timeout_at(deadline, handle).await.is_err() {
                tracing::warn!(job = name, "did not end within {patience:?} and is cut off");
                abort.abort();
            }
        }
    }
}

async fn keep_running(mut job: impl Job, mut stop: Stop) {
    let mut pause = Duration::from_millis(JOB_BACKOFF_MS_MIN);
    loop {
        let started = tokio::time::Instant::now();
        match job.run(stop.clone()).await {
            Ok(()) => return,
            Err(error) => tracing::warn!(job = job.name(), "{error}; again in {pause:?}"),
        }
        if started.elapsed() > Duration::from_millis(JOB_BACKOFF_MS_MAX) {
            pause = Duration::from_millis(JOB_BACKOFF_MS_MIN);
        }
        tokio::select! {
            () = stop.wait() => return,
            () = tokio::time::sleep(pause) => {}
        }
        pause = (pause * 2).min(Duration::from_millis(JOB_BACKOFF_MS_MAX));
    }
}

/// The reply of a write that was carried out.
pub fn accepted(written: Result<Applied, StoreError>, doing: &str) -> Result<Reply, JobError> {
    let applied = written.map_err(|error| JobError::new(doing, error))?;
    applied.result.map_err(|error| JobError::new(doing, error))
}
