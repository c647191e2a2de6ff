//! Go's text/template language: parser and executor over a value model with Go's types, printing and error texts.
//!
//! Follows Go 1.23 (text/template, fmt), plus `range` over integers. Left out: complex numbers, channels, functions as
//! values, and options (`missingkey` is always the default). Untrusted templates cannot exhaust the stack: nesting in
//! the text is limited, and a [`Budget`] bounds what an execution uses.

mod budget;
mod builtins;
mod call;
mod compare;
mod escape;
mod eval;
mod exec;
mod float;
mod format;
mod lex;
mod node;
mod number;
mod parse;
mod parse_pipeline;
mod printer;
mod printer_numbers;
mod range;
mod template;
mod text;
mod token;
mod types;
mod value;

#[cfg(test)]
mod oracle_tests;
#[cfg(test)]
mod tests;

pub use budget::{BYTES_PER_STEP, Budget, MAX_OPEN_BLOCKS};
pub use float::format_float;
pub use format::{format_value, sprint, sprintf, sprintln};
pub use parse::{MAX_BLOCK_DEPTH, MAX_PAREN_DEPTH, ParseError};
pub use printer::{MAX_VALUE_DEPTH, TooLong};
pub use template::{ExecError, Functions, NoFunctions, Template};
pub use types::{IntKind, Signature, StructType, Type};
pub use value::{List, Map, Object, Str, Struct, Value};
