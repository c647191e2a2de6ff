//! Strings as Go's package strings handles them: bytes that are usually UTF-8.

use sha2::{Digest as _, Sha256};

use super::words;
use crate::confd::json::replace_invalid;
use crate::gotemplate::{List, Str, Value};

/// The longest text that one call makes.
pub(super) const TEXT_BYTES_MAX: usize = 64 << 20;

/// One of the functions that take strings only.
pub(super) fn call(name: &str, args: &[Value]) -> Result<Value, String> {
    Ok(match (name, args) {
        ("split", [Value::Str(text), Value::Str(separator)]) => Value::List(List::strings(split(text, separator))),
        ("contains", [Value::Str(text), Value::Str(part)]) => Value::Bool(find(text, part).is_some()),
        ("trimSuffix", [Value::Str(text), Value::Str(suffix)]) => {
            Value::string(text.strip_suffix(&**suffix).unwrap_or(text))
        }
        ("trimPrefix", [Value::Str(text), Value::Str(prefix)]) => {
            Value::string(text.strip_prefix(&**prefix).unwrap_or(text))
        }
        ("indent", [Value::Int(spaces), Value::Str(text)]) => Value::string(words::indent(*spaces, text)?),
        ("nindent", [Value::Int(spaces), Value::Str(text)]) => {
            Value::string([b"\n", words::indent(*spaces, text)?.as_slice()].concat())
        }
        ("quote", [Value::Str(text)]) => Value::string(words::quote(text)?),
        ("squote", [Value::Str(text)]) => Value::string(words::squote(text)),
        ("repeat", [Value::Int(count), Value::Str(text)]) => Value::string(words::repeat(*count, text)?),
        ("nospace", [Value::Str(text)]) => Value::string(words::nospace(text)),
        ("snakecase", [Value::Str(text)]) => words::separated(text, "_").into(),
        ("kebabcase", [Value::Str(text)]) => words::separated(text, "-").into(),
        ("camelcase", [Value::Str(text)]) => words::camel(text).into(),
        ("sha256sum", [Value::Str(text)]) => sha256(text).into(),
        ("replace", [Value::Str(text), Value::Str(old), Value::Str(new), Value::Int(count)]) => {
            Value::string(replace(text, old, new, *count)?)
        }
        ("toUpper", [Value::Str(text)]) => Value::string(mapped(text, upper)),
        ("toLower", [Value::Str(text)]) => Value::string(mapped(text, lower)),
        _ => return Err(format!("{name} is called with arguments of types that it does not take")),
    })
}

/// The checksum in hexadecimal.
fn sha256(text: &[u8]) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The strings with `separator` between them.
pub(super) fn join(list: &List, separator: &Str) -> Value {
    let parts: Vec<&[u8]> = list.iter().map(|item| if let Value::Str(text) = item { &**text } else { b"" }).collect();
    Value::string(parts.join(&**separator))
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    match part.len() {
        0 => Some(0),
        width => text.windows(width).position(|window| window == part),
    }
}

/// The pieces between separators; runes where the separator is empty.
fn split(text: &[u8], separator: &[u8]) -> Vec<Str> {
    if separator.is_empty() {
        return runes(text).map(Str::from).collect();
    }
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(at) = find(rest, separator) {
        pieces.push(Str::from(&rest[..at]));
        rest = &rest[at + separator.len()..];
    }
    pieces.push(Str::from(rest));
    pieces
}

/// The runes of a text as bytes; a byte that is no UTF-8 is one of its own.
pub(super) fn runes(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.utf8_chunks().flat_map(|chunk| {
        let valid = chunk.valid();
        let runes = valid.char_indices().map(move |(at, rune)| &valid.as_bytes()[at..at + rune.len_utf8()]);
        runes.chain(chunk.invalid().chunks(1))
    })
}

/// The first `count` occurrences of `old` replaced, all where it is negative. An empty `old` stands before each rune and
/// at the end.
fn replace(text: &[u8], old: &[u8], new: &[u8], count: i64) -> Result<Vec<u8>, String> {
    let mut left = usize::try_from(count).unwrap_or(usize::MAX);
    let mut out = Vec::with_capacity(text.len());
    let mut push = |part: &[u8]| match out.len() + part.len() > TEXT_BYTES_MAX {
        true => Err(format!("the text is longer than {TEXT_BYTES_MAX} bytes")),
        false => {
            out.extend_from_slice(part);
            Ok(())
        }
    };
    if old.is_empty() {
        for rune in runes(text).chain(std::iter::once(b"".as_slice())) {
            if left > 0 {
                push(new)?;
                left -= 1;
            }
            push(rune)?;
        }
        return Ok(out);
    }
    let mut rest = text;
    while let Some(at) = find(rest, old).filter(|_| left > 0) {
        push(&rest[..at])?;
        push(new)?;
        rest = &rest[at + old.len()..];
        left -= 1;
    }
    push(rest)?;
    Ok(out)
}

pub(super) fn mapped(text: &[u8], map: fn(char) -> char) -> Vec<u8> {
    let valid = replace_invalid(text.to_vec());
    String::from_utf8_lossy(&valid).chars().map(map).collect::<String>().into_bytes()
}

/// Go maps rune by rune: a rune whose capital is several (ß) stays as it is.
pub(super) fn upper(rune: char) -> char {
    let mut all = rune.to_uppercase();
    match (all.next(), all.next()) {
        (Some(one), None) => one,
        _ => match rune {
            // Greek letters with an iota below have a title case of one rune.
            '\u{1f80}'..='\u{1f87}' | '\u{1f90}'..='\u{1f97}' | '\u{1fa0}'..='\u{1fa7}' => {
                char::from_u32(u32::from(rune) + 8).unwrap_or(rune)
            }
            '\u{1fb3}' | '\u{1fc3}' | '\u{1ff3}' => char::from_u32(u32::from(rune) + 9).unwrap_or(rune),
            other => other,
        },
    }
}

pub(super) fn lower(rune: char) -> char {
    // İ becomes i and a dot in full; Go's answer is the i alone.
    rune.to_lowercase().next().unwrap_or(rune)
}
