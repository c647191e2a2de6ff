//! The live fork's string functions: indents, quotes, repetition, and names in snake, camel and kebab case.

use super::strings::{TEXT_BYTES_MAX, lower, mapped, runes, upper};
use crate::confd::json::replace_invalid;
use crate::confd::render::go_quoted;

/// What a rune is to Go's `unicode.IsSpace`: Unicode's white space, which is Rust's too.
fn is_space(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|rune| rune.chars().all(char::is_whitespace))
}

fn bounded(length: usize) -> Result<(), String> {
    match length > TEXT_BYTES_MAX {
        true => Err(format!("the text is longer than {TEXT_BYTES_MAX} bytes")),
        false => Ok(()),
    }
}

/// Each line behind so many spaces; "" stays "".
pub(super) fn indent(spaces: i64, text: &[u8]) -> Result<Vec<u8>, String> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let width = usize::try_from(spaces).unwrap_or(0);
    let lines = text.split(|byte| *byte == b'\n').count();
    bounded(width.saturating_mul(lines).saturating_add(text.len()))?;
    let pad = vec![b' '; width];
    let lines: Vec<Vec<u8>> = text.split(|byte| *byte == b'\n').map(|line| [&pad, line].concat()).collect();
    Ok(lines.join(&b'\n'))
}

/// The text so many times, none where the count is below 1.
pub(super) fn repeat(count: i64, text: &[u8]) -> Result<Vec<u8>, String> {
    let count = usize::try_from(count).unwrap_or(0);
    bounded(count.saturating_mul(text.len()))?;
    Ok(text.repeat(count))
}

/// In double quotes with Go's escapes.
pub(super) fn quote(text: &[u8]) -> Result<Vec<u8>, String> {
    go_quoted(text)
}

/// In single quotes; those within are doubled.
pub(super) fn squote(text: &[u8]) -> Vec<u8> {
    let inside: Vec<&[u8]> = text.split(|byte| *byte == b'\'').collect();
    [b"'", inside.join(b"''".as_slice()).as_slice(), b"'"].concat()
}

/// Without white space. A byte that is no UTF-8 becomes U+FFFD, as in Go.
pub(super) fn nospace(text: &[u8]) -> Vec<u8> {
    let valid = replace_invalid(text.to_vec());
    runes(&valid).filter(|rune| !is_space(rune)).collect::<Vec<_>>().concat()
}

/// The words of a name, parted by `_`, `-`, spaces and capitals: `HTTPServer` is `HTTP` and `Server`.
fn words(text: &[u8]) -> Vec<String> {
    let valid = replace_invalid(text.to_vec());
    let runes: Vec<char> = String::from_utf8_lossy(&valid).chars().collect();
    let (mut words, mut current) = (Vec::new(), String::new());
    for (at, rune) in runes.iter().copied().enumerate() {
        if matches!(rune, '_' | '-' | ' ') {
            if !current.is_empty() {
                words.push(std::mem::take(&mut current));
            }
            continue;
        }
        if rune.is_uppercase() && !current.is_empty() {
            let before_small = runes.get(at + 1).is_some_and(|next| next.is_lowercase());
            if before_small || !runes[at - 1].is_uppercase() {
                words.push(std::mem::take(&mut current));
            }
        }
        current.push(rune);
    }
    if !current.is_empty() {
        words.push(current);
    }
    words.into_iter().map(|word| String::from_utf8_lossy(&mapped(word.as_bytes(), lower)).into_owned()).collect()
}

/// `snakecase` and `kebabcase`: small words with a separator between them.
pub(super) fn separated(text: &[u8], separator: &str) -> String {
    words(text).join(separator)
}

/// `camelcase`: every word but the first begins with a capital.
pub(super) fn camel(text: &[u8]) -> String {
    let mut out = String::new();
    for (at, word) in words(text).iter().enumerate() {
        let mut rest = word.chars();
        if at > 0
            && let Some(first) = rest.next()
        {
            out.push(upper(first));
        }
        out.push_str(rest.as_str());
    }
    out
}
