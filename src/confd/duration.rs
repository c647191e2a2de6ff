//! Times as Go writes them: `30s`, `1m30s`, `1.5h`, `250ms`.

use std::time::Duration;

/// Reads a time as Go's `time.ParseDuration` does, but none below zero. `None`: it is none.
pub(super) fn read_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest.is_empty() {
        return None;
    }
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let end = rest.find(|rune: char| !rune.is_ascii_digit() && rune != '.')?;
        let (number, tail) = rest.split_at(end);
        let unit = tail.find(|rune: char| rune.is_ascii_digit() || rune == '.').unwrap_or(tail.len());
        let seconds = match &tail[..unit] {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        let number: f64 = number.parse().ok()?;
        total = total.checked_add(Duration::try_from_secs_f64(number * seconds).ok()?)?;
        rest = &tail[unit..];
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_gos_times() {
        let cases = [
            ("30s", Some(30_000)),
            ("1m30s", Some(90_000)),
            ("1.5h", Some(5_400_000)),
            ("250ms", Some(250)),
            ("+.5s", Some(500)),
            ("0", Some(0)),
            ("", None),
            ("+", None),
            ("30", None),
            ("s", None),
            ("-1s", None),
            ("1d", None),
            ("1s ", None),
            ("1..5s", None),
            ("99999999999999999999999h", None),
        ];
        for (text, expected) in cases {
            assert_eq!(read_duration(text), expected.map(Duration::from_millis), "{text}");
        }
    }
}
