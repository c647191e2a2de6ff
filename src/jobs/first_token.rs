//! The token that `node init` printed before there was a cluster to keep it: its pass lies in a file until the cluster has it.

use std::path::PathBuf;
use std::sync::Arc;

use super::{Job, JobError, Stop, accepted};
use crate::base::BoxFuture;
use crate::kv::{Op, Store};
use crate::net::tls::ClusterIdentity;
use crate::trust::Pass;

/// Where the pass lies until then.
pub fn file(identity: &ClusterIdentity) -> PathBuf {
    identity.folder().join("first-token.json")
}

/// Hands the pass over, if there is one.
pub struct FirstToken {
    pub store: Arc<dyn Store>,
    pub identity: ClusterIdentity,
}

impl Job for FirstToken {
    fn name(&self) -> &'static str {
        "first token"
    }

    fn run(&mut self, mut stop: Stop) -> BoxFuture<'_, Result<(), JobError>> {
        Box::pin(async move {
            tokio::select! {
                () = stop.wait() => Ok(()),
                handed = self.hand_over() => handed,
            }
        })
    }
}

impl FirstToken {
    async fn hand_over(&self) -> Result<(), JobError> {
        let file = file(&self.identity);
        let doing = format!("{}: handing the first token over to the cluster", file.display());
        let text = match std::fs::read(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(JobError::new(doing, error)),
        };
        let pass: Pass = serde_json::from_slice(&text).map_err(|error| JobError::new(&doing, error))?;
        if self.store.status().leader.is_none() {
            self.store.leader_changed(None).await;
        }
        // Where it is there already, an earlier life of this node was cut off before it removed the file.
        accepted(self.store.write(Op::Txn(pass.write(0, &[]))).await, &doing)?;
        std::fs::remove_file(&file).map_err(|error| JobError::new(doing, error))
    }
}
