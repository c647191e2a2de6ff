//! The backups' loop: while this node leads it makes one whenever the newest that lies in its place is old enough. Nothing is
//! remembered, so that a new leader goes on where the last one was.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use super::leading::while_leading;
use super::{Job, JobError, Stop};
use crate::backup::Backups;
use crate::base::{BoxFuture, Clock, MemberId, UnixMillis};
use crate::kv::Store;

/// Makes backups while this node leads.
pub struct Backing {
    pub store: Arc<dyn Store>,
    pub member: MemberId,
    pub clock: Arc<dyn Clock>,
    pub backups: Arc<Backups>,
    pub every: Duration,
}

impl Job for Backing {
    fn name(&self) -> &'static str {
        "backups"
    }

    fn run(&mut self, mut stop: Stop) -> BoxFuture<'_, Result<(), JobError>> {
        Box::pin(async move {
            tokio::select! {
                () = stop.wait() => Ok(()),
                error = while_leading(&self.store, self.member, || self.lead()) => Err(error),
            }
        })
    }
}

impl Backing {
    async fn lead(&self) -> Result<Infallible, JobError> {
        loop {
            let newest = self.backups.newest().await.map_err(|error| JobError::new("looking for backups", error))?;
            tokio::time::sleep(due_in(newest, self.clock.now(), self.every)).await;
            self.backups.make().await.map_err(|error| JobError::new("making a backup", error))?;
        }
    }
}

/// How long until the next one. A backup of a time to come, made by a clock that ran ahead, counts as made now.
fn due_in(newest: Option<UnixMillis>, now: UnixMillis, every: Duration) -> Duration {
    let Some(newest) = newest else { return Duration::ZERO };
    let age = now.0.saturating_sub(newest.0).max(0);
    every.saturating_sub(Duration::from_millis(age.unsigned_abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_is_due_when_the_newest_is_old_enough() {
        let (hour, day) = (3_600_000, Duration::from_secs(86_400));
        let now = UnixMillis(100 * hour);
        for (newest, expected) in [
            (None, 0),
            (Some(now.0), 24),
            (Some(now.0 - hour), 23),
            (Some(now.0 - 30 * hour), 0),
            (Some(now.0 + 5 * hour), 24),
        ] {
            let due = due_in(newest.map(UnixMillis), now, day);
            assert_eq!(due, Duration::from_secs(expected * 3_600), "{newest:?}");
        }
    }
}
