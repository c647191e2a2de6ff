//! Reads of the v2 view: nodes, listings, and where a path ends that leads nowhere.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, ControlFlow};

use bytes::Bytes;

use super::directories::{self, Directory, Shown};
use super::{Action, Answer, Failure, GetRequest, Node, Outcome};
use crate::base::{LeaseId, UnixMillis};
use crate::kv::command::Position;
use crate::kv::layout::{self, Head, LeaseRecord};
use crate::kv::lease::is_v2_lease;
use crate::kv::state::Marks;
use crate::kv::tables::{Table, Tables, TablesError, try_scan};
use crate::kv::types::{KeyValue, Space};
use crate::kv::writer::seconds_until;

pub(super) const KEY_NOT_FOUND: u16 = 100;
pub(super) const NOT_A_DIRECTORY: u16 = 104;

/// When a node ends, and the seconds until then.
pub(super) type Expiration = Option<(UnixMillis, i64)>;

/// What is at a path.
#[derive(Clone, Debug)]
pub(super) enum Place {
    Directory(Directory, Expiration),
    File(KeyValue, Expiration),
}

/// Why nothing is at a path: etcd's error code and the component that is missing or in the way.
#[derive(Clone, Debug)]
pub(super) struct Miss {
    pub code: u16,
    pub cause: String,
}

/// Reads a path on one moment of the tables; the position is that moment's.
pub fn get(tables: &dyn Tables, request: &GetRequest) -> Result<(Position, Outcome), TablesError> {
    let position = Marks::load(tables)?.position();
    let view = View { tables, now: request.now };
    let outcome = match view.locate(&request.path)? {
        Ok(place) => {
            Ok(Answer { action: Action::Get, node: view.node(request, place)?, prev_node: None, refresh: false })
        }
        Err(miss) => Err(Failure { code: miss.code, cause: miss.cause, index: position.v2_index }),
    };
    Ok((position, outcome))
}

/// The view as a reader with a clock sees it.
pub(super) struct View<'a, T: ?Sized> {
    pub tables: &'a T,
    pub now: UnixMillis,
}

impl<T: Tables + ?Sized> View<'_, T> {
    /// What is at `path` (`/` is the root).
    pub(super) fn locate(&self, path: &str) -> Result<Result<Place, Miss>, TablesError> {
        if path == "/" {
            return Ok(Ok(Place::Directory(Directory::default(), None)));
        }
        if !directories::is_path(path) {
            return Ok(Err(Miss { code: KEY_NOT_FOUND, cause: path.to_owned() }));
        }
        if let Some(directory) = directories::get(self.tables, path.as_bytes())? {
            let expiration = self.directory_expiration(path, &directory)?;
            return Ok(Ok(Place::Directory(directory, expiration)));
        }
        if let Some(kv) = self.file(path.as_bytes())? {
            let expiration = self.expiration(kv.lease)?;
            return Ok(Ok(Place::File(kv, expiration)));
        }
        self.miss(path).map(Err)
    }

    /// The first component on the way to `path` that does not lead on.
    fn miss(&self, path: &str) -> Result<Miss, TablesError> {
        for (end, _) in path.match_indices('/').skip(1) {
            let upper = &path[..end];
            if directories::get(self.tables, upper.as_bytes())?.is_some() {
                continue;
            }
            let in_the_way = self.file(upper.as_bytes())?.is_some();
            return Ok(Miss {
                code: if in_the_way { NOT_A_DIRECTORY } else { KEY_NOT_FOUND },
                cause: upper.to_owned(),
            });
        }
        Ok(Miss { code: KEY_NOT_FOUND, cause: path.to_owned() })
    }

    fn file(&self, key: &[u8]) -> Result<Option<KeyValue>, TablesError> {
        match layout::head(self.tables, Space::User, key)? {
            Some(head) if head.live() => layout::value_at(self.tables, Space::User, head.at),
            _ => Ok(None),
        }
    }

    fn directory_expiration(&self, path: &str, directory: &Directory) -> Result<Expiration, TablesError> {
        if !directory.marker {
            return Ok(None);
        }
        match layout::head(self.tables, Space::User, &marker(path))? {
            Some(head) => self.expiration(head.lease),
            None => Ok(None),
        }
    }

    /// Only leases that v2 made have an end to show: those of v3 move it with every keep-alive.
    fn expiration(&self, lease: LeaseId) -> Result<Expiration, TablesError> {
        if !is_v2_lease(lease) {
            return Ok(None);
        }
        let Some(bytes) = self.tables.get(Table::Leases, &lease.0.to_be_bytes())? else {
            return Ok(None);
        };
        let record: LeaseRecord = layout::decode(&bytes, "a record of table leases")?;
        Ok(record.ends.map(|ends| (ends, seconds_until(ends, self.now))))
    }

    fn node(&self, request: &GetRequest, place: Place) -> Result<Node, TablesError> {
        let mut node = node_of(&request.path, &place);
        if node.dir {
            let base = request.path.trim_end_matches('/');
            node.nodes = if request.recursive { self.tree(base)? } else { self.list(base)? };
        }
        Ok(node)
    }

    /// The nodes directly in a directory, by name, hidden ones left out.
    fn list(&self, base: &str) -> Result<Vec<Node>, TablesError> {
        let mut files = BTreeMap::new();
        let mut names = BTreeSet::new();
        let (mut from, end) = below(base);
        loop {
            let mut next = None;
            self.heads(&from, &end, &mut |key, head| {
                let name = &key[base.len() + 1..];
                match name.iter().position(|byte| *byte == b'/') {
                    Some(slash) => {
                        names.insert(key[..base.len() + 1 + slash].to_vec());
                        let mut skip = key[..base.len() + 1 + slash].to_vec();
                        skip.push(b'/' + 1);
                        next = Some(layout::head_key(Space::User, &skip));
                        return ControlFlow::Break(());
                    }
                    None if head.live() && !name.starts_with(b"_") => {
                        files.insert(key.to_vec(), head);
                    }
                    None => {}
                }
                ControlFlow::Continue(())
            })?;
            match next {
                Some(next) => from = next,
                None => break,
            }
        }
        let mut nodes = Vec::new();
        for key in names {
            if let Shown::File(path) = directories::shown(&key)
                && !hidden_below(base, path)
                && let Some(directory) = directories::get(self.tables, &key)?
            {
                files.remove(&key);
                nodes.push(self.directory_node(path, directory)?);
            }
        }
        for (key, head) in files {
            if let Shown::File(path) = directories::shown(&key) {
                nodes.extend(self.file_node(path, head)?);
            }
        }
        nodes.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(nodes)
    }

    /// Everything in a directory, hidden nodes and what is below them left out.
    fn tree(&self, base: &str) -> Result<Vec<Node>, TablesError> {
        let directories = self.directories_below(base)?;
        let mut files = Vec::new();
        let (from, end) = below(base);
        self.heads(&from, &end, &mut |key, head| {
            if head.live()
                && let Shown::File(path) = directories::shown(key)
                && !hidden_below(base, path)
                && !directories.contains_key(path)
            {
                files.push((path.to_owned(), head));
            }
            ControlFlow::Continue(())
        })?;
        let mut inside: BTreeMap<String, Vec<Node>> = BTreeMap::new();
        for (path, head) in files {
            let parent = directories::parent(&path).to_owned();
            inside.entry(parent).or_default().extend(self.file_node(&path, head)?);
        }
        // Deepest first: a directory is complete when it is put into its parent.
        for (path, directory) in directories.into_iter().rev() {
            let mut node = self.directory_node(&path, directory)?;
            node.nodes = sorted(inside.remove(&path).unwrap_or_default());
            let parent = directories::parent(&path).to_owned();
            inside.entry(parent).or_default().push(node);
        }
        Ok(sorted(inside.remove(base).unwrap_or_default()))
    }

    /// The directories below `base` that are not hidden from it, in the order of their paths, so that each comes before those in it.
    fn directories_below(&self, base: &str) -> Result<BTreeMap<String, Directory>, TablesError> {
        let (from, end) = (format!("{base}/"), format!("{base}0"));
        let mut found = BTreeMap::new();
        let (from, end) = (Bound::Included(from.as_bytes()), Bound::Excluded(end.as_bytes()));
        try_scan(self.tables, Table::V2Directories, from, end, |path, value| {
            let path = String::from_utf8_lossy(path);
            let directory = layout::decode(value, "a record of table v2-directories")?;
            if !hidden_below(base, &path) {
                found.insert(path.into_owned(), directory);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(found)
    }

    fn directory_node(&self, path: &str, directory: Directory) -> Result<Node, TablesError> {
        let expiration = self.directory_expiration(path, &directory)?;
        Ok(node_of(path, &Place::Directory(directory, expiration)))
    }

    fn file_node(&self, path: &str, head: Head) -> Result<Option<Node>, TablesError> {
        let expiration = self.expiration(head.lease)?;
        let kv = layout::value_at(self.tables, Space::User, head.at)?;
        Ok(kv.map(|kv| node_of(path, &Place::File(kv, expiration))))
    }

    /// Visits the keys of the user space from `from` to before `end` (both as in the table), deleted ones included.
    fn heads(
        &self,
        from: &[u8],
        end: &[u8],
        visit: &mut dyn FnMut(&[u8], Head) -> ControlFlow<()>,
    ) -> Result<(), TablesError> {
        try_scan(self.tables, Table::Keys, Bound::Included(from), Bound::Excluded(end), |key, value| {
            Ok(visit(&key[1..], layout::decode(value, "a record of table keys")?))
        })
    }

    /// The keys that make a directory: its marker and what the view shows below it.
    pub(super) fn keys_below(&self, base: &str) -> Result<Vec<Bytes>, TablesError> {
        let (from, end) = below(base);
        let mut keys = Vec::new();
        self.heads(&from, &end, &mut |key, head| {
            if head.live() && directories::shown(key) != Shown::Outside {
                keys.push(Bytes::copy_from_slice(key));
            }
            ControlFlow::Continue(())
        })?;
        Ok(keys)
    }
}

/// The key that marks the directory at `path`.
pub(super) fn marker(path: &str) -> Vec<u8> {
    let mut key = path.as_bytes().to_vec();
    key.push(b'/');
    key
}

/// Bounds in table `Keys` of all that lies below `base` (empty: the root), its marker included.
fn below(base: &str) -> (Vec<u8>, Vec<u8>) {
    let mut end = base.as_bytes().to_vec();
    end.push(b'/' + 1);
    (layout::head_key(Space::User, &marker(base)), layout::head_key(Space::User, &end))
}

/// Whether `path`, which lies below `base`, has a component after it that starts with `_`.
pub(super) fn hidden_below(base: &str, path: &str) -> bool {
    path.get(base.len()..).is_some_and(|rest| rest.contains("/_"))
}

/// The node of what was found at `path`, without what is in it.
pub(super) fn node_of(path: &str, place: &Place) -> Node {
    match place {
        Place::Directory(directory, expiration) => Node {
            path: path.to_owned(),
            dir: true,
            created_index: directory.created,
            modified_index: directory.created,
            expiration: *expiration,
            ..Node::default()
        },
        Place::File(kv, expiration) => Node {
            path: path.to_owned(),
            value: Some(kv.value.clone()),
            created_index: kv.v2_created,
            modified_index: kv.v2_modified,
            expiration: *expiration,
            ..Node::default()
        },
    }
}

fn sorted(mut nodes: Vec<Node>) -> Vec<Node> {
    nodes.sort_by(|a, b| a.path.cmp(&b.path));
    nodes
}
