//! Unit text: an ordered list of options, its normalised print and its hash.
//!
//! Read as go-systemd reads it (fleet's hashes depend on it): text before the first section is ignored, names and
//! values are trimmed, a comment whose line ends in a backslash goes on in the next line, continued values are
//! kept verbatim with backslash and newline. [`joined`] gives a value as systemd itself sees it.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha1::{Digest, Sha1};

use crate::base::limits::{UNIT_BYTES_MAX, UNIT_LINE_BYTES_MAX};

/// One line `Name=Value` of a section. The value is as stored: continuations are in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct UnitOption {
    pub name: String,
    pub section: String,
    pub value: String,
}

/// The text of a unit, parsed. Its `Display` is the normalised text that the hash is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnitText {
    options: Vec<UnitOption>,
}

/// Why a text is no unit text: the line (counted from 1), what stands there, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    #[error("unable to find end of section: line {line}: {text:?}: close the section's name with \"]\"")]
    UnterminatedSection { line: usize, text: String },
    #[error("found garbage after section name: line {line}: {text:?}: put options on lines of their own")]
    GarbageAfterSection { line: usize, text: String },
    #[error(
        "option without \"=\": line {line}: {text:?}: write Name=Value, begin a comment with \"#\", or end the line before with \"\\\" to continue it"
    )]
    NoEquals { line: usize, text: String },
    #[error(
        "line too long (max {UNIT_LINE_BYTES_MAX} bytes): line {line}: {text:?}…: continue it on the next line with \"\\\" at its end"
    )]
    LineTooLong { line: usize, text: String },
    #[error("unit of {bytes} bytes is too large (max {UNIT_BYTES_MAX} bytes)")]
    TooLarge { bytes: usize },
}

impl UnitOption {
    /// An option from its three parts.
    pub fn new(section: &str, name: &str, value: &str) -> Self {
        Self { name: name.to_owned(), section: section.to_owned(), value: value.to_owned() }
    }
}

impl UnitText {
    /// Reads unit text.
    ///
    /// # Errors
    /// The first mistake, with its line.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        if text.len() > UNIT_BYTES_MAX {
            return Err(ParseError::TooLarge { bytes: text.len() });
        }
        let lines: Vec<&str> = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line)).collect();
        for (index, line) in lines.iter().enumerate() {
            if line.len() >= UNIT_LINE_BYTES_MAX {
                return Err(ParseError::LineTooLong { line: index + 1, text: line.chars().take(40).collect() });
            }
        }
        let mut parser = Parser { lines, next: 0, section: None, options: Vec::new() };
        parser.run()?;
        Ok(Self { options: parser.options })
    }

    /// A unit from options, as the API takes them: printed and read again, so that what a text cannot say is refused
    /// and the hash is that of the text.
    ///
    /// # Errors
    /// As [`UnitText::parse`]; lines are those of the printed text.
    pub fn from_options(options: Vec<UnitOption>) -> Result<Self, ParseError> {
        Self::parse(&Self { options }.to_string())
    }

    /// All options in their order.
    pub fn options(&self) -> &[UnitOption] {
        &self.options
    }

    /// All options in the order in which they are printed, each with its line in the printed text, counted from 1.
    pub fn numbered(&self) -> impl Iterator<Item = (usize, &UnitOption)> {
        let mut line = 0;
        let mut section: Option<&str> = None;
        self.printed().map(move |option| {
            if section != Some(&option.section) {
                // The section's name, and the empty line before it.
                line += if section.is_some() { 2 } else { 1 };
                section = Some(&option.section);
            }
            let first = line + 1;
            line += option.value.split('\n').count();
            (first, option)
        })
    }

    /// Sections in the order of their first option, options in their order.
    fn printed(&self) -> impl Iterator<Item = &UnitOption> {
        let mut sections: Vec<&str> = Vec::new();
        for option in &self.options {
            if !sections.contains(&option.section.as_str()) {
                sections.push(&option.section);
            }
        }
        sections.into_iter().flat_map(|section| self.options.iter().filter(move |o| o.section == section))
    }

    /// The values of an option as systemd sees them, in order, continuations joined.
    pub fn values(&self, section: &str, name: &str) -> Vec<String> {
        self.raw(section, name).map(joined).collect()
    }

    /// The value that wins where only one counts: the last.
    pub fn last(&self, section: &str, name: &str) -> Option<String> {
        self.raw(section, name).last().map(joined)
    }

    /// Whether the section has any option.
    pub fn has_section(&self, section: &str) -> bool {
        self.options.iter().any(|o| o.section == section)
    }

    /// SHA-1 of the normalised text, 40 hex digits.
    pub fn hash(&self) -> String {
        let digest = Sha1::digest(self.to_string().as_bytes());
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The first `Description=`, or nothing.
    pub fn description(&self) -> String {
        let first = self.raw("Unit", "Description").next();
        first.map(joined).unwrap_or_default()
    }

    fn raw<'a>(&'a self, section: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.options.iter().filter(move |o| o.section == section && o.name == name).map(|o| o.value.as_str())
    }
}

impl fmt::Display for UnitText {
    /// One empty line between sections.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut section: Option<&str> = None;
        for option in self.printed() {
            if section != Some(&option.section) {
                let gap = if section.is_some() { "\n" } else { "" };
                writeln!(f, "{gap}[{}]", option.section)?;
                section = Some(&option.section);
            }
            writeln!(f, "{}={}", option.name, option.value)?;
        }
        Ok(())
    }
}

/// A stored value as systemd sees it: each continued line's backslash becomes a space, comment lines within are dropped.
pub fn joined(stored: &str) -> String {
    if !stored.contains('\n') {
        return stored.to_owned();
    }
    let mut value = String::with_capacity(stored.len());
    for (index, line) in stored.split('\n').enumerate() {
        if index > 0 && line.trim_start().starts_with(['#', ';']) {
            continue;
        }
        match line.strip_suffix('\\') {
            Some(head) => {
                value.push_str(head);
                value.push(' ');
            }
            None => value.push_str(line),
        }
    }
    value.trim().to_owned()
}

struct Parser<'a> {
    lines: Vec<&'a str>,
    next: usize,
    section: Option<String>,
    options: Vec<UnitOption>,
}

impl<'a> Parser<'a> {
    fn run(&mut self) -> Result<(), ParseError> {
        while let Some(line) = self.take() {
            if self.section.is_none() {
                // Before the first section everything but the next "[" or comment is skipped.
                match line.find(['[', '#', ';']) {
                    Some(at) if line[at..].starts_with('[') => self.header(&line[at..])?,
                    Some(_) => self.comment(line),
                    None => {}
                }
                continue;
            }
            let line = line.trim_start();
            if line.starts_with('[') {
                self.header(line)?;
            } else if line.starts_with(['#', ';']) {
                self.comment(line);
            } else if !line.is_empty() {
                self.option(line)?;
            }
        }
        Ok(())
    }

    fn take(&mut self) -> Option<&'a str> {
        let line = self.lines.get(self.next).copied();
        self.next += 1;
        line
    }

    fn header(&mut self, line: &str) -> Result<(), ParseError> {
        let number = self.next;
        let Some((name, rest)) = line[1..].split_once(']') else {
            return Err(ParseError::UnterminatedSection { line: number, text: line.to_owned() });
        };
        if !rest.trim().is_empty() {
            return Err(ParseError::GarbageAfterSection { line: number, text: line.trim_end().to_owned() });
        }
        self.section = Some(name.to_owned());
        Ok(())
    }

    fn comment(&mut self, line: &str) {
        let mut line = line;
        while line.strip_suffix(' ').unwrap_or(line).ends_with('\\') {
            match self.take() {
                Some(next) => line = next,
                None => return,
            }
        }
    }

    fn option(&mut self, line: &'a str) -> Result<(), ParseError> {
        let number = self.next;
        let parts = line.split_once('=').filter(|(n, _)| !n.contains('\r'));
        let Some((name, mut line)) = parts else {
            return Err(ParseError::NoEquals { line: number, text: line.trim_end().to_owned() });
        };
        let mut value = String::new();
        while !line.trim().is_empty() {
            value.push_str(line);
            if !line.ends_with('\\') {
                break;
            }
            if self.next < self.lines.len() {
                value.push('\n');
            }
            line = self.take().unwrap_or("");
        }
        let trimmed = value.trim();
        // A continuation that an empty line ends keeps its newline.
        let value = if value.ends_with('\n') { format!("{trimmed}\n") } else { trimmed.to_owned() };
        self.options.push(UnitOption {
            name: name.trim().to_owned(),
            section: self.section.clone().unwrap_or_default(),
            value,
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn triples(text: &str) -> Vec<(String, String, String)> {
        let unit = UnitText::parse(text).unwrap();
        let parts = |o: &UnitOption| (o.section.clone(), o.name.clone(), o.value.clone());
        unit.options().iter().map(parts).collect()
    }

    fn option(section: &str, name: &str, value: &str) -> (String, String, String) {
        (section.into(), name.into(), value.into())
    }

    #[test]
    fn hash_of_the_test_vector() {
        let text = "[Service]\nExecStart=/bin/bash -c \"while true; do echo Hello, World!; sleep 1; done\"\n";
        let unit = UnitText::parse(text).unwrap();
        assert_eq!(unit.to_string(), text);
        assert_eq!(unit.hash(), "3750b3e9f3962a56c7582929426e9abb012754cf");
    }

    #[test]
    fn reads_as_go_systemd_does() {
        let cases = [
            ("", vec![]),
            ("junk = 1\n[A]\nb=c", vec![option("A", "b", "c")]),
            ("[A]\n  b =  c  \r\n", vec![option("A", "b", "c")]),
            ("[A]\n# x \\\nhidden=1\nd=e\n", vec![option("A", "d", "e")]),
            ("[A]\n; x \\ \nhidden=1\nd=e\n", vec![option("A", "d", "e")]),
            ("[A]\nb=1 \\\n  2\nc=3", vec![option("A", "b", "1 \\\n  2"), option("A", "c", "3")]),
            ("[A]\nb=1 \\\n\nc=3", vec![option("A", "b", "1 \\\n"), option("A", "c", "3")]),
            ("[A]\nb=1 \\", vec![option("A", "b", "1 \\")]),
            ("[A]\nb=\n[B]\nb==x=y", vec![option("A", "b", ""), option("B", "b", "=x=y")]),
            ("[A]\nb=1\n[B]\nc=2\n[A]\nd=3", vec![option("A", "b", "1"), option("B", "c", "2"), option("A", "d", "3")]),
        ];
        for (text, expected) in cases {
            assert_eq!(triples(text), expected, "{text:?}");
        }
    }

    #[test]
    fn prints_sections_merged_in_first_seen_order() {
        let unit = UnitText::parse("[A]\nb=1\n[B]\nc=2\n\n[A]\nd=3").unwrap();
        assert_eq!(unit.to_string(), "[A]\nb=1\nd=3\n\n[B]\nc=2\n");
        assert_eq!(UnitText::default().to_string(), "");
    }

    #[test]
    fn joins_continuations_as_systemd_does() {
        let cases = [("plain", "plain"), ("1 \\\n  2", "1    2"), ("1 \\\n# no\n 2", "1   2"), ("1 \\\n", "1")];
        for (stored, expected) in cases {
            assert_eq!(joined(stored), expected, "{stored:?}");
        }
    }

    #[test]
    fn mistakes_name_line_text_and_remedy() {
        let long = format!("[A]\nb={}", "x".repeat(2046));
        let cases = [
            ("[A\nb=c", "unable to find end of section: line 1: \"[A\": close"),
            ("\n[A] x\n", "found garbage after section name: line 2: \"[A] x\""),
            ("[A]\nb=1\nnope\n", "option without \"=\": line 3: \"nope\""),
            (&long, "line too long (max 2048 bytes): line 2: \"b=xxx"),
        ];
        for (text, expected) in cases {
            let message = UnitText::parse(text).unwrap_err().to_string();
            assert!(message.starts_with(expected), "{message}");
        }
        assert!(UnitText::parse(&format!("[A]\nb={}", "x".repeat(2045))).is_ok());
        let injected = UnitText::from_options(vec![UnitOption::new("A", "b", "1\nnope")]);
        assert!(matches!(injected, Err(ParseError::NoEquals { line: 3, .. })));
    }

    proptest! {
        #[test]
        fn never_panics_and_printing_is_stable(text in "(\\[|\\]|=|\\\\|\n|\r|#|;| |[a-c]){0,60}") {
            if let Ok(unit) = UnitText::parse(&text)
                && let Ok(again) = UnitText::parse(&unit.to_string())
            {
                let third = UnitText::parse(&again.to_string()).unwrap();
                prop_assert_eq!(again.hash(), third.hash());
            }
        }
    }
}
