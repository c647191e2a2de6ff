//! Completions for bash, zsh and fish: one table of places, walked by the words of the command line that are known.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::pages::Tree;

fn joined(words: &BTreeSet<String>) -> String {
    words.iter().map(String::as_str).collect::<Vec<_>>().join(" ")
}

/// The branches of a `case`: by the words so far, what is to be assigned.
fn branches(tree: &Tree, assign: impl Fn(&str, &str) -> String) -> String {
    let mut text = String::new();
    for (place, next) in &tree.0 {
        let _ =
            writeln!(text, "    \"{}\") {} ;;", place.join(" "), assign(&joined(&next.words), &joined(&next.flags)));
    }
    text
}

/// Walks down as long as a word is one of those that may come next; values of flags are none of them.
const WALK: &str = "place=\"${place:+$place }$word\"";

pub fn bash(name: &str, tree: &Tree) -> String {
    let table = branches(tree, |words, flags| format!("words=\"{words}\" flags=\"{flags}\""));
    format!(
        "# Completion of {name} for bash.\n\
         _{name}_table() {{\n  words= flags=\n  case \"$1\" in\n{table}  esac\n}}\n\
         _{name}() {{\n  local place= word words flags current=\"${{COMP_WORDS[COMP_CWORD]}}\"\n  _{name}_table \"\"\n  \
         for word in \"${{COMP_WORDS[@]:1:COMP_CWORD-1}}\"; do\n    \
         case \" $words \" in *\" $word \"*) {WALK}; _{name}_table \"$place\" ;; esac\n  done\n  \
         case \"$current\" in -*) words=\"$flags\" ;; esac\n  \
         COMPREPLY=($(compgen -W \"$words\" -- \"$current\"))\n}}\n\
         complete -o default -F _{name} {name}\n"
    )
}

pub fn zsh(name: &str, tree: &Tree) -> String {
    let table = branches(tree, |words, flags| format!("next=\"{words}\" flags=\"{flags}\""));
    format!(
        "#compdef {name}\n\
         # Completion of {name} for zsh.\n\
         _{name}_table() {{\n  next= flags=\n  case \"$1\" in\n{table}  esac\n}}\n\
         _{name}() {{\n  local place= word next flags current=\"${{words[CURRENT]}}\"\n  _{name}_table \"\"\n  \
         for word in \"${{(@)words[2,CURRENT-1]}}\"; do\n    \
         case \" $next \" in *\" $word \"*) {WALK}; _{name}_table \"$place\" ;; esac\n  done\n  \
         case \"$current\" in -*) next=\"$flags\" ;; esac\n  \
         if [[ -n \"$next\" ]]; then compadd -- ${{=next}}; fi\n  _files\n}}\n\
         _{name} \"$@\"\n"
    )
}

pub fn fish(name: &str, tree: &Tree) -> String {
    let mut table = String::new();
    for (place, next) in &tree.0 {
        let _ = writeln!(
            table,
            "    case '{}'\n      set -g __{name}_words {}\n      set -g __{name}_flags {}",
            place.join(" "),
            joined(&next.words),
            joined(&next.flags)
        );
    }
    format!(
        "# Completion of {name} for fish.\n\
         function __{name}_table\n  set -g __{name}_words\n  set -g __{name}_flags\n  switch \"$argv[1]\"\n{table}  end\nend\n\
         function __{name}_next\n  set -l place\n  __{name}_table ''\n  for word in (commandline -opc)[2..-1]\n    \
         if contains -- $word $__{name}_words\n      set -a place $word\n      __{name}_table \"$place\"\n    end\n  end\n  \
         switch (commandline -ct)\n    case '-*'\n      printf '%s\\n' $__{name}_flags\n    case '*'\n      \
         printf '%s\\n' $__{name}_words\n  end\nend\n\
         complete -c {name} -a '(__{name}_next)'\n"
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::process::Command;

    use super::*;

    #[test]
    fn bash_completes_words_and_flags_where_they_belong() {
        let mut tree = Tree::default();
        tree.read("node", &["ctl"], "  $ node ctl status --endpoint URL\n  $ node ctl kv get KEY\n");
        let script = bash("corenode", &tree);
        for (line, expected) in [
            ("corenode c", "ctl"),
            ("corenode ctl ", "kv status"),
            ("corenode ctl --endpoint http://h:1 st", "status"),
            ("corenode ctl --e", "--endpoint"),
            ("corenode ctl kv ", "get"),
            ("corenode ctl status x", ""),
        ] {
            let words: Vec<&str> = line.split(' ').collect();
            let quoted: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
            let asked = format!(
                "{script}\nCOMP_WORDS=({}) COMP_CWORD={}\n_corenode\necho \"${{COMPREPLY[*]}}\"",
                quoted.join(" "),
                words.len() - 1
            );
            let output = Command::new("bash").args(["-c", &asked]).output().unwrap();
            assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), expected, "{line}: {output:?}");
        }
    }
}
