//! JSON as Go's encoding/json reads it into `interface{}`: numbers are floats, and the error texts are Go's.

use std::collections::BTreeMap;

use super::resource::JsonNumbers;
use crate::gotemplate::{List, Map, Str, Value, format_value};

/// Nesting that is read; the template engine prints no deeper.
const DEPTH_MAX: usize = 200;
/// Longer than a number is ever printed.
const NUMBER_BYTES_MAX: usize = 400;

/// Reads an object, as the function `json` does; `null` is an empty one.
///
/// # Errors
/// Go's text.
pub(super) fn object(text: &[u8], numbers: JsonNumbers) -> Result<Value, String> {
    match parse(text, numbers)? {
        Value::Nil => Ok(Value::Map(Map::any(BTreeMap::<Str, Value>::new()))),
        found @ Value::Map(_) => Ok(found),
        other => Err(wrong_type(&other, "map[string]interface {}")),
    }
}

/// Reads an array, as the function `jsonArray` does; `null` is an empty one.
///
/// # Errors
/// Go's text.
pub(super) fn array(text: &[u8], numbers: JsonNumbers) -> Result<Value, String> {
    match parse(text, numbers)? {
        Value::Nil => Ok(Value::List(List::any(Vec::new()))),
        found @ Value::List(_) => Ok(found),
        other => Err(wrong_type(&other, "[]interface {}")),
    }
}

fn wrong_type(value: &Value, wanted: &str) -> String {
    let kind = match value {
        Value::Bool(_) => "bool",
        Value::Float(_) | Value::Int(_) => "number",
        Value::Str(_) => "string",
        Value::List(_) => "array",
        _ => "object",
    };
    format!("json: cannot unmarshal {kind} into Go value of type {wanted}")
}

/// Reads one value that fills the whole text.
pub(super) fn parse(text: &[u8], numbers: JsonNumbers) -> Result<Value, String> {
    let mut reader = Reader { text, at: 0, depth: 0, numbers, too_large: None };
    let value = reader.value()?;
    reader.blank();
    match reader.peek() {
        None => reader.too_large.map_or(Ok(value), Err),
        Some(_) => Err(reader.unexpected("after top-level value")),
    }
}

/// A number that is printed as it is written.
fn exact(text: &str) -> Value {
    let printed = |value: &Value| format_value(value, NUMBER_BYTES_MAX).is_ok_and(|printed| printed == text.as_bytes());
    let (int, float) = (text.parse().map(Value::Int).ok(), text.parse().map(Value::Float).ok());
    int.or(float).filter(printed).unwrap_or_else(|| Value::from(text))
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    depth: usize,
    numbers: JsonNumbers,
    /// A number that no float holds: told only when all of the text is well-formed, as Go does.
    too_large: Option<String>,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn blank(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    /// The complaint about what stands here. Go reads a space at the end, and complains of it within words and numbers.
    fn unexpected(&self, context: &str) -> String {
        let within =
            context.starts_with("in ") && context != "in string literal" || context.starts_with("after decimal");
        let Some(byte) = self.peek().or(within.then_some(b' ')) else {
            return "unexpected end of JSON input".to_owned();
        };
        let shown = match byte {
            b'\'' => r"'\''".to_owned(),
            b'"' => "'\"'".to_owned(),
            byte => {
                let quoted = super::render::quoted(char::from(byte).to_string().as_bytes());
                format!("'{}'", quoted.trim_matches('"'))
            }
        };
        format!("invalid character {shown} {context}")
    }

    fn value(&mut self) -> Result<Value, String> {
        self.blank();
        match self.peek() {
            Some(b'{') => self.nested(Self::members),
            Some(b'[') => self.nested(Self::elements),
            Some(b'"') => self.string().map(|text| Value::Str(text.into())),
            Some(b't') => self.literal("true", Value::Bool(true)),
            Some(b'f') => self.literal("false", Value::Bool(false)),
            Some(b'n') => self.literal("null", Value::Nil),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => Err(self.unexpected("looking for beginning of value")),
        }
    }

    fn nested(&mut self, inside: fn(&mut Self) -> Result<Value, String>) -> Result<Value, String> {
        if self.depth == DEPTH_MAX {
            return Err("exceeded max depth".to_owned());
        }
        self.at += 1;
        self.depth += 1;
        let value = inside(self);
        self.depth -= 1;
        value
    }

    fn members(&mut self) -> Result<Value, String> {
        let mut entries: BTreeMap<Str, Value> = BTreeMap::new();
        self.blank();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Value::Map(Map::any(entries)));
        }
        loop {
            self.blank();
            if self.peek() != Some(b'"') {
                return Err(self.unexpected("looking for beginning of object key string"));
            }
            let key = self.string()?;
            self.blank();
            if self.peek() != Some(b':') {
                return Err(self.unexpected("after object key"));
            }
            self.at += 1;
            let value = self.value()?;
            entries.insert(key.into(), value);
            if self.ends(b'}', "after object key:value pair")? {
                return Ok(Value::Map(Map::any(entries)));
            }
        }
    }

    fn elements(&mut self) -> Result<Value, String> {
        let mut items = Vec::new();
        self.blank();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Value::List(List::any(items)));
        }
        loop {
            items.push(self.value()?);
            if self.ends(b']', "after array element")? {
                return Ok(Value::List(List::any(items)));
            }
        }
    }

    /// Whether the collection ends here; else a comma is eaten.
    fn ends(&mut self, close: u8, context: &str) -> Result<bool, String> {
        self.blank();
        match self.peek() {
            Some(byte) if byte == close || byte == b',' => {
                self.at += 1;
                Ok(byte == close)
            }
            _ => Err(self.unexpected(context)),
        }
    }

    fn literal(&mut self, word: &str, value: Value) -> Result<Value, String> {
        for expected in word.bytes() {
            if self.peek() != Some(expected) {
                return Err(self.unexpected(&format!("in literal {word} (expecting '{}')", char::from(expected))));
            }
            self.at += 1;
        }
        Ok(value)
    }

    fn digits(&mut self, context: &str) -> Result<(), String> {
        if !matches!(self.peek(), Some(b'0'..=b'9')) {
            return Err(self.unexpected(context));
        }
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        Ok(())
    }

    fn number(&mut self) -> Result<Value, String> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            _ => self.digits("in numeric literal")?,
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits("after decimal point in numeric literal")?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits("in exponent of numeric literal")?;
        }
        let text = String::from_utf8_lossy(&self.text[start..self.at]);
        if self.numbers == JsonNumbers::Exact {
            return Ok(exact(&text));
        }
        let number: f64 = text.parse().map_err(|_| "invalid number".to_owned())?;
        if number.is_infinite() {
            // Without the number itself: values of keys stay out of logs.
            let message = "json: cannot unmarshal number into Go value of type float64";
            self.too_large.get_or_insert_with(|| message.to_owned());
        }
        Ok(Value::Float(number))
    }

    fn string(&mut self) -> Result<Vec<u8>, String> {
        self.at += 1;
        let mut out = Vec::new();
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(replace_invalid(out));
                }
                Some(b'\\') => {
                    self.at += 1;
                    self.escape(&mut out)?;
                }
                Some(byte) if byte >= b' ' => {
                    out.push(byte);
                    self.at += 1;
                }
                _ => return Err(self.unexpected("in string literal")),
            }
        }
    }

    fn escape(&mut self, out: &mut Vec<u8>) -> Result<(), String> {
        let plain = match self.peek() {
            Some(byte @ (b'"' | b'\\' | b'/')) => byte,
            Some(b'b') => 8,
            Some(b'f') => 12,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'u') => {
                self.at += 1;
                let rune = self.unicode()?;
                out.extend_from_slice(rune.encode_utf8(&mut [0; 4]).as_bytes());
                return Ok(());
            }
            _ => return Err(self.unexpected("in string escape code")),
        };
        self.at += 1;
        out.push(plain);
        Ok(())
    }

    /// After `\u`: a rune, of two escapes where the first is half of a pair; half a pair alone is U+FFFD.
    fn unicode(&mut self) -> Result<char, String> {
        let first = self.hex4()?;
        if (0xd800..0xdc00).contains(&first) && self.text[self.at..].starts_with(b"\\u") {
            let back = self.at;
            self.at += 2;
            let second = self.hex4()?;
            if (0xdc00..0xe000).contains(&second) {
                let code = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                return Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            self.at = back;
        }
        Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn hex4(&mut self) -> Result<u32, String> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|byte| char::from(byte).to_digit(16));
            let digit = digit.ok_or_else(|| self.unexpected("in \\u hexadecimal character escape"))?;
            code = code * 16 + digit;
            self.at += 1;
        }
        Ok(code)
    }
}

/// Each byte that is no UTF-8 becomes U+FFFD.
pub(super) fn replace_invalid(bytes: Vec<u8>) -> Vec<u8> {
    if std::str::from_utf8(&bytes).is_ok() {
        return bytes;
    }
    let mut out = Vec::with_capacity(bytes.len() + 8);
    for chunk in bytes.utf8_chunks() {
        out.extend_from_slice(chunk.valid().as_bytes());
        chunk.invalid().iter().for_each(|_| out.extend_from_slice("\u{fffd}".as_bytes()));
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn show(value: &Value) -> String {
        String::from_utf8(format_value(value, 10_000).unwrap()).unwrap()
    }

    #[test]
    fn reads_what_go_reads() {
        let cases = [
            (r#"{"b":1,"a":[1,"x",null,true]}"#, "map[a:[1 x <nil> true] b:1]"),
            (r#" { "a" : { } } "#, "map[a:map[]]"),
            (r#"{"a":2592000,"b":1.5e3,"c":-0.0,"a":3}"#, "map[a:3 b:1500 c:-0]"),
            (r#"{"s":"\u00e9\ud83d\ude00\ud83dx\n\/"}"#, "map[s:\u{e9}\u{1f600}\u{fffd}x\n/]"),
            ("null", "map[]"),
        ];
        for (text, expected) in cases {
            assert_eq!(show(&object(text.as_bytes(), JsonNumbers::Float).unwrap()), expected, "{text}");
        }
        assert_eq!(show(&object(b"{\"a\":\"\xff\"}", JsonNumbers::Float).unwrap()), "map[a:\u{fffd}]");
        assert_eq!(show(&array(b"[1, [2], {}]", JsonNumbers::Float).unwrap()), "[1 [2] map[]]");
    }

    #[test]
    fn exact_numbers_are_printed_as_they_are_written() {
        let text = "[2592000, 1000000, 1.5, 1.10, 1e6, 2.592e+06, -0, -7, 9223372036854775807, 18446744073709551615, 1e999, 0.1]";
        let exact = array(text.as_bytes(), JsonNumbers::Exact).unwrap();
        assert_eq!(show(&exact), text.replace(',', ""));
        let Value::List(list) = &exact else { panic!("{exact:?}") };
        assert!(
            matches!(list[..4], [Value::Int(2_592_000), Value::Int(_), Value::Float(_), Value::Str(_)]),
            "{list:?}"
        );
        assert_eq!(
            object(b"3", JsonNumbers::Exact).unwrap_err(),
            "json: cannot unmarshal number into Go value of type map[string]interface {}"
        );
    }

    #[test]
    fn errors_are_gos() {
        let cases = [
            ("", "unexpected end of JSON input"),
            ("{", "unexpected end of JSON input"),
            ("{\"a\":tru", "invalid character ' ' in literal true (expecting 'e')"),
            ("{\"a\":\"tru", "unexpected end of JSON input"),
            ("{\"a\":é}", "invalid character 'Ã' looking for beginning of value"),
            ("x", "invalid character 'x' looking for beginning of value"),
            ("{a", "invalid character 'a' looking for beginning of object key string"),
            ("{\"a\",", "invalid character ',' after object key"),
            ("{\"a\":1 \"", "invalid character '\"' after object key:value pair"),
            ("[1 2]", "invalid character '2' after array element"),
            ("[1,]", "invalid character ']' looking for beginning of value"),
            ("{} '", "invalid character '\\'' after top-level value"),
            ("trUe", "invalid character 'U' in literal true (expecting 'u')"),
            ("-x", "invalid character 'x' in numeric literal"),
            ("1.x", "invalid character 'x' after decimal point in numeric literal"),
            ("1e+", "invalid character ' ' in exponent of numeric literal"),
            ("01", "invalid character '1' after top-level value"),
            ("\"\n\"", "invalid character '\\n' in string literal"),
            ("\"\\q\"", "invalid character 'q' in string escape code"),
            ("\"\\u00g0\"", "invalid character 'g' in \\u hexadecimal character escape"),
            ("[]", "json: cannot unmarshal array into Go value of type map[string]interface {}"),
            ("3", "json: cannot unmarshal number into Go value of type map[string]interface {}"),
        ];
        for (text, expected) in cases {
            assert_eq!(object(text.as_bytes(), JsonNumbers::Float).unwrap_err(), expected, "{text:?}");
        }
        assert_eq!(
            array(b"{}", JsonNumbers::Float).unwrap_err(),
            "json: cannot unmarshal object into Go value of type []interface {}"
        );
        assert_eq!(object("[".repeat(100_000).as_bytes(), JsonNumbers::Float).unwrap_err(), "exceeded max depth");
    }
}
