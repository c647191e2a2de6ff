//! The JSON of the door for people, `/kv/v1`: keys as they were, what changed, when and by whom.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

/// Bytes of a key or a value: a string where they are UTF-8, else `{"base64": …}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Data {
    Text(String),
    Binary { base64: String },
}

/// A revision, and when it was made (RFC 3339, UTC); the empty store's first one has no time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Place {
    pub revision: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
}

/// One change of one key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Change {
    pub revision: i64,
    /// RFC 3339, UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// The user who asked for it, where users are asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// `create`, `put`, `delete`, or `expire`: its lease ended.
    pub action: String,
    pub key: Data,
    /// `None`: the key is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Data>,
    /// Changes since the key was created, from 1 on; 0: the key is gone.
    pub version: i64,
    /// The lease that ends the key, in hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease: Option<String>,
    /// What the key was before the change, or at the earlier of two moments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Before>,
}

/// What a key was.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Before {
    pub revision: i64,
    pub value: Data,
}

/// The answer of `keys`, `history` and `diff`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Page {
    /// The moment that is told of; the later one of two.
    pub at: Place,
    /// The earlier of two moments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Place>,
    /// Where history begins.
    pub oldest: Place,
    pub changes: Vec<Change>,
    /// Ask the same with `page` set to this to go on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A line of `watch`: where it begins, then changes, and at the end why it ends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct News {
    /// The first revision that is told of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change: Option<Change>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The body of a refusal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Refusal {
    pub error: String,
    /// Where history begins, if what was asked for is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest: Option<Place>,
}

impl Default for Data {
    fn default() -> Self {
        Self::Text(String::new())
    }
}

impl From<&[u8]> for Data {
    fn from(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Binary { base64: STANDARD.encode(bytes) },
        }
    }
}

impl Data {
    /// The bytes; none where a foreign node sent malformed base64.
    pub fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Text(text) => text.clone().into_bytes(),
            Self::Binary { base64 } => STANDARD.decode(base64).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn bytes_are_text_where_they_can_be() {
        for (bytes, json) in [(&b"caf\xc3\xa9"[..], "\"café\""), (b"\xff\0", r#"{"base64":"/wA="}"#), (b"", "\"\"")] {
            let data = Data::from(bytes);
            assert_eq!(serde_json::to_string(&data).unwrap(), json);
            assert_eq!(serde_json::from_str::<Data>(json).unwrap(), data);
            assert_eq!(data.bytes(), bytes);
        }
    }
}
