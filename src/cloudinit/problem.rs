//! What is wrong with a cloud-config, and in which line.

use std::fmt;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth a look; it is followed.
    Info,
    /// It steers nothing, or may not do what it seems to.
    Warning,
    /// What it belongs to is left out.
    Error,
}

/// One problem. It prints as `line 7: warning: unrecognized key "x"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Counted from 1.
    pub line: usize,
    pub severity: Severity,
    pub message: String,
}

impl Problem {
    pub fn error(line: usize, message: impl Into<String>) -> Self {
        Self { line, severity: Severity::Error, message: message.into() }
    }

    pub fn warning(line: usize, message: impl Into<String>) -> Self {
        Self { line, severity: Severity::Warning, message: message.into() }
    }

    pub fn info(line: usize, message: impl Into<String>) -> Self {
        Self { line, severity: Severity::Info, message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Info => "info",
        };
        write!(f, "line {}: {severity}: {}", self.line, self.message)
    }
}
