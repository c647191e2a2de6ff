//! Moments as people write them.

use jiff::civil::{Date, DateTime, Time};
use jiff::{Span, Timestamp, Zoned};

/// What a moment is for the door: a revision, or a time in RFC 3339; `None` is now.
///
/// # Errors
/// What is wrong with it.
pub fn understand(text: &str, now: &Zoned) -> Result<Option<String>, String> {
    let text = text.trim();
    if text.eq_ignore_ascii_case("now") {
        return Ok(None);
    }
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        let revision: i64 = text.parse().map_err(|_| format!("`{text}` is no revision"))?;
        return Ok(Some(revision.to_string()));
    }
    let unclear = || {
        format!("`{text}` is no moment; write a revision, `5 min ago`, 14:30, 2026-01-31, or 2026-01-31T14:30:00+01:00")
    };
    let time = time(text, now).ok_or_else(unclear)?;
    match time > now.timestamp() {
        true => Err(format!("`{text}` lies in the future ({time})")),
        false => Ok(Some(time.to_string())),
    }
}

/// A time that is over.
///
/// # Errors
/// What is wrong with it.
#[cfg(feature = "scheduler")]
pub fn past(text: &str, now: &Zoned) -> Result<Timestamp, String> {
    let time = time(text.trim(), now);
    time.filter(|time| *time <= now.timestamp()).ok_or_else(|| {
        format!("`{text}` is no past moment; write 10m, 14:30, 2026-01-31, or 2026-01-31T14:30:00+01:00")
    })
}

/// A time: with an offset, of the calendar or the day here, or some time ago.
fn time(text: &str, now: &Zoned) -> Option<Timestamp> {
    if let Ok(exact) = text.parse::<Timestamp>() {
        return Some(exact);
    }
    let here = |time: DateTime| time.to_zoned(now.time_zone().clone()).ok().map(|zoned| zoned.timestamp());
    if let Ok(of_day) = text.parse::<Time>()
        && text.contains(':')
    {
        let today = here(now.date().to_datetime(of_day))?;
        let yesterday = || here(now.date().yesterday().ok()?.to_datetime(of_day));
        return if today <= now.timestamp() { Some(today) } else { yesterday() };
    }
    match text.to_ascii_lowercase().as_str() {
        "today" => return here(now.date().to_datetime(Time::midnight())),
        "yesterday" => return here(now.date().yesterday().ok()?.to_datetime(Time::midnight())),
        _ => {}
    }
    // The calendar's own parser takes an offset for granted and leaves it out.
    if !text.contains('+')
        && let Ok(date) =
            text.parse::<DateTime>().or_else(|_| text.parse::<Date>().map(|date| date.to_datetime(Time::midnight())))
    {
        return here(date);
    }
    let ago: Span = text.parse().ok()?;
    now.checked_sub(ago.abs()).ok().map(|then| then.timestamp())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn people_write_moments_in_many_ways() {
        let now: Zoned = "2026-03-31T14:30:00+02:00[+02:00]".parse().unwrap();
        let cases = [
            ("5 min ago", "2026-03-31T12:25:00Z"),
            ("5m", "2026-03-31T12:25:00Z"),
            ("5 minutes ago", "2026-03-31T12:25:00Z"),
            ("1h30m", "2026-03-31T11:00:00Z"),
            ("1 hour 30 min ago", "2026-03-31T11:00:00Z"),
            ("2 days ago", "2026-03-29T12:30:00Z"),
            ("1 month ago", "2026-02-28T12:30:00Z"),
            ("90s", "2026-03-31T12:28:30Z"),
            ("today", "2026-03-30T22:00:00Z"),
            ("Yesterday", "2026-03-29T22:00:00Z"),
            ("14:30", "2026-03-31T12:30:00Z"),
            ("14:31", "2026-03-30T12:31:00Z"),
            ("05:40:01", "2026-03-31T03:40:01Z"),
            ("2026-03-31", "2026-03-30T22:00:00Z"),
            ("2026-03-31 05:40", "2026-03-31T03:40:00Z"),
            ("2026-03-31T05:40:12.5", "2026-03-31T03:40:12.5Z"),
            ("2026-03-31T05:40:00Z", "2026-03-31T05:40:00Z"),
            ("2026-03-31T05:40:00.123+01:00", "2026-03-31T04:40:00.123Z"),
            ("17", "17"),
        ];
        for (text, expected) in cases {
            assert_eq!(understand(text, &now), Ok(Some(expected.to_owned())), "{text}");
        }
        assert_eq!(understand("now", &now), Ok(None));
        for text in ["", "soon", "-", "2026-13-01", "2026-03-31T14:30:01+02:00", "2026-04-01", "99999999999999999999"] {
            assert!(understand(text, &now).is_err(), "{text}: {:?}", understand(text, &now));
        }
    }
}
