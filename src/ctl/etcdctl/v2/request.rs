//! Requests of API 2 before it is known whom they go to: paths, queries and forms in Go's encoding.

use hyper::Method;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::wire::v2::PATH_KEPT;

const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";
/// Left as they are in a query or form, as Go leaves them.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b' ');

/// A request.
pub struct Asked {
    pub method: Method,
    pub path: String,
    /// Content type and content.
    pub body: Option<(&'static str, String)>,
    /// It is not tried at a second endpoint.
    pub once: bool,
}

impl Asked {
    pub fn get(path: impl Into<String>) -> Self {
        Self { method: Method::GET, path: path.into(), body: None, once: false }
    }

    pub fn with_form(method: Method, path: String, fields: &[(&str, String)]) -> Self {
        Self { method, path, body: Some((FORM, form(fields))), once: false }
    }

    pub fn with_json(method: Method, path: String, body: &serde_json::Value) -> Self {
        Self { method, path, body: Some((JSON, body.to_string())), once: false }
    }
}

/// Names and values as Go encodes them, in the order of the names.
pub fn form(fields: &[(&str, String)]) -> String {
    let encode = |text: &str| utf8_percent_encode(text, QUERY).to_string().replace(' ', "+");
    let mut fields: Vec<_> = fields.iter().collect();
    fields.sort_by_key(|(name, _)| *name);
    let pairs: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
    pairs.join("&")
}

/// The path of a key, cleaned, with a query.
pub fn key_path(key: &str, query: &[(&str, String)]) -> String {
    let path = utf8_percent_encode(&canonical(&format!("/v2/keys/{key}")), PATH_KEPT).to_string();
    if query.is_empty() { path } else { format!("{path}?{}", form(query)) }
}

/// A path without `//`, `.` and `..`, with a slash before it; one at its end stays.
pub fn canonical(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            other => parts.push(other),
        }
    }
    let slash = if path.ends_with('/') && !parts.is_empty() { "/" } else { "" };
    format!("/{}{slash}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_forms_are_gos() {
        assert_eq!(key_path("/a b/../c d@1:2", &[]), "/v2/keys/c%20d@1:2");
        assert_eq!(key_path("/", &[("wait", "true".to_owned())]), "/v2/keys/?wait=true");
        assert_eq!(form(&[("value", "a b+c/é".to_owned()), ("ttl", "5".to_owned())]), "ttl=5&value=a+b%2Bc%2F%C3%A9");
        assert_eq!(canonical("a//b/./c/"), "/a/b/c/");
    }
}
