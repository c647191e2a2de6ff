//! Plans and applies as people read them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use jiff::Timestamp;

use super::unified;
use crate::api::fleet::model::{Applies, Planned};
use crate::base::UnixMillis;
use crate::fleet::rollout::{Action, Applied, Change, Version};
use crate::fleet::table;

/// What would change: each unit, and the difference of its text.
pub fn plan(planned: &Planned) -> String {
    let mut text = changes(&planned.changes, &planned.texts);
    let (count, names) = (planned.unchanged.len(), planned.unchanged.join(" "));
    if count > 0 {
        let _ = writeln!(text, "  unchanged {names}");
    }
    text
}

/// One change in a line.
pub fn line(change: &Change) -> String {
    match change.action() {
        Action::Create => {
            let desired = change.after.as_ref().map(|after| after.desired.to_string()).unwrap_or_default();
            format!("+ create  {} ({desired})", change.unit)
        }
        Action::Change => format!("~ change  {}", change.unit),
        Action::Adopt => format!("= adopt   {}", change.unit),
        Action::Remove => format!("- remove  {}", change.unit),
    }
}

fn changes(changes: &[Change], texts: &BTreeMap<String, String>) -> String {
    let text_of = |version: &Option<Version>| {
        let hash = version.as_ref().map(|version| version.hash.as_str()).unwrap_or_default();
        texts.get(hash).map(String::as_str).unwrap_or_default()
    };
    let hashes = |change: &Change| {
        let hash = |version: &Option<Version>| version.as_ref().map(|version| version.hash.clone());
        (hash(&change.before), hash(&change.after))
    };
    let mut shown = BTreeMap::new();
    let mut text = String::new();
    for change in changes {
        let _ = writeln!(text, "{}", line(change));
        if change.action() == Action::Adopt {
            continue;
        }
        // Instances of one template change alike.
        match shown.get(&hashes(change)) {
            Some(first) => {
                let _ = writeln!(text, "    as {first}");
            }
            None => {
                shown.insert(hashes(change), change.unit.clone());
                let difference = unified::diff(&change.unit, text_of(&change.before), text_of(&change.after));
                for line in difference.lines() {
                    let _ = writeln!(text, "    {line}");
                }
            }
        }
    }
    text
}

/// All applies that are kept, a line each.
pub fn history(applies: &Applies) -> String {
    let head = ["REVISION", "TIME", "BY", "OUTCOME", "CHANGES"].map(str::to_owned);
    let mut rows = vec![head.to_vec()];
    for applied in &applies.applies {
        let rollout = &applied.rollout;
        let rolling = applies.under_way.as_ref().filter(|rolling| rolling.revision == rollout.revision);
        let outcome = match (rolling, &applied.failure) {
            (Some(rolling), _) if rolling.progress.failure.is_some() => "going back".to_owned(),
            (Some(rolling), _) => format!("{} of {}", rolling.progress.passed, rollout.changes.len()),
            (None, Some(reason)) => format!("taken back: {reason}"),
            (None, None) => "done".to_owned(),
        };
        let back = rollout.back_to.map(|to| format!("back to {to}: ")).unwrap_or_default();
        let row =
            [rollout.revision.to_string(), time(rollout.at), rollout.by.clone(), outcome, back + &summary(applied)];
        rows.push(row.to_vec());
    }
    table::format(&rows)
}

/// The units of an apply, those alike together.
fn summary(applied: &Applied) -> String {
    let of = |mark: char, action: Action| {
        let alike = applied.rollout.changes.iter().filter(move |change| change.action() == action);
        alike.map(move |change| format!("{mark}{}", change.unit))
    };
    let all = of('+', Action::Create).chain(of('~', Action::Change)).chain(of('=', Action::Adopt));
    all.chain(of('-', Action::Remove)).collect::<Vec<_>>().join(" ")
}

/// One apply in full.
pub fn applied(applied: &Applied) -> String {
    let rollout = &applied.rollout;
    let mut text = format!("revision {} at {} by {}\n", rollout.revision, time(rollout.at), rollout.by);
    if let Some(to) = rollout.back_to {
        let _ = writeln!(text, "back to revision {to}");
    }
    match &applied.failure {
        Some(reason) => {
            let _ = writeln!(text, "taken back at {}: {reason}", time(applied.ended));
        }
        None => {
            let _ = writeln!(text, "done at {}", time(applied.ended));
        }
    }
    text + &changes(&rollout.changes, &rollout.texts)
}

fn time(at: UnixMillis) -> String {
    let time = Timestamp::from_millisecond(at.0);
    time.map_or_else(|_| "-".to_owned(), |time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::fleet::model::Rolling;
    use crate::fleet::rollout::{Progress, Rollout};
    use crate::fleet::types::DesiredState;

    fn version(hash: &str) -> Option<Version> {
        Some(Version { hash: hash.into(), desired: DesiredState::Launched, global: false, set: None })
    }

    fn change(unit: &str, before: Option<Version>, after: Option<Version>) -> Change {
        Change { unit: unit.into(), before, after }
    }

    #[test]
    fn plans_show_texts_once() {
        let texts = [("1", "[Service]\nExecStart=/a\n"), ("2", "[Service]\nExecStart=/b\n")];
        let planned = Planned {
            changes: vec![
                change("n.service", None, version("1")),
                change("w@1.service", version("1"), version("2")),
                change("w@2.service", version("1"), version("2")),
                change("x.service", version("1"), None),
            ],
            texts: texts.map(|(hash, text)| (hash.to_owned(), text.to_owned())).into(),
            unchanged: vec!["u.service".into()],
            ..Planned::default()
        };
        let expected = "\
+ create  n.service (launched)
    --- a/n.service
    +++ b/n.service
    @@ -0,0 +1,2 @@
    +[Service]
    +ExecStart=/a
~ change  w@1.service
    --- a/w@1.service
    +++ b/w@1.service
    @@ -1,2 +1,2 @@
     [Service]
    -ExecStart=/a
    +ExecStart=/b
~ change  w@2.service
    as w@1.service
- remove  x.service
    --- a/x.service
    +++ b/x.service
    @@ -1,2 +0,0 @@
    -[Service]
    -ExecStart=/a
  unchanged u.service
";
        assert_eq!(plan(&planned), expected);
        assert_eq!(plan(&Planned::default()), "");
    }

    #[test]
    fn history_tells_what_came_of_it() {
        let rollout = |revision| Rollout {
            revision,
            by: "me@here".into(),
            changes: vec![change("b.service", version("1"), version("2")), change("a.service", None, version("1"))],
            ..Rollout::default()
        };
        let applies = Applies {
            applies: vec![
                Applied { rollout: rollout(3), ..Applied::default() },
                Applied { rollout: rollout(2), failure: Some("no".into()), ..Applied::default() },
                Applied { rollout: Rollout { back_to: Some(0), ..rollout(1) }, ..Applied::default() },
            ],
            under_way: Some(Rolling { revision: 3, progress: Progress { passed: 1, released: 2, failure: None } }),
        };
        let lines: Vec<String> = history(&applies).lines().map(|line| line.replace('\t', " ")).collect();
        for (line, parts) in lines[1..].iter().zip([["3 ", " 1 of 2 "], ["2 ", " taken back: no "], ["1 ", " done "]]) {
            assert!(line.starts_with(parts[0]) && line.contains(parts[1]), "{line}");
            assert!(line.ends_with("+a.service ~b.service") && line.contains("1970-01-01T00:00:00Z"), "{line}");
        }
        assert!(lines[3].contains("back to 0: +a"));
    }
}
