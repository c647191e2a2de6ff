//! Output of one value under one verb: the flags, padding and per-kind rules of Go's fmt package.

use super::float::format_float;
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

    fn fill(&mut self, count: usize, byte: u8) {
        if self.full || count > self.limit - self.out.len() {
            self.full = true;
        } else {
            self.out.resize(self.out.len() + count, byte);
        }
    }

    fn padding(&self) -> u8 {
        if self.flags.zero { b'0' } else { b' ' }
    }

    fn pad(&mut self, bytes: &[u8]) {
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

    fn pad_with_spaces(&mut self, bytes: &[u8]) {
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
    fn bad_verb(&mut self, value: &Value, verb: char) {
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
        if count > self.limit {
            self.full = true;
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

    // Integers.

    fn integer(&mut self, value: &Value, number: i64, kind: IntKind, verb: char) {
        let signed = kind.signed();
        let lower = b"0123456789abcdefx";
        let code = number as u64;
        match verb {
            'v' if self.flags.sharp_v && !signed => {
                let sharp = std::mem::replace(&mut self.flags.sharp, true);
                self.digits(code, 16, false, lower, verb);
                self.flags.sharp = sharp;
            }
            'v' | 'd' => self.digits(code, 10, signed, lower, verb),
            'b' => self.digits(code, 2, signed, lower, verb),
            'o' | 'O' => self.digits(code, 8, signed, lower, verb),
            'x' => self.digits(code, 16, signed, lower, verb),
            'X' => self.digits(code, 16, signed, b"0123456789ABCDEFX", verb),
            'c' => {
                let mut buffer = [0; 4];
                self.pad(rune_of(code).encode_utf8(&mut buffer).as_bytes());
            }
            'q' => {
                let mut out = Vec::new();
                text::quote_rune_into(&mut out, rune_of(code), self.flags.plus);
                self.pad(&out);
            }
            'U' => self.unicode(code),
            _ => self.bad_verb(value, verb),
        }
    }

    fn digits(&mut self, bits: u64, base: u64, signed: bool, alphabet: &[u8; 17], verb: char) {
        let negative = signed && (bits as i64) < 0;
        let mut rest = if negative { bits.wrapping_neg() } else { bits };
        let sign = match (negative, self.flags.plus, self.flags.space) {
            (true, ..) => Some(b'-'),
            (false, true, _) => Some(b'+'),
            (false, false, true) => Some(b' '),
            _ => None,
        };
        let least = match (self.flags.precision, self.flags.width) {
            (Some(0), width) if rest == 0 => {
                return self.fill(width.unwrap_or(0), b' ');
            }
            (Some(precision), _) => precision,
            (None, Some(width)) if self.flags.zero => width - usize::from(sign.is_some() && width > 0),
            _ => 0,
        };
        let mut out = Vec::new();
        loop {
            out.push(alphabet[(rest % base) as usize]);
            rest /= base;
            if rest == 0 {
                break;
            }
        }
        if out.len() < least {
            out.resize(least, b'0');
        }
        // The digits are reversed until the end, so prefixes are pushed backwards.
        if self.flags.sharp {
            match base {
                2 => out.extend_from_slice(b"b0"),
                8 if out.last() != Some(&b'0') => out.push(b'0'),
                16 => out.extend_from_slice(&[alphabet[16], b'0']),
                _ => {}
            }
        }
        if verb == 'O' {
            out.extend_from_slice(b"o0");
        }
        out.extend(sign);
        out.reverse();
        self.pad_with_spaces(&out);
    }

    fn unicode(&mut self, code: u64) {
        let least = self.flags.precision.unwrap_or(4).max(4);
        let mut out = format!("U+{code:0least$X}").into_bytes();
        let rune = u32::try_from(code).ok().and_then(char::from_u32);
        if let Some(rune) = rune.filter(|rune| self.flags.sharp && text::is_print(*rune)) {
            out.extend_from_slice(format!(" '{rune}'").as_bytes());
        }
        self.pad_with_spaces(&out);
    }

    // Floats.

    fn float_verb(&mut self, value: &Value, number: f64, verb: char) {
        match verb {
            'v' => self.float(number, b'g', None),
            'b' | 'g' | 'G' | 'x' | 'X' => self.float(number, verb as u8, None),
            'e' | 'E' | 'f' => self.float(number, verb as u8, Some(6)),
            'F' => self.float(number, b'f', Some(6)),
            _ => self.bad_verb(value, verb),
        }
    }

    fn float(&mut self, number: f64, verb: u8, default: Option<usize>) {
        let precision = self.flags.precision.or(default);
        if precision.is_some_and(|precision| precision > self.limit) {
            self.full = true;
            return;
        }
        let text = format_float(number, verb, precision);
        let (sign, mut body) = match text.first() {
            Some(b'-') => (b'-', text[1..].to_vec()),
            Some(b'+') => (b'+', text[1..].to_vec()),
            _ => (b'+', text),
        };
        let show_sign = self.flags.plus || self.flags.space || sign == b'-';
        let sign = match (sign, self.flags.plus, self.flags.space) {
            (b'+', false, true) => b' ',
            _ => sign,
        };
        if !number.is_finite() {
            if show_sign || number.is_infinite() && self.flags.plus {
                body.insert(0, sign);
            } else if number.is_infinite() {
                body.insert(0, b'+');
            }
            return self.pad_with_spaces(&body);
        }
        if self.flags.sharp && verb != b'b' {
            restore_point(&mut body, verb, precision);
        }
        if !show_sign {
            return self.pad(&body);
        }
        let missing = self.flags.width.unwrap_or(0).saturating_sub(body.len() + 1);
        if self.flags.zero && missing > 0 {
            self.write(&[sign]);
            self.fill(missing, b'0');
            return self.write(&body);
        }
        body.insert(0, sign);
        self.pad(&body);
    }
}

/// The `#` flag on floats: always a decimal point, and for `%g` trailing zeros up to the precision (6 by default).
fn restore_point(body: &mut Vec<u8>, verb: u8, precision: Option<usize>) {
    let mut wanted = match verb {
        b'g' | b'G' | b'x' => precision.unwrap_or(6),
        _ => 0,
    };
    let hex = matches!(verb, b'x' | b'X');
    let is_exponent = |byte: &u8| match byte {
        b'p' | b'P' => true,
        b'e' | b'E' => !hex,
        _ => false,
    };
    let split = body.iter().position(is_exponent).unwrap_or(body.len());
    let tail = body.split_off(split);
    let significant = body.iter().filter(|byte| **byte != b'.').skip_while(|byte| **byte == b'0').count();
    wanted = wanted.saturating_sub(significant);
    if !body.contains(&b'.') {
        if body == b"0" {
            wanted = wanted.saturating_sub(1);
        }
        body.push(b'.');
    }
    body.resize(body.len() + wanted, b'0');
    body.extend_from_slice(&tail);
}

fn rune_of(code: u64) -> char {
    u32::try_from(code).ok().and_then(char::from_u32).unwrap_or(text::REPLACEMENT)
}
