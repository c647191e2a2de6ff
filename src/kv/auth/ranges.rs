//! Sets of keys as disjoint ranges: a request is allowed only if one set covers all that it touches.

use bytes::Bytes;

/// The end of a range: a key that is no longer in it, or none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Before(Bytes),
    Open,
}

/// A set of keys: ranges in their order that neither overlap nor touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ranges(Vec<(Bytes, End)>);

/// A key and a range's end as requests give them; `None` if there can be no key in between.
fn span(key: &Bytes, range_end: &Bytes) -> Option<(Bytes, End)> {
    let end = match &range_end[..] {
        [] => {
            let mut next = key.to_vec();
            next.push(0);
            End::Before(next.into())
        }
        [0] => End::Open,
        _ if range_end <= key => return None,
        _ => End::Before(range_end.clone()),
    };
    Some((key.clone(), end))
}

impl Ranges {
    /// The union of keys and ranges; empty ones add nothing.
    pub fn union<'a>(parts: impl Iterator<Item = (&'a Bytes, &'a Bytes)>) -> Self {
        let mut spans: Vec<_> = parts.filter_map(|(key, end)| span(key, end)).collect();
        spans.sort();
        let mut merged: Vec<(Bytes, End)> = Vec::with_capacity(spans.len());
        for (start, end) in spans {
            match merged.last_mut() {
                Some((_, last)) if *last >= End::Before(start.clone()) => {
                    if end > *last {
                        *last = end;
                    }
                }
                _ => merged.push((start, end)),
            }
        }
        Self(merged)
    }

    /// Whether every key of the range is in the set. A range without keys is taken for its first key.
    pub fn cover(&self, key: &Bytes, range_end: &Bytes) -> bool {
        let Some((start, end)) = span(key, range_end).or_else(|| span(key, &Bytes::new())) else {
            return false;
        };
        let at = self.0.partition_point(|(first, _)| *first <= start);
        at > 0 && self.0[at - 1].1 >= end
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;
    use crate::kv::in_range;

    fn set(parts: &[(&'static str, &'static str)]) -> Ranges {
        let parts: Vec<_> = parts.iter().map(|(key, end)| (Bytes::from(*key), Bytes::from(*end))).collect();
        Ranges::union(parts.iter().map(|(key, end)| (key, end)))
    }

    #[test]
    fn a_range_is_allowed_only_as_a_whole() {
        type Case = (&'static [(&'static str, &'static str)], (&'static str, &'static str), bool);
        let cases: &[Case] = &[
            (&[], ("a", ""), false),
            (&[("a", "")], ("a", ""), true),
            (&[("a", "")], ("a\0", ""), false),
            (&[("a", "")], ("a", "\0"), false),
            (&[("a", "")], ("a", "b"), false),
            (&[("a", "")], ("a", "a\0"), true),
            (&[("a", "c")], ("a", "c"), true),
            (&[("a", "c")], ("b", ""), true),
            (&[("a", "c")], ("c", ""), false),
            (&[("a", "c")], ("a", "c\0"), false),
            (&[("a", "c"), ("c", "e")], ("a", "e"), true),
            (&[("a", "c"), ("d", "e")], ("a", "e"), false),
            (&[("a", "c"), ("b", "e")], ("a", "e"), true),
            (&[("a", "z"), ("b", "c")], ("c", "y"), true),
            (&[("a", "c"), ("c", "")], ("a", "c\0"), true),
            (&[("a", "\0")], ("a", "\0"), true),
            (&[("a", "\0")], ("zz", ""), true),
            (&[("a", "\0")], ("A", ""), false),
            (&[("a", "c"), ("b", "\0")], ("a", "\0"), true),
            (&[("a", "c"), ("d", "\0")], ("a", "\0"), false),
            (&[("\0", "\0")], ("\0", "\0"), true),
            (&[("", "\0")], ("\0", "\0"), true),
            // Ranges without keys give nothing, and ask for no more than their first key.
            (&[("c", "a")], ("a", ""), false),
            (&[("c", "a")], ("c", ""), false),
            (&[("c", "")], ("c", "a"), true),
            (&[("a", "b")], ("c", "a"), false),
        ];
        for (parts, (key, end), expected) in cases {
            assert_eq!(
                set(parts).cover(&Bytes::from(*key), &Bytes::from(*end)),
                *expected,
                "{parts:?} {key:?} {end:?}"
            );
        }
    }

    /// All keys of up to two letters out of four, which is enough to lie before, between and behind ends of one letter.
    fn keys() -> Vec<Bytes> {
        let letters = [0u8, b'a', b'b', b'c'];
        let one = letters.iter().map(|a| Bytes::from(vec![*a]));
        let two = letters.iter().flat_map(|a| letters.map(|b| Bytes::from(vec![*a, b])));
        one.chain(two).collect()
    }

    fn range() -> impl Strategy<Value = (Bytes, Bytes)> {
        let key = prop::sample::select(&["a", "b", "c", "ab", "bc"][..]);
        let end = prop::sample::select(&["", "\0", "a", "b", "c", "ab", "bb", "c\0"][..]);
        (key, end).prop_map(|(key, end)| (Bytes::from(key), Bytes::from(end)))
    }

    proptest! {
        #[test]
        fn the_union_holds_the_keys_of_its_parts(parts in prop::collection::vec(range(), 0..6)) {
            let set = Ranges::union(parts.iter().map(|(key, end)| (key, end)));
            for key in keys() {
                let held = parts.iter().any(|(from, end)| in_range(&key, from, end));
                prop_assert_eq!(set.cover(&key, &Bytes::new()), held, "{:?}", key);
            }
            let touching = set.0.windows(2).any(|pair| pair[0].1 >= End::Before(pair[1].0.clone()));
            prop_assert!(!touching, "{:?}", set);
        }

        #[test]
        fn what_is_covered_holds_no_other_key(parts in prop::collection::vec(range(), 0..6), asked in range()) {
            let set = Ranges::union(parts.iter().map(|(key, end)| (key, end)));
            let (key, end) = &asked;
            if set.cover(key, end) {
                for other in keys().iter().filter(|other| in_range(other, key, end)) {
                    prop_assert!(set.cover(other, &Bytes::new()), "{:?} {:?}", asked, other);
                }
            }
        }
    }
}
