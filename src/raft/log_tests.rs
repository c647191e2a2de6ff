//! openraft's own suite for storage, against ours.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};

use super::hub::Hub;
use super::leases::Leases;
use super::log_store::LogStore;
use super::machine::Core;
use super::state_machine::StateMachine;
use super::test_cluster::{SystemClock, scratch_dir};
use super::types::TypeConfig;
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
