//! The engine's face: templates, the functions they call, and the errors of executing them.

use super::budget::Budget;
use super::builtins::Builtin;
use super::exec::Run;
use super::parse::{self, Definitions, ParseError};
use super::text::quote;
use super::types::Signature;
use super::value::Value;

/// The functions a template can call besides the built-in ones; a name here hides the built-in of that name.
pub trait Functions {
    /// The parameters of a function, `None` when there is none of that name.
    fn signature(&self, name: &str) -> Option<Signature>;

    /// Calls a function with arguments already checked against its signature. An error ends the execution with the
    /// message `error calling NAME: …`.
    fn call(&mut self, name: &str, args: &[Value]) -> Result<Value, String>;
}

/// No functions besides the built-in ones.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoFunctions;

impl Functions for NoFunctions {
    fn signature(&self, _name: &str) -> Option<Signature> {
        None
    }

    fn call(&mut self, name: &str, _args: &[Value]) -> Result<Value, String> {
        Err(format!("{} is not a defined function", quote(name.as_bytes())))
    }
}

/// An execution that did not finish. The message has Go's form
/// `template: NAME:LINE:COLUMN: executing "NAME" at <NODE>: …`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExecError {
    /// The template does something wrong, or a function failed.
    #[error("{0}")]
    Failed(String),
    /// The budget is used up.
    #[error("{0}")]
    Exhausted(String),
}

/// A parsed template with the templates it defines.
#[derive(Debug)]
pub struct Template {
    pub(super) name: String,
    pub(super) text: Vec<u8>,
    pub(super) definitions: Definitions,
}

impl Template {
    /// Parses a template text. `functions` says whether a function of a name will be there when executing; built-in
    /// functions always are. `name` appears in messages.
    pub fn parse(name: &str, text: impl AsRef<[u8]>, functions: &dyn Fn(&str) -> bool) -> Result<Template, ParseError> {
        let text = text.as_ref();
        let known = |name: &str| functions(name) || Builtin::named(name).is_some();
        Ok(Template { name: name.to_owned(), definitions: parse::parse(name, text, &known)?, text: text.to_vec() })
    }

    /// The name given when parsing.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Executes the template with `data` as `.` and `$` (nil: `Value::Nil`). Output is returned only when all went well.
    pub fn execute(&self, data: &Value, functions: &mut dyn Functions, budget: &Budget) -> Result<Vec<u8>, ExecError> {
        Run::new(self, functions, budget).execute(data)
    }
}
