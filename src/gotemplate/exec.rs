//! Walks a parsed template with an explicit stack and writes its output.

use std::fmt;
use std::vec;

use super::budget::{BYTES_PER_STEP, Budget};
use super::format::sprint;
use super::node::{Body, Branch, BranchKind, Command, Node, Operand, Pipe, TemplateCall};
use super::parse::{self, Definitions, ParseError};
use super::text::{lossy, quote};
use super::types::{IntKind, Signature, Type};
use super::value::{List, Str, Value};

/// The functions a template can call besides the built-in ones; a name here hides the built-in of that name.
pub trait Functions {
    /// The parameters of a function, `None` when there is none of that name.
    fn signature(&self, name: &str) -> Option<Signature>;

    /// Calls a function with arguments already checked against its signature. An error ends the execution with the
    /// message `error calling NAME: …`.
    fn call(&mut self, name: &str, args: &[Value]) -> Result<Value, String>;
}

/// No functions besides the built-in ones.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoFunctions;

impl Functions for NoFunctions {
    fn signature(&self, _name: &str) -> Option<Signature> {
        None
    }

    fn call(&mut self, name: &str, _args: &[Value]) -> Result<Value, String> {
        Err(format!("{} is not a defined function", quote(name.as_bytes())))
    }
}

/// An execution that did not finish. The message has Go's form
/// `template: NAME:LINE:COLUMN: executing "NAME" at <NODE>: …`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExecError {
    /// The template does something wrong, or a function failed.
    #[error("{0}")]
    Failed(String),
    /// The budget is used up.
    #[error("{0}")]
    Exhausted(String),
}

/// A parsed template with the templates it defines.
#[derive(Debug)]
pub struct Template {
    name: String,
    text: Vec<u8>,
    definitions: Definitions,
}

impl Template {
    /// Parses a template text. `functions` says whether a function of a name will be there when executing; built-in
    /// functions always are. `name` appears in messages.
    pub fn parse(name: &str, text: impl AsRef<[u8]>, functions: &dyn Fn(&str) -> bool) -> Result<Template, ParseError> {
        let text = text.as_ref();
        let known = |name: &str| functions(name) || super::builtins::Builtin::named(name).is_some();
        Ok(Template { name: name.to_owned(), definitions: parse::parse(name, text, &known)?, text: text.to_vec() })
    }

    /// The name given when parsing.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Executes the template with `data` as `.` and `$` (nil: `Value::Nil`). Output is returned only when all went well.
    pub fn execute(&self, data: &Value, functions: &mut dyn Functions, budget: &Budget) -> Result<Vec<u8>, ExecError> {
        let name = Str::from(self.name.as_str());
        let mut run = Run {
            template: self,
            functions,
            budget: *budget,
            steps_left: budget.steps,
            out: Vec::new(),
            frames: Vec::new(),
            variables: Vec::new(),
            invocation: Invocation { name: name.clone(), base: 0, depth: 0 },
            at: At::Nothing,
        };
        let dot = Bound::from(match data {
            Value::Nil => None,
            value => Some(value.clone()),
        });
        run.check_depth(dot.value.as_ref())?;
        run.variables.push(("$", dot.clone()));
        if let Some(body) = self.definitions.get(&name) {
            run.enter(body, dot);
        }
        run.run()?;
        Ok(run.out)
    }
}

/// A place for a value: `None` is Go's invalid value (absent data), `Some(Value::Nil)` a nil interface.
pub(super) type Slot = Option<Value>;

/// What the cursor or a variable holds, and whether Go would see it as an `interface {}`: elements of collections of
/// mixed values stay so until a pipeline hands them on, and errors about their fields say so.
#[derive(Clone, Default)]
pub(super) struct Bound {
    pub value: Slot,
    pub boxed: bool,
}

impl From<Slot> for Bound {
    fn from(value: Slot) -> Self {
        Bound { value, boxed: false }
    }
}

/// The part of the template being executed, for messages.
#[derive(Clone, Copy)]
pub(super) enum At<'t> {
    Nothing,
    Pipe(&'t Pipe),
    Command(&'t Command),
    Operand(&'t Operand),
    Template(&'t TemplateCall),
}

impl At<'_> {
    fn pos(&self) -> Option<usize> {
        match self {
            At::Nothing => None,
            At::Pipe(pipe) => Some(pipe.pos),
            At::Command(command) => Some(command.pos),
            At::Operand(operand) => Some(operand.pos),
            At::Template(call) => Some(call.pos),
        }
    }
}

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            At::Nothing => Ok(()),
            At::Pipe(pipe) => pipe.fmt(f),
            At::Command(command) => command.fmt(f),
            At::Operand(operand) => operand.fmt(f),
            At::Template(call) => call.fmt(f),
        }
    }
}

/// The template being executed: its name, where its variables start, how deep it was invoked.
#[derive(Clone)]
struct Invocation {
    name: Str,
    base: usize,
    depth: usize,
}

/// What remains to be done, innermost last.
enum Frame<'t> {
    /// The rest of a body.
    Body { nodes: std::slice::Iter<'t, Node>, dot: Bound },
    /// The end of a branch: its variables go.
    Leave { mark: usize },
    /// The next round of a `range`.
    Range {
        branch: &'t Branch,
        items: Items,
        /// Variables before the pipeline, and before the body.
        outer: usize,
        inner: usize,
    },
    /// The end of an invoked template.
    Return(Invocation),
}

/// The rounds of a `range`: index and element.
enum Items {
    List(List, usize),
    /// Entries, and whether the values are of mixed types.
    Map(vec::IntoIter<(Str, Value)>, bool),
    Count {
        next: i64,
        end: i64,
        kind: IntKind,
    },
}

impl Iterator for Items {
    type Item = (Slot, Bound);

    fn next(&mut self) -> Option<(Slot, Bound)> {
        match self {
            Items::List(list, at) => {
                let element =
                    Bound { value: Some(list.get(*at)?.clone()), boxed: list.go_type().element() == Some(Type::Any) };
                let index = Value::Int(*at as i64);
                *at += 1;
                Some((Some(index), element))
            }
            Items::Map(entries, boxed) => {
                let (key, value) = entries.next()?;
                let element = Bound { value: Some(value), boxed: *boxed };
                Some((Some(Value::Str(key)), element))
            }
            Items::Count { next, end, kind } => {
                if next >= end {
                    return None;
                }
                let value = integer(*kind, *next);
                *next += 1;
                Some((None, Some(value).into()))
            }
        }
    }
}

/// An integer value of a kind.
pub(super) fn integer(kind: IntKind, value: i64) -> Value {
    match kind {
        IntKind::Int => Value::Int(value),
        kind => Value::Integer(kind, value),
    }
}

/// One execution.
pub(super) struct Run<'t, 'f> {
    template: &'t Template,
    pub functions: &'f mut dyn Functions,
    pub budget: Budget,
    steps_left: u64,
    out: Vec<u8>,
    frames: Vec<Frame<'t>>,
    variables: Vec<(&'t str, Bound)>,
    invocation: Invocation,
    at: At<'t>,
}

pub(super) type Exec<T> = Result<T, ExecError>;

impl<'t> Run<'t, '_> {
    // Messages and budget.

    pub fn at(&mut self, at: At<'t>) {
        self.at = at;
    }

    fn message(&self, what: &str) -> String {
        let name = &self.invocation.name;
        let Some(pos) = self.at.pos() else {
            return format!("template: {}: {what}", lossy(name));
        };
        let before = &self.template.text[..pos];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        let column = pos - before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        format!("template: {}:{line}:{column}: executing {} at <{}>: {what}", self.template.name, quote(name), self.at)
    }

    pub fn fail<T>(&self, what: impl AsRef<str>) -> Exec<T> {
        Err(ExecError::Failed(self.message(what.as_ref())))
    }

    pub fn exhausted<T>(&self, what: impl AsRef<str>) -> Exec<T> {
        Err(ExecError::Exhausted(self.message(what.as_ref())))
    }

    /// Uses up steps.
    pub fn spend(&mut self, steps: u64) -> Exec<()> {
        match self.steps_left.checked_sub(steps) {
            Some(left) => {
                self.steps_left = left;
                Ok(())
            }
            None => self.exhausted(format!("the template takes more than {} steps; does it end?", self.budget.steps)),
        }
    }

    /// Uses up steps for intermediate text and refuses text no output could hold.
    pub fn spend_bytes(&mut self, bytes: usize) -> Exec<()> {
        if bytes > self.budget.output_bytes {
            return self.too_long();
        }
        self.spend((bytes / BYTES_PER_STEP) as u64)
    }

    pub fn too_long<T>(&self) -> Exec<T> {
        self.exhausted(format!("the text is longer than {} bytes", self.budget.output_bytes))
    }

    /// Refuses values nested so deeply that printing or dropping them would need too much stack.
    pub fn check_depth(&self, value: Option<&Value>) -> Exec<()> {
        let limit = super::printer::MAX_VALUE_DEPTH;
        match value {
            Some(value) if value.depth() > limit => {
                self.exhausted(format!("the value is nested more than {limit} levels deep"))
            }
            _ => Ok(()),
        }
    }

    // Variables.

    pub fn variable(&self, name: &str) -> Exec<Bound> {
        let own = &self.variables[self.invocation.base..];
        match own.iter().rev().find(|(known, _)| *known == name) {
            Some((_, value)) => Ok(value.clone()),
            None => self.fail(format!("undefined variable: {name}")),
        }
    }

    pub fn set_variable(&mut self, name: &str, value: Bound) -> Exec<()> {
        let own = &mut self.variables[self.invocation.base..];
        match own.iter_mut().rev().find(|(known, _)| *known == name) {
            Some((_, place)) => {
                *place = value;
                Ok(())
            }
            None => self.fail(format!("undefined variable: {name}")),
        }
    }

    pub fn declare(&mut self, name: &'t str, value: Slot) {
        self.variables.push((name, value.into()));
    }

    // Walking.

    fn enter(&mut self, body: &'t Body, dot: Bound) {
        self.frames.push(Frame::Body { nodes: body.iter(), dot });
    }

    fn run(&mut self) -> Exec<()> {
        while let Some(frame) = self.frames.pop() {
            match frame {
                Frame::Body { mut nodes, dot } => {
                    if let Some(node) = nodes.next() {
                        self.frames.push(Frame::Body { nodes, dot: dot.clone() });
                        self.node(node, dot)?;
                    }
                }
                Frame::Leave { mark } => self.variables.truncate(mark),
                Frame::Range { branch, items, outer, inner } => self.round(branch, items, outer, inner)?,
                Frame::Return(invocation) => {
                    self.variables.truncate(self.invocation.base);
                    self.invocation = invocation;
                }
            }
        }
        Ok(())
    }

    fn node(&mut self, node: &'t Node, dot: Bound) -> Exec<()> {
        self.spend(1)?;
        match node {
            Node::Text(text) => self.write(text),
            Node::Action(pipe) => {
                let value = self.pipeline(&dot, pipe)?;
                match pipe.variables.is_empty() {
                    true => self.print(pipe, value),
                    false => Ok(()),
                }
            }
            Node::Branch(branch) if branch.kind == BranchKind::Range => self.range(branch, dot),
            Node::Branch(branch) => self.choose(branch, dot),
            Node::Template(call) => self.invoke(call, dot),
            Node::Break => {
                if let Some(outer) = self.unwind() {
                    self.frames.pop();
                    self.variables.truncate(outer);
                }
                Ok(())
            }
            Node::Continue => {
                self.unwind();
                Ok(())
            }
        }
    }

    /// Drops frames down to the innermost `range`, which stays; the number of variables before it.
    fn unwind(&mut self) -> Option<usize> {
        loop {
            match self.frames.last() {
                Some(Frame::Range { outer, .. }) => return Some(*outer),
                Some(_) => self.frames.pop(),
                None => return None,
            };
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Exec<()> {
        if bytes.len() > self.budget.output_bytes - self.out.len() {
            return self.exhausted(format!("the output is longer than {} bytes", self.budget.output_bytes));
        }
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    fn print(&mut self, pipe: &'t Pipe, value: Slot) -> Exec<()> {
        self.at(At::Pipe(pipe));
        match value {
            None => self.write(b"<no value>"),
            Some(Value::Str(text)) => self.write(&text),
            Some(value) => match sprint(&[value], self.budget.output_bytes) {
                Ok(text) => self.write(&text),
                Err(_) => self.too_long(),
            },
        }
    }

    fn choose(&mut self, branch: &'t Branch, dot: Bound) -> Exec<()> {
        let mark = self.variables.len();
        self.frames.push(Frame::Leave { mark });
        for (pipe, body) in &branch.arms {
            let value = self.pipeline(&dot, pipe)?;
            if value.as_ref().is_some_and(Value::truth) {
                let dot = if branch.kind == BranchKind::With { value.into() } else { dot };
                self.enter(body, dot);
                return Ok(());
            }
        }
        if let Some(body) = &branch.otherwise {
            self.enter(body, dot);
        }
        Ok(())
    }

    fn range(&mut self, branch: &'t Branch, dot: Bound) -> Exec<()> {
        let outer = self.variables.len();
        let pipe = &branch.arms[0].0;
        let value = self.pipeline(&dot, pipe)?;
        let items = match value.as_ref().map(Value::basic) {
            None => None,
            Some(Value::List(list)) => (!list.is_empty()).then_some(Items::List(list, 0)),
            Some(Value::Map(map)) => {
                let entries: Vec<_> = map.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
                self.spend(entries.len() as u64)?;
                let boxed = *map.element() == Type::Any;
                (!entries.is_empty()).then(|| Items::Map(entries.into_iter(), boxed))
            }
            Some(Value::Int(end)) => self.count(pipe, end, IntKind::Int)?,
            Some(Value::Integer(kind, end)) => self.count(pipe, end, kind)?,
            Some(value) => {
                let shown = sprint(&[value], self.budget.output_bytes).or_else(|_| self.too_long())?;
                return self.fail(format!("range can't iterate over {}", lossy(&shown)));
            }
        };
        match (items, &branch.otherwise) {
            (Some(items), _) => {
                let inner = self.variables.len();
                self.frames.push(Frame::Range { branch, items, outer, inner });
            }
            (None, otherwise) => {
                self.frames.push(Frame::Leave { mark: outer });
                if let Some(body) = otherwise {
                    self.enter(body, dot);
                }
            }
        }
        Ok(())
    }

    fn count(&self, pipe: &Pipe, end: i64, kind: IntKind) -> Exec<Option<Items>> {
        if pipe.variables.len() > 1 {
            return self.fail(format!("can't use {end} to iterate over more than one variable"));
        }
        // Unsigned ends beyond i64 would run out of steps long before.
        let end = if kind.signed() || end >= 0 { end } else { i64::MAX };
        Ok((end > 0).then_some(Items::Count { next: 0, end, kind }))
    }

    /// One round of a loop, or its end.
    fn round(&mut self, branch: &'t Branch, mut items: Items, outer: usize, inner: usize) -> Exec<()> {
        self.variables.truncate(inner);
        let Some((index, element)) = items.next() else {
            self.variables.truncate(outer);
            return Ok(());
        };
        self.spend(1)?;
        let (pipe, body) = &branch.arms[0];
        match pipe.variables.as_slice() {
            [] => {}
            [only] => self.set_variable(only, element.clone())?,
            [first, second, ..] => {
                self.set_variable(first, index.into())?;
                self.set_variable(second, element.clone())?;
            }
        }
        self.frames.push(Frame::Range { branch, items, outer, inner });
        self.enter(body, element);
        Ok(())
    }

    fn invoke(&mut self, call: &'t TemplateCall, dot: Bound) -> Exec<()> {
        self.at(At::Template(call));
        let Some(body) = self.template.definitions.get(&call.name) else {
            return self.fail(format!("template {} not defined", quote(&call.name)));
        };
        if self.invocation.depth >= self.budget.template_depth {
            let limit = self.budget.template_depth;
            return self.exhausted(format!("exceeded maximum template depth ({limit})"));
        }
        let dot = Bound::from(match &call.pipe {
            Some(pipe) => self.pipeline(&dot, pipe)?,
            None => None,
        });
        let inner =
            Invocation { name: call.name.clone(), base: self.variables.len(), depth: self.invocation.depth + 1 };
        let outer = std::mem::replace(&mut self.invocation, inner);
        self.frames.push(Frame::Return(outer));
        self.variables.push(("$", dot.clone()));
        self.enter(body, dot);
        Ok(())
    }
}
