//! Help as man pages: the text as it is, in roff.

use std::fmt::Write as _;

use super::pages::{PAGES, Page};

/// The page of a command.
pub fn page(page: &Page, help: &str) -> String {
    let name = page.name();
    let about = about(help);
    let mut text = head(&name, 1, about);
    verbatim(&mut text, "DESCRIPTION", help);
    if name.starts_with("corenode") {
        let _ = writeln!(
            text,
            ".SH NOTES\nThis program is called \\fBnode\\fR in its own words, and \\fBcorenode\\fR where a package installs it."
        );
    }
    let others: Vec<String> = PAGES.iter().map(Page::name).filter(|other| *other != name).collect();
    see(&mut text, others.iter().map(|other| (other.as_str(), 1)).chain([("node.toml", 5)]));
    text
}

/// What a help says that its command is for, in its first sentence.
fn about(help: &str) -> &str {
    let first = help.lines().next().unwrap_or_default();
    let about = match first.split_once(": ") {
        Some((_, about)) => about,
        // `NAME:` or `Usage:`, with what is meant further down.
        None if first.ends_with(':') && !first.contains(' ') => {
            let line = help.lines().find(|line| line.split_whitespace().count() > 2).unwrap_or(first);
            line.split_once(" - ").map_or(line, |(_, about)| about)
        }
        None => first,
    };
    about.trim().trim_end_matches(['.', ':'])
}

/// The page of the configuration file, from the settings' help.
pub fn settings(help: &str) -> String {
    let mut text = head("node.toml", 5, "the configuration of a node");
    let _ = writeln!(
        text,
        ".SH DESCRIPTION\nThe file is /etc/node/node.toml, and what lies in /etc/node/node.toml.d/*.toml is laid over it. Every \
         setting is a flag of \\fBnode run\\fR, a variable and a key: \\-\\-peer\\-listen is NODE_PEER_LISTEN and listen in [peer]."
    );
    verbatim(&mut text, "SETTINGS", help.split_once("\n\n").map_or(help, |(_, settings)| settings));
    see(&mut text, [("corenode-run", 1)].into_iter());
    text
}

fn head(name: &str, section: u8, about: &str) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let upper = escaped(&name.to_uppercase());
    format!(
        ".TH \"{upper}\" {section} \"\" \"corenode {version}\"\n.SH NAME\n{} \\- {}\n",
        escaped(name),
        escaped(about)
    )
}

fn verbatim(text: &mut String, title: &str, lines: &str) {
    let _ = writeln!(text, ".SH {title}\n.nf");
    for line in lines.lines() {
        let _ = writeln!(text, "{}", escaped(line));
    }
    text.push_str(".fi\n");
}

fn see<'a>(text: &mut String, others: impl Iterator<Item = (&'a str, u8)>) {
    let all: Vec<String> = others.map(|(name, section)| format!("\\fB{}\\fR({section})", escaped(name))).collect();
    let _ = writeln!(text, ".SH SEE ALSO\n{}", all.join(",\n"));
}

/// A line as roff shows it: hyphens stay what can be copied, and no line is taken for a command.
fn escaped(line: &str) -> String {
    let text = line.replace('\\', "\\e").replace('-', "\\-").replace('\t', "    ");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_text_and_not_commands() {
        for (line, expected) in
            [("a-b", "a\\-b"), (".so x", "\\&.so x"), ("'x", "\\&'x"), ("\\n", "\\en"), ("\ta", "    a")]
        {
            assert_eq!(escaped(line), expected);
        }
    }

    #[test]
    fn the_name_says_what_it_is_about() {
        let of = |name: &str| {
            PAGES
                .iter()
                .find(|page| page.name() == name)
                .map(|found| page(found, "node ctl backup: copies, -x.\n\n  $ a\n"))
        };
        let text = of("corenode-ctl-backup").unwrap_or_default();
        assert!(text.contains(".SH NAME\ncorenode\\-ctl\\-backup \\- copies, \\-x\n"), "{text}");
        assert!(text.contains("\n  $ a\n"), "{text}");
        for (help, expected) in [
            ("NAME:\n\tfleetctl - start units\n", "start units"),
            ("Usage:\n\n  etcd [flags]\n    Start an etcd server.\n", "Start an etcd server"),
            ("node run: this machine's node.\n", "this machine's node"),
            ("confd keeps files.\n", "confd keeps files"),
        ] {
            assert_eq!(about(help), expected);
        }
    }
}
