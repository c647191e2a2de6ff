//! `-w fields`: `"Name" : value`, a line each.

use std::fmt::{Display, Write as _};

use crate::wire::etcdserverpb::ResponseHeader;
use crate::wire::mvccpb::KeyValue;

/// Lines that are being written.
#[derive(Default)]
pub struct Fields(String);

impl Fields {
    /// Those of an answer's header.
    pub fn of(header: Option<&ResponseHeader>) -> Self {
        let header = header.copied().unwrap_or_default();
        Self::default()
            .line("ClusterID", header.cluster_id)
            .line("MemberID", header.member_id)
            .line("Revision", header.revision)
            .line("RaftTerm", header.raft_term)
    }

    pub fn line(mut self, name: &str, value: impl Display) -> Self {
        let _ = writeln!(self.0, "\"{name}\" : {value}");
        self
    }

    pub fn text(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.line(name, quoted(value.as_ref()))
    }

    /// A key and all about it, with something before each name.
    pub fn key_value(self, before: &str, kv: &KeyValue) -> Self {
        let name = |name: &str| format!("{before}{name}");
        self.text(&name("Key"), &kv.key)
            .line(&name("CreateRevision"), kv.create_revision)
            .line(&name("ModRevision"), kv.mod_revision)
            .line(&name("Version"), kv.version)
            .text(&name("Value"), &kv.value)
            .line(&name("Lease"), kv.lease)
    }

    /// Several texts in a line.
    pub fn texts(mut self, name: &str, all: &[String]) -> Self {
        let all: String = all.iter().map(|one| format!(" {}", quoted(one.as_bytes()))).collect();
        let _ = writeln!(self.0, "\"{name}\" :{all}");
        self
    }

    /// For each of them.
    pub fn each<T>(self, all: &[T], one: impl Fn(Self, &T) -> Self) -> Self {
        all.iter().fold(self, one)
    }

    /// An empty line.
    pub fn gap(mut self) -> Self {
        self.0.push('\n');
        self
    }

    pub fn end(self) -> String {
        self.0
    }
}

/// Text in quotes as Go's `%q` writes it.
pub fn quoted(bytes: &[u8]) -> String {
    let mut out = String::from("\"");
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' | '\\' => out.extend(['\\', c]),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                c if u32::from(c) < 0x20 || c == '\u{7f}' => out.push_str(&format!("\\x{:02x}", u32::from(c))),
                c => out.push(c),
            }
        }
        chunk.invalid().iter().for_each(|byte| out.push_str(&format!("\\x{byte:02x}")));
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_quoted_as_go_does() {
        assert_eq!(quoted(b"a\"b\\\n\x01\xffz"), r#""a\"b\\\n\x01\xffz""#);
        assert_eq!(quoted("é".as_bytes()), "\"é\"");
    }
}
