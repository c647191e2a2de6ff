//! Which commands have a page, and what can be read off their help: the words that may follow, and the flags.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, ensure};

/// A page of the manual.
pub struct Page {
    /// What the program is given for its help, without `--help`.
    pub words: &'static [&'static str],
    /// The program that it is about, where that has a name of its own.
    program: Option<&'static str>,
}

const fn node(words: &'static [&'static str]) -> Page {
    Page { words, program: None }
}

const fn tool(words: &'static [&'static str], name: &'static str) -> Page {
    Page { words, program: Some(name) }
}

/// All pages, a command before those below it.
pub const PAGES: &[Page] = &[
    node(&[]),
    node(&["run"]),
    node(&["dev"]),
    node(&["etcd"]),
    #[cfg(feature = "scheduler")]
    node(&["fleetd"]),
    #[cfg(feature = "cloudinit")]
    node(&["cloudinit"]),
    node(&["ctl"]),
    node(&["ctl", "backup"]),
    node(&["ctl", "doctor"]),
    node(&["ctl", "recover"]),
    node(&["ctl", "upgrade"]),
    node(&["ctl", "import"]),
    node(&["ctl", "kv"]),
    node(&["ctl", "snapshot", "restore"]),
    node(&["ctl", "snapshot", "export"]),
    #[cfg(feature = "scheduler")]
    node(&["ctl", "apply"]),
    #[cfg(feature = "scheduler")]
    node(&["ctl", "explain"]),
    #[cfg(feature = "scheduler")]
    node(&["ctl", "run"]),
    #[cfg(feature = "scheduler")]
    node(&["ctl", "logs"]),
    #[cfg(feature = "scheduler")]
    node(&["ctl", "exec"]),
    #[cfg(feature = "scheduler")]
    tool(&["fleetctl"], "fleetctl"),
    tool(&["etcdctl"], "etcdctl"),
    #[cfg(feature = "template")]
    tool(&["confd"], "confd"),
];

/// The programs that there are: this binary as it is called where a package installs it, and its links.
pub fn programs() -> impl Iterator<Item = &'static str> {
    std::iter::once("corenode").chain(PAGES.iter().filter_map(|page| page.program))
}

impl Page {
    /// `corenode-ctl-kv`, `fleetctl`.
    pub fn name(&self) -> String {
        match self.program {
            Some(name) => name.to_owned(),
            None => [&["corenode"], self.words].concat().join("-"),
        }
    }

    pub fn file(&self) -> String {
        format!("{}.1", self.name())
    }
}

/// What a command of this binary prints as its help.
pub fn help(program: &Path, words: &[&str]) -> anyhow::Result<String> {
    let asked = || format!("{} {} --help", program.display(), words.join(" "));
    let output = Command::new(program).args(words).arg("--help").output().with_context(asked)?;
    let text = String::from_utf8(output.stdout).with_context(asked)?;
    ensure!(output.status.success() && !text.is_empty(), "{}: no help, {}", asked(), output.status);
    Ok(text)
}

/// What may stand behind each word of a command line: by the words so far, those that may come next and the flags.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tree(pub BTreeMap<Vec<String>, Place>);

/// What may come next.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Place {
    pub words: BTreeSet<String>,
    pub flags: BTreeSet<String>,
}

impl Tree {
    /// All that the help of a program's commands tells.
    ///
    /// # Errors
    /// A command that gives no help.
    pub fn of(program: &Path, name: &str) -> anyhow::Result<Self> {
        let mut tree = Self::default();
        if name == "corenode" {
            for page in PAGES.iter().filter(|page| page.program.is_none()) {
                tree.read("node", page.words, &help(program, page.words)?);
            }
            tree.0.entry(Vec::new()).or_default().words.extend(programs().skip(1).map(str::to_owned));
            return Ok(tree);
        }
        tree.read(name, &[], &help(program, &[name])?);
        if name == "fleetctl" {
            let commands: Vec<String> = tree.0[&Vec::new()].words.iter().cloned().collect();
            for command in commands.iter().filter(|command| *command != "help") {
                tree.read(name, &[command], &help(program, &[name, command])?);
            }
        }
        Ok(tree)
    }

    /// Takes in the help of the command `words` of a program.
    pub fn read(&mut self, program: &str, words: &[&str], text: &str) {
        let place: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let flags = &mut self.0.entry(place).or_default().flags;
        flags.extend(
            text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'))
                .filter(|word| is_flag(word))
                .map(str::to_owned),
        );
        let mut listing = false;
        for line in text.lines() {
            if !line.starts_with([' ', '\t']) {
                listing = line == "COMMANDS:";
                continue;
            }
            if listing && words.is_empty() {
                self.note(&[], line.split_whitespace().take(1));
            }
            for (at, _) in line.match_indices(&format!("{program} ")) {
                if begins_a_command(&line[..at]) {
                    self.note(&[], line[at + program.len()..].split_whitespace());
                }
            }
        }
    }

    /// Notes the verbs with which an example begins: up to two, and others that are named beside one (`a, b`, `a|b`, `a | b`).
    fn note<'a>(&mut self, place: &[String], mut words: impl Iterator<Item = &'a str> + Clone) {
        let mut first = None;
        while let Some(word) = words.next() {
            let goes_on = word.ends_with(',') || words.clone().next() == Some("|");
            for verb in word.trim_end_matches([',', '`']).split('|').filter(|verb| is_verb(verb)) {
                self.0.entry(place.to_vec()).or_default().words.insert(verb.to_owned());
                first.get_or_insert(verb);
            }
            if !goes_on {
                break;
            }
            if words.clone().next() == Some("|") {
                words.next();
            }
        }
        let has_below = place.is_empty() || place == ["ctl"];
        if let Some(verb) = first.filter(|verb| has_below && GROUPS.contains(verb)) {
            self.note(&[place, &[verb.to_owned()]].concat(), words);
        }
    }
}

/// Whether what stands before a program's name makes an example of it, and not a sentence.
fn begins_a_command(before: &str) -> bool {
    before.trim().is_empty() || ["$ ", "…, ", "`"].iter().any(|sign| before.ends_with(sign))
}

/// Commands that have commands below them.
const GROUPS: [&str; 17] = [
    "ctl", "config", "kv", "snapshot", "backup", "machine", "import", "member", "endpoint", "lease", "user", "role",
    "auth", "alarm", "token", "ca", "secret",
];

fn is_verb(word: &str) -> bool {
    word.len() > 1
        && word.starts_with(|c: char| c.is_ascii_lowercase())
        && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')
}

fn is_flag(word: &str) -> bool {
    word.strip_prefix("--").is_some_and(|bare| {
        bare.starts_with(|c: char| c.is_ascii_lowercase())
            && bare.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(tree: &Tree, place: &[&str]) -> Vec<String> {
        let place: Vec<String> = place.iter().map(|word| (*word).to_owned()).collect();
        tree.0.get(&place).map(|place| place.words.iter().cloned().collect()).unwrap_or_default()
    }

    #[test]
    fn examples_tell_the_words_and_the_flags() {
        let mut tree = Tree::default();
        let text = "\
node ctl: ask node ctl nothing.

  $ node ctl status --endpoint http://h:1    how it is: a node for a look
  $ node ctl kv get /app/port
  $ node ctl machine set-metadata 8f3a
  node fleetctl …, node etcdctl …, node confd …
  --user NAME[:PASSWORD], --password TEXT    who asks; `node ctl login`
";
        tree.read("node", &["ctl"], text);
        assert_eq!(words(&tree, &[]), ["confd", "ctl", "etcdctl", "fleetctl"]);
        assert_eq!(words(&tree, &["ctl"]), ["kv", "login", "machine", "status"]);
        assert_eq!(words(&tree, &["ctl", "kv"]), ["get"]);
        assert_eq!(words(&tree, &["ctl", "machine"]), ["set-metadata"]);
        let flags = &tree.0[&vec!["ctl".to_owned()]].flags;
        assert_eq!(flags.iter().collect::<Vec<_>>(), ["--endpoint", "--password", "--user"]);
    }

    #[test]
    fn alternatives_are_all_words() {
        let mut tree = Tree::default();
        let text = "  $ etcdctl cluster-health    $ etcdctl setdir, updatedir, rmdir\n  $ etcdctl endpoint status | health | hashkv [--cluster]\n  $ etcdctl snapshot save|status FILE\n";
        tree.read("etcdctl", &[], text);
        assert_eq!(words(&tree, &[]), ["cluster-health", "endpoint", "rmdir", "setdir", "snapshot", "updatedir"]);
        assert_eq!(words(&tree, &["endpoint"]), ["hashkv", "health", "status"]);
        assert_eq!(words(&tree, &["snapshot"]), ["save", "status"]);
    }

    #[test]
    fn a_list_of_commands_is_read() {
        let mut tree = Tree::default();
        tree.read("fleetctl", &[], "COMMANDS:\n\tstart\t\tStart units\n\tlist-units\tList\n\nOPTIONS:\n\t--full\n");
        assert_eq!(words(&tree, &[]), ["list-units", "start"]);
    }
}
