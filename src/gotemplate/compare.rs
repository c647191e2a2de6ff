//! `eq`, `lt` and their relatives: only like kinds compare, integers of any sign with each other.

use std::cmp::Ordering;

use super::exec::Slot;
use super::format::sprintf;
use super::value::Value;

const BAD_TYPE: &str = "invalid type for comparison";
const INCOMPATIBLE: &str = "incompatible types for comparison";
const MISSING: &str = "missing argument for comparison";

/// A value reduced to what can be compared directly.
enum Basic {
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(super::value::Str),
    Other,
}

fn basic(value: &Slot) -> Basic {
    match value.as_ref().map(Value::basic) {
        Some(Value::Bool(value)) => Basic::Bool(value),
        Some(Value::Int(value)) => Basic::Integer(value.into()),
        Some(Value::Integer(kind, value)) if kind.signed() => Basic::Integer(value.into()),
        Some(Value::Integer(_, value)) => Basic::Integer((value as u64).into()),
        Some(Value::Float(value)) => Basic::Float(value),
        Some(Value::Str(value)) => Basic::Text(value),
        _ => Basic::Other,
    }
}

/// Whether the first value equals any of the others. `limit` bounds the text of a message.
pub(super) fn equal(first: Slot, others: &[Slot], limit: usize) -> Result<bool, String> {
    if others.is_empty() {
        return Err(MISSING.to_owned());
    }
    for other in others {
        let truth = match (basic(&first), basic(other)) {
            (Basic::Bool(left), Basic::Bool(right)) => left == right,
            (Basic::Integer(left), Basic::Integer(right)) => left == right,
            (Basic::Float(left), Basic::Float(right)) => left == right,
            (Basic::Text(left), Basic::Text(right)) => left == right,
            (Basic::Other, Basic::Other) => equal_others(&first, other, limit)?,
            _ if first.is_some() && other.is_some() => return Err(INCOMPATIBLE.to_owned()),
            _ => false,
        };
        if truth {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Compares values that are nil, collections, structs or objects.
fn equal_others(left: &Slot, right: &Slot, limit: usize) -> Result<bool, String> {
    let (Some(left), Some(right)) = (left, right) else {
        return Ok(left.is_none() && right.is_none());
    };
    let show = |format: &str, args: &[Value]| match sprintf(format.as_bytes(), args, limit) {
        Ok(text) => super::text::lossy(&text).into_owned(),
        Err(error) => error.to_string(),
    };
    let ty = |value: &Value| Value::string(value.go_type().to_string());
    if kind(left) != kind(right) {
        let args = [left.clone(), ty(left), ty(right), right.clone()];
        return Err(show("non-comparable types %s: %v, %s: %v", &args));
    }
    if matches!(right, Value::List(_) | Value::Map(_)) {
        return Err(show("non-comparable type %s: %v", &[right.clone(), ty(right)]));
    }
    Ok(same(left, right))
}

fn kind(value: &Value) -> u8 {
    match value {
        Value::List(_) => 0,
        Value::Map(_) => 1,
        _ => 2,
    }
}

/// Go's `==` on interface values; collections inside never compare equal.
fn same(left: &Value, right: &Value) -> bool {
    if left.go_type() != right.go_type() {
        return false;
    }
    match (left, right) {
        (Value::Nil, Value::Nil) => true,
        (Value::Bool(left), Value::Bool(right)) => left == right,
        (Value::Int(left), Value::Int(right)) => left == right,
        (Value::Integer(_, left), Value::Integer(_, right)) => left == right,
        (Value::Float(left), Value::Float(right)) => left == right,
        (Value::Str(left), Value::Str(right)) => left == right,
        (Value::Struct(left), Value::Struct(right)) => {
            left.values().iter().zip(right.values()).all(|(left, right)| same(left, right))
        }
        (Value::Object(left), Value::Object(right)) => left.equals(right.as_ref()),
        _ => false,
    }
}

/// Whether `left < right`.
pub(super) fn less(left: Slot, right: Slot) -> Result<bool, String> {
    let ordering = match (basic(&left), basic(&right)) {
        (Basic::Other, _) | (_, Basic::Other) => return Err(BAD_TYPE.to_owned()),
        (Basic::Bool(_), Basic::Bool(_)) => return Err(BAD_TYPE.to_owned()),
        (Basic::Integer(left), Basic::Integer(right)) => left.cmp(&right),
        (Basic::Text(left), Basic::Text(right)) => left.cmp(&right),
        (Basic::Float(left), Basic::Float(right)) => left.partial_cmp(&right).unwrap_or(Ordering::Greater),
        _ => return Err(INCOMPATIBLE.to_owned()),
    };
    Ok(ordering == Ordering::Less)
}
