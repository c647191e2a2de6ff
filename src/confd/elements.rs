//! `for_each`: one file for each name below a folder of keys, and which files of earlier passes have no name any more.
//!
//! The rule for what is removed: a file that this resource wrote, noted in its list with its checksum, whose name is gone,
//! and that nobody has changed since. What somebody changed is left where it is.

use std::collections::{BTreeMap, BTreeSet};

use super::md5::Md5;
use super::path;
use super::render::named_line;
use super::view::{Read, View};

/// The most files of one resource.
const ELEMENTS_MAX: usize = 10_000;

/// One name, and the file that is rendered for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    /// As `ls` lists it; the template's `{{.name}}`.
    pub name: String,
    /// The folder and the name: the template's `{{.key}}`.
    pub key: String,
    pub dest: String,
}

/// The elements of `folder`, in order of their names, and the lookup that found them.
///
/// # Errors
/// A `dest` that is no template, two names with one file, a name that cannot be part of a path.
pub fn elements(view: &View, folder: &str, dest: &str) -> Result<(Vec<Element>, Read), String> {
    let folder = path::join(&["/", folder]);
    let below = view.list_below(&folder);
    if below.len() > ELEMENTS_MAX {
        return Err(format!("for_each: {folder} has {} names; the most is {ELEMENTS_MAX}", below.len()));
    }
    let mut taken: BTreeMap<String, String> = BTreeMap::new();
    let mut found = Vec::with_capacity(below.len());
    for name in below {
        if name.contains('\0') || matches!(name, "." | "..") {
            return Err(format!("for_each: the name {name:?} below {folder} cannot be part of a file's path"));
        }
        let key = path::join(&[&folder, name]);
        let dest = named_line("dest", dest, &[("name", name), ("key", &key)])?;
        if let Some(other) = taken.insert(dest.clone(), name.to_owned()) {
            return Err(format!("for_each: {other} and {name} are both written to {dest}"));
        }
        found.push(Element { name: name.to_owned(), key, dest });
    }
    Ok((found, Read::Folder(folder)))
}

/// The folder in which all files of a templated `dest` lie, as far as it is known before any name is.
pub fn fixed_folder(dest: &str) -> String {
    let fixed = dest.split("{{").next().unwrap_or(dest);
    path::dir(fixed)
}

/// The files that a resource has written, with the checksums of what it wrote. As text it is what `md5sum -c` reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written(BTreeMap<String, Md5>);

impl Written {
    /// Reads the text; lines that are not understood are left out: what they meant stays where it is.
    pub fn parse(text: &str) -> Self {
        let line = |line: &str| {
            let (sum, dest) = line.split_once("  ")?;
            Some((dest.to_owned(), Md5::parse(sum)?))
        };
        Self(text.lines().filter_map(line).collect())
    }

    /// The text.
    pub fn print(&self) -> String {
        self.0.iter().map(|(dest, sum)| format!("{sum}  {dest}\n")).collect()
    }

    /// Notes what is in a file.
    pub fn note(&mut self, dest: &str, sum: Md5) {
        self.0.insert(dest.to_owned(), sum);
    }

    /// Forgets a file.
    pub fn forget(&mut self, dest: &str) {
        self.0.remove(dest);
    }

    /// Files that are in the list and not among `wanted`, with what was written to them.
    pub fn gone(&self, wanted: &BTreeSet<&str>) -> Vec<(String, Md5)> {
        self.0
            .iter()
            .filter(|(dest, _)| !wanted.contains(dest.as_str()))
            .map(|(dest, sum)| (dest.clone(), *sum))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::confd::md5;

    #[test]
    fn every_name_has_a_file() {
        let view = View::of([("/sites/a/port", "1"), ("/sites/b", "2"), ("/sites", "x"), ("/other", "y")]);
        let (found, read) = elements(&view, "sites/", "/out/{{.name}}.conf").unwrap();
        let shown: Vec<_> = found.iter().map(|one| (one.name.as_str(), one.key.as_str(), one.dest.as_str())).collect();
        assert_eq!(shown, [("a", "/sites/a", "/out/a.conf"), ("b", "/sites/b", "/out/b.conf")]);
        assert_eq!(read, Read::Folder("/sites".into()));
        assert_eq!(elements(&view, "/none", "/out/{{.name}}").unwrap().0, []);
        let twice = elements(&view, "/sites", "/out/{{len .name}}").unwrap_err();
        assert_eq!(twice, "for_each: a and b are both written to /out/1");
        assert!(elements(&view, "/sites", "/out/{{.name").unwrap_err().contains("dest:1"));
    }

    #[test]
    fn what_is_gone_is_what_was_written_and_is_not_wanted() {
        let mut written = Written::default();
        written.note("/out/a b", md5(b"1"));
        written.note("/out/c", md5(b"2"));
        let text = written.print();
        assert_eq!(Written::parse(&format!("nonsense\n{text}zz  /x\n")), written);
        assert_eq!(written.gone(&BTreeSet::from(["/out/c"])), [("/out/a b".to_owned(), md5(b"1"))]);
        written.forget("/out/a b");
        assert_eq!(written.gone(&BTreeSet::from(["/out/c"])), []);
    }

    #[test]
    fn the_folder_of_all_files_is_known_before() {
        for (dest, expected) in
            [("/etc/x/{{.name}}.conf", "/etc/x"), ("/etc/x/a-{{.name}}", "/etc/x"), ("/srv/{{.name}}/x", "/srv")]
        {
            assert_eq!(fixed_folder(dest), expected);
        }
    }
}
