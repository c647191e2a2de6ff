//! User-data before it is parsed: packed or not, of which kind, and the addresses that are put into it.

use std::borrow::Cow;

use super::content::{GZIP_MAGIC, gunzip};

/// What a user-data is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Empty,
    CloudConfig,
    /// A program, by its `#!` line.
    Script,
    /// Meant for the first boot of another system; left alone.
    Ignition,
    Unrecognized,
}

/// This machine's addresses; empty where they are not known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    pub public_ipv4: String,
    pub private_ipv4: String,
    pub public_ipv6: String,
    pub private_ipv6: String,
}

impl Addresses {
    /// Each address with its name in user-data; `COREOS_` and the name in capitals is its variable.
    pub fn named(&self) -> [(&'static str, &str); 4] {
        [
            ("public_ipv4", &self.public_ipv4),
            ("private_ipv4", &self.private_ipv4),
            ("public_ipv6", &self.public_ipv6),
            ("private_ipv6", &self.private_ipv6),
        ]
    }

    /// The address of a name that [`Addresses::named`] has.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut String> {
        match name {
            "public_ipv4" => Some(&mut self.public_ipv4),
            "private_ipv4" => Some(&mut self.private_ipv4),
            "public_ipv6" => Some(&mut self.public_ipv6),
            "private_ipv6" => Some(&mut self.private_ipv6),
            _ => None,
        }
    }
}

/// User-data as text, out of gzip where it is packed.
///
/// # Errors
/// A packed file that is damaged or too large, and what is no text.
pub fn unpack(bytes: &[u8]) -> Result<String, String> {
    let bytes = match bytes.starts_with(&GZIP_MAGIC) {
        true => Cow::Owned(gunzip(bytes)?),
        false => Cow::Borrowed(bytes),
    };
    let text = String::from_utf8(bytes.into_owned());
    text.map_err(|error| format!("not UTF-8 from byte {} on", error.utf8_error().valid_up_to()))
}

/// What a user-data is, by its first line.
pub fn recognise(text: &str) -> Kind {
    let first = text.split('\n').next().unwrap_or_default();
    if text.trim().is_empty() {
        Kind::Empty
    } else if first.starts_with("#!") {
        Kind::Script
    } else if first.trim_end() == "#cloud-config" {
        Kind::CloudConfig
    } else if is_ignition(text) {
        Kind::Ignition
    } else {
        Kind::Unrecognized
    }
}

fn is_ignition(text: &str) -> bool {
    let Ok(value) = serde_json::from_str::<serde_json::Value>(text) else { return false };
    let said = |value: Option<&serde_json::Value>| value.is_some_and(|value| !value.is_null());
    said(value.get("ignitionVersion")) || said(value.get("ignition").and_then(|ignition| ignition.get("version")))
}

/// Puts the addresses where `$public_ipv4` and the like stand; a `\` before the `$` keeps the name as it is.
pub fn substitute(text: &str, addresses: &Addresses) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (before, after) = (&rest[..at], &rest[at + 1..]);
        let named = addresses.named().into_iter().find(|(name, _)| after.starts_with(name));
        match (named, before.strip_suffix('\\')) {
            (None, _) => {
                out.push_str(&rest[..=at]);
                rest = after;
            }
            (Some((name, _)), Some(before)) => {
                out.push_str(before);
                out.push('$');
                out.push_str(name);
                rest = &after[name.len()..];
            }
            (Some((name, address)), None) => {
                out.push_str(before);
                out.push_str(address);
                rest = &after[name.len()..];
            }
        }
    }
    out.push_str(rest);
    out
}
