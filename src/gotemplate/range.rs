//! The `range` action: rounds over lists, maps and integers.

use std::vec;

use super::exec::{Bound, Exec, Frame, Run, Slot, integer};
use super::format::sprint;
use super::node::{Branch, Pipe};
use super::text::lossy;
use super::types::{IntKind, Type};
use super::value::{List, Str, Value};

/// The rounds of a `range`: index and element.
pub(super) enum Items {
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

impl<'t> Run<'t, '_> {
    pub fn range(&mut self, branch: &'t Branch, dot: Bound) -> Exec<()> {
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
    pub fn round(&mut self, branch: &'t Branch, mut items: Items, outer: usize, inner: usize) -> Exec<()> {
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
}
