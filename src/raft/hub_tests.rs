//! Watches against a state that is written to at the same time.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use openraft::EntryPayload;
use openraft::impls::leader_id_std::LeaderId;
use openraft::vote::RaftLeaderId;

use super::hub::{Hub, watch};
use super::leases::Leases;
use super::machine::Core;
use super::test_cluster::{SystemClock, scratch_dir, within};
use super::types::{Batch, EncodedOp, Entry, LogId};
use crate::base::UnixMillis;
use crate::base::limits::{WATCH_BACKLOG_BYTES_MAX, WATCH_BACKLOG_EVENTS_MAX};
use crate::disk::Database;
use crate::kv::{Op, Space, WatchEnd, WatchRequest, WatchStart, WatchStream};

fn core() -> (tempfile::TempDir, Arc<Core>) {
    let dir = scratch_dir();
    let database = Database::open(&dir.path().join("state"), true).unwrap();
    let core = Core::load(database, Hub::new(), Leases::new(Arc::new(SystemClock), Duration::MAX), u64::MAX).unwrap();
    (dir, core)
}

/// Applies an entry with `count` puts of one key.
fn put(core: &Core, index: u64, count: usize) {
    put_op(core, index, count, &Op::put("k", index.to_string()));
}

fn put_op(core: &Core, index: u64, count: usize, op: &Op) {
    let op = EncodedOp::new(op).unwrap();
    let batch = Batch::join(UnixMillis(0), vec![&op; count].into_iter()).unwrap();
    let log_id = LogId { leader_id: LeaderId::new(1, 1).to_committed(), index };
    core.apply(&[Entry { log_id, payload: EntryPayload::Normal(batch) }]).unwrap();
}

fn watch_from(core: &Arc<Core>, start: WatchStart) -> Box<dyn WatchStream> {
    let request = WatchRequest { space: Space::User, key: "k".into(), range_end: "".into(), start };
    watch(core, request).unwrap()
}

/// Reads from `stream` until `last`; every revision from `first` on must come once and in order.
async fn expect_all(mut stream: Box<dyn WatchStream>, first: i64, last: i64) {
    let mut next = first;
    within("the watch", async {
        while next <= last {
            let batch = stream.next().await.unwrap();
            for event in &batch.events {
                assert_eq!(event.kv.mod_revision, next);
                next += 1;
            }
            assert!(batch.revision >= next - 1);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_change_is_lost_or_repeated_while_history_meets_the_present() {
    let (_dir, core) = core();
    // Revision 1 is the empty store; entry n makes 3 revisions.
    const ENTRIES: u64 = 400;
    let last = 1 + 3 * ENTRIES as i64;
    let writing = core.clone();
    let writer = tokio::task::spawn_blocking(move || {
        for index in 1..=ENTRIES {
            put(&writing, index, 3);
        }
    });
    let mut watchers = Vec::new();
    while !writer.is_finished() {
        let position = watch_from(&core, WatchStart::Now).began();
        for start in [2, position.revision - 5, position.revision + 1, position.revision + 7] {
            let first = start.clamp(2, last + 1);
            let stream = watch_from(&core, WatchStart::Revision(first));
            watchers.push(tokio::spawn(expect_all(stream, first, last)));
        }
        let stream = watch_from(&core, WatchStart::Now);
        let first = stream.began().revision + 1;
        watchers.push(tokio::spawn(expect_all(stream, first, last)));
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    within("the writer", writer).await.unwrap();
    assert_eq!(core.progress().borrow().position.revision, last);
    for watcher in watchers {
        watcher.await.unwrap();
    }
}

#[tokio::test]
async fn a_slow_watcher_is_cut_off_and_resumes_without_a_gap() {
    let (_dir, core) = core();
    let mut slow = watch_from(&core, WatchStart::Now);
    let per_entry = WATCH_BACKLOG_EVENTS_MAX / 4;
    for index in 1..=5 {
        put(&core, index, per_entry);
    }
    let resume = match within("the end", slow.next()).await {
        Err(WatchEnd::TooSlow { resume }) => resume,
        other => panic!("{other:?}"),
    };
    assert_eq!(resume, 2);
    expect_all(watch_from(&core, WatchStart::Revision(resume)), 2, 1 + 5 * per_entry as i64).await;
}

#[tokio::test]
async fn a_slow_watcher_of_large_values_is_cut_off_before_they_fill_memory() {
    let (_dir, core) = core();
    let mut slow = watch_from(&core, WatchStart::Now);
    let value = "v".repeat(WATCH_BACKLOG_BYTES_MAX / 8);
    for index in 1..=10 {
        put_op(&core, index, 1, &Op::put("k", value.clone()));
    }
    assert_eq!(within("the end", slow.next()).await, Err(WatchEnd::TooSlow { resume: 2 }));
    // History comes in pieces of a bounded size, whatever the number of its events.
    let mut past = watch_from(&core, WatchStart::Revision(2));
    assert!(within("a piece", past.next()).await.unwrap().events.len() < 10);
}

#[tokio::test]
async fn a_closed_hub_ends_its_watches() {
    let (_dir, core) = core();
    let mut before = watch_from(&core, WatchStart::Now);
    put(&core, 1, 1);
    core.hub.close("this node is stopping");
    // What was delivered is still told.
    assert_eq!(within("the event", before.next()).await.unwrap().events.len(), 1);
    let closed = Err(WatchEnd::Closed("this node is stopping".to_owned()));
    assert_eq!(within("the end", before.next()).await, closed);
    let mut after = watch_from(&core, WatchStart::Now);
    assert_eq!(within("the end", after.next()).await, closed);
}
