//! The live fork's functions over values of any type: defaults, choices, lists and maps.

use crate::gotemplate::{List, Map, Str, Struct, Value};

/// Whether a value is empty: the zero value of its type, nil, or a collection without items.
pub(super) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Struct(object) => is_zero(object),
        other => !other.truth(),
    }
}

fn is_zero(object: &Struct) -> bool {
    object.values().iter().all(|value| match value {
        Value::Struct(inner) => is_zero(inner),
        other => !other.truth(),
    })
}

/// One of the functions over lists and maps.
///
/// # Errors
/// Arguments of types that the function does not take; the engine checks them before.
pub(super) fn call(name: &str, args: &[Value]) -> Result<Value, String> {
    let keys = |map: &Map| map.keys().cloned().collect::<Vec<Str>>();
    Ok(match (name, args) {
        ("default", [fallback, value]) => if is_empty(value) { fallback } else { value }.clone(),
        ("ternary", [yes, no, Value::Bool(condition)]) => if *condition { yes } else { no }.clone(),
        ("coalesce", values) => values.iter().find(|value| !is_empty(value)).cloned().unwrap_or_default(),
        ("empty", [value]) => Value::Bool(is_empty(value)),
        ("list", items) => Value::List(List::any(items.to_vec())),
        ("append", [Value::List(list), value]) => {
            let mut items = list.items().to_vec();
            items.push(value.clone());
            Value::List(List::any(items))
        }
        ("hasKey", [Value::Map(map), Value::Str(key)]) => Value::Bool(map.contains_key(key)),
        ("keys", [Value::Map(map)]) => Value::List(List::strings(keys(map))),
        ("values", [Value::Map(map)]) => Value::List(List::any(map.values().cloned().collect())),
        ("pluck", [Value::Str(key), maps @ ..]) => {
            let found = maps.iter().filter_map(|map| match map {
                Value::Map(map) => map.get(key).cloned(),
                _ => None,
            });
            Value::List(List::any(found.collect()))
        }
        _ => return Err(format!("{name} is called with arguments of types that it does not take")),
    })
}
