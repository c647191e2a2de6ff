//! Tests of `Reschedule=on-failure`: where failed units go, and when.
#![allow(clippy::unwrap_used)]

use super::super::testkit::Store;
use super::*;
use crate::base::limits::{RESCHEDULE_FORGET_MS, RESCHEDULE_MS_MAX, RESCHEDULE_MS_MIN};

fn store(lines: &str) -> Store {
    let mut store = Store::default();
    store.machine("m1", &[]);
    store.machine("m2", &[]);
    store.launched("a.service", lines);
    store.settle();
    store.report("a.service", "m1", "failed");
    store
}

/// Plans at a moment and carries it out: what was decided, and how long it is until time changes something.
fn settle_at(store: &mut Store, now: i64) -> (Vec<String>, Option<i64>) {
    let plan = plan_at(&store.cluster(), UnixMillis(now), &Absences::default());
    for part in crate::fleet::transactions(&plan, 128) {
        assert!(store.txn(&part));
    }
    (plan.decisions.iter().map(ToString::to_string).collect(), plan.look_again.map(|at| at.0 - now))
}

#[test]
fn a_failed_unit_moves_each_time_later() {
    let mut store = store("Reschedule=on-failure");
    let (told, later) = settle_at(&mut store, 1_000);
    assert_eq!((told, later), (vec!["move a.service from m1 to m2: it failed there (1)".to_owned()], None));
    store.carry_out();
    assert_eq!(settle_at(&mut store, 1_001), (vec![], None));
    store.report("a.service", "m2", "failed");
    assert_eq!(settle_at(&mut store, 1_500), (vec![], Some(RESCHEDULE_MS_MIN - 500)));
    let mut now = 1_000 + RESCHEDULE_MS_MIN;
    assert_eq!(settle_at(&mut store, now).0, ["move a.service from m2 to m1: it failed there (2)"]);
    // It fails again and again.
    for count in 3..20 {
        store.carry_out();
        let place = store.place("a.service");
        store.report("a.service", &place, "failed");
        let pause = settle_at(&mut store, now).1.unwrap();
        assert_eq!(pause, (RESCHEDULE_MS_MIN << (count - 2).min(16)).min(RESCHEDULE_MS_MAX));
        now += pause;
        let told = settle_at(&mut store, now).0;
        assert!(told[0].ends_with(&format!("it failed there ({count})")), "{told:?}");
    }
    // After a long time in peace it begins anew.
    store.carry_out();
    let place = store.place("a.service");
    store.report("a.service", &place, "failed");
    assert!(settle_at(&mut store, now + RESCHEDULE_FORGET_MS).0[0].ends_with("(1)"));
}

#[test]
fn who_stays_where_it_failed() {
    // Nobody asked for it.
    assert_eq!(settle_at(&mut store(""), 1), (vec![], None));
    assert_eq!(settle_at(&mut store("Reschedule=no"), 1), (vec![], None));
    // It fits nowhere else.
    let mut pinned = store("Reschedule=on-failure\nMachineID=m1");
    assert_eq!(settle_at(&mut pinned, 1), (vec![], None));
    // A start was asked for that its machine has not tried yet.
    let mut again = store("Reschedule=on-failure");
    again.launched("a.service", "Reschedule=on-failure");
    assert_eq!(settle_at(&mut again, 1), (vec![], None));
}
