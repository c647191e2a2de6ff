//! For people: a unit's state as `systemctl status` prints it.

use std::fmt::Write;

use super::protocol::Report;
use crate::base::UnixMillis;
use crate::fleet::executor::StatusText;
use crate::fleet::journal::time;
pub use crate::fleet::journal::{FORMATS, Origin, lines};
use crate::unit::value::signal_name;

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
