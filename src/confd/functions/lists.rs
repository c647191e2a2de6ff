//! `reverse`, `sortByLength` and `sortKVByLength`.

use super::{PAIR_LIST, PAIR_TYPE};
use crate::gotemplate::{List, Type, Value};

/// A list in another order. `reverse` knows `[]string` and `[]memkv.KVPair` only, everything else stays as it is: so does
/// what `gets` returns, unless `sortKVByLength` made it a plain list. Sorts keep the order of equals.
pub(super) fn arrange(name: &str, value: &Value) -> Value {
    let Value::List(list) = value else { return value.clone() };
    let mut items = list.items().to_vec();
    match name {
        "reverse" if list.go_type() == Type::STRINGS || list.go_type() == PAIR_LIST => {
            items.reverse();
            Value::List(List::with_type(list.go_type(), items))
        }
        "sortByLength" => {
            items.sort_by_key(length);
            Value::List(List::with_type(list.go_type(), items))
        }
        "sortKVByLength" => {
            items.sort_by_key(|item| match item {
                Value::Struct(pair) => pair.field("Key").map_or(0, length),
                _ => 0,
            });
            Value::List(List::new(&PAIR_TYPE, items))
        }
        _ => value.clone(),
    }
}

fn length(value: &Value) -> usize {
    match value {
        Value::Str(text) => text.len(),
        _ => 0,
    }
}
