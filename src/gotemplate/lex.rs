//! Splits template text into tokens: text, and inside `{{ }}` the words of an action. Trim markers take effect here.

use super::text::{decode_rune, is_alphanumeric, is_print, quote};
use super::token::{Keyword, Kind, Token, keyword};

const LEFT: &[u8] = b"{{";
const RIGHT: &[u8] = b"}}";

/// Where the lexer is.
enum Mode {
    Text,
    LeftDelim,
    Action,
    Done,
}

/// Produces tokens on demand.
pub(super) struct Lexer<'a> {
    input: &'a [u8],
    start: usize,
    pos: usize,
    mode: Mode,
    open_parens: usize,
    /// `break` and `continue` are keywords unless functions of that name exist.
    pub break_is_keyword: bool,
    pub continue_is_keyword: bool,
    /// Lines seen up to `counted`.
    line: usize,
    counted: usize,
}

impl<'a> Lexer<'a> {
    pub fn new(input: &'a [u8]) -> Lexer<'a> {
        Lexer {
            input,
            start: 0,
            pos: 0,
            mode: Mode::Text,
            open_parens: 0,
            break_is_keyword: true,
            continue_is_keyword: true,
            line: 1,
            counted: 0,
        }
    }

    /// The next token; `Eof` for ever once the text or an error ended it.
    pub fn next(&mut self) -> Token {
        loop {
            let token = match self.mode {
                Mode::Text => self.text(),
                Mode::LeftDelim => self.left_delim(),
                Mode::Action => Some(self.action()),
                Mode::Done => Some(self.emit(Kind::Eof)),
            };
            if let Some(token) = token {
                return token;
            }
        }
    }

    fn rest(&self) -> &'a [u8] {
        &self.input[self.pos..]
    }

    fn line_of_start(&mut self) -> usize {
        let between = &self.input[self.counted..self.start];
        self.line += between.iter().filter(|byte| **byte == b'\n').count();
        self.counted = self.start;
        self.line
    }

    fn emit(&mut self, kind: Kind) -> Token {
        let token = Token {
            kind,
            text: self.input[self.start..self.pos].to_vec(),
            pos: self.start,
            line: self.line_of_start(),
        };
        self.start = self.pos;
        token
    }

    fn ignore(&mut self) {
        self.start = self.pos;
    }

    fn error(&mut self, message: impl Into<String>) -> Token {
        let token =
            Token { kind: Kind::Error, text: message.into().into_bytes(), pos: self.start, line: self.line_of_start() };
        self.pos = self.input.len();
        self.start = self.pos;
        self.mode = Mode::Done;
        token
    }

    fn peek(&self) -> Option<char> {
        decode_rune(self.rest()).map(|(rune, _)| rune)
    }

    fn advance(&mut self) -> Option<char> {
        let (rune, width) = decode_rune(self.rest())?;
        self.pos += width;
        Some(rune)
    }

    /// Text up to the next action.
    fn text(&mut self) -> Option<Token> {
        let Some(length) = find(self.rest(), LEFT) else {
            self.pos = self.input.len();
            self.mode = Mode::Done;
            return (self.pos > self.start).then(|| self.emit(Kind::Text));
        };
        self.mode = Mode::LeftDelim;
        let delim = self.pos + length;
        self.pos = delim;
        if has_left_trim(&self.input[delim + LEFT.len()..]) {
            let text = &self.input[self.start..delim];
            self.pos -= text.len() - trim_right(text).len();
        }
        let token = (self.pos > self.start).then(|| self.emit(Kind::Text));
        self.pos = delim;
        self.ignore();
        token
    }

    fn left_delim(&mut self) -> Option<Token> {
        self.pos += LEFT.len();
        let marker = if has_left_trim(self.rest()) { 2 } else { 0 };
        if self.input[self.pos + marker..].starts_with(b"/*") {
            self.pos += marker;
            self.ignore();
            return self.comment();
        }
        let token = self.emit(Kind::LeftDelim);
        self.pos += marker;
        self.ignore();
        self.open_parens = 0;
        self.mode = Mode::Action;
        Some(token)
    }

    fn comment(&mut self) -> Option<Token> {
        let Some(length) = find(&self.rest()[2..], b"*/") else {
            return Some(self.error("unclosed comment"));
        };
        self.pos += 2 + length + 2;
        let Some(trim) = right_delim(self.rest()) else {
            return Some(self.error("comment ends before closing delimiter"));
        };
        self.pos += RIGHT.len() + if trim { 2 } else { 0 };
        self.skip_trimmed(trim);
        self.mode = Mode::Text;
        None
    }

    fn skip_trimmed(&mut self, trim: bool) {
        if trim {
            self.pos += self.rest().iter().take_while(|byte| is_space(**byte)).count();
        }
        self.ignore();
    }

    fn right_delim(&mut self) -> Token {
        let trim = has_right_trim(self.rest());
        if trim {
            self.pos += 2;
            self.ignore();
        }
        self.pos += RIGHT.len();
        let token = self.emit(Kind::RightDelim);
        self.skip_trimmed(trim);
        self.mode = Mode::Text;
        token
    }

    fn action(&mut self) -> Token {
        if right_delim(self.rest()).is_some() {
            return match self.open_parens {
                0 => self.right_delim(),
                _ => self.error("unclosed left paren"),
            };
        }
        let Some(rune) = self.peek() else {
            return self.error("unclosed action");
        };
        if rune.is_ascii() && is_space(rune as u8) {
            return self.space();
        }
        self.advance();
        match rune {
            '=' => self.emit(Kind::Assign),
            ':' => match self.advance() {
                Some('=') => self.emit(Kind::Declare),
                _ => self.error("expected :="),
            },
            '|' => self.emit(Kind::Pipe),
            '"' => self.quoted(b'"', Kind::String, "unterminated quoted string"),
            '\'' => self.quoted(b'\'', Kind::CharConstant, "unterminated character constant"),
            '`' => self.raw_string(),
            '$' => self.name(Kind::Variable, Kind::Variable),
            '.' if !self.rest().first().is_some_and(u8::is_ascii_digit) && !self.rest().is_empty() => {
                self.name(Kind::Field, Kind::Keyword(Keyword::Dot))
            }
            '.' | '+' | '-' | '0'..='9' => {
                self.pos = self.start;
                self.number()
            }
            '(' => {
                self.open_parens += 1;
                self.emit(Kind::LeftParen)
            }
            ')' => match self.open_parens.checked_sub(1) {
                Some(open) => {
                    self.open_parens = open;
                    self.emit(Kind::RightParen)
                }
                None => self.error("unexpected right paren"),
            },
            _ if is_alphanumeric(rune) => self.identifier(),
            ' '..='~' => self.emit(Kind::Char),
            _ => self.error(format!("unrecognized character in action: {}", unicode(rune))),
        }
    }

    /// A run of spaces; the last one may belong to a ` -}}`.
    fn space(&mut self) -> Token {
        let count = self.rest().iter().take_while(|byte| is_space(**byte)).count();
        self.pos += count;
        let last = &self.input[self.pos - 1..];
        if has_right_trim(last) && last[2..].starts_with(RIGHT) {
            self.pos -= 1;
            if count == 1 {
                return self.right_delim();
            }
        }
        self.emit(Kind::Space)
    }

    fn identifier(&mut self) -> Token {
        while self.peek().is_some_and(is_alphanumeric) {
            self.advance();
        }
        if !self.at_terminator() {
            return self.bad_character();
        }
        let kind = match &self.input[self.start..self.pos] {
            b"true" | b"false" => Kind::Bool,
            word => match keyword(word) {
                Some(Keyword::Break) if !self.break_is_keyword => Kind::Identifier,
                Some(Keyword::Continue) if !self.continue_is_keyword => Kind::Identifier,
                Some(keyword) => Kind::Keyword(keyword),
                None => Kind::Identifier,
            },
        };
        self.emit(kind)
    }

    /// A field or variable whose `.` or `$` is past; alone it has the kind `bare`.
    fn name(&mut self, kind: Kind, bare: Kind) -> Token {
        if self.at_terminator() {
            return self.emit(bare);
        }
        while self.peek().is_some_and(is_alphanumeric) {
            self.advance();
        }
        match self.at_terminator() {
            true => self.emit(kind),
            false => self.bad_character(),
        }
    }

    fn bad_character(&mut self) -> Token {
        let rune = self.peek().unwrap_or('\0');
        self.error(format!("bad character {}", unicode(rune)))
    }

    /// Whether what follows may come directly after a name.
    fn at_terminator(&self) -> bool {
        match self.rest().first() {
            None => true,
            Some(b'.' | b',' | b'|' | b':' | b')' | b'(') => true,
            Some(byte) => is_space(*byte) || self.rest().starts_with(RIGHT),
        }
    }

    fn quoted(&mut self, close: u8, kind: Kind, unterminated: &str) -> Token {
        loop {
            let byte = self.rest().first().copied();
            self.pos += 1;
            match byte {
                Some(b'\\') if self.rest().first().is_some_and(|next| *next != b'\n') => self.pos += 1,
                Some(b'\\' | b'\n') | None => return self.error(unterminated),
                Some(byte) if byte == close => return self.emit(kind),
                Some(_) => {}
            }
        }
    }

    fn raw_string(&mut self) -> Token {
        match self.rest().iter().position(|byte| *byte == b'`') {
            Some(length) => {
                self.pos += length + 1;
                self.emit(Kind::RawString)
            }
            None => self.error("unterminated raw quoted string"),
        }
    }

    fn number(&mut self) -> Token {
        if !self.scan_number() {
            return self.bad_number();
        }
        if !matches!(self.rest().first(), Some(b'+' | b'-')) {
            return self.emit(Kind::Number);
        }
        match self.scan_number() && self.input[self.pos - 1] == b'i' {
            true => self.emit(Kind::Complex),
            false => self.bad_number(),
        }
    }

    fn bad_number(&mut self) -> Token {
        let text = quote(&self.input[self.start..self.pos]);
        self.error(format!("bad number syntax: {text}"))
    }

    fn accept(&mut self, set: &[u8]) -> bool {
        let found = self.rest().first().is_some_and(|byte| set.contains(byte));
        self.pos += usize::from(found);
        found
    }

    fn accept_run(&mut self, set: &[u8]) {
        while self.accept(set) {}
    }

    /// Scans what looks like a number; what it accepts wrongly the parser refuses.
    fn scan_number(&mut self) -> bool {
        self.accept(b"+-");
        let mut digits: &[u8] = b"0123456789_";
        let mut exponent: &[u8] = b"eE";
        if self.accept(b"0") {
            if self.accept(b"xX") {
                digits = b"0123456789abcdefABCDEF_";
                exponent = b"pP";
            } else if self.accept(b"oO") {
                digits = b"01234567_";
                exponent = b"";
            } else if self.accept(b"bB") {
                digits = b"01_";
                exponent = b"";
            }
        }
        self.accept_run(digits);
        if self.accept(b".") {
            self.accept_run(digits);
        }
        if self.accept(exponent) {
            self.accept(b"+-");
            self.accept_run(b"0123456789_");
        }
        self.accept(b"i");
        if self.peek().is_some_and(is_alphanumeric) {
            self.advance();
            return false;
        }
        true
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

fn has_left_trim(text: &[u8]) -> bool {
    matches!(text, [b'-', space, ..] if is_space(*space))
}

fn has_right_trim(text: &[u8]) -> bool {
    matches!(text, [space, b'-', ..] if is_space(*space))
}

/// Whether `text` starts with `}}` or ` -}}`; the latter trims.
fn right_delim(text: &[u8]) -> Option<bool> {
    if has_right_trim(text) && text[2..].starts_with(RIGHT) {
        return Some(true);
    }
    text.starts_with(RIGHT).then_some(false)
}

fn trim_right(text: &[u8]) -> &[u8] {
    let kept = text.iter().rposition(|byte| !is_space(*byte)).map_or(0, |at| at + 1);
    &text[..kept]
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}

/// A rune as Go's `%#U` prints it: `U+0040 '@'`.
fn unicode(rune: char) -> String {
    let code = u32::from(rune);
    match is_print(rune) {
        true => format!("U+{code:04X} '{rune}'"),
        false => format!("U+{code:04X}"),
    }
}
