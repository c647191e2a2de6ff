//! Output of one value under one verb: the flags, padding and per-kind rules of Go's fmt package.

use super::text;
use super::types::{IntKind, Type};
use super::value::{Map, Object, Str, Struct, Value};

/// How deeply collections may nest in a value: a bound for the native stack.
pub const MAX_VALUE_DEPTH: u32 = 256;

/// Flags, width and precision of one verb.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Flags {
    pub plus: bool,
    pub minus: bool,
    pub sharp: bool,
    pub space: bool,
    pub zero: bool,
    pub width: Option<usize>,
    pub precision: Option<usize>,
    /// `%+v`: field names.
    pub plus_v: bool,
    /// `%#v`: Go syntax.
    pub sharp_v: bool,
}

/// A byte buffer that stops growing at a limit, and the state of the verb being printed.
pub(super) struct Printer {
    out: Vec<u8>,
    limit: usize,
    /// Something did not fit; everything after is dropped.
    full: bool,
    pub flags: Flags,
    /// Inside `%!v(…)`: methods are not used.
    erroring: bool,
}

/// The formatted text is longer than the caller allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the text is longer than {limit} bytes")]
pub struct TooLong {
    pub limit: usize,
}

impl Printer {
    pub fn new(limit: usize) -> Printer {
        Printer { out: Vec::new(), limit, full: false, flags: Flags::default(), erroring: false }
    }

    pub fn finish(self) -> Result<Vec<u8>, TooLong> {
        match self.full {
            true => Err(TooLong { limit: self.limit }),
            false => Ok(self.out),
        }
    }

    pub fn is_full(&self) -> bool {
        self.full
    }

    pub fn write(&mut self, bytes: &[u8]) {
        if self.full || bytes.len() > self.limit - self.out.len() {
            self.full = true;
        } else {
            self.out.extend_from_slice(bytes);
        }
    }

    fn write_text(&mut self, text: &str) {
        self.write(text.as_bytes());
    }

    fn write_rune(&mut self, rune: char) {
        let mut buffer = [0; 4];
        self.write(rune.encode_utf8(&mut buffer).as_bytes());
    }

    pub fn fill(&mut self, count: usize, byte: u8) {
        if self.full || count > self.limit - self.out.len() {
            self.full = true;
        } else {
            self.out.resize(self.out.len() + count, byte);
        }
    }

    /// Whether so many bytes could be written at all; asked before building them.
    pub fn fits(&mut self, count: usize) -> bool {
        self.full = self.full || count > self.limit;
        !self.full
    }

    pub fn padding(&self) -> u8 {
        if self.flags.zero { b'0' } else { b' ' }
    }

    pub fn pad(&mut self, bytes: &[u8]) {
        let missing = match self.flags.width {
            Some(width) => width.saturating_sub(text::rune_count(bytes)),
            None => 0,
        };
        if self.flags.minus {
            self.write(bytes);
            self.fill(missing, self.padding());
        } else {
            self.fill(missing, self.padding());
            self.write(bytes);
        }
    }

    pub fn pad_with_spaces(&mut self, bytes: &[u8]) {
        let zero = std::mem::replace(&mut self.flags.zero, false);
        self.pad(bytes);
        self.flags.zero = zero;
    }

    /// Prints an argument under a verb: the entry point for whole arguments.
    pub fn argument(&mut self, value: &Value, verb: char) {
        match (value, verb) {
            (Value::Nil, 'T' | 'v') => self.pad(b"<nil>"),
            (Value::Nil, _) => self.bad_verb(value, verb),
            (_, 'T') => self.string(value.go_type().to_string().as_bytes()),
            (Value::List(_) | Value::Map(_), 'p') => self.pad(b"0x0"),
            // `%w` is for errors only.
            (_, 'p' | 'w') => self.bad_verb(value, verb),
            _ => self.value(value, verb, 0),
        }
    }

    /// `%!d(string=hi)`: the verb does not fit the value.
    pub fn bad_verb(&mut self, value: &Value, verb: char) {
        let outer = std::mem::replace(&mut self.erroring, true);
        self.write(b"%!");
        self.write_rune(verb);
        self.write(b"(");
        if matches!(value, Value::Nil) {
            self.write(b"<nil>");
        } else {
            self.write_text(&value.go_type().to_string());
            self.write(b"=");
            self.argument(value, 'v');
        }
        self.write(b")");
        self.erroring = outer;
    }

    fn value(&mut self, value: &Value, verb: char, depth: u32) {
        if depth > MAX_VALUE_DEPTH {
            self.full = true;
        }
        if self.full {
            return;
        }
        match value {
            Value::Nil if self.flags.sharp_v => self.write(b"interface {}(nil)"),
            Value::Nil => self.write(b"<nil>"),
            Value::Bool(flag) => match verb {
                't' | 'v' => self.pad(if *flag { b"true" } else { b"false" }),
                _ => self.bad_verb(value, verb),
            },
            Value::Int(number) => self.integer(value, *number, IntKind::Int, verb),
            Value::Integer(kind, number) => self.integer(value, *number, *kind, verb),
            Value::Float(number) => self.float_verb(value, *number, verb),
            Value::Str(bytes) => self.string_verb(value, bytes, verb),
            Value::List(list) => self.list(value.go_type(), list, verb, depth),
            Value::Map(map) => self.map(map, verb, depth),
            Value::Struct(object) => self.structure(object, verb, depth),
            Value::Object(object) => self.object(value, object.as_ref(), verb, depth),
        }
    }

    fn list(&mut self, ty: Type, items: &[Value], verb: char, depth: u32) {
        let (open, separator, close): (_, &[u8], &[u8]) = match self.flags.sharp_v {
            true => (format!("{ty}{{"), b", ", b"}"),
            false => ("[".to_owned(), b" ", b"]"),
        };
        self.write_text(&open);
        for (at, item) in items.iter().enumerate() {
            if at > 0 {
                self.write(separator);
            }
            self.value(item, verb, depth + 1);
            if self.full {
                return;
            }
        }
        self.write(close);
    }

    fn map(&mut self, map: &Map, verb: char, depth: u32) {
        let (open, separator, close): (_, &[u8], &[u8]) = match self.flags.sharp_v {
            true => (format!("{}{{", map.go_type()), b", ", b"}"),
            false => ("map[".to_owned(), b" ", b"]"),
        };
        self.write_text(&open);
        for (at, (key, item)) in map.iter().enumerate() {
            if at > 0 {
                self.write(separator);
            }
            self.value(&Value::Str(key.clone()), verb, depth + 1);
            self.write(b":");
            self.value(item, verb, depth + 1);
            if self.full {
                return;
            }
        }
        self.write(close);
    }

    fn structure(&mut self, object: &Struct, verb: char, depth: u32) {
        let ty = object.struct_type();
        if self.flags.sharp_v {
            self.write_text(ty.name);
        }
        self.write(b"{");
        for (at, (name, item)) in ty.fields.iter().zip(object.values()).enumerate() {
            if at > 0 {
                self.write(if self.flags.sharp_v { b", " } else { b" " });
            }
            if self.flags.plus_v || self.flags.sharp_v {
                self.write_text(name);
                self.write(b":");
            }
            self.value(item, verb, depth + 1);
        }
        self.write(b"}");
    }

    fn object(&mut self, value: &Value, object: &dyn Object, verb: char, depth: u32) {
        let by_text = matches!(verb, 'v' | 's' | 'q' | 'x' | 'X') && !self.erroring && !self.flags.sharp_v;
        if by_text && let Some(text) = object.text() {
            return self.string_verb(value, &Str::from(text), verb);
        }
        match object.underlying() {
            Some(Value::Int(number)) => self.integer(value, number, IntKind::Int, verb),
            Some(Value::Integer(kind, number)) => self.integer(value, number, kind, verb),
            Some(plain) => self.value(&plain, verb, depth + 1),
            None if verb == 'v' => {
                let text = object.text().unwrap_or_else(|| "{}".to_owned());
                self.pad(text.as_bytes());
            }
            None => self.bad_verb(value, verb),
        }
    }

    // Strings.

    fn string_verb(&mut self, value: &Value, bytes: &Str, verb: char) {
        match verb {
            'v' if self.flags.sharp_v => self.quoted(bytes),
            'v' | 's' => self.string(bytes),
            'x' => self.hex(bytes, b"0123456789abcdefx"),
            'X' => self.hex(bytes, b"0123456789ABCDEFX"),
            'q' => self.quoted(bytes),
            _ => self.bad_verb(value, verb),
        }
    }

    fn truncated<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        let Some(count) = self.flags.precision else {
            return bytes;
        };
        match text::runes(bytes).nth(count) {
            Some((end, ..)) => &bytes[..end],
            None => bytes,
        }
    }

    fn string(&mut self, bytes: &[u8]) {
        let bytes = self.truncated(bytes);
        self.pad(bytes);
    }

    fn quoted(&mut self, bytes: &[u8]) {
        let bytes = self.truncated(bytes);
        let mut out = Vec::with_capacity(bytes.len() + 2);
        if self.flags.sharp && text::can_backquote(bytes) {
            out.push(b'`');
            out.extend_from_slice(bytes);
            out.push(b'`');
        } else {
            text::quote_into(&mut out, bytes, self.flags.plus);
        }
        self.pad(&out);
    }

    fn hex(&mut self, bytes: &[u8], digits: &[u8; 17]) {
        let count = self.flags.precision.unwrap_or(bytes.len()).min(bytes.len());
        if count == 0 {
            return self.fill(self.flags.width.unwrap_or(0), self.padding());
        }
        if !self.fits(count) {
            return;
        }
        let mut out = Vec::with_capacity(count * 2);
        for (at, byte) in bytes[..count].iter().enumerate() {
            if self.flags.space && at > 0 {
                out.push(b' ');
            }
            if self.flags.sharp && (self.flags.space || at == 0) {
                out.extend_from_slice(&[b'0', digits[16]]);
            }
            out.push(digits[usize::from(byte >> 4)]);
            out.push(digits[usize::from(byte & 15)]);
        }
        self.pad(&out);
    }
}
