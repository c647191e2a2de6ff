//! Where the keys come from: an etcd v3 store, or the environment.

use std::sync::Arc;
use std::time::Duration;

use super::settings::{Backend, Settings};
use crate::ctl::tls;
use crate::gotemplate::Str;
use crate::jobs::templates::{Snapshot, read};
use crate::kv::Store;
use crate::net::Address;
use crate::net::resolve::resolve_srv;
use crate::net::tls::ClientTls;
use crate::remote::RemoteStore;

/// How long one node may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
const DEFAULT_NODE: &str = "http://127.0.0.1:2379";

/// An opened source.
pub(super) enum Source {
    Etcd(Arc<RemoteStore>),
    Env,
}

impl Source {
    /// Opens the source; nothing is asked of it yet.
    ///
    /// # Errors
    /// Nodes that are no addresses, or a record that names none.
    pub async fn open(settings: &Settings) -> Result<Self, String> {
        if settings.backend == Backend::Env {
            return Ok(Self::Env);
        }
        let nodes = match &settings.srv_record {
            Some(record) if settings.nodes.is_empty() => nodes_of(record, &settings.scheme).await?,
            _ if settings.nodes.is_empty() => vec![DEFAULT_NODE.to_owned()],
            _ => settings.nodes.clone(),
        };
        tracing::info!("Backend source(s) set to {}", nodes.join(", "));
        let addresses = nodes.iter().map(|node| address_of(node, &settings.tls)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self::Etcd(Arc::new(RemoteStore::with_login(addresses, ANSWER_WITHIN, settings.login.clone()))))
    }

    /// The keys below `folders`, at one moment.
    ///
    /// # Errors
    /// Nodes that do not answer.
    pub async fn read(&self, folders: &[String]) -> Result<Snapshot, String> {
        match self {
            Self::Etcd(store) => read(&**store, folders).await.map_err(|error| error.to_string()),
            Self::Env => Ok(environment(
                std::env::vars_os()
                    .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned())),
            )),
        }
    }

    /// The store, where there is one that can be watched.
    pub fn store(&self) -> Option<Arc<dyn Store>> {
        match self {
            Self::Etcd(store) => Some(store.clone()),
            Self::Env => None,
        }
    }
}

/// Variables as keys: `APP_PORT` is `/app/port`.
pub(super) fn environment(variables: impl Iterator<Item = (String, String)>) -> Snapshot {
    let key = |name: String| format!("/{}", name.to_lowercase().replace('_', "/"));
    let keys = variables.map(|(name, value)| (key(name), Str::from(value))).collect();
    Snapshot { revision: 0, keys }
}

/// A node as people write it: with or without `http://` or `https://`, with or without a slash at the end.
pub(super) fn address_of(node: &str, tls: &Arc<ClientTls>) -> Result<Address, String> {
    tls::address(tls, node).map_err(|error| format!("node {node}: {error}"))
}

async fn nodes_of(record: &str, scheme: &str) -> Result<Vec<String>, String> {
    let found = match tokio::time::timeout(ANSWER_WITHIN, resolve_srv(record)).await {
        Ok(found) => found.map_err(|error| error.to_string())?,
        Err(_) => return Err(format!("Cannot get nodes from SRV record {record}: no answer within {ANSWER_WITHIN:?}")),
    };
    if found.is_empty() {
        return Err(format!("Cannot get nodes from SRV record {record}: it names none"));
    }
    Ok(found.iter().map(|srv| format!("{scheme}://{}:{}", srv.target.trim_end_matches('.'), srv.port)).collect())
}
