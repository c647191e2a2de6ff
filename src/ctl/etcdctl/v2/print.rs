//! Answers as they are printed: simple, extended, and the JSON that Go makes of the original's types.

use serde::Serialize;

use super::line::Line;
use crate::wire::json::to_vec;
use crate::wire::v2::{Answer, Node};

/// An answer with the index of its header.
pub struct Reply {
    pub answer: Answer,
    pub index: u64,
}

impl Reply {
    pub fn node(&self) -> Node {
        self.answer.node.clone().unwrap_or_default()
    }
}

/// The form that is asked for.
pub fn format(line: &Line) -> &str {
    match line.text("output") {
        "" => "simple",
        format => format,
    }
}

pub fn key(line: &Line, reply: &Reply) {
    let node = reply.node();
    let previous = reply.answer.prev_node.as_ref().map(|node| node.value.clone().unwrap_or_default());
    let deleted = reply.answer.action == "delete";
    let value = node.value.clone().unwrap_or_default();
    match format(line) {
        "simple" if deleted => println!("PrevNode.Value: {}", previous.unwrap_or_default()),
        "simple" => println!("{value}"),
        "extended" => {
            println!(
                "Key: {}\nCreated-Index: {}\nModified-Index: {}",
                node.key, node.created_index, node.modified_index
            );
            if let Some(previous) = previous {
                println!("PrevNode.Value: {previous}");
            }
            println!("TTL: {}\nIndex: {}", node.ttl, reply.index);
            if !deleted {
                println!("\n{value}");
            }
        }
        "json" => {
            let shown = Shown {
                action: &reply.answer.action,
                node: reply.answer.node.as_ref().map(ShownNode::of),
                prev_node: reply.answer.prev_node.as_ref().map(ShownNode::of),
            };
            let line = to_vec(&shown).unwrap_or_default();
            println!("{}", String::from_utf8_lossy(&line).trim_end());
        }
        other => eprintln!("Unsupported output format: {other}"),
    }
}

pub fn listing(line: &Line, reply: &Reply) {
    if format(line) != "simple" {
        return key(line, reply);
    }
    let node = reply.node();
    if !node.dir {
        println!("{}", node.key);
    }
    node.nodes.iter().for_each(|child| tree(child, line.truth("p")));
}

fn tree(node: &Node, slash: bool) {
    println!("{}{}", node.key, if slash && node.dir { "/" } else { "" });
    node.nodes.iter().for_each(|child| tree(child, slash));
}

#[derive(Serialize)]
struct Shown<'a> {
    action: &'a str,
    node: Option<ShownNode<'a>>,
    #[serde(rename = "prevNode")]
    prev_node: Option<ShownNode<'a>>,
}

/// The order of Go's type, which is not the server's.
#[derive(Serialize)]
struct ShownNode<'a> {
    key: &'a str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    dir: bool,
    value: &'a str,
    nodes: Option<Vec<ShownNode<'a>>>,
    #[serde(rename = "createdIndex")]
    created_index: u64,
    #[serde(rename = "modifiedIndex")]
    modified_index: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    expiration: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<i64>,
}

impl<'a> ShownNode<'a> {
    fn of(node: &'a Node) -> Self {
        Self {
            key: &node.key,
            dir: node.dir,
            value: node.value.as_deref().unwrap_or_default(),
            nodes: (!node.nodes.is_empty()).then(|| node.nodes.iter().map(Self::of).collect()),
            created_index: node.created_index,
            modified_index: node.modified_index,
            expiration: node.expiration.as_deref(),
            ttl: (node.ttl != 0).then_some(node.ttl),
        }
    }
}
