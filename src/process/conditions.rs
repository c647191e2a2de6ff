//! `Condition…=` and `Assert…=` of `[Unit]` that ask about files: a unit that does not meet them is not started.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// One of them, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// As in the text, `ConditionPathExists` for example.
    pub name: String,
    pub path: String,
    kind: Kind,
    /// `!`
    negated: bool,
    /// `|`: of all these one has to be met.
    trigger: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    PathExists,
    PathIsDirectory,
    PathIsSymbolicLink,
    DirectoryNotEmpty,
    FileNotEmpty,
    FileIsExecutable,
}

impl Condition {
    /// Reads an option; `None`: one that is not known here.
    pub fn read(name: &str, value: &str) -> Option<Self> {
        let what = name.strip_prefix("Condition").or_else(|| name.strip_prefix("Assert"))?;
        let kind = match what {
            "PathExists" => Kind::PathExists,
            "PathIsDirectory" => Kind::PathIsDirectory,
            "PathIsSymbolicLink" => Kind::PathIsSymbolicLink,
            "DirectoryNotEmpty" => Kind::DirectoryNotEmpty,
            "FileNotEmpty" => Kind::FileNotEmpty,
            "FileIsExecutable" => Kind::FileIsExecutable,
            _ => return None,
        };
        let (trigger, rest) = match value.strip_prefix('|') {
            Some(rest) => (true, rest),
            None => (false, value),
        };
        let (negated, path) = match rest.strip_prefix('!') {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        let path = path.trim_start().to_owned();
        path.starts_with('/').then(|| Self { name: name.to_owned(), path, kind, negated, trigger })
    }

    fn met(&self) -> bool {
        let path = Path::new(&self.path);
        let is = match self.kind {
            Kind::PathExists => path.exists(),
            Kind::PathIsDirectory => path.is_dir(),
            Kind::PathIsSymbolicLink => path.is_symlink(),
            Kind::DirectoryNotEmpty => path.read_dir().is_ok_and(|mut entries| entries.next().is_some()),
            Kind::FileNotEmpty => path.metadata().is_ok_and(|m| m.is_file() && m.len() > 0),
            Kind::FileIsExecutable => path.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0),
        };
        is != self.negated
    }
}

/// The first that is not met, as it stands in the text.
pub fn unmet(all: &[Condition]) -> Option<String> {
    let (triggers, plain): (Vec<_>, Vec<_>) = all.iter().partition(|condition| condition.trigger);
    let failed = plain.into_iter().find(|condition| !condition.met());
    let failed = failed.or_else(|| {
        let none_met = !triggers.iter().any(|condition| condition.met());
        triggers.first().copied().filter(|_| none_met)
    })?;
    let mark = |set: bool, mark: &'static str| if set { mark } else { "" };
    Some(format!("{}={}{}{}", failed.name, mark(failed.trigger, "|"), mark(failed.negated, "!"), failed.path))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn asks_about_files() {
        type Options = &'static [(&'static str, &'static str)];
        // Options → what is not met, if anything.
        let cases: [(Options, Option<&str>); 9] = [
            (&[("ConditionPathExists", "/proc")], None),
            (&[("ConditionPathExists", "!/proc")], Some("ConditionPathExists=!/proc")),
            (&[("AssertPathExists", "/no/where")], Some("AssertPathExists=/no/where")),
            (&[("ConditionPathIsDirectory", "/proc"), ("ConditionPathIsDirectory", "!/proc/self/exe")], None),
            (&[("ConditionFileIsExecutable", "/bin/sh"), ("ConditionFileNotEmpty", "/bin/sh")], None),
            (&[("ConditionDirectoryNotEmpty", "/bin/sh")], Some("ConditionDirectoryNotEmpty=/bin/sh")),
            (&[("ConditionPathExists", "|/no/where"), ("ConditionPathExists", "|/proc")], None),
            (&[("ConditionPathExists", "|!/proc")], Some("ConditionPathExists=|!/proc")),
            (&[("ConditionPathIsSymbolicLink", "/proc/self")], None),
        ];
        for (options, wanted) in cases {
            let all: Vec<_> = options.iter().map(|(name, value)| Condition::read(name, value).unwrap()).collect();
            assert_eq!(unmet(&all).as_deref(), wanted, "{options:?}");
        }
        assert_eq!(Condition::read("ConditionKernelVersion", "/x"), None);
        assert_eq!(Condition::read("ConditionPathExists", "relative"), None);
    }
}
