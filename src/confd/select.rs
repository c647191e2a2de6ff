//! Which keys a resource asks for: prefix rules, and the fewest ranges that hold the keys of all resources.

use bytes::Bytes;

use super::path;

/// What a global prefix does to a resource's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PrefixMode {
    /// It takes its place (confd 0.12 to 0.16).
    #[default]
    Replace,
    /// It stands before it (confd up to 0.11, and the live fork).
    Join,
}

/// The prefix that counts, of the global one and the resource's. It always begins with a slash.
pub fn effective_prefix(mode: PrefixMode, global: &str, own: &str) -> String {
    let prefix = match mode {
        PrefixMode::Join => &path::join(&["/", global, own]),
        PrefixMode::Replace if global.is_empty() => own,
        PrefixMode::Replace => global,
    };
    if prefix.starts_with('/') { prefix.to_owned() } else { format!("/{prefix}") }
}

/// The keys that a resource asks for: for each key exactly that key, and everything below it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Selection {
    prefix: String,
    keys: Vec<String>,
}

impl Selection {
    /// `prefix` is the effective one.
    pub fn new(prefix: String, keys: &[String]) -> Self {
        let keys = keys.iter().map(|key| path::join(&[&prefix, key])).collect();
        Self { prefix, keys }
    }

    /// The effective prefix.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The keys asked for, with the prefix and cleaned.
    pub fn keys(&self) -> &[String] {
        &self.keys
    }

    /// Whether a key of the store is asked for.
    pub fn selects(&self, key: &str) -> bool {
        self.keys.iter().any(|wanted| path::within(key, wanted))
    }

    /// The name under which templates see a key: without the prefix (cut off as plain text) and cleaned.
    pub fn shown(&self, key: &str) -> String {
        path::join(&["/", key.strip_prefix(self.prefix.as_str()).unwrap_or(key)])
    }
}

/// The folders, none within another, that hold all keys of `selections`, in order.
pub fn cover<'a>(selections: impl IntoIterator<Item = &'a Selection>) -> Vec<String> {
    let mut keys: Vec<&str> = selections.into_iter().flat_map(|one| one.keys.iter().map(String::as_str)).collect();
    // A folder sorts before what is below it, but `/a-b` lies between `/a` and `/a/b`: shortest first is what is needed.
    keys.sort_unstable_by_key(|key| (key.len(), *key));
    keys.dedup();
    let mut kept: Vec<String> = Vec::new();
    for key in keys {
        if !kept.iter().any(|folder| path::within(key, folder)) {
            kept.push(key.to_owned());
        }
    }
    kept.sort_unstable();
    kept
}

/// The range of the store that holds a folder's key and all keys below it: from the key to where `KEY/…` ends. A few
/// keys beside it lie within (`/a.b` between `/a` and `/a/`).
pub fn range_of(folder: &str) -> (Bytes, Bytes) {
    let end = match folder {
        "/" => "0".to_owned(),
        folder => format!("{folder}0"),
    };
    (Bytes::from(folder.to_owned()), Bytes::from(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(global: &str, own: &str, keys: &[&str]) -> Selection {
        let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
        Selection::new(effective_prefix(PrefixMode::Replace, global, own), &keys)
    }

    #[test]
    fn the_global_prefix_replaces_the_resources() {
        let cases = [
            ("", "", "app/server", "/app/server"),
            ("", "/own", "/a/", "/own/a"),
            ("", "own", "a", "/own/a"),
            ("/all", "/own", "/a", "/all/a"),
            ("all", "", "a//b", "/all/a/b"),
        ];
        for (global, own, key, expected) in cases {
            assert_eq!(selection(global, own, &[key]).keys(), [expected], "{global} {own} {key}");
        }
    }

    #[test]
    fn prefixes_are_joined_where_the_resource_says_so() {
        let cases = [
            ("", "", "/"),
            ("", "/own", "/own"),
            ("/all", "", "/all"),
            ("all", "own", "/all/own"),
            ("/all/", "/own/", "/all/own"),
        ];
        for (global, own, expected) in cases {
            assert_eq!(effective_prefix(PrefixMode::Join, global, own), expected, "{global} {own}");
        }
    }

    #[test]
    fn a_key_pulls_itself_and_what_is_below() {
        let one = selection("", "/p", &["a"]);
        let cases = [("/p/a", true), ("/p/a/b/c", true), ("/p/ab", false), ("/p", false), ("/a", false)];
        for (key, expected) in cases {
            assert_eq!(one.selects(key), expected, "{key}");
        }
        assert_eq!(one.shown("/p/a/b"), "/a/b");
        assert_eq!(selection("", "/p", &["/"]).shown("/p/x/"), "/x");
        // Plain text, as in confd: the prefix ends within a component.
        assert_eq!(selection("", "/pre", &["/"]).shown("/prefix/a"), "/fix/a");
    }

    #[test]
    fn the_cover_has_no_folder_twice() {
        let all = [selection("", "", &["/a/b", "/a-b", "/a"]), selection("", "", &["/c/d", "/a", "/c/d/e"])];
        assert_eq!(cover(&all), ["/a", "/a-b", "/c/d"]);
        assert_eq!(cover(&[selection("", "", &["/", "/x"])]), ["/"]);
        assert_eq!(cover(&[selection("", "", &[])]), Vec::<String>::new());
    }

    #[test]
    fn the_range_holds_the_folder() {
        let (from, to) = range_of("/a");
        for (key, inside) in [("/a", true), ("/a/b", true), ("/a/\u{10ffff}", true), ("/ab", false), ("/a0", false)] {
            assert_eq!(from.as_ref() <= key.as_bytes() && key.as_bytes() < to.as_ref(), inside, "{key}");
        }
        let (from, to) = range_of("/");
        assert_eq!((from.as_ref(), to.as_ref()), (b"/".as_slice(), b"0".as_slice()));
    }
}
