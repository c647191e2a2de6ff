//! Go's time layouts: a time shown the way the reference time `Mon Jan 2 15:04:05 MST 2006` is written.

use jiff::Zoned;

/// An element of a layout, with the text that stands for it. Where one text begins another, the longer stands first.
const ELEMENTS: &[(&str, Element)] = &[
    ("January", Element::MonthName),
    ("Jan", Element::MonthShort),
    ("Monday", Element::DayName),
    ("Mon", Element::DayShort),
    ("MST", Element::ZoneName),
    ("2006", Element::Year),
    ("-07:00:00", Element::Offset { z: false, colons: true, parts: 3 }),
    ("-07:00", Element::Offset { z: false, colons: true, parts: 2 }),
    ("-070000", Element::Offset { z: false, colons: false, parts: 3 }),
    ("-0700", Element::Offset { z: false, colons: false, parts: 2 }),
    ("-07", Element::Offset { z: false, colons: false, parts: 1 }),
    ("Z07:00:00", Element::Offset { z: true, colons: true, parts: 3 }),
    ("Z07:00", Element::Offset { z: true, colons: true, parts: 2 }),
    ("Z070000", Element::Offset { z: true, colons: false, parts: 3 }),
    ("Z0700", Element::Offset { z: true, colons: false, parts: 2 }),
    ("Z07", Element::Offset { z: true, colons: false, parts: 1 }),
    ("002", Element::YearDay { pad: '0' }),
    ("__2", Element::YearDay { pad: ' ' }),
    ("01", Element::Month { padded: true }),
    ("02", Element::Day { pad: Some('0') }),
    ("03", Element::Hour12 { padded: true }),
    ("04", Element::Minute { padded: true }),
    ("05", Element::Second { padded: true }),
    ("06", Element::ShortYear),
    ("15", Element::Hour),
    ("1", Element::Month { padded: false }),
    ("_2006", Element::UnderscoreYear),
    ("_2", Element::Day { pad: Some(' ') }),
    ("2", Element::Day { pad: None }),
    ("3", Element::Hour12 { padded: false }),
    ("4", Element::Minute { padded: false }),
    ("5", Element::Second { padded: false }),
    ("PM", Element::Noon { upper: true }),
    ("pm", Element::Noon { upper: false }),
];

#[derive(Clone, Copy)]
enum Element {
    Year,
    ShortYear,
    UnderscoreYear,
    MonthName,
    MonthShort,
    Month { padded: bool },
    DayName,
    DayShort,
    Day { pad: Option<char> },
    YearDay { pad: char },
    Hour,
    Hour12 { padded: bool },
    Minute { padded: bool },
    Second { padded: bool },
    Noon { upper: bool },
    ZoneName,
    Offset { z: bool, colons: bool, parts: usize },
}

pub(super) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

pub(super) const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// `time` in `layout`.
pub(super) fn format(time: &Zoned, layout: &str) -> String {
    let mut out = String::new();
    let mut rest = layout;
    while let Some(first) = rest.chars().next() {
        if let Some((text, element)) = element(rest) {
            show(&mut out, time, element);
            rest = &rest[text.len()..];
        } else if let Some(width) = fraction(rest) {
            push_fraction(&mut out, time, &rest[..width]);
            rest = &rest[width..];
        } else {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    out
}

fn element(rest: &str) -> Option<(&'static str, Element)> {
    let fits = |text: &str| {
        // `Jan` and `Mon` within longer words (Janet, Month) are words.
        let short_name = text == "Jan" || text == "Mon";
        rest.starts_with(text) && !(short_name && rest[text.len()..].starts_with(|c: char| c.is_ascii_lowercase()))
    };
    ELEMENTS.iter().copied().find(|(text, _)| fits(text))
}

/// The width of `.000`, `,999` and the like, where no further digit follows.
fn fraction(rest: &str) -> Option<usize> {
    let digits = rest.strip_prefix(['.', ','])?;
    let digit = digits.chars().next().filter(|digit| matches!(digit, '0' | '9'))?;
    let count = digits.chars().take_while(|c| *c == digit).count();
    (!digits[count..].starts_with(|c: char| c.is_ascii_digit())).then_some(count + 1)
}

fn push_fraction(out: &mut String, time: &Zoned, text: &str) {
    let nanos = format!("{:09}", time.subsec_nanosecond());
    let shown: String = nanos.chars().chain(std::iter::repeat('0')).take(text.len() - 1).collect();
    let shown = if text.ends_with('9') { shown.trim_end_matches('0') } else { &shown };
    if !shown.is_empty() {
        out.push_str(&text[..1]);
        out.push_str(shown);
    }
}

fn show(out: &mut String, time: &Zoned, element: Element) {
    let month = usize::try_from(time.month() - 1).unwrap_or(0);
    let day = usize::try_from(time.weekday().to_sunday_zero_offset()).unwrap_or(0);
    let hour12 = (time.hour() + 11) % 12 + 1;
    let two = |value: i8, padded: bool| if padded { format!("{value:02}") } else { value.to_string() };
    let text = match element {
        Element::Year => format!("{:04}", time.year()),
        Element::UnderscoreYear => format!("_{:04}", time.year()),
        Element::ShortYear => format!("{:02}", time.year().rem_euclid(100)),
        Element::MonthName => MONTHS[month].to_owned(),
        Element::MonthShort => MONTHS[month][..3].to_owned(),
        Element::Month { padded } => two(time.month(), padded),
        Element::DayName => DAYS[day].to_owned(),
        Element::DayShort => DAYS[day][..3].to_owned(),
        Element::Day { pad: None } => time.day().to_string(),
        Element::Day { pad: Some('0') } => format!("{:02}", time.day()),
        Element::Day { pad: Some(_) } => format!("{:2}", time.day()),
        Element::YearDay { pad: '0' } => format!("{:03}", time.day_of_year()),
        Element::YearDay { .. } => format!("{:3}", time.day_of_year()),
        Element::Hour => two(time.hour(), true),
        Element::Hour12 { padded } => two(hour12, padded),
        Element::Minute { padded } => two(time.minute(), padded),
        Element::Second { padded } => two(time.second(), padded),
        Element::Noon { upper } => match (time.hour() >= 12, upper) {
            (true, true) => "PM".to_owned(),
            (false, true) => "AM".to_owned(),
            (true, false) => "pm".to_owned(),
            (false, false) => "am".to_owned(),
        },
        Element::ZoneName => zone_name(time),
        Element::Offset { z, colons, parts } => offset(time, z, colons, parts),
    };
    out.push_str(&text);
}

/// The zone's abbreviation as Go has it: where the time zone database gives only digits, as `-03`.
pub(super) fn zone_name(time: &Zoned) -> String {
    time.strftime("%Z").to_string()
}

fn offset(time: &Zoned, z: bool, colons: bool, parts: usize) -> String {
    let seconds = time.offset().seconds();
    if z && seconds == 0 {
        return "Z".to_owned();
    }
    let sign = if seconds < 0 { '-' } else { '+' };
    let seconds = seconds.unsigned_abs();
    let fields = [seconds / 3600, seconds / 60 % 60, seconds % 60];
    let shown: Vec<String> = fields.iter().take(parts).map(|field| format!("{field:02}")).collect();
    format!("{sign}{}", shown.join(if colons { ":" } else { "" }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn time(text: &str) -> Zoned {
        text.parse().unwrap()
    }

    #[test]
    fn follows_gos_layouts() {
        let moment = time("2009-02-04T21:00:57.012345678-08:00[-08:00]");
        let cases = [
            ("2006-01-02", "2009-02-04"),
            ("Mon Jan _2 15:04:05 2006", "Wed Feb  4 21:00:57 2009"),
            ("Monday, 02-Jan-06 15:04:05 -0700", "Wednesday, 04-Feb-09 21:00:57 -0800"),
            ("2006-01-02T15:04:05Z07:00", "2009-02-04T21:00:57-08:00"),
            ("2006-01-02T15:04:05.999999999Z07:00", "2009-02-04T21:00:57.012345678-08:00"),
            ("3:04PM 3:04pm 03", "9:00PM 9:00pm 09"),
            ("Jan _2 15:04:05.000", "Feb  4 21:00:57.012"),
            ("15:04:05,99", "21:00:57,01"),
            ("January 2 1 06 002 __2", "February 4 2 09 035  35"),
            ("Month Janet 4 5", "Month Janet 0 57"),
            ("_2006 .00x.05", "_2009 .01x.57"),
            ("-07 -070000 Z07", "-08 -080000 -08"),
            ("no digits", "no digits"),
        ];
        for (layout, expected) in cases {
            assert_eq!(format(&moment, layout), expected, "{layout}");
        }
        let utc = time("2020-12-31T00:05:06Z[UTC]");
        assert_eq!(format(&utc, "Z0700 MST 3PM .999|.000"), "Z UTC 12AM |.000");
    }
}
