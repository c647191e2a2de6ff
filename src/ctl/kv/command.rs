//! The command line of `node ctl kv`.

use jiff::Zoned;

use super::moment;
use super::show;
use crate::ctl::args::{Flag, Parsed};
use crate::wire::history::Data;

pub const HELP: &str = "\
node ctl kv: keys as they are and as they were, and who changed them.

  $ node ctl kv get /app/port                     the key now, with the time of its last change
  $ node ctl kv get /app --prefix --at '5 min ago'
                                                  all keys that begin with /app, as they were then
  $ node ctl kv get /app/port --rev 120           as it was at a revision
  $ node ctl kv history /app/port                 its changes: revision, time, who, what, value; the newest first
  $ node ctl kv diff 120 '1 h ago' /app           what differs between two moments, below a prefix
  $ node ctl kv diff yesterday now                  everywhere
  $ node ctl kv watch /app --prefix --from '1 h ago'
                                                  the changes since then, and from now on as they happen
  $ node ctl kv put /app/port 8080
  $ node ctl kv del /app/port

  A moment is a revision, `now`, `yesterday`, a time ago (5m, `2 days ago`), a time of day (14:30: the last one), or a
  date and time (2026-01-31, 2026-01-31T14:30, 2026-01-31T14:30:00+01:00); without an offset it is this machine's time.

  --at MOMENT         as it was then
  --rev N             as it was at this revision
  --from MOMENT       where a watch begins; a revision's own changes are told, of a time those after it
  --prefix            all keys that begin with KEY
  --limit N           no more than so many
  --value-only        the bytes of the values alone, a line end after each
  --output FORMAT     text or json [text]
  --endpoint URL      as of `node ctl`

It exits with 1 where the one key that is asked for is not there, or what is asked for is gone from history.
";

pub const FLAGS: &[Flag] = &[
    Flag { names: &["prefix"], value: false, variable: None, help: "all keys that begin with KEY" },
    Flag { names: &["at"], value: true, variable: None, help: "as it was then" },
    Flag { names: &["rev"], value: true, variable: None, help: "as it was at this revision" },
    Flag { names: &["from"], value: true, variable: None, help: "where a watch begins" },
    Flag { names: &["limit"], value: true, variable: None, help: "no more than so many" },
    Flag { names: &["value-only"], value: false, variable: None, help: "the values alone" },
    Flag { names: &["output", "o"], value: true, variable: None, help: "text or json" },
];

/// A command line, understood.
#[derive(Debug, PartialEq, Eq)]
pub struct Command {
    pub what: What,
    pub ask: Ask,
    pub output: Output,
}

#[derive(Debug, PartialEq, Eq)]
pub enum What {
    Get,
    History,
    Diff,
    Watch,
    Put { value: String },
    Delete,
}

/// What is asked of the node.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Ask {
    pub key: String,
    pub prefix: bool,
    /// Parameters of the door, and what they are set to.
    pub moments: Vec<(&'static str, String)>,
    pub limit: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    Text,
    Json,
    Value,
}

impl What {
    /// The door's path.
    pub fn path(&self) -> &'static str {
        match self {
            Self::History => "history",
            Self::Diff => "diff",
            _ => "keys",
        }
    }

    /// What is said where nothing was found.
    pub fn nothing(&self, key: &str) -> String {
        let key = show::data(&Data::Text(key.to_owned()));
        match self {
            Self::History => format!("history knows no change of {key}"),
            _ => format!("there was no key {key} at that moment"),
        }
    }
}

/// Understands the words behind `kv`.
///
/// # Errors
/// What is wrong with them.
pub fn understand(parsed: &Parsed) -> Result<Command, String> {
    understand_at(parsed, &Zoned::now())
}

fn understand_at(parsed: &Parsed, now: &Zoned) -> Result<Command, String> {
    let words: Vec<&str> = parsed.words.iter().skip(1).map(String::as_str).collect();
    let truth = |name| parsed.truth(name).map_err(|error| error.to_string());
    let (what, key, between) = match words[..] {
        ["get", key] => (What::Get, key, None),
        ["get"] if truth("prefix")? => (What::Get, "", None),
        ["history", key] => (What::History, key, None),
        ["diff", from, to] => (What::Diff, "", Some((from, to))),
        ["diff", from, to, prefix] => (What::Diff, prefix, Some((from, to))),
        ["watch", key] => (What::Watch, key, None),
        ["watch"] if truth("prefix")? => (What::Watch, "", None),
        ["put", key, value] => (What::Put { value: value.to_owned() }, key, None),
        ["del" | "delete", key] => (What::Delete, key, None),
        _ => {
            let usage =
                "takes `get KEY`, `history KEY`, `diff FROM TO [PREFIX]`, `watch KEY`, `put KEY VALUE` or `del KEY`";
            return Err(usage.to_owned());
        }
    };
    if key.is_empty() && !matches!(what, What::Get | What::Watch | What::Diff) {
        return Err("a key is not empty".to_owned());
    }
    only_what_it_knows(parsed, &what)?;
    let mut ask = Ask { key: key.to_owned(), prefix: truth("prefix")? || what == What::Diff, ..Ask::default() };
    // As of etcdctl, 0 is no limit.
    ask.limit = parsed.number("limit").map_err(|error| error.to_string())?.filter(|limit| *limit > 0);
    let mut moment = |name: &'static str, flag: &str, text: Option<&str>| -> Result<(), String> {
        if let Some(text) = text {
            let asked = moment::understand(text, now).map_err(|why| format!("{flag}: {why}"))?;
            ask.moments.extend(asked.map(|asked| (name, asked)));
        }
        Ok(())
    };
    if let Some((from, to)) = between {
        moment("from", "from", Some(from))?;
        moment("to", "to", Some(to))?;
    }
    let revision: Option<i64> = parsed.number("rev").map_err(|error| error.to_string())?;
    if revision.is_some() && parsed.value("at").is_some() {
        return Err("--at and --rev are two moments; give one".to_owned());
    }
    moment("at", "--at", parsed.value("at").or(revision.and(parsed.value("rev"))))?;
    moment("from", "--from", parsed.value("from"))?;
    let output = match (parsed.value("output"), truth("value-only")?) {
        (None | Some("text"), false) => Output::Text,
        (None | Some("text"), true) => Output::Value,
        (Some("json"), false) => Output::Json,
        (Some("json"), true) => return Err("--value-only and --output json do not go together".to_owned()),
        (Some(other), _) => return Err(format!("--output: `{other}` is neither text nor json")),
    };
    Ok(Command { what, ask, output })
}

/// A flag that means nothing to the command is a mistake.
fn only_what_it_knows(parsed: &Parsed, what: &What) -> Result<(), String> {
    let known: &[&str] = match what {
        What::Get => &["prefix", "at", "rev", "limit", "value-only", "output"],
        What::History => &["limit", "value-only", "output"],
        What::Diff => &["limit", "output"],
        What::Watch => &["prefix", "from", "value-only", "output"],
        What::Put { .. } => &[],
        What::Delete => &["prefix"],
    };
    let flags = FLAGS.iter().map(|flag| flag.names[0]);
    match flags.filter(|name| parsed.value(name).is_some()).find(|name| !known.contains(name)) {
        Some(name) => Err(format!("--{name} means nothing here")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::ctl::args;

    fn command(line: &[&str]) -> Result<Command, String> {
        let words: Vec<String> = ["kv"].iter().chain(line).map(|word| (*word).to_owned()).collect();
        let parsed = args::parse(&words, &[FLAGS], &|_| None).unwrap();
        understand_at(&parsed, &"2026-01-31T14:30:00+01:00[+01:00]".parse().unwrap())
    }

    #[test]
    fn commands_and_moments_are_understood() {
        let get = command(&["get", "/a", "--at", "5 min ago", "-o", "json"]).unwrap();
        assert_eq!((get.what, get.output), (What::Get, Output::Json));
        assert_eq!(get.ask.moments, [("at", "2026-01-31T13:25:00Z".to_owned())]);
        assert_eq!(command(&["get", "/a", "--rev=7"]).unwrap().ask.moments, [("at", "7".to_owned())]);
        let diff = command(&["diff", "7", "now", "/a"]).unwrap();
        assert_eq!(diff.ask, Ask { key: "/a".into(), prefix: true, moments: vec![("from", "7".into())], limit: None });
        let watch = command(&["watch", "/a", "--prefix", "--from", "1h"]).unwrap();
        assert_eq!(watch.ask.moments, [("from", "2026-01-31T12:30:00Z".to_owned())]);
        assert!(command(&["get", "--prefix"]).unwrap().ask.key.is_empty());
        assert_eq!(command(&["put", "k", ""]).unwrap().what, What::Put { value: String::new() });
    }

    #[test]
    fn what_makes_no_sense_is_said() {
        for line in [
            &["get"][..],
            &["get", "a", "b"],
            &["history", ""],
            &["history", "a", "--prefix"],
            &["get", "a", "--at", "7", "--rev", "7"],
            &["get", "a", "--at", "tomorrow"],
            &["get", "a", "--rev", "x"],
            &["get", "a", "--output", "yaml"],
            &["get", "a", "--value-only", "--output", "json"],
            &["diff", "1"],
            &["put", "a", "b", "--at", "1"],
        ] {
            assert!(command(line).is_err(), "{line:?}");
        }
    }
}
