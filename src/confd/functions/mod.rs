//! The function library of confd 0.16 and of its live fork (abtreece/confd 0.41): names, parameters, and who answers each.

mod base64;
mod collections;
mod include;
mod lists;
mod numbers;
mod regex;
mod strings;
mod to_json;
mod words;

use core::net::IpAddr;
use std::collections::BTreeMap;

use ::regex::bytes::Regex;
use jiff::Zoned;

use self::include::Includes;
use super::resource::{OnMissing, Rendering};
use super::view::{Read, Reads, Shortest, View};
use super::{json, path, time};
use crate::gotemplate::{Functions, List, Map, Signature, Str, Struct, StructType, Type, Value};

/// Facts that templates may ask for and that are not keys.
pub trait Outside {
    /// An environment variable.
    fn variable(&self, name: &str) -> Option<String>;
    /// Whether a file or directory is there; one that cannot be looked at counts as there.
    fn file_exists(&self, path: &str) -> bool;
    /// The addresses of a host name, in any order; none where it has none or nobody answers.
    fn lookup_ip(&self, name: &str) -> Vec<String>;
    /// The records `_service._proto.name`, in any order; none where there are none or nobody answers.
    fn lookup_srv(&self, service: &str, proto: &str, name: &str) -> Vec<SrvRecord>;
    /// This machine's name.
    ///
    /// # Errors
    /// Where the system does not tell it.
    fn hostname(&self) -> Result<String, String>;
    /// The addresses of a network interface in the kernel's order; none where there is no such interface.
    fn interface_addresses(&self, name: &str) -> Vec<IpAddr>;
    /// The text of a file below `templates/`; `path` is clean and stays within.
    ///
    /// # Errors
    /// The file's place and the system's words, as Go has them: `open /…: no such file or directory`.
    fn template_file(&self, path: &str) -> Result<Vec<u8>, String>;
    /// The present moment in the machine's time zone.
    fn now(&self) -> Zoned;
}

/// One answer of [`Outside::lookup_srv`], as Go's `net.SRV`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SrvRecord {
    /// With its final dot.
    pub target: String,
    pub port: u16,
    pub priority: u16,
    pub weight: u16,
}

static PAIR: StructType = StructType { name: "memkv.KVPair", fields: &["Key", "Value"] };
static PAIR_TYPE: Type = Type::Struct(&PAIR);
static SRV: StructType = StructType { name: "net.SRV", fields: &["Target", "Port", "Priority", "Weight"] };
static SRV_TYPE: Type = Type::Struct(&SRV);
/// What `gets` returns. It is not `[]memkv.KVPair`, which is why `reverse` leaves it as it is.
const PAIRS: Type = Type::NamedList("memkv.KVPairs", &PAIR_TYPE);
const PAIR_LIST: Type = Type::List(&PAIR_TYPE);

const NO_DEFAULT: Signature = Signature::fixed(&[Type::Str]);
const WITH_DEFAULTS: Signature = Signature::variadic(&[Type::Str], Type::Str);
const TWO_STRINGS: Signature = Signature::fixed(&[Type::Str, Type::Str]);
const TWO_INTS: Signature = Signature::fixed(&[Type::INT, Type::INT]);

/// How many compiled patterns one render keeps.
const PATTERNS_KEPT_MAX: usize = 100;

/// Functions of earlier versions that need a key ring of PGP keys.
const ENCRYPTED: [&str; 4] = ["cget", "cgets", "cgetv", "cgetvs"];

/// The parameters of a function; `None`: there is none of that name.
pub(super) fn signature(name: &str) -> Option<Signature> {
    Some(match name {
        "getv" | "getenv" => WITH_DEFAULTS,
        "get" | "gets" | "getvs" | "exists" | "ls" | "lsdir" | "base" | "dir" | "json" | "jsonArray" | "toUpper"
        | "toLower" | "lookupIP" | "lookupIPV4" | "lookupIPV6" | "fileExists" | "base64Encode" | "base64Decode"
        | "parseBool" | "atoi" | "lookupIfaceIPV4" | "lookupIfaceIPV6" | "fromJson" | "quote" | "squote"
        | "nospace" | "snakecase" | "camelcase" | "kebabcase" | "sha256sum" => NO_DEFAULT,
        "split" | "contains" | "trimSuffix" | "trimPrefix" | "regexMatch" | "regexFind" => TWO_STRINGS,
        "replace" => Signature::fixed(&[Type::Str, Type::Str, Type::Str, Type::INT]),
        "join" => Signature::fixed(&[Type::STRINGS, Type::Str]),
        "lookupSRV" => Signature::fixed(&[Type::Str, Type::Str, Type::Str]),
        "datetime" | "hostname" => Signature::fixed(&[]),
        "include" => Signature::variadic(&[Type::Str], Type::Any),
        "default" => Signature::fixed(&[Type::Any, Type::Any]),
        "ternary" => Signature::fixed(&[Type::Any, Type::Any, Type::Bool]),
        "empty" | "toJson" | "toPrettyJson" => Signature::fixed(&[Type::Any]),
        "indent" | "nindent" | "repeat" => Signature::fixed(&[Type::INT, Type::Str]),
        "regexReplaceAll" => Signature::fixed(&[Type::Str, Type::Str, Type::Str]),
        "hasKey" => Signature::fixed(&[Type::ANY_MAP, Type::Str]),
        "keys" | "values" => Signature::fixed(&[Type::ANY_MAP]),
        "append" => Signature::fixed(&[Type::ANYS, Type::Any]),
        "pluck" => Signature::variadic(&[Type::Str], Type::ANY_MAP),
        "map" | "dict" | "list" | "coalesce" => Signature::variadic(&[], Type::Any),
        "add" | "sub" | "mul" | "div" | "mod" | "seq" => TWO_INTS,
        "reverse" => Signature::fixed(&[Type::Any]),
        "sortByLength" => Signature::fixed(&[Type::STRINGS]),
        "sortKVByLength" => Signature::fixed(&[PAIR_LIST]),
        name if ENCRYPTED.contains(&name) => NO_DEFAULT,
        _ => return None,
    })
}

/// Whether there is a function of that name.
pub(super) fn is_known(name: &str) -> bool {
    signature(name).is_some()
}

/// What a run of a template found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub reads: Reads,
    /// The first key that was not there, where that ended the run.
    pub missing: Option<String>,
    pub shortest: Option<Shortest>,
}

/// The library over one view, noting what is looked up.
pub(super) struct Library<'a> {
    view: &'a View,
    outside: &'a dyn Outside,
    rendering: Rendering,
    found: Found,
    /// The patterns compiled so far.
    patterns: BTreeMap<Str, Regex>,
    includes: Includes,
}

impl<'a> Library<'a> {
    pub fn new(view: &'a View, outside: &'a dyn Outside, rendering: Rendering) -> Self {
        let (found, patterns, includes) = (Found::default(), BTreeMap::new(), Includes::default());
        Self { view, outside, rendering, found, patterns, includes }
    }

    /// What was looked up.
    pub fn into_found(self) -> Found {
        self.found
    }

    fn value_of(&mut self, key: &str) -> Option<Str> {
        self.found.reads.note(Read::Key(key.to_owned()));
        self.view.get(key).cloned()
    }

    /// What is found instead of a key that is not there.
    fn missing(&mut self, key: &str) -> Result<Str, String> {
        if self.rendering.on_missing == OnMissing::Empty {
            return Ok(Str::from(""));
        }
        self.found.missing.get_or_insert_with(|| key.to_owned());
        Err(format!("key does not exist: {key}"))
    }

    /// Notes a list and how many entries it has.
    fn listed(&mut self, read: Read, entries: usize) {
        if self.found.shortest.as_ref().is_none_or(|shortest| entries < shortest.entries) {
            self.found.shortest = Some(Shortest { read: read.clone(), entries });
        }
        self.found.reads.note(read);
    }

    fn pattern(&mut self, text: &Str) -> Result<&Regex, String> {
        if !self.patterns.contains_key(text) {
            let compiled = regex::compile(text)?;
            // A template that makes patterns by the thousand does not need them again.
            if self.patterns.len() >= PATTERNS_KEPT_MAX {
                self.patterns.clear();
            }
            self.patterns.insert(text.clone(), compiled);
        }
        self.patterns.get(text).ok_or_else(|| "the pattern is gone".to_owned())
    }

    fn search(&mut self, name: &str, args: &[Value]) -> Result<Value, String> {
        Ok(match args {
            [Value::Str(pattern), Value::Str(text)] if name == "regexMatch" => {
                Value::Bool(self.pattern(pattern)?.is_match(text))
            }
            [Value::Str(pattern), Value::Str(text)] => {
                Value::string(self.pattern(pattern)?.find(text).map_or(b"".as_slice(), |found| found.as_bytes()))
            }
            [Value::Str(pattern), Value::Str(text), Value::Str(replacement)] => {
                Value::string(regex::replace_all(self.pattern(pattern)?, text, replacement)?)
            }
            _ => return Err(format!("{name} is called with arguments of types that it does not take")),
        })
    }

    fn matching(&mut self, pattern: &str) -> Result<Vec<(&'a str, &'a Str)>, String> {
        let read = Read::Pattern(pattern.to_owned());
        let found = self.view.matching(pattern).map_err(|error| error.to_string());
        self.listed(read, found.as_ref().map_or(0, Vec::len));
        found
    }

    fn store(&mut self, name: &str, key: &str, defaults: &[Value]) -> Result<Value, String> {
        Ok(match name {
            "getv" => match (self.value_of(key), defaults.first()) {
                (Some(value), _) => Value::Str(value),
                (None, Some(default)) => default.clone(),
                (None, None) => Value::Str(self.missing(key)?),
            },
            "get" => match self.value_of(key) {
                Some(value) => pair(key, &value),
                None => pair(key, &self.missing(key)?),
            },
            "exists" => Value::Bool(self.value_of(key).is_some()),
            "gets" => {
                let pairs = self.matching(key)?.into_iter().map(|(key, value)| pair(key, value)).collect();
                Value::List(List::with_type(PAIRS, pairs))
            }
            "getvs" => {
                let mut values: Vec<Str> = self.matching(key)?.into_iter().map(|(_, value)| value.clone()).collect();
                values.sort_unstable();
                Value::List(List::strings(values))
            }
            _ => {
                let names = if name == "ls" { self.view.list(key) } else { self.view.list_folders(key) };
                self.listed(Read::Folder(key.to_owned()), names.len());
                Value::List(List::strings(names))
            }
        })
    }

    fn outside(&self, name: &str, args: &[String]) -> Value {
        let arg = |at: usize| args.get(at).map_or("", String::as_str);
        match name {
            "getenv" => {
                let value = self.outside.variable(arg(0)).filter(|value| !value.is_empty());
                value.unwrap_or_else(|| arg(1).to_owned()).into()
            }
            "fileExists" => Value::Bool(self.outside.file_exists(arg(0))),
            "lookupIfaceIPV4" | "lookupIfaceIPV6" => {
                let mut found = self.outside.interface_addresses(arg(0)).into_iter();
                let fits = |address: &IpAddr| address.to_canonical().is_ipv4() == (name == "lookupIfaceIPV4");
                found.find(fits).map_or_else(String::new, |address| address.to_canonical().to_string()).into()
            }
            "lookupSRV" => records(self.outside.lookup_srv(arg(0), arg(1), arg(2))),
            _ => {
                let mut found = self.outside.lookup_ip(arg(0));
                found.retain(|ip| match name {
                    "lookupIPV4" => ip.contains('.'),
                    "lookupIPV6" => ip.contains(':'),
                    _ => true,
                });
                found.sort_unstable();
                Value::List(List::strings(found))
            }
        }
    }
}

impl Functions for Library<'_> {
    fn signature(&self, name: &str) -> Option<Signature> {
        signature(name)
    }

    fn call(&mut self, name: &str, args: &[Value]) -> Result<Value, String> {
        match (name, args) {
            ("getv" | "get" | "exists" | "gets" | "getvs" | "ls" | "lsdir", [Value::Str(key), defaults @ ..]) => {
                self.store(name, &key.to_lossy(), defaults)
            }
            (
                "getenv" | "fileExists" | "lookupIP" | "lookupIPV4" | "lookupIPV6" | "lookupSRV" | "lookupIfaceIPV4"
                | "lookupIfaceIPV6",
                args,
            ) => Ok(self.outside(name, &texts(args))),
            ("datetime", _) => Ok(time::datetime(self.outside.now())),
            ("base", [Value::Str(text)]) => Ok(path::base(&text.to_lossy()).into()),
            ("dir", [Value::Str(text)]) => Ok(path::dir(&text.to_lossy()).into()),
            ("json", [Value::Str(text)]) => json::object(text, self.rendering.json_numbers),
            ("jsonArray", [Value::Str(text)]) => json::array(text, self.rendering.json_numbers),
            ("map" | "dict", args) => map(args),
            ("hostname", _) => self.outside.hostname().map(Value::from),
            ("include", [Value::Str(file), data @ ..]) => {
                include::include(self, &file.to_lossy(), data.first().unwrap_or(&Value::Nil))
            }
            (
                "default" | "ternary" | "coalesce" | "empty" | "list" | "append" | "hasKey" | "keys" | "values"
                | "pluck",
                args,
            ) => collections::call(name, args),
            ("toJson", [value]) => to_json::to_json(value, false).map(Value::from),
            ("toPrettyJson", [value]) => to_json::to_json(value, true).map(Value::from),
            ("fromJson", [Value::Str(text)]) => json::parse(text, self.rendering.json_numbers),
            ("regexMatch" | "regexFind" | "regexReplaceAll", args) => self.search(name, args),
            ("base64Encode", [Value::Str(text)]) => Ok(base64::encode(text).into()),
            ("base64Decode", [Value::Str(text)]) => base64::decode(text).map(Value::string),
            ("add" | "sub" | "mul" | "div" | "mod" | "seq", [Value::Int(a), Value::Int(b)]) => {
                numbers::calculate(name, *a, *b)
            }
            ("atoi", [Value::Str(text)]) => numbers::atoi(text),
            ("parseBool", [Value::Str(text)]) => numbers::parse_bool(text),
            ("reverse" | "sortByLength" | "sortKVByLength", [value]) => Ok(lists::arrange(name, value)),
            ("join", [Value::List(list), Value::Str(separator)]) => Ok(strings::join(list, separator)),
            (name, _) if ENCRYPTED.contains(&name) => Err(format!(
                "{name} reads values encrypted for a PGP key ring, which is not supported here; store them readable and use {}",
                name.trim_start_matches('c')
            )),
            (name, args) => strings::call(name, args),
        }
    }
}

fn pair(key: &str, value: &Str) -> Value {
    Value::Struct(Struct::new(&PAIR, vec![key.into(), Value::Str(value.clone())]))
}

fn texts(args: &[Value]) -> Vec<String> {
    let text = |value: &Value| match value {
        Value::Str(text) => text.to_lossy(),
        _ => String::new(),
    };
    args.iter().map(text).collect()
}

/// Sorted by the text of their fields one after the other, as confd does.
fn records(mut found: Vec<SrvRecord>) -> Value {
    found.sort_by_key(|record| format!("{}{}{}{}", record.target, record.port, record.priority, record.weight));
    let number = |value: u16| Value::Integer(crate::gotemplate::IntKind::Uint16, value.into());
    let record = |srv: SrvRecord| {
        let fields = vec![srv.target.into(), number(srv.port), number(srv.priority), number(srv.weight)];
        Value::Struct(Struct::new(&SRV, fields))
    };
    Value::List(List::new(&SRV_TYPE, found.into_iter().map(record).collect()))
}

fn map(args: &[Value]) -> Result<Value, String> {
    if !args.len().is_multiple_of(2) {
        return Err("invalid map call".to_owned());
    }
    let mut entries = Vec::with_capacity(args.len() / 2);
    for pair in args.chunks_exact(2) {
        match &pair[0] {
            Value::Str(key) => entries.push((key.clone(), pair[1].clone())),
            _ => return Err("map keys must be strings".to_owned()),
        }
    }
    Ok(Value::Map(Map::any(entries)))
}

#[cfg(test)]
mod tests;
