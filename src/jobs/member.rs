//! A member makes its name and addresses known to the cluster, once after each start, if they are not known already.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::{Job, JobError, Stop};
use crate::base::BoxFuture;
use crate::kv::{Member, Op, Store};

/// How long a start waits for a leader before it says so; then it waits again.
const LEADER_WITHIN: Duration = Duration::from_secs(30);

/// Writes this member's record.
pub struct Announce {
    pub store: Arc<dyn Store>,
    pub member: Member,
    /// Becomes true once the cluster knows the record.
    pub known: watch::Sender<bool>,
}

impl Job for Announce {
    fn name(&self) -> &'static str {
        "member"
    }

    fn run(&mut self, mut stop: Stop) -> BoxFuture<'_, Result<(), JobError>> {
        Box::pin(async move {
            tokio::select! {
                () = stop.wait() => Ok(()),
                announced = self.announce() => {
                    self.known.send_replace(announced.is_ok());
                    announced
                }
            }
        })
    }
}

impl Announce {
    async fn announce(&self) -> Result<(), JobError> {
        let doing = "making this member known";
        if self.store.status().leader.is_none() {
            let elected = tokio::time::timeout(LEADER_WITHIN, self.store.leader_changed(None)).await;
            elected.map_err(|_| JobError::new(doing, format!("no leader within {LEADER_WITHIN:?}")))?;
        }
        let known = self.store.members().await.map_err(|error| JobError::new(doing, error))?;
        // Where its peers find it is the membership's to say.
        let told = |known: &Member| {
            (known.id, &known.name, &known.client_urls) == (self.member.id, &self.member.name, &self.member.client_urls)
        };
        if known.iter().any(told) {
            return Ok(());
        }
        super::accepted(self.store.write(Op::MemberUpdate(self.member.clone())).await, doing).map(|_| ())
    }
}
