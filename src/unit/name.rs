//! Unit names: what is valid, and the parts of `prefix@instance.suffix`.

use crate::base::limits::UNIT_NAME_BYTES_MAX;

/// Suffixes that a unit's name may have.
pub const TYPES: [&str; 14] = [
    "automount",
    "busname",
    "container",
    "device",
    "mount",
    "path",
    "scope",
    "service",
    "slice",
    "snapshot",
    "socket",
    "swap",
    "target",
    "timer",
];

/// Suffixes that a template or an instance may have.
pub const TEMPLATE_TYPES: [&str; 6] = ["container", "path", "service", "socket", "target", "timer"];

/// Suffixes that `fleetctl` recognises; to an argument with any other it appends `.service`.
pub const COMMAND_LINE_TYPES: [&str; 8] =
    ["container", "service", "socket", "timer", "path", "device", "mount", "automount"];

/// Why a name is no unit name; the texts are those of fleet's API.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("unit name cannot be empty")]
    Empty,
    #[error("unit name exceeds maximum length ({UNIT_NAME_BYTES_MAX})")]
    TooLong,
    #[error("unit name must contain \".\"")]
    NoDot,
    #[error("unit name cannot end in \".\"")]
    EndsInDot,
    #[error("invalid unit type: {0:?}")]
    Type(String),
    #[error("invalid unit type for template: {0:?}")]
    TemplateType(String),
    #[error("invalid character {0:?} in unit name")]
    Character(char),
    #[error("unit name cannot start in \"@\"")]
    StartsWithAt,
}

/// Checks a unit's name by the rules of fleet's API.
///
/// # Errors
/// The first rule that it breaks.
pub fn validate(name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name.len() > UNIT_NAME_BYTES_MAX {
        return Err(NameError::TooLong);
    }
    let (stem, suffix) = name.rsplit_once('.').ok_or(NameError::NoDot)?;
    if suffix.is_empty() {
        return Err(NameError::EndsInDot);
    }
    if !TYPES.contains(&suffix) {
        return Err(NameError::Type(suffix.to_owned()));
    }
    if stem.contains('@') && !TEMPLATE_TYPES.contains(&suffix) {
        return Err(NameError::TemplateType(suffix.to_owned()));
    }
    let valid = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
    if let Some(bad) = stem.chars().find(|c| !valid(*c)) {
        return Err(NameError::Character(bad));
    }
    if name.starts_with('@') {
        return Err(NameError::StartsWithAt);
    }
    Ok(())
}

/// A name in its parts. Made from any text: validity is a question of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnitName<'a> {
    /// The whole name (`%n`).
    pub full: &'a str,
    /// Up to the last dot (`%N`).
    pub stem: &'a str,
    /// After the last dot; empty where there is none.
    pub suffix: &'a str,
    /// Up to the first `@`, or the whole stem (`%p`).
    pub prefix: &'a str,
    /// After the first `@`: `None` where there is none, empty for a template.
    pub instance: Option<&'a str>,
}

impl<'a> UnitName<'a> {
    /// Takes a name apart.
    pub fn new(full: &'a str) -> Self {
        let (stem, suffix) = full.rsplit_once('.').unwrap_or((full, ""));
        let (prefix, instance) = match stem.split_once('@') {
            Some((prefix, instance)) => (prefix, Some(instance)),
            None => (stem, None),
        };
        Self { full, stem, suffix, prefix, instance }
    }

    /// Whether it is a template, `prefix@.suffix`: it can be submitted and never run.
    pub fn is_template(&self) -> bool {
        self.instance == Some("")
    }

    /// The template that an instance is made from; `None` for anything but an instance.
    pub fn template(&self) -> Option<String> {
        let is_instance = self.instance.is_some_and(|i| !i.is_empty());
        is_instance.then(|| format!("{}@.{}", self.prefix, self.suffix))
    }
}

/// The unit that a `fleetctl` argument means: its base name, with `.service` where there is no suffix that fleetctl knows.
pub fn from_argument(argument: &str) -> String {
    let trimmed = argument.trim_end_matches('/');
    let base = trimmed.rsplit('/').next().unwrap_or(trimmed);
    let known = base.rsplit_once('.').is_some_and(|(_, s)| COMMAND_LINE_TYPES.contains(&s));
    if known { base.to_owned() } else { format!("{base}.service") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b_unit_names_of_the_api() {
        let long = format!("{}.service", "a".repeat(249));
        let cases = [
            ("", "unit name cannot be empty"),
            (long.as_str(), "unit name exceeds maximum length (256)"),
            ("foo", "unit name must contain \".\""),
            ("foo.", "unit name cannot end in \".\""),
            ("foo.foo", "invalid unit type: \"foo\""),
            ("foo@1.mount", "invalid unit type for template: \"mount\""),
            ("a b.service", "invalid character ' ' in unit name"),
            ("a/b.service", "invalid character '/' in unit name"),
            ("@foo.service", "unit name cannot start in \"@\""),
        ];
        for (name, expected) in cases {
            assert_eq!(validate(name).map_err(|e| e.to_string()), Err(expected.into()), "{name}");
        }
        let valid = ["foo.service", "foo@.service", "a:b_c-d.e\\x2d.target", "dbus@1.timer", "name.1.service"];
        for name in valid {
            assert_eq!(validate(name), Ok(()), "{name}");
        }
        assert_eq!(validate(&long[1..]), Ok(()));
    }

    #[test]
    fn parts_of_names() {
        let cases = [
            ("web.service", "web", None, None),
            ("web@.service", "web", Some(""), None),
            ("web@1.service", "web", Some("1"), Some("web@.service")),
            ("web@a@b.c.service", "web", Some("a@b.c"), Some("web@.service")),
        ];
        for (name, prefix, instance, template) in cases {
            let parts = UnitName::new(name);
            assert_eq!(parts.prefix, prefix, "{name}");
            assert_eq!(parts.instance, instance, "{name}");
            assert_eq!(parts.template().as_deref(), template, "{name}");
            assert_eq!(parts.is_template(), instance == Some(""), "{name}");
        }
    }

    #[test]
    fn arguments_become_names() {
        let cases = [
            ("hello", "hello.service"),
            ("u/web@1.service", "web@1.service"),
            ("x.target", "x.target.service"),
            ("x.foo", "x.foo.service"),
            ("./db.timer", "db.timer"),
            ("name.1.service", "name.1.service"),
        ];
        for (argument, expected) in cases {
            assert_eq!(from_argument(argument), expected);
        }
    }
}
