//! Builds the parsed form from tokens, with Go's parse errors.

use std::collections::BTreeMap;

use super::lex::{Keyword, Kind, Lexer, Token};
use super::node::{self, Body, Branch, BranchKind, Command, Node, Operand, Pipe, TemplateCall, Term};
use super::number::parse_number;
use super::text::{lossy, quote, unquote};
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
struct Scope {
    /// Look-ahead, the next token last; slot 0 is the latest token read and gives error lines.
    tokens: [Token; 3],
    peeked: usize,
    variables: Vec<String>,
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

struct Parser<'a> {
    name: &'a str,
    lexer: Lexer<'a>,
    functions: &'a dyn Fn(&str) -> bool,
    scope: Scope,
    definitions: Definitions,
    blocks: usize,
    parens: usize,
}

type Parsed<T> = Result<T, ParseError>;

impl Parser<'_> {
    // Tokens.

    fn next(&mut self) -> Token {
        let scope = &mut self.scope;
        match scope.peeked {
            0 => scope.tokens[0] = self.lexer.next(),
            _ => scope.peeked -= 1,
        }
        scope.tokens[scope.peeked].clone()
    }

    fn backup(&mut self) {
        self.scope.peeked += 1;
    }

    fn backup2(&mut self, first: Token) {
        self.scope.tokens[1] = first;
        self.scope.peeked = 2;
    }

    fn backup3(&mut self, first: Token, second: Token) {
        self.scope.tokens[1] = second;
        self.scope.tokens[2] = first;
        self.scope.peeked = 3;
    }

    fn peek(&mut self) -> Token {
        let token = self.next();
        self.backup();
        token
    }

    fn next_non_space(&mut self) -> Token {
        loop {
            let token = self.next();
            if token.kind != Kind::Space {
                return token;
            }
        }
    }

    fn peek_non_space(&mut self) -> Token {
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

    fn fail<T>(&self, message: impl Into<String>) -> Parsed<T> {
        Err(ParseError { name: self.name.to_owned(), line: self.scope.tokens[0].line, message: message.into() })
    }

    fn unexpected<T>(&self, token: &Token, context: &str) -> Parsed<T> {
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

    fn string(&self, token: &Token) -> Parsed<Vec<u8>> {
        unquote(&token.text).or_else(|error| self.fail(error.to_string()))
    }

    // Pipelines.

    fn pipeline(&mut self, context: &str, end: Kind) -> Parsed<Pipe> {
        let mut pipe =
            Pipe { pos: self.peek_non_space().pos, assign: false, variables: Vec::new(), commands: Vec::new() };
        while self.declaration(context, &mut pipe)? {}
        loop {
            let token = self.next_non_space();
            match token.kind {
                kind if kind == end => {
                    self.check_pipeline(&pipe, context)?;
                    return Ok(pipe);
                }
                Kind::Bool
                | Kind::CharConstant
                | Kind::Complex
                | Kind::Keyword(Keyword::Dot | Keyword::Nil)
                | Kind::Field
                | Kind::Identifier
                | Kind::Number
                | Kind::RawString
                | Kind::String
                | Kind::Variable
                | Kind::LeftParen => {
                    self.backup();
                    let command = self.command()?;
                    pipe.commands.push(command);
                }
                _ => return self.unexpected(&token, context),
            }
        }
    }

    /// A variable being declared or assigned at the front of a pipeline; true when another one may follow.
    fn declaration(&mut self, context: &str, pipe: &mut Pipe) -> Parsed<bool> {
        let variable = self.peek_non_space();
        if variable.kind != Kind::Variable {
            return Ok(false);
        }
        self.next();
        // A space is a token, so telling `$x foo` from `$x := foo` takes three tokens of look-ahead.
        let after = self.peek();
        let next = self.peek_non_space();
        let comma = next.kind == Kind::Char && next.text == b",";
        if !comma && !matches!(next.kind, Kind::Assign | Kind::Declare) {
            match after.kind {
                Kind::Space => self.backup3(variable, after),
                _ => self.backup2(variable),
            }
            return Ok(false);
        }
        self.next_non_space();
        let name = lossy(&variable.text).into_owned();
        self.scope.variables.push(name.clone());
        pipe.variables.push(name);
        if !comma {
            pipe.assign = next.kind == Kind::Assign;
            return Ok(false);
        }
        if context != "range" || pipe.variables.len() >= 2 {
            return self.fail(format!("too many declarations in {context}"));
        }
        match self.peek_non_space().kind {
            Kind::Variable | Kind::RightDelim | Kind::RightParen => Ok(true),
            _ => self.fail("range can only initialize variables"),
        }
    }

    fn check_pipeline(&self, pipe: &Pipe, context: &str) -> Parsed<()> {
        if pipe.commands.is_empty() {
            return self.fail(format!("missing value for {context}"));
        }
        for (at, command) in pipe.commands.iter().enumerate().skip(1) {
            if command.args[0].term.is_literal() {
                return self.fail(format!("non executable command in pipeline stage {}", at + 1));
            }
        }
        Ok(())
    }

    fn command(&mut self) -> Parsed<Command> {
        let mut command = Command { pos: self.peek_non_space().pos, args: Vec::new() };
        loop {
            self.peek_non_space();
            if let Some(operand) = self.operand()? {
                command.args.push(operand);
            }
            let token = self.next();
            match token.kind {
                Kind::Space => continue,
                Kind::RightDelim | Kind::RightParen => self.backup(),
                Kind::Pipe => {}
                _ => return self.unexpected(&token, "operand"),
            }
            break;
        }
        match command.args.is_empty() {
            true => self.fail("empty command"),
            false => Ok(command),
        }
    }

    /// A term and the fields chained to it; `None` when the next token starts no operand.
    fn operand(&mut self) -> Parsed<Option<Operand>> {
        let Some(mut operand) = self.term()? else {
            return Ok(None);
        };
        let first = self.peek();
        if first.kind != Kind::Field {
            return Ok(Some(operand));
        }
        let mut chain = Vec::new();
        while self.peek().kind == Kind::Field {
            let token = self.next();
            chain.push(lossy(&token.text[1..]).into_owned());
        }
        if operand.term.is_literal() {
            let text = quote(operand.to_string().as_bytes());
            return self.fail(format!("unexpected . after term {text}"));
        }
        match &mut operand.term {
            Term::Field(fields) | Term::Variable(_, fields) => {
                fields.extend(chain);
                operand.pos = first.pos;
                Ok(Some(operand))
            }
            _ => Ok(Some(Operand { pos: first.pos, term: Term::Chain(Box::new(operand), chain) })),
        }
    }

    fn term(&mut self) -> Parsed<Option<Operand>> {
        let token = self.next_non_space();
        let name = || lossy(&token.text).into_owned();
        let term = match token.kind {
            Kind::Identifier => {
                if !(self.functions)(&name()) {
                    return self.fail(format!("function {} not defined", quote(&token.text)));
                }
                Term::Identifier(name())
            }
            Kind::Keyword(Keyword::Dot) => Term::Dot,
            Kind::Keyword(Keyword::Nil) => Term::Nil,
            Kind::Variable => {
                if !self.scope.variables.contains(&name()) {
                    return self.fail(format!("undefined variable {}", quote(&token.text)));
                }
                Term::Variable(name(), Vec::new())
            }
            Kind::Field => Term::Field(vec![lossy(&token.text[1..]).into_owned()]),
            Kind::Bool => Term::Bool(token.text == b"true"),
            Kind::CharConstant | Kind::Complex | Kind::Number => match parse_number(&token.text, token.kind) {
                Ok(number) => Term::Number(number),
                Err(message) => return self.fail(message),
            },
            Kind::LeftParen => Term::Pipe(self.parenthesised()?),
            Kind::String | Kind::RawString => {
                Term::Text { value: Str::from(self.string(&token)?), quoted: token.text.clone() }
            }
            _ => {
                self.backup();
                return Ok(None);
            }
        };
        let pos = match &term {
            Term::Pipe(pipe) => pipe.pos,
            _ => token.pos,
        };
        Ok(Some(Operand { pos, term }))
    }

    fn parenthesised(&mut self) -> Parsed<Pipe> {
        self.parens += 1;
        if self.parens > MAX_PAREN_DEPTH {
            return self.fail(format!("parentheses nested more than {MAX_PAREN_DEPTH} deep"));
        }
        let pipe = self.pipeline("parenthesized pipeline", Kind::RightParen)?;
        self.parens -= 1;
        Ok(pipe)
    }
}

impl Term {
    /// A constant or the cursor: cannot be called, has no fields.
    fn is_literal(&self) -> bool {
        matches!(self, Term::Bool(_) | Term::Dot | Term::Nil | Term::Number(_) | Term::Text { .. })
    }
}
