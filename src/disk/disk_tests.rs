//! The state file: the same bytes as tables in memory, safe from crashes, copies and damage.

#![allow(clippy::unwrap_used)]

use std::ops::{Bound, ControlFlow};
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::base::UnixMillis;
use crate::kv::mem::MemTables;
use crate::kv::random_ops::any_op;
use crate::kv::*;

fn dump(tables: &dyn Tables) -> MemTables {
    let mut all = MemTables::default();
    for table in Table::ALL {
        let (from, to) = (Bound::Unbounded, Bound::Unbounded);
        tables
            .scan(table, from, to, false, &mut |key, value| {
                all.put(table, key, value).unwrap();
                ControlFlow::Continue(())
            })
            .unwrap();
    }
    all
}

fn bytes_in(tables: &MemTables) -> u64 {
    let entries = tables.0.values().flatten();
    entries.map(|(key, value)| (key.len() + value.len()) as u64).sum()
}

fn without_empty(mut tables: MemTables) -> MemTables {
    tables.0.retain(|_, entries| !entries.is_empty());
    tables
}

fn fresh() -> (TempDir, PathBuf, Database) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.redb");
    let database = Database::open(&path, true).unwrap();
    (dir, path, database)
}

fn put_all(database: &Database, entries: &[(&str, &str)], durable: bool) {
    let mut txn = database.begin().unwrap();
    for (key, value) in entries {
        txn.put(Table::Meta, key.as_bytes(), value.as_bytes()).unwrap();
    }
    txn.commit(durable).unwrap();
}

fn get(tables: &dyn Tables, key: &str) -> Option<String> {
    let value = tables.get(Table::Meta, key.as_bytes()).unwrap()?;
    Some(String::from_utf8(value.to_vec()).unwrap())
}

#[test]
fn commits_are_seen_and_dropped_transactions_are_not() {
    let (_dir, _, database) = fresh();
    put_all(&database, &[("a", "1")], false);
    let before = database.reader();
    let mut txn = database.begin().unwrap();
    txn.put(Table::Meta, b"a", b"2").unwrap();
    assert_eq!(get(&txn, "a").as_deref(), Some("2"), "its own write");
    drop(txn);
    assert_eq!(get(&database.reader(), "a").as_deref(), Some("1"));
    put_all(&database, &[("a", "3")], false);
    assert_eq!(get(&database.reader(), "a").as_deref(), Some("3"));
    assert_eq!(get(&before, "a").as_deref(), Some("1"), "a snapshot does not move");
}

#[test]
fn a_snapshot_can_be_read_in_another_thread() {
    let (_dir, _, database) = fresh();
    put_all(&database, &[("a", "1")], false);
    let reader = database.reader();
    drop(database);
    let read = std::thread::spawn(move || get(&reader, "a"));
    assert_eq!(read.join().unwrap().as_deref(), Some("1"));
}

/// The file as a crash would leave it: what the system has been given so far.
fn crashed_copy(path: &Path, dir: &TempDir) -> Database {
    let copy = dir.path().join("crashed.redb");
    std::fs::copy(path, &copy).unwrap();
    Database::open(&copy, false).unwrap()
}

#[test]
fn a_crash_brings_back_the_last_flush() {
    let (dir, path, database) = fresh();
    put_all(&database, &[("a", "1")], false);
    assert_eq!(get(&crashed_copy(&path, &dir).reader(), "a"), None);
    database.flush().unwrap();
    put_all(&database, &[("a", "2")], false);
    let crashed = crashed_copy(&path, &dir);
    assert_eq!(get(&crashed.reader(), "a").as_deref(), Some("1"));
    let bytes = bytes_in(&dump(&crashed.reader()));
    assert_eq!(crashed.usage().unwrap().in_use, bytes);
    drop(crashed);
    put_all(&database, &[("b", "3")], true);
    let crashed = crashed_copy(&path, &dir);
    assert_eq!(get(&crashed.reader(), "a").as_deref(), Some("2"));
    drop(database);
    let again = Database::open(&path, false).unwrap();
    assert_eq!(get(&again.reader(), "b").as_deref(), Some("3"));
}

#[test]
fn an_open_file_and_a_missing_one_are_refused_by_name() {
    let (dir, path, _database) = fresh();
    let refused = |path: &Path| Database::open(path, false).err().unwrap().to_string();
    let text = refused(&path);
    assert!(text.contains("state.redb: another process has it open"), "{text}");
    let text = refused(&dir.path().join("none.redb"));
    assert!(text.contains("none.redb"), "{text}");
    let text = refused(dir.path());
    assert!(text.contains(&dir.path().display().to_string()), "{text}");
}

/// Flips, zeroes and cuts a file in a way that depends on `round` alone.
fn damage(whole: &[u8], round: u64) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    let random = (round + 1).wrapping_mul(6_364_136_223_846_793_005).rotate_left(23);
    let within = if round.is_multiple_of(3) { 512 } else { bytes.len() };
    let at = random as usize % within;
    match round % 4 {
        0 => bytes.truncate(at),
        1 => bytes[at] ^= 1 << (round % 8),
        2 => bytes[at..].iter_mut().take(64).for_each(|byte| *byte = (random >> 56) as u8),
        _ => bytes[at..].iter_mut().take(4096).for_each(|byte| *byte = 0),
    }
    bytes
}

#[test]
fn a_damaged_file_is_an_error_and_no_panic() {
    let (dir, path, database) = fresh();
    for at in 0..100 {
        put_all(&database, &[(&format!("key{at}"), &"value".repeat(at))], at % 20 == 0);
    }
    database.flush().unwrap();
    let crashed = std::fs::read(&path).unwrap();
    drop(database);
    let closed = std::fs::read(&path).unwrap();
    let damaged = dir.path().join("damaged.redb");
    let mut refused = 0;
    for round in 0..120 {
        let whole = if round % 2 == 0 { &crashed } else { &closed };
        std::fs::write(&damaged, damage(whole, round)).unwrap();
        let error = match Database::open(&damaged, false) {
            Ok(database) => read_all(&database).err(),
            Err(error) => Some(error.to_string()),
        };
        if let Some(error) = error {
            assert!(error.contains("damaged.redb: "), "{error}");
            refused += 1;
        }
    }
    assert!(refused > 40, "{refused}");
    std::fs::write(&damaged, b"no database at all").unwrap();
    let error = Database::open(&damaged, true).err().unwrap().to_string();
    assert!(error.contains("damaged.redb: damaged"), "{error}");
    assert_eq!(std::fs::read(&damaged).unwrap(), b"no database at all", "it is left as it was");
}

fn read_all(database: &Database) -> Result<(), String> {
    let reader = database.reader();
    for table in Table::ALL {
        let (from, to) = (Bound::Unbounded, Bound::Unbounded);
        reader
            .scan(table, from, to, false, &mut |_, _| ControlFlow::Continue(()))
            .map_err(|error| error.to_string())?;
    }
    Ok(())
}

#[test]
fn a_snapshot_moves_all_tables_or_none() {
    let (dir, _, source) = fresh();
    let mut txn = source.begin().unwrap();
    for (at, table) in Table::ALL.into_iter().enumerate() {
        for entry in 0..at * 40 {
            let value = vec![entry as u8; entry * 40];
            txn.put(table, format!("{entry}").as_bytes(), &value).unwrap();
        }
    }
    txn.put(Table::Keys, b"large", &vec![7; 600_000]).unwrap();
    txn.commit(false).unwrap();
    let mut stream = Vec::new();
    let reader = source.reader();
    source.export(&reader, &mut stream).unwrap();

    let target = Database::open(&dir.path().join("target.redb"), true).unwrap();
    put_all(&target, &[("old", "1"), ("3", "2")], true);
    let before = dump(&target.reader());
    let refused = |stream: &[u8]| {
        let error = target.import(&mut &stream[..]).unwrap_err().to_string();
        assert!(error.starts_with("snapshot: "), "{error}");
        assert!(dump(&target.reader()) == before, "the state has changed");
    };
    let length = stream.len();
    for at in [0, 1, 14, 15, 19, 23, 40, length / 3, length / 2, length - 20, length - 1] {
        refused(&stream[..at]);
        let mut flipped = stream.clone();
        flipped[at] ^= 0x10;
        refused(&flipped);
    }
    // A whole chunk is missing: the second one of those that are all right by themselves.
    let chunk = |at: usize| 8 + u32::from_le_bytes(stream[at..at + 4].try_into().unwrap()) as usize;
    let second = 15 + chunk(15);
    let mut missing = stream[..second].to_vec();
    missing.extend_from_slice(&stream[second + chunk(second)..]);
    refused(&missing);

    target.import(&mut &stream[..]).unwrap();
    let after = dump(&target.reader());
    assert!(after == dump(&reader));
    assert_eq!(target.usage().unwrap().in_use, bytes_in(&after));
    source.flush().unwrap();
    assert_eq!(source.usage().unwrap().in_use, bytes_in(&after));
    let mut again = Vec::new();
    target.export(&target.reader(), &mut again).unwrap();
    assert!(again == stream, "the same tables make the same stream");
}

/// The bounds of a scan from two numbers: none, inclusive or exclusive.
fn bound(kind: u8, key: &[u8]) -> Bound<&[u8]> {
    match kind % 3 {
        0 => Bound::Unbounded,
        1 => Bound::Included(key),
        _ => Bound::Excluded(key),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Random commands leave the same bytes in the file as in memory, whatever the transactions they are put in.
    #[test]
    fn the_file_holds_what_memory_holds(
        log in prop::collection::vec((any_op(), 0..4u8), 1..60),
    ) {
        let (_dir, _, database) = fresh();
        let mut memory = MemTables::default();
        let mut in_memory = State::load(&memory).unwrap();
        let mut on_disk = State::load(&database.reader()).unwrap();
        let mut txn = database.begin().unwrap();
        for (index, (op, commit)) in (1..).zip(log) {
            let command = Command { stamp: UnixMillis(1000), op };
            let at = LogPosition { index, term: 1 };
            let first = apply(&mut in_memory, &mut memory, &command, at).unwrap();
            let second = apply(&mut on_disk, &mut txn, &command, at).unwrap();
            prop_assert_eq!(first, second);
            prop_assert!(dump(&txn) == without_empty(memory.clone()));
            if commit == 0 {
                txn.commit(index % 5 == 0).unwrap();
                txn = database.begin().unwrap();
            }
        }
        txn.commit(false).unwrap();
        let reader = database.reader();
        let found = dump(&reader);
        prop_assert_eq!(&found, &without_empty(memory));
        database.flush().unwrap();
        prop_assert_eq!(database.usage().unwrap().in_use, bytes_in(&found));
        prop_assert_eq!(State::load(&reader).unwrap(), on_disk);
    }

    /// Whatever is in the file, in memory and in an open transaction, a lookup and a scan see the newest, within any bounds, both ways.
    #[test]
    fn file_memory_and_transaction_are_read_as_one(
        table in prop::sample::select(vec![Table::Keys, Table::Revisions]),
        steps in prop::collection::vec((any_changes(), any::<bool>()), 1..6),
        changes in any_changes(),
        from in (0..3u8, 0..40u8),
        to in (0..3u8, 0..40u8),
        reverse: bool,
        most in 1..12usize,
    ) {
        let (_dir, _, database) = fresh();
        let mut expected = MemTables::default();
        for (changes, flush) in steps {
            let mut txn = database.begin().unwrap();
            change(&mut txn, table, &changes);
            change(&mut expected, table, &changes);
            txn.commit(flush).unwrap();
        }
        let older = (database.reader(), dump(&database.reader()));
        let mut txn = database.begin().unwrap();
        change(&mut txn, table, &changes);
        change(&mut expected, table, &changes);
        for key in 0..40u8 {
            prop_assert_eq!(txn.get(table, &[key]).unwrap(), expected.get(table, &[key]).unwrap());
        }
        let keys = ([from.1], [to.1]);
        let (from, to) = (bound(from.0, &keys.0), bound(to.0, &keys.1));
        let seen = |tables: &dyn Tables| {
            let mut seen = Vec::new();
            tables
                .scan(table, from, to, reverse, &mut |key, value| {
                    seen.push((key.to_vec(), value.to_vec()));
                    if seen.len() < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
                })
                .unwrap();
            seen
        };
        let bounded = !super::reader::empty(from, to);
        let wanted = if bounded { seen(&expected) } else { Vec::new() };
        prop_assert_eq!(&seen(&txn), &wanted);
        txn.commit(false).unwrap();
        prop_assert_eq!(&seen(&database.reader()), &wanted);
        database.flush().unwrap();
        prop_assert_eq!(&seen(&database.reader()), &wanted);
        prop_assert_eq!(database.usage().unwrap().in_use, bytes_in(&dump(&database.reader())));
        prop_assert!(dump(&older.0) == older.1, "a snapshot does not move");
    }
}

type Changes = Vec<(u8, Option<u16>)>;

/// Keys, and the sizes of their new values; now and then several blocks of them.
fn any_changes() -> impl Strategy<Value = Changes> {
    prop::collection::vec((0..40u8, prop::option::of(prop_oneof![0..20u16, 2_000..9_000u16])), 0..30)
}

fn change(tables: &mut dyn TablesMut, table: Table, changes: &Changes) {
    for (key, change) in changes {
        match change {
            Some(size) => tables.put(table, &[*key], &vec![*key; usize::from(*size)]).unwrap(),
            None => tables.delete(table, &[*key]).unwrap(),
        }
    }
}

#[test]
fn after_a_write_that_failed_every_refusal_says_why_it_did() {
    let (_dir, _path, database) = fresh();
    let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
    let first = database.explain("commit a write", redb::Error::Io(full)).to_string();
    let next = database.explain("begin a write", redb::Error::PreviousIo).to_string();
    for text in [first, next] {
        assert!(text.contains("no storage space"), "{text}");
    }
}
