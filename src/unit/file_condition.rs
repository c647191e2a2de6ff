//! `Condition…=` and `Assert…=` of `[Unit]` that ask about files: a unit that does not meet them is not started. Which files there
//! are is for others to say.

use std::fmt;

/// One of them, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileCondition {
    /// As in the text, `ConditionPathExists` for example.
    pub name: String,
    pub path: String,
    pub test: FileTest,
    /// `!`
    negated: bool,
    /// `|`: of all these one has to be met.
    trigger: bool,
}

/// What is asked about a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileTest {
    PathExists,
    PathIsDirectory,
    PathIsSymbolicLink,
    PathIsMountPoint,
    PathIsReadWrite,
    DirectoryNotEmpty,
    FileNotEmpty,
    FileIsExecutable,
}

/// What follows `Condition` or `Assert`, and what it asks.
const TESTS: [(&str, FileTest); 8] = [
    ("PathExists", FileTest::PathExists),
    ("PathIsDirectory", FileTest::PathIsDirectory),
    ("PathIsSymbolicLink", FileTest::PathIsSymbolicLink),
    ("PathIsMountPoint", FileTest::PathIsMountPoint),
    ("PathIsReadWrite", FileTest::PathIsReadWrite),
    ("DirectoryNotEmpty", FileTest::DirectoryNotEmpty),
    ("FileNotEmpty", FileTest::FileNotEmpty),
    ("FileIsExecutable", FileTest::FileIsExecutable),
];

/// Whether a key of `[Unit]` is a condition or an assertion, of whatever kind.
pub fn is_condition(name: &str) -> bool {
    name.starts_with("Condition") || name.starts_with("Assert")
}

/// Adds one to those before it; an empty value takes back all conditions, or all assertions, as in systemd.
///
/// # Errors
/// It is not one that asks about a file, or not about an absolute path: what to write.
pub fn add(all: &mut Vec<FileCondition>, name: &str, value: &str) -> Result<(), String> {
    if value.is_empty() {
        let assertion = name.starts_with("Assert");
        all.retain(|condition| condition.is_assertion() != assertion);
        return Ok(());
    }
    all.push(FileCondition::read(name, value)?);
    Ok(())
}

/// The first that is not met; conditions come before assertions. `holds` says whether a test holds of a path.
pub fn unmet(all: &[FileCondition], holds: impl Fn(FileTest, &str) -> bool) -> Option<&FileCondition> {
    let met = |condition: &&FileCondition| holds(condition.test, &condition.path) != condition.negated;
    [false, true].into_iter().find_map(|assertions| {
        let kind = all.iter().filter(|condition| condition.is_assertion() == assertions);
        let (triggers, plain): (Vec<_>, Vec<_>) = kind.partition(|condition| condition.trigger);
        let none_met = !triggers.iter().any(&met);
        let failed = plain.into_iter().find(|condition| !met(condition));
        failed.or_else(|| triggers.first().copied().filter(|_| none_met))
    })
}

impl FileCondition {
    fn read(name: &str, value: &str) -> Result<Self, String> {
        let what = name.strip_prefix("Condition").or_else(|| name.strip_prefix("Assert")).unwrap_or_default();
        let Some((_, test)) = TESTS.into_iter().find(|(known, _)| *known == what) else {
            let known = TESTS.map(|(known, _)| known).join(", ");
            return Err(format!("not offered; of Condition… and Assert… there are {known}"));
        };
        let (trigger, rest) = value.strip_prefix('|').map_or((false, value), |rest| (true, rest));
        let (negated, path) = rest.strip_prefix('!').map_or((false, rest), |rest| (true, rest));
        let path = path.trim_start().to_owned();
        if !path.starts_with('/') {
            return Err(format!("{path:?} is not an absolute path"));
        }
        Ok(Self { name: name.to_owned(), path, test, negated, trigger })
    }

    /// Conditions and assertions are met or not apart from each other.
    fn is_assertion(&self) -> bool {
        self.name.starts_with("Assert")
    }
}

/// As it stands in the text.
impl fmt::Display for FileCondition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = |set: bool, mark: &'static str| if set { mark } else { "" };
        write!(f, "{}={}{}{}", self.name, mark(self.trigger, "|"), mark(self.negated, "!"), self.path)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// There is a directory `/dir` and nothing else.
    fn holds(test: FileTest, path: &str) -> bool {
        path == "/dir" && matches!(test, FileTest::PathExists | FileTest::PathIsDirectory)
    }

    #[test]
    fn all_plain_ones_and_one_trigger_are_met() {
        // Lines → what is not met, if anything.
        let cases: [(&[&str], Option<&str>); 12] = [
            (&["ConditionPathExists=/dir"], None),
            (&["ConditionPathExists=!/dir"], Some("ConditionPathExists=!/dir")),
            (&["AssertPathExists=/no"], Some("AssertPathExists=/no")),
            (&["ConditionPathIsDirectory=/dir", "ConditionFileNotEmpty=!/dir"], None),
            (&["ConditionPathExists=|/no", "ConditionPathExists=|/dir"], None),
            (&["ConditionPathExists=|/no", "ConditionPathExists=|!/dir"], Some("ConditionPathExists=|/no")),
            (&["ConditionPathExists=|/dir", "ConditionPathExists=/no"], Some("ConditionPathExists=/no")),
            (&["AssertPathExists=/no", "ConditionPathExists=/no"], Some("ConditionPathExists=/no")),
            (&["AssertPathExists=|/dir", "ConditionPathExists=|/no"], Some("ConditionPathExists=|/no")),
            (&["ConditionPathExists=/no", "ConditionFileNotEmpty="], None),
            (&["ConditionPathExists=/no", "AssertPathExists="], Some("ConditionPathExists=/no")),
            (&[], None),
        ];
        for (lines, expected) in cases {
            let mut all = Vec::new();
            for line in lines {
                let (name, value) = line.split_once('=').unwrap();
                add(&mut all, name, value).unwrap();
            }
            assert_eq!(unmet(&all, holds).map(ToString::to_string).as_deref(), expected, "{lines:?}");
        }
    }

    #[test]
    fn what_is_not_about_files_is_refused() {
        for (name, value, expected) in [
            ("ConditionKernelVersion", ">=6", "not offered; of Condition… and Assert… there are PathExists, "),
            ("ConditionPathExists", "relative", "\"relative\" is not an absolute path"),
            ("AssertPathExists", "|!", "\"\" is not an absolute path"),
        ] {
            assert!(add(&mut Vec::new(), name, value).unwrap_err().starts_with(expected), "{name}");
        }
    }
}
