//! openraft's own suite for storage, against ours.

#![allow(clippy::unwrap_used)]

use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use openraft::StorageError;
use openraft::entry::RaftEntry as _;
use openraft::storage::{IOFlushed, RaftLogStorage as _};
use openraft::testing::log::{StoreBuilder, Suite};

use super::hub::Hub;
use super::leases::Leases;
use super::log_store::LogStore;
use super::machine::Core;
use super::state_machine::StateMachine;
use super::test_cluster::{SystemClock, scratch_dir};
use super::types::{Entry, TypeConfig, Vote, log_id};
use crate::disk::Database;
use crate::wal::{Options, Wal};

struct Builder;

impl StoreBuilder<TypeConfig, LogStore, StateMachine, tempfile::TempDir> for Builder {
    async fn build(&self) -> Result<(tempfile::TempDir, LogStore, StateMachine), StorageError<TypeConfig>> {
        let dir = scratch_dir();
        let options = Options { segment_bytes: 1 << 20, ..Options::new("test") };
        let (wal, recovered) = Wal::open(&dir.path().join("wal"), options).unwrap();
        let log = LogStore::new(wal, recovered).unwrap();
        let database = Database::open(&dir.path().join("state.redb"), true).unwrap();
        let core =
            Core::load(database, Hub::new(), Leases::new(Arc::new(SystemClock), Duration::MAX), u64::MAX).unwrap();
        Ok((dir, log, StateMachine { core }))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_storage_passes_the_suite() {
    Suite::test_all(Builder).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_acknowledges_one_append_after_the_other_does_not_hang() {
    let (_dir, mut log, _machine) = Builder.build().await.unwrap();
    log.save_vote(&Vote::new(1, 0)).await.unwrap();
    let mut ends = Vec::new();
    for index in 0..2 {
        let (end, hold) = mpsc::channel();
        log.hang(hold);
        log.append([Entry::new_blank(log_id(1, index))], IOFlushed::noop()).await.unwrap();
        ends.push(end);
    }
    let began = Instant::now();
    let hangs = log.held_up().unwrap();
    drop(ends.remove(0));
    // The second append waits as long as the first, but the disk has answered meanwhile.
    let deadline = began + Duration::from_secs(60);
    while log.held_up().unwrap() >= hangs + began.elapsed() {
        assert!(Instant::now() < deadline, "the first append was not acknowledged");
        tokio::task::yield_now().await;
    }
    drop(ends);
    while log.held_up().is_some() {
        assert!(Instant::now() < deadline, "the second append was not acknowledged");
        tokio::task::yield_now().await;
    }
}
