//! Formats that an output must be well-formed in before it takes the file's place.

use saphyr_parser::Parser;
use toml::de::DeTable;

use super::fields::place;

/// A format, from `output_format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Json,
    Yaml,
    Toml,
    Xml,
}

/// What is wrong with a text, and where; lines and columns from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the output is no {name}: {message} (its line {line}, column {column})")]
pub struct Malformed {
    pub name: &'static str,
    pub line: usize,
    pub column: usize,
    pub message: String,
}

impl Format {
    /// By their names in resource files.
    pub const NAMES: &[(&str, Option<Self>)] =
        &[("json", Some(Self::Json)), ("yaml", Some(Self::Yaml)), ("toml", Some(Self::Toml)), ("xml", Some(Self::Xml))];

    fn name(self) -> &'static str {
        match self {
            Self::Json => "JSON",
            Self::Yaml => "YAML",
            Self::Toml => "TOML",
            Self::Xml => "XML",
        }
    }

    /// Whether `output` is well-formed.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn check(self, output: &[u8]) -> Result<(), Malformed> {
        let wrong =
            |(line, column): (usize, usize), message: String| Malformed { name: self.name(), line, column, message };
        let text = match std::str::from_utf8(output) {
            Ok(text) => text,
            Err(error) => {
                let before = String::from_utf8_lossy(&output[..error.valid_up_to()]).into_owned();
                return Err(wrong(place(&before), "it is not UTF-8".to_owned()));
            }
        };
        match self {
            Self::Json => serde_json::from_str::<serde::de::IgnoredAny>(text).map(drop).map_err(|error| {
                let told = error.to_string();
                let message = told.split(" at line ").next().unwrap_or(&told).to_owned();
                wrong((error.line().max(1), error.column().max(1)), message)
            }),
            Self::Yaml => Parser::new_from_str(text).try_for_each(|event| {
                event.map(drop).map_err(|error| {
                    let marker = error.marker();
                    wrong((marker.line(), marker.col() + 1), error.info().to_owned())
                })
            }),
            Self::Toml => DeTable::parse(text).map(drop).map_err(|error| {
                let start = error.span().map_or(0, |span| span.start);
                wrong(place(text.get(..start).unwrap_or(text)), error.message().to_owned())
            }),
            Self::Xml => roxmltree::Document::parse(text).map(drop).map_err(|error| {
                let at = error.pos();
                let told = error.to_string();
                // The place is told apart.
                let message = told.rsplit_once(" at ").map_or(told.as_str(), |(message, _)| message).to_owned();
                wrong((at.row as usize, at.col as usize), message)
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_malformed_is_found_at_its_place() {
        let cases = [
            (Format::Json, "{\"a\": [1, 2]}\n", None),
            (Format::Json, "{\n  \"a\": 1,\n}", Some((3, 1))),
            (Format::Json, "", Some((1, 1))),
            (Format::Yaml, "a: 1\nb:\n  - c\n", None),
            (Format::Yaml, "a: 1\nb: [1, 2\n", Some((3, 1))),
            (Format::Toml, "a = 1\n[b]\n", None),
            (Format::Toml, "a = 1\nb = \n", Some((2, 5))),
            (Format::Xml, "<a>\n <b x=\"1\"/>\n</a>", None),
            (Format::Xml, "<a>\n <b>\n</a>", Some((3, 1))),
        ];
        for (format, text, expected) in cases {
            let found = format.check(text.as_bytes()).err();
            assert_eq!(found.as_ref().map(|wrong| (wrong.line, wrong.column)), expected, "{text:?}: {found:?}");
        }
        let wrong = Format::Json.check(b"{\n\"a\": \xff}").unwrap_err();
        assert_eq!(wrong.to_string(), "the output is no JSON: it is not UTF-8 (its line 2, column 6)");
    }
}
