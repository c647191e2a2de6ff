//! What the log promises to its caller, case by case; and the helpers of the tests.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use tempfile::TempDir;

use super::*;

/// One small page of frames a segment.
pub(super) const SMALL: u64 = 4_096 + 700;

/// A directory in memory where there is one: these tests sync thousands of times.
pub(super) fn test_dir() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

pub(super) fn options(segment_bytes: u64) -> Options {
    Options { segment_bytes, ..Options::new("cluster/1") }
}

pub(super) fn open(dir: &Path, segment_bytes: u64) -> (Wal, Recovered) {
    Wal::open(dir, options(segment_bytes)).unwrap()
}

pub(super) fn entry(index: u64, payload: impl Into<Bytes>) -> Entry {
    Entry { index, term: index / 10, payload: payload.into() }
}

/// A callback and where its result arrives.
pub(super) fn promise() -> (Callback, Receiver<Result<(), WalError>>) {
    let (tell, told) = channel();
    (Box::new(move |result| tell.send(result).unwrap()), told)
}

pub(super) fn result(told: &Receiver<Result<(), WalError>>) -> Result<(), WalError> {
    told.recv_timeout(Duration::from_secs(30)).expect("the log answers")
}

/// Calls and waits.
pub(super) fn wait(call: impl FnOnce(Callback)) -> Result<(), WalError> {
    let (done, told) = promise();
    call(done);
    result(&told)
}

pub(super) fn purged(index: u64) -> Purged {
    Purged { index, id: format!("id-{index}").into() }
}

/// The directory as `kill -9` leaves it. Other than a kill, copying takes its time: a purge meanwhile removes the lowest segments
/// first, so the highest are copied first.
pub(super) fn copy_dir(from: &Path) -> TempDir {
    let to = test_dir();
    for name in segments(from).iter().rev() {
        if let Ok(bytes) = fs::read(from.join(name)) {
            fs::write(to.path().join(name), bytes).unwrap();
        }
    }
    to
}

fn segments(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap();
    let mut names: Vec<String> = names
        .map(|item| item.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".wal"))
        .collect();
    names.sort();
    names
}

#[test]
fn a_new_log_is_fresh_and_what_is_written_is_found_again() {
    let dir = test_dir();
    let path = dir.path().join("deep/wal");
    let (wal, found) = open(&path, SMALL);
    let fresh = Recovered { fresh: true, identity: "cluster/1".into(), ..Recovered::default() };
    assert_eq!(found, fresh);
    wait(|done| wal.save_vote("vote", done)).unwrap();
    wait(|done| wal.append(vec![entry(0, "a"), entry(1, "")], done)).unwrap();
    wal.save_committed("mark");
    drop(wal);
    let (_wal, found) = open(&path, SMALL);
    assert_eq!(found.entries, [entry(0, "a"), entry(1, "")]);
    assert_eq!((found.vote, found.committed, found.fresh), (Some("vote".into()), Some("mark".into()), false));
}

#[test]
fn a_directory_has_one_owner_and_one_node() {
    let dir = test_dir();
    let (wal, _) = open(dir.path(), SMALL);
    let second = Wal::open(dir.path(), options(SMALL)).unwrap_err();
    assert!(matches!(second, WalError::InUse { .. }));
    assert!(second.to_string().contains("in use by another process"), "{second}");
    drop(wal);
    let other = Options { identity: "cluster/2".into(), ..options(SMALL) };
    let other = Wal::open(dir.path(), other).unwrap_err();
    assert!(matches!(other, WalError::Identity { .. }), "{other}");
    open(dir.path(), SMALL);
}

#[test]
fn limits_are_refused_without_harm() {
    let dir = test_dir();
    let long = Options { identity: vec![b'x'; 2_000].into(), ..options(SMALL) };
    assert!(matches!(Wal::open(dir.path(), long).unwrap_err(), WalError::TooLarge { .. }));
    assert!(Wal::open(dir.path(), options(1 << 40)).is_err());
    let (wal, _) = open(dir.path(), SMALL);
    let vote = wait(|done| wal.save_vote(vec![0; 100_000], done)).unwrap_err();
    assert!(matches!(vote, WalError::TooLarge { .. }), "{vote}");
    wait(|done| wal.append(vec![entry(3, "x")], done)).unwrap();
    let gap = wait(|done| wal.append(vec![entry(4, "y"), entry(6, "z")], done)).unwrap_err();
    assert!(matches!(gap, WalError::OutOfOrder { index: 6, expected: 5 }), "{gap}");
    assert_eq!(wal.read(.., usize::MAX).unwrap(), [entry(3, "x")]);
    wait(|done| wal.purge_to(purged(3), done)).unwrap();
    let cut = wait(|done| wal.truncate_after(Some(2), done)).unwrap_err();
    assert!(matches!(cut, WalError::Purged { index: 3, first: 4 }), "{cut}");
    wait(|done| wal.append(vec![entry(4, "y")], done)).unwrap();
}

#[test]
fn whatever_waits_is_one_sync_and_callbacks_keep_the_order() {
    let dir = test_dir();
    let (wal, _) = open(dir.path(), 1 << 20);
    let (release, released) = channel::<()>();
    let (first, told) = promise();
    wal.append(
        vec![entry(1, "first")],
        Box::new(move |result| {
            first(result);
            released.recv_timeout(Duration::from_secs(30)).unwrap();
        }),
    );
    result(&told).unwrap();
    assert_eq!(wal.stats().syncs, 1);
    let (tell, order) = channel();
    for index in 2..102 {
        let tell = tell.clone();
        let done = Box::new(move |result: Result<(), WalError>| tell.send((index, result.is_ok())).unwrap());
        match index % 10 {
            0 => wal.append(vec![entry(9_999, "out of order")], Box::new(|result| assert!(result.is_err()))),
            1 => wal.save_vote(index.to_string(), Box::new(|result| result.unwrap())),
            _ => {}
        }
        wal.append(vec![entry(index, "more")], done);
    }
    release.send(()).unwrap();
    let wanted: Vec<_> = (2..102).map(|index| (index, true)).collect();
    let got: Vec<_> = (2..102).map(|_| order.recv_timeout(Duration::from_secs(30)).unwrap()).collect();
    assert_eq!(got, wanted);
    assert_eq!(wal.stats().syncs, 2);
}

#[test]
fn a_committed_mark_costs_no_sync() {
    let dir = test_dir();
    let (wal, _) = open(dir.path(), SMALL);
    wait(|done| wal.save_vote("v", done)).unwrap();
    let before = wal.stats();
    wal.save_committed("1");
    // An operation that changes nothing: its answer comes after the mark is written.
    wait(|done| wal.truncate_after(Some(7), done)).unwrap();
    let copy = copy_dir(dir.path());
    assert!(wal.stats().written_bytes > before.written_bytes);
    assert_eq!(open(copy.path(), SMALL).1.committed, Some("1".into()));
}

#[test]
fn an_entry_larger_than_a_segment_has_one_to_itself() {
    let dir = test_dir();
    let (wal, _) = open(dir.path(), SMALL);
    let entries = vec![entry(1, "small"), entry(2, vec![7; 20_000]), entry(3, "small")];
    wait(|done| wal.append(entries.clone(), done)).unwrap();
    assert_eq!(wal.read(.., usize::MAX).unwrap(), entries);
    drop(wal);
    assert_eq!(open(dir.path(), SMALL).1.entries, entries);
}

#[test]
fn reads_take_a_range_and_a_size() {
    let dir = test_dir();
    let (wal, _) = open(dir.path(), SMALL);
    let entries: Vec<Entry> = (5..105).map(|index| entry(index, vec![index as u8; 50])).collect();
    wait(|done| wal.append(entries.clone(), done)).unwrap();
    let all = usize::MAX;
    assert_eq!(wal.read(.., all).unwrap(), entries);
    assert_eq!(wal.read(7..9, all).unwrap(), entries[2..4]);
    assert_eq!(wal.read(7..=9, all).unwrap(), entries[2..5]);
    assert_eq!(wal.read(..6, all).unwrap(), entries[..1]);
    assert_eq!(wal.read(104.., all).unwrap(), entries[99..]);
    assert_eq!(wal.read(105.., all).unwrap(), []);
    #[expect(clippy::reversed_empty_ranges, reason = "nonsense is answered too")]
    let nonsense = wal.read(9..7, all).unwrap();
    assert_eq!(nonsense, []);
    assert_eq!(wal.read(10.., 0).unwrap(), entries[5..6]);
    assert_eq!(wal.read(10.., 120).unwrap(), entries[5..7]);
}

#[test]
fn purged_segments_are_unlinked_and_vote_and_marks_live_on() {
    let dir = test_dir();
    let (wal, _) = open(dir.path(), SMALL);
    wait(|done| wal.save_vote("vote", done)).unwrap();
    wal.save_committed("mark");
    for index in 1..60 {
        wait(|done| wal.append(vec![entry(index, vec![1; 100])], done)).unwrap();
    }
    assert!(segments(dir.path()).len() > 10);
    wait(|done| wal.purge_to(purged(58), done)).unwrap();
    assert_eq!(wal.read(.., usize::MAX).unwrap(), [entry(59, vec![1; 100])]);
    drop(wal);
    assert!(segments(dir.path()).len() <= 3, "{:?}", segments(dir.path()));
    let (wal, found) = open(dir.path(), SMALL);
    assert_eq!(found.entries, [entry(59, vec![1; 100])]);
    assert_eq!(
        (found.vote, found.committed, found.purged),
        (Some("vote".into()), Some("mark".into()), Some(purged(58)))
    );
    // Beyond the end, as after the installation of a snapshot.
    wait(|done| wal.purge_to(purged(1_000), done)).unwrap();
    wait(|done| wal.append(vec![entry(1_001, "next")], done)).unwrap();
    drop(wal);
    assert_eq!(open(dir.path(), SMALL).1.entries, [entry(1_001, "next")]);
}

#[test]
fn after_a_failed_write_nothing_is_acknowledged() {
    let dir = test_dir();
    let (wal, _) = open(dir.path(), SMALL);
    wait(|done| wal.append(vec![entry(1, "kept")], done)).unwrap();
    drop(wal);
    let lock = segment::lock_dir(dir.path()).unwrap();
    let (mut opened, _) = recover::recover(dir.path(), &options(SMALL)).unwrap();
    // A file that is open for reading only fails each write.
    opened.active = Arc::new(segment::Segment {
        seq: opened.active.seq,
        path: opened.active.path.clone(),
        file: File::open(&opened.active.path).unwrap(),
        capacity: opened.active.capacity,
    });
    let wal = Wal::start(dir.path(), options(SMALL), lock, opened).unwrap();
    for _ in 0..2 {
        let error = wait(|done| wal.append(vec![entry(2, "lost")], done)).unwrap_err();
        assert!(matches!(error, WalError::Failed { .. }), "{error}");
        assert!(error.to_string().contains("cannot write /"), "{error}");
        assert!(wait(|done| wal.save_vote("lost", done)).is_err());
        assert!(wait(|done| wal.truncate_after(None, done)).is_err());
        assert!(wait(|done| wal.purge_to(purged(1), done)).is_err());
    }
    assert_eq!(wal.read(.., usize::MAX).unwrap(), [entry(1, "kept")]);
    drop(wal);
    let (wal, found) = open(dir.path(), SMALL);
    assert_eq!((found.entries, found.vote), (vec![entry(1, "kept")], None));
    wait(|done| wal.append(vec![entry(2, "works again")], done)).unwrap();
}

#[test]
fn a_next_segment_that_cannot_be_made_is_a_failure() {
    let dir = test_dir();
    let path = dir.path().join("wal");
    let (wal, _) = open(&path, SMALL);
    fs::rename(&path, dir.path().join("elsewhere")).unwrap();
    let results: Vec<_> =
        (1..60).map(|index| wait(|done| wal.append(vec![entry(index, vec![0; 100])], done))).collect();
    let acknowledged = results.iter().take_while(|result| result.is_ok()).count();
    assert!(acknowledged < 30);
    assert!(results[acknowledged..].iter().all(Result::is_err));
    assert_eq!(results[acknowledged].clone().unwrap_err().kind(), io::ErrorKind::NotFound);
}

#[test]
fn a_callback_may_drop_the_log_or_panic() {
    let dir = test_dir();
    let (wal, _) = open(dir.path(), SMALL);
    let wal = Arc::new(wal);
    let (held, (done, told)) = (Arc::clone(&wal), promise());
    wal.save_vote(
        "v",
        Box::new(move |result| {
            drop(held);
            done(result);
        }),
    );
    drop(wal);
    result(&told).unwrap();

    let dir = test_dir();
    let (wal, _) = open(dir.path(), SMALL);
    wal.save_vote("v", Box::new(|_| panic!("a callback's bug (expected here)")));
    wait(|done| wal.save_vote("w", done)).unwrap();
}
