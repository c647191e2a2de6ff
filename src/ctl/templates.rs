//! `node ctl templates` and `node ctl trace`: how template resources are on each machine, and what a key has changed.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::Context as _;
use hyper::{Method, StatusCode};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use serde::Deserialize;

use super::contact::Contact;
use super::node_ctl::ANSWER_WITHIN;
use crate::base::UnixMillis;
use crate::confd::{Change, State, Status, Steps, Trouble};

/// Characters of a machine's id that are shown.
const SHORT: usize = 8;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Answer {
    templates: Vec<Status>,
    error: String,
}

async fn ask(at: &Contact, query: &str) -> anyhow::Result<Vec<Status>> {
    let target = format!("/templates/v1{query}");
    let answer =
        at.call(Method::GET, &target, None, ANSWER_WITHIN).await.map_err(|error| anyhow::anyhow!("{error}"))?;
    let read: Answer = serde_json::from_slice(&answer.body)
        .ok()
        .with_context(|| format!("{at}: {}: this is no node that tells of templates", answer.status))?;
    anyhow::ensure!(answer.status == StatusCode::OK, "{at}: {}", read.error);
    Ok(read.templates)
}

/// Lists all resources, or tells all of one. The exit code is 1 where one of them has failed, or there is none.
///
/// # Errors
/// A node that does not answer.
pub async fn list(at: &Contact, name: Option<&str>) -> anyhow::Result<u8> {
    let mut templates = ask(at, "").await?;
    templates.sort_by(|a, b| (&a.name, &a.machine).cmp(&(&b.name, &b.machine)));
    if let Some(name) = name {
        templates.retain(|status| status.name == name);
        templates.iter().for_each(|status| print!("{}", whole(status)));
    } else {
        print!("{}", table(&templates));
    }
    if templates.is_empty() {
        eprintln!(
            "node ctl templates: {}",
            name.map_or("no machine has any".to_owned(), |name| format!("no machine has {name}"))
        );
    }
    Ok(u8::from(templates.is_empty() || templates.iter().any(|status| status.state == State::Failed)))
}

/// Tells which files and processes have changed because of a key. The exit code is 1 where nothing reads it.
///
/// # Errors
/// A node that does not answer.
pub async fn trace(at: &Contact, key: &str) -> anyhow::Result<u8> {
    let query = format!("?key={}", percent_encode(key.as_bytes(), NON_ALPHANUMERIC));
    let templates = ask(at, &query).await?;
    print!("{}", traced(key, &templates));
    if templates.is_empty() {
        eprintln!("node ctl trace: no template reads {key}");
    }
    Ok(u8::from(templates.is_empty()))
}

fn state(status: &Status) -> &'static str {
    match status.state {
        State::New => "new",
        State::Ok => "ok",
        State::Reloading => "reloading",
        State::Waiting => "waiting",
        State::Failed => "FAILED",
    }
}

fn time(at: UnixMillis) -> String {
    let at = Timestamp::from_millisecond(at.0).unwrap_or_default().to_zoned(TimeZone::system());
    at.strftime("%Y-%m-%d %H:%M:%S.%3f").to_string()
}

fn ms(us: u64) -> String {
    format!("{:.1} ms", us as f64 / 1000.0)
}

fn short(machine: &str) -> &str {
    machine.get(..SHORT).unwrap_or(machine)
}

fn table(templates: &[Status]) -> String {
    let mut rows = vec![["NAME", "MACHINE", "STATE", "REVISION", "TOOK", "CHANGED", "DEST"].map(str::to_owned)];
    for status in templates {
        let changed = status.changes.iter().rev().find(|change| change.failed.is_none());
        rows.push([
            status.name.clone(),
            short(&status.machine).to_owned(),
            state(status).to_owned(),
            status.revision.to_string(),
            ms(status.steps.total_us()),
            changed.map_or("-".to_owned(), |change| time(change.at)),
            status.dest.clone(),
        ]);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 7] = std::array::from_fn(width);
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        let _ = writeln!(text, "{}", cells.join("  ").trim_end());
        let trouble = number.checked_sub(1).and_then(|at| templates[at].trouble.as_ref());
        if let Some(trouble) = trouble {
            let _ = writeln!(text, "  {}", told(trouble));
        }
    }
    text
}

/// A trouble with its place.
fn told(trouble: &Trouble) -> String {
    let mut place = trouble.file.clone();
    for part in [trouble.line, trouble.column].into_iter().flatten() {
        let _ = write!(place, ":{part}");
    }
    format!("{place}: {} (since {})", trouble.message, time(trouble.since))
}

fn steps(steps: &Steps) -> String {
    let made = [
        ("wait", Some(steps.wait_us)),
        ("render", Some(steps.render_us)),
        ("check", steps.check_us),
        ("replace", steps.replace_us),
        ("reload", steps.reload_us),
    ];
    let told = made.iter().filter_map(|(name, us)| Some(format!("{name} {}", ms((*us)?))));
    told.collect::<Vec<_>>().join(", ")
}

/// What came of a change.
fn came(change: &Change) -> String {
    let mut parts = Vec::new();
    if !change.files.is_empty() {
        parts.push(format!("{} replaced", change.files.join(", ")));
    }
    if let Some(reload) = &change.reload {
        parts.push(format!("reloaded by `{reload}`"));
    }
    parts.extend(change.failed.iter().map(|failed| format!("FAILED: {failed}")));
    parts.join("; ")
}

fn whole(status: &Status) -> String {
    let reads: Vec<String> = status.reads.iter().map(|read| format!("{} {}", read.how, read.path)).collect();
    let mut text = format!("{} on {}: {}\n", status.name, status.machine, state(status));
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "  {name:9} {value}");
    };
    line("file", status.file.clone());
    line("dest", status.dest.clone());
    line("reads", if reads.is_empty() { "-".to_owned() } else { reads.join("\n            ") });
    line("revision", status.revision.to_string());
    line("last pass", format!("{}: {}", time(status.at), steps(&status.steps)));
    if let Some(trouble) = &status.trouble {
        line("trouble", told(trouble));
    }
    for change in status.changes.iter().rev() {
        let keys = if change.keys.is_empty() { "everything was looked at".to_owned() } else { change.keys.join(" ") };
        line("change", format!("{} revision {}: {keys}: {}", time(change.at), change.revision, came(change)));
    }
    text
}

/// The changes that a key caused, by revision; then who reads it and has nothing to tell.
fn traced(key: &str, templates: &[Status]) -> String {
    let mut by_revision: BTreeMap<i64, Vec<(&Status, &Change)>> = BTreeMap::new();
    let mut silent = Vec::new();
    for status in templates {
        let caused: Vec<&Change> =
            status.changes.iter().filter(|change| change.keys.iter().any(|one| one == key)).collect();
        if caused.is_empty() {
            silent.push(status);
        }
        caused.into_iter().for_each(|change| by_revision.entry(change.revision).or_default().push((status, change)));
    }
    let mut text = String::new();
    for (revision, changes) in by_revision.iter().rev() {
        let written = changes.iter().find_map(|(_, change)| change.written);
        let _ = writeln!(
            text,
            "revision {revision}{}",
            written.map_or(String::new(), |at| format!(", written {}", time(at)))
        );
        for (status, change) in changes {
            // By the clocks of two machines.
            let after = change.written.map(|written| format!(", {} ms after the write", change.at.0 - written.0));
            let _ = writeln!(
                text,
                "  {}  {}: {}\n            {}{}",
                short(&status.machine),
                status.name,
                came(change),
                steps(&change.steps),
                after.unwrap_or_default()
            );
        }
    }
    if !silent.is_empty() {
        let _ = writeln!(text, "read, without a change that is remembered");
        for status in silent {
            let _ = writeln!(text, "  {}  {}: {}", short(&status.machine), status.name, status.dest);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::confd::Lookup;

    fn status(name: &str) -> Status {
        let steps = Steps { wait_us: 2_100, render_us: 400, replace_us: Some(900), ..Steps::default() };
        Status {
            name: name.into(),
            machine: "0123456789abcdef".into(),
            file: "/etc/confd/conf.d/x.toml".into(),
            dest: "/etc/x".into(),
            state: State::Ok,
            reads: vec![Lookup { how: "gets".into(), path: "/app/*".into() }],
            revision: 7,
            at: UnixMillis(1_000),
            steps,
            trouble: None,
            changes: vec![Change {
                revision: 6,
                keys: vec!["/app/1".into()],
                written: Some(UnixMillis(995)),
                at: UnixMillis(1_000),
                files: vec!["/etc/x".into()],
                reload: Some("x.service".into()),
                steps,
                failed: None,
            }],
        }
    }

    #[test]
    fn a_key_is_traced_to_files_and_processes() {
        let text = traced("/app/1", &[status("x"), Status { changes: Vec::new(), ..status("y") }]);
        for part in [
            "revision 6, written 1970-",
            "  01234567  x: /etc/x replaced; reloaded by `x.service`\n",
            "wait 2.1 ms, render 0.4 ms, replace 0.9 ms, 5 ms after the write",
            "read, without a change that is remembered\n  01234567  y: /etc/x\n",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
    }

    #[test]
    fn troubles_are_told_with_their_place() {
        let since = UnixMillis(0);
        let trouble = Trouble { file: "/t/x.tmpl".into(), line: Some(3), column: Some(7), message: "no".into(), since };
        let failed = Status { state: State::Failed, trouble: Some(trouble), ..status("x") };
        assert!(table(std::slice::from_ref(&failed)).contains("FAILED"), "{}", table(std::slice::from_ref(&failed)));
        assert!(whole(&failed).contains("/t/x.tmpl:3:7: no (since 1970-"), "{}", whole(&failed));
        assert!(table(&[status("x")]).starts_with("NAME  MACHINE   STATE"));
    }
}
