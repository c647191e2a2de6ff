//! Where the keys come from: an etcd, through its API of version 2 or 3, files, or the environment.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::files::FileKeys;
use super::reread::Reread;
use super::settings::{Backend, Settings};
use super::v2::{self, V2Keys};
use crate::base::BoxFuture;
use crate::ctl::{credentials, tls};
use crate::gotemplate::Str;
use crate::jobs::templates::{KeyChanges, Keys, Snapshot, StoreKeys};
use crate::net::Address;
use crate::net::resolve::resolve_srv;
use crate::net::tls::ClientTls;
use crate::remote::RemoteStore;

/// How long one node may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
const DEFAULT_NODE: &str = "http://127.0.0.1:2379";

/// An opened source.
pub(super) struct Source {
    pub keys: Arc<dyn Keys>,
    /// Whether it ever changes while this process lives.
    pub changes: bool,
}

impl Source {
    /// Opens the source.
    ///
    /// # Errors
    /// Nodes that are no addresses, or a record that names none.
    pub async fn open(settings: &Settings) -> Result<Self, String> {
        match settings.backend {
            Backend::Env => {
                tracing::info!("Backend source(s) set to {}", settings.nodes.join(", "));
                return Ok(Self { keys: Arc::new(Environment), changes: false });
            }
            Backend::File => {
                tracing::info!("Backend source(s) set to {}", shown(&settings.files));
                let files = FileKeys::new(settings.files.clone(), settings.filter.clone());
                return Ok(Self { keys: Arc::new(Reread::new(files)), changes: true });
            }
            Backend::Etcd | Backend::EtcdV3 => {}
        }
        let nodes = match &settings.srv_record {
            Some(record) if settings.nodes.is_empty() => nodes_of(record, &settings.scheme).await?,
            _ if settings.nodes.is_empty() => {
                let known = credentials::endpoints().unwrap_or_else(|| DEFAULT_NODE.to_owned());
                known.split(',').map(str::to_owned).collect()
            }
            _ => settings.nodes.clone(),
        };
        tracing::info!("Backend source(s) set to {}", nodes.join(", "));
        let silent = *settings.tls == ClientTls::default();
        let tls = if silent { Arc::new(credentials::tls()) } else { settings.tls.clone() };
        let nodes = nodes.iter().map(|node| address_of(node, &tls)).collect::<Result<Vec<_>, _>>()?;
        let login = settings.login.clone();
        if settings.backend == Backend::Etcd && v2::kind(&nodes).await == v2::Kind::V2 {
            let keys = Arc::new(Reread::new(V2Keys { nodes, login }));
            return Ok(Self { keys, changes: true });
        }
        let store = Arc::new(RemoteStore::with_login(nodes, ANSWER_WITHIN, login));
        Ok(Self { keys: Arc::new(StoreKeys(store)), changes: true })
    }
}

fn shown(files: &[PathBuf]) -> String {
    files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// The environment of this process, which does not change.
struct Environment;

impl Keys for Environment {
    fn read<'a>(&'a self, _: &'a [String]) -> BoxFuture<'a, Result<Snapshot, String>> {
        let lossy = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
        let variables = std::env::vars_os().map(|(name, value)| (lossy(name), lossy(value)));
        let snapshot = environment(variables);
        Box::pin(async move { Ok(snapshot) })
    }

    fn follow<'a>(&'a self, _: &'a [String], _: i64) -> BoxFuture<'a, Result<Box<dyn KeyChanges>, String>> {
        Box::pin(std::future::pending())
    }
}

/// Variables as keys: `APP_PORT` is `/app/port`.
pub(super) fn environment(variables: impl Iterator<Item = (String, String)>) -> Snapshot {
    let key = |name: String| format!("/{}", name.to_lowercase().replace('_', "/"));
    let keys = variables.map(|(name, value)| (key(name), Str::from(value))).collect();
    Snapshot { keys, ..Snapshot::default() }
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
