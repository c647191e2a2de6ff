//! Builds the parsed form from tokens, with Go's parse errors.

use std::collections::BTreeMap;

use super::lex::Lexer;
use super::node::{self, Body, Branch, BranchKind, Node, TemplateCall};
use super::text::{quote, unquote};
use super::token::{Keyword, Kind, Token};
use super::value::Str;

/// How deep blocks (`if`, `range`, …) may nest in a template.
pub const MAX_BLOCK_DEPTH: usize = 100;
/// How deep parentheses may nest in an action.
pub const MAX_PAREN_DEPTH: usize = 100;

/// A template that cannot be parsed; the message has Go's form `template: NAME:LINE: …`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("template: {name}:{line}: {message}")]
pub struct ParseError {
    /// The name given to the template text.
    pub name: String,
    /// Line, from 1.
    pub line: usize,
    pub message: String,
}

/// What ended a body.
enum End {
    End,
    Else,
}

impl End {
    fn text(&self) -> &'static str {
        match self {
            End::End => "{{end}}",
            End::Else => "{{else}}",
        }
    }
}

/// A piece of a body, or its end.
enum Item {
    Node(Node),
    End(End),
}

/// What belongs to one definition: look-ahead, variables in scope, enclosing loops.
pub(super) struct Scope {
    /// Look-ahead, the next token last; slot 0 is the latest token read and gives error lines.
    tokens: [Token; 3],
    peeked: usize,
    pub variables: Vec<String>,
    action_line: usize,
    loops: usize,
}

impl Scope {
    fn new() -> Scope {
        let blank = Token { kind: Kind::Eof, text: Vec::new(), pos: 0, line: 0 };
        Scope {
            tokens: [blank.clone(), blank.clone(), blank],
            peeked: 0,
            variables: vec!["$".to_owned()],
            action_line: 0,
            loops: 0,
        }
    }
}

/// The bodies of a template text by name.
pub(super) type Definitions = BTreeMap<Str, Body>;

/// Parses a text: its own body under `name`, and every definition in it.
pub(super) fn parse(name: &str, input: &[u8], functions: &dyn Fn(&str) -> bool) -> Result<Definitions, ParseError> {
    let mut lexer = Lexer::new(input);
    lexer.break_is_keyword = !functions("break");
    lexer.continue_is_keyword = !functions("continue");
    let mut parser =
        Parser { name, lexer, functions, scope: Scope::new(), definitions: BTreeMap::new(), blocks: 0, parens: 0 };
    let body = parser.top_level()?;
    parser.add(Str::from(name), body)?;
    Ok(parser.definitions)
}

/// The state of parsing one text.
pub(super) struct Parser<'a> {
    name: &'a str,
    lexer: Lexer<'a>,
    pub functions: &'a dyn Fn(&str) -> bool,
    pub scope: Scope,
    definitions: Definitions,
    /// Open bodies.
    blocks: usize,
    /// Open parentheses.
    pub parens: usize,
}

pub(super) type Parsed<T> = Result<T, ParseError>;

impl Parser<'_> {
    // Tokens.

    pub fn next(&mut self) -> Token {
        let scope = &mut self.scope;
        match scope.peeked {
            0 => scope.tokens[0] = self.lexer.next(),
            _ => scope.peeked -= 1,
        }
        scope.tokens[scope.peeked].clone()
    }

    pub fn backup(&mut self) {
        self.scope.peeked += 1;
    }

    pub fn backup2(&mut self, first: Token) {
        self.scope.tokens[1] = first;
        self.scope.peeked = 2;
    }

    pub fn backup3(&mut self, first: Token, second: Token) {
        self.scope.tokens[1] = second;
        self.scope.tokens[2] = first;
        self.scope.peeked = 3;
    }

    pub fn peek(&mut self) -> Token {
        let token = self.next();
        self.backup();
        token
    }

    pub fn next_non_space(&mut self) -> Token {
        loop {
            let token = self.next();
            if token.kind != Kind::Space {
                return token;
            }
        }
    }

    pub fn peek_non_space(&mut self) -> Token {
        let token = self.next_non_space();
        self.backup();
        token
    }

    fn expect(&mut self, kind: Kind, context: &str) -> Parsed<Token> {
        let token = self.next_non_space();
        match token.kind == kind {
            true => Ok(token),
            false => self.unexpected(&token, context),
        }
    }

    // Errors.

    pub fn fail<T>(&self, message: impl Into<String>) -> Parsed<T> {
        Err(ParseError { name: self.name.to_owned(), line: self.scope.tokens[0].line, message: message.into() })
    }

    pub fn unexpected<T>(&self, token: &Token, context: &str) -> Parsed<T> {
        let what = token.describe();
        if token.kind != Kind::Error {
            return self.fail(format!("unexpected {what} in {context}"));
        }
        let line = self.scope.action_line;
        if line == 0 || line == token.line {
            return self.fail(what);
        }
        let place = if what.ends_with(" action") { "" } else { " in action" };
        self.fail(format!("{what}{place} started at {}:{line}", self.name))
    }

    // Bodies and definitions.

    fn top_level(&mut self) -> Parsed<Body> {
        let mut body = Body::new();
        loop {
            match self.peek().kind {
                Kind::Eof => return Ok(body),
                Kind::LeftDelim => {
                    let delim = self.next();
                    if self.next_non_space().kind == Kind::Keyword(Keyword::Define) {
                        self.definition()?;
                        continue;
                    }
                    self.backup2(delim);
                }
                _ => {}
            }
            match self.text_or_action()? {
                Item::Node(node) => body.push(node),
                Item::End(end) => return self.fail(format!("unexpected {}", end.text())),
            }
        }
    }

    /// Runs `parse` with a scope of its own, as every definition has.
    fn scoped<T>(&mut self, parse: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        let outer = std::mem::replace(&mut self.scope, Scope::new());
        let result = parse(self)?;
        self.scope = outer;
        Ok(result)
    }

    fn definition(&mut self) -> Parsed<()> {
        const CONTEXT: &str = "define clause";
        self.scoped(|parser| {
            let token = parser.next_non_space();
            let name = parser.template_name(&token, CONTEXT)?;
            parser.expect(Kind::RightDelim, CONTEXT)?;
            let (body, end) = parser.body()?;
            if let End::Else = end {
                return parser.fail(format!("unexpected {} in {CONTEXT}", end.text()));
            }
            parser.add(name, body)
        })
    }

    fn add(&mut self, name: Str, body: Body) -> Parsed<()> {
        match self.definitions.get(&name) {
            Some(old) if !node::is_empty(old) => match node::is_empty(&body) {
                true => Ok(()),
                false => self.fail(format!("template: multiple definition of template {}", quote(&name))),
            },
            _ => {
                self.definitions.insert(name, body);
                Ok(())
            }
        }
    }

    fn body(&mut self) -> Parsed<(Body, End)> {
        self.blocks += 1;
        if self.blocks > MAX_BLOCK_DEPTH {
            return self.fail(format!("blocks nested more than {MAX_BLOCK_DEPTH} deep"));
        }
        let mut body = Body::new();
        while self.peek_non_space().kind != Kind::Eof {
            match self.text_or_action()? {
                Item::Node(node) => body.push(node),
                Item::End(end) => {
                    self.blocks -= 1;
                    return Ok((body, end));
                }
            }
        }
        self.fail("unexpected EOF")
    }

    fn text_or_action(&mut self) -> Parsed<Item> {
        let token = self.next_non_space();
        match token.kind {
            Kind::Text => Ok(Item::Node(Node::Text(token.text))),
            Kind::LeftDelim => {
                self.scope.action_line = token.line;
                let item = self.action()?;
                self.scope.action_line = 0;
                Ok(item)
            }
            _ => self.unexpected(&token, "input"),
        }
    }

    // Actions.

    fn action(&mut self) -> Parsed<Item> {
        let token = self.next_non_space();
        let node = match token.kind {
            Kind::Keyword(Keyword::Block) => Node::Template(self.block()?),
            Kind::Keyword(Keyword::Break) => self.loop_control("{{break}}", Node::Break)?,
            Kind::Keyword(Keyword::Continue) => self.loop_control("{{continue}}", Node::Continue)?,
            Kind::Keyword(Keyword::Else) => return self.else_control(),
            Kind::Keyword(Keyword::End) => {
                self.expect(Kind::RightDelim, "end")?;
                return Ok(Item::End(End::End));
            }
            Kind::Keyword(Keyword::If) => Node::Branch(self.branch(BranchKind::If)?),
            Kind::Keyword(Keyword::Range) => Node::Branch(self.branch(BranchKind::Range)?),
            Kind::Keyword(Keyword::With) => Node::Branch(self.branch(BranchKind::With)?),
            Kind::Keyword(Keyword::Template) => Node::Template(self.template_call()?),
            _ => {
                self.backup();
                self.peek();
                Node::Action(self.pipeline("command", Kind::RightDelim)?)
            }
        };
        Ok(Item::Node(node))
    }

    fn loop_control(&mut self, context: &str, node: Node) -> Parsed<Node> {
        let token = self.next_non_space();
        if token.kind != Kind::RightDelim {
            return self.unexpected(&token, context);
        }
        match self.scope.loops {
            0 => self.fail(format!("{context} outside {{{{range}}}}")),
            _ => Ok(node),
        }
    }

    fn else_control(&mut self) -> Parsed<Item> {
        // The `if` or `with` of an `else if` stays for the enclosing branch to see.
        let next = self.peek_non_space().kind;
        if !matches!(next, Kind::Keyword(Keyword::If | Keyword::With)) {
            self.expect(Kind::RightDelim, "else")?;
        }
        Ok(Item::End(End::Else))
    }

    fn branch(&mut self, kind: BranchKind) -> Parsed<Branch> {
        let (context, chained) = match kind {
            BranchKind::If => ("if", Some(Keyword::If)),
            BranchKind::With => ("with", Some(Keyword::With)),
            BranchKind::Range => ("range", None),
        };
        let mark = self.scope.variables.len();
        let mut arms = Vec::new();
        let otherwise = loop {
            let pipe = self.pipeline(context, Kind::RightDelim)?;
            let in_loop = usize::from(kind == BranchKind::Range);
            self.scope.loops += in_loop;
            let (body, end) = self.body()?;
            self.scope.loops -= in_loop;
            arms.push((pipe, body));
            if let End::End = end {
                break None;
            }
            if chained.is_some_and(|keyword| self.peek().kind == Kind::Keyword(keyword)) {
                self.next();
                continue;
            }
            let (body, end) = self.body()?;
            if let End::Else = end {
                return self.fail(format!("expected end; found {}", end.text()));
            }
            break Some(body);
        };
        self.scope.variables.truncate(mark);
        Ok(Branch { kind, arms, otherwise })
    }

    fn block(&mut self) -> Parsed<TemplateCall> {
        const CONTEXT: &str = "block clause";
        let token = self.next_non_space();
        let name = self.template_name(&token, CONTEXT)?;
        let pipe = self.pipeline(CONTEXT, Kind::RightDelim)?;
        let end = self.scoped(|parser| {
            let (body, end) = parser.body()?;
            if let End::End = end {
                parser.add(name.clone(), body)?;
            }
            Ok(end)
        })?;
        if let End::Else = end {
            return self.fail(format!("unexpected {} in {CONTEXT}", end.text()));
        }
        Ok(TemplateCall { pos: token.pos, name, pipe: Some(pipe) })
    }

    fn template_call(&mut self) -> Parsed<TemplateCall> {
        const CONTEXT: &str = "template clause";
        let token = self.next_non_space();
        let name = self.template_name(&token, CONTEXT)?;
        let mut pipe = None;
        if self.next_non_space().kind != Kind::RightDelim {
            self.backup();
            pipe = Some(self.pipeline(CONTEXT, Kind::RightDelim)?);
        }
        Ok(TemplateCall { pos: token.pos, name, pipe })
    }

    fn template_name(&mut self, token: &Token, context: &str) -> Parsed<Str> {
        match token.kind {
            Kind::String | Kind::RawString => Ok(Str::from(self.string(token)?)),
            _ => self.unexpected(token, context),
        }
    }

    pub fn string(&self, token: &Token) -> Parsed<Vec<u8>> {
        unquote(&token.text).or_else(|error| self.fail(error.to_string()))
    }
}
