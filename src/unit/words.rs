//! Words of an option's value: quotes and C escapes, as systemd takes them apart.

/// Why a value does not split into words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WordError {
    #[error("unbalanced quoting: a {0} is never closed")]
    UnbalancedQuote(char),
    #[error("the value ends in a lone backslash")]
    TrailingBackslash,
    #[error("the escapes yield bytes that are no UTF-8")]
    NotUtf8,
}

/// How backslashes and mistakes are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// C escapes; an unknown one stays as written. Unbalanced quotes are mistakes.
    Strict,
    /// A backslash makes the next character plain, unbalanced quotes are closed at the end: the values of variables.
    Relaxed,
}

/// Takes the next word off `rest`; `None` at the end. Quotes may stand anywhere in a word.
pub(super) fn next_word(rest: &mut &str, mode: Mode) -> Result<Option<String>, WordError> {
    let input = rest.trim_start_matches(is_space);
    if input.is_empty() {
        *rest = input;
        return Ok(None);
    }
    let mut word: Vec<u8> = Vec::new();
    let mut quote: Option<char> = None;
    let mut at = 0;
    while let Some(c) = input[at..].chars().next() {
        let width = c.len_utf8();
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None, _) if is_space(c) => break,
            (_, '\\') => {
                at += width + escape(&input[at + width..], mode, &mut word)?;
                continue;
            }
            _ => word.extend_from_slice(&input.as_bytes()[at..at + width]),
        }
        at += width;
    }
    if let (Some(open), Mode::Strict) = (quote, mode) {
        return Err(WordError::UnbalancedQuote(open));
    }
    *rest = input[at..].trim_start_matches(is_space);
    String::from_utf8(word).map(Some).map_err(|_| WordError::NotUtf8)
}

/// All words of a value.
pub(super) fn all_words(value: &str, mode: Mode) -> Result<Vec<String>, WordError> {
    let mut rest = value;
    let mut words = Vec::new();
    while let Some(word) = next_word(&mut rest, mode)? {
        words.push(word);
    }
    Ok(words)
}

/// What systemd calls whitespace.
pub(super) fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r')
}

/// Writes what the escape after a backslash stands for; returns how many bytes of `after` it took.
fn escape(after: &str, mode: Mode, word: &mut Vec<u8>) -> Result<usize, WordError> {
    let Some(c) = after.chars().next() else {
        return match mode {
            Mode::Strict => Err(WordError::TrailingBackslash),
            Mode::Relaxed => Ok(0),
        };
    };
    if mode == Mode::Relaxed {
        word.extend_from_slice(&after.as_bytes()[..c.len_utf8()]);
        return Ok(c.len_utf8());
    }
    let plain = match c {
        'a' => 0x07,
        'b' => 0x08,
        'f' => 0x0c,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 0x0b,
        's' => b' ',
        '\\' | '"' | '\'' => c as u8,
        _ => return Ok(numeric_escape(after, word)),
    };
    word.push(plain);
    Ok(1)
}

/// `\xHH`, `\OOO` (bytes), `\uHHHH`, `\UHHHHHHHH` (characters); anything else, and NUL, stays as written.
fn numeric_escape(after: &str, word: &mut Vec<u8>) -> usize {
    let (skip, digits, radix) = match after.as_bytes()[0] {
        b'x' => (1, 2, 16),
        b'0'..=b'7' => (0, 3, 8),
        b'u' => (1, 4, 16),
        b'U' => (1, 8, 16),
        _ => (0, 0, 0),
    };
    let text = after.get(skip..skip + digits).unwrap_or("");
    let all_digits = !text.is_empty() && text.chars().all(|c| c.is_digit(radix));
    let number = if all_digits { u32::from_str_radix(text, radix).unwrap_or(0) } else { 0 };
    let byte = digits < 4;
    match (number, u8::try_from(number), char::from_u32(number)) {
        (1.., Ok(value), _) if byte => word.push(value),
        (1.., _, Some(c)) if !byte => word.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        _ => {
            word.push(b'\\');
            return 0;
        }
    }
    skip + digits
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn words_quotes_and_escapes() {
        let cases: [(&str, &[&str]); 13] = [
            ("", &[]),
            ("  a\tb  ", &["a", "b"]),
            ("'a b' \"c d\"", &["a b", "c d"]),
            ("FOO='a b'c", &["FOO=a bc"]),
            ("'' a", &["", "a"]),
            ("a\\ b", &["a\\", "b"]),
            ("a\\sb", &["a b"]),
            ("'it\\'s'", &["it's"]),
            ("\\x41\\102\\u00e9", &["ABé"]),
            ("\\d \\x0 \\q", &["\\d", "\\x0", "\\q"]),
            ("\\x00", &["\\x00"]),
            ("\"a'b\"", &["a'b"]),
            ("\\n\\t", &["\n\t"]),
        ];
        for (value, expected) in cases {
            assert_eq!(all_words(value, Mode::Strict).unwrap(), expected, "{value:?}");
        }
        assert_eq!(all_words("'a", Mode::Strict), Err(WordError::UnbalancedQuote('\'')));
        assert_eq!(all_words("a\\", Mode::Strict), Err(WordError::TrailingBackslash));
        assert_eq!(all_words("\\xff", Mode::Strict), Err(WordError::NotUtf8));
        assert_eq!(all_words("'a b\\n", Mode::Relaxed).unwrap(), ["a bn"]);
    }

    proptest! {
        #[test]
        fn nothing_panics(value in "([a-z]| |\\\\|'|\"|x|u|U|é|0|7){0,40}") {
            let _ = all_words(&value, Mode::Strict);
            prop_assert!(all_words(&value, Mode::Relaxed).is_ok());
        }
    }
}
