//! Published ports on the planner's board: which units take which ports of which machine.

use std::collections::HashMap;

use super::types::Unit;
use crate::unit::container::Port;

/// Units by index, machines too.
pub(super) struct Ports<'a> {
    /// What each unit takes.
    of_unit: Vec<&'a [Port]>,
    /// Alike for units that take the same; 0: nothing.
    likeness: Vec<u64>,
    /// The units on a machine that take a port, of whatever protocol and address.
    takers: HashMap<(u32, Option<u16>), Vec<u32>>,
}

impl<'a> Ports<'a> {
    /// Nothing is taken yet.
    pub fn new(units: &[&'a Unit]) -> Self {
        let of_unit: Vec<&[Port]> = units.iter().map(|unit| unit.requirements.ports.as_slice()).collect();
        let mut kinds: HashMap<&[Port], u64> = HashMap::from([(&[][..], 0)]);
        let mut kind = |ports: &&'a [Port]| {
            let next = kinds.len() as u64;
            *kinds.entry(ports).or_insert(next)
        };
        let likeness = of_unit.iter().map(&mut kind).collect();
        Self { of_unit, likeness, takers: HashMap::new() }
    }

    /// A unit comes to a machine, or leaves it.
    pub fn count(&mut self, unit: u32, machine: u32, arrives: bool) {
        for port in self.of_unit[unit as usize] {
            let takers = self.takers.entry((machine, port.host)).or_default();
            if arrives {
                takers.push(unit);
            } else if let Some(place) = takers.iter().position(|taker| *taker == unit) {
                takers.swap_remove(place);
            }
        }
    }

    /// The units on a machine that take a port which a unit asks for, some perhaps more than once.
    pub fn rivals(&self, unit: u32, machine: u32) -> impl Iterator<Item = u32> + '_ {
        let takers = move |port: &Port| self.takers.get(&(machine, port.host)).into_iter().flatten().copied();
        let there = self.of_unit[unit as usize].iter().flat_map(takers);
        there.filter(move |other| *other != unit && self.clash(unit, *other).is_some())
    }

    /// The first port of a unit that it cannot have beside another.
    pub fn clash(&self, unit: u32, other: u32) -> Option<&'a Port> {
        let theirs = self.of_unit[other as usize];
        self.of_unit[unit as usize].iter().find(|port| theirs.iter().any(|taken| port.clashes(taken)))
    }

    /// Which units stand for the same question "where does it fit?".
    pub fn likeness(&self, unit: u32) -> u64 {
        self.likeness[unit as usize]
    }
}
