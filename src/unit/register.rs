//! `Register=` of `[X-Fleet]`: the key under which others find the first port that a container publishes.

use super::container;
use super::name::UnitName;
use super::requirements::SECTION;
use super::specifier;
use super::text::UnitText;

/// The option's name.
pub const OPTION: &str = "Register";

/// A registration that could not be kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegisterError {
    #[error("Register={0}: write a key that begins with / and does not end with it, for example /services/web/%i")]
    Key(String),
    #[error(
        "Register={0}: there is no port to be found at it; publish one, PublishPort= in [Container] of a .container unit"
    )]
    NoPort(String),
    #[error("Register={key}: all {whose} would write this one key; put {remedy} into it")]
    Shared { key: String, whose: &'static str, remedy: &'static str },
}

/// The key of the unit called `unit` on a machine: fleet's specifiers are replaced, and `%m` by the machine's id.
pub fn key(text: &UnitText, unit: &str, machine: &str) -> Option<String> {
    let value = written(text)?;
    let key = specifier::fleet(&value, unit).replace("%m", machine);
    is_key(&key).then_some(key)
}

/// Refuses what could not be kept.
///
/// # Errors
/// [`RegisterError`].
pub fn check(text: &UnitText, unit: &str, global: bool) -> Result<(), RegisterError> {
    let Some(key) = written(text) else { return Ok(()) };
    if !is_key(&key) {
        return Err(RegisterError::Key(key));
    }
    let name = UnitName::new(unit);
    // Of a template the ports are read as an instance's.
    let read_as = if name.is_template() { format!("{}@1.{}", name.prefix, name.suffix) } else { unit.to_owned() };
    if container::published(text, &read_as).is_empty() {
        return Err(RegisterError::NoPort(key));
    }
    if global && !key.contains("%m") {
        return Err(RegisterError::Shared { key, whose: "machines", remedy: "%m" });
    }
    if name.is_template() && !["%i", "%n", "%N"].iter().any(|own| key.contains(own)) {
        return Err(RegisterError::Shared { key, whose: "instances", remedy: "%i" });
    }
    Ok(())
}

/// As it stands in the text; an empty value takes back one before it.
fn written(text: &UnitText) -> Option<String> {
    text.last(SECTION, OPTION).filter(|value| !value.is_empty())
}

fn is_key(key: &str) -> bool {
    key.starts_with('/') && !key.ends_with('/') && !key.contains(char::is_control)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn text(publish: &str, register: &str) -> UnitText {
        UnitText::parse(&format!("[Container]\nImage=a\n{publish}\n[X-Fleet]\n{register}")).unwrap()
    }

    #[test]
    fn keys_have_their_specifiers_replaced() {
        let cases = [
            ("Register=/services/%p/%i", Some("/services/web/7")),
            ("Register=/nodes/%m/%n", Some("/nodes/abc/web@7.container")),
            ("Register=/a\nRegister=", None),
            ("", None),
        ];
        for (lines, expected) in cases {
            assert_eq!(key(&text("", lines), "web@7.container", "abc").as_deref(), expected, "{lines}");
        }
    }

    #[test]
    fn what_could_not_be_kept_is_refused() {
        let published = "PublishPort=8%i:80";
        let cases = [
            ("a.container", "PublishPort=80:80", "Register=/a", ""),
            ("a@.container", published, "Register=/a/%i", ""),
            ("a@.container", "PublishPort=80", "Register=/a/%i", ""),
            ("a@3.container", published, "Register=/a/3", ""),
            ("a.container", "PublishPort=80:80", "Register=a", "Register=a: write a key that begins with /"),
            ("a.container", "PublishPort=80:80", "Register=/a/", "Register=/a/: write a key that begins with /"),
            ("a.container", "", "Register=/a", "Register=/a: there is no port to be found at it; publish one"),
            ("a.service", "PublishPort=80:80", "Register=/a", "Register=/a: there is no port to be found at it"),
            ("a@.container", published, "Register=/a", "Register=/a: all instances would write this one key; put %i"),
        ];
        for (unit, publish, register, expected) in cases {
            let said = check(&text(publish, register), unit, false).map_or_else(|e| e.to_string(), |()| String::new());
            assert!(said.starts_with(expected) && said.is_empty() == expected.is_empty(), "{unit} {register}: {said}");
        }
        let global = |lines: &str| check(&text("PublishPort=80:80", lines), "a.container", true);
        assert!(global("Register=/a").unwrap_err().to_string().ends_with("put %m into it"));
        assert_eq!(global("Register=/a/%m"), Ok(()));
    }
}
