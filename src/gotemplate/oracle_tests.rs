//! Compares the engine with the recorded results of Go's text/template, byte by byte.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;

const VECTORS: &str = include_str!("../../integration/gotemplate/vectors.jsonl");

static PAIR: StructType = StructType { name: "main.KVPair", fields: &["Key", "Value"] };
static PAIR_TYPE: Type = Type::Struct(&PAIR);
const PAIRS_TYPE: Type = Type::NamedList("main.KVPairs", &PAIR_TYPE);
static MONTH_TYPE: Type = Type::Named("main.Month");

fn pair(key: &str, value: &str) -> Value {
    Value::Struct(Struct::new(&PAIR, vec![key.into(), value.into()]))
}

fn pairs(items: Vec<Value>) -> Value {
    Value::List(List::with_type(PAIRS_TYPE, items))
}

/// The `Clock` of the generator.
#[derive(Debug)]
struct Clock(i64);

fn clock(hour: i64) -> Value {
    Value::Object(Arc::new(Clock(hour)))
}

impl Object for Clock {
    fn type_name(&self) -> &'static str {
        "main.Clock"
    }

    fn text(&self) -> Option<String> {
        Some(format!("{:02}:00", self.0))
    }

    fn method(&self, name: &str) -> Option<Signature> {
        Some(match name {
            "Hour" | "Unix" | "Month" | "Fail" | "String" => Signature::fixed(&[]),
            "Add" => Signature::fixed(&[Type::INT]),
            "Format" => Signature::fixed(&[Type::Str]),
            "Join" => Signature::variadic(&[Type::Str], Type::Str),
            _ => return None,
        })
    }

    fn call(&self, name: &str, args: &[Value]) -> Result<Value, String> {
        Ok(match (name, args) {
            ("Hour", _) => Value::Int(self.0),
            ("Unix", _) => Value::Integer(IntKind::Int64, self.0 * 3600),
            ("Month", _) => month(2),
            ("Fail", _) => return Err("clock stopped".to_owned()),
            ("Add", [Value::Int(hours)]) => clock(self.0 + hours),
            ("Format", [Value::Str(layout)]) if layout.windows(2).all(|pair| pair != b"15") => {
                Value::Str(layout.clone())
            }
            ("Format", [Value::Str(layout)]) => layout.to_lossy().replace("15", &self.0.to_string()).into(),
            ("Join", [Value::Str(separator), parts @ ..]) => join(parts, separator),
            _ => self.text().unwrap_or_default().into(),
        })
    }
}

/// The `Month` of the generator.
#[derive(Debug)]
struct Month(i64);

fn month(number: i64) -> Value {
    Value::Object(Arc::new(Month(number)))
}

impl Object for Month {
    fn type_name(&self) -> &'static str {
        "main.Month"
    }

    fn text(&self) -> Option<String> {
        Some(["", "January", "February", "March"][self.0 as usize].to_owned())
    }

    fn method(&self, name: &str) -> Option<Signature> {
        (name == "String").then_some(Signature::fixed(&[]))
    }

    fn call(&self, _name: &str, _args: &[Value]) -> Result<Value, String> {
        Ok(self.text().unwrap_or_default().into())
    }

    fn underlying(&self) -> Option<Value> {
        Some(Value::Int(self.0))
    }
}

fn join(parts: &[Value], separator: &[u8]) -> Value {
    let parts: Vec<&[u8]> = parts.iter().map(bytes).collect();
    Value::string(parts.join(separator))
}

fn bytes(value: &Value) -> &[u8] {
    match value {
        Value::Str(text) => text,
        other => panic!("not a string: {other:?}"),
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Str(text) => text.to_lossy(),
        other => panic!("not a string: {other:?}"),
    }
}

/// The functions of the generator.
struct Library;

const NONE: Signature = Signature::fixed(&[]);

impl Functions for Library {
    fn signature(&self, name: &str) -> Option<Signature> {
        Some(match name {
            "pair" | "pairs" | "none" | "ints" | "u8" | "u16" | "u64" | "i64" | "min" | "null" | "strmap" | "raw" => {
                NONE
            }
            "nan" | "inf" | "neginf" | "clock" | "month" | "args" | "integers" | "floats" | "strings" | "bools" => NONE,
            "strs" => Signature::variadic(&[], Type::Str),
            "add" => Signature::fixed(&[Type::INT, Type::INT]),
            "half" => Signature::fixed(&[Type::Float64]),
            "flip" => Signature::fixed(&[Type::Bool]),
            "up" | "fail" => Signature::fixed(&[Type::Str]),
            "echo" | "show" => Signature::fixed(&[Type::Any]),
            "opt" => Signature::variadic(&[Type::Str], Type::Str),
            "join" => Signature::fixed(&[Type::STRINGS, Type::Str]),
            "npairs" => {
                static PARAMS: &[Type] = &[Type::List(&PAIR_TYPE)];
                Signature::fixed(PARAMS)
            }
            "keys" => Signature::fixed(&[Type::ANY_MAP]),
            "unsig" => Signature::fixed(&[Type::Int(IntKind::Uint16)]),
            "take" => {
                static PARAMS: &[Type] = &[Type::Struct(&PAIR)];
                Signature::fixed(PARAMS)
            }
            "dict" | "list" => Signature::variadic(&[], Type::Any),
            _ => return None,
        })
    }

    fn call(&mut self, name: &str, args: &[Value]) -> Result<Value, String> {
        Ok(match (name, args) {
            ("pair", _) => pair("/a", "1"),
            ("pairs", _) => pairs(vec![pair("/a", "1"), pair("/b", "two")]),
            ("none", _) => pairs(Vec::new()),
            ("strs", args) => Value::List(List::new(&Type::Str, args.to_vec())),
            ("ints", _) => Value::List(List::new(&Type::INT, vec![1.into(), 2.into(), 3.into()])),
            ("u8", _) => Value::Integer(IntKind::Uint8, 200),
            ("u16", _) => Value::Integer(IntKind::Uint16, 8080),
            ("u64", _) => Value::Integer(IntKind::Uint64, -1),
            ("i64", _) => Value::Integer(IntKind::Int64, -5),
            ("min", _) => Value::Int(i64::MIN),
            ("add", [Value::Int(a), Value::Int(b)]) => Value::Int(a.wrapping_add(*b)),
            ("half", [Value::Float(value)]) => Value::Float(value / 2.0),
            ("flip", [Value::Bool(value)]) => Value::Bool(!value),
            ("up", [value]) => text(value).to_uppercase().into(),
            ("fail", [Value::Str(message)]) => return Err(message.to_lossy()),
            ("null", _) => Value::Nil,
            ("echo", [value]) => value.clone(),
            ("show", [value]) => Value::string(sprintf(b"%T %v", &[value.clone(), value.clone()], 1000).unwrap()),
            ("opt", [key, rest @ ..]) => Value::string([bytes(key), b"/", bytes(&join(rest, b","))].concat()),
            ("join", [Value::List(list), separator]) => join(list, bytes(separator)),
            ("npairs", [Value::List(list)]) => Value::Int(list.len() as i64),
            ("keys", [Value::Map(map)]) => Value::Int(map.len() as i64),
            ("unsig", [value]) => value.clone(),
            ("take", [Value::Struct(pair)]) => pair.field("Key").unwrap().clone(),
            ("dict", args) => dict(args)?,
            ("list", args) => Value::List(List::any(args.to_vec())),
            ("strmap", _) => {
                let entries = [("a", "1"), ("b", "2")].map(|(key, value)| (Str::from(key), value.into()));
                Value::Map(Map::new(&Type::Str, BTreeMap::from(entries)))
            }
            ("raw", _) => Value::string(b"a\xffb\xe4\xb8".as_slice()),
            ("nan", _) => Value::Float(f64::NAN),
            ("inf", _) => Value::Float(f64::INFINITY),
            ("neginf", _) => Value::Float(f64::NEG_INFINITY),
            ("clock", _) => clock(7),
            ("month", _) => month(1),
            ("integers", _) => Value::List(List::any(integers())),
            ("floats", _) => Value::List(List::any(floats())),
            ("strings", _) => Value::List(List::any(strings())),
            ("bools", _) => Value::List(List::any(vec![true.into(), false.into(), Value::Nil])),
            ("args", _) => Value::List(List::any(mixed())),
            _ => panic!("call of {name} with {args:?}"),
        })
    }
}

fn dict(args: &[Value]) -> Result<Value, String> {
    if !args.len().is_multiple_of(2) {
        return Err("odd number of arguments".to_owned());
    }
    let mut entries = Vec::new();
    for pair in args.chunks(2) {
        match &pair[0] {
            Value::Str(key) => entries.push((key.clone(), pair[1].clone())),
            _ => return Err("keys must be strings".to_owned()),
        }
    }
    Ok(Value::Map(Map::any(entries)))
}

fn integers() -> Vec<Value> {
    let plain = [0, 1, -42, 65, 0x1F600, i64::MIN].map(Value::Int);
    let sized = [(IntKind::Int64, 7), (IntKind::Uint8, 200), (IntKind::Uint64, -1)];
    let sized = sized.map(|(kind, number)| Value::Integer(kind, number));
    plain.into_iter().chain(sized).collect()
}

fn floats() -> Vec<Value> {
    #[allow(clippy::approx_constant, clippy::excessive_precision)]
    let finite = [0.0, -0.0, 1.0, -2.5, 3.14159265358979, 100.0, 123456789.0, 1e6, 1e21, 1e-7, 0.1];
    let rest = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
    finite.into_iter().chain(rest).map(Value::Float).collect()
}

fn strings() -> Vec<Value> {
    let texts: [&[u8]; 6] = [
        b"",
        "héllo".as_bytes(),
        "a\"b`c\n\t\\\x00\u{200b}\x7f".as_bytes(),
        "日本語".as_bytes(),
        b"x\xffy",
        b"back`tick",
    ];
    texts.into_iter().map(Value::string).collect()
}

fn mixed() -> Vec<Value> {
    let list = |items: Vec<Value>| Value::List(List::any(items));
    vec![
        1.into(),
        Value::Integer(IntKind::Uint8, 200),
        (-2.5).into(),
        "a b".into(),
        Value::string(b"x\xffy".as_slice()),
        true.into(),
        Value::Nil,
        Value::List(List::strings(["a", "b c"])),
        Value::List(List::new(&Type::INT, vec![1.into(), (-2).into()])),
        list(vec![1.into(), "a".into(), Value::Nil, 2.5.into(), list(Vec::new())]),
        Value::Map(Map::any([("k", "v".into()), ("a", list(vec![1.into(), Value::Nil]))])),
        Value::Map(Map::new(&Type::Str, BTreeMap::new())),
        pair("/k", "v"),
        pairs(vec![pair("/k", "v")]),
        month(1),
        Value::List(List::new(&MONTH_TYPE, vec![month(2)])),
    ]
}

fn from_json(json: &serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::Nil,
        serde_json::Value::Bool(value) => Value::Bool(*value),
        serde_json::Value::Number(number) => Value::Float(number.as_f64().unwrap()),
        serde_json::Value::String(text) => text.as_str().into(),
        serde_json::Value::Array(items) => Value::List(List::any(items.iter().map(from_json).collect())),
        serde_json::Value::Object(entries) => {
            Value::Map(Map::any(entries.iter().map(|(key, value)| (key.as_str(), from_json(value)))))
        }
    }
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|at| u8::from_str_radix(&text[at * 2..at * 2 + 2], 16).unwrap()).collect()
}

/// A text of a vector, in plain or hexadecimal form.
fn field(vector: &serde_json::Value, name: &str) -> Vec<u8> {
    match (vector.get(name), vector.get(format!("{name}_hex"))) {
        (Some(plain), _) => plain.as_str().unwrap().as_bytes().to_vec(),
        (None, Some(coded)) => hex(coded.as_str().unwrap()),
        (None, None) => Vec::new(),
    }
}

/// What happened to a template, in the form of the vectors.
fn outcome(template: &[u8], data: &Value) -> String {
    let known = |name: &str| Library.signature(name).is_some();
    let template = match Template::parse("case", template, &known) {
        Ok(template) => template,
        Err(error) => return format!("parse error: {error}"),
    };
    match template.execute(data, &mut Library, &Budget::default()) {
        Ok(output) => format!("output: {}", super::text::quote(&output)),
        Err(error) => format!("error: {error}"),
    }
}

#[test]
fn agrees_with_go() {
    let mut failures = Vec::new();
    // Besides the committed ones: random templates, as integration/gotemplate writes them.
    let random = std::env::var("CORENODE_GOTEMPLATE_VECTORS").map(|file| std::fs::read_to_string(file).unwrap());
    for line in VECTORS.lines().chain(random.as_deref().unwrap_or_default().lines()) {
        let vector: serde_json::Value = serde_json::from_str(line).unwrap();
        let template = field(&vector, "template");
        let data = match vector.get("data") {
            Some(data) => from_json(&serde_json::from_str(data.as_str().unwrap()).unwrap()),
            None => Value::Nil,
        };
        let expected = if let Some(error) = vector.get("parse_error") {
            format!("parse error: {}", error.as_str().unwrap())
        } else if let Some(error) = vector.get("exec_error") {
            format!("error: {}", error.as_str().unwrap())
        } else {
            format!("output: {}", super::text::quote(&field(&vector, "output")))
        };
        let actual = outcome(&template, &data);
        if actual != expected {
            failures.push(format!("{}\n  go:   {expected}\n  here: {actual}", super::text::quote(&template)));
        }
    }
    assert!(failures.is_empty(), "{} differ\n{}", failures.len(), failures.join("\n"));
}
