//! Reads numeric and character constants, keeping every kind of value they can stand for.

use super::float::{parse_float, underscores_ok};
use super::node::Number;
use super::text::{Unit, lossy, quote, unquote_char};
use super::token::Kind;

/// Parses the text of a number token. The error is Go's message without position.
pub(super) fn parse_number(literal: &[u8], kind: Kind) -> Result<Number, String> {
    let text = lossy(literal).into_owned();
    if kind == Kind::CharConstant {
        return parse_char(literal, text);
    }
    let mut number = Number { uint: parse_uint(&text), int: parse_int(&text), float: None, text };
    if number.int == Some(0) {
        number.uint = Some(0);
    }
    number.float = match (number.int, number.uint) {
        (Some(int), _) => Some(int as f64),
        (None, Some(uint)) => Some(uint as f64),
        (None, None) => parse_float(&number.text),
    };
    if number.int.is_some() || number.uint.is_some() {
        return Ok(number);
    }
    let Some(float) = number.float else {
        return Err(format!("illegal number syntax: {}", quote(literal)));
    };
    if !number.text.contains(['.', 'e', 'E', 'p', 'P']) {
        return Err(format!("integer overflow: {}", quote(literal)));
    }
    if float as i64 as f64 == float {
        number.int = Some(float as i64);
    }
    if float as u64 as f64 == float {
        number.uint = Some(float as u64);
    }
    Ok(number)
}

fn parse_char(literal: &[u8], text: String) -> Result<Number, String> {
    let (unit, rest) = unquote_char(&literal[1..], b'\'').map_err(|error| error.to_string())?;
    if rest != b"'" {
        return Err(format!("malformed character constant: {text}"));
    }
    let code = match unit {
        Unit::Rune(rune) => u32::from(rune),
        Unit::Byte(byte) => u32::from(byte),
    };
    Ok(Number { text, int: Some(code.into()), uint: Some(code.into()), float: Some(code.into()) })
}

fn parse_int(text: &str) -> Option<i64> {
    let (negative, magnitude) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let value = i128::from(parse_uint(magnitude)?);
    i64::try_from(if negative { -value } else { value }).ok()
}

/// An unsigned integer in Go's syntax: base from the prefix (`0x`, `0b`, `0o`, `0`), `_` between digits.
fn parse_uint(text: &str) -> Option<u64> {
    let lower = text.to_ascii_lowercase();
    let (radix, digits) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, &lower[2..]),
        [b'0', b'b', ..] => (2, &lower[2..]),
        [b'0', b'o', ..] => (8, &lower[2..]),
        [b'0', _, ..] => (8, &lower[1..]),
        _ => (10, lower.as_str()),
    };
    if digits.starts_with(['+', '-']) || digits.contains('_') && !underscores_ok(text) {
        return None;
    }
    u64::from_str_radix(&digits.replace('_', ""), radix).ok()
}
