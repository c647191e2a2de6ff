//! Why the planner decided as it did: one reason for every unit moved and every machine passed over.

use std::fmt;

use super::fence::HOLD_MS;
use super::types::{Failures, Scheduled};
use crate::base::MachineId;
use crate::unit::Condition;
use crate::unit::container::Port;

/// A rule, and what it found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Of the machines that fit, and of those among them that the unit likes best, it has the lightest load: the number of
    /// its units, each counted by its `Weight=`.
    LeastLoaded { load: u64 },
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
    /// The unit is a container, and the machine runs none.
    NoContainers { executor: String },
    /// `MachineMetadata=` asks for a value that the machine has not.
    Metadata { key: String, wanted: Vec<String>, found: Option<String> },
    /// `MachineOf=` names a unit that is not scheduled on the machine.
    PeerElsewhere { peer: String },
    /// The unit's own `Conflicts=` matches one that is there.
    Conflicts { other: String, pattern: String },
    /// One that is there has a `Conflicts=` that matches the unit.
    ConflictOf { other: String, pattern: String },
    /// One that is there publishes a port of the host that the unit publishes too.
    PortTaken { other: String, port: Port },
    /// One that is there `Replaces=` the unit.
    Replaced { by: String },
    /// `MachineMetadata=` with a negation or comparison that the machine's value does not meet.
    Condition { condition: Condition, found: Option<String> },
    /// `MaxPerMachine=` instances of the template are there.
    TooMany { most: u32 },
    /// `MemoryReservation=` is more than is left; bytes.
    Memory { needed: u64, free: u64, total: u64 },
    /// `CPUReservation=` is more than is left; thousandths of a core.
    Cpu { needed: u64, free: u64, total: u64 },
    /// The machine takes no more units.
    Cordoned { drain: bool },
    /// A unit of a higher `Priority=` needs the place.
    Displaced { by: String, priority: i32 },
    /// The machine that it was on is being drained.
    Drained,
    /// It failed on the machine that it was on, not for the first time perhaps.
    Failed(Failures),
    /// Somebody asked for a rebalance, and it is better off there.
    Rebalanced,
    /// It was to leave, and its machine tells that nothing of it is left there.
    GivenBack,
    /// It is exclusive, and claimed by a machine that is gone.
    MayStillRun { machine: MachineId },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LeastLoaded { load } => {
                write!(f, "least loaded of the machines that fit best ({load})")
            }
            Self::Inactive => f.write_str("its desired state is inactive"),
            Self::Destroyed => f.write_str("it was destroyed"),
            Self::BecameGlobal => f.write_str("it is global now and runs on every machine that fits"),
            Self::MachineGone => f.write_str("the machine is gone"),
            Self::OtherMachine { required } => {
                write!(f, "MachineID={required} asks for another machine")
            }
            Self::NoContainers { executor } => {
                write!(
                    f,
                    "it runs no containers (its executor is {executor}): its node found no engine at docker.socket when it started"
                )
            }
            Self::Metadata { key, wanted, found } => {
                write!(f, "MachineMetadata asks for {key}={}; ", wanted.join(" or "))?;
                has(f, key, found.as_deref())
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
            Self::PortTaken { other, port } => {
                write!(f, "{other}, which is there, takes the host's port of PublishPort={port}")
            }
            Self::Replaced { by } => write!(f, "{by}, which is there, replaces it"),
            Self::Condition { condition, found } => {
                write!(f, "MachineMetadata asks for {condition}; ")?;
                has(f, &condition.key, found.as_deref())
            }
            Self::TooMany { most } => write!(f, "MaxPerMachine={most}: so many of its kind are there"),
            Self::Memory { total: 0, .. } => {
                f.write_str("MemoryReservation: the machine does not tell how much memory it has")
            }
            Self::Memory { needed, free, total } => {
                let [needed, free, total] = [needed, free, total].map(|bytes| mebibytes(*bytes));
                write!(f, "MemoryReservation={needed}: {free} of {total} are not reserved")
            }
            Self::Cpu { total: 0, .. } => {
                f.write_str("CPUReservation: the machine does not tell how many cores it has")
            }
            Self::Cpu { needed, free, total } => {
                let [needed, free, total] = [needed, free, total].map(|millis| cores(*millis));
                write!(f, "CPUReservation={needed}: {free} of {total} cores are not reserved")
            }
            Self::Cordoned { drain: false } => f.write_str("the machine is cordoned"),
            Self::Cordoned { drain: true } => f.write_str("the machine is being drained"),
            Self::Failed(failures) => write!(f, "it failed there ({})", failures.count),
            Self::GivenBack => f.write_str("it was to leave and has stopped there"),
            Self::MayStillRun { machine } => write!(
                f,
                "Exclusive=true: it may still run on {machine}, which is gone; it is started elsewhere {} s after that was noticed",
                HOLD_MS / 1_000
            ),
            Self::Rebalanced => f.write_str("it is better off there"),
            Self::Drained => f.write_str("the machine is being drained"),
            Self::Displaced { by, priority } => write!(f, "{by} of Priority={priority} needs the place"),
        }
    }
}

/// What a machine has of a key.
fn has(f: &mut fmt::Formatter<'_>, key: &str, found: Option<&str>) -> fmt::Result {
    match found {
        Some(value) => write!(f, "the machine has {key}={value}"),
        None => write!(f, "the machine has no {key}"),
    }
}

/// Bytes for people, as `MemoryReservation=` takes them.
pub fn mebibytes(bytes: u64) -> String {
    if bytes.is_multiple_of(1 << 20) || bytes >= 10 << 20 { format!("{}M", bytes >> 20) } else { bytes.to_string() }
}

/// Thousandths of a core as cores.
pub fn cores(millis: u64) -> String {
    let text = format!("{}.{:03}", millis / 1_000, millis % 1_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
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
    /// Of an exclusive unit.
    pub precaution: Option<Precaution>,
}

/// What a decision about an exclusive unit is taken for: it is void if any of it has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Precaution {
    /// The unit's entry in the schedule, and the store's revision of it.
    pub entry: Scheduled,
    pub revision: i64,
    /// The store's revision of the record of the machine that had the claim, which is over.
    pub machine_revision: Option<i64>,
    /// The machine is asked to give its claim back, and nothing else is done yet.
    pub asks_first: bool,
}

impl Decision {
    /// The failures that make it move, to be counted.
    pub fn failures(&self) -> Option<Failures> {
        if self.reason == Reason::GivenBack {
            return self.precaution.as_ref().and_then(|before| before.entry.failures);
        }
        if let Reason::Failed(failures) = self.reason { Some(failures) } else { None }
    }

    /// The machine that the unit leaves although it could go on there: it may wait for others that do.
    pub fn moved_from(&self) -> Option<MachineId> {
        if self.reason == Reason::GivenBack {
            let before = self.precaution.as_ref().and_then(|before| before.entry.moved_from.clone());
            return before.filter(|from| self.to.as_ref().is_some_and(|to| to != from));
        }
        let at_will = matches!(self.reason, Reason::Drained | Reason::Rebalanced);
        self.from.clone().filter(|_| at_will && self.to.is_some())
    }
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
