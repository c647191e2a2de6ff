//! Options of `[Service]` that mean the same to every executor: when to start again, which ends are good ones, time-outs.

use super::value::{self, ValueError};

/// `Restart=`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Restart {
    #[default]
    No,
    Always,
    OnSuccess,
    OnFailure,
    OnAbnormal,
    OnAbort,
    OnWatchdog,
}

/// Exit codes and signals named by `SuccessExitStatus=` and its kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExitSet {
    pub codes: Vec<i32>,
    pub signals: Vec<i32>,
}

impl ExitSet {
    pub fn holds(&self, ended: Ended) -> bool {
        match ended {
            Ended::Code(code) => self.codes.contains(&code),
            Ended::Signal { number, .. } => self.signals.contains(&number),
        }
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    Code(i32),
    Signal { number: i32, dumped: bool },
}

/// `Restart=`.
pub fn restart(value: &str) -> Option<Restart> {
    Some(match value {
        "no" => Restart::No,
        "always" => Restart::Always,
        "on-success" => Restart::OnSuccess,
        "on-failure" => Restart::OnFailure,
        "on-abnormal" => Restart::OnAbnormal,
        "on-abort" => Restart::OnAbort,
        "on-watchdog" => Restart::OnWatchdog,
        _ => return None,
    })
}

/// A time span in milliseconds; `None`: no end to it.
///
/// # Errors
/// It is no time span.
pub fn millis(value: &str) -> Result<Option<u64>, ValueError> {
    let span = value::time_span(value)?.finite();
    Ok(span.map(|span| u64::try_from(span.as_millis()).unwrap_or(u64::MAX)))
}

/// A time-out in milliseconds: 0 and `infinity` mean none.
///
/// # Errors
/// It is no time span.
pub fn timeout(value: &str) -> Result<Option<u64>, ValueError> {
    Ok(millis(value)?.filter(|ms| *ms > 0))
}

/// An exit code by number or by one of systemd's names for it (systemd.exec, "Process exit codes").
pub fn exit_code(word: &str) -> Option<i32> {
    const NAMES: [(&str, i32); 24] = [
        ("SUCCESS", 0),
        ("FAILURE", 1),
        ("INVALIDARGUMENT", 2),
        ("NOTIMPLEMENTED", 3),
        ("NOPERMISSION", 4),
        ("NOTINSTALLED", 5),
        ("NOTCONFIGURED", 6),
        ("NOTRUNNING", 7),
        ("USAGE", 64),
        ("DATAERR", 65),
        ("NOINPUT", 66),
        ("NOUSER", 67),
        ("NOHOST", 68),
        ("UNAVAILABLE", 69),
        ("SOFTWARE", 70),
        ("OSERR", 71),
        ("OSFILE", 72),
        ("CANTCREAT", 73),
        ("IOERR", 74),
        ("TEMPFAIL", 75),
        ("PROTOCOL", 76),
        ("NOPERM", 77),
        ("CONFIG", 78),
        ("EXEC", 203),
    ];
    let named = NAMES.iter().find(|(name, _)| *name == word);
    named.map(|(_, code)| *code).or_else(|| word.parse().ok().filter(|code| (0..=255).contains(code)))
}
