//! Power that goes while the state is being made durable: some of the pages are there, some are not, some half.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;

use super::Database;
use crate::kv::{Table, Tables, TablesMut};

/// What a disk writes as a whole.
const SECTOR_BYTES: usize = 512;
const PAGE_BYTES: usize = 4096;
/// The header's sectors, in which redb says which of two commits is the last.
const HEADER_BYTES: usize = SECTOR_BYTES;

type Expected = BTreeMap<Vec<u8>, Vec<u8>>;

/// A number that looks random, the same in each run.
fn dice(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}

/// A few commits that are durable together.
fn change(database: &Database, expected: &mut Expected, seed: &mut u64) {
    for _ in 0..5 {
        let mut txn = database.begin().unwrap();
        for _ in 0..40 {
            let key = (dice(seed) % 400).to_be_bytes().to_vec();
            if dice(seed).is_multiple_of(4) {
                txn.delete(Table::Keys, &key).unwrap();
                expected.remove(&key);
            } else {
                let value = vec![dice(seed) as u8; (dice(seed) % 3000) as usize];
                txn.put(Table::Keys, &key, &value).unwrap();
                expected.insert(key, value);
            }
        }
        txn.commit(false).unwrap();
    }
    database.flush().unwrap();
}

fn holds(path: &Path, expected: &Expected) -> bool {
    let database = Database::open(path, false).unwrap();
    let txn = database.begin().unwrap();
    (0..400u64).map(u64::to_be_bytes).all(|key| {
        let found = txn.get(Table::Keys, &key).unwrap();
        found.as_deref() == expected.get(&key[..]).map(Vec::as_slice)
    })
}

/// What is on the disk when the power went between two flushes: each page as before, as after, or a part of either.
fn torn(before: &[u8], after: &[u8], seed: &mut u64) -> Vec<u8> {
    // The file had grown already, or it is as long as it was.
    let mut file = before.to_vec();
    file.resize(before.len().max(after.len()), 0);
    for at in (0..after.len()).step_by(PAGE_BYTES) {
        let end = (at + PAGE_BYTES).min(after.len());
        let sectors = (dice(seed) % 3) as usize * SECTOR_BYTES * (dice(seed) % 9) as usize;
        let end = end.min(at + sectors);
        file[at..end].copy_from_slice(&after[at..end]);
    }
    file[..HEADER_BYTES].copy_from_slice(&before[..HEADER_BYTES]);
    file
}

#[test]
fn a_flush_that_the_power_interrupts_leaves_the_one_before() {
    let dir = tempfile::tempdir().unwrap();
    let (path, crashed) = (dir.path().join("state.redb"), dir.path().join("crashed.redb"));
    let database = Database::open(&path, true).unwrap();
    let (mut expected, mut seed) = (Expected::new(), 0x5eed_cafe);
    change(&database, &mut expected, &mut seed);
    for round in 0..25 {
        let (before, old) = (std::fs::read(&path).unwrap(), expected.clone());
        change(&database, &mut expected, &mut seed);
        let after = std::fs::read(&path).unwrap();
        std::fs::write(&crashed, torn(&before, &after, &mut seed)).unwrap();
        assert!(holds(&crashed, &old), "round {round}");
        // All is there, and only the word that it is the last is missing.
        let mut whole = after.clone();
        whole[..HEADER_BYTES].copy_from_slice(&before[..HEADER_BYTES]);
        std::fs::write(&crashed, whole).unwrap();
        assert!(holds(&crashed, &old), "round {round}");
        std::fs::write(&crashed, after).unwrap();
        assert!(holds(&crashed, &expected), "round {round}");
    }
}
