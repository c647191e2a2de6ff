//! Calls of functions and methods: arguments evaluated and checked against parameters.

use super::budget::BYTES_PER_STEP;
use super::builtins::{Builtin, Fault};
use super::eval::Args;
use super::exec::{At, Bound, Exec, Run, Slot, integer};
use super::node::{Number, Operand, Term};
use super::text::quote;
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
pub(super) enum Params {
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
pub(super) enum Callee<'a> {
    Builtin(Builtin),
    Function,
    Method(&'a dyn Object),
}

impl<'t> Run<'t, '_> {
    pub fn function(&mut self, dot: &Bound, name: &'t str, node: At<'t>, args: Args<'t>) -> Exec<Slot> {
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
            None => self.fail(format!("{} is not a defined function", quote(name.as_bytes()))),
        }
    }

    pub fn call(
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
            let value = self.argument(dot, word, params.at(at))?;
            let hidden = matches!(callee, Callee::Builtin(Builtin::Slice)) && at > 0 && self.is_boxed(dot, word)?;
            // Go's slice, and it alone, does not look into an `interface {}` for a number.
            values.push(if hidden { value.map(|_| Value::Nil) } else { value });
        }
        if let Some(value) = args.last {
            values.push(self.validate(value, params.at(given - 1))?);
        }
        self.spend(1)?;
        let result = match callee {
            Callee::Builtin(builtin) => {
                self.spend_text(builtin, &values)?;
                let first = match args.words.first() {
                    Some(word) => word.to_string(),
                    None => values.first().and_then(Option::as_ref).map_or_else(String::new, callee_text),
                };
                builtin.call(&values, &first, self.budget.output_bytes)
            }
            Callee::Function => {
                let values: Vec<Value> = values.into_iter().map(Option::unwrap_or_default).collect();
                self.functions.call(name, &values).map(Some).map_err(Fault::Message)
            }
            Callee::Method(object) => {
                let values: Vec<Value> = values.into_iter().map(Option::unwrap_or_default).collect();
                object.call(name, &values).map(Some).map_err(Fault::Message)
            }
        };
        if result.is_err() {
            self.at(node);
        }
        match result {
            Ok(value) => self.accept(value),
            Err(Fault::Message(message)) => self.fail(format!("error calling {name}: {message}")),
            Err(Fault::TooLong) => self.too_long(),
        }
    }

    /// Reading long texts takes steps too.
    fn spend_text(&mut self, builtin: Builtin, values: &[Slot]) -> Exec<()> {
        let length = |value: &Slot| match value {
            Some(Value::Str(text)) => text.len(),
            _ => 0,
        };
        match builtin.reads_text() {
            true => self.spend((values.iter().map(length).sum::<usize>() / BYTES_PER_STEP) as u64),
            false => Ok(()),
        }
    }

    /// A result enters the template: its size and depth are within the budget.
    fn accept(&mut self, value: Slot) -> Exec<Slot> {
        match &value {
            Some(Value::Str(text)) => self.spend_bytes(text.len())?,
            Some(Value::List(list)) => self.spend(list.len() as u64)?,
            Some(Value::Map(map)) => self.spend(map.len() as u64)?,
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

    /// Whether an argument that has just been evaluated is an `interface {}` to Go.
    fn is_boxed(&mut self, dot: &Bound, operand: &'t Operand) -> Exec<bool> {
        Ok(match &operand.term {
            Term::Dot => dot.boxed,
            Term::Variable(name, names) if names.is_empty() => self.variable(name)?.boxed,
            Term::Field(_) | Term::Chain(..) | Term::Variable(..) => self.field_boxed,
            _ => false,
        })
    }

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
                return Ok(integer(kind, number.int.unwrap_or_default()));
            }
            (Type::Int(kind), Term::Number(number)) if !kind.signed() && number.uint.is_some() => {
                return Ok(integer(kind, number.uint.unwrap_or_default() as i64));
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

/// How `call` names a piped value that is not a function.
fn callee_text(value: &Value) -> String {
    match value {
        Value::Str(text) => text.to_lossy(),
        other => format!("<{} Value>", other.go_type()),
    }
}

/// The nil of a type.
pub(super) fn zero(ty: Type) -> Value {
    match ty {
        Type::Bool => Value::Bool(false),
        Type::Int(kind) => integer(kind, 0),
        Type::Float64 => Value::Float(0.0),
        Type::Str => Value::string(""),
        Type::List(_) | Type::NamedList(..) => Value::List(List::with_type(ty, Vec::new())),
        Type::Map(element) => Value::Map(Map::new(element, Default::default())),
        Type::Any | Type::Struct(_) | Type::Named(_) => Value::Nil,
    }
}
