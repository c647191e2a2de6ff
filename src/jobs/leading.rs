//! Work that only the leader's node does.

use std::convert::Infallible;
use std::sync::Arc;

use super::JobError;
use crate::base::MemberId;
use crate::kv::Store;

/// Begins `work` whenever this node comes to lead and drops it when it no longer does; ends only with an error of the work's.
pub async fn while_leading<F>(store: &Arc<dyn Store>, member: MemberId, work: impl Fn() -> F) -> JobError
where
    F: Future<Output = Result<Infallible, JobError>>,
{
    let mut leader = store.status().leader;
    loop {
        if leader == Some(member) {
            tokio::select! {
                ended = work() => match ended {
                    Ok(never) => match never {},
                    Err(error) => return error,
                },
                changed = store.leader_changed(leader) => leader = changed,
            }
        } else {
            leader = store.leader_changed(leader).await;
        }
    }
}
