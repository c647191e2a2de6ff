//! The parameters of `/v2/keys`, checked in etcd's order, and what they ask for.

use hyper::Method;

use super::form::Form;
use crate::kv::v2::{Condition, Write, WriteRequest};

/// What a request asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Asked {
    Get {
        recursive: bool,
        sorted: bool,
        quorum: bool,
    },
    Watch {
        recursive: bool,
        stream: bool,
        /// 0: from now on.
        since: u64,
    },
    Write {
        request: WriteRequest,
        /// The answer goes without nodes if the write succeeds.
        no_value_on_success: bool,
    },
}

/// A parameter that makes no sense: etcd's error number and cause.
#[derive(Debug, PartialEq, Eq)]
pub struct Bad {
    pub code: u16,
    pub cause: String,
}

fn bad(code: u16, cause: &str) -> Bad {
    Bad { code, cause: cause.to_owned() }
}

/// All parameters as they were given.
struct Fields {
    prev_index: u64,
    since: u64,
    recursive: bool,
    sorted: bool,
    wait: bool,
    dir: bool,
    quorum: bool,
    stream: bool,
    prev_value: Option<String>,
    no_value_on_success: bool,
    ttl_seconds: Option<u64>,
    prev_exist: Option<bool>,
    refresh: bool,
    value: String,
}

/// Understands a request for `path`, one of the five methods of `/v2/keys`.
///
/// # Errors
/// The first parameter that makes no sense.
pub fn parse(method: &Method, path: &str, form: &Form) -> Result<Asked, Bad> {
    let fields = Fields::read(method, form)?;
    if matches!(*method, Method::GET | Method::HEAD) {
        return Ok(fields.reading());
    }
    let no_value_on_success = fields.no_value_on_success;
    Ok(Asked::Write {
        request: WriteRequest { path: path.to_owned(), ttl_seconds: fields.ttl_seconds, write: fields.write(method) },
        no_value_on_success,
    })
}

impl Fields {
    fn read(method: &Method, form: &Form) -> Result<Self, Bad> {
        let number = |name| match form.get(name) {
            None => Ok(0),
            Some(text) => parse_u64(text).ok_or_else(|| bad(203, &format!("invalid value for \"{name}\""))),
        };
        let flag = |name| match form.get(name) {
            None => Ok(false),
            Some(text) => parse_bool(text).ok_or_else(|| bad(209, &format!("invalid value for \"{name}\""))),
        };
        let unquoted_flag = |name| match form.get(name) {
            None => Ok(None),
            Some(text) => parse_bool(text).map(Some).ok_or_else(|| bad(209, &format!("invalid value for {name}"))),
        };
        // The struct's fields are checked in the order in which they are written here: a request with several
        // mistakes is told the one that etcd tells.
        let mut fields = Self {
            prev_index: number("prevIndex")?,
            since: number("waitIndex")?,
            recursive: flag("recursive")?,
            sorted: flag("sorted")?,
            wait: flag("wait")?,
            dir: flag("dir")?,
            quorum: flag("quorum")?,
            stream: flag("stream")?,
            prev_value: None,
            no_value_on_success: false,
            ttl_seconds: None,
            prev_exist: None,
            refresh: false,
            value: form.get("value").unwrap_or_default().to_owned(),
        };
        if fields.wait && *method != Method::GET {
            return Err(bad(209, "\"wait\" can only be used with GET requests"));
        }
        match form.get("prevValue") {
            Some("") => return Err(bad(201, "\"prevValue\" cannot be empty")),
            given => fields.prev_value = given.map(str::to_owned),
        }
        fields.no_value_on_success = flag("noValueOnSuccess")?;
        if let Some(text) = form.get("ttl").filter(|text| !text.is_empty()) {
            let ttl = parse_u64(text).ok_or_else(|| bad(202, "invalid value for \"ttl\""))?;
            fields.ttl_seconds = Some(ttl);
        }
        fields.prev_exist = unquoted_flag("prevExist")?;
        fields.refresh = unquoted_flag("refresh")?.unwrap_or(false);
        if fields.refresh {
            if !fields.value.is_empty() {
                return Err(bad(211, "A value was provided on a refresh"));
            }
            if fields.ttl_seconds.is_none() {
                return Err(bad(212, "No TTL value set"));
            }
        }
        Ok(fields)
    }

    fn reading(self) -> Asked {
        // As in etcd: what goes through a quorum does not wait.
        if self.wait && !self.quorum {
            return Asked::Watch { recursive: self.recursive, stream: self.stream, since: self.since };
        }
        Asked::Get { recursive: self.recursive, sorted: self.sorted, quorum: self.quorum }
    }

    fn write(self, method: &Method) -> Write {
        let condition = Condition { prev_value: self.prev_value, prev_index: self.prev_index };
        let conditional = condition != Condition::default();
        let (value, dir, refresh) = (self.value, self.dir, self.refresh);
        if *method == Method::POST {
            return Write::CreateInOrder { value, dir };
        }
        if *method == Method::DELETE {
            return if conditional {
                Write::CompareAndDelete { condition }
            } else {
                Write::Delete { recursive: self.recursive, dir }
            };
        }
        match self.prev_exist {
            Some(false) => Write::Create { value, dir },
            _ if conditional => Write::CompareAndSwap { value, condition, refresh },
            Some(true) => Write::Update { value, dir, refresh },
            None => Write::Set { value, dir, refresh },
        }
    }
}

/// Go's `strconv.ParseBool`.
fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

/// Go's `strconv.ParseUint` in base 10: digits only.
fn parse_u64(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn asked(method: Method, query: &str) -> Result<Asked, Bad> {
        let form = Form::parse(&method, query, None, b"").unwrap();
        parse(&method, "/a", &form)
    }

    fn write(method: Method, query: &str) -> Write {
        match asked(method, query).unwrap() {
            Asked::Write { request, .. } => request.write,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn bad_parameters_are_told_in_etcds_order() {
        let cases = [
            (Method::GET, "recursive=maybe", 209, "invalid value for \"recursive\""),
            (Method::GET, "quorum=", 209, "invalid value for \"quorum\""),
            (Method::GET, "recursive=x&prevIndex=y", 203, "invalid value for \"prevIndex\""),
            (Method::GET, "waitIndex=", 203, "invalid value for \"waitIndex\""),
            (Method::GET, "waitIndex=1.5", 203, "invalid value for \"waitIndex\""),
            (Method::PUT, "prevIndex=+1", 203, "invalid value for \"prevIndex\""),
            (Method::PUT, "wait=true", 209, "\"wait\" can only be used with GET requests"),
            (Method::HEAD, "wait=true", 209, "\"wait\" can only be used with GET requests"),
            (Method::PUT, "prevValue=", 201, "\"prevValue\" cannot be empty"),
            (Method::PUT, "ttl=-1", 202, "invalid value for \"ttl\""),
            (Method::PUT, "ttl=18446744073709551616", 202, "invalid value for \"ttl\""),
            (Method::PUT, "prevExist=", 209, "invalid value for prevExist"),
            (Method::PUT, "refresh=2", 209, "invalid value for refresh"),
            (Method::PUT, "refresh=true&value=x", 211, "A value was provided on a refresh"),
            (Method::PUT, "refresh=true", 212, "No TTL value set"),
            (Method::PUT, "noValueOnSuccess=", 209, "invalid value for \"noValueOnSuccess\""),
        ];
        for (method, query, code, cause) in cases {
            assert_eq!(asked(method, query), Err(bad(code, cause)), "{query}");
        }
    }

    #[test]
    fn writes_follow_the_decision_table() {
        let value = || "v".to_owned();
        let condition =
            |prev_value: Option<&str>, prev_index| Condition { prev_value: prev_value.map(str::to_owned), prev_index };
        let (dir, refresh) = (false, false);
        let cases = [
            (Method::PUT, "value=v", Write::Set { value: value(), dir, refresh }),
            (Method::PUT, "value=v&prevIndex=0", Write::Set { value: value(), dir, refresh }),
            (Method::PUT, "value=v&prevExist=false&prevValue=x", Write::Create { value: value(), dir }),
            (Method::PUT, "value=v&prevExist=true", Write::Update { value: value(), dir, refresh }),
            (
                Method::PUT,
                "value=v&prevExist=T&prevIndex=7",
                Write::CompareAndSwap { value: value(), condition: condition(None, 7), refresh },
            ),
            (
                Method::PUT,
                "value=v&prevValue=x",
                Write::CompareAndSwap { value: value(), condition: condition(Some("x"), 0), refresh },
            ),
            (Method::POST, "value=v&prevValue=x", Write::CreateInOrder { value: value(), dir: false }),
            (Method::DELETE, "dir=true", Write::Delete { recursive: false, dir: true }),
            (Method::DELETE, "prevIndex=3", Write::CompareAndDelete { condition: condition(None, 3) }),
        ];
        for (method, query, expected) in cases {
            assert_eq!(write(method.clone(), query), expected, "{method} {query}");
        }
    }

    #[test]
    fn reads_and_watches() {
        let get = Asked::Get { recursive: true, sorted: false, quorum: true };
        assert_eq!(asked(Method::GET, "recursive=1&quorum=t").unwrap(), get);
        let watch = Asked::Watch { recursive: false, stream: true, since: 9 };
        assert_eq!(asked(Method::GET, "wait=true&waitIndex=9&stream=true").unwrap(), watch);
    }
}
