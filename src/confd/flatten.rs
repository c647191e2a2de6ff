//! Keys from a YAML or JSON file, as confd's file backend has them: maps and lists become folders, scalars become text.
//!
//! Follows go-yaml 2 where it matters to the text: `yes` and `on` are true, `0x10` and `010` are numbers, floats lose their
//! exponent, nothing (`~`, `null`) is no key.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span, StrInput};

use super::path;

/// Nesting that is read.
const DEPTH_MAX: usize = 100;
/// Keys of one file, those of repeated aliases counted each time.
const KEYS_MAX: usize = 1_000_000;

/// Why a file cannot be read, and where; line and column from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{line}:{column}: {message}")]
pub struct Unreadable {
    pub line: usize,
    pub column: usize,
    pub message: String,
}

/// The keys of a file's text.
///
/// # Errors
/// What is no YAML, and aliases or nesting beyond measure.
pub fn flatten(text: &str) -> Result<BTreeMap<String, String>, Unreadable> {
    let mut reader = Reader { events: Parser::new_from_str(text), anchors: BTreeMap::new() };
    let mut keys = BTreeMap::new();
    loop {
        match reader.next()? {
            (Event::StreamEnd | Event::DocumentEnd, _) => return Ok(keys),
            (Event::StreamStart | Event::DocumentStart(_), _) => {}
            (event, span) => {
                let node = reader.node(event, span, 0)?;
                node.walk("/", &mut keys, span.start)?;
            }
        }
    }
}

/// A value and what it was anchored as.
#[derive(Clone, Debug)]
enum Node {
    Text(String),
    Nothing,
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

struct Reader<'a> {
    events: Parser<'a, StrInput<'a>>,
    anchors: BTreeMap<usize, Node>,
}

fn wrong(at: Marker, message: impl Into<String>) -> Unreadable {
    Unreadable { line: at.line(), column: at.col() + 1, message: message.into() }
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), Unreadable> {
        let error = |error: ScanError| wrong(*error.marker(), error.info());
        self.events.next().unwrap_or(Ok((Event::StreamEnd, Span::default()))).map_err(error)
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Node, Unreadable> {
        if depth > DEPTH_MAX {
            return Err(wrong(span.start, format!("nested deeper than {DEPTH_MAX}")));
        }
        let (node, anchor) = match event {
            Event::Scalar(text, style, anchor, _) => (scalar(&text, style), anchor),
            Event::Alias(anchor) => match self.anchors.get(&anchor) {
                Some(node) => (node.clone(), 0),
                None => return Err(wrong(span.start, "an alias of itself, or of nothing")),
            },
            Event::SequenceStart(anchor, ..) => {
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        (Event::SequenceEnd, _) => break,
                        (event, span) => items.push(self.node(event, span, depth + 1)?),
                    }
                }
                (Node::List(items), anchor)
            }
            Event::MappingStart(anchor, ..) => (self.map(depth)?, anchor),
            other => return Err(wrong(span.start, format!("unexpected {other:?}"))),
        };
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn map(&mut self, depth: usize) -> Result<Node, Unreadable> {
        let (mut entries, mut merged) = (Vec::new(), Vec::new());
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::MappingEnd) {
                break;
            }
            let Node::Text(name) = self.node(event, span, depth + 1)? else {
                return Err(wrong(span.start, "the name of a key must be a plain text"));
            };
            let (event, span) = self.next()?;
            let value = self.node(event, span, depth + 1)?;
            if name == "<<" { merged.push(value) } else { entries.push((name, value)) }
        }
        // What is written here beats what is merged in.
        for node in merged.into_iter().flat_map(|node| if let Node::List(nodes) = node { nodes } else { vec![node] }) {
            let Node::Map(more) = node else { continue };
            for (name, value) in more {
                if entries.iter().all(|(known, _)| *known != name) {
                    entries.push((name, value));
                }
            }
        }
        Ok(Node::Map(entries))
    }
}

impl Node {
    fn walk(&self, at: &str, keys: &mut BTreeMap<String, String>, begin: Marker) -> Result<(), Unreadable> {
        if keys.len() > KEYS_MAX {
            return Err(wrong(begin, format!("more than {KEYS_MAX} keys")));
        }
        match self {
            Self::Nothing => {}
            Self::Text(text) => {
                keys.insert(at.to_owned(), text.clone());
            }
            Self::List(items) => {
                for (number, item) in items.iter().enumerate() {
                    item.walk(&path::join(&[at, &number.to_string()]), keys, begin)?;
                }
            }
            Self::Map(entries) => {
                for (name, node) in entries {
                    node.walk(&path::join(&[at, name]), keys, begin)?;
                }
            }
        }
        Ok(())
    }
}

/// A scalar as confd prints what go-yaml makes of it.
fn scalar(text: &str, style: ScalarStyle) -> Node {
    if style != ScalarStyle::Plain {
        return Node::Text(text.to_owned());
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Node::Nothing,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return Node::Text("true".to_owned());
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Node::Text("false".to_owned());
        }
        _ => {}
    }
    let printed = integer(text).or_else(|| float(text));
    Node::Text(printed.unwrap_or_else(|| text.to_owned()))
}

fn integer(text: &str) -> Option<String> {
    let plain = text.replace('_', "");
    let (sign, digits) = match plain.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", plain.strip_prefix('+').unwrap_or(&plain)),
    };
    if !digits.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, &lower[2..]),
        [b'0', b'b', ..] => (2, &lower[2..]),
        [b'0', b'o', ..] => (8, &lower[2..]),
        [b'0', _, ..] => (8, &lower[1..]),
        _ => (10, &lower[..]),
    };
    let number = u64::from_str_radix(digits, radix).ok()?;
    // What does not fit stays text, as it was written.
    (sign.is_empty() || number <= 1 << 63).then(|| format!("{}{number}", if number == 0 { "" } else { sign }))
}

/// Without an exponent, with as few digits as say the same number. As for go-yaml, an exponent without a sign makes it text.
fn float(text: &str) -> Option<String> {
    let plain = text.replace('_', "");
    let digits = plain.strip_prefix(['-', '+']).unwrap_or(&plain);
    let (mantissa, exponent) = digits.split_once(['e', 'E']).unwrap_or((digits, "+0"));
    let numeric = mantissa.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
        && mantissa.ends_with(|last: char| last.is_ascii_digit())
        && exponent.starts_with(['-', '+']);
    let number: f64 = numeric.then(|| plain.parse().ok())??;
    number.is_finite().then(|| format!("{number}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn shown(text: &str) -> String {
        flatten(text).unwrap().iter().map(|(key, value)| format!("{key}={value}\n")).collect()
    }

    #[test]
    fn maps_and_lists_are_folders() {
        let text = "app:\n  name: web\n  ports: [80, 443]\n  on: yes\n  none: ~\n  ratio: 2.50\n  big: 1e+6\n  word: 1e6\n  oct: 010\n  text: \"010\"\n1: one\n";
        let expected = "/1=one\n/app/big=1000000\n/app/name=web\n/app/oct=8\n/app/ports/0=80\n/app/ports/1=443\n/app/ratio=2.5\n/app/text=010\n/app/true=true\n/app/word=1e6\n";
        assert_eq!(shown(text), expected);
        assert_eq!(shown("{\"a\": {\"b\": [true, {\"c\": \"x\"}]}, \"n\": null}"), "/a/b/0=true\n/a/b/1/c=x\n");
        assert_eq!(shown(""), "");
        assert_eq!(shown("- a\n- b\n"), "/0=a\n/1=b\n");
    }

    #[test]
    fn aliases_and_merges_count() {
        assert_eq!(
            shown("base: &b {x: 1, y: 2}\nc:\n  <<: *b\n  y: 3\nd: *b\n"),
            "/base/x=1\n/base/true=2\n/c/true=3\n/c/x=1\n/d/true=2\n/d/x=1\n"
                .split_inclusive('\n')
                .collect::<std::collections::BTreeSet<_>>()
                .into_iter()
                .collect::<String>()
        );
    }

    #[test]
    fn nonsense_is_refused_with_its_place() {
        let wrong = flatten("a: 1\nb: [1, 2\n").unwrap_err();
        assert_eq!(wrong.line, 3, "{wrong}");
        assert!(flatten(&"[".repeat(200)).is_err());
        let bomb = "a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\n";
        assert!(flatten(bomb).unwrap().len() < 2_000);
    }
}
