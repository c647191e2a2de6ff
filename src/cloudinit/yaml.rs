//! YAML as a tree whose every node knows its line. Keys are written with `_`, as coreos-cloudinit reads them.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, StrInput};

use super::problem::Problem;
use crate::base::limits::{CLOUD_CONFIG_DEPTH_MAX, CLOUD_CONFIG_NODES_MAX};

/// A value and the line where it begins.
#[derive(Clone, Debug)]
pub struct Node {
    pub line: usize,
    pub value: Value,
}

#[derive(Clone, Debug)]
pub enum Value {
    /// Nothing, `~` or `null`.
    Nothing,
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A scalar as it is written; only a plain one, without quotes, can be a number or a truth.
#[derive(Clone, Debug)]
pub struct Scalar {
    pub text: String,
    pub plain: bool,
}

/// One `key: value`.
#[derive(Clone, Debug)]
pub struct Entry {
    /// With `_` for every `-`.
    pub key: String,
    pub line: usize,
    pub node: Node,
}

impl Scalar {
    /// YAML 1.1's words for true and false.
    pub fn truth(&self) -> Option<bool> {
        match self.text.as_str() {
            _ if !self.plain => None,
            "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "y" | "Y" => Some(true),
            "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" | "n" | "N" => Some(false),
            _ => None,
        }
    }
}

/// The first document of a text; nothing where it is empty.
///
/// # Errors
/// What is no YAML, or more of it than anybody writes.
pub fn parse(text: &str) -> Result<Node, Problem> {
    let mut tree = Tree { events: Parser::new_from_str(text), anchors: HashMap::new(), nodes: 0 };
    loop {
        match tree.next()? {
            (Event::StreamStart | Event::DocumentStart(_) | Event::Nothing, _) => {}
            (Event::StreamEnd | Event::DocumentEnd, line) => return Ok(Node { line, value: Value::Nothing }),
            (event, line) => return tree.node(event, line, 0),
        }
    }
}

struct Tree<'a> {
    events: Parser<'a, StrInput<'a>>,
    /// What `&name` stood before, by the parser's number.
    anchors: HashMap<usize, Node>,
    nodes: usize,
}

impl<'a> Tree<'a> {
    fn next(&mut self) -> Result<(Event<'a>, usize), Problem> {
        match self.events.next() {
            Some(Ok((event, span))) => Ok((event, span.start.line())),
            Some(Err(error)) => Err(Problem::error(error.marker().line(), error.info())),
            None => Ok((Event::StreamEnd, 1)),
        }
    }

    fn count(&mut self, line: usize, nodes: usize) -> Result<(), Problem> {
        self.nodes += nodes;
        let most = CLOUD_CONFIG_NODES_MAX;
        if self.nodes <= most { Ok(()) } else { Err(Problem::error(line, format!("more than {most} values"))) }
    }

    fn node(&mut self, event: Event<'a>, line: usize, depth: usize) -> Result<Node, Problem> {
        self.count(line, 1)?;
        if depth > CLOUD_CONFIG_DEPTH_MAX {
            return Err(Problem::error(line, format!("nested more than {CLOUD_CONFIG_DEPTH_MAX} deep")));
        }
        let (value, anchor) = match event {
            Event::Scalar(text, style, anchor, _) => (scalar(text.into_owned(), style), anchor),
            Event::SequenceStart(anchor, _) => (Value::List(self.list(depth)?), anchor),
            Event::MappingStart(anchor, _) => (Value::Map(self.map(depth)?), anchor),
            Event::Alias(anchor) => {
                let aliased = self.anchors.get(&anchor).cloned();
                let aliased = aliased.ok_or_else(|| Problem::error(line, "an alias of itself"))?;
                self.count(line, size(&aliased))?;
                return Ok(aliased);
            }
            _ => return Err(Problem::error(line, "a value is missing")),
        };
        let node = Node { line, value };
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Node>, Problem> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd | Event::StreamEnd, _) => return Ok(items),
                (event, line) => items.push(self.node(event, line, depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Vec<Entry>, Problem> {
        let (mut entries, mut merged) = (Vec::new(), Vec::new());
        loop {
            let (key, line) = match self.next()? {
                (Event::MappingEnd | Event::StreamEnd, _) => break,
                (Event::Scalar(key, ..), line) => (key.replace('-', "_"), line),
                (_, line) => return Err(Problem::error(line, "a key must be a plain word")),
            };
            let (event, value_line) = self.next()?;
            let node = self.node(event, value_line, depth + 1)?;
            match key.as_str() {
                "<<" => merged.push(node),
                _ => entries.push(Entry { key, line, node }),
            }
        }
        for node in merged {
            merge(&mut entries, node);
        }
        Ok(entries)
    }
}

/// `<<: *other` adds what the mapping does not say itself.
fn merge(entries: &mut Vec<Entry>, node: Node) {
    match node.value {
        Value::List(nodes) => nodes.into_iter().for_each(|node| merge(entries, node)),
        Value::Map(more) => {
            for entry in more {
                if entries.iter().all(|known| known.key != entry.key) {
                    entries.push(entry);
                }
            }
        }
        Value::Nothing | Value::Scalar(_) => {}
    }
}

fn scalar(text: String, style: ScalarStyle) -> Value {
    let plain = style == ScalarStyle::Plain;
    match plain && matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL") {
        true => Value::Nothing,
        false => Value::Scalar(Scalar { text, plain }),
    }
}

fn size(node: &Node) -> usize {
    1 + match &node.value {
        Value::Nothing | Value::Scalar(_) => 0,
        Value::List(items) => items.iter().map(size).sum(),
        Value::Map(entries) => entries.iter().map(|entry| size(&entry.node)).sum(),
    }
}
