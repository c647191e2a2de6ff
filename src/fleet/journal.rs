//! A unit's output in `journalctl`'s formats, for executors that keep it themselves.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::executor::JournalLine;
use crate::base::UnixMillis;

/// The output formats of a journal that are known here.
pub const FORMATS: [&str; 7] = ["short", "short-iso", "short-precise", "short-full", "cat", "json", "json-pretty"];

/// Where lines come from.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    pub unit: String,
    pub hostname: String,
    pub machine_id: String,
}

/// Lines in one of [`FORMATS`], each with its line break.
pub fn lines(all: &[JournalLine], format: &str, origin: &Origin) -> Vec<u8> {
    let mut out = Vec::new();
    for line in all {
        match format {
            "cat" => out.extend_from_slice(&line.message),
            "json" => out.extend(json_line(line, origin).to_string().into_bytes()),
            "json-pretty" => out.extend(format!("{:#}", json_line(line, origin)).into_bytes()),
            _ => short(&mut out, line, format, origin),
        }
        out.push(b'\n');
    }
    out
}

fn short(out: &mut Vec<u8>, line: &JournalLine, format: &str, origin: &Origin) {
    let pattern = match format {
        "short-iso" => "%Y-%m-%dT%H:%M:%S%z",
        "short-precise" => "%b %d %H:%M:%S%.6f",
        "short-full" => "%a %Y-%m-%d %H:%M:%S UTC",
        _ => "%b %d %H:%M:%S",
    };
    let head = format!("{} {} {}[{}]: ", time(line.at, pattern), origin.hostname, line.identifier, line.pid);
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(&line.message);
}

fn json_line(line: &JournalLine, origin: &Origin) -> Value {
    let micros = line.at.0.saturating_mul(1000).to_string();
    // As journalctl does: what is no text is an array of bytes.
    let message = match std::str::from_utf8(&line.message) {
        Ok(text) => json!(text),
        Err(_) => json!(line.message),
    };
    let mut fields = Map::new();
    for (name, value) in [
        ("__REALTIME_TIMESTAMP", json!(micros)),
        ("_HOSTNAME", json!(origin.hostname)),
        ("_MACHINE_ID", json!(origin.machine_id)),
        ("_SYSTEMD_UNIT", json!(origin.unit)),
        ("_PID", json!(line.pid.to_string())),
        ("SYSLOG_IDENTIFIER", json!(line.identifier)),
        ("MESSAGE", message),
    ] {
        fields.insert(name.to_owned(), value);
    }
    Value::Object(fields)
}

/// A moment in a pattern of `strftime`.
pub fn time(at: UnixMillis, pattern: &str) -> String {
    Timestamp::from_millisecond(at.0).map(|time| time.strftime(pattern).to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn line(message: &[u8]) -> JournalLine {
        JournalLine {
            at: UnixMillis(1_700_000_000_123),
            pid: 42,
            identifier: "web".to_owned(),
            message: message.to_vec(),
        }
    }

    #[test]
    fn prints_a_journal_as_journalctl_does() {
        let origin =
            Origin { unit: "web.service".to_owned(), hostname: "core-01".to_owned(), machine_id: "m".to_owned() };
        let print = |format: &str| String::from_utf8(lines(&[line(b"hello"), line(b"")], format, &origin)).unwrap();
        assert_eq!(print("short"), "Nov 14 22:13:20 core-01 web[42]: hello\nNov 14 22:13:20 core-01 web[42]: \n");
        assert!(print("short-iso").starts_with("2023-11-14T22:13:20+0000 core-01"));
        assert!(print("short-precise").starts_with("Nov 14 22:13:20.123000 core-01"));
        assert_eq!(print("cat"), "hello\n\n");
        let first = print("json").lines().next().unwrap().to_owned();
        let parsed: Value = serde_json::from_str(&first).unwrap();
        assert_eq!(parsed["MESSAGE"], "hello");
        assert_eq!(parsed["__REALTIME_TIMESTAMP"], "1700000000123000");
        let binary = lines(&[line(&[0xff, 1])], "json", &origin);
        let parsed: Value = serde_json::from_slice(&binary).unwrap();
        assert_eq!(parsed["MESSAGE"], json!([255, 1]));
    }
}
