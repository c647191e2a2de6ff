//! etcd's configuration file: YAML whose keys are the flags' names, with two sections for certificates.

use std::path::Path;

use saphyr_parser::{Event, Parser, ScalarStyle};

use super::flags::{self, Flag, Kind};
use super::input::Input;

/// Sections, and what stands before a key of theirs in the flag's name.
const SECTIONS: [(&str, &str); 2] = [("client-transport-security", ""), ("peer-transport-security", "peer-")];

/// One `key: value` of the file; a list is joined with commas.
struct Line {
    number: usize,
    section: Option<String>,
    key: String,
    /// `None`: nothing, `~` or `null`.
    value: Option<String>,
}

/// Reads a configuration file. Nothing else counts beside it.
///
/// # Errors
/// All mistakes, one line each, with their places.
pub fn read(file: &Path, text: &str) -> Result<Input, Vec<String>> {
    let place = |number: usize| format!("{}:{number}", file.display());
    let lines = lines(text).map_err(|(number, why)| vec![format!("{}: {why}", place(number))])?;
    let mut input = Input { from_file: true, ..Input::default() };
    let mut mistakes = Vec::new();
    for line in lines {
        let Some(flag) = flag(&line) else {
            input.warnings.push(format!("{}: unknown key `{}` is not used", place(line.number), line.key));
            continue;
        };
        let Some(value) = line.value.filter(|value| !value.is_empty()) else { continue };
        // In a file a duration may be a number, of nanoseconds.
        let value = match flag.kind {
            Kind::Duration if value != "0" && value.bytes().all(|byte| byte.is_ascii_digit()) => format!("{value}ns"),
            _ => value,
        };
        if input.given.contains_key(flag.name) {
            mistakes.push(format!("{}: `{}` is there twice", place(line.number), line.key));
        } else if !input.take(flag, &value, place(line.number)) {
            mistakes.push(format!("{}: `{}` is `{value}`: not a value that it takes", place(line.number), line.key));
        }
    }
    if mistakes.is_empty() { Ok(input) } else { Err(mistakes) }
}

fn flag(line: &Line) -> Option<&'static Flag> {
    let Some(section) = &line.section else { return flags::find(&line.key) };
    let (_, before) = SECTIONS.iter().find(|(name, _)| name == section)?;
    flags::find(&format!("{before}{}", line.key))
}

type Trouble = (usize, String);
type Events<'a> = Parser<'a, saphyr_parser::StrInput<'a>>;

fn next<'a>(events: &mut Events<'a>) -> Result<(Event<'a>, usize), Trouble> {
    match events.next() {
        Some(Ok((event, span))) => Ok((event, span.start.line())),
        Some(Err(error)) => Err((error.marker().line(), error.info().to_owned())),
        None => Ok((Event::StreamEnd, 1)),
    }
}

fn lines(text: &str) -> Result<Vec<Line>, Trouble> {
    let mut events = Parser::new_from_str(text);
    let mut lines = Vec::new();
    loop {
        match next(&mut events)? {
            (Event::StreamEnd | Event::DocumentEnd, _) => return Ok(lines),
            (Event::MappingStart(..), _) => mapping(&mut events, None, &mut lines)?,
            // A file of nothing but comments is one empty scalar.
            (Event::Scalar(text, ..), _) if text.is_empty() || text == "~" => {}
            (Event::Scalar(..) | Event::SequenceStart(..), number) => {
                return Err((number, "the file is not made of `key: value` lines".to_owned()));
            }
            _ => {}
        }
    }
}

fn mapping(events: &mut Events<'_>, section: Option<&str>, lines: &mut Vec<Line>) -> Result<(), Trouble> {
    loop {
        let (key, number) = match next(events)? {
            (Event::MappingEnd | Event::StreamEnd, _) => return Ok(()),
            (Event::Scalar(key, ..), number) => (key.into_owned(), number),
            (_, number) => return Err((number, "a key must be a plain word".to_owned())),
        };
        let line = |value| Line { number, section: section.map(str::to_owned), key: key.clone(), value };
        match next(events)? {
            (Event::Scalar(text, style, ..), _) => lines.push(line(scalar(&text, style))),
            (Event::SequenceStart(..), _) => {
                let items = sequence(events)?;
                lines.push(line(Some(items)));
            }
            (Event::MappingStart(..), _) if section.is_none() => mapping(events, Some(&key), lines)?,
            (_, number) => return Err((number, format!("`{key}` takes a text, a number, true or false, or a list"))),
        }
    }
}

fn sequence(events: &mut Events<'_>) -> Result<String, Trouble> {
    let mut items = Vec::new();
    loop {
        match next(events)? {
            (Event::SequenceEnd | Event::StreamEnd, _) => return Ok(items.join(",")),
            (Event::Scalar(text, ..), _) => items.push(text.into_owned()),
            (_, number) => return Err((number, "a list holds texts and numbers only".to_owned())),
        }
    }
}

fn scalar(text: &str, style: ScalarStyle) -> Option<String> {
    let nothing = style == ScalarStyle::Plain && matches!(text, "" | "~" | "null" | "Null" | "NULL");
    (!nothing).then(|| text.to_owned())
}
