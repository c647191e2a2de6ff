//! Command lines of `ExecStart=` and its kin: prefixes, words, `;`, specifiers, and variables at the time of running.

use std::collections::BTreeMap;

use super::specifier::{SpecifierError, Specifiers};
use super::words::{self, Mode, WordError, is_space};

/// With which rights a command runs, by its prefix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Privilege {
    /// No prefix: as `User=` and the sandboxing options say.
    #[default]
    AsConfigured,
    /// `+`: full rights, no `User=`, no sandbox.
    Full,
    /// `!`: the sandbox, but `User=` and `Group=` are not applied.
    KeepUser,
    /// `!!`: as `!` only where ambient capabilities are missing, hence nothing on today's kernels.
    Ambient,
}

/// One command, split into words, specifiers replaced, variables not yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Command {
    /// An absolute path, or a name without a slash to be looked up in the executor's path.
    pub path: String,
    /// What the process sees as its arguments; the first is its own name.
    pub argv: Vec<String>,
    /// `-`: failing counts as success.
    pub ignore_failure: bool,
    /// `:`: variables are left as written.
    pub literal: bool,
    pub privilege: Privilege,
}

/// Why a value is no command line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    #[error("{line:?}: {source}")]
    Words { line: String, source: WordError },
    #[error("{line:?}: {source}")]
    Specifier { line: String, source: SpecifierError },
    #[error("{line:?}: no program after the prefix {prefix:?}")]
    NoProgram { line: String, prefix: String },
    #[error("{line:?}: {path:?} is neither an absolute path nor a plain name")]
    RelativePath { line: String, path: String },
    #[error("{line:?}: \"@\" needs a second word, the name that the process sees as its own")]
    NoArgv0 { line: String },
}

/// Splits the (joined) value of one `Exec…=` line into its commands; more than one where `;` stands alone.
/// An empty value gives none: in systemd it empties the list made so far.
///
/// # Errors
/// The first mistake, with the line.
pub fn parse(value: &str, specifiers: &Specifiers) -> Result<Vec<Command>, CommandError> {
    let mut rest = value.trim_matches(is_space);
    let mut commands = Vec::new();
    while let Some(first) = word(value, &mut rest)? {
        // A separator without a command before it is passed over, as systemd does.
        if first == ";" {
            continue;
        }
        commands.push(parse_one(value, &first, &mut rest, specifiers)?);
    }
    Ok(commands)
}

fn parse_one(line: &str, first: &str, rest: &mut &str, specifiers: &Specifiers) -> Result<Command, CommandError> {
    let own_line = || line.to_owned();
    let expand =
        |text: &str| specifiers.expand(text).map_err(|source| CommandError::Specifier { line: own_line(), source });
    let (mut command, argv0_given, program) = prefixes(first);
    if program.is_empty() {
        return Err(CommandError::NoProgram { line: own_line(), prefix: first.to_owned() });
    }
    let path = expand(program)?;
    if !path.starts_with('/') && path.contains('/') {
        return Err(CommandError::RelativePath { line: own_line(), path });
    }
    if !argv0_given {
        command.argv.push(path.clone());
    }
    command.path = path;
    while !rest.is_empty() {
        if let Some(after) = lone(rest, ";") {
            *rest = after;
            break;
        }
        if let Some(after) = lone(rest, "\\;") {
            *rest = after;
            command.argv.push(";".to_owned());
            continue;
        }
        if let Some(argument) = word(line, rest)? {
            command.argv.push(expand(&argument)?);
        }
    }
    if command.argv.is_empty() {
        return Err(CommandError::NoArgv0 { line: own_line() });
    }
    Ok(command)
}

fn word(line: &str, rest: &mut &str) -> Result<Option<String>, CommandError> {
    words::next_word(rest, Mode::Strict).map_err(|source| CommandError::Words { line: line.to_owned(), source })
}

/// What follows `token` where it stands as a word of its own.
fn lone<'a>(rest: &'a str, token: &str) -> Option<&'a str> {
    let after = rest.strip_prefix(token)?;
    let alone = after.is_empty() || after.starts_with(is_space);
    alone.then(|| after.trim_start_matches(is_space))
}

/// Takes the prefixes off, each at most once, in any order.
fn prefixes(word: &str) -> (Command, bool, &str) {
    let mut command = Command::default();
    let mut argv0_given = false;
    let mut rest = word;
    loop {
        let as_configured = command.privilege == Privilege::AsConfigured;
        if let Some(after) = rest.strip_prefix('-').filter(|_| !command.ignore_failure) {
            command.ignore_failure = true;
            rest = after;
        } else if let Some(after) = rest.strip_prefix('@').filter(|_| !argv0_given) {
            argv0_given = true;
            rest = after;
        } else if let Some(after) = rest.strip_prefix(':').filter(|_| !command.literal) {
            command.literal = true;
            rest = after;
        } else if let Some(after) = rest.strip_prefix('+').filter(|_| as_configured) {
            command.privilege = Privilege::Full;
            rest = after;
        } else if let Some(after) = rest.strip_prefix("!!").filter(|_| as_configured) {
            command.privilege = Privilege::Ambient;
            rest = after;
        } else if let Some(after) = rest.strip_prefix('!').filter(|_| as_configured) {
            command.privilege = Privilege::KeepUser;
            rest = after;
        } else {
            return (command, argv0_given, rest);
        }
    }
}

impl Command {
    /// The arguments with variables replaced: a word that is just `$NAME` becomes the words of its value, `${NAME}`
    /// anywhere its value as it is, `$$` a dollar sign. Unset variables are empty.
    pub fn expanded(&self, environment: &BTreeMap<String, String>) -> Vec<String> {
        if self.literal {
            return self.argv.clone();
        }
        let mut argv = Vec::with_capacity(self.argv.len());
        for word in &self.argv {
            match word.strip_prefix('$') {
                Some(name) if !name.is_empty() && !name.starts_with(['{', '$']) => {
                    let value = environment.get(name).map_or("", String::as_str);
                    // A relaxed split fails only on escapes, which it does not read.
                    argv.extend(words::all_words(value, Mode::Relaxed).unwrap_or_default());
                }
                _ => argv.push(expand_braces(word, environment)),
            }
        }
        argv
    }
}

/// Replaces `${NAME}` and `$$` within a word.
fn expand_braces(word: &str, environment: &BTreeMap<String, String>) -> String {
    let mut out = String::with_capacity(word.len());
    let mut rest = word;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(after) = rest.strip_prefix("$$") {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix("${").and_then(|r| r.split_once('}')) {
            out.push_str(environment.get(name).map_or("", String::as_str));
            rest = after;
        } else {
            out.push('$');
            rest = &rest[1..];
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn argvs(value: &str) -> Vec<Vec<String>> {
        let specifiers = Specifiers::system("web@1.service");
        let commands = parse(value, &specifiers).unwrap();
        commands.into_iter().map(|c| c.argv).collect()
    }

    #[test]
    fn splits_command_lines() {
        let cases: [(&str, &[&[&str]]); 12] = [
            ("", &[]),
            ("/bin/echo a  b", &[&["/bin/echo", "a", "b"]]),
            ("/bin/echo 'a b' \"c\"", &[&["/bin/echo", "a b", "c"]]),
            ("/bin/a 1 ; /bin/b 2", &[&["/bin/a", "1"], &["/bin/b", "2"]]),
            ("/bin/a \\; b", &[&["/bin/a", ";", "b"]]),
            ("/bin/a ';' b;", &[&["/bin/a", ";", "b;"]]),
            ("/bin/sh -c 'x;' ;", &[&["/bin/sh", "-c", "x;"]]),
            ("/bin/sh -c 'while true; do x; done';", &[&["/bin/sh", "-c", "while true; do x; done;"]]),
            ("docker run -name app-%i %%", &[&["docker", "run", "-name", "app-1", "%"]]),
            ("@/bin/sh mysh -c x", &[&["mysh", "-c", "x"]]),
            ("/bin/a \"\"", &[&["/bin/a", ""]]),
            ("/bin/sh -c \"echo \\\"q\\\"\"", &[&["/bin/sh", "-c", "echo \"q\""]]),
        ];
        for (value, expected) in cases {
            assert_eq!(argvs(value), expected, "{value}");
        }
    }

    #[test]
    fn reads_prefixes_in_any_order() {
        let specifiers = Specifiers::system("a.service");
        let command = &parse("-@:+/bin/x y", &specifiers).unwrap()[0];
        assert!(command.ignore_failure && command.literal);
        assert_eq!(command.privilege, Privilege::Full);
        assert_eq!((command.path.as_str(), command.argv.as_slice()), ("/bin/x", &["y".to_owned()][..]));
        assert_eq!(parse("!/bin/x", &specifiers).unwrap()[0].privilege, Privilege::KeepUser);
        assert_eq!(parse("!!/bin/x", &specifiers).unwrap()[0].privilege, Privilege::Ambient);
    }

    #[test]
    fn mistakes_are_named() {
        let specifiers = Specifiers::system("a.service");
        let cases = [
            ("/bin/a 'b", "unbalanced quoting"),
            ("-", "no program after the prefix \"-\""),
            ("./a b", "neither an absolute path"),
            ("@/bin/a", "\"@\" needs a second word"),
        ];
        for (value, expected) in cases {
            let message = parse(value, &specifiers).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn expands_variables_when_run() {
        let environment: BTreeMap<String, String> = [("ONE", "one"), ("TWO", "two  'two three'"), ("E", "")]
            .into_iter()
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .collect();
        let cases: [(&str, &[&str]); 8] = [
            ("/x $ONE", &["one"]),
            ("/x $TWO", &["two", "two three"]),
            ("/x ${TWO}", &["two  'two three'"]),
            ("/x a${ONE}b$ONE", &["aoneb$ONE"]),
            ("/x $E $MISSING ${MISSING}", &[""]),
            ("/x $$ $${ONE} $$ONE", &["$", "${ONE}", "$ONE"]),
            ("/x ${ONE", &["${ONE"]),
            ("/x '$ONE'", &["one"]),
        ];
        for (value, expected) in cases {
            let command = &parse(value, &Specifiers::system("a.service")).unwrap()[0];
            assert_eq!(command.expanded(&environment)[1..], *expected, "{value}");
        }
        let literal = &parse(":/x $ONE $$", &Specifiers::default()).unwrap()[0];
        assert_eq!(literal.expanded(&environment)[1..], ["$ONE", "$$"]);
    }

    proptest! {
        #[test]
        fn nothing_panics(value in "(/bin/a|-|@|;| |\\\\|'|\"|\\$|\\{|\\}|%|x){0,24}") {
            if let Ok(commands) = parse(&value, &Specifiers::system("a.service")) {
                for command in commands {
                    let _ = command.expanded(&BTreeMap::new());
                }
            }
        }
    }
}
