//! Simulated machines and units of many kinds, and the planner carried out on them.

use std::collections::BTreeMap;

use corenode::base::MachineId;
use corenode::fleet::layout::{Key, UnitRecord, encode};
use corenode::fleet::{Cluster, DesiredState, Machine, Plan, Scheduled, plan};
use corenode::kv::{Event, EventKind, KeyValue, Space};

const RACKS: usize = 40;
const ZONES: usize = 4;

/// A cluster that does at once what is planned.
pub struct World {
    pub cluster: Cluster,
}

impl World {
    /// So many machines in racks and zones, and so many units that are to be launched.
    pub fn new(machines: usize, units: usize) -> Self {
        let mut world = Self { cluster: Cluster::default() };
        for number in 0..machines {
            let metadata = [
                ("rack", format!("r{}", number % RACKS)),
                ("zone", format!("z{}", number % RACKS % ZONES)),
                ("disk", if number % 3 == 0 { "ssd" } else { "hdd" }.to_owned()),
                ("generation", (number % 5).to_string()),
            ];
            let machine = Machine {
                id: MachineId(format!("machine{number:04}")),
                metadata: metadata.map(|(key, value)| (key.to_owned(), value)).into(),
                memory_bytes: 64 << 30,
                cores: 16,
                ..Machine::default()
            };
            world.put(&Key::Machine(machine.id.clone()), encode(&machine));
        }
        for number in 0..units {
            let (name, lines) = unit(number);
            world.launch(&name, &lines);
        }
        world
    }

    /// Adds a unit.
    pub fn launch(&mut self, name: &str, lines: &str) {
        let record = UnitRecord {
            text: format!("[Service]\nExecStart=/bin/sleep 1\n[X-Fleet]\n{lines}\n"),
            desired_state: DesiredState::Launched,
            generation: 1,
            launch: 1,
            set: None,
            next: None,
            restarts: BTreeMap::new(),
        };
        self.put(&Key::Unit(name.to_owned()), encode(&record));
    }

    /// Plans and carries the plan out.
    pub fn settle(&mut self) -> Plan {
        let plan = plan(&self.cluster);
        for decision in &plan.decisions {
            let key = Key::Schedule(decision.unit.clone());
            match &decision.to {
                Some(machine) => {
                    let at = Scheduled { machine: machine.clone(), generation: 1, ..Scheduled::default() };
                    self.put(&key, encode(&at));
                }
                None => self.delete(&key),
            }
        }
        plan
    }

    /// One machine of so many is gone; says how many units were scheduled on them.
    pub fn lose_every(&mut self, step: usize) -> usize {
        let lost: Vec<MachineId> = self.cluster.machines.keys().step_by(step).cloned().collect();
        for id in &lost {
            self.delete(&Key::Machine(id.clone()));
        }
        self.cluster.schedule.values().filter(|at| lost.contains(&at.machine)).count()
    }

    fn put(&mut self, key: &Key, value: impl Into<bytes::Bytes>) {
        self.apply(key, EventKind::Put, value.into());
    }

    fn delete(&mut self, key: &Key) {
        self.apply(key, EventKind::Delete, bytes::Bytes::new());
    }

    fn apply(&mut self, key: &Key, kind: EventKind, value: bytes::Bytes) {
        let mod_revision = self.cluster.revision + 1;
        let kv = KeyValue { key: key.bytes(), value, mod_revision, ..KeyValue::default() };
        self.cluster.apply(&Event { space: Space::System, kind, kv, prev: None, v2: None, made: None });
    }
}

/// The units: of ten one each is bound by each rule.
fn unit(number: usize) -> (String, String) {
    let group = number / 10 % 50;
    let lines = match number % 10 {
        0 => format!("Conflicts=k0-{group}@*.service"),
        1 => format!("MachineMetadata=rack=r{}", number % RACKS),
        2 => "Spread=zone\nSpread=rack\nMaxPerMachine=2".to_owned(),
        3 => format!("MachineOf=k0-{}@{}.service", (number - 3) / 10 % 50, number - 3),
        4 => "MemoryReservation=4G\nCPUReservation=0.5".to_owned(),
        5 => "Prefer=disk=ssd 10\nWeight=3".to_owned(),
        6 => "MemoryReservation=8G\nPriority=10".to_owned(),
        7 => "MachineMetadata=generation>=2\nMachineMetadata=zone!=z3".to_owned(),
        8 => "Spread=rack\nMemoryReservation=1G".to_owned(),
        _ => String::new(),
    };
    (format!("k{}-{group}@{number}.service", number % 10), lines)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;

    use corenode::fleet::Unit;
    use corenode::unit::requirements::glob_matches;

    use super::*;

    /// The units of each machine that has any.
    fn by_machine(world: &World) -> Vec<(&Machine, Vec<&Unit>)> {
        let mut units: BTreeMap<&MachineId, Vec<&Unit>> = BTreeMap::new();
        for (name, at) in &world.cluster.schedule {
            units.entry(&at.machine).or_default().push(&world.cluster.units[name]);
        }
        units.into_iter().map(|(id, units)| (&world.cluster.machines[id], units)).collect()
    }

    fn kind(unit: &Unit) -> &str {
        unit.name.split('@').next().unwrap()
    }

    /// What every unit asks for is so.
    fn check(world: &World) {
        for (machine, units) in by_machine(world) {
            let sum = |of: fn(&Unit) -> u64| units.iter().map(|unit| of(unit)).sum::<u64>();
            assert!(sum(|unit| unit.requirements.placement.memory_bytes) <= machine.memory_bytes);
            assert!(sum(|unit| unit.requirements.placement.cpu_millis) <= u64::from(machine.cores) * 1_000);
            for unit in &units {
                let asks = &unit.requirements;
                for (key, values) in &asks.metadata {
                    assert!(values.contains(&machine.metadata[key]), "{} on {}", unit.name, machine.id);
                }
                assert!(asks.placement.conditions.iter().all(|condition| condition.is_met(&machine.metadata)));
                assert!(asks.peers.iter().all(|peer| units.iter().any(|other| other.name == *peer)));
                for other in units.iter().filter(|other| other.name != unit.name) {
                    assert!(!asks.conflicts.iter().any(|pattern| glob_matches(pattern, &other.name)));
                }
                let kin = units.iter().filter(|other| kind(other) == kind(unit)).count();
                assert!(asks.placement.max_per_machine.is_none_or(|most| kin <= most as usize));
            }
        }
    }

    /// The instances of each template that is spread by zone are spread evenly.
    fn check_spread(world: &World) {
        let mut zones: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
        for (machine, units) in by_machine(world) {
            for unit in units.iter().filter(|unit| unit.requirements.placement.spread.iter().any(|key| key == "zone")) {
                *zones.entry(kind(unit)).or_default().entry(&machine.metadata["zone"]).or_default() += 1;
            }
        }
        assert_eq!(zones.len(), 50);
        for (kind, counts) in zones {
            let (least, most) = (counts.values().min().unwrap(), counts.values().max().unwrap());
            assert!(counts.len() == ZONES && most - least <= 1, "{kind}: {counts:?}");
        }
    }

    #[test]
    fn ten_thousand_units_on_a_thousand_machines_and_a_tenth_of_them_lost_at_once() {
        let mut world = World::new(1_000, 10_000);
        let first = world.settle();
        assert_eq!((first.decisions.len(), first.waiting.len()), (10_000, 0));
        check(&world);
        check_spread(&world);
        assert_eq!(world.settle().decisions, []);
        let moved = world.lose_every(10);
        assert!(moved > 500);
        let again = world.settle();
        assert_eq!((again.decisions.len(), again.waiting.len(), world.cluster.schedule.len()), (moved, 0, 10_000));
        check(&world);
        assert_eq!(world.settle().decisions, []);
    }
}
