//! What etcd was told: the command line as Go's `flag` package reads it, `ETCD_*` variables below it.

use std::collections::BTreeMap;

use super::flags::{self, Flag, Kind};

/// A value and who gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    pub value: String,
    /// `--name`, `ETCD_NAME` or `FILE:LINE`.
    pub origin: String,
}

/// What was given, by flag.
#[derive(Debug, Default)]
pub struct Input {
    pub given: BTreeMap<&'static str, Given>,
    /// To be said in the log, once.
    pub warnings: Vec<String>,
    /// Whether it comes from a configuration file alone.
    pub from_file: bool,
}

/// Why the command line was not understood, in the words of Go's `flag` package.
#[derive(Debug, PartialEq, Eq)]
pub enum FlagError {
    /// `-h` or `--help`.
    Help,
    /// The usage is shown after it.
    Syntax(String),
    /// An argument that is no flag.
    Argument(String),
}

impl Input {
    /// The value of a flag; `None` if nobody gave one or an empty one.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.given.get(name).map(|given| given.value.as_str()).filter(|value| !value.is_empty())
    }

    /// Who gave a flag its value.
    pub fn origin(&self, name: &str) -> String {
        self.given.get(name).map_or_else(|| "default".to_owned(), |given| given.origin.clone())
    }

    /// Takes a value if it is of the flag's kind.
    pub fn take(&mut self, flag: &'static Flag, value: &str, origin: String) -> bool {
        let normal = flags::normal(flag.kind, value);
        let taken = normal.is_some();
        if let Some(value) = normal {
            self.given.insert(flag.name, Given { value, origin });
        }
        taken
    }
}

/// Reads a command line: `-name` and `--name` are the same, values stand behind `=` or in the next argument, truths need none.
///
/// # Errors
/// [`FlagError`]: the first one, where Go stops too.
pub fn from_arguments(arguments: &[String]) -> Result<Input, FlagError> {
    let mut input = Input::default();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let dashed = argument.strip_prefix('-').filter(|name| !name.is_empty());
        let Some(dashed) = dashed else { return Err(FlagError::Argument(argument.clone())) };
        let name = dashed.strip_prefix('-').unwrap_or(dashed);
        if dashed == "-" {
            match rest.next() {
                Some(argument) => return Err(FlagError::Argument(argument.clone())),
                None => break,
            }
        }
        if name.is_empty() || name.starts_with(['-', '=']) {
            return Err(FlagError::Syntax(format!("bad flag syntax: {argument}")));
        }
        let (name, attached) = match name.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (name, None),
        };
        let Some(flag) = flags::find(name) else {
            return Err(match name {
                "h" | "help" => FlagError::Help,
                _ => FlagError::Syntax(format!("flag provided but not defined: -{name}")),
            });
        };
        let value = match (attached, flag.kind) {
            (Some(value), _) => value,
            (None, Kind::Truth) => "true",
            (None, _) => match rest.next() {
                Some(value) => value,
                None => return Err(FlagError::Syntax(format!("flag needs an argument: -{name}"))),
            },
        };
        if !input.take(flag, value, format!("--{name}")) {
            let kind = if flag.kind == Kind::Truth { "invalid boolean value" } else { "invalid value" };
            return Err(FlagError::Syntax(format!("{kind} \"{value}\" for flag -{name}: {}", expected(flag.kind))));
        }
    }
    Ok(input)
}

fn expected(kind: Kind) -> String {
    match kind {
        Kind::OneOf(values) => format!("write {}", values.join(" or ")),
        _ => "parse error".to_owned(),
    }
}

/// Lays variables below what the command line says. Every variable that begins with `ETCD_` is taken for a flag.
///
/// # Errors
/// A value that its flag does not take.
pub fn add_variables(input: &mut Input, variables: impl Iterator<Item = (String, String)>) -> Result<(), String> {
    let mut variables: Vec<(String, String)> = variables.filter(|(name, _)| name.starts_with("ETCD_")).collect();
    variables.sort();
    for (variable, value) in variables {
        let name = variable["ETCD_".len()..].replace('_', "-").to_lowercase();
        match flags::find(&name).filter(|_| flags::variable(&name) == variable) {
            _ if variable == "ETCD_UNSUPPORTED_ARCH" => {}
            None => input.warnings.push(format!("unrecognized environment variable {variable}")),
            Some(_) if value.is_empty() => {}
            Some(flag) if input.given.contains_key(flag.name) => {
                let stronger = input.origin(flag.name);
                input.warnings.push(format!("{variable} is not used: {stronger} is given on the command line"));
            }
            Some(flag) => {
                if !input.take(flag, &value, variable.clone()) {
                    return Err(format!("invalid value \"{value}\" for {variable}: {}", expected(flag.kind)));
                }
            }
        }
    }
    Ok(())
}
