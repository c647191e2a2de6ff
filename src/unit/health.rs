//! `HealthCmd=` and `HealthHttp=` of `[X-Fleet]`: how to find out whether a unit that is active does its work.

use super::requirements::SECTION;
use super::specifier;
use super::text::{UnitText, joined};

/// The options' names.
pub const OPTIONS: [&str; 2] = ["HealthCmd", "HealthHttp"];

/// One check, made on the unit's machine. A unit may have several; all must pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// A line for `/bin/sh`, which must end with 0.
    Command(String),
    /// A GET that must be answered with a status from 200 to 399.
    Http { authority: String, path: String },
}

/// An address that cannot be asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("HealthHttp={0}: expect http://HOST:PORT/PATH (for https use HealthCmd= with curl)")]
pub struct HealthError(String);

/// The checks of the unit called `unit`, fleet's specifiers replaced. None: being active is all that is asked for.
///
/// # Errors
/// The first address that cannot be asked.
pub fn checks(text: &UnitText, unit: &str) -> Result<Vec<Check>, HealthError> {
    let ours = text.options().iter().filter(|option| option.section == SECTION);
    let given = ours.filter(|option| OPTIONS.contains(&option.name.as_str()) && !option.value.is_empty());
    let check = |name: &str, value: String| if name == OPTIONS[0] { Ok(Check::Command(value)) } else { http(&value) };
    given.map(|option| check(&option.name, specifier::fleet(&joined(&option.value), unit))).collect()
}

fn http(url: &str) -> Result<Check, HealthError> {
    let wrong = || HealthError(url.to_owned());
    let rest = url.strip_prefix("http://").ok_or_else(wrong)?;
    if rest.contains(|c: char| c.is_ascii_control() || c == ' ') {
        return Err(wrong());
    }
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')).map_or(authority, |(host, _)| host);
    if host.is_empty() {
        return Err(wrong());
    }
    let authority = if host == authority { format!("{authority}:80") } else { authority.to_owned() };
    Ok(Check::Http { authority, path: if path.is_empty() { "/".to_owned() } else { path.to_owned() } })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn of(lines: &str) -> Result<Vec<Check>, HealthError> {
        checks(&UnitText::parse(&format!("[X-Fleet]\n{lines}")).unwrap(), "web@8.service")
    }

    #[test]
    fn checks_are_read_with_their_specifiers() {
        let web = |authority: &str, path: &str| Check::Http { authority: authority.into(), path: path.into() };
        assert_eq!(of("Conflicts=x").unwrap(), []);
        assert_eq!(of("HealthCmd=/bin/probe %i\nHealthCmd=").unwrap(), [Check::Command("/bin/probe 8".into())]);
        for (url, authority, path) in [
            ("http://127.0.0.1:80%i0/ready?x=1", "127.0.0.1:8080", "/ready?x=1"),
            ("http://localhost", "localhost:80", "/"),
            ("http://[::1]/", "[::1]:80", "/"),
            ("http://[::1]:81/", "[::1]:81", "/"),
        ] {
            assert_eq!(of(&format!("HealthHttp={url}")).unwrap(), [web(authority, path)], "{url}");
        }
        for wrong in ["https://a/", "a:80", "http://", "http://:80/", "http://a/b c"] {
            assert!(of(&format!("HealthHttp={wrong}")).unwrap_err().to_string().contains(wrong), "{wrong}");
        }
    }
}
