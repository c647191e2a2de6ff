//! For people: a unit's journal in `journalctl`'s formats, and its state as `systemctl status` prints it.

use std::fmt::Write;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::protocol::Report;
use crate::base::UnixMillis;
use crate::fleet::executor::{JournalLine, StatusText};
use crate::unit::value::signal_name;

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

fn time(at: UnixMillis, pattern: &str) -> String {
    Timestamp::from_millisecond(at.0).map(|time| time.strftime(pattern).to_string()).unwrap_or_default()
}

/// What [`status`] is made of.
#[derive(Clone, Debug)]
pub struct Standing<'a> {
    pub name: &'a str,
    pub description: &'a str,
    /// Where the unit's text is.
    pub path: String,
    pub report: &'a Report,
    pub now: UnixMillis,
    /// The newest lines, formatted.
    pub journal: Vec<u8>,
}

/// The text and exit code of `systemctl status`.
pub fn status(standing: &Standing<'_>) -> StatusText {
    let report = standing.report;
    let state = &report.state;
    let dot = match state.active.as_str() {
        "failed" => '×',
        "inactive" => '○',
        _ => '●',
    };
    let mut text = String::new();
    let title = match standing.description {
        "" => standing.name.to_owned(),
        description => format!("{} - {description}", standing.name),
    };
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{dot} {title}");
    let _ = writeln!(text, "     Loaded: {} ({})", state.load, standing.path);
    let _ = writeln!(text, "     Active: {}", active(report, standing.now));
    if let Some(exit) = &report.main_exit {
        let status = match exit.code.as_str() {
            "exited" => exit.status.to_string(),
            _ => signal_name(exit.status).trim_start_matches("SIG").to_owned(),
        };
        let code = &exit.code;
        if report.main_pid.is_none() {
            let _ = writeln!(text, "   Main PID: {} (code={code}, status={status})", exit.pid);
        }
    }
    if let Some(pid) = report.main_pid {
        let _ = writeln!(text, "   Main PID: {pid} ({})", report.main_name);
    }
    if !report.status_text.is_empty() {
        let _ = writeln!(text, "     Status: \"{}\"", report.status_text);
    }
    if !standing.journal.is_empty() {
        let _ = write!(text, "\n{}", String::from_utf8_lossy(&standing.journal));
    }
    let exit_code = match state.active.as_str() {
        "active" | "reloading" => 0,
        _ => 3,
    };
    StatusText { text, exit_code }
}

/// `active (running) since Sat 2026-11-21 01:27:36 UTC; 5s ago`
fn active(report: &Report, now: UnixMillis) -> String {
    let state = &report.state;
    let mut text = state.active.clone();
    let _ = match state.active.as_str() {
        "failed" => write!(text, " (Result: {})", report.result),
        "activating" if state.sub == "auto-restart" => {
            write!(text, " (auto-restart) (Result: {})", report.result)
        }
        _ => write!(text, " ({})", state.sub),
    };
    if report.since.0 > 0 && (state.active != "inactive" || report.run > 0) {
        let since = time(report.since, "%a %Y-%m-%d %H:%M:%S UTC");
        let ago = ago(now.0.saturating_sub(report.since.0));
        let _ = write!(text, " since {since}; {ago} ago");
    }
    text
}

/// A length of time with its two largest units.
fn ago(ms: i64) -> String {
    let seconds = ms.max(0) / 1000;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) if ms < 1000 => format!("{}ms", ms.max(0)),
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}min {}s", seconds % 60),
        (0, _, _) => format!("{hours}h {minutes}min"),
        _ => format!("{days} days {hours}h"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::protocol::{MainExit, loaded};
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

    #[test]
    fn prints_a_status_as_systemctl_does() {
        let mut report = Report {
            state: loaded("active", "running"),
            main_pid: Some(42),
            main_name: "web".to_owned(),
            since: UnixMillis(1_700_000_000_000),
            run: 1,
            ..Report::default()
        };
        let show = |report: &Report| {
            status(&Standing {
                name: "web.service",
                description: "The web",
                path: "/units/web.service/unit.json".to_owned(),
                report,
                now: UnixMillis(1_700_000_065_000),
                journal: b"last words\n".to_vec(),
            })
        };
        let shown = show(&report);
        assert_eq!(shown.exit_code, 0);
        assert_eq!(
            shown.text,
            "● web.service - The web\n     Loaded: loaded (/units/web.service/unit.json)\n     \
             Active: active (running) since Tue 2023-11-14 22:13:20 UTC; 1min 5s ago\n   \
             Main PID: 42 (web)\n\nlast words\n"
        );
        report.state = loaded("failed", "failed");
        report.result = "exit-code".to_owned();
        report.main_pid = None;
        report.main_exit = Some(MainExit { pid: 42, code: "exited".to_owned(), status: 143 });
        let shown = show(&report);
        assert_eq!(shown.exit_code, 3);
        assert!(shown.text.contains("Active: failed (Result: exit-code) since"));
        assert!(shown.text.contains("Main PID: 42 (code=exited, status=143)"));
    }
}
