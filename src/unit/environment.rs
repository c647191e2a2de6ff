//! `Environment=`, `EnvironmentFile=` and `PassEnvironment=`: assignments as values.

use super::specifier::{SpecifierError, Specifiers};
use super::words::{self, Mode, WordError, is_space};

/// Why a line of assignments cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvironmentError {
    #[error("{line:?}: {source}")]
    Words { line: String, source: WordError },
    #[error("{line:?}: {source}")]
    Specifier { line: String, source: SpecifierError },
}

/// What a text of assignments says, and what of it is no assignment (to be told, not fatal: as systemd does).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assignments {
    /// Name and value, in order; a later one wins.
    pub variables: Vec<(String, String)>,
    /// What was passed over, with the reason.
    pub ignored: Vec<String>,
}

/// Reads the (joined) value of one `Environment=` line. An empty value gives nothing: in systemd it empties the list.
///
/// # Errors
/// Unbalanced quotes, escapes that are no text.
pub fn environment(value: &str, specifiers: &Specifiers) -> Result<Assignments, EnvironmentError> {
    let line = || value.to_owned();
    let words =
        words::all_words(value, Mode::Strict).map_err(|source| EnvironmentError::Words { line: line(), source })?;
    let mut found = Assignments::default();
    for word in words {
        let text = specifiers.expand(&word).map_err(|source| EnvironmentError::Specifier { line: line(), source })?;
        found.add(&text);
    }
    Ok(found)
}

/// The path of an `EnvironmentFile=`, and whether the file may be missing (`-` before it).
pub fn optional_path(value: &str) -> (&str, bool) {
    match value.strip_prefix('-') {
        Some(path) => (path, true),
        None => (value, false),
    }
}

/// Reads the text of an environment file: `NAME=value` lines, comments with `#` or `;`, single and double quotes, a
/// backslash at the end of a line continues it. No variables are replaced.
pub fn environment_file(text: &str) -> Assignments {
    let mut found = Assignments::default();
    let mut rest = text;
    while !rest.is_empty() {
        rest = rest.trim_start_matches(is_space);
        if rest.starts_with(['#', ';']) {
            rest = skip_comment(rest);
            continue;
        }
        let end = rest.find(['=', '\n']).unwrap_or(rest.len());
        let name = rest[..end].trim_matches(is_space);
        rest = &rest[end..];
        if let Some(after) = rest.strip_prefix('=') {
            let (value, after) = file_value(after);
            rest = after;
            found.push(name, value);
        } else if !name.is_empty() {
            found.ignored.push(format!("{name:?}: not of the form NAME=value"));
        }
    }
    found
}

/// Past a comment; a backslash at the end of its line continues it, as in systemd.
fn skip_comment(text: &str) -> &str {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            '\n' if !escaped => return &text[at..],
            _ => escaped = c == '\\' && !escaped,
        }
    }
    ""
}

/// A value up to the end of its line, and what follows it.
fn file_value(text: &str) -> (String, &str) {
    let mut value = String::new();
    // Up to here the value is kept though it ends in blanks: quoted or escaped ones.
    let mut kept = 0;
    let mut quote: Option<char> = None;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match (quote, c) {
            (None, '\n' | '\r') => {
                value.truncate(kept.max(value.trim_end_matches(is_space).len()));
                return (value, &text[at..]);
            }
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), _) if c == open => {
                quote = None;
                kept = value.len();
            }
            (Some('\''), _) => value.push(c),
            (_, '\\') => {
                match (quote, chars.next().map(|(_, next)| next)) {
                    (_, None | Some('\n')) => {}
                    (Some(_), Some(next)) if !"\"\\`$".contains(next) => value.extend(['\\', next]),
                    (_, Some(next)) => value.push(next),
                }
                kept = value.len();
            }
            (None, _) if value.is_empty() && kept == 0 && is_space(c) => {}
            _ => value.push(c),
        }
    }
    if quote.is_none() {
        value.truncate(kept.max(value.trim_end_matches(is_space).len()));
    }
    (value, "")
}

/// Whether it can name a variable: a letter or `_`, then letters, digits and `_`.
pub fn is_name(name: &str) -> bool {
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    plain && !name.is_empty() && !name.as_bytes()[0].is_ascii_digit()
}

impl Assignments {
    fn add(&mut self, assignment: &str) {
        match assignment.split_once('=') {
            Some((name, value)) => self.push(name, value.to_owned()),
            None => self.ignored.push(format!("{assignment:?}: not of the form NAME=value")),
        }
    }

    fn push(&mut self, name: &str, value: String) {
        if is_name(name) {
            self.variables.push((name.to_owned(), value));
        } else {
            self.ignored.push(format!("{name:?}: not a name for a variable"));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn pairs(found: &Assignments) -> Vec<(&str, &str)> {
        found.variables.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect()
    }

    #[test]
    fn environment_lines() {
        let specifiers = Specifiers::system("a@7.service");
        let found = environment("\"A=word1 word2\" B=word3 \"C=$x 5\" P=%i 9=x nope", &specifiers).unwrap();
        let expected = [("A", "word1 word2"), ("B", "word3"), ("C", "$x 5"), ("P", "7")];
        assert_eq!(pairs(&found), expected);
        assert_eq!(found.ignored.len(), 2);
        assert!(environment("A='x", &specifiers).is_err());
        assert_eq!(environment("", &specifiers).unwrap(), Assignments::default());
    }

    #[test]
    fn environment_files() {
        let text = "# c\n; d\nCOREOS_PUBLIC_IPV4=10.0.0.1\n  B = two words  \r\nC=\"a b \"\nD='$x \\y'\n\nE=a\\\nb\nF=\nnope\nG=a\\ \nH=\"x\\\"y\\n\"\nI=l\"m n\"o";
        let found = environment_file(text);
        let expected = [
            ("COREOS_PUBLIC_IPV4", "10.0.0.1"),
            ("B", "two words"),
            ("C", "a b "),
            ("D", "$x \\y"),
            ("E", "ab"),
            ("F", ""),
            ("G", "a "),
            ("H", "x\"y\\n"),
            ("I", "lm no"),
        ];
        assert_eq!(pairs(&found), expected);
        assert_eq!(found.ignored, ["\"nope\": not of the form NAME=value"]);
    }

    #[test]
    fn optional_paths() {
        assert_eq!(optional_path("-/etc/environment"), ("/etc/environment", true));
        assert_eq!(optional_path("/etc/environment"), ("/etc/environment", false));
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "([A-C]|=|\n|\r| |#|'|\"|\\\\|é){0,40}") {
            let _ = environment_file(&text);
        }
    }
}
