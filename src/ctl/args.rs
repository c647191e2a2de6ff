//! Command lines as the old tools took them: `-x`, `--x`, `--x=v`, `--x v`, flags anywhere, `--` ends them.

/// A flag of a command line. `names[0]` is the one it is asked for by.
pub struct Flag {
    pub names: &'static [&'static str],
    /// Whether a value follows; a flag without one is true, or what `=` says.
    pub value: bool,
    /// The variable that gives it where the command line does not.
    pub variable: Option<&'static str>,
    pub help: &'static str,
}

/// A command line taken apart: flags in their order, and the other words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    flags: Vec<(&'static str, String)>,
    pub words: Vec<String>,
    /// How many of the words stood before a `--`, if there was one.
    pub before_dashes: Option<usize>,
}

/// What is wrong with a command line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArgsError {
    #[error("unknown flag `{0}`")]
    Unknown(String),
    #[error("flag `{0}` needs a value")]
    NoValue(String),
    #[error("flag `{flag}`: `{value}` is not {expected}")]
    Bad { flag: String, value: String, expected: &'static str },
}

/// Takes a command line apart. Variables are laid below the flags, through `variable`.
///
/// # Errors
/// The first unknown flag, or a flag without its value.
pub fn parse(
    arguments: &[String],
    flags: &[&'static [Flag]],
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Parsed, ArgsError> {
    let mut parsed = Parsed::default();
    let known = || flags.iter().flat_map(|group| group.iter());
    for flag in known() {
        if let Some(value) = flag.variable.and_then(variable) {
            parsed.flags.push((flag.names[0], value));
        }
    }
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        if argument == "--" {
            parsed.before_dashes = Some(parsed.words.len());
            parsed.words.extend(rest.by_ref().cloned());
            break;
        }
        let Some(bare) = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-')).filter(|b| !b.is_empty())
        else {
            parsed.words.push(argument.clone());
            continue;
        };
        let (name, attached) = match bare.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (bare, None),
        };
        let flag =
            known().find(|flag| flag.names.contains(&name)).ok_or_else(|| ArgsError::Unknown(argument.clone()))?;
        let value = match (flag.value, attached) {
            (_, Some(value)) => value,
            (false, None) => "true".to_owned(),
            (true, None) => rest.next().cloned().ok_or_else(|| ArgsError::NoValue(argument.clone()))?,
        };
        parsed.flags.push((flag.names[0], value));
    }
    Ok(parsed)
}

impl Parsed {
    /// The last value of a flag.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.flags.iter().rev().find(|(flag, _)| *flag == name).map(|(_, value)| value.as_str())
    }

    /// Every value of a flag, in order.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.flags.iter().filter(move |(flag, _)| *flag == name).map(|(_, value)| value.as_str())
    }

    /// Whether a flag without a value was given and not taken back by `=false`. Go's spellings of truth.
    ///
    /// # Errors
    /// A value that is no truth.
    pub fn truth(&self, name: &str) -> Result<bool, ArgsError> {
        match self.value(name) {
            None => Ok(false),
            Some("1" | "t" | "T" | "TRUE" | "true" | "True") => Ok(true),
            Some("0" | "f" | "F" | "FALSE" | "false" | "False") => Ok(false),
            Some(other) => Err(bad(name, other, "true or false")),
        }
    }

    /// A number.
    ///
    /// # Errors
    /// A value that is none.
    pub fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, ArgsError> {
        self.value(name).map(|value| value.parse().map_err(|_| bad(name, value, "a number"))).transpose()
    }
}

fn bad(flag: &str, value: &str, expected: &'static str) -> ArgsError {
    ArgsError::Bad { flag: format!("--{flag}"), value: value.to_owned(), expected }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const FLAGS: &[Flag] = &[
        Flag { names: &["full", "l"], value: false, variable: None, help: "" },
        Flag { names: &["endpoint"], value: true, variable: Some("FLEETCTL_ENDPOINT"), help: "" },
    ];

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn both_dialects_are_one() {
        for line in [
            "-full list -endpoint x",
            "list --full --endpoint=x",
            "-l --endpoint x list",
            "--full=true list -endpoint=x",
        ] {
            let parsed = parse(&words(line), &[FLAGS], &|_| None).unwrap();
            assert!(parsed.truth("full").unwrap(), "{line}");
            assert_eq!(parsed.value("endpoint"), Some("x"), "{line}");
            assert_eq!(parsed.words, ["list"], "{line}");
        }
    }

    #[test]
    fn flags_beat_variables() {
        let variable = |name: &str| (name == "FLEETCTL_ENDPOINT").then(|| "env".to_owned());
        assert_eq!(parse(&words("x"), &[FLAGS], &variable).unwrap().value("endpoint"), Some("env"));
        assert_eq!(parse(&words("-endpoint=y"), &[FLAGS], &variable).unwrap().value("endpoint"), Some("y"));
    }

    #[test]
    fn what_is_not_known_is_said() {
        assert_eq!(parse(&words("--nope"), &[FLAGS], &|_| None), Err(ArgsError::Unknown("--nope".into())));
        assert_eq!(parse(&words("--endpoint"), &[FLAGS], &|_| None), Err(ArgsError::NoValue("--endpoint".into())));
        let parsed = parse(&words("--full=maybe -- --nope -"), &[FLAGS], &|_| None).unwrap();
        assert!(parsed.truth("full").is_err());
        assert_eq!(parsed.words, ["--nope", "-"]);
    }
}
