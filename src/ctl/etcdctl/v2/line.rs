//! The command line of API 2, with the mistakes that Go's `flag` package tells, and the help in the form of the original.

use std::fmt::Write as _;
use std::time::Duration;

use super::commands::{COMMANDS, GLOBAL, HELP};
use crate::api::version::ETCD_SERVER;

/// What a flag's value must look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Truth,
    Whole,
    Text,
    Span,
    /// Texts, comma-separated or each with a flag of its own.
    Many,
}

pub struct Opt {
    pub names: &'static [&'static str],
    pub kind: Kind,
    /// The left column of the help.
    pub shown: &'static str,
    pub help: &'static str,
}

pub struct Command {
    pub name: &'static str,
    pub usage: &'static str,
    pub arguments: &'static str,
    pub description: &'static str,
    pub options: &'static [Opt],
    /// A command with commands of its own does nothing by itself.
    pub commands: &'static [Command],
}

/// Flags and words as they were given.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Line {
    given: Vec<(&'static str, String)>,
    pub words: Vec<String>,
}

impl Line {
    /// The last value of a flag; empty where none was given.
    pub fn text(&self, name: &str) -> &str {
        self.given.iter().rev().find(|(known, _)| *known == name).map_or("", |(_, value)| value)
    }

    pub fn truth(&self, name: &str) -> bool {
        truth(self.text(name)).unwrap_or(false)
    }

    pub fn whole(&self, name: &str) -> i64 {
        self.text(name).parse().unwrap_or(0)
    }

    pub fn span(&self, name: &str, default: Duration) -> Duration {
        span(self.text(name)).unwrap_or(default)
    }

    pub fn many(&self, name: &str) -> Vec<String> {
        let values = self.given.iter().filter(|(known, _)| *known == name);
        values.flat_map(|(_, value)| value.split(',')).map(|item| item.trim().to_owned()).collect()
    }

    /// Takes the flags at the beginning; what follows is given back.
    ///
    /// # Errors
    /// The first flag that is wrong, in Go's words.
    pub fn leading<'a>(&mut self, arguments: &'a [String], options: &[&'static [Opt]]) -> Result<&'a [String], String> {
        let mut rest = arguments;
        while let Some((first, after)) = rest.split_first() {
            if first == "--" {
                return Ok(after);
            }
            if !is_flag(first) {
                return Ok(rest);
            }
            rest = self.flag(first, after, options)?;
        }
        Ok(rest)
    }

    /// Takes all that is left: flags anywhere, `--` ends them.
    ///
    /// # Errors
    /// The first flag that is wrong, in Go's words.
    pub fn all(&mut self, arguments: &[String], options: &[&'static [Opt]]) -> Result<(), String> {
        let mut rest = arguments;
        while let Some((first, after)) = rest.split_first() {
            rest = match first.as_str() {
                "--" => {
                    self.words.extend(after.iter().cloned());
                    return Ok(());
                }
                // Behind a word the original takes what it does not know for one, such as a negative number.
                flag if is_flag(flag) && (self.words.is_empty() || is_known(flag, options)) => {
                    self.flag(flag, after, options)?
                }
                word => {
                    self.words.push(word.to_owned());
                    after
                }
            };
        }
        Ok(())
    }

    fn flag<'a>(
        &mut self,
        argument: &str,
        after: &'a [String],
        options: &[&'static [Opt]],
    ) -> Result<&'a [String], String> {
        let bare = undashed(argument);
        if bare.is_empty() || bare.starts_with(['-', '=']) {
            return Err(format!("bad flag syntax: {argument}"));
        }
        let (name, attached) = match bare.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (bare, None),
        };
        let option = known(name, options).ok_or_else(|| format!("flag provided but not defined: -{name}"))?;
        let (value, after) = match (attached, option.kind, after) {
            (Some(value), _, _) => (value, after),
            (None, Kind::Truth, _) => ("true", after),
            (None, _, [value, after @ ..]) => (value.as_str(), after),
            (None, _, []) => return Err(format!("flag needs an argument: -{name}")),
        };
        let good = match option.kind {
            Kind::Truth if truth(value).is_none() => {
                return Err(format!("invalid boolean value {value:?} for -{name}: parse error"));
            }
            Kind::Whole => value.parse::<i64>().is_ok(),
            Kind::Span => span(value).is_some(),
            Kind::Truth | Kind::Text | Kind::Many => true,
        };
        if !good {
            return Err(format!("invalid value {value:?} for flag -{name}: parse error"));
        }
        self.given.push((option.names[0], value.to_owned()));
        Ok(after)
    }
}

fn undashed(argument: &str) -> &str {
    argument.strip_prefix("--").or_else(|| argument.strip_prefix('-')).unwrap_or(argument)
}

fn known(name: &str, options: &[&'static [Opt]]) -> Option<&'static Opt> {
    options.iter().copied().flatten().find(|option| option.names.contains(&name))
}

fn is_known(argument: &str, options: &[&'static [Opt]]) -> bool {
    let bare = undashed(argument);
    known(bare.split('=').next().unwrap_or(bare), options).is_some()
}

fn is_flag(argument: &str) -> bool {
    argument.len() > 1 && argument.starts_with('-')
}

/// The texts that Go's `strconv.ParseBool` takes.
fn truth(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// `1m30s`, `500ms`: Go's durations as far as they are no nonsense here.
fn span(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let unit_at = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(unit_at);
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let unit = match &after[..end] {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        seconds += number.parse::<f64>().ok()? * unit;
        rest = &after[end..];
    }
    (!text.is_empty()).then(|| Duration::try_from_secs_f64(seconds).ok())?
}

/// The program's help.
pub fn program() -> String {
    let help = ("help, h", "Shows a list of commands or help for one command");
    let commands: Vec<_> = COMMANDS.iter().map(|command| (command.name, command.usage)).chain([help]).collect();
    let options: Vec<_> = GLOBAL.iter().map(|option| (option.shown, option.help)).collect();
    format!(
        "NAME:\n   etcdctl - A simple command line client for etcd.\n\nUSAGE:\n   etcdctl [global options] command [command options] \
         [arguments...]\n\nVERSION:\n   {ETCD_SERVER}\n\nCOMMANDS:\n{}\nGLOBAL OPTIONS:\n{}",
        columns(&commands),
        columns(&options)
    )
}

/// The help of a command that has commands.
pub fn family(command: &Command) -> String {
    let Command { name, usage, commands, .. } = command;
    let commands: Vec<_> = commands.iter().map(|command| (command.name, command.usage)).collect();
    let options = columns(&[(HELP.shown, HELP.help)]);
    format!(
        "NAME:\n   etcdctl {name} - {usage}\n\nUSAGE:\n   etcdctl {name} command [command options] [arguments...]\n\n\
         COMMANDS:\n{}\nOPTIONS:\n{options}   \n",
        columns(&commands)
    )
}

/// The help of a command; `full` is its name with that of its family.
pub fn one(full: &str, command: &Command) -> String {
    let options = if command.options.is_empty() { "" } else { " [command options]" };
    let arguments = if command.arguments.is_empty() { "[arguments...]" } else { command.arguments };
    let mut text =
        format!("NAME:\n   etcdctl {full} - {}\n\nUSAGE:\n   etcdctl {full}{options} {arguments}\n", command.usage);
    if !command.description.is_empty() {
        let _ = write!(text, "\nDESCRIPTION:\n   {}\n", command.description);
    }
    if !command.options.is_empty() {
        let options: Vec<_> = command.options.iter().map(|option| (option.shown, option.help)).collect();
        let _ = write!(text, "\nOPTIONS:\n{}   \n", columns(&options));
    }
    text
}

fn columns(rows: &[(&str, &str)]) -> String {
    let width = rows.iter().map(|(left, _)| left.len()).max().unwrap_or(0);
    rows.iter().map(|(left, right)| format!("   {left:width$}  {right}\n")).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::commands::find;
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn flags_stand_anywhere_behind_the_verb() {
        let set = find(COMMANDS, "set").unwrap();
        let mut line = Line::default();
        line.all(&words("/a -1 --nope"), &[set.options, GLOBAL]).unwrap();
        assert_eq!(line.words.join(" "), "/a -1 --nope");
        for text in ["--ttl 5 /a 1", "/a --ttl=5 1", "/a 1 -ttl 5", "-ttl 5 -- /a 1"] {
            let mut line = Line::default();
            line.all(&words(text), &[set.options, GLOBAL]).unwrap();
            assert_eq!((line.whole("ttl"), &*line.words.join(" ")), (5, "/a 1"), "{text}");
        }
        let mut line = Line::default();
        let given = words("--debug -o json -C a,b get /x -q");
        assert_eq!(line.leading(&given, &[GLOBAL]).unwrap(), &given[5..]);
        assert!(line.truth("debug") && line.text("output") == "json" && line.many("peers") == ["a", "b"]);
    }

    #[test]
    fn mistakes_are_told_in_gos_words() {
        let set = find(COMMANDS, "set").unwrap();
        let cases = [
            ("--nope", "flag provided but not defined: -nope"),
            ("--ttl", "flag needs an argument: -ttl"),
            ("-ttl=x", "invalid value \"x\" for flag -ttl: parse error"),
            ("--timeout 5", "invalid value \"5\" for flag -timeout: parse error"),
            ("--debug=maybe", "invalid boolean value \"maybe\" for -debug: parse error"),
            ("---x", "bad flag syntax: ---x"),
        ];
        for (text, expected) in cases {
            assert_eq!(Line::default().all(&words(text), &[set.options, GLOBAL]).unwrap_err(), expected);
        }
    }

    #[test]
    fn durations_are_gos() {
        for (text, seconds) in [("2s", 2.0), ("1m30s", 90.0), ("500ms", 0.5), ("1.5h", 5400.0)] {
            assert_eq!(span(text).unwrap().as_secs_f64(), seconds);
        }
        for text in ["", "5", "s", "5d", "-1s"] {
            assert_eq!(span(text), None, "{text}");
        }
    }
}
