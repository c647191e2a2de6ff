//! Evaluates pipelines, commands, field chains and arguments.

use super::builtins::Builtin;
use super::exec::{At, Bound, Exec, Run, Slot};
use super::node::{Command, Number, Operand, Pipe, Term};
use super::types::{Signature, Type};
use super::value::{List, Map, Object, Value};

/// What a parameter accepts.
#[derive(Clone, Copy)]
pub(super) enum Want {
    /// Anything, absent data included (Go's `reflect.Value` parameters).
    Raw,
    /// A value assignable to a type.
    Type(Type),
}

/// The parameters of whatever is called.
enum Params {
    Builtin(&'static [Want], Option<Want>),
    Declared(Signature),
}

impl Params {
    fn fixed(&self) -> usize {
        match self {
            Params::Builtin(fixed, _) => fixed.len(),
            Params::Declared(signature) => signature.params.len(),
        }
    }

    fn variadic(&self) -> Option<Want> {
        match self {
            Params::Builtin(_, rest) => *rest,
            Params::Declared(signature) => signature.variadic.map(Want::Type),
        }
    }

    /// The parameter for the argument at `index`; callers have checked the number of arguments.
    fn at(&self, index: usize) -> Want {
        let fixed = match self {
            Params::Builtin(fixed, _) => fixed.get(index).copied(),
            Params::Declared(signature) => signature.params.get(index).copied().map(Want::Type),
        };
        fixed.or(self.variadic()).unwrap_or(Want::Raw)
    }
}

/// Who is called.
enum Callee<'a> {
    Builtin(Builtin),
    Function,
    Method(&'a dyn Object),
}

/// The arguments of a call: words of the command after the first, and the value piped in.
struct Args<'t> {
    words: &'t [Operand],
    last: Option<Slot>,
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
    fn literal(&mut self, dot: &Bound, operand: &'t Operand) -> Exec<Slot> {
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
    fn reference(&mut self, dot: &Bound, operand: &'t Operand, args: Args<'t>) -> Exec<Slot> {
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

    // Calls.

    fn function(&mut self, dot: &Bound, name: &'t str, node: At<'t>, args: Args<'t>) -> Exec<Slot> {
        if let Some(signature) = self.functions.signature(name) {
            let params = Params::Declared(signature);
            return self.call(dot, Callee::Function, params, name, node, args);
        }
        match Builtin::named(name) {
            Some(builtin) => {
                let (fixed, rest) = builtin.params();
                let params = Params::Builtin(fixed, rest);
                self.call(dot, Callee::Builtin(builtin), params, name, node, args)
            }
            None => self.fail(format!("{} is not a defined function", super::text::quote(name.as_bytes()))),
        }
    }

    fn call(
        &mut self,
        dot: &Bound,
        callee: Callee,
        params: Params,
        name: &'t str,
        node: At<'t>,
        args: Args<'t>,
    ) -> Exec<Slot> {
        let given = args.words.len() + usize::from(args.last.is_some());
        let fixed = params.fixed();
        if params.variadic().is_some() {
            if given < fixed {
                let got = args.words.len();
                return self.fail(format!("wrong number of args for {name}: want at least {fixed} got {got}"));
            }
        } else if given != fixed {
            return self.fail(format!("wrong number of args for {name}: want {fixed} got {given}"));
        }
        if let Callee::Builtin(builtin @ (Builtin::And | Builtin::Or)) = callee {
            return self.short_circuit(dot, builtin, args);
        }
        let mut values = Vec::with_capacity(given);
        for (at, word) in args.words.iter().enumerate() {
            values.push(self.argument(dot, word, params.at(at))?);
        }
        if let Some(value) = args.last {
            values.push(self.validate(value, params.at(given - 1))?);
        }
        self.spend(1)?;
        let result = match callee {
            Callee::Builtin(builtin) => {
                let first = args.words.first().map(ToString::to_string);
                builtin.call(&values, first.as_deref(), self.budget.output_bytes)
            }
            Callee::Function => {
                let values: Vec<Value> = values.into_iter().map(Option::unwrap_or_default).collect();
                self.functions.call(name, &values).map(Some)
            }
            Callee::Method(object) => {
                let values: Vec<Value> = values.into_iter().map(Option::unwrap_or_default).collect();
                object.call(name, &values).map(Some)
            }
        };
        match result {
            Ok(value) => self.accept(value),
            Err(message) => {
                self.at(node);
                self.fail(format!("error calling {name}: {message}"))
            }
        }
    }

    /// A result enters the template: its size and depth are within the budget.
    fn accept(&mut self, value: Slot) -> Exec<Slot> {
        match &value {
            Some(Value::Str(text)) => self.spend_bytes(text.len())?,
            Some(Value::List(list)) => self.spend((list.len() / 8) as u64)?,
            _ => {}
        }
        self.check_depth(value.as_ref())?;
        Ok(value)
    }

    /// `and` and `or` evaluate their arguments only until the result is known.
    fn short_circuit(&mut self, dot: &Bound, builtin: Builtin, args: Args<'t>) -> Exec<Slot> {
        let mut value = None;
        for word in args.words {
            value = self.argument(dot, word, Want::Raw)?;
            let truth = value.as_ref().is_some_and(Value::truth);
            if truth == (builtin == Builtin::Or) {
                return Ok(value);
            }
        }
        Ok(args.last.unwrap_or(value))
    }

    // Arguments.

    fn argument(&mut self, dot: &Bound, operand: &'t Operand, want: Want) -> Exec<Slot> {
        self.at(At::Operand(operand));
        let none = Args { words: &[], last: None };
        let value = match &operand.term {
            Term::Dot => dot.value.clone(),
            Term::Nil => {
                return match want {
                    Want::Raw => Ok(None),
                    Want::Type(ty) if ty.can_be_nil() => Ok(Some(zero(ty))),
                    Want::Type(ty) => self.fail(format!("cannot assign nil to {ty}")),
                };
            }
            Term::Field(_) | Term::Variable(..) | Term::Chain(..) => self.reference(dot, operand, none)?,
            Term::Pipe(pipe) => self.pipeline(dot, pipe)?,
            Term::Identifier(name) => self.function(dot, name, At::Operand(operand), none)?,
            Term::Bool(_) | Term::Number(_) | Term::Text { .. } => {
                return match want {
                    Want::Raw | Want::Type(Type::Any) => self.literal(dot, operand),
                    Want::Type(ty) => self.constant(operand, ty).map(Some),
                };
            }
        };
        self.validate(value, want)
    }

    /// A constant where a particular type is wanted.
    fn constant(&self, operand: &Operand, ty: Type) -> Exec<Value> {
        let expected = match (ty, &operand.term) {
            (Type::Bool, Term::Bool(value)) => return Ok(Value::Bool(*value)),
            (Type::Str, Term::Text { value, .. }) => return Ok(Value::Str(value.clone())),
            (Type::Float64, Term::Number(Number { float: Some(value), .. })) => return Ok(Value::Float(*value)),
            (Type::Int(kind), Term::Number(number)) if kind.signed() && number.int.is_some() => {
                return Ok(super::exec::integer(kind, number.int.unwrap_or_default()));
            }
            (Type::Int(kind), Term::Number(number)) if !kind.signed() && number.uint.is_some() => {
                return Ok(super::exec::integer(kind, number.uint.unwrap_or_default() as i64));
            }
            (Type::Bool, _) => "bool",
            (Type::Str, _) => "string",
            (Type::Float64, _) => "float",
            (Type::Int(kind), _) if kind.signed() => "integer",
            (Type::Int(_), _) => "unsigned integer",
            _ => return self.fail(format!("can't handle {operand} for arg of type {ty}")),
        };
        self.fail(format!("expected {expected}; found {operand}"))
    }

    /// Checks that a value fits a parameter; absent data becomes nil where nil is possible.
    fn validate(&self, value: Slot, want: Want) -> Exec<Slot> {
        let Want::Type(ty) = want else {
            return Ok(value);
        };
        match value {
            None if ty.can_be_nil() => Ok(Some(zero(ty))),
            None => self.fail(format!("invalid value; expected {ty}")),
            Some(value) if value.go_type().assignable_to(ty) => Ok(Some(value)),
            Some(value) => self.fail(format!("wrong type for value; expected {ty}; got {}", value.go_type())),
        }
    }
}

/// The nil of a type.
pub(super) fn zero(ty: Type) -> Value {
    match ty {
        Type::Bool => Value::Bool(false),
        Type::Int(kind) => super::exec::integer(kind, 0),
        Type::Float64 => Value::Float(0.0),
        Type::Str => Value::string(""),
        Type::List(_) | Type::NamedList(..) => Value::List(List::with_type(ty, Vec::new())),
        Type::Map(element) => Value::Map(Map::new(element, Default::default())),
        Type::Any | Type::Struct(_) | Type::Named(_) => Value::Nil,
    }
}
