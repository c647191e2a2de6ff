//! Tokens of template text, and how messages describe them.

use super::text::{lossy, quote, runes};

/// The kind of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The text is an error message.
    Error,
    Eof,
    Text,
    LeftDelim,
    RightDelim,
    LeftParen,
    RightParen,
    Space,
    Pipe,
    Assign,
    Declare,
    /// Any other printable ASCII character, such as a comma.
    Char,
    Bool,
    CharConstant,
    Complex,
    Number,
    Field,
    Identifier,
    RawString,
    String,
    Variable,
    Keyword(Keyword),
}

/// Reserved words; the cursor `.` and `nil` count as words too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keyword {
    Block,
    Break,
    Continue,
    Dot,
    Define,
    Else,
    End,
    If,
    Nil,
    Range,
    Template,
    With,
}

/// The keyword spelled `word`.
pub(super) fn keyword(word: &[u8]) -> Option<Keyword> {
    Some(match word {
        b"block" => Keyword::Block,
        b"break" => Keyword::Break,
        b"continue" => Keyword::Continue,
        b"define" => Keyword::Define,
        b"else" => Keyword::Else,
        b"end" => Keyword::End,
        b"if" => Keyword::If,
        b"nil" => Keyword::Nil,
        b"range" => Keyword::Range,
        b"template" => Keyword::Template,
        b"with" => Keyword::With,
        _ => return None,
    })
}

/// A token: its kind, text (or error message), byte offset and line (from 1) of its start.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub kind: Kind,
    pub text: Vec<u8>,
    pub pos: usize,
    pub line: usize,
}

impl Token {
    /// How the token appears in "unexpected …" messages.
    pub fn describe(&self) -> String {
        match self.kind {
            Kind::Eof => "EOF".to_owned(),
            Kind::Error => lossy(&self.text).into_owned(),
            Kind::Keyword(_) => format!("<{}>", lossy(&self.text)),
            _ if self.text.len() > 10 => {
                let end = runes(&self.text).nth(10).map_or(self.text.len(), |(at, ..)| at);
                format!("{}...", quote(&self.text[..end]))
            }
            _ => quote(&self.text),
        }
    }
}
