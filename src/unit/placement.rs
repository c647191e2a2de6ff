//! `[X-Fleet]` beyond fleet: how much of a machine a unit takes, which machines it likes better, who goes before whom.
//! fleet of old passes these keys over. README.md tells them to users, in one table.

use super::condition::Condition;
use super::name::UnitName;
use super::requirements::{SECTION, multivalues};
use super::specifier;
use super::text::UnitText;
use super::value;

/// Keys by which one unit may be spread.
pub const SPREAD_KEYS_MAX: usize = 4;
/// In place of a key of metadata, `Spread=` takes the machine itself.
pub const SPREAD_BY_MACHINE: &str = "MachineID";

/// The options that this room knows besides fleet's.
pub(super) const KEYS: [&str; 10] = [
    "Spread",
    "Prefer",
    "Weight",
    "MaxPerMachine",
    "MemoryReservation",
    "CPUReservation",
    "Priority",
    "Reschedule",
    "Exclusive",
    "Rerun",
];

/// A machine that meets the condition is liked better by so much.
pub type Preference = (Condition, i32);

/// What a unit asks of the scheduler besides fleet's rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// `MachineMetadata=` with negation or comparison: all must be met.
    pub conditions: Vec<Condition>,
    /// Keys of metadata over whose values the instances of the template are spread evenly, the most important first.
    pub spread: Vec<String>,
    /// Machines that meet the condition are liked better, by so much.
    pub prefer: Vec<Preference>,
    /// How many units it counts for where the least loaded machine is looked for.
    pub weight: u32,
    /// So many instances of the template may be on one machine.
    pub max_per_machine: Option<u32>,
    /// Bytes that the machine sets aside for it.
    pub memory_bytes: u64,
    /// Thousandths of a core that the machine sets aside for it.
    pub cpu_millis: u64,
    /// A unit that fits nowhere may displace those of a lower one.
    pub priority: i32,
    /// A unit that has failed may move to another machine.
    pub reschedule: bool,
    /// It never runs on two machines at once, not even while one is cut off.
    pub exclusive: bool,
    /// A one-shot that is done runs again elsewhere when its machine is lost.
    pub rerun: bool,
}

impl Default for Placement {
    fn default() -> Self {
        Self {
            conditions: Vec::new(),
            spread: Vec::new(),
            prefer: Vec::new(),
            weight: 1,
            max_per_machine: None,
            memory_bytes: 0,
            cpu_millis: 0,
            priority: 0,
            reschedule: false,
            exclusive: false,
            rerun: false,
        }
    }
}

/// A value that its key does not take. The line is that of the unit's text as `fleetctl cat` prints it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("[X-Fleet] line {line}: {key}={value}: {expected}")]
pub struct PlacementError {
    pub line: usize,
    pub key: String,
    pub value: String,
    pub expected: &'static str,
}

impl Placement {
    /// What the unit called `unit` asks for, specifiers replaced. A value that its key does not take counts as not given.
    pub fn of(text: &UnitText, unit: &str) -> Self {
        let mut placement = Self::default();
        for option in text.options().iter().filter(|o| o.section == SECTION) {
            for value in multivalues(&option.value) {
                // What is malformed was refused when it came, unless it came from a fleet of old, which passes it over.
                let _ = placement.take(&option.name, &specifier::fleet(&value, unit));
            }
        }
        placement
    }

    /// Refuses values that their keys do not take. Of a template, values with specifiers are left to its instances.
    ///
    /// # Errors
    /// The first such value.
    pub fn check(text: &UnitText, unit: &str) -> Result<(), PlacementError> {
        let template = UnitName::new(unit).is_template();
        let mut placement = Self::default();
        for (line, option) in text.numbered().filter(|(_, o)| o.section == SECTION) {
            for value in multivalues(&option.value).into_iter().filter(|v| !(template && v.contains('%'))) {
                let taken = placement.take(&option.name, &specifier::fleet(&value, unit));
                let fits = taken.and_then(|()| match placement.exclusive && !unit.ends_with(".service") {
                    true => Err("only services can be exclusive"),
                    false => Ok(()),
                });
                fits.map_err(|expected| PlacementError { line, key: option.name.clone(), value, expected })?;
            }
        }
        Ok(())
    }

    /// Takes one value in; else tells what its key takes.
    fn take(&mut self, key: &str, value: &str) -> Result<(), &'static str> {
        let value = value.trim();
        match key {
            "MachineMetadata" | "X-ConditionMachineMetadata" if Condition::is_beyond_fleet(value) => {
                let expected = "write key!=value, or one of key>=n, key<=n, key>n, key<n with a whole number";
                self.conditions.push(Condition::parse(value).ok_or(expected)?);
            }
            "Spread" => {
                if value.is_empty() || value.contains(char::is_whitespace) {
                    return Err("write the key of the machines' metadata, for example zone; or MachineID");
                }
                if self.spread.len() == SPREAD_KEYS_MAX {
                    return Err("a unit is spread by at most four keys");
                }
                self.spread.push(value.to_owned());
            }
            "Prefer" => self.prefer.push(preference(value)?),
            "Weight" => self.weight = number(value, 1, 1_000).ok_or("write a whole number from 1 to 1000")?,
            "MaxPerMachine" => {
                self.max_per_machine = Some(number(value, 1, 10_000).ok_or("write a whole number from 1 to 10000")?);
            }
            "MemoryReservation" => {
                self.memory_bytes = value::bytes(value).map_err(|_| "write bytes, or for example 512M or 1.5G")?;
            }
            "CPUReservation" => {
                self.cpu_millis = value::cores(value).map_err(|_| "write cores, for example 2 or 0.5, or 50%")?;
            }
            "Priority" => {
                self.priority = number(value, -1_000, 1_000).ok_or("write a whole number from -1000 to 1000")?;
            }
            "Reschedule" => {
                self.reschedule = match value {
                    "on-failure" => true,
                    "no" => false,
                    _ => return Err("write on-failure or no"),
                }
            }
            "Rerun" => {
                self.rerun = match value {
                    "on-loss" => true,
                    "no" => false,
                    _ => return Err("write on-loss or no"),
                }
            }
            "Exclusive" => self.exclusive = value::boolean(value).map_err(|_| "write true or false")?,
            _ => {}
        }
        Ok(())
    }
}

/// `key=value`, or another condition, and how much it counts: 1 where nothing is said.
fn preference(value: &str) -> Result<Preference, &'static str> {
    let expected = "write key=value and, if it is not to count 1, a whole number from -100 to 100 behind it";
    let (condition, weight) = match value.rsplit_once(char::is_whitespace) {
        Some((condition, weight)) => (condition, number(weight, -100, 100).ok_or(expected)?),
        None => (value, 1),
    };
    Ok((Condition::parse(condition).ok_or(expected)?, weight))
}

fn number<T: std::str::FromStr + PartialOrd>(text: &str, least: T, most: T) -> Option<T> {
    text.parse().ok().filter(|n| (least..=most).contains(n))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn text(lines: &str) -> UnitText {
        UnitText::parse(&format!("[Service]\nExecStart=/bin/true\n[X-Fleet]\n{lines}")).unwrap()
    }

    #[test]
    fn every_key_and_what_it_takes() {
        let placement = |lines: &str| Placement::of(&text(lines), "web@3.service");
        assert_eq!(placement("Conflicts=a\nGlobal=true"), Placement::default());
        assert_eq!(placement("Spread=zone\nSpread=%p").spread, ["zone", "web"]);
        let prefer = placement("Prefer=disk=ssd 10\nPrefer=\"cores>=8\" \"zone!=a -5\"").prefer;
        let prefer: Vec<String> = prefer.iter().map(|(c, w)| format!("{c} {w}")).collect();
        assert_eq!(prefer, ["disk=ssd 10", "cores>=8 1", "zone!=a -5"]);
        assert_eq!(placement("Weight=5\nWeight=%i").weight, 3);
        assert_eq!(placement("MaxPerMachine=2").max_per_machine, Some(2));
        assert_eq!(placement("MemoryReservation=512M").memory_bytes, 512 << 20);
        assert_eq!(placement("CPUReservation=1.5").cpu_millis, 1_500);
        assert_eq!(placement("Priority=-7").priority, -7);
        assert!(placement("Reschedule=on-failure").reschedule);
        assert!(placement("Exclusive=true").exclusive && !placement("Exclusive=yes\nExclusive=no").exclusive);
        let conditions = placement("MachineMetadata=a=1\nMachineMetadata=\"b!=2\" \"c>=3\"").conditions;
        assert_eq!(conditions.iter().map(ToString::to_string).collect::<Vec<_>>(), ["b!=2", "c>=3"]);
    }

    #[test]
    fn a_malformed_value_is_refused_with_its_line_and_key() {
        for (lines, expected) in [
            ("Weight=0", "[X-Fleet] line 5: Weight=0: write a whole number from 1 to 1000"),
            (
                "Conflicts=a \\\n b\nPriority=high",
                "[X-Fleet] line 7: Priority=high: write a whole number from -1000 to 1000",
            ),
            (
                "MemoryReservation=lots",
                "[X-Fleet] line 5: MemoryReservation=lots: write bytes, or for example 512M or 1.5G",
            ),
            ("CPUReservation=-1", "[X-Fleet] line 5: CPUReservation=-1: write cores, for example 2 or 0.5, or 50%"),
            ("Reschedule=always", "[X-Fleet] line 5: Reschedule=always: write on-failure or no"),
            ("Rerun=yes", "[X-Fleet] line 5: Rerun=yes: write on-loss or no"),
            ("Exclusive=maybe", "[X-Fleet] line 5: Exclusive=maybe: write true or false"),
            ("MaxPerMachine=", "[X-Fleet] line 5: MaxPerMachine=: write a whole number from 1 to 10000"),
            (
                "Spread=a b",
                "[X-Fleet] line 5: Spread=a b: write the key of the machines' metadata, for example zone; or MachineID",
            ),
            (
                "Spread=a\nSpread=b\nSpread=c\nSpread=d\nSpread=e",
                "[X-Fleet] line 9: Spread=e: a unit is spread by at most four keys",
            ),
            (
                "Prefer=disk",
                "[X-Fleet] line 5: Prefer=disk: write key=value and, if it is not to count 1, a whole number from -100 to 100 behind it",
            ),
            (
                "MachineMetadata=cores>=many",
                "[X-Fleet] line 5: MachineMetadata=cores>=many: write key!=value, or one of key>=n, key<=n, key>n, key<n with a whole number",
            ),
        ] {
            assert_eq!(Placement::check(&text(lines), "a.service").unwrap_err().to_string(), expected);
            // From a fleet of old it may have come all the same.
            let _ = Placement::of(&text(lines), "a.service");
        }
    }

    #[test]
    fn what_a_template_leaves_open_is_for_its_instances() {
        let weight = text("Weight=%i");
        assert_eq!(Placement::check(&weight, "a@.service"), Ok(()));
        assert_eq!(Placement::check(&weight, "a@7.service"), Ok(()));
        assert!(Placement::check(&weight, "a@x.service").is_err());
        assert!(Placement::check(&text("Weight=x"), "a@.service").is_err());
        assert_eq!(Placement::check(&text("MachineMetadata=nonsense\nUnknown=1"), "a.service"), Ok(()));
    }
}
