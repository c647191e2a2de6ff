//! What may be asked of a machine's metadata beyond fleet's `key=value`: negation and comparison.

use std::collections::BTreeMap;
use std::fmt;

/// One question about one key of a machine's metadata.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Condition {
    pub key: String,
    pub test: Test,
}

/// What the key's value must be.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Test {
    Is(String),
    /// Also met by a machine that has no such key.
    IsNot(String),
    AtLeast(i64),
    AtMost(i64),
    MoreThan(i64),
    LessThan(i64),
}

/// What stands between a key and its value, the longer ones first.
const OPERATORS: [&str; 6] = ["!=", ">=", "<=", ">", "<", "="];

impl Condition {
    /// Reads `key=value`, `key!=value`, `key>=n`, `key<=n`, `key>n` or `key<n`. `None`: it is none of these.
    pub fn parse(text: &str) -> Option<Self> {
        let at = text.find(['!', '<', '>', '='])?;
        let (key, rest) = (text[..at].trim(), &text[at..]);
        let operator = OPERATORS.into_iter().find(|operator| rest.starts_with(operator))?;
        let value = rest[operator.len()..].trim();
        if key.is_empty() || value.is_empty() {
            return None;
        }
        let number = || value.parse::<i64>().ok();
        let test = match operator {
            "=" => Test::Is(value.to_owned()),
            "!=" => Test::IsNot(value.to_owned()),
            ">=" => Test::AtLeast(number()?),
            "<=" => Test::AtMost(number()?),
            ">" => Test::MoreThan(number()?),
            _ => Test::LessThan(number()?),
        };
        Some(Self { key: key.to_owned(), test })
    }

    /// Whether a text asks more than fleet's `key=value`, well formed or not.
    pub fn is_beyond_fleet(text: &str) -> bool {
        let Some(at) = text.find(['!', '<', '>', '=']) else { return false };
        text[at..].starts_with(['<', '>']) || text[at..].starts_with("!=")
    }

    /// Whether a machine with this metadata meets it. A value that is no whole number is neither more nor less than one.
    pub fn is_met(&self, metadata: &BTreeMap<String, String>) -> bool {
        let value = metadata.get(&self.key);
        let compares = |holds: &dyn Fn(i64) -> bool| value.and_then(|v| v.parse().ok()).is_some_and(holds);
        match &self.test {
            Test::Is(wanted) => value == Some(wanted),
            Test::IsNot(unwanted) => value != Some(unwanted),
            Test::AtLeast(n) => compares(&|v| v >= *n),
            Test::AtMost(n) => compares(&|v| v <= *n),
            Test::MoreThan(n) => compares(&|v| v > *n),
            Test::LessThan(n) => compares(&|v| v < *n),
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        match &self.test {
            Test::Is(value) => write!(f, "{key}={value}"),
            Test::IsNot(value) => write!(f, "{key}!={value}"),
            Test::AtLeast(n) => write!(f, "{key}>={n}"),
            Test::AtMost(n) => write!(f, "{key}<={n}"),
            Test::MoreThan(n) => write!(f, "{key}>{n}"),
            Test::LessThan(n) => write!(f, "{key}<{n}"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn negation_and_comparison() {
        let metadata = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        let machine: BTreeMap<String, String> = metadata(&[("cores", "8"), ("disk", "ssd"), ("zone", "a")]);
        for (text, met) in [
            ("disk=ssd", true),
            ("disk!=ssd", false),
            ("disk!=hdd", true),
            ("gpu!=yes", true),
            ("cores>=8", true),
            ("cores>8", false),
            ("cores<=8", true),
            ("cores<8", false),
            ("cores > 7", true),
            ("cores<9", true),
            ("disk>=1", false),
            ("gpu<1", false),
            ("cores>=-1", true),
        ] {
            let condition = Condition::parse(text).unwrap();
            assert_eq!(condition.is_met(&machine), met, "{text}");
            assert_eq!(condition.to_string(), text.replace(' ', ""));
        }
        for bad in ["", "disk", "=ssd", "disk=", "disk!", "disk!=", "cores>=", "cores>=many", "cores>1.5", "!=x", "<3"]
        {
            assert_eq!(Condition::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_fleet_reads_stays_fleets() {
        for (text, beyond) in [
            ("a=b", false),
            ("a", false),
            ("a=b!=c", false),
            ("a!", false),
            ("a!=b", true),
            ("a>=x", true),
            ("a<1", true),
            ("=b", false),
        ] {
            assert_eq!(Condition::is_beyond_fleet(text), beyond, "{text}");
        }
    }
}
