//! What a loss of power, or a disk that loses pages, makes of the state file: all that was acknowledged is there, or the node
//! says why not.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::test_cluster::{TestCluster, get, put, within};
use super::{Options, RaftStore};
use crate::kv::{Consistency, StoreError};

/// What the system writes as one: a tear lies between two of them.
const PAGE: usize = 4096;
/// redb keeps the places of its last two commits in the first page; one durable commit changes one of them.
const COMMITS: [std::ops::Range<usize>; 2] = [64..192, 192..320];
/// Attempts to take pictures between which nothing was made durable but what the test asked for.
const ATTEMPTS: usize = 20;
/// Starts on a damaged state.
const DAMAGES: usize = 60;

/// Numbers that are the same in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}

/// A data directory as a loss of power would find it: what the system was given, file by file.
struct Picture {
    /// The state when it was durable last.
    before: Vec<u8>,
    /// The state later, with what was written since.
    after: Vec<u8>,
    /// The rest of the directory.
    dir: PathBuf,
    /// How many keys were acknowledged by then; each has its own value.
    keys: usize,
}

fn value(n: usize) -> String {
    format!("{n}:{}", "v".repeat(n * 37 % 900))
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        if file.file_type().unwrap().is_dir() {
            copy(&file.path(), &to.join(file.file_name()));
        } else {
            std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
        }
    }
}

/// Whether both of the commits that the first page names have changed.
fn committed_twice(before: &[u8], after: &[u8]) -> bool {
    COMMITS.iter().all(|commit| before[commit.clone()] != after[commit.clone()])
}

/// Writes, and takes a picture with no durable commit, or exactly one, between its two states.
async fn picture(cluster: &TestCluster, keys: &mut usize, flushed: bool) -> Picture {
    let (dir, store) = (cluster.data_dir(0), cluster.store(0));
    let state = dir.join("state.redb");
    for attempt in 0..ATTEMPTS {
        store.node.core.flush().unwrap();
        let before = std::fs::read(&state).unwrap();
        for _ in 0..20 {
            let n = *keys;
            put(store, &format!("k{n}"), &value(n)).await;
            *keys += 1;
        }
        if flushed {
            store.node.core.flush().unwrap();
        }
        let after = std::fs::read(&state).unwrap();
        let fits = match flushed {
            true => !committed_twice(&before, &after),
            false => before[..PAGE] == after[..PAGE],
        };
        if fits {
            let to = cluster.dir.path().join(format!("picture-{flushed}-{attempt}"));
            copy(&dir, &to);
            return Picture { before, after, dir: to, keys: *keys };
        }
    }
    panic!("a flush came between in each of {ATTEMPTS} attempts");
}

/// Starts the member on a copy of `dir` whose state file holds `state`.
async fn start_on(cluster: &TestCluster, dir: &Path, state: &[u8]) -> Result<Arc<RaftStore>, String> {
    let place = cluster.dir.path().join("restarted");
    let _ = std::fs::remove_dir_all(&place);
    copy(dir, &place);
    std::fs::write(place.join("state.redb"), state).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let options = Options { data_dir: place, ..cluster.options(0, listener) };
    RaftStore::start(options).await.map_err(|error| error.to_string())
}

/// The first page as it was, and of all others any that the system may have written by then, whole or torn.
fn torn(picture: &Picture, dice: &mut Dice) -> Vec<u8> {
    let (before, after) = (&picture.before, &picture.after);
    let mut bytes = before.clone();
    bytes.resize(before.len().max(after.len()), 0);
    for from in (PAGE..after.len()).step_by(PAGE) {
        let to = (from + PAGE).min(after.len());
        // Disks write sectors whole; a page of several may be torn between any two.
        let written = match dice.below(3) {
            0 => continue,
            1 => to,
            _ => (from + 512 * dice.below(8)).min(to),
        };
        bytes[from..written].copy_from_slice(&after[from..written]);
    }
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn torn_pages_of_an_unfinished_write_lose_nothing() {
    let cluster = {
        let mut cluster = TestCluster::prepare(61, 1);
        cluster.start_node(0).await;
        cluster
    };
    let mut keys = 0;
    let mut dice = Dice(61);
    for flushed in [false, true] {
        let picture = picture(&cluster, &mut keys, flushed).await;
        for round in 0..12 {
            let state = torn(&picture, &mut dice);
            if flushed {
                assert!(state != picture.before && state != picture.after, "round {round}: nothing is torn");
            }
            let store = start_on(&cluster, &picture.dir, &state).await;
            let store = store.unwrap_or_else(|error| panic!("flushed: {flushed}, round {round}: {error}"));
            for n in 0..picture.keys {
                let consistency = if n == 0 { Consistency::Linearizable } else { Consistency::Serializable };
                let found = read(&store, n, consistency).await.unwrap();
                assert_eq!(found, Some(value(n)), "flushed: {flushed}, round {round}, key {n}");
            }
            within("a stop", store.stop()).await;
        }
    }
    cluster.end().await;
}

/// Reads once there is a leader.
async fn read(store: &RaftStore, n: usize, consistency: Consistency) -> Result<Option<String>, StoreError> {
    let key = format!("k{n}");
    loop {
        match get(store, &key, consistency).await {
            Err(StoreError::NoLeader { .. } | StoreError::TimedOut { .. } | StoreError::NoQuorum { .. }) => {}
            found => return found,
        }
    }
}

/// What became of a start on a damaged state.
#[derive(Debug, Default)]
struct Fates {
    refused: usize,
    broken: usize,
    unharmed: usize,
    /// Keys that were not found or had another value, by round.
    lost: Vec<String>,
}

/// Of pages that are gone or begin with garbage. A single bit that flips within a stored key is not held here: records have
/// checksums of what they say and not of where they stand, and redb looks at those of its pages only when it repairs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_is_gone_is_told_and_never_served() {
    let cluster = {
        let mut cluster = TestCluster::prepare(62, 1);
        cluster.start_node(0).await;
        cluster
    };
    let mut keys = 0;
    for _ in 0..4 {
        picture(&cluster, &mut keys, true).await;
    }
    let picture = picture(&cluster, &mut keys, true).await;
    let mut dice = Dice(62);
    let mut fates = Fates::default();
    for round in 0..DAMAGES {
        let mut state = picture.after.clone();
        let page = dice.below(state.len() / PAGE) * PAGE;
        match round % 3 {
            0 => state.truncate(page),
            1 => state[page..page + PAGE].fill(0),
            _ => state[page..page + PAGE / 2].iter_mut().for_each(|byte| *byte = dice.below(256) as u8),
        }
        match start_on(&cluster, &picture.dir, &state).await {
            Err(error) => {
                assert!(error.contains("state.redb") || error.contains("restarted"), "{error}");
                assert!(error.contains("peers") || error.contains("restore") || error.contains("anew"), "{error}");
                fates.refused += 1;
            }
            Ok(store) => {
                look(&store, &picture, round, &mut fates).await;
                within("a stop", store.stop()).await;
            }
        }
    }
    assert!(fates.lost.is_empty(), "{fates:#?}");
    assert!(fates.refused > 0 && fates.unharmed > 0, "{fates:?}");
    cluster.end().await;
}

async fn look(store: &RaftStore, picture: &Picture, round: usize, fates: &mut Fates) {
    for n in 0..picture.keys {
        let consistency = if n == 0 { Consistency::Linearizable } else { Consistency::Serializable };
        match read(store, n, consistency).await {
            Ok(found) if found == Some(value(n)) => {}
            Ok(found) => {
                let what = found.map_or("missing", |_| "another value");
                return fates.lost.push(format!("round {round}, key {n}: {what}"));
            }
            Err(StoreError::Broken(_)) => {
                fates.broken += 1;
                return;
            }
            Err(other) => panic!("round {round}, key {n}: {other}"),
        }
    }
    fates.unharmed += 1;
}
