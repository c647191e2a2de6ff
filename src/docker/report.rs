//! What is told of a container's unit: its state in systemd's words, and why.

use std::fmt::Write as _;

use crate::base::UnixMillis;
use crate::fleet::executor::{ActiveState, StatusText};

/// A unit as it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub state: ActiveState,
    /// Why it is in this state, where that is not plain.
    pub reason: String,
    /// Since when.
    pub since: UnixMillis,
    /// Of the container's last end.
    pub exit_code: Option<i32>,
    pub container: Option<String>,
    /// What it says of itself (`STATUS=`).
    pub said: String,
    /// So many times it was started again by itself.
    pub restarts: u32,
}

/// A state of a unit that is loaded.
pub fn state(active: &str, sub: &str) -> ActiveState {
    ActiveState::of("loaded", active, sub)
}

/// The text and exit code of `systemctl status`.
pub fn status(name: &str, description: &str, path: &str, image: &str, report: &Report, last: &[u8]) -> StatusText {
    let state = &report.state;
    let dot = match state.active.as_str() {
        "failed" => '×',
        "inactive" => '○',
        _ => '●',
    };
    let title = if description.is_empty() { name.to_owned() } else { format!("{name} - {description}") };
    let since = jiff::Timestamp::from_millisecond(report.since.0).unwrap_or_default();
    let mut text = format!("{dot} {title}\n     Loaded: {} ({path})\n", state.load);
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "     Active: {} ({}) since {}",
        state.active,
        state.sub,
        since.strftime("%a %Y-%m-%d %H:%M:%S UTC")
    );
    if !report.reason.is_empty() {
        let _ = writeln!(text, "     Reason: {}", report.reason);
    }
    let _ = writeln!(text, "      Image: {image}");
    if let Some(id) = &report.container {
        let _ = writeln!(text, "  Container: {}", id.get(..12).unwrap_or(id));
    }
    if !report.said.is_empty() {
        let _ = writeln!(text, "     Status: \"{}\"", report.said);
    }
    for port in &state.ports {
        let _ = writeln!(text, "       Port: {port}");
    }
    if let Some(code) = report.exit_code {
        let _ = writeln!(text, "  Exit code: {code}");
    }
    if report.restarts > 0 {
        let _ = writeln!(text, "   Restarts: {}", report.restarts);
    }
    if !last.is_empty() {
        let _ = write!(text, "\n{}", String::from_utf8_lossy(last));
    }
    let exit_code = if matches!(state.active.as_str(), "active" | "reloading") { 0 } else { 3 };
    StatusText { text, exit_code }
}
