//! When revisions were taken, and how large history is: what the age and the size of history are measured by.
//!
//! Now and then a change leaves a sample: the time of its command, the revision, and two sums, the bytes of all changes
//! so far and the bytes of the keys as they are. What history costs is the changes that are kept without the newest of
//! each key, so any revision's cost follows from two samples. All members have the same samples: they are made by `apply`.

use std::collections::VecDeque;
use std::ops::{Bound, ControlFlow};

use serde::{Deserialize, Serialize};

use super::layout;
use super::state::{State, slot};
use super::tables::{Table, Tables, TablesError, TablesMut, try_scan};
use super::types::Space;
use crate::base::UnixMillis;
use crate::base::limits::{TIMELINE_SAMPLE_BYTES_MIN, TIMELINE_SAMPLE_MS_MIN, TIMELINE_SAMPLES};

/// Bytes that a change takes beside its key and value, roughly.
const CHANGE_OVERHEAD_BYTES: u64 = 64;
/// Prefix of the samples in `Meta`; the space and the revision follow.
const PREFIX: &[u8] = b"timeline-";

/// The sums of one space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sums {
    /// Bytes of all changes since the store began.
    pub written: u64,
    /// Bytes of the newest changes of the keys that exist.
    pub live: u64,
    /// When the newest revision was taken, by the clock of its proposer.
    pub changed: UnixMillis,
}

/// A moment of one space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sample {
    pub revision: i64,
    pub sums: Sums,
}

/// How much history is kept; what is `None` does not bound it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HistoryRule {
    /// What was the newest so many milliseconds ago, and everything since, can be read.
    pub keep_ms: Option<i64>,
    /// Bytes of superseded and deleted values.
    pub bytes_max: Option<u64>,
    /// The newest so many revisions.
    pub revisions: Option<i64>,
}

/// Whether an entry of the tables is a sample.
#[cfg(test)]
pub(super) fn is_sample(table: Table, key: &[u8]) -> bool {
    table == Table::Meta && key.starts_with(PREFIX)
}

/// Bytes of a key with its value.
pub(super) fn change_bytes(key: &[u8], value: &[u8]) -> u64 {
    (key.len() + value.len()) as u64 + CHANGE_OVERHEAD_BYTES
}

impl Sums {
    /// A change was recorded; `now` and `before` are the bytes of the key after and before it, 0 where it does not exist.
    pub(super) fn add(&mut self, change: u64, now: u64, before: u64) {
        self.written += change;
        self.live = (self.live + now).saturating_sub(before);
    }
}

/// The samples that the tables hold.
pub(super) fn load(tables: &dyn Tables) -> Result<[VecDeque<Sample>; 2], TablesError> {
    let mut timelines: [VecDeque<Sample>; 2] = Default::default();
    for space in [Space::User, Space::System] {
        let (from, to) = (sample_key(space, 0), sample_key(space, i64::MAX));
        try_scan(tables, Table::Meta, Bound::Included(&from), Bound::Included(&to), |_, value| {
            timelines[slot(space)].push_back(layout::decode(value, "a sample of the timeline")?);
            Ok(ControlFlow::Continue(()))
        })?;
    }
    Ok(timelines)
}

/// Notes that the space has a new revision, and leaves a sample if the last one is far enough.
pub(super) fn note(
    state: &mut State,
    tables: &mut dyn TablesMut,
    space: Space,
    stamp: UnixMillis,
) -> Result<(), TablesError> {
    let slot = slot(space);
    state.marks.sums[slot].changed = stamp;
    // A clock that was set back: what seems to come later is forgotten, so that history is rather kept too long.
    while let Some(last) = state.timelines[slot].pop_back_if(|last| last.sums.changed > stamp) {
        tables.delete(Table::Meta, &sample_key(space, last.revision))?;
    }
    let now = Sample { revision: state.marks.revision[slot], sums: state.marks.sums[slot] };
    if is_due(&state.timelines[slot], &now) {
        tables.put(Table::Meta, &sample_key(space, now.revision), &layout::encode(&now)?)?;
        state.timelines[slot].push_back(now);
    }
    Ok(())
}

/// Samples are the farther apart the more they span, so that they remain few.
fn is_due(timeline: &VecDeque<Sample>, now: &Sample) -> bool {
    let (Some(first), Some(last)) = (timeline.front(), timeline.back()) else {
        return true;
    };
    let ms = |from: &Sample| now.sums.changed.0.saturating_sub(from.sums.changed.0);
    let bytes = |from: &Sample| now.sums.written.saturating_sub(from.sums.written);
    ms(last) >= (ms(first) / TIMELINE_SAMPLES as i64).max(TIMELINE_SAMPLE_MS_MIN)
        || bytes(last) >= (bytes(first) / TIMELINE_SAMPLES).max(TIMELINE_SAMPLE_BYTES_MIN)
}

/// Forgets the samples below the mark but for the one that tells what the mark keeps.
pub(super) fn compacted(state: &mut State, tables: &mut dyn TablesMut, space: Space) -> Result<(), TablesError> {
    let (slot, mark) = (slot(space), state.marks.compacted(space));
    while state.timelines[slot].get(1).is_some_and(|second| second.revision <= mark) {
        if let Some(first) = state.timelines[slot].pop_front() {
            tables.delete(Table::Meta, &sample_key(space, first.revision))?;
        }
    }
    Ok(())
}

fn sample_key(space: Space, revision: i64) -> Vec<u8> {
    let mut key = PREFIX.to_vec();
    key.push(slot(space) as u8);
    key.extend_from_slice(&revision.to_be_bytes());
    key
}

impl State {
    /// Bytes that the history of a space takes beside its keys as they are, roughly.
    pub fn history_bytes(&self, space: Space) -> u64 {
        let mark = self.marks.compacted(space);
        let below = self.timelines[slot(space)].iter().take_while(|sample| sample.revision <= mark);
        self.kept_bytes(space, below.last().unwrap_or(&Sample::default()))
    }

    /// Bytes of history if everything before `cut` were gone.
    fn kept_bytes(&self, space: Space, cut: &Sample) -> u64 {
        let now = &self.marks.sums[slot(space)];
        (now.written.saturating_sub(cut.sums.written) + cut.sums.live).saturating_sub(now.live)
    }

    /// The revision to which a space can be compacted by `rule` at the time `now`; `None`: there is nothing to do.
    pub fn history_cut(&self, space: Space, rule: &HistoryRule, now: UnixMillis) -> Option<i64> {
        let timeline = &self.timelines[slot(space)];
        let newest = Sample { revision: self.revision(space), sums: self.marks.sums[slot(space)] };
        let samples = || timeline.iter().chain(std::iter::once(&newest));
        let by_age = rule.keep_ms.and_then(|keep_ms| {
            let then = now.plus_ms(keep_ms.saturating_neg());
            // What was taken over from elsewhere without times is not old for that.
            let dated = |sample: &&Sample| sample.sums.changed > UnixMillis(0);
            samples()
                .take_while(|sample| sample.sums.changed <= then)
                .filter(dated)
                .last()
                .map(|sample| sample.revision)
        });
        let by_size = rule.bytes_max.filter(|max| self.history_bytes(space) > *max).map(|max| {
            // Some more than needed, so that it is not needed again at once.
            let fits = |sample: &&Sample| self.kept_bytes(space, sample) <= max / 4 * 3;
            samples().find(fits).unwrap_or(&newest).revision
        });
        let by_count = rule.revisions.map(|count| newest.revision.saturating_sub(count));
        let cut = [by_age, by_size, by_count].into_iter().flatten().max()?;
        (cut > self.compacted(space) && cut > 1).then_some(cut)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;
    use crate::kv::apply_tests::Bench;
    use crate::kv::random_ops::any_op;
    use crate::kv::{Op, compact_step};

    const HOUR_MS: i64 = 3_600_000;

    fn cut(bench: &Bench, rule: HistoryRule) -> Option<i64> {
        bench.state.history_cut(Space::User, &rule, UnixMillis(bench.now))
    }

    fn compact(bench: &mut Bench, revision: i64) {
        bench.ok(Op::Compact { space: Space::User, revision });
        while compact_step(&mut bench.tables, Space::User, 100).unwrap().more {}
    }

    #[test]
    fn history_goes_by_age() {
        let mut bench = Bench::new();
        let rule = HistoryRule { keep_ms: Some(HOUR_MS), ..HistoryRule::default() };
        assert_eq!(cut(&bench, rule), None);
        // One change a minute: revision r is of minute r - 2.
        for minute in 0..120 {
            bench.put("k", &minute.to_string());
            bench.now += 60_000;
        }
        let revision = cut(&bench, rule).unwrap();
        // It is minute 120: what was newest at minute 60 must be readable, not more than a sample's distance before it.
        assert!((61..=62).contains(&revision), "{revision}");
        compact(&mut bench, revision);
        assert_eq!(cut(&bench, rule), None);
        // Nothing more happens, and in the end nothing but the newest is kept.
        bench.now += HOUR_MS;
        assert_eq!(cut(&bench, rule), Some(121));
        compact(&mut bench, 121);
        assert_eq!(bench.state.history_bytes(Space::User), 0);
        bench.now += 100 * HOUR_MS;
        assert_eq!(cut(&bench, rule), None);
        assert_eq!(bench.state.timelines[0].len(), 1);
    }

    #[test]
    fn history_without_times_is_kept() {
        let mut bench = Bench::new();
        bench.now = 0;
        let rule = HistoryRule { keep_ms: Some(HOUR_MS), ..HistoryRule::default() };
        bench.put("k", "1");
        bench.put("k", "2");
        bench.now = 1_000 * HOUR_MS;
        assert_eq!(cut(&bench, rule), None);
        bench.put("k", "3");
        assert_eq!(cut(&bench, rule), None);
        bench.now += HOUR_MS;
        assert_eq!(cut(&bench, rule), Some(4));
    }

    #[test]
    fn history_goes_by_size() {
        let mut bench = Bench::new();
        let rule = HistoryRule { bytes_max: Some(64 << 20), ..HistoryRule::default() };
        let value = "v".repeat(1 << 20);
        for n in 0..63 {
            bench.put("k", &value);
            assert_eq!(cut(&bench, rule), None, "{n}");
        }
        for _ in 0..10 {
            bench.put("k", &value);
        }
        let revision = cut(&bench, rule).unwrap();
        compact(&mut bench, revision);
        let left = bench.state.history_bytes(Space::User);
        assert!((32 << 20..=48 << 20).contains(&left), "{left}");
        assert_eq!(cut(&bench, rule), None);
        // Keys that were never changed again are no history.
        for n in 0..80 {
            bench.put(&format!("k{n}"), &value);
        }
        assert_eq!(cut(&bench, rule), None);
    }

    #[test]
    fn history_goes_by_count_as_in_etcd() {
        let mut bench = Bench::new();
        let rule = HistoryRule { revisions: Some(10), ..HistoryRule::default() };
        for _ in 0..10 {
            bench.put("k", "v");
        }
        assert_eq!(cut(&bench, rule), None);
        for _ in 0..10 {
            bench.put("k", "v");
        }
        assert_eq!(cut(&bench, rule), Some(11));
    }

    #[test]
    fn a_clock_that_is_set_back_keeps_history_longer() {
        let mut bench = Bench::new();
        let rule = HistoryRule { keep_ms: Some(HOUR_MS), ..HistoryRule::default() };
        bench.now += 1000 * HOUR_MS;
        bench.put("k", "1");
        bench.now -= 1000 * HOUR_MS;
        bench.put("k", "2");
        assert_eq!(cut(&bench, rule), None);
        bench.now += HOUR_MS;
        assert_eq!(cut(&bench, rule), Some(3));
    }

    #[test]
    fn samples_remain_few() {
        let mut bench = Bench::new();
        for minute in 0..20_000 {
            bench.put("k", "v");
            bench.now += 1_000 + minute % 7;
        }
        let count = bench.state.timelines[0].len();
        assert!((100..2_000).contains(&count), "{count}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// The sums are those of the changes that are kept, when all that may go has gone.
        #[test]
        fn the_size_of_history_is_that_of_the_changes(ops in proptest::collection::vec(any_op(), 1..60)) {
            let mut bench = Bench::new();
            for op in ops {
                bench.now += 2_000;
                bench.apply(op);
            }
            for space in [Space::User, Space::System] {
                while compact_step(&mut bench.tables, space, 100).unwrap().more {}
            }
            let (mut kept, mut live) = ([0, 0], [0, 0]);
            for (key, record) in bench.tables.0.get(&Table::Revisions).into_iter().flatten() {
                let change = layout::decode_change(record).unwrap();
                let bytes = change_bytes(change.key, change.value);
                let slot = usize::from(key[0] != layout::head_key(Space::User, b"")[0]);
                let space = [Space::User, Space::System][slot];
                kept[slot] += bytes;
                let newest = layout::head(&bench.tables, space, change.key).unwrap().unwrap();
                if newest.live() && newest.at == layout::change_at(key).unwrap() {
                    live[slot] += bytes;
                }
            }
            for space in [Space::User, Space::System] {
                let slot = slot(space);
                prop_assert_eq!(bench.state.marks.sums[slot].live, live[slot]);
                // The mark may lie between two samples, and a deletion at the mark is kept.
                prop_assert!(bench.state.history_bytes(space) + 10 * CHANGE_OVERHEAD_BYTES * 20 >= kept[slot] - live[slot]);
            }
        }
    }
}
