//! Keys of an etcd through its v2 API. As confd 0.16 does: recursive reads with a quorum, and a resource one of whose keys is
//! not there fails with etcd's words.

use std::collections::BTreeSet;
use std::time::Duration;

use hyper::{Method, StatusCode};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::reread::Readable;
use crate::base::BoxFuture;
use crate::ctl::http;
use crate::gotemplate::Str;
use crate::jobs::templates::Snapshot;
use crate::net::Address;
use crate::remote::Login;
use crate::wire::v2::{Answer, Failure, Node};

/// How long one node may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How long one wait for a change lasts; then everything is looked at again.
const WAIT_MAX: Duration = Duration::from_secs(300);
/// Characters of a path that are not sent as they are.
const ESCAPED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'%').add(b'<').add(b'>').add(b'?').add(b'`');
/// etcd's code for a key that is not there.
const KEY_NOT_FOUND: u16 = 100;

/// The nodes of one etcd.
pub(super) struct V2Keys {
    pub nodes: Vec<Address>,
    pub login: Option<Login>,
}

/// What a node says about its APIs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// An etcd that serves v2.
    V2,
    /// An etcd that does not, or a node of ours, where the keys of both APIs are the same.
    V3,
}

/// Asks the first node that answers. None does: as if it served v2, so that the error is told where keys are read.
pub(super) async fn kind(nodes: &[Address]) -> Kind {
    for node in nodes {
        let there = async |path: &str| {
            let answer = http::call(node, Method::GET, path, None, ANSWER_WITHIN).await.ok()?;
            // etcd without v2 has a page that says so, and no JSON.
            Some(answer.status != StatusCode::NOT_FOUND || answer.body.starts_with(b"{"))
        };
        let Some(ours) = there("/kv/v1/keys?key=%2F&limit=1").await else { continue };
        if ours || there("/v2/keys/").await == Some(false) {
            return Kind::V3;
        }
        return Kind::V2;
    }
    Kind::V2
}

/// One answer: the tree, or that there is none, at an index.
enum Got {
    Tree(Node, i64),
    Missing(i64),
}

impl V2Keys {
    /// Asks one node after the other.
    async fn ask(&self, path: &str, wait: Duration) -> Result<http::Answer, String> {
        let authorization = self.login.as_ref().map(Login::basic);
        let mut last = "there are no nodes to ask".to_owned();
        for node in &self.nodes {
            match http::call_as(authorization.as_deref(), node, Method::GET, path, None, wait).await {
                Ok(answer) if !answer.status.is_server_error() => return Ok(answer),
                Ok(answer) => last = format!("{node}: {}", answer.status),
                Err(error) => last = error.to_string(),
            }
        }
        Err(format!("client: etcd cluster is unavailable or misconfigured: {last}"))
    }

    async fn get(&self, folder: &str) -> Result<Got, String> {
        let path = utf8_percent_encode(folder, ESCAPED);
        let answer = self.ask(&format!("/v2/keys{path}?quorum=true&recursive=true&sorted=true"), ANSWER_WITHIN).await?;
        let header = answer.headers.get("x-etcd-index").and_then(|value| value.to_str().ok()?.parse().ok());
        if answer.status.is_success() {
            let read: Answer = serde_json::from_slice(&answer.body).map_err(|error| format!("{folder}: {error}"))?;
            return Ok(Got::Tree(read.node.unwrap_or_default(), header.unwrap_or(0)));
        }
        match serde_json::from_slice::<Failure>(&answer.body) {
            Ok(failure) if failure.error_code == KEY_NOT_FOUND => {
                Ok(Got::Missing(i64::try_from(failure.index).unwrap_or(i64::MAX)))
            }
            Ok(failure) => Err(format!("{}: {} ({})", failure.error_code, failure.message, failure.cause)),
            Err(_) => Err(format!("{folder}: {}", answer.status)),
        }
    }
}

fn walk(node: Node, snapshot: &mut Snapshot, folders: &mut BTreeSet<String>) {
    if node.dir {
        folders.insert(node.key);
        node.nodes.into_iter().for_each(|node| walk(node, snapshot, folders));
    } else {
        snapshot.keys.insert(node.key, Str::from(node.value.unwrap_or_default()));
    }
}

impl Readable for V2Keys {
    fn read<'a>(&'a self, asked: &'a [String]) -> BoxFuture<'a, Result<Snapshot, String>> {
        Box::pin(async move {
            let (mut snapshot, mut folders) = (Snapshot { revision: i64::MAX, ..Snapshot::default() }, BTreeSet::new());
            for folder in asked {
                // What is read at different moments is followed from the first of them.
                let index = match self.get(folder).await? {
                    Got::Missing(index) => index,
                    Got::Tree(node, index) => {
                        walk(node, &mut snapshot, &mut folders);
                        index
                    }
                };
                snapshot.revision = snapshot.revision.min(index);
            }
            snapshot.folders = Some(folders);
            Ok(snapshot)
        })
    }

    /// A v2 watch sees one folder; the first of them that moves is enough.
    fn changed<'a>(&'a self, folders: &'a [String], revision: i64) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            let waits = folders.iter().map(|folder| {
                let path = utf8_percent_encode(folder, ESCAPED);
                let path = format!("/v2/keys{path}?wait=true&recursive=true&waitIndex={}", revision.saturating_add(1));
                Box::pin(async move {
                    let began = tokio::time::Instant::now();
                    match self.ask(&path, WAIT_MAX).await {
                        // Also where history is gone (401): everything is read again.
                        Ok(_) => Ok(()),
                        Err(_) if began.elapsed() >= WAIT_MAX => Ok(()),
                        Err(error) => Err(error),
                    }
                })
            });
            let waits: Vec<_> = waits.collect();
            if waits.is_empty() {
                return std::future::pending().await;
            }
            futures_util::future::select_all(waits).await.0
        })
    }
}
