//! Nodes and answers of the v2 view as JSON.

use crate::base::UnixMillis;
use crate::kv::V2Action;
use crate::kv::v2;
use crate::wire::v2 as wire;

/// The body of a good answer. That a write was a refresh is not told, as in etcd.
pub fn answer(answer: v2::Answer) -> wire::Answer {
    wire::Answer {
        action: action(answer.action).to_owned(),
        node: Some(node(answer.node)),
        prev_node: answer.prev_node.map(node),
    }
}

/// Whether etcd answers with 201.
pub fn is_creation(answer: &v2::Answer) -> bool {
    match answer.action {
        v2::Action::Change(V2Action::Create) => true,
        v2::Action::Change(V2Action::Set) => answer.prev_node.is_none(),
        _ => false,
    }
}

/// The word for an action.
pub fn action(action: v2::Action) -> &'static str {
    match action {
        v2::Action::Get => "get",
        v2::Action::Change(V2Action::Set) => "set",
        v2::Action::Change(V2Action::Create) => "create",
        v2::Action::Change(V2Action::Update) => "update",
        v2::Action::Change(V2Action::CompareAndSwap) => "compareAndSwap",
        v2::Action::Change(V2Action::Delete) => "delete",
        v2::Action::Change(V2Action::CompareAndDelete) => "compareAndDelete",
        v2::Action::Change(V2Action::Expire) => "expire",
    }
}

/// A node. The root shows neither its name nor its indexes.
fn node(node: v2::Node) -> wire::Node {
    let root = node.path == "/";
    wire::Node {
        key: if root { String::new() } else { node.path },
        value: node.value.map(|value| String::from_utf8_lossy(&value).into_owned()),
        dir: node.dir,
        expiration: node.expiration.map(|(at, _)| timestamp(at)),
        ttl: node.expiration.map_or(0, |(_, seconds)| seconds),
        nodes: node.nodes.into_iter().map(self::node).collect(),
        modified_index: if root { 0 } else { node.modified_index },
        created_index: if root { 0 } else { node.created_index },
    }
}

/// RFC 3339 in UTC, without zeros at the end of the fraction. What no calendar has is shown as its nearest end.
pub fn timestamp(at: UnixMillis) -> String {
    let end = if at.0 < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX };
    let shown = jiff::Timestamp::from_millisecond(at.0).unwrap_or(end);
    shown.to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bytes::Bytes;

    use super::*;
    use crate::wire::json;

    fn file() -> v2::Node {
        v2::Node {
            path: "/a".to_owned(),
            value: Some(Bytes::from_static(b"<x>&\x08\"\xff")),
            created_index: 4,
            modified_index: 5,
            expiration: Some((UnixMillis(1_795_223_000_120), 100)),
            ..v2::Node::default()
        }
    }

    fn shown(action: v2::Action, node: v2::Node, prev_node: Option<v2::Node>) -> String {
        let body = answer(v2::Answer { action, node, prev_node, refresh: false });
        String::from_utf8(json::to_vec(&body).unwrap()).unwrap()
    }

    #[test]
    fn fields_stand_in_etcds_order_and_escape_as_in_go() {
        let expected = concat!(
            r#"{"action":"set","node":{"key":"/a","value":"\u003cx\u003e\u0026\u0008\"�","#,
            r#""expiration":"2026-11-21T01:03:20.12Z","ttl":100,"modifiedIndex":5,"createdIndex":4}}"#,
            "\n"
        );
        assert_eq!(shown(v2::Action::Change(V2Action::Set), file(), None), expected);
    }

    #[test]
    fn the_root_has_no_name_and_empty_values_are_shown() {
        let child = v2::Node { value: Some(Bytes::new()), expiration: None, ..file() };
        let root =
            v2::Node { path: "/".to_owned(), dir: true, nodes: vec![child], modified_index: 3, ..v2::Node::default() };
        let expected = concat!(
            r#"{"action":"get","node":{"dir":true,"nodes":[{"key":"/a","value":"","modifiedIndex":5,"createdIndex":4}]}}"#,
            "\n"
        );
        assert_eq!(shown(v2::Action::Get, root, None), expected);
    }

    #[test]
    fn moments_beyond_the_calendar_do_no_harm() {
        assert!(!timestamp(UnixMillis(i64::MAX)).is_empty());
        assert_eq!(timestamp(UnixMillis(0)), "1970-01-01T00:00:00Z");
    }
}
