//! Objects in the order in which their members are added; zero values are left out unless they are told to stay, as the
//! structs of etcd have it.

use std::fmt::{Display, Write as _};

use bytes::Bytes;

use crate::wire::json::{base64, to_vec};

/// An object that is being written.
#[derive(Default)]
pub struct Object(String);

impl Object {
    /// A member of any value.
    pub fn raw(mut self, name: &str, value: impl Display) -> Self {
        if !self.0.is_empty() {
            self.0.push(',');
        }
        let _ = write!(self.0, "\"{name}\":{value}");
        self
    }

    pub fn number<T: Display + Default + PartialEq>(self, name: &str, value: T) -> Self {
        if value == T::default() { self } else { self.raw(name, value) }
    }

    pub fn truth(self, name: &str, value: bool) -> Self {
        if value { self.raw(name, true) } else { self }
    }

    pub fn text(self, name: &str, value: &str) -> Self {
        if value.is_empty() { self } else { self.raw(name, string(value)) }
    }

    pub fn bytes(self, name: &str, value: &Bytes) -> Self {
        if value.is_empty() { self } else { self.raw(name, format_args!("\"{}\"", base64::encode(value))) }
    }

    pub fn texts(self, name: &str, values: &[String]) -> Self {
        self.objects(name, values.iter().map(|value| string(value)))
    }

    /// A list of values that are written already.
    pub fn objects(self, name: &str, values: impl Iterator<Item = String>) -> Self {
        let list = list(values);
        if list == "[]" { self } else { self.raw(name, list) }
    }

    pub fn optional(self, name: &str, value: Option<String>) -> Self {
        match value {
            Some(value) => self.raw(name, value),
            None => self,
        }
    }

    pub fn end(self) -> String {
        format!("{{{}}}", self.0)
    }
}

/// A list of values that are written already.
pub fn list(values: impl Iterator<Item = String>) -> String {
    format!("[{}]", values.collect::<Vec<_>>().join(","))
}

/// Text in quotes, escaped as Go does.
pub fn string(text: &str) -> String {
    let mut quoted = to_vec(&text).unwrap_or_default();
    quoted.pop();
    String::from_utf8_lossy(&quoted).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_values_are_left_out_and_order_is_kept() {
        let object =
            Object::default().number("b", 2).number("a", 0).text("t", "<é>").truth("no", false).raw("nil", "null");
        assert_eq!(object.end(), "{\"b\":2,\"t\":\"\\u003cé\\u003e\",\"nil\":null}");
        assert_eq!(Object::default().bytes("k", &Bytes::from_static(b"a")).end(), r#"{"k":"YQ=="}"#);
        assert_eq!(Object::default().texts("none", &[]).end(), "{}");
    }
}
