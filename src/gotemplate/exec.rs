//! Walks a parsed template with an explicit stack and collects its output.

use std::fmt;

use super::budget::{BYTES_PER_STEP, Budget, MAX_OPEN_BLOCKS};
use super::format::sprint;
use super::node::{Body, Branch, BranchKind, Command, Node, Operand, Pipe, TemplateCall};
use super::range::Items;
use super::template::{ExecError, Functions, Template};
use super::text::{lossy, quote};
use super::types::IntKind;
use super::value::{Str, Value};

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
pub(super) struct Invocation {
    name: Str,
    base: usize,
    depth: usize,
}

/// What remains to be done, innermost last.
pub(super) enum Frame<'t> {
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

/// An integer value of a kind.
pub(super) fn integer(kind: IntKind, value: i64) -> Value {
    match kind {
        IntKind::Int => Value::Int(value),
        kind => Value::Integer(kind, kind.wrap(value)),
    }
}

/// One execution.
pub(super) struct Run<'t, 'f> {
    template: &'t Template,
    pub functions: &'f mut dyn Functions,
    pub budget: Budget,
    steps_left: u64,
    out: Vec<u8>,
    pub frames: Vec<Frame<'t>>,
    pub variables: Vec<(&'t str, Bound)>,
    invocation: Invocation,
    at: At<'t>,
    /// Whether the last field came out of a container of `interface {}`.
    pub field_boxed: bool,
}

pub(super) type Exec<T> = Result<T, ExecError>;

impl<'t, 'f> Run<'t, 'f> {
    pub fn new(template: &'t Template, functions: &'f mut dyn Functions, budget: &Budget) -> Run<'t, 'f> {
        let name = Str::from(template.name.as_str());
        Run {
            template,
            functions,
            budget: *budget,
            steps_left: budget.steps,
            out: Vec::new(),
            frames: Vec::new(),
            variables: Vec::new(),
            invocation: Invocation { name, base: 0, depth: 0 },
            at: At::Nothing,
            field_boxed: false,
        }
    }

    /// Executes the template and returns its output.
    pub fn execute(mut self, data: &Value) -> Exec<Vec<u8>> {
        let dot = Bound::from(Some(data.clone()).filter(|value| !matches!(value, Value::Nil)));
        self.check_depth(dot.value.as_ref())?;
        self.variables.push(("$", dot.clone()));
        if let Some(body) = self.template.definitions.get(&self.invocation.name) {
            self.enter(body, dot);
        }
        self.run()?;
        Ok(self.out)
    }

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

    pub fn enter(&mut self, body: &'t Body, dot: Bound) {
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
        if self.frames.len() > MAX_OPEN_BLOCKS {
            return self.exhausted(format!("more than {MAX_OPEN_BLOCKS} blocks and templates are open at once"));
        }
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
