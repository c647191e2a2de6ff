//! Events as v2 watchers see them. Events of one request share an index and make one answer.

use bytes::Bytes;

use super::view::hidden_below;
use super::{Action, Answer, Node};
use crate::kv::types::{Event, EventKind, V2Action, V2Note};

/// The range of keys whose events a watcher of `path` needs, recursive or not: the path itself and all below it.
pub fn watch_range(path: &str) -> (Bytes, Bytes) {
    let base = path.trim_end_matches('/');
    if base.is_empty() {
        return (Bytes::from_static(b"/"), Bytes::from_static(b"0"));
    }
    (Bytes::copy_from_slice(base.as_bytes()), Bytes::from(format!("{base}0")))
}

/// Splits events of the user space, in their order, into those of one index each.
pub fn groups(events: &[Event]) -> impl Iterator<Item = &[Event]> {
    let index = |event: &Event| event.v2.as_ref().map(|note| note.index);
    events.chunk_by(move |a, b| index(a).is_some() && index(a) == index(b))
}

/// What a watcher of `path` is told of the events of one index (all that [`watch_range`] selects); `None`: nothing.
///
/// `past`: the events come from the history. Then, as in etcd, hidden nodes are told of, and the end of a directory is told
/// to watchers of anything below it; live, only to watchers of what existed there.
pub fn watch_match(path: &str, recursive: bool, past: bool, group: &[Event]) -> Option<Answer> {
    let note = group.first()?.v2.as_ref().filter(|note| !note.silent)?;
    let changed = std::str::from_utf8(&note.path).ok()?;
    let base = path.trim_end_matches('/');
    let hit = if changed == base {
        true
    } else if is_below(changed, base) {
        recursive && (past || !hidden_below(base, changed))
    } else if is_below(base, changed) && ends_directory(note) {
        past || group.iter().any(|event| touches(event, base))
    } else {
        false
    };
    if hit { answer(group) } else { None }
}

/// Whether the node at `path` lies below the directory at `base` (empty: the root).
fn is_below(path: &str, base: &str) -> bool {
    path.strip_prefix(base).is_some_and(|rest| rest.starts_with('/'))
}

fn ends_directory(note: &V2Note) -> bool {
    note.dir && matches!(note.action, V2Action::Delete | V2Action::Expire)
}

/// Whether the event is of the node at `path` or of something below it.
fn touches(event: &Event, path: &str) -> bool {
    event.kv.key.strip_prefix(path.as_bytes()).is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
}

/// The answer that the events of one index make, whoever asks.
pub(in crate::kv) fn answer(group: &[Event]) -> Option<Answer> {
    let note = group.first()?.v2.as_ref()?;
    let path = std::str::from_utf8(&note.path).ok()?.to_owned();
    // The change of the key of that name; a directory has none, unless it took the place of a file.
    let file = group.iter().find(|event| event.kv.key == note.path);
    let prev_file = file.and_then(|event| event.prev.as_ref()).map(|prev| Node {
        path: path.clone(),
        value: Some(prev.value.clone()),
        created_index: prev.v2_created,
        modified_index: prev.v2_modified,
        expiration: note.prev_expiration,
        ..Node::default()
    });
    let mut node =
        Node { path: path.clone(), modified_index: note.index, expiration: note.expiration, ..Node::default() };
    let prev_node = if note.dir {
        node.dir = true;
        node.created_index = note.created;
        match note.action {
            V2Action::Set | V2Action::Create => prev_file,
            _ => Some(Node {
                path,
                dir: true,
                created_index: note.created,
                modified_index: note.created,
                expiration: note.prev_expiration,
                ..Node::default()
            }),
        }
    } else {
        let event = file?;
        if event.kind == EventKind::Put {
            node.value = Some(event.kv.value.clone());
            node.created_index = event.kv.v2_created;
        } else {
            node.created_index = event.prev.as_ref().map_or(0, |prev| prev.v2_created);
        }
        prev_file
    };
    Some(Answer { action: Action::Change(note.action), node, prev_node, refresh: note.silent })
}
