//! `[X-Fleet]`: where a unit may run, in all spellings that fleet ever had.

use std::collections::{BTreeMap, BTreeSet};

use super::condition::Condition;
use super::container::{self, Port};
use super::placement::{self, Placement};
use super::specifier;
use super::text::{UnitText, joined};
use super::value;
use crate::base::glob;

/// The section's name.
pub const SECTION: &str = "X-Fleet";

/// Every option that fleet knows, current and old.
const KNOWN: [&str; 14] = [
    "MachineID",
    "X-ConditionMachineID",
    "X-ConditionMachineBootID",
    "MachineOf",
    "X-ConditionMachineOf",
    "MachineMetadata",
    "X-ConditionMachineMetadata",
    "Conflicts",
    "X-Conflicts",
    "Global",
    "Replaces",
    super::health::OPTIONS[0],
    super::health::OPTIONS[1],
    super::register::OPTION,
];

/// What a unit asks of its machine and its neighbours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requirements {
    /// The machine's full id or its first eight digits.
    pub machine_id: Option<String>,
    /// Units that must all be scheduled on the same machine.
    pub peers: Vec<String>,
    /// For each key the values of which the machine must have one.
    pub metadata: BTreeMap<String, BTreeSet<String>>,
    /// Globs of names of units that must not be on the same machine; it holds both ways.
    pub conflicts: Vec<String>,
    /// Globs of names of units that leave the machine when this one comes.
    pub replaces: Vec<String>,
    /// Run on every machine that meets the rest.
    pub global: bool,
    /// What fleet did not know.
    pub placement: Placement,
    /// Ports of the host that a container takes; those that are free to choose are not among them.
    pub ports: Vec<Port>,
}

/// Options that exclude each other; the texts are those of fleet's API.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequirementsError {
    #[error("{0} cannot be used with {1}")]
    Exclusive(&'static str, &'static str),
    #[error("unresolvable requirements: peer {peer:?} matches conflict {conflict:?}")]
    PeerConflicts { peer: String, conflict: String },
    #[error("unresolvable requirements: peer {peer:?} matches replace {replace:?}")]
    PeerReplaced { peer: String, replace: String },
}

impl Requirements {
    /// The requirements of the unit called `unit`, specifiers replaced.
    pub fn of(text: &UnitText, unit: &str) -> Self {
        let mut ports = container::published(text, unit);
        ports.retain(|port| port.host.is_some());
        let placement = Placement::of(text, unit);
        Self { placement, ports, ..Self::read(text, |value| specifier::fleet(&value, unit)) }
    }

    /// fleet's requirements as written, specifiers and all: what can be checked while the name is open.
    pub fn as_written(text: &UnitText) -> Self {
        Self::read(text, |value| value)
    }

    fn read(text: &UnitText, expand: impl Fn(String) -> String) -> Self {
        let values = |names: &[&str]| -> Vec<String> {
            let of_name = |name: &&str| {
                let named = text.options().iter().filter(move |o| o.section == SECTION && o.name == *name);
                named.flat_map(|option| multivalues(&option.value)).collect::<Vec<_>>()
            };
            names.iter().flat_map(of_name).map(&expand).collect()
        };
        let words = |values: Vec<String>| -> Vec<String> {
            let split = |v: &String| v.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            values.iter().flat_map(split).collect()
        };
        let ids = values(&["MachineID", "X-ConditionMachineID", "X-ConditionMachineBootID"]);
        Self {
            machine_id: ids.into_iter().next(),
            peers: values(&["X-ConditionMachineOf", "MachineOf"]),
            metadata: metadata(values(&["X-ConditionMachineMetadata", "MachineMetadata"])),
            conflicts: words(values(&["X-Conflicts", "Conflicts"])),
            replaces: values(&["Replaces"]),
            global: values(&["Global"]).last().is_some_and(|v| is_truthy(v)),
            placement: Placement {
                exclusive: values(&["Exclusive"]).last().is_some_and(|v| value::boolean(v) == Ok(true)),
                ..Placement::default()
            },
            ports: Vec::new(),
        }
    }

    /// Refuses options that exclude each other.
    ///
    /// # Errors
    /// The first such pair.
    pub fn validate(&self) -> Result<(), RequirementsError> {
        for peer in &self.peers {
            if let Some(conflict) = first_match(&self.conflicts, peer) {
                return Err(RequirementsError::PeerConflicts { peer: peer.clone(), conflict: conflict.to_owned() });
            }
            if let Some(replace) = first_match(&self.replaces, peer) {
                return Err(RequirementsError::PeerReplaced { peer: peer.clone(), replace: replace.to_owned() });
            }
        }
        let id = self.machine_id.is_some();
        let peers = !self.peers.is_empty();
        let conflicts = !self.conflicts.is_empty();
        let replaces = !self.replaces.is_empty();
        let exclusive = [
            (id && peers, "MachineID", "Peers"),
            (id && conflicts, "MachineID", "Conflicts"),
            (id && self.global, "MachineID", "Global"),
            (id && replaces, "MachineID", "Replaces"),
            (self.global && peers, "Global", "Peers"),
            (self.global && replaces, "Global", "Replaces"),
            (conflicts && replaces, "Conflicts", "Replaces"),
            (self.placement.exclusive && self.global, "Exclusive", "Global"),
        ];
        match exclusive.iter().find(|(both, ..)| *both) {
            Some((_, one, other)) => Err(RequirementsError::Exclusive(one, other)),
            None => Ok(()),
        }
    }
}

/// Options in `[X-Fleet]` that fleet does not know, each once, for a warning.
pub fn unknown(text: &UnitText) -> Vec<String> {
    let in_section = text.options().iter().filter(|o| o.section == SECTION);
    let names: BTreeSet<&str> = in_section.map(|o| o.name.as_str()).collect();
    let strange = names.into_iter().filter(|n| !KNOWN.contains(n) && !placement::KEYS.contains(n));
    strange.map(str::to_owned).collect()
}

/// Whether a glob matches; a malformed one matches nothing.
pub fn glob_matches(pattern: &str, name: &str) -> bool {
    glob::matches(pattern, name).unwrap_or(false)
}

fn first_match<'a>(patterns: &'a [String], name: &str) -> Option<&'a str> {
    let found = patterns.iter().find(|p| glob_matches(p, name));
    found.map(String::as_str)
}

fn is_truthy(value: &str) -> bool {
    matches!(value.to_lowercase().as_str(), "true" | "yes" | "1" | "on" | "t")
}

/// The values of one line: where it starts and ends with a quote they are several, split at spaces outside quotes.
pub(super) fn multivalues(stored: &str) -> Vec<String> {
    let line = joined(stored);
    if !(line.starts_with('"') && line.ends_with('"')) {
        return vec![line];
    }
    let mut values = Vec::new();
    let mut quoted = false;
    let mut value = String::new();
    for c in line.chars() {
        match c {
            '"' => quoted = !quoted,
            ' ' if !quoted => values.push(std::mem::take(&mut value)),
            _ => value.push(c),
        }
    }
    values.push(value);
    values
}

/// `key=value` pairs; what has not exactly one `=` with something on both sides is passed over, as fleet does.
fn metadata(values: Vec<String>) -> BTreeMap<String, BTreeSet<String>> {
    let mut wanted: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for pair in values {
        if !Condition::is_beyond_fleet(&pair)
            && let Some((key, value)) = pair.split_once('=')
            && !key.is_empty()
            && !value.is_empty()
            && !value.contains('=')
        {
            wanted.entry(key.to_owned()).or_default().insert(value.to_owned());
        }
    }
    wanted
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn of(lines: &str) -> Requirements {
        let text = UnitText::parse(&format!("[X-Fleet]\n{lines}")).unwrap();
        Requirements::of(&text, "web@1.service")
    }

    #[test]
    fn b_options_and_their_old_spellings() {
        assert_eq!(of("MachineID=a\nMachineID=b").machine_id.as_deref(), Some("a"));
        assert_eq!(of("X-ConditionMachineBootID=c\nX-ConditionMachineID=b").machine_id.as_deref(), Some("b"));
        assert_eq!(of("X-ConditionMachineBootID=c").machine_id.as_deref(), Some("c"));
        assert_eq!(of("MachineBootID=c").machine_id, None);
        assert_eq!(of("MachineOf=a.service\nX-ConditionMachineOf=b.service").peers, ["b.service", "a.service"]);
        assert_eq!(of("MachineOf=\"a.service\" \"b.service\"").peers, ["a.service", "b.service"]);
        assert_eq!(of("MachineOf=a.service b.service").peers, ["a.service b.service"]);
        assert_eq!(of("Conflicts=a b\nX-Conflicts=c").conflicts, ["c", "a", "b"]);
        assert_eq!(of("Replaces=a b").replaces, ["a b"]);
        assert_eq!(of("machineid=a").machine_id, None);
        assert_eq!(of("MachineOf=app@%i.service\nConflicts=%p@*.service").conflicts, ["web@*.service"]);
    }

    #[test]
    fn b_global_is_the_last_value() {
        for (lines, expected) in [
            ("Global=true", true),
            ("Global=TRUE", true),
            ("Global=Yes", true),
            ("Global=1", true),
            ("Global=on", true),
            ("Global=t", true),
            ("Global=y", false),
            ("Global=true\nGlobal=false", false),
            ("Global=no\nGlobal=\"on\"", true),
            ("", false),
        ] {
            assert_eq!(of(lines).global, expected, "{lines}");
        }
    }

    #[test]
    fn b_metadata_is_or_within_a_key_and_and_between_keys() {
        let found = of("MachineMetadata=\"a=1\" \"b=2\"\nX-ConditionMachineMetadata=a=3\nMachineMetadata=bad\nMachineMetadata==x\nMachineMetadata=y=\nMachineMetadata=p=q=r\nMachineMetadata=hostname=%i\nMachineMetadata=c!=1\nMachineMetadata=d>=1").metadata;
        let flat: Vec<(String, Vec<String>)> = found.into_iter().map(|(k, v)| (k, v.into_iter().collect())).collect();
        let expected = [("a", vec!["1", "3"]), ("b", vec!["2"]), ("hostname", vec!["1"])];
        let expected: Vec<(String, Vec<String>)> =
            expected.into_iter().map(|(k, v)| (k.into(), v.into_iter().map(String::from).collect())).collect();
        assert_eq!(flat, expected);
    }

    #[test]
    fn b_invalid_combinations() {
        let cases = [
            ("MachineID=a\nMachineOf=b", "MachineID cannot be used with Peers"),
            ("MachineID=a\nConflicts=b", "MachineID cannot be used with Conflicts"),
            ("MachineID=a\nGlobal=true", "MachineID cannot be used with Global"),
            ("MachineID=a\nReplaces=b", "MachineID cannot be used with Replaces"),
            ("Global=true\nMachineOf=b", "Global cannot be used with Peers"),
            ("Global=true\nReplaces=b", "Global cannot be used with Replaces"),
            ("Conflicts=a\nReplaces=b", "Conflicts cannot be used with Replaces"),
            ("Exclusive=true\nGlobal=true", "Exclusive cannot be used with Global"),
            (
                "MachineOf=p.service\nConflicts=p*",
                "unresolvable requirements: peer \"p.service\" matches conflict \"p*\"",
            ),
            ("MachineOf=p\nReplaces=p", "unresolvable requirements: peer \"p\" matches replace \"p\""),
        ];
        for (lines, expected) in cases {
            assert_eq!(of(lines).validate().unwrap_err().to_string(), expected);
        }
        for valid in
            ["MachineID=a\nMachineMetadata=b=c", "Global=true\nConflicts=x", "MachineOf=a\nConflicts=b", "Conflicts=["]
        {
            assert_eq!(of(valid).validate(), Ok(()), "{valid}");
        }
    }

    #[test]
    fn b_unknown_options_are_named_not_refused() {
        let text = UnitText::parse("[X-Fleet]\nFoo=1\nX-Replaces=b\nFoo=2\nConflicts=x\n[Unit]\nBar=1").unwrap();
        assert_eq!(unknown(&text), ["Foo", "X-Replaces"]);
    }
}
