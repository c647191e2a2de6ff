//! Which API a command line means: what ETCDCTL_API says, where both have the verb; else what the words imply.

use super::v2::commands::{COMMANDS, GLOBAL};
use super::v2::line::{Kind, Opt};
use super::{FLAGS, Failed, MIRROR, V3_FLAGS, v3};

/// What both APIs call a verb and v2 alone has below it.
const V2_BELOW: [(&str, &[&str]); 2] =
    [("user", &["remove", "grant", "revoke"]), ("role", &["remove", "grant", "revoke"])];

/// Words and names of flags, as far as they can be told apart before the API is known.
#[derive(Debug, Default)]
struct Glance<'a> {
    words: Vec<&'a str>,
    flags: Vec<&'a str>,
}

impl<'a> Glance<'a> {
    fn at(arguments: &'a [String]) -> Self {
        let mut glance = Self::default();
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            if argument == "--" {
                glance.words.extend(rest.by_ref().map(String::as_str));
                break;
            }
            let bare = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-')).filter(|b| !b.is_empty());
            let Some(bare) = bare else {
                glance.words.push(argument);
                continue;
            };
            let name = bare.split('=').next().unwrap_or(bare);
            glance.flags.push(name);
            if bare == name && takes_value(name, glance.words.first().copied()) {
                rest.next();
            }
        }
        glance
    }

    fn has(&self, names: &[&str]) -> bool {
        self.flags.iter().any(|flag| names.contains(flag))
    }
}

fn v2_options(verb: Option<&str>) -> impl Iterator<Item = &'static Opt> {
    let command = COMMANDS.iter().find(|command| Some(command.name) == verb);
    let own = command.into_iter().flat_map(|command| command.options.iter().chain(below(command.commands)));
    GLOBAL.iter().chain(own)
}

fn below(commands: &'static [super::v2::line::Command]) -> impl Iterator<Item = &'static Opt> {
    commands.iter().flat_map(|command| command.options)
}

fn takes_value(name: &str, verb: Option<&str>) -> bool {
    let of_v3 = FLAGS.iter().chain(V3_FLAGS).find(|flag| flag.names.contains(&name)).map(|flag| flag.value);
    let of_v2 = v2_options(verb).find(|option| option.names.contains(&name)).map(|option| option.kind != Kind::Truth);
    of_v3.or(of_v2).unwrap_or(false)
}

/// The API, 2 or 3; `api` is what ETCDCTL_API says.
///
/// # Errors
/// A verb that neither has, and an ETCDCTL_API that is none.
pub fn chosen(arguments: &[String], api: Option<&str>) -> Result<u8, Failed> {
    let glance = Glance::at(arguments);
    let Some(verb) = glance.words.first().copied() else {
        return Ok(if api == Some("2") { 2 } else { 3 });
    };
    let (v2, v3) = (COMMANDS.iter().any(|command| command.name == verb), v3::VERBS.contains(&verb));
    match (v2, v3, api) {
        (true, false, _) | (_, true, Some("2")) if v2 => Ok(2),
        (false, true, _) => Ok(3),
        (false, false, Some("2")) => Ok(2),
        (false, false, _) if verb == "help" => Ok(3),
        (false, false, _) => Err(Failed::usage(format!("no command `{verb}`; `etcdctl --help` shows what there is"))),
        (true, _, Some("3")) => Ok(3),
        (true, _, Some(other)) => Err(Failed::usage(format!("ETCDCTL_API is `{other}`; write 2 or 3"))),
        (true, _, None) => Ok(implied(verb, &glance)),
    }
}

/// What the shape of a line says, of a verb that both have.
fn implied(verb: &str, glance: &Glance<'_>) -> u8 {
    let flag_of_v3 = V3_FLAGS.iter().any(|flag| glance.has(flag.names));
    let flag_of_v2 = glance.has(&["no-sync", "output", "o", "peers", "C", "total-timeout", "timeout"])
        || v2_options(Some(verb)).any(|option| glance.has(option.names) && !is_global(option));
    let second = glance.words.get(1).copied().unwrap_or_default();
    let of_v2 = match verb {
        _ if flag_of_v3 => false,
        "get" | "watch" => flag_of_v2 || (second.starts_with('/') && glance.words.len() == 2),
        // v3 names the URLs by a flag.
        "member" if matches!(second, "add" | "update") => flag_of_v2 || glance.words.len() == 4,
        verb => flag_of_v2 || V2_BELOW.iter().any(|(family, below)| *family == verb && below.contains(&second)),
    };
    if of_v2 { 2 } else { 3 }
}

fn is_global(option: &Opt) -> bool {
    GLOBAL.iter().any(|global| global.names == option.names)
}

/// Whether a line is `make-mirror`'s, whose `--prefix` has a value.
pub fn is_mirror(arguments: &[String]) -> bool {
    arguments.iter().any(|argument| argument == MIRROR)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn words_choose_the_dialect() {
        let cases = [
            ("set /a 1", 2),
            ("ls", 2),
            ("cluster-health", 2),
            ("backup --data-dir x", 2),
            ("put a 1", 3),
            ("get /a", 2),
            ("get a", 3),
            ("get a --quorum", 2),
            ("-o json get a", 2),
            ("get --prefix /a", 3),
            ("get /a /b", 3),
            ("watch --recursive /a", 2),
            ("watch a -f", 2),
            ("watch --prefix a", 3),
            ("endpoint status", 3),
            ("member list", 3),
            ("--no-sync member list", 2),
            ("member add m http://h:1", 2),
            ("member add m --peer-urls=http://h:1", 3),
            ("member update 12 http://h:1", 2),
            ("user add root:x", 3),
            ("user grant a --roles r", 2),
            ("user grant-role a r", 3),
            ("role grant r --path /a --rw", 2),
            ("role add r", 3),
            ("auth enable", 3),
            ("--endpoints x auth enable", 3),
        ];
        for (line, expected) in cases {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            assert_eq!(chosen(&words, None).unwrap(), expected, "{line}");
        }
    }

    #[test]
    fn the_variable_counts_where_both_have_the_verb() {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let cases = [
            ("get a", "2", 2),
            ("get /a", "3", 3),
            ("user list", "2", 2),
            ("put a 1", "2", 3),
            ("ls /", "3", 2),
            ("nope", "2", 2),
        ];
        for (line, api, expected) in cases {
            assert_eq!(chosen(&words(line), Some(api)).unwrap(), expected, "{line}");
        }
        assert_eq!(chosen(&[], Some("2")).unwrap(), 2);
        assert_eq!(chosen(&[], None).unwrap(), 3);
        assert!(chosen(&words("nope"), None).is_err() && chosen(&words("get a"), Some("4")).is_err());
    }
}
