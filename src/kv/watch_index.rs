//! Which watchers an event concerns, found without asking each of them.
//!
//! Single keys and prefixes, which nearly all watchers watch, are looked up by the event's key; the rest are ranges in the
//! order of their beginnings, of which those that begin at or before the key are looked at.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::layout::in_range;
use super::types::{Space, prefix_end};

/// A watcher's number, chosen by whoever keeps the watchers.
pub type WatcherId = u64;

type Watchers = BTreeSet<WatcherId>;

/// All watchers of a node.
#[derive(Clone, Debug, Default)]
pub struct WatchIndex {
    spaces: BTreeMap<Space, SpaceIndex>,
    /// What each watcher watches.
    watched: BTreeMap<WatcherId, (Space, Bytes, Bytes)>,
}

#[derive(Clone, Debug, Default)]
struct SpaceIndex {
    keys: BTreeMap<Bytes, Watchers>,
    prefixes: BTreeMap<Bytes, Watchers>,
    /// How many different prefixes there are of each length.
    prefix_lengths: BTreeMap<usize, usize>,
    /// (beginning, end) → watchers.
    ranges: BTreeMap<(Bytes, Bytes), Watchers>,
}

enum Kind {
    Key,
    /// With its length.
    Prefix(usize),
    Range,
}

fn kind(key: &[u8], range_end: &[u8]) -> Kind {
    match range_end {
        [] => Kind::Key,
        [0] if key == [0] => Kind::Prefix(0),
        [0] => Kind::Range,
        end if prefix_end(key) == end => Kind::Prefix(key.len()),
        _ => Kind::Range,
    }
}

impl WatchIndex {
    /// Adds a watcher of a key or a range, as in a range request. A number that is in use is taken over.
    pub fn insert(&mut self, id: WatcherId, space: Space, key: Bytes, range_end: Bytes) {
        self.remove(id);
        let index = self.spaces.entry(space).or_default();
        index.slot(&key, &range_end).insert(id);
        self.watched.insert(id, (space, key, range_end));
    }

    /// Removes a watcher. Unknown ones are passed over.
    pub fn remove(&mut self, id: WatcherId) {
        if let Some((space, key, range_end)) = self.watched.remove(&id)
            && let Some(index) = self.spaces.get_mut(&space)
        {
            index.remove(id, key, range_end);
        }
    }

    /// Calls `visit` once for each watcher of `key`.
    pub fn matching(&self, space: Space, key: &[u8], visit: &mut dyn FnMut(WatcherId)) {
        let Some(index) = self.spaces.get(&space) else {
            return;
        };
        let mut each = |watchers: &Watchers| watchers.iter().for_each(|id| visit(*id));
        if let Some(watchers) = index.keys.get(key) {
            each(watchers);
        }
        for length in index.prefix_lengths.keys() {
            let Some(prefix) = key.get(..*length) else {
                break;
            };
            if let Some(watchers) = index.prefixes.get(prefix) {
                each(watchers);
            }
        }
        for ((from, end), watchers) in &index.ranges {
            if &from[..] > key {
                break;
            }
            if in_range(key, from, end) {
                each(watchers);
            }
        }
    }

    /// How many watchers there are.
    pub fn len(&self) -> usize {
        self.watched.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.watched.is_empty()
    }
}

impl SpaceIndex {
    fn slot(&mut self, key: &Bytes, range_end: &Bytes) -> &mut Watchers {
        match kind(key, range_end) {
            Kind::Key => self.keys.entry(key.clone()).or_default(),
            Kind::Prefix(length) => {
                let prefix = key.slice(..length);
                if !self.prefixes.contains_key(&prefix) {
                    *self.prefix_lengths.entry(length).or_default() += 1;
                }
                self.prefixes.entry(prefix).or_default()
            }
            Kind::Range => self.ranges.entry((key.clone(), range_end.clone())).or_default(),
        }
    }

    fn remove(&mut self, id: WatcherId, key: Bytes, range_end: Bytes) {
        let watchers = self.slot(&key, &range_end);
        watchers.remove(&id);
        if !watchers.is_empty() {
            return;
        }
        match kind(&key, &range_end) {
            Kind::Key => {
                self.keys.remove(&key);
            }
            Kind::Prefix(length) => {
                self.prefixes.remove(&key[..length]);
                if let Some(count) = self.prefix_lengths.get_mut(&length) {
                    *count -= 1;
                    if *count == 0 {
                        self.prefix_lengths.remove(&length);
                    }
                }
            }
            Kind::Range => {
                self.ranges.remove(&(key, range_end));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matched(index: &WatchIndex, key: &[u8]) -> Vec<WatcherId> {
        let mut found = Vec::new();
        index.matching(Space::User, key, &mut |id| found.push(id));
        found.sort_unstable();
        found
    }

    fn short() -> impl Strategy<Value = Bytes> {
        let byte = prop_oneof![Just(0u8), Just(b'a'), Just(b'b'), Just(0xff)];
        prop::collection::vec(byte, 0..4).prop_map(Bytes::from)
    }

    proptest! {
        /// The index finds exactly those watchers that asking each of them would find.
        #[test]
        fn agrees_with_asking_each(
            watchers in prop::collection::vec((short(), short(), any::<bool>(), any::<bool>()), 0..20),
            key in short(),
        ) {
            let mut index = WatchIndex::default();
            let mut kept = Vec::new();
            for (id, (from, end, prefix, keep)) in watchers.into_iter().enumerate() {
                let end = if prefix { prefix_end(&from) } else { end };
                index.insert(id as u64, Space::User, from.clone(), end.clone());
                if keep {
                    kept.push((id as u64, from, end));
                } else {
                    index.remove(id as u64);
                }
            }
            let expected: Vec<u64> = kept
                .iter()
                .filter(|(_, from, end)| in_range(&key, from, end) || (from[..] == [0] && end[..] == [0]))
                .map(|(id, ..)| *id)
                .collect();
            prop_assert_eq!(matched(&index, &key), expected);
            prop_assert_eq!(index.len(), kept.len());
            for (id, ..) in kept {
                index.remove(id);
            }
            prop_assert!(index.is_empty());
            prop_assert!(matched(&index, &key).is_empty());
        }
    }
}
