//! Go's regular expressions (`regexp`) on the crate `regex`: patterns are translated, because the two differ in what `\w`,
//! `\d`, `\s` and `\b` cover, in what brackets and braces mean where they stand alone, and in which escapes there are.

use ::regex::bytes::{Regex, RegexBuilder};

use super::strings::TEXT_BYTES_MAX;

/// The most memory that one compiled pattern may take.
const COMPILED_BYTES_MAX: usize = 4 << 20;
/// The most repetitions that a pattern may ask for at once; Go's limit.
const REPETITIONS_MAX: u32 = 1000;

/// The names that brackets know, as in `[[:alpha:]]`.
const POSIX: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper", "word",
    "xdigit",
];

/// Compiles a pattern as Go's `regexp.Compile` does.
///
/// # Errors
/// Go's text for what is malformed in Go too.
pub(super) fn compile(pattern: &[u8]) -> Result<Regex, String> {
    let text = std::str::from_utf8(pattern).map_err(|_| "error parsing regexp: invalid UTF-8".to_owned())?;
    let translated = Translation { text, rest: text, out: String::with_capacity(text.len() + 16), open: 0 }.run()?;
    let built = RegexBuilder::new(&translated).size_limit(COMPILED_BYTES_MAX).build();
    built.map_err(|error| match error {
        ::regex::Error::CompiledTooBig(_) => "error parsing regexp: expression too large".to_owned(),
        other => {
            // What is left for the crate to refuse: names of Unicode classes that it does not have.
            let told = other.to_string();
            match told.contains("Unicode property") {
                true => format!("error parsing regexp: invalid character class range: `{text}`"),
                false => format!("error parsing regexp: {}: `{text}`", told.lines().last().unwrap_or_default().trim()),
            }
        }
    })
}

/// What stood before, as far as a repetition cares.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Last<'a> {
    /// Nothing that could be repeated.
    Nothing,
    Item,
    /// A repetition, with the text from its operator on.
    Repetition(&'a str),
}

struct Translation<'a> {
    text: &'a str,
    rest: &'a str,
    out: String,
    /// Groups that are open.
    open: usize,
}

fn wrong<T>(what: &str, part: &str) -> Result<T, String> {
    Err(format!("error parsing regexp: {what}: `{part}`"))
}

impl<'a> Translation<'a> {
    fn run(mut self) -> Result<String, String> {
        let mut last = Last::Nothing;
        while let Some(rune) = self.rest.chars().next() {
            last = match rune {
                '*' | '+' | '?' => self.repetition(1, last)?,
                '{' => match counts(self.rest) {
                    Some(length) => self.repetition(length, last)?,
                    None => self.literal(rune),
                },
                '(' => self.group()?,
                ')' if self.open == 0 => return wrong("unexpected )", self.text),
                ')' => {
                    self.open -= 1;
                    self.copy(1);
                    Last::Item
                }
                '|' => {
                    self.copy(1);
                    Last::Nothing
                }
                '[' => self.class()?,
                '\\' => self.escape()?,
                '^' | '$' | '.' => {
                    self.copy(1);
                    Last::Item
                }
                other => self.literal(other),
            };
        }
        if self.open > 0 { wrong("missing closing )", self.text) } else { Ok(self.out) }
    }

    fn copy(&mut self, length: usize) {
        self.out.push_str(&self.rest[..length]);
        self.rest = &self.rest[length..];
    }

    fn literal(&mut self, rune: char) -> Last<'a> {
        self.rest = &self.rest[rune.len_utf8()..];
        self.push_literal(rune);
        Last::Item
    }

    fn push_literal(&mut self, rune: char) {
        if rune.is_ascii() && !rune.is_ascii_alphanumeric() && rune != '_' {
            self.out.push_str(&format!(r"\x{:02X}", u32::from(rune)));
        } else {
            self.out.push(rune);
        }
    }

    fn repetition(&mut self, length: usize, last: Last<'a>) -> Result<Last<'a>, String> {
        let from = self.rest;
        let lazy = usize::from(from[length..].starts_with('?'));
        match last {
            Last::Nothing => return wrong("missing argument to repetition operator", &from[..length]),
            Last::Repetition(before) => {
                let both = before.len() - from.len() + length + lazy;
                return wrong("invalid nested repetition operator", &before[..both]);
            }
            Last::Item => {}
        }
        if length > 1 && !sensible(&from[1..length - 1]) {
            return wrong("invalid repeat count", &from[..length]);
        }
        self.copy(length + lazy);
        Ok(Last::Repetition(from))
    }

    /// `(`, `(?:`, `(?P<name>`, `(?<name>` and flags `(?i)`, `(?i:`.
    fn group(&mut self) -> Result<Last<'a>, String> {
        self.open += 1;
        if !self.rest.starts_with("(?") {
            self.copy(1);
            return Ok(Last::Nothing);
        }
        let inside = &self.rest[2..];
        let named = inside.strip_prefix("P<").or_else(|| inside.strip_prefix('<'));
        if let Some(named) = named {
            let Some(end) = named.find('>') else { return wrong("invalid named capture", self.rest) };
            let whole = self.rest.len() - named.len() + end + 1;
            let name = &named[..end];
            if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
                return wrong("invalid named capture", &self.rest[..whole]);
            }
            self.copy(whole);
            return Ok(Last::Nothing);
        }
        let end = inside.find(|rune: char| !matches!(rune, 'i' | 'm' | 's' | 'U' | '-'));
        let known = end.map(|end| (end, &inside[end..=end.min(inside.len() - 1)]));
        match known {
            Some((end, ":")) => {
                self.copy(2 + end + 1);
                Ok(Last::Nothing)
            }
            Some((end, ")")) if end > 0 && !inside[..end].ends_with('-') => {
                self.open -= 1;
                self.copy(2 + end + 1);
                Ok(Last::Nothing)
            }
            Some((end, _)) => {
                let width = inside[end..].chars().next().map_or(0, char::len_utf8);
                wrong("invalid or unsupported Perl syntax", &self.rest[..2 + end + width])
            }
            None => wrong("missing argument to repetition operator", "?"),
        }
    }

    fn escape(&mut self) -> Result<Last<'a>, String> {
        let Some(rune) = self.rest[1..].chars().next() else {
            return Err("error parsing regexp: trailing backslash at end of expression: ``".to_owned());
        };
        match rune {
            'A' | 'z' => self.copy(2),
            'b' | 'B' => {
                self.rest = &self.rest[2..];
                self.out.push_str(&format!(r"(?-u:\{rune})"));
            }
            'Q' => {
                let quoted = &self.rest[2..];
                let end = quoted.find(r"\E");
                quoted[..end.unwrap_or(quoted.len())].chars().for_each(|rune| self.push_literal(rune));
                self.rest = end.map_or("", |end| &quoted[end + 2..]);
            }
            _ => self.common_escape()?,
        }
        Ok(Last::Item)
    }

    /// An escape that means the same inside and outside of brackets.
    fn common_escape(&mut self) -> Result<(), String> {
        let after = &self.rest[1..];
        let Some(rune) = after.chars().next() else {
            return Err("error parsing regexp: trailing backslash at end of expression: ``".to_owned());
        };
        let perl = match rune {
            'd' => "[0-9]",
            'D' => "[^0-9]",
            's' => r"[\t\n\f\r ]",
            'S' => r"[^\t\n\f\r ]",
            'w' => "[0-9A-Za-z_]",
            'W' => "[^0-9A-Za-z_]",
            _ => "",
        };
        if !perl.is_empty() {
            self.out.push_str(perl);
            self.rest = &after[1..];
            return Ok(());
        }
        match rune {
            'a' | 'f' | 't' | 'n' | 'r' | 'v' => self.copy(2),
            'p' | 'P' => {
                let length = match after[1..].chars().next() {
                    Some('{') => after.find('}').map(|end| end + 1),
                    Some(class) => Some(1 + class.len_utf8()),
                    None => None,
                };
                let Some(length) = length else { return wrong("invalid character class range", self.rest) };
                self.copy(1 + length);
            }
            'x' => {
                let (code, length) = hexadecimal(&after[1..]);
                let Some(code) = code else {
                    return wrong("invalid escape sequence", &self.rest[..2 + length]);
                };
                self.push_code(code, 2 + length);
            }
            // One digit would refer to a group, which there is not.
            '1'..='7' if !after[1..].starts_with(|next: char| ('0'..='7').contains(&next)) => {
                return wrong("invalid escape sequence", &self.rest[..2]);
            }
            '0'..='7' => {
                let digits = after.bytes().take(3).take_while(|byte| (b'0'..=b'7').contains(byte)).count();
                let code = u32::from_str_radix(&after[..digits], 8).ok().and_then(char::from_u32);
                self.push_code(code.unwrap_or('\0'), 1 + digits);
            }
            mark if mark.is_ascii() && !mark.is_ascii_alphanumeric() => {
                self.push_literal(mark);
                self.rest = &after[1..];
            }
            other => return wrong("invalid escape sequence", &self.rest[..1 + other.len_utf8()]),
        }
        Ok(())
    }

    fn push_code(&mut self, code: char, length: usize) {
        self.out.push_str(&format!(r"\x{{{:X}}}", u32::from(code)));
        self.rest = &self.rest[length..];
    }

    /// A bracket expression. Inside, `[`, `&&`, `--` and `~~` are plain characters to Go.
    fn class(&mut self) -> Result<Last<'a>, String> {
        let from = self.rest;
        self.copy(1);
        if self.rest.starts_with('^') {
            self.copy(1);
        }
        let mut first = true;
        loop {
            let Some(rune) = self.rest.chars().next() else { return wrong("missing closing ]", from) };
            if rune == ']' && !first {
                self.copy(1);
                return Ok(Last::Item);
            }
            if let Some(name) = self.rest.strip_prefix("[:")
                && let Some(end) = name.find(":]")
            {
                let known = POSIX.contains(&name[..end].trim_start_matches('^'));
                if !known || name.starts_with("^^") {
                    return wrong("invalid character class range", &self.rest[..2 + end + 2]);
                }
                self.copy(2 + end + 2);
                first = false;
                continue;
            }
            // A dash may begin or end the brackets, or stand within a range; elsewhere it is a mistake.
            if rune == '-' && !first && !self.rest.starts_with("-]") {
                let end = self.rest[1..].chars().next().map_or(0, char::len_utf8);
                return wrong("invalid character class range", &self.rest[..1 + end]);
            }
            first = false;
            let begin = self.rest;
            let (out, single) = (self.out.len(), self.class_item()?);
            if !single || !self.rest.starts_with('-') || self.rest.starts_with("-]") {
                continue;
            }
            self.rest = &self.rest[1..];
            let low = self.out.split_off(out);
            if self.rest.is_empty() {
                return wrong("missing closing ]", from);
            }
            if self.rest.starts_with('\\') && self.rest[1..].starts_with(['d', 'D', 's', 'S', 'w', 'W', 'p', 'P']) {
                return wrong("invalid escape sequence", &self.rest[..2]);
            }
            self.class_item()?;
            let high = self.out.split_off(out);
            if value_of(&low) > value_of(&high) {
                return wrong("invalid character class range", &begin[..begin.len() - self.rest.len()]);
            }
            self.out.push_str(&format!("{low}-{high}"));
        }
    }

    /// One character or escape; whether it is a single character.
    fn class_item(&mut self) -> Result<bool, String> {
        match self.rest.chars().next() {
            Some('\\') => {
                let single = !self.rest[1..].starts_with(['d', 'D', 's', 'S', 'w', 'W', 'p', 'P']);
                self.common_escape()?;
                Ok(single)
            }
            Some(rune) => {
                self.literal(rune);
                Ok(true)
            }
            None => Ok(false),
        }
    }
}

/// The length of `{2}`, `{2,}` or `{2,3}` at the beginning of a text.
fn counts(text: &str) -> Option<usize> {
    let end = text.find('}')?;
    let inside = &text[1..end];
    let number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let fits = match inside.split_once(',') {
        Some((low, high)) => number(low) && (high.is_empty() || number(high)),
        None => number(inside),
    };
    fits.then_some(end + 1)
}

fn sensible(inside: &str) -> bool {
    let (low, high) = inside.split_once(',').unwrap_or((inside, inside));
    let number = |part: &str| part.parse::<u32>().ok().filter(|count| *count <= REPETITIONS_MAX);
    match (number(low), high) {
        (None, _) => false,
        (Some(_), "") => true,
        (Some(low), high) => number(high).is_some_and(|high| low <= high),
    }
}

/// The code after `\x`, and how long its text is.
fn hexadecimal(text: &str) -> (Option<char>, usize) {
    let (digits, length) = match text.strip_prefix('{') {
        Some(inside) => match inside.find('}') {
            Some(end) => (&inside[..end], end + 2),
            None => return (None, text.len()),
        },
        None => (text.get(..2).unwrap_or(""), text.len().min(2)),
    };
    let valid = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let code = valid.then(|| u32::from_str_radix(digits, 16).ok().and_then(char::from_u32)).flatten();
    let length = if text.is_char_boundary(length) { length } else { 0 };
    (code, length)
}

/// The code of a translated single character, for comparing the ends of a range.
fn value_of(translated: &str) -> u32 {
    let hex = translated.strip_prefix(r"\x").map(|code| code.trim_matches(['{', '}']));
    match (hex, translated) {
        (Some(code), _) => u32::from_str_radix(code, 16).unwrap_or(u32::MAX),
        (None, r"\a") => 7,
        (None, r"\t") => 9,
        (None, r"\n") => 10,
        (None, r"\v") => 11,
        (None, r"\f") => 12,
        (None, r"\r") => 13,
        (None, other) => other.chars().next().map_or(0, u32::from),
    }
}

/// Every match replaced, as Go's `ReplaceAllString`: `$1`, `${1}`, `$name` and `$$` in the replacement.
///
/// # Errors
/// A text that becomes too long.
pub(super) fn replace_all(pattern: &Regex, text: &[u8], replacement: &[u8]) -> Result<Vec<u8>, String> {
    let (mut out, mut from) = (Vec::with_capacity(text.len()), 0);
    for found in pattern.captures_iter(text) {
        let Some(whole) = found.get(0) else { continue };
        out.extend_from_slice(&text[from..whole.start()]);
        found.expand(replacement, &mut out);
        from = whole.end();
        if out.len() > TEXT_BYTES_MAX {
            return Err(format!("the text is longer than {TEXT_BYTES_MAX} bytes"));
        }
    }
    out.extend_from_slice(&text[from..]);
    Ok(out)
}
