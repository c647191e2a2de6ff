//! The times of leases, with clocks that stand still where it matters.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::leases::{Leases, NotLeading};
use super::test_cluster::within;
use crate::base::limits::LEASE_EXPIRE_BATCH_MAX;
use crate::base::{Clock, LeaseId, UnixMillis};
use crate::kv::mem::MemTables;
use crate::kv::{self, Command, LogPosition, Op, State, v2};

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
        Self { state: State::load(&tables).unwrap(), tables, leases: Leases::new(Arc::new(Noon)) }
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
    let write = v2::Write::Set { value: "v".into(), dir: false };
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
