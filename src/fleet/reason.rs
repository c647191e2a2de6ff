//! Why the planner decided as it did: one reason for every unit moved and every machine passed over.

use std::fmt;

use crate::base::MachineId;

/// A rule, and what it found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Of the machines that fit it has the fewest units: that many.
    LeastLoaded { units: usize },
    /// Nobody wants the unit loaded any more.
    Inactive,
    /// The unit is gone.
    Destroyed,
    /// The unit runs on every machine that fits now.
    BecameGlobal,
    /// The machine that it was on is gone.
    MachineGone,
    /// `MachineID=` asks for another machine.
    OtherMachine { required: String },
    /// `MachineMetadata=` asks for a value that the machine has not.
    Metadata { key: String, wanted: Vec<String>, found: Option<String> },
    /// `MachineOf=` names a unit that is not scheduled on the machine.
    PeerElsewhere { peer: String },
    /// The unit's own `Conflicts=` matches one that is there.
    Conflicts { other: String, pattern: String },
    /// One that is there has a `Conflicts=` that matches the unit.
    ConflictOf { other: String, pattern: String },
    /// One that is there `Replaces=` the unit.
    Replaced { by: String },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LeastLoaded { units } => {
                write!(f, "fewest units of the machines that fit ({units})")
            }
            Self::Inactive => f.write_str("its desired state is inactive"),
            Self::Destroyed => f.write_str("it was destroyed"),
            Self::BecameGlobal => f.write_str("it is global now and runs on every machine that fits"),
            Self::MachineGone => f.write_str("the machine is gone"),
            Self::OtherMachine { required } => {
                write!(f, "MachineID={required} asks for another machine")
            }
            Self::Metadata { key, wanted, found } => {
                write!(f, "MachineMetadata asks for {key}={}", wanted.join(" or "))?;
                match found {
                    Some(value) => write!(f, "; the machine has {key}={value}"),
                    None => write!(f, "; the machine has no {key}"),
                }
            }
            Self::PeerElsewhere { peer } => {
                write!(f, "MachineOf={peer} is not scheduled there")
            }
            Self::Conflicts { other, pattern } => {
                write!(f, "Conflicts={pattern} matches {other}, which is there")
            }
            Self::ConflictOf { other, pattern } => {
                write!(f, "{other}, which is there, has Conflicts={pattern}")
            }
            Self::Replaced { by } => write!(f, "{by}, which is there, replaces it"),
        }
    }
}

/// A unit put on a machine, taken off one, or moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    pub unit: String,
    pub from: Option<MachineId>,
    pub to: Option<MachineId>,
    /// Why it leaves `from`; why it comes to `to` where it comes from nowhere.
    pub reason: Reason,
    /// The store's revision of the unit that this was decided for; 0: there is no such unit.
    pub unit_revision: i64,
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.from, &self.to) {
            (None, Some(to)) => write!(f, "schedule {} on {to}", self.unit),
            (Some(from), None) => write!(f, "unschedule {} from {from}", self.unit),
            (Some(from), Some(to)) => write!(f, "move {} from {from} to {to}", self.unit),
            (None, None) => write!(f, "leave {}", self.unit),
        }?;
        write!(f, ": {}", self.reason)
    }
}
