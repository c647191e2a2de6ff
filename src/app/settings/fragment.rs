//! Fragments: what a file, the environment and the command line say, each value with its origin; merged, the strongest wins.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::keys::{self, KEYS};

/// The origin of what nobody wrote.
pub const DEFAULT: &str = "default";

/// A value as somebody wrote it, and where. Lists are joined with commas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub value: String,
    pub origin: String,
}

/// Settings by key, and what was wrong with the text that they came from.
#[derive(Clone, Debug, Default)]
pub struct Fragment {
    pub entries: BTreeMap<&'static str, Entry>,
    /// One line each: the place, what is wrong, and the remedy.
    pub mistakes: Vec<String>,
}

impl Fragment {
    /// Lays `stronger` over this one.
    pub fn overlay(&mut self, stronger: Fragment) {
        self.entries.extend(stronger.entries);
        self.mistakes.extend(stronger.mistakes);
    }

    fn set(&mut self, path: &'static str, value: String, origin: String) {
        self.entries.insert(path, Entry { value, origin });
    }
}

/// The defaults.
pub fn defaults() -> Fragment {
    let mut fragment = Fragment::default();
    for key in KEYS {
        fragment.set(key.path, key.default.to_owned(), DEFAULT.to_owned());
    }
    fragment
}

/// A TOML file's settings.
pub fn from_toml(file: &Path, text: &str) -> Fragment {
    let mut fragment = Fragment::default();
    let (table, mut errors) = DeTable::parse_recoverable(text);
    errors.sort_by_key(|error| error.span().map_or(0, |span| span.start));
    for error in errors {
        let line = error.span().map_or(1, |span| line_of(text, span.start));
        fragment.mistakes.push(format!("{}:{line}: {}", file.display(), error.message().replace('\n', ", ")));
    }
    if fragment.mistakes.is_empty() {
        read_table(file, text, "", table.get_ref(), &mut fragment);
    }
    fragment
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

fn read_table(file: &Path, text: &str, prefix: &str, table: &DeTable<'_>, fragment: &mut Fragment) {
    for (name, value) in table.iter() {
        let path = format!("{prefix}{}", name.get_ref());
        let place = format!("{}:{}", file.display(), line_of(text, name.span().start));
        let is_section = KEYS.iter().any(|key| key.path.starts_with(&format!("{path}.")));
        match (keys::find(&path), value.get_ref()) {
            (None, DeValue::Table(inner)) if is_section => {
                read_table(file, text, &format!("{path}."), inner, fragment);
            }
            (None, _) => {
                let hint = keys::nearest(&path, KEYS.iter().map(|key| key.path.to_owned()))
                    .map_or_else(|| "see `node run --help`".to_owned(), |near| format!("did you mean `{near}`?"));
                fragment.mistakes.push(format!("{place}: unknown key `{path}`; {hint}"));
            }
            (Some(key), value) => match scalar(value) {
                Some(value) => fragment.set(key.path, value, place),
                None => fragment.mistakes.push(format!(
                    "{place}: `{path}` is a {}; write a string, a number, true or false, or a list of strings",
                    value.type_str()
                )),
            },
        }
    }
}

/// Scalars and lists as text; a table of scalars as `k=v,k=v`.
fn scalar(value: &DeValue<'_>) -> Option<String> {
    Some(match value {
        DeValue::String(text) => text.to_string(),
        DeValue::Boolean(truth) => truth.to_string(),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Array(items) => {
            let items: Option<Vec<String>> = items.iter().map(|item| scalar(item.get_ref())).collect();
            items?.join(",")
        }
        DeValue::Table(pairs) => {
            let pairs: Option<Vec<String>> = pairs
                .iter()
                .map(|(name, value)| Some(format!("{}={}", name.get_ref(), scalar(value.get_ref())?)))
                .collect();
            pairs?.join(",")
        }
        _ => return None,
    })
}

/// Settings given by a program.
pub fn from_pairs(pairs: &[(&str, &str)]) -> Fragment {
    let mut fragment = Fragment::default();
    for (path, value) in pairs {
        match keys::find(path) {
            Some(key) => fragment.set(key.path, (*value).to_owned(), "the program".to_owned()),
            None => fragment.mistakes.push(format!("unknown key `{path}`")),
        }
    }
    fragment
}

/// The environment's settings. Variables that are not ours (Node.js has `NODE_ENV`, for one) are left alone.
pub fn from_env(variables: impl Iterator<Item = (String, String)>) -> Fragment {
    let mut fragment = Fragment::default();
    for (name, value) in variables {
        if let Some(key) = KEYS.iter().find(|key| key.variable() == name) {
            fragment.set(key.path, value, name);
        }
    }
    fragment
}

/// The command line's settings, and the files named by `--config`.
pub fn from_flags(arguments: &[String]) -> (Fragment, Vec<PathBuf>) {
    let mut fragment = Fragment::default();
    let mut files = Vec::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let Some(flag) = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-')) else {
            fragment.mistakes.push(format!("`{argument}`: not a flag; see `node run --help`"));
            continue;
        };
        let (name, attached) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (flag, None),
        };
        let key = KEYS.iter().find(|key| key.flag() == name);
        if key.is_none() && name != "config" {
            let near = keys::nearest(name, KEYS.iter().map(super::keys::Key::flag))
                .map_or_else(|| "see `node run --help`".to_owned(), |near| format!("did you mean `--{near}`?"));
            fragment.mistakes.push(format!("unknown flag `--{name}`; {near}"));
            continue;
        }
        let Some(value) = attached.or_else(|| rest.next().cloned()) else {
            fragment.mistakes.push(format!("`--{name}` needs a value"));
            continue;
        };
        match key {
            Some(key) => fragment.set(key.path, value, format!("--{name}")),
            None => files.push(PathBuf::from(value)),
        }
    }
    (fragment, files)
}
