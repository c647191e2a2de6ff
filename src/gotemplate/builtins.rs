//! The built-in functions of Go templates.

use super::call::{Want, zero};
use super::compare;
use super::escape;
use super::exec::Slot;
use super::format::{sprint, sprintf, sprintln};
use super::printer::TooLong;
use super::types::{IntKind, Type};
use super::value::{List, Value};

/// Why a built-in function gives no value.
#[derive(Debug)]
pub(super) enum Fault {
    /// The message of `error calling NAME: …`.
    Message(String),
    /// A text would pass the budget.
    TooLong,
}

impl From<String> for Fault {
    fn from(message: String) -> Self {
        Fault::Message(message)
    }
}

impl From<TooLong> for Fault {
    fn from(_: TooLong) -> Self {
        Fault::TooLong
    }
}

/// What Go says where a built-in looks at the type of absent data.
const NO_TYPE: &str = "reflect: call of reflect.Value.Type on zero Value";

/// A built-in function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Builtin {
    And,
    Or,
    Not,
    Call,
    Html,
    Js,
    Urlquery,
    Index,
    Slice,
    Len,
    Print,
    Printf,
    Println,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

const ONE: &[Want] = &[Want::Raw];
const TWO: &[Want] = &[Want::Raw, Want::Raw];
const FORMAT: &[Want] = &[Want::Type(Type::Str)];
const ANY: Option<Want> = Some(Want::Type(Type::Any));
const RAW: Option<Want> = Some(Want::Raw);

impl Builtin {
    /// The built-in function of a name.
    pub fn named(name: &str) -> Option<Builtin> {
        Some(match name {
            "and" => Builtin::And,
            "or" => Builtin::Or,
            "not" => Builtin::Not,
            "call" => Builtin::Call,
            "html" => Builtin::Html,
            "js" => Builtin::Js,
            "urlquery" => Builtin::Urlquery,
            "index" => Builtin::Index,
            "slice" => Builtin::Slice,
            "len" => Builtin::Len,
            "print" => Builtin::Print,
            "printf" => Builtin::Printf,
            "println" => Builtin::Println,
            "eq" => Builtin::Eq,
            "ne" => Builtin::Ne,
            "lt" => Builtin::Lt,
            "le" => Builtin::Le,
            "gt" => Builtin::Gt,
            "ge" => Builtin::Ge,
            _ => return None,
        })
    }

    /// Fixed parameters and the variadic one.
    pub fn params(self) -> (&'static [Want], Option<Want>) {
        match self {
            Builtin::Not | Builtin::Len => (ONE, None),
            Builtin::And | Builtin::Or | Builtin::Call | Builtin::Index | Builtin::Slice | Builtin::Eq => (ONE, RAW),
            Builtin::Html | Builtin::Js | Builtin::Urlquery | Builtin::Print | Builtin::Println => (&[], ANY),
            Builtin::Printf => (FORMAT, ANY),
            Builtin::Ne | Builtin::Lt | Builtin::Le | Builtin::Gt | Builtin::Ge => (TWO, None),
        }
    }

    /// Calls the function. `first` is the text of the first argument, `limit` the most bytes a text may have.
    pub fn call(self, args: &[Slot], first: &str, limit: usize) -> Result<Slot, Fault> {
        // A nil interface counts as absent in all of these but printing.
        let absent = |at: usize| args.get(at).and_then(|arg| arg.clone().filter(|value| !matches!(value, Value::Nil)));
        let rest = || -> Vec<Slot> { (1..args.len()).map(absent).collect() };
        let bool = |result: bool| Some(Value::Bool(result));
        let text = |result: Vec<u8>| Some(Value::string(result));
        Ok(match self {
            // The evaluator short-circuits these two and never comes here.
            Builtin::And | Builtin::Or => absent(args.len().saturating_sub(1)),
            Builtin::Not => bool(!absent(0).is_some_and(|value| value.truth())),
            Builtin::Call => call(absent(0), first)?,
            Builtin::Len => length(args.first().cloned().flatten())?,
            Builtin::Index => index(absent(0), &rest())?,
            // What is hidden in an `interface {}` is not absent.
            Builtin::Slice => slice(absent(0), args.get(1..).unwrap_or_default())?,
            Builtin::Eq => bool(compare::equal(absent(0), &rest(), limit)?),
            Builtin::Ne => bool(!compare::equal(absent(0), &[absent(1)], limit)?),
            Builtin::Lt => bool(compare::less(absent(0), absent(1))?),
            Builtin::Le => bool(less_or_equal(absent(0), absent(1), limit)?),
            Builtin::Gt => bool(!less_or_equal(absent(0), absent(1), limit)?),
            Builtin::Ge => bool(!compare::less(absent(0), absent(1))?),
            Builtin::Print => text(sprint(&values(args), limit)?),
            Builtin::Println => text(sprintln(&values(args), limit)?),
            Builtin::Printf => match values(args).split_first() {
                Some((Value::Str(format), rest)) => text(sprintf(format, rest, limit)?),
                _ => return Err(Fault::Message("the format is not a string".to_owned())),
            },
            Builtin::Html => text(escape::html(&shown(args, limit)?)),
            Builtin::Js => text(escape::js(&shown(args, limit)?)),
            Builtin::Urlquery => text(escape::url_query(&shown(args, limit)?)),
        })
    }

    /// Whether the function reads its text arguments through, so that their length is work.
    pub fn reads_text(self) -> bool {
        !matches!(self, Builtin::Not | Builtin::Call | Builtin::Len | Builtin::Index | Builtin::Slice)
    }
}

fn values(args: &[Slot]) -> Vec<Value> {
    args.iter().map(|arg| arg.clone().unwrap_or_default()).collect()
}

/// The arguments of an escaping function as text: printed like output, so absent data is `<no value>`.
fn shown(args: &[Slot], limit: usize) -> Result<Vec<u8>, TooLong> {
    let values: Vec<Value> = values(args)
        .into_iter()
        .map(|value| match value {
            Value::Nil => Value::string("<no value>"),
            value => value,
        })
        .collect();
    sprint(&values, limit)
}

fn less_or_equal(left: Slot, right: Slot, limit: usize) -> Result<bool, String> {
    match compare::less(left.clone(), right.clone())? {
        true => Ok(true),
        false => compare::equal(left, &[right], limit),
    }
}

/// No value of this engine is a function.
fn call(function: Slot, name: &str) -> Result<Slot, String> {
    match function {
        None => Err("call of nil".to_owned()),
        Some(value) => Err(format!("non-function {name} of type {}", value.go_type())),
    }
}

fn length(item: Slot) -> Result<Slot, String> {
    let length = match item {
        None => return Err(NO_TYPE.to_owned()),
        Some(Value::Nil) => return Err("len of nil pointer".to_owned()),
        Some(value) => match value.basic() {
            Value::Str(text) => text.len(),
            Value::List(list) => list.len(),
            Value::Map(map) => map.len(),
            _ => return Err(format!("len of type {}", value.go_type())),
        },
    };
    Ok(Some(Value::Int(length as i64)))
}

/// An index into something of `length` elements; the end itself is allowed here.
fn position(index: &Slot, length: usize) -> Result<usize, String> {
    let basic = index.as_ref().map(Value::basic);
    let number = match (&basic, index) {
        (Some(Value::Int(number) | Value::Integer(_, number)), _) => *number,
        (_, Some(index)) => return Err(format!("cannot index slice/array with type {}", index.go_type())),
        _ => return Err("cannot index slice/array with nil".to_owned()),
    };
    usize::try_from(number).ok().filter(|at| *at <= length).ok_or_else(|| format!("index out of range: {number}"))
}

fn index(item: Slot, indexes: &[Slot]) -> Result<Slot, String> {
    let Some(mut item) = item else {
        return Err("index of untyped nil".to_owned());
    };
    for index in indexes {
        item = match &item {
            Value::Nil => return Err("index of nil pointer".to_owned()),
            Value::List(list) => match list.get(position(index, list.len())?) {
                Some(element) => element.clone(),
                None => return Err("reflect: slice index out of range".to_owned()),
            },
            Value::Str(text) => match text.get(position(index, text.len())?) {
                Some(byte) => Value::Integer(IntKind::Uint8, i64::from(*byte)),
                None => return Err("reflect: string index out of range".to_owned()),
            },
            Value::Map(map) => match index {
                None => return Err("value is nil; should be of type string".to_owned()),
                Some(Value::Str(key)) => map.get(key).cloned().unwrap_or_else(|| zero(*map.element())),
                Some(other) => return Err(format!("value has type {}; should be string", other.go_type())),
            },
            other => return Err(format!("can't index item of type {}", other.go_type())),
        };
    }
    Ok(Some(item))
}

fn slice(item: Slot, indexes: &[Slot]) -> Result<Slot, String> {
    let Some(item) = item else {
        return Err("slice of untyped nil".to_owned());
    };
    if indexes.len() > 3 {
        return Err(format!("too many slice indexes: {}", indexes.len()));
    }
    let length = match &item {
        Value::Str(_) if indexes.len() == 3 => return Err("cannot 3-index slice a string".to_owned()),
        Value::Str(text) => text.len(),
        Value::List(list) => list.len(),
        other => return Err(format!("can't slice item of type {}", other.go_type())),
    };
    let mut bounds = [0, length, length];
    for (bound, index) in bounds.iter_mut().zip(indexes) {
        *bound = position(index, length)?;
    }
    let [start, end, cap] = bounds;
    if start > end {
        return Err(format!("invalid slice index: {start} > {end}"));
    }
    if end > cap {
        return Err(format!("invalid slice index: {end} > {cap}"));
    }
    Ok(Some(match item {
        Value::Str(text) => Value::string(&text[start..end]),
        Value::List(list) => Value::List(List::with_type(list.go_type(), list[start..end].to_vec())),
        other => other,
    }))
}
