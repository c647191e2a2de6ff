//! How keys, changes and differences are printed for people.

use std::fmt::Write as _;
use std::io::Write as _;

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use super::command::What;
use crate::wire::history::{Change, Data, Page, Place};

/// A page as lines; the first one of several has a head.
pub fn page(what: &What, page: &Page, first: bool) -> String {
    match what {
        What::Diff => differences(page, first),
        What::History => changes(page, true),
        _ => changes(page, false),
    }
}

fn changes(page: &Page, history: bool) -> String {
    let mut text = String::new();
    for one in &page.changes {
        text.push_str(&change(one));
    }
    if history && page.next.is_none() && page.oldest.revision > 1 {
        let _ = writeln!(text, "# history begins with revision {}", said(&page.oldest));
    }
    text
}

/// One change: revision, time, who, what, key and value.
pub fn change(change: &Change) -> String {
    let value = change.value.as_ref().map(|value| format!(" = {}", data(value))).unwrap_or_default();
    format!(
        "{:>8}  {}  {:8}  {:6}  {}{value}\n",
        change.revision,
        time(change.time.as_deref()),
        change.author.as_deref().unwrap_or("-"),
        change.action,
        data(&change.key)
    )
}

fn differences(page: &Page, first: bool) -> String {
    let mut text = String::new();
    if first && let Some(since) = &page.since {
        let _ = writeln!(text, "# from revision {}", said(since));
        let _ = writeln!(text, "# to revision   {}", said(&page.at));
    }
    for change in &page.changes {
        let before = change.before.as_ref().map(|before| data(&before.value));
        let key = data(&change.key);
        let difference = match (before, change.value.as_ref().map(data)) {
            (Some(before), Some(now)) => format!("~ {key} = {before} -> {now}"),
            (Some(before), None) => format!("- {key} = {before}"),
            (None, Some(now)) => format!("+ {key} = {now}"),
            (None, None) => continue,
        };
        let author = change.author.as_ref().map(|author| format!(" by {author}")).unwrap_or_default();
        let _ =
            writeln!(text, "{difference}  (revision {}, {}{author})", change.revision, time(change.time.as_deref()));
    }
    text
}

fn said(place: &Place) -> String {
    match &place.time {
        Some(at) => format!("{} of {}", place.revision, time(Some(at))),
        None => format!("{}, before anything was written", place.revision),
    }
}

/// The time here, in a form that `--at` takes.
fn time(at: Option<&str>) -> String {
    let Some(at) = at else { return "-".to_owned() };
    match at.parse::<Timestamp>() {
        Ok(at) => Zoned::new(at, TimeZone::system()).strftime("%Y-%m-%dT%H:%M:%S%.3f%:z").to_string(),
        Err(_) => at.to_owned(),
    }
}

/// Text as it is where it fits on a line and cannot be misread, else quoted; other bytes in base64.
pub fn data(data: &Data) -> String {
    match data {
        Data::Binary { base64 } => format!("base64:{base64}"),
        Data::Text(text) => {
            let plain = text.trim() == text && !text.starts_with(['"', '\'']) && !text.chars().any(char::is_control);
            if plain && !text.is_empty() { text.clone() } else { format!("{text:?}") }
        }
    }
}

/// The bytes of the values.
///
/// # Errors
/// That they cannot be written.
pub fn values(page: &Page) -> std::io::Result<()> {
    page.changes.iter().try_for_each(value)
}

/// The bytes of the value, if there is one.
///
/// # Errors
/// That they cannot be written.
pub fn value(change: &Change) -> std::io::Result<()> {
    let Some(value) = &change.value else { return Ok(()) };
    let mut out = std::io::stdout().lock();
    out.write_all(&value.bytes())?;
    out.write_all(b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::history::Before;

    fn text(text: &str) -> Data {
        Data::Text(text.to_owned())
    }

    #[test]
    fn differences_tell_both_sides() {
        let before = Some(Before { revision: 2, value: text("1") });
        let change = |value: Option<&str>, before: &Option<Before>| Change {
            revision: 7,
            author: Some("alice".to_owned()),
            key: text("/a"),
            value: value.map(text),
            before: before.clone(),
            ..Change::default()
        };
        let changes = vec![change(Some("2"), &before), change(None, &before), change(Some("two\nlines"), &None)];
        let shown = page(&What::Diff, &Page { changes, since: Some(Place::default()), ..Page::default() }, true);
        for line in [
            "# from revision 0, before anything was written\n",
            "~ /a = 1 -> 2  (revision 7, - by alice)\n",
            "- /a = 1  (revision 7, - by alice)\n",
            "+ /a = \"two\\nlines\"  (revision 7, - by alice)\n",
        ] {
            assert!(shown.contains(line), "{line}\n{shown}");
        }
    }

    #[test]
    fn values_cannot_be_misread() {
        for (value, shown) in [("a b", "a b"), ("", "\"\""), (" a", "\" a\""), ("\u{1b}[1m", "\"\\u{1b}[1m\"")] {
            assert_eq!(data(&text(value)), shown);
        }
        assert_eq!(data(&Data::Binary { base64: "/w==".to_owned() }), "base64:/w==");
    }
}
