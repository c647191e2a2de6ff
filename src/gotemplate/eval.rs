//! Evaluates pipelines, commands and field chains.

use super::call::{Callee, Params};
use super::exec::{At, Bound, Exec, Run, Slot};
use super::node::{Command, Number, Operand, Pipe, Term};
use super::types::Type;
use super::value::Value;

/// The arguments of a call: words of the command after the first, and the value piped in.
pub(super) struct Args<'t> {
    pub words: &'t [Operand],
    pub last: Option<Slot>,
}

impl<'t> Run<'t, '_> {
    /// The value of a pipeline; declares or assigns its variables.
    pub fn pipeline(&mut self, dot: &Bound, pipe: &'t Pipe) -> Exec<Slot> {
        self.at(At::Pipe(pipe));
        let mut piped: Option<Slot> = None;
        for command in &pipe.commands {
            self.spend(1)?;
            let value = self.command(dot, command, piped)?;
            // A nil interface becomes absent data at every stage.
            piped = Some(value.filter(|value| !matches!(value, Value::Nil)));
        }
        let value = piped.flatten();
        for name in &pipe.variables {
            match pipe.assign {
                true => self.set_variable(name, value.clone().into())?,
                false => self.declare(name, value.clone()),
            }
        }
        Ok(value)
    }

    fn command(&mut self, dot: &Bound, command: &'t Command, piped: Option<Slot>) -> Exec<Slot> {
        let (first, words) = match command.args.split_first() {
            Some(split) => split,
            None => return Ok(None),
        };
        let args = Args { words, last: piped };
        match &first.term {
            Term::Field(_) | Term::Chain(..) | Term::Variable(..) => return self.reference(dot, first, args),
            Term::Identifier(name) => {
                self.at(At::Operand(first));
                return self.function(dot, name, At::Command(command), args);
            }
            Term::Pipe(pipe) => {
                self.not_a_function(first, &args)?;
                return self.pipeline(dot, pipe);
            }
            _ => {}
        }
        self.at(At::Operand(first));
        self.not_a_function(first, &args)?;
        match &first.term {
            Term::Nil => self.fail("nil is not a command"),
            _ => self.literal(dot, first),
        }
    }

    fn not_a_function(&self, first: &Operand, args: &Args) -> Exec<()> {
        match args.words.is_empty() && args.last.is_none() {
            true => Ok(()),
            false => self.fail(format!("can't give argument to non-function {first}")),
        }
    }

    /// A constant or the cursor, where no particular type is wanted.
    pub fn literal(&mut self, dot: &Bound, operand: &'t Operand) -> Exec<Slot> {
        Ok(match &operand.term {
            Term::Bool(value) => Some(Value::Bool(*value)),
            Term::Dot => dot.value.clone(),
            Term::Number(number) => Some(self.number(operand, number)?),
            Term::Text { value, .. } => Some(Value::Str(value.clone())),
            _ => None,
        })
    }

    /// A number with no type wanted: its syntax decides between `float64` and `int`.
    fn number(&mut self, operand: &'t Operand, number: &Number) -> Exec<Value> {
        self.at(At::Operand(operand));
        let text = number.text.as_str();
        let hex = text.len() > 2 && (text.starts_with("0x") || text.starts_with("0X")) && !text.contains(['p', 'P']);
        let looks_float = !hex && !text.starts_with('\'') && text.contains(['.', 'e', 'E', 'p', 'P']);
        match (number.float, number.int) {
            (Some(float), _) if looks_float => Ok(Value::Float(float)),
            (_, Some(int)) => Ok(Value::Int(int)),
            _ => self.fail(format!("{text} overflows int")),
        }
    }

    // References.

    /// A field of the cursor, a variable, or fields of a pipeline's value.
    pub fn reference(&mut self, dot: &Bound, operand: &'t Operand, args: Args<'t>) -> Exec<Slot> {
        self.at(At::Operand(operand));
        match &operand.term {
            Term::Field(names) => self.fields(dot, dot.clone(), operand, names, args),
            Term::Variable(name, names) => {
                let value = self.variable(name)?;
                if names.is_empty() {
                    self.not_a_function(operand, &args)?;
                    return Ok(value.value);
                }
                self.fields(dot, value, operand, names, args)
            }
            Term::Chain(base, names) => {
                self.at(At::Operand(base));
                let none = Args { words: &[], last: None };
                let value = match &base.term {
                    Term::Pipe(pipe) => self.pipeline(dot, pipe)?,
                    Term::Identifier(name) => self.function(dot, name, At::Operand(base), none)?,
                    _ => self.literal(dot, base)?,
                };
                self.fields(dot, value.into(), operand, names, args)
            }
            _ => self.literal(dot, operand),
        }
    }

    /// Follows field names from a value; the arguments are for the last one.
    fn fields(
        &mut self,
        dot: &Bound,
        mut receiver: Bound,
        operand: &'t Operand,
        names: &'t [String],
        args: Args<'t>,
    ) -> Exec<Slot> {
        let Some((last, path)) = names.split_last() else {
            return Ok(receiver.value);
        };
        for name in path {
            let none = Args { words: &[], last: None };
            let boxed = matches!(&receiver.value, Some(Value::Map(map)) if *map.element() == Type::Any);
            let value = self.field(dot, receiver, operand, name, none)?;
            receiver = Bound { value, boxed };
        }
        self.field(dot, receiver, operand, last, args)
    }

    fn field(
        &mut self,
        dot: &Bound,
        receiver: Bound,
        operand: &'t Operand,
        name: &'t str,
        args: Args<'t>,
    ) -> Exec<Slot> {
        let boxed = receiver.boxed;
        let Some(receiver) = receiver.value else {
            return Ok(None);
        };
        let has_args = !args.words.is_empty() || args.last.is_some();
        self.field_boxed = matches!(&receiver, Value::Map(map) if *map.element() == Type::Any);
        match &receiver {
            Value::Nil => return self.fail(format!("nil pointer evaluating interface {{}}.{name}")),
            Value::Object(object) => {
                if let Some(signature) = object.method(name) {
                    let params = Params::Declared(signature);
                    let callee = Callee::Method(object.as_ref());
                    return self.call(dot, callee, params, name, At::Operand(operand), args);
                }
            }
            Value::Struct(object) => {
                if let Some(value) = object.field(name) {
                    return match has_args {
                        true => self.fail(format!("{name} has arguments but cannot be invoked as function")),
                        false => Ok(Some(value.clone())),
                    };
                }
            }
            Value::Map(map) => {
                return match has_args {
                    true => self.fail(format!("{name} is not a method but has arguments")),
                    false => Ok(map.get(name.as_bytes()).cloned()),
                };
            }
            _ => {}
        }
        let ty = if boxed { Type::Any } else { receiver.go_type() };
        self.fail(format!("can't evaluate field {name} in type {ty}"))
    }
}
