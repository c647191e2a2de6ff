//! The times of leases, with clocks that stand still where it matters.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::leases::{Leases, NotLeading};
use super::test_cluster::{PATIENCE, TestCluster, grant, within};
use crate::base::limits::LEASE_EXPIRE_BATCH_MAX;
use crate::base::{Clock, LeaseId, UnixMillis};
use crate::kv::mem::MemTables;
use crate::kv::{self, Command, LogPosition, Op, State, Store as _, v2};

/// How often long leases are noted here.
const CHECKPOINT: Duration = Duration::from_millis(200);

struct Noon;

impl Clock for Noon {
    fn now(&self) -> UnixMillis {
        UnixMillis(12 * 3_600_000)
    }
}

struct World {
    state: State,
    tables: MemTables,
    leases: Arc<Leases>,
}

impl World {
    fn new() -> Self {
        let tables = MemTables::default();
        Self { state: State::load(&tables).unwrap(), tables, leases: Leases::new(Arc::new(Noon), CHECKPOINT) }
    }

    fn apply(&mut self, op: Op) {
        let command = Command { stamp: Noon.now(), op };
        let (applied, _) = kv::apply(&mut self.state, &mut self.tables, &command, LogPosition::default()).unwrap();
        applied.result.unwrap();
    }

    fn grant(&mut self, id: i64, ttl_ms: i64) {
        self.apply(Op::LeaseGrant { id: LeaseId(id), ttl_ms });
        self.leases.changed(&self.state, &[LeaseId(id)]);
    }
}

#[tokio::test]
async fn only_a_leader_knows() {
    let mut world = World::new();
    world.grant(1, 1_000);
    assert_eq!(world.leases.keep_alive(LeaseId(1)), Err(NotLeading));
    assert_eq!(world.leases.remaining_ms(LeaseId(1)), Err(NotLeading));
    world.leases.lead(3, &world.state);
    assert_eq!(world.leases.keep_alive(LeaseId(1)), Ok(1_000));
    assert_eq!(world.leases.keep_alive(LeaseId(2)), Ok(0));
    world.leases.retire();
    assert_eq!(world.leases.keep_alive(LeaseId(1)), Err(NotLeading));
}

#[tokio::test]
async fn the_first_to_end_ends_first_and_a_kept_one_does_not() {
    let mut world = World::new();
    world.leases.lead(3, &world.state);
    world.grant(1, 300_000);
    world.grant(2, 1_000);
    world.grant(3, 60);
    let began = Instant::now();
    assert_eq!(within("an end", world.leases.expired()).await, (3, vec![LeaseId(3)]));
    assert!(began.elapsed() >= Duration::from_millis(60));
    world.leases.keep_alive(LeaseId(2)).unwrap();
    let kept = Instant::now();
    assert_eq!(within("an end", world.leases.expired()).await, (3, vec![LeaseId(2)]));
    assert!(kept.elapsed() >= Duration::from_millis(1_000));
    // Ended, though the log does not know yet.
    assert_eq!(world.leases.keep_alive(LeaseId(2)), Ok(0));
    assert_eq!(world.leases.remaining_ms(LeaseId(2)), Ok(None));
}

#[tokio::test]
async fn a_new_term_gives_full_time_again_and_a_key_does_not() {
    let mut world = World::new();
    world.leases.lead(3, &world.state);
    world.grant(1, 400);
    tokio::time::sleep(Duration::from_millis(150)).await;
    world.leases.changed(&world.state, &[LeaseId(1)]);
    let (_, left) = world.leases.remaining_ms(LeaseId(1)).unwrap().unwrap();
    assert!(left <= 250, "{left}");
    world.leases.lead(3, &world.state);
    let (_, left) = world.leases.remaining_ms(LeaseId(1)).unwrap().unwrap();
    assert!(left <= 250, "{left}");
    world.leases.lead(4, &world.state);
    let (lease, left) = world.leases.remaining_ms(LeaseId(1)).unwrap().unwrap();
    assert!(left > 250, "{left}");
    assert_eq!(lease.ttl_ms, 400);
}

#[tokio::test]
async fn v2_leases_end_when_their_write_says() {
    let mut world = World::new();
    world.leases.lead(3, &world.state);
    let write = v2::Write::Set { value: "v".into(), dir: false, refresh: false };
    world.apply(Op::V2(v2::WriteRequest { path: "/a".into(), ttl_seconds: Some(50), write }));
    let id = world.state.leases().next().unwrap().lease.id;
    world.leases.changed(&world.state, &[id]);
    let (_, before) = world.leases.remaining_ms(id).unwrap().unwrap();
    assert!(before <= 50_000 && before > 40_000, "{before}");
    tokio::time::sleep(Duration::from_millis(20)).await;
    world.leases.keep_alive(id).unwrap();
    let (_, after) = world.leases.remaining_ms(id).unwrap().unwrap();
    assert!(after < before, "a keep-alive moved the end: {before} {after}");
    world.apply(Op::LeaseRevoke { id });
    world.leases.changed(&world.state, &[id]);
    assert_eq!(world.leases.remaining_ms(id), Ok(None));
}

#[tokio::test]
async fn many_ends_come_in_bounded_batches() {
    let mut world = World::new();
    for id in 1..=LEASE_EXPIRE_BATCH_MAX as i64 + 1 {
        world.grant(id, 1);
    }
    world.leases.lead(3, &world.state);
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(within("ends", world.leases.expired()).await.1.len(), LEASE_EXPIRE_BATCH_MAX);
    assert_eq!(within("ends", world.leases.expired()).await.1.len(), 1);
}

#[tokio::test]
async fn a_process_that_was_held_up_reads_before_leases_end() {
    let mut world = World::new();
    world.leases.lead(3, &world.state);
    world.grant(1, 1_000);
    world.grant(2, 1_000);
    let keeper = tokio::spawn({
        let leases = world.leases.clone();
        async move { leases.expired().await }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    // As a stopped process sees it: no timer runs, then all that are over do.
    std::thread::sleep(Duration::from_millis(1_200));
    let woken = Instant::now();
    tokio::task::yield_now().await;
    // What waited unread is read now.
    world.leases.keep_alive(LeaseId(2)).unwrap();
    tokio::time::sleep(Duration::from_millis(600)).await;
    world.leases.keep_alive(LeaseId(2)).unwrap();
    assert_eq!(within("an end", keeper).await.unwrap(), (3, vec![LeaseId(1)]));
    assert!(woken.elapsed() >= Duration::from_millis(900), "{:?}", woken.elapsed());
    assert_eq!(world.leases.keep_alive(LeaseId(2)), Ok(1_000));
}

#[tokio::test]
async fn long_leases_are_noted_and_a_new_term_goes_on_from_the_note() {
    let mut world = World::new();
    world.leases.lead(3, &world.state);
    world.grant(1, 100_000);
    world.grant(2, 150);
    assert_eq!(world.leases.noted(LeaseId(1)), None);
    within("a note", world.leases.checkpoint_due()).await;
    let (term, left) = world.leases.take_checkpoints().unwrap();
    // The short one is not worth a note.
    let [(LeaseId(1), left_ms)] = left[..] else { panic!("{left:?}") };
    assert!(term == 3 && left_ms <= 99_800, "{left:?}");
    assert_eq!(world.leases.noted(LeaseId(1)), Some(3));
    world.apply(Op::LeaseCheckpoint { left: vec![(LeaseId(1), Some(50_000)), (LeaseId(9), Some(1))] });
    world.leases.lead(4, &world.state);
    let (lease, left) = world.leases.remaining_ms(LeaseId(1)).unwrap().unwrap();
    assert!(left <= 50_000 && lease.ttl_ms == 100_000, "{left}");
    assert_eq!(world.leases.noted(LeaseId(1)), Some(4));
    // Taken back, the next term gives the full time again.
    world.apply(Op::LeaseCheckpoint { left: vec![(LeaseId(1), None)] });
    world.leases.forget_note(LeaseId(1));
    assert_eq!((world.leases.noted(LeaseId(1)), world.leases.keep_alive(LeaseId(1))), (None, Ok(100_000)));
    world.leases.lead(5, &world.state);
    assert!(world.leases.remaining_ms(LeaseId(1)).unwrap().unwrap().1 > 90_000);
}

#[tokio::test]
async fn without_long_leases_no_note_is_due() {
    let mut world = World::new();
    world.leases.lead(3, &world.state);
    world.grant(1, 150);
    let write = v2::Write::Set { value: "v".into(), dir: false, refresh: false };
    world.apply(Op::V2(v2::WriteRequest { path: "/a".into(), ttl_seconds: Some(50), write }));
    let v2_lease = world.state.leases().last().unwrap().lease.id;
    world.leases.changed(&world.state, &[v2_lease]);
    let due = tokio::time::timeout(CHECKPOINT * 3, world.leases.checkpoint_due()).await;
    assert!(due.is_err());
}

#[tokio::test]
async fn the_remaining_time_survives_the_leader_and_a_kept_lease_has_all_of_it() {
    let mut cluster = TestCluster::prepare(41, 3);
    cluster.lease_checkpoint = CHECKPOINT;
    cluster.start_all().await;
    let first = cluster.leader().await;
    grant(cluster.store(first), 7, 60_000).await;
    grant(cluster.store(first), 8, 60_000).await;
    let noted = |id: i64| {
        let state = cluster.store(first).node.core.clone();
        move || state.with_state(|state| state.lease(LeaseId(id)).and_then(|record| record.left_ms))
    };
    let (seven, eight) = (noted(7), noted(8));
    let deadline = Instant::now() + PATIENCE;
    while seven().is_none_or(|left| left > 59_300) || eight().is_none() {
        assert!(Instant::now() < deadline, "no note within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let granted_before = Instant::now();
    assert_eq!(within("a keep-alive", cluster.store(first).keep_alive(LeaseId(8))).await.unwrap(), 60_000);
    let kept = eight();
    cluster.kill(first).await;
    let second = cluster.leader().await;
    let store = cluster.store(second);
    let (_, left, _) = within("a lease", store.lease_time_to_live(LeaseId(7), false)).await.unwrap().unwrap();
    assert!(left <= 59_400, "the new leader gives {left} ms");
    let (_, left, _) = within("a lease", store.lease_time_to_live(LeaseId(8), false)).await.unwrap().unwrap();
    let promised = 60_000 - i64::try_from(granted_before.elapsed().as_millis()).unwrap();
    assert!(left >= promised - 1_000, "kept alive, and {left} ms are left of {promised}; noted then: {kept:?}");
    cluster.end().await;
}
