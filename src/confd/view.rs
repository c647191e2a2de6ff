//! The keys that one resource sees, with confd's lookups over them, and the memory of which were asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::path;
use super::select::Selection;
use crate::base::glob;
use crate::gotemplate::Str;

/// The keys of one resource as its template names them, at one revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    keys: BTreeMap<String, Str>,
    /// Why there is no view after all.
    refused: Option<String>,
}

/// One lookup that a template made.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Read {
    /// `get`, `getv`, `exists`.
    Key(String),
    /// `gets`, `getvs`.
    Pattern(String),
    /// `ls`, `lsdir`.
    Folder(String),
}

/// What a template looked up in one run: a change of any other key cannot change what it renders.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reads(BTreeSet<Read>);

/// A list that a template looked up, and how long it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortest {
    pub read: Read,
    pub entries: usize,
}

impl View {
    /// The keys of the store that a resource asks for. Keys that are not UTF-8, and the markers of empty v2 directories
    /// (a key that ends in `/`, without a value), are not in the view.
    pub fn new(selection: &Selection, store: &BTreeMap<String, Str>) -> Self {
        let mut keys = BTreeMap::new();
        for folder in selection.keys() {
            let below = store.range::<str, _>((Bound::Included(folder.as_str()), Bound::Unbounded));
            let inside = below.take_while(|(key, _)| key.starts_with(folder.as_str()));
            for (key, value) in inside.filter(|(key, value)| path::within(key, folder) && !is_marker(key, value)) {
                keys.insert(selection.shown(key), value.clone());
            }
        }
        Self { keys, refused: None }
    }

    /// The same view, of which the store said that it cannot be had.
    #[must_use]
    pub fn refused(self, refused: Option<String>) -> Self {
        Self { refused, ..self }
    }

    /// Why it cannot be had.
    pub fn refusal(&self) -> Option<&str> {
        self.refused.as_deref()
    }

    /// A view of exactly these keys.
    pub fn of<K: Into<String>, V: Into<Str>>(keys: impl IntoIterator<Item = (K, V)>) -> Self {
        Self { keys: keys.into_iter().map(|(key, value)| (key.into(), value.into())).collect(), refused: None }
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// One key's value.
    pub fn get(&self, key: &str) -> Option<&Str> {
        self.keys.get(key)
    }

    /// The keys that match a pattern, in order.
    ///
    /// # Errors
    /// A malformed pattern.
    pub fn matching(&self, pattern: &str) -> Result<Vec<(&str, &Str)>, glob::BadPattern> {
        // What stands before the first special character must begin the key: no need to look elsewhere.
        let literal = pattern.find(['*', '?', '[', '\\']).map_or(pattern, |at| &pattern[..at]);
        glob::matches(pattern, "")?;
        let candidates = self.keys.range::<str, _>((Bound::Included(literal), Bound::Unbounded));
        let mut found = Vec::new();
        for (key, value) in candidates.take_while(|(key, _)| key.starts_with(literal)) {
            if glob::matches(pattern, key)? {
                found.push((key.as_str(), value));
            }
        }
        Ok(found)
    }

    /// The next component of all keys below a folder, sorted, each once; the folder's own last one if it is a key.
    /// confd finds only leaves below "/"; here the root is a folder like any other.
    pub fn list(&self, folder: &str) -> Vec<&str> {
        let mut names: BTreeSet<&str> = self.below(folder).map(|rest| rest.split('/').next().unwrap_or(rest)).collect();
        if let Some((key, _)) = self.keys.get_key_value(folder) {
            names.insert(path::base(key));
        }
        names.into_iter().collect()
    }

    /// The next component of all keys below a folder, sorted, each once.
    pub fn list_below(&self, folder: &str) -> Vec<&str> {
        let names: BTreeSet<&str> = self.below(folder).map(|rest| rest.split('/').next().unwrap_or(rest)).collect();
        names.into_iter().collect()
    }

    /// The next component of all keys below a folder, where it is a folder itself.
    pub fn list_folders(&self, folder: &str) -> Vec<&str> {
        let names: BTreeSet<&str> = self.below(folder).filter_map(|rest| Some(rest.split_once('/')?.0)).collect();
        names.into_iter().collect()
    }

    /// What follows the folder in each key below it.
    fn below(&self, folder: &str) -> impl Iterator<Item = &str> {
        let folder = folder.starts_with('/').then(|| format!("{}/", path::clean(folder).trim_end_matches('/')));
        let start = folder.clone().unwrap_or_default();
        self.keys
            .range::<str, _>((Bound::Included(start.as_str()), Bound::Unbounded))
            .map_while(move |(key, _)| key.strip_prefix(folder.as_deref()?))
            .filter(|rest| !rest.is_empty())
    }
}

fn is_marker(key: &str, value: &Str) -> bool {
    key.ends_with('/') && value.is_empty()
}

impl Read {
    /// The function that looks so, and what it is given.
    pub fn parts(&self) -> (&'static str, &str) {
        match self {
            Self::Key(key) => ("get", key),
            Self::Pattern(pattern) => ("gets", pattern),
            Self::Folder(folder) => ("ls", folder),
        }
    }
}

impl Reads {
    /// Takes in what another run looked up.
    pub fn merge(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Notes a lookup.
    pub fn note(&mut self, read: Read) {
        self.0.insert(read);
    }

    /// The lookups, sorted.
    pub fn iter(&self) -> impl Iterator<Item = &Read> {
        self.0.iter()
    }

    /// Whether a change of `key`, as the template would name it, can change what was found.
    pub fn touched_by(&self, key: &str) -> bool {
        self.0.iter().any(|read| match read {
            Read::Key(name) => name == key,
            Read::Pattern(pattern) => glob::matches(pattern, key).unwrap_or(true),
            Read::Folder(folder) => path::within(key, &path::clean(folder)),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn view() -> View {
        View::of([("/a/b", "1"), ("/a/b/c", "2"), ("/a/d/e/f", "3"), ("/a-b", "4"), ("/top", "5")])
    }

    #[test]
    fn lists_as_documented() {
        let cases: &[(&str, &[&str], &[&str])] = &[
            ("/", &["a", "a-b", "top"], &["a"]),
            ("/a", &["b", "d"], &["b", "d"]),
            ("/a/", &["b", "d"], &["b", "d"]),
            ("/a/b", &["b", "c"], &[]),
            ("/a/d", &["e"], &["e"]),
            ("/top", &["top"], &[]),
            ("/none", &[], &[]),
            ("a", &[], &[]),
            ("", &[], &[]),
        ];
        for (folder, all, folders) in cases {
            assert_eq!(view().list(folder), *all, "ls {folder}");
            assert_eq!(view().list_folders(folder), *folders, "lsdir {folder}");
        }
    }

    #[test]
    fn patterns_match_whole_keys_and_no_slash() {
        let found = |pattern: &str| {
            view().matching(pattern).map(|found| found.iter().map(|(key, _)| (*key).to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(found("/a/*").unwrap(), ["/a/b"]);
        assert_eq!(found("/*/*").unwrap(), ["/a/b"]);
        assert_eq!(found("/*").unwrap(), ["/a-b", "/top"]);
        assert_eq!(found("/a?[b]").unwrap(), ["/a-b"]);
        assert_eq!(found("a*").unwrap(), Vec::<String>::new());
        assert!(found("/x[").is_err());
    }

    #[test]
    fn markers_of_empty_directories_are_not_seen() {
        let store: BTreeMap<String, Str> = [("/p/a/", ""), ("/p/a/b", ""), ("/p/c/", "x"), ("/pa", "y"), ("/q", "z")]
            .map(|(key, value)| (key.to_owned(), Str::from(value)))
            .into();
        let seen = View::new(&Selection::new("/p".into(), &["/".into()]), &store);
        assert_eq!(seen, View::of([("/a/b", ""), ("/c", "x")]));
    }

    #[test]
    fn a_change_touches_what_was_looked_up_only() {
        let mut reads = Reads::default();
        reads.note(Read::Key("/k".into()));
        reads.note(Read::Pattern("/p/*".into()));
        reads.note(Read::Folder("/f/".into()));
        for (key, expected) in
            [("/k", true), ("/k/x", false), ("/p/1", true), ("/p/1/2", false), ("/f/1/2", true), ("/ff", false)]
        {
            assert_eq!(reads.touched_by(key), expected, "{key}");
        }
    }
}
