//! The words that options of `[Service]` take, and what they mean here.

use rustix::process::{Resource, Rlimit};

use super::machine::KillMode;
use super::notify::Access;
use super::spawn::Sink;
pub use crate::unit::service::{exit_code, millis, restart, timeout};

/// A limit on a process's resources.
pub type Limit = (Resource, Rlimit);

/// `KillMode=`.
pub fn kill_mode(value: &str) -> Option<KillMode> {
    Some(match value {
        "control-group" => KillMode::ControlGroup,
        "mixed" => KillMode::Mixed,
        "process" => KillMode::Process,
        "none" => KillMode::None,
        _ => return None,
    })
}

/// `NotifyAccess=`.
pub fn access(value: &str) -> Option<Access> {
    Some(match value {
        "none" => Access::None,
        "main" => Access::Main,
        "exec" => Access::Exec,
        "all" => Access::All,
        _ => return None,
    })
}

/// `StandardOutput=` and `StandardError=`; `None`: not offered here.
pub fn sink(value: &str) -> Option<Sink> {
    let file = |path: &str, append, truncate| {
        path.starts_with('/').then(|| Sink::File { path: path.to_owned(), append, truncate })
    };
    match value.split_once(':') {
        None if value == "null" => Some(Sink::Null),
        None if ["journal", "inherit", "syslog", "kmsg"].contains(&value) => Some(Sink::Journal),
        None if ["journal+console", "syslog+console", "kmsg+console"].contains(&value) => Some(Sink::Journal),
        Some(("file", path)) => file(path, false, false),
        Some(("append", path)) => file(path, true, false),
        Some(("truncate", path)) => file(path, false, true),
        _ => None,
    }
}

/// The resource of a `Limit…=` option.
pub fn limit_resource(name: &str) -> Option<Resource> {
    Some(match name.strip_prefix("Limit")? {
        "CORE" => Resource::Core,
        "DATA" => Resource::Data,
        "FSIZE" => Resource::Fsize,
        "STACK" => Resource::Stack,
        "RSS" => Resource::Rss,
        "NOFILE" => Resource::Nofile,
        "AS" => Resource::As,
        "NPROC" => Resource::Nproc,
        "MEMLOCK" => Resource::Memlock,
        "LOCKS" => Resource::Locks,
        "SIGPENDING" => Resource::Sigpending,
        "MSGQUEUE" => Resource::Msgqueue,
        _ => return None,
    })
}

/// `N`, `SOFT:HARD`, `infinity`; sizes with K, M, G, T of 1024.
pub fn limit(resource: Resource, value: &str) -> Option<Limit> {
    let (soft, hard) = value.split_once(':').unwrap_or((value, value));
    let limit = Rlimit { current: amount(soft)?, maximum: amount(hard)? };
    Some((resource, limit))
}

/// `Some(None)`: no limit.
fn amount(text: &str) -> Option<Option<u64>> {
    if text == "infinity" {
        return Some(None);
    }
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor: u64 = match &text[digits.len()..] {
        "" | "B" => 1,
        "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        "T" => 1 << 40,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(factor).map(Some)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn reads_words() {
        assert_eq!(timeout("0"), Ok(None));
        assert_eq!(timeout("infinity"), Ok(None));
        assert_eq!(timeout("1min 500ms"), Ok(Some(60_500)));
        assert_eq!(exit_code("TEMPFAIL"), Some(75));
        assert_eq!(exit_code("143"), Some(143));
        assert_eq!(exit_code("300"), None);
        assert_eq!(sink("journal+console"), Some(Sink::Journal));
        assert_eq!(sink("file:relative"), None);
        let (_, nofile) = limit(Resource::Nofile, "1K:infinity").unwrap();
        assert_eq!((nofile.current, nofile.maximum), (Some(1024), None));
        assert!(limit(Resource::Nofile, "many").is_none());
    }
}
