//! The values templates work on, with the Go types that printing, comparison and error texts depend on.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use super::text;
use super::types::{IntKind, Signature, StructType, Type};

/// A byte string (Go's `string`): any bytes, usually UTF-8, cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Str(Arc<[u8]>);

impl Deref for Str {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl std::borrow::Borrow<[u8]> for Str {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl Str {
    /// The text with invalid UTF-8 replaced; for messages.
    pub fn to_lossy(&self) -> String {
        text::lossy(self).into_owned()
    }
}

impl fmt::Debug for Str {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text::quote(self))
    }
}

impl From<&str> for Str {
    fn from(text: &str) -> Self {
        Str(Arc::from(text.as_bytes()))
    }
}

impl From<String> for Str {
    fn from(text: String) -> Self {
        Str(Arc::from(text.into_bytes()))
    }
}

impl From<&[u8]> for Str {
    fn from(bytes: &[u8]) -> Self {
        Str(Arc::from(bytes))
    }
}

impl From<Vec<u8>> for Str {
    fn from(bytes: Vec<u8>) -> Self {
        Str(Arc::from(bytes))
    }
}

/// One template value. `Nil` is a nil `interface{}`: JSON null, or the absence of data.
#[derive(Clone, Debug, Default)]
pub enum Value {
    #[default]
    Nil,
    Bool(bool),
    /// Go's `int`.
    Int(i64),
    /// Any other integer type; unsigned 64-bit values keep their bits in the `i64`.
    Integer(IntKind, i64),
    Float(f64),
    Str(Str),
    List(List),
    Map(Map),
    Struct(Struct),
    Object(Arc<dyn Object>),
}

impl Value {
    /// A string value.
    pub fn string(text: impl Into<Str>) -> Value {
        Value::Str(text.into())
    }

    /// The Go type of the value; a nil interface has the type `interface {}`.
    pub fn go_type(&self) -> Type {
        match self {
            Value::Nil => Type::Any,
            Value::Bool(_) => Type::Bool,
            Value::Int(_) => Type::Int(IntKind::Int),
            Value::Integer(kind, _) => Type::Int(*kind),
            Value::Float(_) => Type::Float64,
            Value::Str(_) => Type::Str,
            Value::List(list) => list.go_type(),
            Value::Map(map) => map.go_type(),
            Value::Struct(object) => Type::Struct(object.ty),
            Value::Object(object) => Type::Named(object.type_name()),
        }
    }

    /// Go's truth: false for false, 0, "", nil and empty collections; structs are always true.
    pub fn truth(&self) -> bool {
        match self {
            Value::Nil => false,
            Value::Bool(value) => *value,
            Value::Int(value) | Value::Integer(_, value) => *value != 0,
            Value::Float(value) => *value != 0.0,
            Value::Str(value) => !value.is_empty(),
            Value::List(list) => !list.is_empty(),
            Value::Map(map) => !map.is_empty(),
            Value::Struct(_) => true,
            Value::Object(object) => object.underlying().is_none_or(|value| value.truth()),
        }
    }

    /// How deeply collections nest in this value; 0 for scalars.
    pub fn depth(&self) -> u32 {
        match self {
            Value::List(list) => list.0.depth,
            Value::Map(map) => map.0.depth,
            Value::Struct(object) => object.depth,
            _ => 0,
        }
    }

    /// A named integer or the like as its plain value; other values unchanged.
    pub(super) fn basic(&self) -> Value {
        match self {
            Value::Object(object) => object.underlying().unwrap_or_else(|| self.clone()),
            _ => self.clone(),
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::string(text)
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::string(text)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Value::Bool(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Value::Int(value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Value::Float(value)
    }
}

fn nested<'a>(items: impl Iterator<Item = &'a Value>) -> u32 {
    1 + items.map(Value::depth).max().unwrap_or(0)
}

#[derive(Debug)]
struct ListInner {
    ty: Type,
    items: Vec<Value>,
    depth: u32,
}

/// A Go slice with its element type; immutable and cheap to clone.
#[derive(Clone, Debug)]
pub struct List(Arc<ListInner>);

impl List {
    /// A slice whose elements have the static type `element` (`[]string` is `List::new(&Type::Str, …)`).
    pub fn new(element: &'static Type, items: Vec<Value>) -> List {
        List::with_type(Type::List(element), items)
    }

    /// A slice of a named slice type (`Type::NamedList`), or of any type given whole.
    pub fn with_type(ty: Type, items: Vec<Value>) -> List {
        let depth = nested(items.iter());
        List(Arc::new(ListInner { ty, items, depth }))
    }

    /// `[]interface {}`, what JSON arrays become.
    pub fn any(items: Vec<Value>) -> List {
        List::new(&Type::Any, items)
    }

    /// `[]string`.
    pub fn strings<S: Into<Str>>(items: impl IntoIterator<Item = S>) -> List {
        List::new(&Type::Str, items.into_iter().map(|item| Value::Str(item.into())).collect())
    }

    /// The elements.
    pub fn items(&self) -> &[Value] {
        &self.0.items
    }

    /// The type of the slice itself.
    pub fn go_type(&self) -> Type {
        self.0.ty
    }
}

impl Deref for List {
    type Target = [Value];
    fn deref(&self) -> &[Value] {
        &self.0.items
    }
}

#[derive(Debug)]
struct MapInner {
    element: &'static Type,
    entries: BTreeMap<Str, Value>,
    depth: u32,
}

/// A Go map with string keys, in key order (the order templates and printing use); immutable and cheap to clone.
#[derive(Clone, Debug)]
pub struct Map(Arc<MapInner>);

impl Map {
    /// A map whose values have the static type `element`.
    pub fn new(element: &'static Type, entries: BTreeMap<Str, Value>) -> Map {
        let depth = nested(entries.values());
        Map(Arc::new(MapInner { element, entries, depth }))
    }

    /// `map[string]interface {}`, what JSON objects become.
    pub fn any<K: Into<Str>>(entries: impl IntoIterator<Item = (K, Value)>) -> Map {
        Map::new(&Type::Any, entries.into_iter().map(|(key, value)| (key.into(), value)).collect())
    }

    /// The type of the map itself.
    pub fn go_type(&self) -> Type {
        Type::Map(self.0.element)
    }

    /// The type of the values.
    pub fn element(&self) -> &'static Type {
        self.0.element
    }
}

impl Deref for Map {
    type Target = BTreeMap<Str, Value>;
    fn deref(&self) -> &BTreeMap<Str, Value> {
        &self.0.entries
    }
}

/// A Go struct value: the exported fields of a declared type.
#[derive(Clone, Debug)]
pub struct Struct {
    ty: &'static StructType,
    values: Arc<[Value]>,
    depth: u32,
}

impl Struct {
    /// A struct of type `ty`; missing trailing values are nil, surplus ones are dropped.
    pub fn new(ty: &'static StructType, mut values: Vec<Value>) -> Struct {
        values.resize(ty.fields.len(), Value::Nil);
        let depth = nested(values.iter());
        Struct { ty, values: values.into(), depth }
    }

    /// The declared type.
    pub fn struct_type(&self) -> &'static StructType {
        self.ty
    }

    /// The value of a field, by its exported name.
    pub fn field(&self, name: &str) -> Option<&Value> {
        let at = self.ty.fields.iter().position(|field| *field == name)?;
        self.values.get(at)
    }

    /// Field values in declaration order.
    pub fn values(&self) -> &[Value] {
        &self.values
    }
}

/// A value with methods, such as a time: what Go reaches through a method set.
pub trait Object: fmt::Debug + Send + Sync {
    /// The Go type name shown by `%T` and in errors, such as `time.Time`.
    fn type_name(&self) -> &'static str;

    /// What printing shows: the `String` method. `None` when the type has none.
    fn text(&self) -> Option<String>;

    /// The parameters of a method, `None` when there is no such method.
    fn method(&self, name: &str) -> Option<Signature>;

    /// Calls a method that [`Object::method`] described, with arguments already checked against it.
    fn call(&self, name: &str, args: &[Value]) -> Result<Value, String>;

    /// The plain value of a named basic type (`time.Month` is an integer); `None` for structs.
    fn underlying(&self) -> Option<Value> {
        None
    }

    /// What `encoding/json` makes of it: its `MarshalJSON` method. `None` when the type has none.
    fn json(&self) -> Option<Value> {
        None
    }

    /// Whether two objects of the same type are equal (`==`).
    fn equals(&self, other: &dyn Object) -> bool {
        self.text() == other.text()
    }
}
