//! How the v2 API writes permissions: two lists of patterns of paths, to read and to write, as ranges of keys.
//!
//! A pattern is a key, or with `*` at its end all keys that begin so; `*` alone is all keys. What the v3 API has granted on
//! a range that no pattern says holds for both dialects, but v2's lists do not show it.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::change::Change;
use super::model::{Access, Permission, Role};
use crate::kv::types::prefix_end;

/// All keys, as the v3 API says it.
const ALL: &[u8] = b"\0";

/// What a role permits, as the v2 API says it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patterns {
    pub read: BTreeSet<String>,
    pub write: BTreeSet<String>,
}

impl Patterns {
    /// The permissions of a role that are patterns.
    pub fn of(role: &Role) -> Self {
        let mut found = Self::default();
        for permission in &role.permissions {
            let Some(pattern) = pattern(permission) else { continue };
            if permission.access != Access::Write {
                found.read.insert(pattern.clone());
            }
            if permission.access != Access::Read {
                found.write.insert(pattern);
            }
        }
        found
    }

    /// What makes a role that permits `self` permit `wanted`; other permissions stay.
    pub fn changes_to(&self, wanted: &Self, role: &str) -> Vec<Change> {
        let all: BTreeSet<&String> =
            [&self.read, &self.write, &wanted.read, &wanted.write].into_iter().flatten().collect();
        let changed = all.into_iter().filter(|pattern| self.access(pattern) != wanted.access(pattern));
        let change = |pattern: &String| {
            let (key, range_end) = range(pattern);
            let name = role.to_owned();
            match wanted.access(pattern) {
                Some(access) => Change::RoleGrant { name, permission: Permission { access, key, range_end } },
                None => Change::RoleRevoke { name, key, range_end },
            }
        };
        changed.map(change).collect()
    }

    fn access(&self, pattern: &str) -> Option<Access> {
        match (self.read.contains(pattern), self.write.contains(pattern)) {
            (true, true) => Some(Access::ReadWrite),
            (true, false) => Some(Access::Read),
            (false, true) => Some(Access::Write),
            (false, false) => None,
        }
    }
}

/// The keys that a pattern means, as key and end of a range request.
fn range(pattern: &str) -> (Bytes, Bytes) {
    match pattern.strip_suffix('*') {
        None => (Bytes::copy_from_slice(pattern.as_bytes()), Bytes::new()),
        Some("") => (Bytes::from_static(ALL), Bytes::from_static(ALL)),
        Some(prefix) => (Bytes::copy_from_slice(prefix.as_bytes()), prefix_end(prefix.as_bytes())),
    }
}

/// The pattern that means the permission's keys, if there is one.
fn pattern(permission: &Permission) -> Option<String> {
    let key = std::str::from_utf8(&permission.key).ok()?;
    let pattern = match &permission.range_end[..] {
        [] => key.to_owned(),
        ALL if key.as_bytes() == ALL => "*".to_owned(),
        end if prefix_end(key.as_bytes()) == end => format!("{key}*"),
        _ => return None,
    };
    // A key that ends in `*` cannot be written.
    (range(&pattern) == (permission.key.clone(), permission.range_end.clone())).then_some(pattern)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns_are_keys_and_prefixes() {
        let cases: &[(&str, &[u8], &[u8])] = &[
            ("/a", b"/a", b""),
            ("/a*", b"/a", b"/b"),
            ("/a/*", b"/a/", b"/a0"),
            ("*", b"\0", b"\0"),
            ("a*b", b"a*b", b""),
            ("/**", b"/*", b"/+"),
        ];
        for (text, key, end) in cases {
            assert_eq!(range(text), (Bytes::from_static(key), Bytes::from_static(end)), "{text}");
            let (key, range_end) = range(text);
            assert_eq!(pattern(&Permission { access: Access::Read, key, range_end }).as_deref(), Some(*text));
        }
        for (key, end) in [("a", "c"), ("a", "\0"), ("a*", ""), ("b", "a")] {
            let permission = Permission { access: Access::Read, key: key.into(), range_end: end.into() };
            assert_eq!(pattern(&permission), None, "{key:?} {end:?}");
        }
    }

    fn patterns() -> impl Strategy<Value = Patterns> {
        let some = || prop::collection::btree_set(prop::sample::select(&["/a", "/a*", "/a/*", "*", "b"][..]), 0..4);
        let texts = |set: BTreeSet<&str>| set.into_iter().map(str::to_owned).collect();
        (some(), some()).prop_map(move |(read, write)| Patterns { read: texts(read), write: texts(write) })
    }

    proptest! {
        #[test]
        fn changes_lead_to_what_is_wanted(before in patterns(), after in patterns()) {
            let mut auth = super::super::Auth::default();
            let name = "r".to_owned();
            let first = Patterns::default().changes_to(&before, "r");
            let then = before.changes_to(&after, "r");
            for changes in [vec![Change::RoleAdd { name }], first, then] {
                prop_assert!(auth.change_all(&changes).is_ok());
            }
            prop_assert_eq!(auth.role("r").map(Patterns::of), Some(after));
        }
    }
}
