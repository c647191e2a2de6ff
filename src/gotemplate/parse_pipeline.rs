//! Parses what stands between the delimiters: declarations, commands, operands.

use super::node::{Command, Operand, Pipe, Term};
use super::number::parse_number;
use super::parse::{MAX_PAREN_DEPTH, Parsed, Parser};
use super::text::{lossy, quote};
use super::token::{Keyword, Kind};
use super::value::Str;

impl Parser<'_> {
    pub fn pipeline(&mut self, context: &str, end: Kind) -> Parsed<Pipe> {
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
