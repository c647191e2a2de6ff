//! The parsed form of a template, and how its parts are written in error messages.

use std::fmt;

use super::text::{lossy, quote};
use super::value::Str;

/// A list of nodes: a body.
pub(super) type Body = Vec<Node>;

/// One element of a body.
#[derive(Debug)]
pub(super) enum Node {
    Text(Vec<u8>),
    Action(Pipe),
    Branch(Branch),
    Template(TemplateCall),
    Break,
    Continue,
}

/// What a branch does with its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BranchKind {
    If,
    With,
    Range,
}

/// `if`, `with` or `range`. `else if` and `else with` are further arms.
#[derive(Debug)]
pub(super) struct Branch {
    pub kind: BranchKind,
    /// Conditions with their bodies, at least one; a `range` has exactly one.
    pub arms: Vec<(Pipe, Body)>,
    pub otherwise: Option<Body>,
}

/// `{{template "name" pipeline}}`.
#[derive(Debug)]
pub(super) struct TemplateCall {
    pub pos: usize,
    pub name: Str,
    pub pipe: Option<Pipe>,
}

/// Commands joined by `|`, whose value may be stored in variables.
#[derive(Debug)]
pub(super) struct Pipe {
    pub pos: usize,
    /// The variables are assigned (`=`), not declared (`:=`).
    pub assign: bool,
    /// Names with their `$`.
    pub variables: Vec<String>,
    pub commands: Vec<Command>,
}

/// An operand and its arguments; never empty.
#[derive(Debug)]
pub(super) struct Command {
    pub pos: usize,
    pub args: Vec<Operand>,
}

/// A word of a command with its byte offset in the text.
#[derive(Debug)]
pub(super) struct Operand {
    pub pos: usize,
    pub term: Term,
}

/// What an operand is.
#[derive(Debug)]
pub(super) enum Term {
    Bool(bool),
    Dot,
    Nil,
    Number(Number),
    /// A string literal as written, and its value.
    Text {
        quoted: Vec<u8>,
        value: Str,
    },
    Identifier(String),
    /// `.a.b` as `["a", "b"]`.
    Field(Vec<String>),
    /// `$x.a` as `$x` and `["a"]`.
    Variable(String, Vec<String>),
    /// Fields of a parenthesised pipeline or of a function's result.
    Chain(Box<Operand>, Vec<String>),
    Pipe(Pipe),
}

/// A numeric constant: its text and its value in each kind that can hold it.
#[derive(Debug)]
pub(super) struct Number {
    pub text: String,
    pub int: Option<i64>,
    pub uint: Option<u64>,
    pub float: Option<f64>,
}

impl fmt::Display for Pipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.variables.is_empty() {
            let sign = if self.assign { "=" } else { ":=" };
            write!(f, "{} {sign} ", self.variables.join(", "))?;
        }
        for (at, command) in self.commands.iter().enumerate() {
            if at > 0 {
                f.write_str(" | ")?;
            }
            command.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, arg) in self.args.iter().enumerate() {
            if at > 0 {
                f.write_str(" ")?;
            }
            match &arg.term {
                Term::Pipe(pipe) => write!(f, "({pipe})")?,
                _ => arg.fmt(f)?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.term {
            Term::Bool(value) => value.fmt(f),
            Term::Dot => f.write_str("."),
            Term::Nil => f.write_str("nil"),
            Term::Number(number) => f.write_str(&number.text),
            Term::Text { quoted, .. } => f.write_str(&lossy(quoted)),
            Term::Identifier(name) => f.write_str(name),
            Term::Field(names) => write_fields(f, names),
            Term::Variable(name, fields) => {
                f.write_str(name)?;
                write_fields(f, fields)
            }
            Term::Chain(base, fields) => {
                match &base.term {
                    Term::Pipe(pipe) => write!(f, "({pipe})")?,
                    _ => base.fmt(f)?,
                }
                write_fields(f, fields)
            }
            Term::Pipe(pipe) => pipe.fmt(f),
        }
    }
}

fn write_fields(f: &mut fmt::Formatter<'_>, names: &[String]) -> fmt::Result {
    for name in names {
        write!(f, ".{name}")?;
    }
    Ok(())
}

impl fmt::Display for TemplateCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{{template {}", quote(&self.name))?;
        if let Some(pipe) = &self.pipe {
            write!(f, " {pipe}")?;
        }
        f.write_str("}}")
    }
}

/// Whether a body holds nothing but white space: such a definition may be replaced.
pub(super) fn is_empty(body: &Body) -> bool {
    body.iter().all(|node| match node {
        Node::Text(text) => lossy(text).trim().is_empty(),
        _ => false,
    })
}
