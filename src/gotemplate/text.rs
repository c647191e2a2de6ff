//! Go's view of text: byte strings decoded rune by rune, quoted and unquoted as package strconv does.

use std::borrow::Cow;

/// The rune that stands for a byte that is not part of valid UTF-8.
pub const REPLACEMENT: char = '\u{FFFD}';

/// Decodes the first rune of `bytes`: the rune and its width in bytes, `(U+FFFD, 1)` for an invalid byte, `None` at the end.
pub fn decode_rune(bytes: &[u8]) -> Option<(char, usize)> {
    let first = *bytes.first()?;
    if first < 0x80 {
        return Some((char::from(first), 1));
    }
    let head = &bytes[..bytes.len().min(4)];
    let valid = match std::str::from_utf8(head) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&head[..error.valid_up_to()]).unwrap_or(""),
    };
    match valid.chars().next() {
        Some(rune) => Some((rune, rune.len_utf8())),
        None => Some((REPLACEMENT, 1)),
    }
}

/// The runes of a byte string with their byte offsets and widths, as Go's `for range` yields them.
pub fn runes(bytes: &[u8]) -> impl Iterator<Item = (usize, char, usize)> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        let (rune, width) = decode_rune(&bytes[at..])?;
        let start = at;
        at += width;
        Some((start, rune, width))
    })
}

/// The number of runes in a byte string (Go's `utf8.RuneCount`).
pub fn rune_count(bytes: &[u8]) -> usize {
    if bytes.is_ascii() {
        return bytes.len();
    }
    runes(bytes).count()
}

/// Appends a rune as UTF-8.
pub fn push_rune(out: &mut Vec<u8>, rune: char) {
    let mut buffer = [0; 4];
    out.extend_from_slice(rune.encode_utf8(&mut buffer).as_bytes());
}

/// A byte string as text for a message; invalid bytes become U+FFFD.
pub fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// Whether Go's `unicode.IsPrint` holds: letters, marks, numbers, punctuation, symbols and the ASCII space.
pub fn is_print(rune: char) -> bool {
    if rune.is_ascii() {
        return (' '..='~').contains(&rune);
    }
    // Only the first character of a string is escaped for being a combining mark, so a letter goes before.
    let mut buffer = [b'a'; 5];
    let width = rune.encode_utf8(&mut buffer[1..]).len();
    match std::str::from_utf8(&buffer[..=width]) {
        Ok(text) => text.escape_debug().count() == 2,
        Err(_) => false,
    }
}

/// Whether a rune may be part of an identifier. Slightly wider than Go: any alphabetic or numeric character.
pub fn is_alphanumeric(rune: char) -> bool {
    rune == '_' || rune.is_alphanumeric()
}

/// Appends `bytes` between double quotes with Go's escapes; `ascii_only` is the `+` flag of `%+q`.
pub fn quote_into(out: &mut Vec<u8>, bytes: &[u8], ascii_only: bool) {
    out.push(b'"');
    for (start, rune, width) in runes(bytes) {
        if width == 1 && rune == REPLACEMENT {
            out.extend_from_slice(format!("\\x{:02x}", bytes[start]).as_bytes());
        } else {
            push_escaped(out, rune, '"', ascii_only);
        }
    }
    out.push(b'"');
}

/// A byte string between double quotes, as `%q` prints it.
pub fn quote(bytes: &[u8]) -> String {
    let mut out = Vec::with_capacity(bytes.len() + 2);
    quote_into(&mut out, bytes, false);
    lossy(&out).into_owned()
}

/// Appends a rune between single quotes with Go's escapes.
pub fn quote_rune_into(out: &mut Vec<u8>, rune: char, ascii_only: bool) {
    out.push(b'\'');
    push_escaped(out, rune, '\'', ascii_only);
    out.push(b'\'');
}

fn push_escaped(out: &mut Vec<u8>, rune: char, quote: char, ascii_only: bool) {
    let code = u32::from(rune);
    if rune == quote || rune == '\\' {
        out.push(b'\\');
        return push_rune(out, rune);
    }
    if is_print(rune) && (rune.is_ascii() || !ascii_only) {
        return push_rune(out, rune);
    }
    let escape = match code {
        7 => "\\a".to_owned(),
        8 => "\\b".to_owned(),
        12 => "\\f".to_owned(),
        10 => "\\n".to_owned(),
        13 => "\\r".to_owned(),
        9 => "\\t".to_owned(),
        11 => "\\v".to_owned(),
        0..=0x1f | 0x7f => format!("\\x{code:02x}"),
        0x80..=0xffff => format!("\\u{code:04x}"),
        _ => format!("\\U{code:08x}"),
    };
    out.extend_from_slice(escape.as_bytes());
}

/// Whether a string can stand unchanged between back quotes (Go's `strconv.CanBackquote`).
pub fn can_backquote(bytes: &[u8]) -> bool {
    runes(bytes).all(|(_, rune, width)| match rune {
        REPLACEMENT => width > 1,
        '\u{feff}' | '`' | '\u{7f}' => false,
        '\t' => true,
        _ => rune >= ' ',
    })
}

/// The text is not a valid Go literal; Go's wording.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("invalid syntax")]
pub struct InvalidLiteral;

/// The value of a Go string literal, quotes included in the input (Go's `strconv.Unquote` for `"…"` and `` `…` ``).
pub fn unquote(literal: &[u8]) -> Result<Vec<u8>, InvalidLiteral> {
    let (Some(&open), Some(&close)) = (literal.first(), literal.last()) else {
        return Err(InvalidLiteral);
    };
    if literal.len() < 2 || open != close {
        return Err(InvalidLiteral);
    }
    let mut rest = &literal[1..literal.len() - 1];
    if open == b'`' {
        return Ok(rest.iter().copied().filter(|&byte| byte != b'\r').collect());
    }
    let mut out = Vec::with_capacity(rest.len());
    while !rest.is_empty() {
        if rest[0] == b'\n' {
            return Err(InvalidLiteral);
        }
        let (unit, tail) = unquote_char(rest, open)?;
        match unit {
            Unit::Rune(rune) => push_rune(&mut out, rune),
            Unit::Byte(byte) => out.push(byte),
        }
        rest = tail;
    }
    Ok(out)
}

/// One element of a quoted literal: a rune, or a byte written as `\xNN` or `\NNN`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Rune(char),
    Byte(u8),
}

/// Reads the first, possibly escaped, element of `text` inside a literal closed by `quote`; returns it and what follows.
pub fn unquote_char(text: &[u8], quote: u8) -> Result<(Unit, &[u8]), InvalidLiteral> {
    let (rune, width) = decode_rune(text).ok_or(InvalidLiteral)?;
    if text[0] == quote {
        return Err(InvalidLiteral);
    }
    if rune != '\\' {
        return Ok((Unit::Rune(rune), &text[width..]));
    }
    let escape = *text.get(1).ok_or(InvalidLiteral)?;
    let rest = &text[2..];
    let simple = |byte: u8| Ok((Unit::Byte(byte), rest));
    match escape {
        b'a' => simple(7),
        b'b' => simple(8),
        b'f' => simple(12),
        b'n' => simple(b'\n'),
        b'r' => simple(b'\r'),
        b't' => simple(b'\t'),
        b'v' => simple(11),
        b'\\' => simple(b'\\'),
        b'\'' | b'"' if escape == quote => simple(escape),
        b'x' => {
            let (value, rest) = digits(rest, 2, 16)?;
            let byte = u8::try_from(value).map_err(|_| InvalidLiteral)?;
            Ok((Unit::Byte(byte), rest))
        }
        b'u' | b'U' => {
            let (value, rest) = digits(rest, if escape == b'u' { 4 } else { 8 }, 16)?;
            let rune = char::from_u32(value).ok_or(InvalidLiteral)?;
            Ok((Unit::Rune(rune), rest))
        }
        b'0'..=b'7' => {
            let (value, rest) = digits(&text[1..], 3, 8)?;
            let byte = u8::try_from(value).map_err(|_| InvalidLiteral)?;
            Ok((Unit::Byte(byte), rest))
        }
        _ => Err(InvalidLiteral),
    }
}

fn digits(text: &[u8], count: usize, radix: u32) -> Result<(u32, &[u8]), InvalidLiteral> {
    let (head, rest) = text.split_at_checked(count).ok_or(InvalidLiteral)?;
    let mut value: u32 = 0;
    for &byte in head {
        let digit = char::from(byte).to_digit(radix).ok_or(InvalidLiteral)?;
        value = value.checked_mul(radix).ok_or(InvalidLiteral)? + digit;
    }
    Ok((value, rest))
}
