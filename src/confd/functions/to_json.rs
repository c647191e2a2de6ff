//! Values as JSON, as Go's `encoding/json` writes them: keys sorted, HTML's own characters escaped, floats in Go's form.

use crate::gotemplate::{IntKind, Value, format_float};

/// The JSON text of a value. With `indent` two spaces a level.
///
/// # Errors
/// Go's text: a float that JSON cannot hold.
pub(super) fn to_json(value: &Value, indent: bool) -> Result<String, String> {
    let mut writer = Writer { out: String::new(), indent, depth: 0 };
    writer.value(value)?;
    Ok(writer.out)
}

struct Writer {
    out: String,
    indent: bool,
    depth: usize,
}

impl Writer {
    fn value(&mut self, value: &Value) -> Result<(), String> {
        match value {
            Value::Nil => self.out.push_str("null"),
            Value::Bool(truth) => self.out.push_str(if *truth { "true" } else { "false" }),
            Value::Int(number) => self.out.push_str(&number.to_string()),
            Value::Integer(IntKind::Uint | IntKind::Uint64, number) => {
                self.out.push_str(&number.cast_unsigned().to_string());
            }
            Value::Integer(_, number) => self.out.push_str(&number.to_string()),
            Value::Float(number) => self.float(*number)?,
            Value::Str(text) => self.string(text),
            Value::List(list) => self.items('[', ']', list.iter().map(|item| (None, item)))?,
            Value::Map(map) => self.items('{', '}', map.iter().map(|(key, item)| (Some(&**key), item)))?,
            Value::Struct(object) => {
                let names = object.struct_type().fields.iter().map(|name| Some(name.as_bytes()));
                self.items('{', '}', names.zip(object.values()))?;
            }
            Value::Object(object) => match object.json().or_else(|| object.underlying()) {
                Some(plain) => self.value(&plain)?,
                None => self.out.push_str("{}"),
            },
        }
        Ok(())
    }

    fn items<'a>(
        &mut self,
        open: char,
        close: char,
        items: impl ExactSizeIterator<Item = (Option<&'a [u8]>, &'a Value)>,
    ) -> Result<(), String> {
        self.out.push(open);
        let some = items.len() > 0;
        self.depth += 1;
        for (at, (key, item)) in items.enumerate() {
            if at > 0 {
                self.out.push(',');
            }
            self.line();
            if let Some(key) = key {
                self.string(key);
                self.out.push_str(if self.indent { ": " } else { ":" });
            }
            self.value(item)?;
        }
        self.depth -= 1;
        if some {
            self.line();
        }
        self.out.push(close);
        Ok(())
    }

    fn line(&mut self) {
        if self.indent {
            self.out.push('\n');
            self.out.push_str(&"  ".repeat(self.depth));
        }
    }

    /// The shortest digits; with an exponent below 1e-6 and from 1e21 on, and that one without a leading zero.
    fn float(&mut self, number: f64) -> Result<(), String> {
        if !number.is_finite() {
            let shown = String::from_utf8_lossy(&format_float(number, b'g', None)).into_owned();
            return Err(format!("json: unsupported value: {shown}"));
        }
        let size = number.abs();
        let far = size != 0.0 && !(1e-6..1e21).contains(&size);
        let text = format_float(number, if far { b'e' } else { b'f' }, None);
        self.out.push_str(&String::from_utf8_lossy(&text).replace("e-0", "e-"));
        Ok(())
    }

    fn string(&mut self, text: &[u8]) {
        self.out.push('"');
        for chunk in text.utf8_chunks() {
            chunk.valid().chars().for_each(|rune| self.rune(rune));
            chunk.invalid().iter().for_each(|_| self.out.push_str(r"\ufffd"));
        }
        self.out.push('"');
    }

    fn rune(&mut self, rune: char) {
        match rune {
            '"' => self.out.push_str("\\\""),
            '\\' => self.out.push_str(r"\\"),
            '\u{8}' => self.out.push_str(r"\b"),
            '\u{c}' => self.out.push_str(r"\f"),
            '\n' => self.out.push_str(r"\n"),
            '\r' => self.out.push_str(r"\r"),
            '\t' => self.out.push_str(r"\t"),
            '\0'..='\u{1f}' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                self.out.push_str(&format!(r"\u{:04x}", u32::from(rune)));
            }
            other => self.out.push(other),
        }
    }
}
