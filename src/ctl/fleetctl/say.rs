//! Printing that survives a reader who has seen enough (`fleetctl list-units | head -1`).

use std::io::Write as _;

/// Writes to standard output as it is. Says whether somebody still reads.
pub fn out(text: &str) -> bool {
    raw(text.as_bytes())
}

/// Writes bytes to standard output at once. Says whether somebody still reads.
pub fn raw(bytes: &[u8]) -> bool {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).is_ok()
}

/// Writes a line to standard error.
pub fn warn(line: &str) {
    let end = if line.ends_with('\n') { "" } else { "\n" };
    // Nobody can be told that nobody listens.
    let _ = write!(std::io::stderr().lock(), "{line}{end}");
}
