//! Containers' secrets out of the store.

use std::sync::Arc;

use crate::base::BoxFuture;
use crate::docker::{Found, Secrets};
use crate::fleet::executor::ExecutorError;
use crate::fleet::secrets;
use crate::kv::{Consistency, Store};

/// Reads secrets whenever a container is started with them.
pub struct StoredSecrets(pub Arc<dyn Store>);

impl Secrets for StoredSecrets {
    fn read<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Found, ExecutorError>> {
        Box::pin(async move {
            let newest = self.0.range(secrets::find(name), Consistency::Linearizable).await;
            let found = match newest {
                // Cut off from the others, a machine starts its containers with what it knows.
                Err(_) => self.0.range(secrets::find(name), Consistency::Serializable).await,
                found => found,
            };
            let (_, reply) = found.map_err(|error| ExecutorError::Failed {
                unit: format!("Secret={name}"),
                doing: "reading it from the store".to_owned(),
                reason: error.to_string(),
            })?;
            Ok(reply.kvs.into_iter().next().map(|kv| (kv.mod_revision, kv.value.to_vec())))
        })
    }
}
