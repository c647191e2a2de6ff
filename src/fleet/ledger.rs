//! What is counted on the board besides conflicts: weight, reservations, and the instances of templates that ask to be
//! spread or limited. All counts are kept up as units come and go, so that no question walks over units.

use std::collections::HashMap;
use std::rc::Rc;

use super::reason::Reason;
use super::types::{Machine, Unit};
use crate::unit::Placement;
use crate::unit::placement::{SPREAD_BY_MACHINE, SPREAD_KEYS_MAX};

/// How many instances of a unit's template share a machine's value of each key of its `Spread=`.
pub(super) type Crowd = [u32; SPREAD_KEYS_MAX];

/// What the units on one machine take of it.
#[derive(Clone, Copy, Default)]
struct Taken {
    weight: u64,
    memory_bytes: u64,
    cpu_millis: u64,
}

/// What a machine lacks for a unit.
#[derive(Default, PartialEq, Eq)]
struct Shortage {
    memory_bytes: u64,
    cpu_millis: u64,
    instances: usize,
}

/// A key of metadata that units are spread by, and each machine's value of it as a number. Machines without the key have
/// one value in common.
struct SpreadKey<'a> {
    name: &'a str,
    value_of: Vec<u32>,
    values: usize,
}

/// Counts by machine, by template and by value of metadata.
pub(super) struct Ledger<'a> {
    placements: Vec<&'a Placement>,
    /// The template of each unit whose instances are counted; `None`: nobody asks.
    kind: Vec<Option<u32>>,
    taken: Vec<Taken>,
    /// Instances of a template on a machine: how many of them each bears there.
    kin: HashMap<(u32, u32), Vec<u32>>,
    keys: Vec<SpreadKey<'a>>,
    /// For each template the keys that anyone spreads it by, and its instances by the key's value.
    spread: Vec<Vec<Spread>>,
    /// The keys of each unit: where they are in its template's list.
    keys_of_unit: Vec<Vec<usize>>,
}

/// How a template's instances are spread over a key's values.
struct Spread {
    key: u32,
    instances: Vec<u32>,
}

impl<'a> Ledger<'a> {
    /// Nothing is counted yet.
    pub fn new(machines: &[&'a Machine], units: &[&'a Unit]) -> Self {
        let mut ledger = Self {
            placements: units.iter().map(|unit| &unit.requirements.placement).collect(),
            kind: vec![None; units.len()],
            taken: vec![Taken::default(); machines.len()],
            kin: HashMap::new(),
            keys: Vec::new(),
            spread: Vec::new(),
            keys_of_unit: vec![Vec::new(); units.len()],
        };
        let mut kinds: HashMap<(&str, &str), u32> = HashMap::new();
        for (at, unit) in units.iter().enumerate() {
            let placement = &unit.requirements.placement;
            if placement.spread.is_empty() && placement.max_per_machine.is_none() {
                continue;
            }
            let next = kinds.len() as u32;
            let kind = *kinds.entry(kind_of(&unit.name)).or_insert(next);
            if kind == next {
                ledger.spread.push(Vec::new());
            }
            for name in &placement.spread {
                let key = ledger.key(name, machines);
                let of_kind = &mut ledger.spread[kind as usize];
                let place = of_kind.iter().position(|spread| spread.key == key).unwrap_or_else(|| {
                    let values = ledger.keys[key as usize].values;
                    of_kind.push(Spread { key, instances: vec![0; values] });
                    of_kind.len() - 1
                });
                ledger.keys_of_unit[at].push(place);
            }
        }
        if !kinds.is_empty() {
            ledger.kind = units.iter().map(|unit| kinds.get(&kind_of(&unit.name)).copied()).collect();
        }
        ledger
    }

    fn key(&mut self, name: &'a str, machines: &[&'a Machine]) -> u32 {
        if let Some(known) = self.keys.iter().position(|key| key.name == name) {
            return known as u32;
        }
        let mut values: HashMap<Option<&str>, u32> = HashMap::new();
        let value_of = machines.iter().map(|machine| {
            let next = values.len() as u32;
            *values.entry(spread_value(name, machine)).or_insert(next)
        });
        let value_of = value_of.collect();
        self.keys.push(SpreadKey { name, value_of, values: values.len() });
        self.keys.len() as u32 - 1
    }

    /// Counts a unit that comes to a machine, or no longer counts one that leaves it.
    pub fn count(&mut self, unit: u32, machine: u32, arrives: bool) {
        let placement = self.placements[unit as usize];
        let taken = &mut self.taken[machine as usize];
        let step =
            |sum: &mut u64, by: u64| *sum = if arrives { sum.saturating_add(by) } else { sum.saturating_sub(by) };
        step(&mut taken.weight, placement.weight.into());
        step(&mut taken.memory_bytes, placement.memory_bytes);
        step(&mut taken.cpu_millis, placement.cpu_millis);
        let Some(kind) = self.kind[unit as usize] else { return };
        let kin = self.kin.entry((kind, machine)).or_default();
        let bears = placement.max_per_machine.unwrap_or(u32::MAX);
        if arrives {
            kin.push(bears);
        } else if let Some(place) = kin.iter().position(|known| *known == bears) {
            kin.swap_remove(place);
        }
        let step = |count: &mut u32| *count = if arrives { *count + 1 } else { count.saturating_sub(1) };
        for spread in &mut self.spread[kind as usize] {
            let value = self.keys[spread.key as usize].value_of[machine as usize];
            step(&mut spread.instances[value as usize]);
        }
    }

    /// What the units on a machine weigh together.
    pub fn weight(&self, machine: u32) -> u64 {
        self.taken[machine as usize].weight
    }

    /// The instances of a unit's template on a machine, as far as anyone asks.
    fn kin(&self, unit: u32, machine: u32) -> &[u32] {
        let kin = self.kind[unit as usize].and_then(|kind| self.kin.get(&(kind, machine)));
        kin.map_or(&[], Vec::as_slice)
    }

    /// Weight, bytes of memory and thousandths of a core that the units on a machine take.
    pub fn taken(&self, machine: u32) -> (u64, u64, u64) {
        let taken = self.taken[machine as usize];
        (taken.weight, taken.memory_bytes, taken.cpu_millis)
    }

    /// Why a machine has no room for a unit that is not on it.
    pub fn objection(&self, unit: u32, at: u32, machine: &Machine) -> Option<Reason> {
        let asks = self.placements[unit as usize];
        let taken = self.taken[at as usize];
        let kin = self.kin(unit, at);
        // As conflicts do, the limit holds both ways.
        let most = kin.iter().copied().chain(asks.max_per_machine).min().unwrap_or(u32::MAX);
        if kin.len() >= most as usize {
            return Some(Reason::TooMany { most });
        }
        let (needed, free) = (asks.memory_bytes, machine.memory_bytes.saturating_sub(taken.memory_bytes));
        if needed > 0 && needed > free {
            return Some(Reason::Memory { needed, free, total: machine.memory_bytes });
        }
        let total = u64::from(machine.cores) * 1_000;
        let (needed, free) = (asks.cpu_millis, total.saturating_sub(taken.cpu_millis));
        if needed > 0 && needed > free {
            return Some(Reason::Cpu { needed, free, total });
        }
        None
    }

    /// Whether the machine has room: [`Ledger::objection`] without the words.
    pub fn has_room(&self, unit: u32, at: u32, machine: &Machine) -> bool {
        let asks = self.placements[unit as usize];
        let plain = asks.memory_bytes == 0 && asks.cpu_millis == 0 && self.kind[unit as usize].is_none();
        plain || self.objection(unit, at, machine).is_none()
    }

    /// Whether the machine would have room if some of its units had left.
    pub fn has_room_without(&self, unit: u32, at: u32, machine: &Machine, gone: &[u32]) -> bool {
        self.shortage(unit, at, machine, gone) == Shortage::default()
    }

    /// Whether it brings room nearer if one more of its units leaves.
    pub fn would_help(&self, unit: u32, at: u32, machine: &Machine, gone: &[u32], other: u32) -> bool {
        let short = self.shortage(unit, at, machine, gone);
        let theirs = self.placements[other as usize];
        (short.memory_bytes > 0 && theirs.memory_bytes > 0)
            || (short.cpu_millis > 0 && theirs.cpu_millis > 0)
            || (short.instances > 0 && self.kind[unit as usize] == self.kind[other as usize])
    }

    /// What is missing on a machine for a unit, if some of those that are there had left.
    fn shortage(&self, unit: u32, at: u32, machine: &Machine, gone: &[u32]) -> Shortage {
        let asks = self.placements[unit as usize];
        let taken = self.taken[at as usize];
        let left = |of: fn(&Placement) -> u64| gone.iter().map(|u| of(self.placements[*u as usize])).sum::<u64>();
        let memory = taken.memory_bytes.saturating_sub(left(|p| p.memory_bytes)).saturating_add(asks.memory_bytes);
        let cpu = taken.cpu_millis.saturating_sub(left(|p| p.cpu_millis)).saturating_add(asks.cpu_millis);
        let mut kin = self.kin(unit, at).to_vec();
        for other in gone.iter().filter(|u| self.kind[**u as usize] == self.kind[unit as usize]) {
            let bears = self.placements[*other as usize].max_per_machine.unwrap_or(u32::MAX);
            kin.iter().position(|known| *known == bears).map(|place| kin.swap_remove(place));
        }
        let most = kin.iter().copied().chain(asks.max_per_machine).min().unwrap_or(u32::MAX) as usize;
        Shortage {
            memory_bytes: if asks.memory_bytes > 0 { memory.saturating_sub(machine.memory_bytes) } else { 0 },
            cpu_millis: if asks.cpu_millis > 0 { cpu.saturating_sub(u64::from(machine.cores) * 1_000) } else { 0 },
            instances: (kin.len() + 1).saturating_sub(most),
        }
    }

    /// Whether a unit would rather be on some machines than on others.
    pub fn is_choosy(&self, unit: u32) -> bool {
        !self.placements[unit as usize].prefer.is_empty() || !self.keys_of_unit[unit as usize].is_empty()
    }

    /// How crowded a machine's surroundings are for a unit.
    pub fn crowd(&self, unit: u32, machine: u32) -> Crowd {
        let mut crowd = Crowd::default();
        for (count, spread) in crowd.iter_mut().zip(self.spreads(unit)) {
            *count = spread.instances[self.keys[spread.key as usize].value_of[machine as usize] as usize];
        }
        crowd
    }

    /// For each key of a unit the smallest crowd that there is; `values` are those that come into question, by key.
    pub fn least_crowd(&self, unit: u32, values: &[Rc<[u32]>]) -> Crowd {
        let mut least = Crowd::default();
        for ((count, spread), values) in least.iter_mut().zip(self.spreads(unit)).zip(values) {
            *count = values.iter().map(|value| spread.instances[*value as usize]).min().unwrap_or(0);
        }
        least
    }

    /// The keys that a unit is spread by.
    pub fn keys(&self, unit: u32) -> impl Iterator<Item = u32> + '_ {
        self.spreads(unit).map(|spread| spread.key)
    }

    /// The different values of a key that machines have.
    pub fn values(&self, key: u32, machines: &[u32]) -> Rc<[u32]> {
        let value_of = &self.keys[key as usize].value_of;
        let mut values: Vec<u32> = machines.iter().map(|m| value_of[*m as usize]).collect();
        values.sort_unstable();
        values.dedup();
        values.into()
    }

    fn spreads(&self, unit: u32) -> impl Iterator<Item = &Spread> + '_ {
        let of_kind = self.kind[unit as usize].map_or(&[][..], |kind| &self.spread[kind as usize]);
        self.keys_of_unit[unit as usize].iter().map(|place| &of_kind[*place])
    }

    /// What a unit asks of room, for [`Board::likeness`](super::board::Board::likeness).
    pub fn likeness(&self, unit: u32) -> [u64; 4] {
        let asks = self.placements[unit as usize];
        let kind = self.kind[unit as usize].map_or(0, |kind| u64::from(kind) + 1);
        [asks.memory_bytes, asks.cpu_millis, asks.max_per_machine.map_or(0, u64::from), kind]
    }
}

/// What the instances of a template have in common; of any other unit its name.
pub(super) fn kind_of(name: &str) -> (&str, &str) {
    match (name.split_once('@'), name.rsplit_once('.')) {
        (Some((prefix, _)), Some((_, suffix))) => (prefix, suffix),
        _ => (name, ""),
    }
}

/// A machine's value of a key that units are spread by.
pub(super) fn spread_value<'m>(key: &str, machine: &'m Machine) -> Option<&'m str> {
    if key == SPREAD_BY_MACHINE { Some(&machine.id.0) } else { machine.metadata.get(key).map(String::as_str) }
}

/// How much a unit likes a machine: the weights of the `Prefer=` that it meets.
pub(super) fn liking(unit: &Unit, machine: &Machine) -> i64 {
    let prefer = &unit.requirements.placement.prefer;
    prefer
        .iter()
        .filter(|(condition, _)| condition.is_met(&machine.metadata))
        .map(|(_, weight)| i64::from(*weight))
        .sum()
}
