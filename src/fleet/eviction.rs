//! Who makes way for whom: `Replaces=` without circles, and the order in which units are placed because of it.
//!
//! A unit that arrives evicts those that it replaces, and a unit that leaves takes along those that are `MachineOf` it.
//! Where such effects form a circle its `Replaces=` are ignored, as fleet does for two units that replace each other;
//! else units could chase each other for ever.

use std::collections::HashMap;

use super::types::Unit;
use crate::unit::requirements::glob_matches;

/// For the units of one plan, by index.
pub(super) struct Evictions {
    /// Units that leave a machine when this one comes.
    pub victims: Vec<Vec<u32>>,
    /// The other way round.
    pub replacers: Vec<Vec<u32>>,
    /// Whoever has an effect on another has a smaller depth than that: the order of placing.
    pub depth: Vec<u32>,
}

impl Evictions {
    /// Reads the relations among `units`, which are sorted by name; `index` finds them by name.
    pub fn of(units: &[&Unit], index: &HashMap<&str, u32>) -> Self {
        let mut victims = vec![Vec::new(); units.len()];
        let mut effects: Vec<Vec<u32>> = vec![Vec::new(); units.len()];
        for (me, unit) in units.iter().enumerate() {
            for pattern in &unit.requirements.replaces {
                for (other, _) in matching(units, pattern) {
                    let replaceable = !units[other as usize].requirements.global;
                    if other as usize != me && replaceable && !victims[me].contains(&other) {
                        victims[me].push(other);
                        effects[me].push(other);
                    }
                }
            }
            for peer in &unit.requirements.peers {
                if let Some(leader) = index.get(peer.as_str()) {
                    effects[*leader as usize].push(me as u32);
                }
            }
        }
        let (component, depth) = condense(&effects);
        let mut replacers = vec![Vec::new(); units.len()];
        for (me, mine) in victims.iter_mut().enumerate() {
            mine.retain(|other| component[*other as usize] != component[me]);
            for other in mine {
                replacers[*other as usize].push(me as u32);
            }
        }
        Self { victims, replacers, depth }
    }
}

/// The units, sorted by name, whose names match a pattern. Only names that begin like the pattern are looked at.
pub(super) fn matching<'a>(units: &'a [&'a Unit], pattern: &'a str) -> impl Iterator<Item = (u32, &'a Unit)> + 'a {
    let prefix = &pattern[..pattern.find(['*', '?', '[', '\\']).unwrap_or(pattern.len())];
    let first = units.partition_point(|u| u.name.as_str() < prefix);
    let literal = prefix.len() == pattern.len();
    units[first..]
        .iter()
        .take_while(move |u| u.name.starts_with(prefix))
        .zip(first as u32..)
        .filter(move |(u, _)| if literal { u.name == pattern } else { glob_matches(pattern, &u.name) })
        .map(|(u, at)| (at, *u))
}

/// The strongly connected component of each node, and its component's longest distance from one that nobody affects.
fn condense(edges: &[Vec<u32>]) -> (Vec<u32>, Vec<u32>) {
    let count = edges.len();
    let mut finished = Vec::with_capacity(count);
    let mut seen = vec![false; count];
    for start in 0..count {
        visit(start as u32, edges, &mut seen, |node| finished.push(node));
    }
    let mut backwards = vec![Vec::new(); count];
    for (from, targets) in edges.iter().enumerate() {
        for to in targets {
            backwards[*to as usize].push(from as u32);
        }
    }
    // Against the edges, from the last finished: each visit finds one component, and components come in their order.
    let mut component = vec![0; count];
    let mut depth_of: Vec<u32> = Vec::new();
    let mut seen = vec![false; count];
    for start in finished.into_iter().rev() {
        let this = depth_of.len() as u32;
        let mut members = Vec::new();
        visit(start, &backwards, &mut seen, |node| members.push(node));
        if members.is_empty() {
            continue;
        }
        for node in &members {
            component[*node as usize] = this;
        }
        let before = members.iter().flat_map(|node| &backwards[*node as usize]);
        let others = before.map(|from| component[*from as usize]).filter(|c| *c != this);
        let depth = others.map(|c| depth_of[c as usize] + 1).max().unwrap_or(0);
        depth_of.push(depth);
    }
    let depth = component.iter().map(|c| depth_of[*c as usize]).collect();
    (component, depth)
}

/// Walks everything reachable from `start` that was not seen yet, without recursion; tells nodes as they are done.
fn visit(start: u32, edges: &[Vec<u32>], seen: &mut [bool], mut done: impl FnMut(u32)) {
    if std::mem::replace(&mut seen[start as usize], true) {
        return;
    }
    let mut stack = vec![(start, 0)];
    while let Some((node, next)) = stack.pop() {
        match edges[node as usize].get(next) {
            None => done(node),
            Some(to) => {
                stack.push((node, next + 1));
                if !std::mem::replace(&mut seen[*to as usize], true) {
                    stack.push((*to, 0));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn circles_are_one_component_and_depth_follows_effects() {
        // 0 → 1 → 2 → 1, 2 → 3, 4 alone.
        let edges = vec![vec![1], vec![2], vec![1, 3], vec![], vec![]];
        let (component, depth) = condense(&edges);
        assert_eq!(component[1], component[2]);
        assert_eq!(depth, [0, 1, 1, 2, 0]);
        let distinct: std::collections::BTreeSet<u32> = component.into_iter().collect();
        assert_eq!(distinct.len(), 4);
    }
}
