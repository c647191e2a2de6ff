//! The part of a URL after the question mark.

use super::failure::Failure;
use crate::api::http::unescape;

/// Names and values in their order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads a query.
    ///
    /// # Errors
    /// A malformed percent escape.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let bad = |escape| Failure::Bad(format!("invalid URL escape {escape:?}"));
        let pair = |part: &str| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            Ok((unescape(name, true).map_err(bad)?, unescape(value, true).map_err(bad)?))
        };
        text.split('&').filter(|part| !part.is_empty()).map(pair).collect::<Result<_, _>>().map(Self)
    }

    /// All values of a name.
    pub fn values<'a, 'n>(&'a self, name: &'n str) -> impl Iterator<Item = &'a str> + use<'a, 'n> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The first value of a name, if it is not empty.
    pub fn value<'a>(&'a self, name: &str) -> Option<&'a str> {
        self.values(name).next().filter(|value| !value.is_empty())
    }

    /// Whether a name is given and not `false` or `0`.
    pub fn truth(&self, name: &str) -> bool {
        self.values(name).next().is_some_and(|value| !matches!(value, "false" | "0"))
    }

    /// A number.
    ///
    /// # Errors
    /// A value that is none.
    pub fn number(&self, name: &str) -> Result<Option<usize>, Failure> {
        let bad = |value: &str| Failure::Bad(format!("{name}={value}: not a number"));
        self.value(name).map(|value| value.parse().map_err(|_| bad(value))).transpose()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn queries_are_read() {
        let query = Query::parse("unit=web%401.service&unit=b&lines=3&follow&x=%41+b&&follow=false").unwrap();
        assert_eq!(query.values("unit").collect::<Vec<_>>(), ["web@1.service", "b"]);
        assert_eq!(query.value("x"), Some("A b"));
        assert_eq!(query.number("lines").unwrap(), Some(3));
        assert!(query.truth("follow") && !query.truth("nope"));
        assert!(Query::parse("a=%zz").is_err());
        assert!(Query::parse("lines=x").unwrap().number("lines").is_err());
    }
}
