//! Go types as far as templates can see them: names for messages, and which value fits which parameter.

use std::fmt;

/// Go's integer types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IntKind {
    Int,
    Int8,
    Int16,
    Int32,
    Int64,
    Uint,
    Uint8,
    Uint16,
    Uint32,
    Uint64,
}

impl IntKind {
    /// Whether the type is signed.
    pub fn signed(self) -> bool {
        matches!(self, IntKind::Int | IntKind::Int8 | IntKind::Int16 | IntKind::Int32 | IntKind::Int64)
    }

    /// A number cut to the width of the type, as Go's conversions do.
    pub(super) fn wrap(self, number: i64) -> i64 {
        match self {
            IntKind::Int8 => i64::from(number as i8),
            IntKind::Int16 => i64::from(number as i16),
            IntKind::Int32 => i64::from(number as i32),
            IntKind::Uint8 => i64::from(number as u8),
            IntKind::Uint16 => i64::from(number as u16),
            IntKind::Uint32 => i64::from(number as u32),
            IntKind::Int | IntKind::Int64 | IntKind::Uint | IntKind::Uint64 => number,
        }
    }

    fn name(self) -> &'static str {
        match self {
            IntKind::Int => "int",
            IntKind::Int8 => "int8",
            IntKind::Int16 => "int16",
            IntKind::Int32 => "int32",
            IntKind::Int64 => "int64",
            IntKind::Uint => "uint",
            IntKind::Uint8 => "uint8",
            IntKind::Uint16 => "uint16",
            IntKind::Uint32 => "uint32",
            IntKind::Uint64 => "uint64",
        }
    }
}

/// A declared struct type: its Go name (`memkv.KVPair`) and exported fields in order.
#[derive(Debug, PartialEq, Eq)]
pub struct StructType {
    pub name: &'static str,
    pub fields: &'static [&'static str],
}

/// A Go type. All types are known when the program is built, so they are plain copies and static references.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// `interface {}`.
    Any,
    Bool,
    Int(IntKind),
    Float64,
    Str,
    /// `[]T`.
    List(&'static Type),
    /// A declared slice type: its name and element type.
    NamedList(&'static str, &'static Type),
    /// `map[string]T`.
    Map(&'static Type),
    Struct(&'static StructType),
    /// Any other declared type (the type of an [`super::Object`]).
    Named(&'static str),
}

impl Type {
    /// Go's `int`.
    pub const INT: Type = Type::Int(IntKind::Int);
    /// `[]string`.
    pub const STRINGS: Type = Type::List(&Type::Str);
    /// `[]interface {}`.
    pub const ANYS: Type = Type::List(&Type::Any);
    /// `map[string]interface {}`.
    pub const ANY_MAP: Type = Type::Map(&Type::Any);

    /// Whether a value of type `self` can be passed where `target` is wanted.
    pub fn assignable_to(self, target: Type) -> bool {
        match (self, target) {
            (_, Type::Any) => true,
            (Type::List(from), Type::NamedList(_, to)) | (Type::NamedList(_, from), Type::List(to)) => from == to,
            _ => self == target,
        }
    }

    /// The type of a collection's elements.
    pub fn element(self) -> Option<Type> {
        match self {
            Type::List(element) | Type::NamedList(_, element) | Type::Map(element) => Some(*element),
            _ => None,
        }
    }

    /// Whether nil is a value of the type.
    pub fn can_be_nil(self) -> bool {
        matches!(self, Type::Any | Type::List(_) | Type::NamedList(..) | Type::Map(_))
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Any => f.write_str("interface {}"),
            Type::Bool => f.write_str("bool"),
            Type::Int(kind) => f.write_str(kind.name()),
            Type::Float64 => f.write_str("float64"),
            Type::Str => f.write_str("string"),
            Type::List(element) => write!(f, "[]{element}"),
            Type::Map(element) => write!(f, "map[string]{element}"),
            Type::NamedList(name, _) | Type::Named(name) => f.write_str(name),
            Type::Struct(ty) => f.write_str(ty.name),
        }
    }
}

/// The parameters of a function or method: fixed ones, then any number of `variadic` ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature {
    pub params: &'static [Type],
    pub variadic: Option<Type>,
}

impl Signature {
    /// A function with exactly these parameters.
    pub const fn fixed(params: &'static [Type]) -> Signature {
        Signature { params, variadic: None }
    }

    /// A function whose last parameter may be given any number of times.
    pub const fn variadic(params: &'static [Type], rest: Type) -> Signature {
        Signature { params, variadic: Some(rest) }
    }
}
