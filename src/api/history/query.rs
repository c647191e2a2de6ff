//! The part of a URL after the question mark: keys may be any bytes.

use bytes::Bytes;
use percent_encoding::percent_decode_str;

use super::Failure;
use crate::base::UnixMillis;
use crate::kv::{Moment, prefix_end};

/// Names and values in their order.
pub(super) struct Query(Vec<(String, Vec<u8>)>);

/// Where a page begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    Before(i64),
    /// At these revisions, from this key on.
    Key {
        from: i64,
        to: i64,
        key: Bytes,
    },
}

impl Query {
    /// Takes the text apart. An unknown name is refused: whoever wrote it meant something by it.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        const KNOWN: [&str; 7] = ["key", "prefix", "at", "from", "to", "limit", "page"];
        let pair = |part: &str| {
            let (name, value) = part.split_once('=').unwrap_or((part, "true"));
            match KNOWN.contains(&name) {
                true => Ok((name.to_owned(), percent_decode_str(&value.replace('+', " ")).collect())),
                false => Err(Failure::Bad(format!("unknown parameter {name:?}; there are {}", KNOWN.join(", ")))),
            }
        };
        text.split('&').filter(|part| !part.is_empty()).map(pair).collect::<Result<_, _>>().map(Self)
    }

    fn bytes(&self, name: &str) -> Option<&[u8]> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| &value[..]).filter(|value| !value.is_empty())
    }

    fn text(&self, name: &str) -> Option<String> {
        self.bytes(name).map(|value| String::from_utf8_lossy(value).into_owned())
    }

    pub fn number(&self, name: &str) -> Result<Option<usize>, Failure> {
        let number = |text: String| text.parse().map_err(|_| Failure::Bad(format!("{name}={text}: not a number")));
        self.text(name).map(number).transpose()
    }

    fn truth(&self, name: &str) -> Result<bool, Failure> {
        match self.text(name).as_deref() {
            None | Some("false" | "0") => Ok(false),
            Some("true" | "1") => Ok(true),
            Some(other) => Err(Failure::Bad(format!("{name}={other}: not true or false"))),
        }
    }

    /// The one key.
    pub fn key(&self) -> Result<Bytes, Failure> {
        let key = self.bytes("key").ok_or_else(|| Failure::Bad("key: which one?".to_owned()))?;
        Ok(Bytes::copy_from_slice(key))
    }

    /// The key, or all that begin with it.
    pub fn range(&self) -> Result<(Bytes, Bytes), Failure> {
        match self.truth("prefix")? {
            true => self.range_or_all(),
            false => Ok((self.key()?, Bytes::new())),
        }
    }

    /// The key (or all that begin with it); without one, all keys.
    pub fn range_or_all(&self) -> Result<(Bytes, Bytes), Failure> {
        match self.bytes("key") {
            None => Ok((Bytes::from_static(b"\0"), Bytes::from_static(b"\0"))),
            Some(key) if self.truth("prefix")? => Ok((Bytes::copy_from_slice(key), prefix_end(key))),
            Some(key) => Ok((Bytes::copy_from_slice(key), Bytes::new())),
        }
    }

    /// A revision or a time; not given, it is now.
    pub fn moment(&self, name: &str) -> Result<Moment, Failure> {
        let Some(text) = self.text(name) else { return Ok(Moment::Now) };
        if let Ok(revision) = text.parse() {
            return Ok(Moment::Revision(revision));
        }
        // A plus sign that was not escaped reads as a space.
        match text.replace(' ', "+").parse::<jiff::Timestamp>() {
            Ok(time) => Ok(Moment::Time(UnixMillis(time.as_millisecond()))),
            Err(_) => {
                Err(Failure::Bad(format!("{name}={text}: neither a revision nor a time such as 2026-01-31T14:00:00Z")))
            }
        }
    }

    /// The page that is asked for, if it is not the first.
    pub fn page(&self) -> Result<Option<Token>, Failure> {
        let token = |text: String| Token::parse(&text).ok_or_else(|| Failure::Bad(format!("page={text}: not a page")));
        self.text("page").map(token).transpose()
    }
}

impl Token {
    fn parse(text: &str) -> Option<Self> {
        if let Ok(before) = text.parse() {
            return Some(Self::Before(before));
        }
        let (from, rest) = text.split_once('.')?;
        let (to, key) = rest.split_once('.')?;
        let digit = |at: usize| key.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
        let key: Option<Vec<u8>> = (0..key.len()).step_by(2).map(digit).collect();
        Some(Self::Key { from: from.parse().ok()?, to: to.parse().ok()?, key: key?.into() })
    }
}

impl std::fmt::Display for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Before(revision) => write!(f, "{revision}"),
            Self::Key { from, to, key } => {
                write!(f, "{from}.{to}.")?;
                key.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn moments_and_keys_are_read() {
        let query = Query::parse("key=%2fa%ff+b&at=2026-01-01T01:00:00+01:00&from=7&prefix&&limit=x").unwrap();
        assert_eq!(&query.key().unwrap()[..], b"/a\xff b");
        assert_eq!(query.range().unwrap().1, &b"/a\xff c"[..]);
        assert_eq!(query.moment("at").unwrap(), Moment::Time(UnixMillis(1_767_225_600_000)));
        assert_eq!(query.moment("from").unwrap(), Moment::Revision(7));
        assert_eq!(query.moment("to").unwrap(), Moment::Now);
        assert!(query.number("limit").is_err());
        assert!(Query::parse("at=yesterday").unwrap().moment("at").is_err());
        assert!(Query::parse("rev=7").is_err());
        assert!(Query::parse("prefix=maybe").unwrap().range().is_err());
    }

    #[test]
    fn pages_find_their_way_back() {
        for token in [Token::Before(7), Token::Key { from: 1, to: 9, key: Bytes::from_static(b"/\xff\0") }] {
            assert_eq!(Token::parse(&token.to_string()), Some(token));
        }
        for bad in ["", "x", "1.2", "1.2.abc", "1.2.zz", "1.2.é"] {
            assert_eq!(Token::parse(bad), None, "{bad}");
        }
    }
}
