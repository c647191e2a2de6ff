//! Which units of the cluster the words of a command line mean: names, and patterns matched against what is there.

use super::{Context, Failed};
use crate::api::fleet::model::UnitJson;
use crate::base::glob;
use crate::unit::name::{UnitName, from_argument};
use crate::unit::{Requirements, UnitOption, UnitText};

/// The units that the words mean, in the order of the words, each once. Names that nobody has are passed over; patterns
/// mean templates too only where they are wanted.
pub async fn units(context: &Context, templates: bool) -> Result<Vec<UnitJson>, Failed> {
    let all = context.client.units().await.map_err(|error| Failed::new(error.to_string()))?;
    Ok(meant(&context.words, all, templates))
}

/// The units that one word means.
pub async fn matching(context: &Context, word: &str) -> Result<Vec<UnitJson>, Failed> {
    let all = context.client.units().await.map_err(|error| Failed::new(error.to_string()))?;
    Ok(meant(&[word.to_owned()], all, false))
}

fn meant(words: &[String], mut all: Vec<UnitJson>, templates: bool) -> Vec<UnitJson> {
    let mut found = Vec::new();
    for word in words {
        let may = |name: &str| is_pattern(word) && (templates || !UnitName::new(name).is_template());
        let wanted = |unit: &UnitJson| unit.name == from_argument(word) || may(&unit.name) && matches(word, &unit.name);
        let (mine, rest) = all.into_iter().partition(wanted);
        found.extend::<Vec<_>>(mine);
        all = rest;
    }
    found
}

/// Whether a word may mean several units.
pub fn is_pattern(word: &str) -> bool {
    word.contains(['*', '?', '['])
}

/// A pattern without a suffix means services, unless it ends in `*`.
fn matches(pattern: &str, name: &str) -> bool {
    let whole = |pattern: &str| glob::matches(pattern, name).unwrap_or(false);
    whole(pattern) || whole(&format!("{pattern}.service"))
}

/// A unit's text.
pub fn text_of(unit: &UnitJson) -> UnitText {
    let options = unit.options.iter().map(UnitOption::from).collect();
    // What the cluster took was a text before.
    UnitText::from_options(options).unwrap_or_default()
}

/// Whether a unit runs on every machine that fits.
pub fn is_global(unit: &UnitJson) -> bool {
    Requirements::of(&text_of(unit), &unit.name).global
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_mean_names_and_patterns() {
        let all = ["a.service", "web@.service", "web@1.service", "web@2.service", "x.timer"];
        let cases: [(&[&str], &[&str]); 6] = [
            (&["web@1", "dir/a.service", "nope"], &["web@1.service", "a.service"]),
            (&["web@*"], &["web@.service", "web@1.service", "web@2.service"]),
            (&["web@2.service", "web@?"], &["web@2.service", "web@1.service"]),
            (&["web@[13].service"], &["web@1.service"]),
            (&["*.timer", "x.timer"], &["x.timer"]),
            (&["[", "x.target"], &[]),
        ];
        for (words, expected) in cases {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            let units = all.map(|name| UnitJson { name: name.into(), ..UnitJson::default() }).to_vec();
            let found: Vec<String> = meant(&words, units, true).into_iter().map(|unit| unit.name).collect();
            assert_eq!(found, expected, "{words:?}");
        }
        let template = UnitJson { name: "web@.service".into(), ..UnitJson::default() };
        assert!(meant(&["web@*".to_owned()], vec![template.clone()], false).is_empty());
        assert_eq!(meant(&["web@.service".to_owned()], vec![template], false).len(), 1);
    }
}
