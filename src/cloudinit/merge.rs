//! Files that others write to as well: lines of theirs stay.

use std::collections::BTreeMap;

/// An environment file with these variables: each in the line where it stands already, new ones at the end by name.
pub fn environment(old: &str, variables: BTreeMap<&str, &str>) -> String {
    merged(old, variables, |line, variables| {
        line.split_once('=').and_then(|(name, _)| variables.keys().find(|known| **known == name).copied())
    })
}

/// update.conf with these variables: the first line that begins with the name of one is replaced, new ones come at the
/// end by name.
pub fn update_conf(old: &str, variables: BTreeMap<&str, &str>) -> String {
    merged(old, variables, |line, variables| variables.keys().find(|name| line.starts_with(**name)).copied())
}

/// A file whose lines give place to the variables that they are found to be of.
fn merged<'a>(
    old: &str,
    mut variables: BTreeMap<&'a str, &'a str>,
    found: impl Fn(&str, &BTreeMap<&'a str, &'a str>) -> Option<&'a str>,
) -> String {
    let mut text = String::new();
    for line in old.lines() {
        match found(line, &variables).and_then(|name| variables.remove_entry(name)) {
            Some((name, value)) => push(&mut text, name, value),
            None => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    for (name, value) in variables {
        push(&mut text, name, value);
    }
    text
}

fn push(text: &mut String, name: &str, value: &str) {
    text.push_str(name);
    text.push('=');
    text.push_str(value);
    text.push('\n');
}
