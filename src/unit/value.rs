//! The values that options hold: booleans, time spans, signals, modes.

use std::time::Duration;

/// A length of time, or no end to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TimeSpan {
    Finite(Duration),
    Infinity,
}

impl TimeSpan {
    /// The duration, `None` for no end.
    pub fn finite(self) -> Option<Duration> {
        match self {
            Self::Finite(span) => Some(span),
            Self::Infinity => None,
        }
    }
}

/// A value that is not what its option takes: what was read and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    #[error("{0:?} is not a boolean: write yes or no")]
    Boolean(String),
    #[error("{0:?} is not a time span: write for example 5s, 1min 30s, 500ms or infinity")]
    TimeSpan(String),
    #[error("{0:?} is not a signal: write for example SIGTERM, SIGRTMIN+3 or a number from 1 to 64")]
    Signal(String),
    #[error("{0:?} is not a file mode: write octal digits, for example 0755")]
    Mode(String),
    #[error("{0:?} is not a number of bytes: write for example 1073741824, 512M or 1.5G")]
    Bytes(String),
    #[error("{0:?} is not a number of cores: write for example 2, 0.5 or 50%")]
    Cores(String),
}

/// A boolean in any of systemd's spellings, case ignored.
///
/// # Errors
/// Anything else.
pub fn boolean(value: &str) -> Result<bool, ValueError> {
    match value.trim().to_ascii_lowercase().as_str() {
        "1" | "yes" | "y" | "true" | "t" | "on" => Ok(true),
        "0" | "no" | "n" | "false" | "f" | "off" => Ok(false),
        _ => Err(ValueError::Boolean(value.to_owned())),
    }
}

/// Microseconds of each unit of time; months and years are systemd's averages.
const TIME_UNITS: [(&str, u64); 30] = [
    ("", 1_000_000),
    ("us", 1),
    ("usec", 1),
    ("µs", 1),
    ("μs", 1),
    ("ms", 1_000),
    ("msec", 1_000),
    ("s", 1_000_000),
    ("sec", 1_000_000),
    ("second", 1_000_000),
    ("seconds", 1_000_000),
    ("m", 60_000_000),
    ("min", 60_000_000),
    ("minute", 60_000_000),
    ("minutes", 60_000_000),
    ("h", 3_600_000_000),
    ("hr", 3_600_000_000),
    ("hour", 3_600_000_000),
    ("hours", 3_600_000_000),
    ("d", 86_400_000_000),
    ("day", 86_400_000_000),
    ("days", 86_400_000_000),
    ("w", 604_800_000_000),
    ("week", 604_800_000_000),
    ("weeks", 604_800_000_000),
    ("M", 2_629_800_000_000),
    ("month", 2_629_800_000_000),
    ("months", 2_629_800_000_000),
    ("y", 31_557_600_000_000),
    ("year", 31_557_600_000_000),
];

/// A time span (systemd.time): `5`, `5s`, `1min 30s`, `1h30min`, `2.5s`, `infinity`. A bare number counts seconds.
///
/// # Errors
/// Anything else, negative ones included.
pub fn time_span(value: &str) -> Result<TimeSpan, ValueError> {
    let error = || ValueError::TimeSpan(value.to_owned());
    let mut rest = value.trim();
    if rest == "infinity" {
        return Ok(TimeSpan::Infinity);
    }
    if rest.is_empty() {
        return Err(error());
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let (number, after) = split_while(rest, |c| c.is_ascii_digit() || c == '.');
        let (unit, after) = split_while(after.trim_start(), char::is_alphabetic);
        let micros = match (unit, TIME_UNITS.iter().find(|(name, _)| *name == unit)) {
            ("years", _) => 31_557_600_000_000,
            (_, Some((_, micros))) => *micros,
            _ => return Err(error()),
        };
        let part = scaled(number, micros).ok_or_else(error)?;
        total = total.checked_add(part).ok_or_else(error)?;
        rest = after.trim_start();
    }
    Ok(TimeSpan::Finite(Duration::from_micros(total)))
}

fn split_while(text: &str, belongs: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !belongs(c)).unwrap_or(text.len()))
}

/// `number`, which may have a fraction, times `micros`, without floating point.
fn scaled(number: &str, micros: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut total = u128::from(whole) * u128::from(micros);
    if !fraction.is_empty() {
        // Digits that are too small to count are left away.
        let digits = fraction.get(..fraction.len().min(18))?;
        let parts: u64 = digits.parse().ok()?;
        total += u128::from(parts) * u128::from(micros) / 10_u128.pow(digits.len() as u32);
    }
    u64::try_from(total).ok()
}

/// Linux's signals from 1 to 31.
const SIGNALS: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
    "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO",
    "PWR", "SYS",
];

/// The first and last real-time signal as glibc counts them.
const SIGRTMIN: i32 = 34;
const SIGRTMAX: i32 = 64;

/// A signal by name (with or without `SIG`), real-time offset, or number.
///
/// # Errors
/// Anything else.
pub fn signal(value: &str) -> Result<i32, ValueError> {
    let error = || ValueError::Signal(value.to_owned());
    let text = value.trim();
    if let Ok(number) = text.parse::<i32>() {
        return if (1..=SIGRTMAX).contains(&number) { Ok(number) } else { Err(error()) };
    }
    let name = text.strip_prefix("SIG").unwrap_or(text);
    let offset = |text: &str, sign: char| match text {
        "" => Some(0),
        _ => text.strip_prefix(sign)?.parse::<u8>().ok().map(i32::from),
    };
    let real_time = if let Some(rest) = name.strip_prefix("RTMIN") {
        offset(rest, '+').map(|n| SIGRTMIN + n)
    } else if let Some(rest) = name.strip_prefix("RTMAX") {
        offset(rest, '-').map(|n| SIGRTMAX - n)
    } else {
        let canonical = match name {
            "POLL" => "IO",
            "IOT" => "ABRT",
            "CLD" => "CHLD",
            other => other,
        };
        let index = SIGNALS.iter().position(|s| *s == canonical);
        return index.and_then(|i| i32::try_from(i + 1).ok()).ok_or_else(error);
    };
    real_time.filter(|n| (SIGRTMIN..=SIGRTMAX).contains(n)).ok_or_else(error)
}

/// A signal's name with `SIG`, as systemd prints it; the number where it has none.
pub fn signal_name(number: i32) -> String {
    let index = usize::try_from(number - 1).ok();
    match index.and_then(|i| SIGNALS.get(i)) {
        Some(name) => format!("SIG{name}"),
        None if (SIGRTMIN..=SIGRTMAX).contains(&number) => format!("SIGRTMIN+{}", number - SIGRTMIN),
        None => number.to_string(),
    }
}

/// A file mode in octal, at most 07777.
///
/// # Errors
/// Anything else.
pub fn mode(value: &str) -> Result<u32, ValueError> {
    let parsed = u32::from_str_radix(value.trim(), 8).ok();
    let valid = parsed.filter(|m| *m <= 0o7777 && !value.contains('+'));
    valid.ok_or_else(|| ValueError::Mode(value.to_owned()))
}

/// A number of bytes, at 1024 with `K`, `M`, `G`, `T` behind it, as systemd's memory options take it.
///
/// # Errors
/// Anything else, and what does not fit 64 bits.
pub fn bytes(value: &str) -> Result<u64, ValueError> {
    let trimmed = value.trim();
    let units = [("K", 1 << 10), ("M", 1 << 20), ("G", 1 << 30), ("T", 1_u64 << 40)];
    let with_unit = units.into_iter().find_map(|(unit, bytes)| Some((trimmed.strip_suffix(unit)?, bytes)));
    let (number, unit) = with_unit.unwrap_or((trimmed, 1));
    plain_number(number).and_then(|n| scaled(n, unit)).ok_or_else(|| ValueError::Bytes(value.to_owned()))
}

/// Thousandths of a core of `2`, `0.5` or `50%`.
///
/// # Errors
/// Anything else.
pub fn cores(value: &str) -> Result<u64, ValueError> {
    let trimmed = value.trim();
    let (number, millis) = trimmed.strip_suffix('%').map_or((trimmed, 1_000), |percent| (percent, 10));
    plain_number(number).and_then(|n| scaled(n, millis)).ok_or_else(|| ValueError::Cores(value.to_owned()))
}

/// Digits with at most one point, no sign.
fn plain_number(text: &str) -> Option<&str> {
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    (digits(whole) && digits(fraction)).then_some(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn time_spans() {
        let cases = [
            ("5", 5_000_000),
            ("5s", 5_000_000),
            ("0", 0),
            ("1min 30s", 90_000_000),
            ("1h30min", 5_400_000_000),
            ("2 h", 7_200_000_000),
            ("500ms", 500_000),
            ("2.5s", 2_500_000),
            (".5", 500_000),
            ("5min 20s 3ms", 320_003_000),
            ("1 year 1 month", 34_187_400_000_000),
            ("2years", 63_115_200_000_000),
            ("10us", 10),
            ("1 2", 3_000_000),
        ];
        for (text, micros) in cases {
            assert_eq!(time_span(text).unwrap(), TimeSpan::Finite(Duration::from_micros(micros)), "{text}");
        }
        assert_eq!(time_span("infinity").unwrap(), TimeSpan::Infinity);
        for bad in ["", "x", "-5s", "5 parsecs", "1..2", ".", "5s x", "99999999999999999999", "9999999999y"] {
            assert!(time_span(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn booleans() {
        for yes in ["1", "yes", "Y", "TRUE", "t", "on"] {
            assert_eq!(boolean(yes), Ok(true));
        }
        for no in ["0", "no", "n", "False", "F", "off"] {
            assert_eq!(boolean(no), Ok(false));
        }
        assert!(boolean("").is_err() && boolean("2").is_err());
    }

    #[test]
    fn signals() {
        let cases = [
            ("SIGTERM", 15),
            ("KILL", 9),
            ("9", 9),
            ("SIGRTMIN+3", 37),
            ("RTMAX-1", 63),
            ("SIGRTMIN", 34),
            ("POLL", 29),
            ("SYS", 31),
        ];
        for (text, number) in cases {
            assert_eq!(signal(text), Ok(number), "{text}");
        }
        for bad in ["", "SIGFOO", "0", "65", "-1", "RTMIN+31", "RTMIN-1", "sigterm"] {
            assert!(signal(bad).is_err(), "{bad}");
        }
        for number in 1..=64 {
            assert_eq!(signal(&signal_name(number)), Ok(number));
        }
    }

    #[test]
    fn sizes() {
        for (text, expected) in
            [("0", 0), ("4096", 4_096), ("1K", 1_024), ("512M", 512 << 20), ("1.5G", 3 << 29), ("2T", 2 << 40)]
        {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
        for (text, expected) in [("2", 2_000), ("0.5", 500), (".25", 250), ("50%", 500), ("150%", 1_500)] {
            assert_eq!(cores(text), Ok(expected), "{text}");
        }
        for bad in ["", "-1", "x", "1X", "1..2", "M", "+1", "99999999999T", "1e3"] {
            assert!(bytes(bad).is_err() && cores(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn modes() {
        assert_eq!(mode("0755"), Ok(0o755));
        assert!(mode("8").is_err() && mode("17777").is_err() && mode("+7").is_err());
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "[0-9a-z. µ+-]{0,20}") {
            let _ = (time_span(&text), signal(&text), boolean(&text), mode(&text));
        }
    }
}
