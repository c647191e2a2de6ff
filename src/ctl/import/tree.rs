//! A live etcd's v2 tree: fetched whole, then put behind what v3 has.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use hyper::{Method, StatusCode};

use crate::base::limits::IMPORT_TREE_BYTES_MAX;
use crate::base::{LeaseId, UnixMillis};
use crate::ctl::http;
use crate::etcd_file::Intake;
use crate::kv::{PastChange, PastIndex};
use crate::net::Address;
use crate::wire::v2::{Answer, Node};

/// How long the tree may take.
const TREE_WITHIN: Duration = Duration::from_secs(120);
/// Conflicts that are named.
const CONFLICTS_NAMED_MAX: usize = 10;

/// A tree at one moment.
#[derive(Debug, Default)]
pub struct Tree {
    /// What v2's index was then.
    pub index: u64,
    nodes: Vec<Flat>,
    /// Directories with something in them: path and `createdIndex`.
    directories: Vec<(String, u64)>,
}

/// A file, or a directory that needs a key of its own.
#[derive(Debug)]
struct Flat {
    /// The key here: the path, or the path and `/` for a directory.
    key: Bytes,
    value: Bytes,
    created: u64,
    modified: u64,
    ends: Option<(UnixMillis, i64)>,
}

/// Whose word counts where both APIs have a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prefer {
    V2,
    V3,
}

/// How much of a tree was taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Grown {
    pub files: u64,
    pub directories: u64,
    pub ending: u64,
    /// Keys that both APIs had with different values.
    pub conflicts: u64,
    /// The newest revision.
    pub revision: i64,
}

/// Fetches a tree, and the hidden parts of it that are named. `None`: v2 is not served there.
///
/// # Errors
/// An etcd that does not answer, or not with a tree.
pub async fn fetch(from: &Address, hidden: &[&str]) -> anyhow::Result<Option<Tree>> {
    let mut tree = Tree::default();
    match ask(from, "/").await? {
        None => return Ok(None),
        Some((root, index)) => {
            tree.index = index;
            tree.take(root)?;
        }
    }
    for path in hidden {
        let (node, index) = ask(from, path).await?.with_context(|| format!("{from}: there is no {path} in v2"))?;
        tree.index = tree.index.max(index);
        tree.take(node)?;
    }
    // A directory and the file that it was made for have one index; the directory is there first.
    tree.nodes.sort_by(|a, b| (a.modified, &a.key).cmp(&(b.modified, &b.key)));
    Ok(Some(tree))
}

async fn ask(from: &Address, path: &str) -> anyhow::Result<Option<(Node, u64)>> {
    let path = format!("/v2/keys/{}?recursive=true&sorted=true", path.trim_matches('/'));
    let asked = async {
        let mut answer = http::open(from, Method::GET, &path, None).await?;
        let mut body = Vec::new();
        while let Some(piece) = answer.next().await? {
            ensure!(
                body.len() + piece.len() <= IMPORT_TREE_BYTES_MAX,
                "{from}: the v2 tree has more than {IMPORT_TREE_BYTES_MAX} bytes"
            );
            body.extend_from_slice(&piece);
        }
        Ok((answer.status, answer.headers, body))
    };
    let timed_out = || format!("{from}: no v2 tree within {TREE_WITHIN:?}");
    let (status, headers, body) = tokio::time::timeout(TREE_WITHIN, asked).await.with_context(timed_out)??;
    if status == StatusCode::NOT_FOUND {
        return Ok(None);
    }
    ensure!(status.is_success(), "{from}: {path}: {status}: {}", String::from_utf8_lossy(&body).trim());
    let answer: Answer =
        serde_json::from_slice(&body).with_context(|| format!("{from}: {path}: the answer is no tree"))?;
    let index = headers.get("x-etcd-index").and_then(|value| value.to_str().ok()?.parse().ok());
    let index = index.with_context(|| format!("{from}: {path}: the answer has no X-Etcd-Index"))?;
    Ok(Some((answer.node.unwrap_or_default(), index)))
}

impl Tree {
    /// Whether there is anything in it.
    pub fn has_nodes(&self) -> bool {
        !self.nodes.is_empty()
    }

    fn take(&mut self, node: Node) -> anyhow::Result<()> {
        let Node { key, value, dir, expiration, ttl, nodes, modified_index, created_index } = node;
        let ends = match expiration {
            None => None,
            Some(text) => {
                let at = text.parse::<jiff::Timestamp>();
                let at = at.with_context(|| format!("v2 node {key}: its end `{text}` is no time"))?;
                Some((UnixMillis(at.as_millisecond()), ttl))
            }
        };
        let is_root = key.is_empty() || key == "/";
        if !is_root && (!dir || nodes.is_empty() || ends.is_some()) {
            let own = if dir { format!("{key}/") } else { key.clone() };
            self.nodes.push(Flat {
                key: own.into(),
                value: value.unwrap_or_default().into(),
                created: created_index,
                modified: modified_index,
                ends,
            });
        }
        if !is_root && dir {
            self.directories.push((key, created_index));
        }
        nodes.into_iter().try_for_each(|node| self.take(node))
    }

    /// Puts the tree's nodes behind all changes so far, in the order of their indexes.
    ///
    /// # Errors
    /// Keys that v3 has with other values, where it is not said which are to be taken.
    pub fn put(self, intake: &mut Intake<'_>, after: i64, prefer: Option<Prefer>) -> anyhow::Result<Grown> {
        let mut grown = Grown { revision: after, ..Grown::default() };
        let mut named = Vec::new();
        let mut nodes = Vec::new();
        for node in self.nodes {
            match intake.value(&node.key)? {
                None => nodes.push(node),
                Some(present) if present.value == node.value => {}
                Some(_) => {
                    grown.conflicts += 1;
                    if named.len() < CONFLICTS_NAMED_MAX {
                        named.push(node.key.escape_ascii().to_string());
                    }
                    if prefer == Some(Prefer::V2) {
                        nodes.push(node);
                    }
                }
            }
        }
        if grown.conflicts > 0 && prefer.is_none() {
            let more = if grown.conflicts as usize > named.len() { ", …" } else { "" };
            bail!(
                "{} keys are in v2 and in v3 with different values: {}{more}; say which are to be taken: --prefer v2 or --prefer v3",
                grown.conflicts,
                named.join(", ")
            );
        }
        for node in nodes {
            grown.revision += 1;
            node.put(intake, grown.revision, &mut grown)?;
        }
        for (path, created) in self.directories {
            grown.directories += 1;
            intake.v2_directory(&path, created)?;
        }
        Ok(grown)
    }
}

impl Flat {
    fn put(self, intake: &mut Intake<'_>, revision: i64, grown: &mut Grown) -> anyhow::Result<()> {
        let mut lease = LeaseId::NONE;
        if let Some((ends, ttl)) = self.ends {
            lease = intake.v2_lease(self.modified, ttl, ends)?;
            grown.ending += 1;
        }
        grown.files += u64::from(!self.key.ends_with(b"/"));
        let present = intake.value(&self.key)?;
        intake.change(PastChange {
            revision,
            sub: 0,
            create_revision: present.as_ref().map_or(revision, |kv| kv.create_revision),
            version: present.as_ref().map_or(1, |kv| kv.version + 1),
            lease,
            v2: PastIndex::Own { created: self.created, modified: self.modified },
            key: self.key,
            value: self.value,
        })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::disk::Database;
    use crate::kv::v2;

    const TREE: &str = r#"{"action":"get","node":{"dir":true,"nodes":[
        {"key":"/a","dir":true,"modifiedIndex":4,"createdIndex":4,"nodes":[
            {"key":"/a/b","value":"1","modifiedIndex":9,"createdIndex":4},
            {"key":"/a/ends","value":"","expiration":"2030-01-01T00:00:00.5Z","ttl":30,"modifiedIndex":7,"createdIndex":7}]},
        {"key":"/empty","dir":true,"modifiedIndex":6,"createdIndex":6}]}}"#;

    fn tree() -> Tree {
        let answer: Answer = serde_json::from_str(TREE).unwrap();
        let mut tree = Tree { index: 11, ..Tree::default() };
        tree.take(answer.node.unwrap()).unwrap();
        tree.nodes.sort_by(|a, b| (a.modified, &a.key).cmp(&(b.modified, &b.key)));
        tree
    }

    fn get(database: &Database, path: &str) -> v2::Node {
        let request = v2::GetRequest { path: path.into(), recursive: true, sorted: true, now: UnixMillis(0) };
        v2::get(&database.reader(), &request).unwrap().1.unwrap().node
    }

    #[test]
    fn a_tree_keeps_its_indexes_ends_and_empty_directories() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(&folder.path().join("state"), true).unwrap();
        let mut intake = Intake::new(&database, 1, 0).unwrap();
        let tree = tree();
        intake.loader.reach_v2_index(tree.index);
        let grown = tree.put(&mut intake, 1, None).unwrap();
        assert_eq!(grown, Grown { files: 2, directories: 2, ending: 1, conflicts: 0, revision: 4 });
        intake.finish(grown.revision).unwrap();
        let a = get(&database, "/a");
        assert_eq!((a.created_index, a.nodes.len()), (4, 2));
        assert_eq!((a.nodes[0].created_index, a.nodes[0].modified_index), (4, 9));
        assert_eq!(a.nodes[1].expiration.unwrap().0, UnixMillis(1_893_456_000_500));
        assert!(get(&database, "/empty").dir);
        assert_eq!(get(&database, "/empty").created_index, 6);
    }

    #[test]
    fn a_conflict_needs_a_choice() {
        for (prefer, expected) in [(None, None), (Some(Prefer::V2), Some("1")), (Some(Prefer::V3), Some("v3's"))] {
            let folder = tempfile::tempdir().unwrap();
            let database = Database::open(&folder.path().join("state"), true).unwrap();
            let mut intake = Intake::new(&database, 1, 0).unwrap();
            let (key, value) = (Bytes::from("/a/b"), Bytes::from("v3's"));
            let change = PastChange { revision: 2, key, value, create_revision: 2, version: 1, ..Default::default() };
            intake.change(PastChange { v2: PastIndex::Shared(12), ..change }).unwrap();
            match (tree().put(&mut intake, 2, prefer), expected) {
                (Ok(grown), Some(expected)) => {
                    assert_eq!(grown.conflicts, 1);
                    intake.finish(grown.revision).unwrap();
                    assert_eq!(get(&database, "/a/b").value.unwrap(), expected);
                }
                (Err(error), None) => {
                    assert!(error.to_string().contains("with different values: /a/b; say"), "{error}")
                }
                (outcome, _) => panic!("{prefer:?}: {outcome:?}"),
            }
        }
    }
}
