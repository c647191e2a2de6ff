//! The past against a plain list of states.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;

use super::apply_tests::{Bench, everything};
use super::past::{Next, PastItem};
use super::random_ops::any_op;
use super::*;
use crate::base::UnixMillis;

fn ask(of: PastOf) -> PastRequest {
    let all = everything();
    PastRequest {
        space: Space::User,
        key: all.key,
        range_end: all.range_end,
        of,
        items_max: usize::MAX,
        bytes_max: usize::MAX,
    }
}

fn changes(key: &'static str) -> PastRequest {
    PastRequest { key: key.into(), range_end: Bytes::new(), ..ask(PastOf::Changes { before: 0 }) }
}

fn time(ms: i64) -> Moment {
    Moment::Time(UnixMillis(ms))
}

impl Bench {
    fn past(&self, request: &PastRequest) -> Result<Past, PastRefusal> {
        past(&self.tables, request).unwrap()
    }

    fn put_at(&mut self, now: i64, key: &str, value: &str) {
        self.now = now;
        self.put(key, value);
    }

    fn state_at(&self, moment: Moment) -> (i64, Vec<String>) {
        let past = self.past(&ask(PastOf::State(moment))).unwrap();
        (past.to.revision, past.items.iter().map(|item| told(item).split_off(4)).collect())
    }
}

/// `put a=1`, with what was there before in brackets.
fn told(item: &PastItem) -> String {
    let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
    let kv = &item.change.kv;
    let what = match item.change.kind {
        EventKind::Put => format!("put {}={}", text(&kv.key), text(&kv.value)),
        EventKind::Delete => format!("del {}", text(&kv.key)),
    };
    match &item.before {
        Some(before) => format!("{what} ({})", text(&before.value)),
        None => what,
    }
}

fn told_all(past: &Past) -> Vec<String> {
    past.items.iter().map(told).collect()
}

fn delete(key: &'static str) -> Op {
    Op::DeleteRange(DeleteRangeRequest { key: key.into(), ..DeleteRangeRequest::default() })
}

/// Revision 2 at 100, 3 at 200, 4 at 200 by a clock set back, 5 at 300, 6 at 400.
fn lived() -> Bench {
    let mut store = Bench::new();
    store.put_at(100, "a", "1");
    store.put_at(200, "b", "1");
    store.put_at(150, "a", "2");
    store.now = 300;
    store.ok(delete("b"));
    store.put_at(400, "c", "1");
    store
}

#[test]
fn a_time_is_the_newest_revision_made_by_then() {
    let store = lived();
    let cases = [
        (0, 1, vec![]),
        (99, 1, vec![]),
        (100, 2, vec!["a=1"]),
        (199, 2, vec!["a=1"]),
        (200, 4, vec!["a=2", "b=1"]),
        (299, 4, vec!["a=2", "b=1"]),
        (300, 5, vec!["a=2"]),
        (i64::MAX, 6, vec!["a=2", "c=1"]),
    ];
    for (at, revision, expected) in cases {
        let expected = (revision, expected.into_iter().map(str::to_owned).collect());
        assert_eq!(store.state_at(time(at)), expected, "at {at}");
        assert_eq!(store.state_at(Moment::Revision(revision)), expected, "at revision {revision}");
    }
    assert_eq!(store.state_at(Moment::Now).0, 6);
    let future = store.past(&ask(PastOf::State(Moment::Revision(7)))).unwrap_err();
    assert_eq!(future, PastRefusal::Future { newest: Place { revision: 6, at: Some(UnixMillis(400)) } });
}

#[test]
fn changes_carry_their_time_and_never_go_back() {
    let mut store = lived();
    let past = store.past(&changes("a")).unwrap();
    assert_eq!(told_all(&past), ["put a=2", "put a=1"]);
    let stamps: Vec<_> = past.items.iter().map(|item| item.change.made.clone().unwrap().at.0).collect();
    assert_eq!(stamps, [200, 100], "the clock that was set back");
    assert_eq!(past.oldest, Place { revision: 1, at: None });
    assert_eq!(told_all(&store.past(&changes("b")).unwrap()), ["del b", "put b=1"]);
    assert_eq!(told_all(&store.past(&changes("nobody")).unwrap()), [""; 0]);
    store.put_at(500, "z", "1");
    assert_eq!(store.events[0].made, Some(Made { at: UnixMillis(500), author: None }), "what watchers hear");
}

#[test]
fn differences_are_between_states_not_steps() {
    let store = lived();
    let diff = |from, to| store.past(&ask(PastOf::Difference(from, to)));
    let all = diff(Moment::Revision(1), Moment::Now).unwrap();
    assert_eq!(told_all(&all), ["put a=2", "put c=1"], "b came and went");
    let some = diff(time(100), Moment::Revision(5)).unwrap();
    assert_eq!(told_all(&some), ["put a=2 (1)"]);
    assert_eq!((some.from.revision, some.to.revision), (2, 5));
    assert_eq!(told_all(&diff(time(250), Moment::Now).unwrap()), ["del b (1)", "put c=1"]);
    assert_eq!(told_all(&diff(Moment::Now, Moment::Now).unwrap()), [""; 0]);
    assert!(matches!(diff(Moment::Revision(4), Moment::Revision(3)), Err(PastRefusal::Backwards { .. })));
}

#[test]
fn what_is_compacted_is_refused_with_where_history_begins() {
    let mut store = lived();
    store.ok(Op::Compact { space: Space::User, revision: 4 });
    while compact_step(&mut store.tables, Space::User, 2).unwrap().more {}
    let gone = PastRefusal::Gone { oldest: Place { revision: 4, at: Some(UnixMillis(200)) } };
    for moment in [Moment::Revision(3), Moment::Revision(0), Moment::Revision(-1), time(199)] {
        assert_eq!(store.past(&ask(PastOf::State(moment))).unwrap_err(), gone, "{moment:?}");
        assert_eq!(store.past(&ask(PastOf::Difference(moment, Moment::Now))).unwrap_err(), gone, "{moment:?}");
    }
    assert_eq!(store.state_at(time(200)).0, 4);
    assert_eq!(told_all(&store.past(&changes("b")).unwrap()), ["del b", "put b=1"]);
    assert_eq!(told_all(&store.past(&changes("a")).unwrap()), ["put a=2"]);
}

#[test]
fn an_author_is_kept() {
    let mut store = Bench::new();
    let mut writer = writer::Writer::new(&mut store.state, &mut store.tables, UnixMillis(7));
    writer.author = Some("alice".into());
    let new = writer::NewValue {
        space: Space::User,
        key: "k".into(),
        value: "v".into(),
        lease: crate::base::LeaseId::NONE,
        keep_created: false,
    };
    writer.put(new, writer::Origin::V3(V2Action::Set)).unwrap();
    let told = writer.finish(LogPosition { index: 1, term: 1 }).unwrap();
    let made = Some(Made { at: UnixMillis(7), author: Some("alice".into()) });
    assert_eq!(told[0].made, made);
    assert_eq!(store.past(&changes("k")).unwrap().items[0].change.made, made);
}

/// All pages of a request, and its first answer's moments fixed as a door does it.
fn pages(store: &Bench, mut request: PastRequest) -> Vec<String> {
    let mut all = Vec::new();
    loop {
        let past = store.past(&request).unwrap();
        all.extend(told_all(&past));
        match past.next {
            None => return all,
            Some(Next::Key(key)) => request.key = key,
            Some(Next::Before(before)) => request.of = PastOf::Changes { before },
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_past_is_what_ranges_said_then(ops in prop::collection::vec((any_op(), 0..50i64), 1..40)) {
        let mut store = Bench::new();
        // What a range said at each revision, and when the revision was made.
        let mut states: BTreeMap<i64, (i64, Vec<String>)> = BTreeMap::new();
        states.insert(1, (i64::MIN, Vec::new()));
        let mut compacted = 1;
        let mut newest_stamp = i64::MIN;
        for (op, forward) in ops {
            store.now += forward - 10;
            if let (Op::Compact { space: Space::User, revision }, true) = (&op, store.apply(op.clone()).result.is_ok()) {
                compacted = *revision;
                while compact_step(&mut store.tables, Space::User, 3).unwrap().more {}
            }
            let revision = store.state.revision(Space::User);
            if !store.events.is_empty() {
                newest_stamp = newest_stamp.max(store.now);
            }
            states.entry(revision).or_insert_with(|| (newest_stamp, store.all(0)));
        }
        for (revision, (stamp, expected)) in states.range(compacted..) {
            prop_assert_eq!(&store.state_at(Moment::Revision(*revision)), &(*revision, expected.clone()));
            let one_by_one = PastRequest { items_max: 1, ..ask(PastOf::State(Moment::Revision(*revision))) };
            let paged: Vec<String> = pages(&store, one_by_one).into_iter().map(|told| told[4..].to_owned()).collect();
            prop_assert_eq!(&paged, expected);
            let newest_by_then = states.iter().rev().find(|(_, (made, _))| made <= stamp).unwrap().0;
            if *stamp > i64::MIN {
                prop_assert_eq!(store.state_at(time(*stamp)).0, *newest_by_then);
            }
        }
        // A difference applied to the earlier state gives the later one.
        let kept: Vec<_> = states.range(compacted..).collect();
        for (from, (_, before)) in &kept {
            for (to, (_, after)) in kept.iter().filter(|(to, _)| to >= from) {
                let pair = |text: &String| text.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned())).unwrap();
                let mut state: BTreeMap<_, _> = before.iter().map(pair).collect();
                let diff = PastOf::Difference(Moment::Revision(**from), Moment::Revision(**to));
                for item in store.past(&ask(diff)).unwrap().items {
                    let key = String::from_utf8_lossy(&item.change.kv.key).into_owned();
                    let value = String::from_utf8_lossy(&item.change.kv.value).into_owned();
                    let was = item.before.map(|kv| String::from_utf8_lossy(&kv.value).into_owned());
                    let old = match item.change.kind {
                        EventKind::Put => state.insert(key, value),
                        EventKind::Delete => state.remove(&key),
                    };
                    prop_assert_eq!(old, was);
                }
                prop_assert_eq!(state, after.iter().map(pair).collect::<BTreeMap<_, _>>());
            }
        }
        // Pages of a key's changes are its changes.
        for key in ["a", "/a/b"] {
            let whole = told_all(&store.past(&changes(key)).unwrap());
            prop_assert_eq!(pages(&store, PastRequest { items_max: 1, ..changes(key) }), whole);
        }
    }
}
