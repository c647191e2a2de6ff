//! What came of an import, as text: what was taken, what was not, and what is to be known of it.

use std::fmt::Write as _;

use super::tree::Grown;
use crate::etcd_file::Report;

/// What came of it.
#[derive(Default)]
pub struct Outcome {
    pub report: Report,
    /// Of a v2 tree, if there was one.
    pub grown: Option<Grown>,
    pub notes: Vec<String>,
}

/// What was taken and what was not.
pub fn told(outcome: &Outcome) -> String {
    let Outcome { report, grown, notes } = outcome;
    let loaded = &report.loaded;
    let history = match report.compacted {
        0 => "all history".to_owned(),
        mark => format!("history from {mark} on"),
    };
    let mut text = format!(
        "taken     revision {} with {history}: {} puts, {} deletions, {} leases\n",
        report.revision, loaded.changes, loaded.deletions, loaded.leases
    );
    if let Some(grown) = grown {
        let _ = writeln!(
            text,
            "of v2     {} files and {} directories, {} of them with a time to live",
            grown.files, grown.directories, grown.ending
        );
        if grown.conflicts > 0 {
            let _ = writeln!(text, "          {} keys were in v3 too, with other values", grown.conflicts);
        }
    }
    let mut left = |what: String| {
        let _ = writeln!(text, "not taken {what}");
    };
    if report.users > 0 || report.roles > 0 || report.auth_enabled {
        let on = if report.auth_enabled { "on" } else { "off" };
        left(format!("{} users and {} roles; authentication was {on}, here it is off", report.users, report.roles));
    }
    if report.alarms > 0 {
        left(format!("{} alarms", report.alarms));
    }
    if !report.members.is_empty() {
        let version = report.version.as_deref().map_or_else(String::new, |version| format!(" of version {version}"));
        left(format!("the old cluster{version} and its members: {}", report.members.join(", ")));
    }
    if !report.unknown.is_empty() {
        left(format!("what this program does not know: {}", report.unknown.join(", ")));
    }
    if loaded.without_lease > 0 {
        let _ = writeln!(text, "note      {} puts name leases that are not in the file", loaded.without_lease);
    }
    for (old, new) in &loaded.renumbered {
        let _ = writeln!(text, "note      lease {old} is {new} here: its number has another use");
    }
    for note in notes {
        let _ = writeln!(text, "note      {note}");
    }
    if !report.sealed {
        text.push_str(
            "note      the file has no checksum, and what etcd had in its log alone is not in it: stop etcd in order before\n",
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_left_is_said() {
        let report = Report {
            revision: 9,
            compacted: 4,
            auth_enabled: true,
            users: 2,
            roles: 1,
            alarms: 1,
            members: vec!["a".to_owned(), "b".to_owned()],
            version: Some("3.5.0".to_owned()),
            unknown: vec!["newer".to_owned()],
            ..Report::default()
        };
        let outcome = Outcome { report, notes: vec!["mind this".to_owned()], ..Outcome::default() };
        let text = told(&outcome);
        for part in [
            "taken     revision 9 with history from 4 on",
            "not taken 2 users and 1 roles; authentication was on, here it is off",
            "not taken 1 alarms",
            "not taken the old cluster of version 3.5.0 and its members: a, b",
            "not taken what this program does not know: newer",
            "note      mind this",
            "note      the file has no checksum",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
    }
}
