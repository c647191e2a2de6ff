//! What a crash, a loss of power or a bad disk leaves behind: acknowledged entries are found, nothing is invented, damage is refused.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use super::frame::{self, Found, Kind};
use super::segment::SEGMENT_HEADER_BYTES;
use super::wal_tests::{SMALL, copy_dir, entry, open, options, purged, test_dir, wait};
use super::*;

/// A segment's path in `dir`.
fn segment(dir: &Path, seq: u64) -> PathBuf {
    dir.join(format!("{seq:016x}.wal"))
}

/// Begin, end (without padding) and kind of the frames in a segment.
fn frames(path: &Path, seq: u64) -> Vec<(usize, usize, Kind)> {
    let bytes = fs::read(path).unwrap();
    let mut found = Vec::new();
    let mut at = SEGMENT_HEADER_BYTES;
    while let Found::Frame(frame) = frame::decode(&bytes, at, seq, at) {
        found.push((at, at + frame::FRAME_HEADER_BYTES + frame.payload.len(), frame.kind));
        at += frame.padded;
    }
    found
}

/// Opens, writes one thing more, and opens again: what was found stays found.
fn recover_twice(dir: &Path, segment_bytes: u64) -> Recovered {
    let (wal, found) = open(dir, segment_bytes);
    let next = found.entries.last().map_or(1, |last| last.index + 1);
    wait(|done| wal.append(vec![entry(next, "after the crash")], done)).unwrap();
    drop(wal);
    let (_, mut again) = open(dir, segment_bytes);
    assert_eq!(again.entries.pop(), Some(entry(next, "after the crash")));
    again.fresh = found.fresh;
    assert_eq!(again, found);
    found
}

/// A log of one segment in which each operation is one acknowledged frame, and what was recorded after each.
fn history(dir: &Path) -> Vec<Recovered> {
    let (wal, empty) = open(dir, 16_384);
    let mut now = empty;
    let mut after = Vec::new();
    for step in 1..=12u64 {
        now.fresh = false;
        match step % 6 {
            3 => {
                now.vote = Some(step.to_string().into());
                wait(|done| wal.save_vote(step.to_string(), done)).unwrap();
            }
            4 => {
                now.entries.pop();
                let last = now.entries.last().map(|entry| entry.index);
                wait(|done| wal.truncate_after(last, done)).unwrap();
            }
            _ => {
                let next = now.entries.last().map_or(1, |last| last.index + 1);
                let new = entry(next, vec![step as u8; (step * 5) as usize]);
                now.entries.push(new.clone());
                wait(|done| wal.append(vec![new], done)).unwrap();
            }
        }
        after.push(now.clone());
    }
    after
}

#[test]
fn a_log_cut_anywhere_is_what_was_acknowledged_before_the_cut() {
    let dir = test_dir();
    let mut after = history(dir.path());
    let path = segment(dir.path(), 1);
    let frames = frames(&path, 1);
    assert_eq!(frames.len(), after.len() + 1);
    let whole = fs::read(&path).unwrap();
    let nothing = Recovered { fresh: true, identity: after[0].identity.clone(), ..Recovered::default() };
    // The first operation's frame lies behind the base frame.
    after.insert(0, nothing);
    let last = frames.last().unwrap().1;
    for cut in SEGMENT_HEADER_BYTES..=last {
        for zeroed in [false, true] {
            // A frame is also whole when the cut replaced zeros by zeros.
            let is_whole = |end: usize| end <= cut || zeroed && whole[cut..end].iter().all(|byte| *byte == 0);
            let complete = frames.iter().skip(1).take_while(|(_, end, _)| is_whole(*end)).count();
            let copy = test_dir();
            let mut bytes = whole[..cut].to_vec();
            bytes.resize(if zeroed { whole.len() } else { cut }, 0);
            fs::write(segment(copy.path(), 1), bytes).unwrap();
            let found = recover_twice(copy.path(), 16_384);
            assert_eq!(found, after[complete], "cut at {cut}, zeroed: {zeroed}");
        }
    }
}

#[test]
fn garbage_behind_the_cut_is_dropped_too() {
    let dir = test_dir();
    let after = history(dir.path());
    let path = segment(dir.path(), 1);
    let end = frames(&path, 1).last().unwrap().1.next_multiple_of(8);
    for garbage in [&[0xff; 500][..], &[1; 33], &[0, 0, 0, 0, 0, 0, 0, 0, 9]] {
        let copy = copy_dir(dir.path());
        let path = segment(copy.path(), 1);
        let mut bytes = fs::read(&path).unwrap();
        bytes[end..end + garbage.len()].copy_from_slice(garbage);
        fs::write(&path, bytes).unwrap();
        assert_eq!(&recover_twice(copy.path(), 16_384), after.last().unwrap());
    }
}

/// The disk may have written any of the blocks of an unfinished write, in any order.
#[test]
fn a_torn_write_in_any_order_keeps_what_was_acknowledged() {
    const BLOCK: usize = 512;
    let dir = test_dir();
    let (wal, _) = open(dir.path(), 16_384);
    let acknowledged: Vec<Entry> = (1..4).map(|index| entry(index, vec![index as u8; 100])).collect();
    wait(|done| wal.append(acknowledged.clone(), done)).unwrap();
    wal.save_committed("unsynced");
    let torn: Vec<Entry> = (4..10).map(|index| entry(index, vec![index as u8; 400])).collect();
    wait(|done| wal.append(torn.clone(), done)).unwrap();
    drop(wal);
    let path = segment(dir.path(), 1);
    let whole = fs::read(&path).unwrap();
    let frames = frames(&path, 1);
    let begin = frames.iter().find(|frame| frame.2 == Kind::Committed).unwrap().0;
    let end = frames.last().unwrap().1;
    let blocks = end / BLOCK - begin / BLOCK + 1;
    let all: Vec<Entry> = acknowledged.iter().chain(&torn).cloned().collect();
    for missing in 0u32..1 << blocks {
        let copy = test_dir();
        let mut bytes = whole.clone();
        for block in (0..blocks).filter(|block| missing & (1 << block) != 0) {
            let from = ((begin / BLOCK + block) * BLOCK).max(begin);
            let to = ((begin / BLOCK + block + 1) * BLOCK).min(whole.len());
            bytes[from..to].fill(0);
        }
        fs::write(segment(copy.path(), 1), bytes).unwrap();
        let found = recover_twice(copy.path(), 16_384).entries;
        assert!(found.len() >= acknowledged.len(), "blocks {missing:b}");
        assert_eq!(found, all[..found.len()], "blocks {missing:b}");
        assert_eq!(missing == 0, found.len() == all.len());
    }
}

#[test]
fn what_was_cut_off_does_not_come_back_behind_a_new_entry_of_the_same_size() {
    let dir = test_dir();
    let (wal, _) = open(dir.path(), 16_384);
    wait(|done| wal.append(vec![entry(1, "kept")], done)).unwrap();
    wait(|done| wal.append((2..6).map(|index| entry(index, "torn")).collect(), done)).unwrap();
    drop(wal);
    let path = segment(dir.path(), 1);
    let second = frames(&path, 1)[2];
    let mut bytes = fs::read(&path).unwrap();
    bytes[second.0..second.1].fill(0);
    fs::write(&path, bytes).unwrap();
    let (wal, found) = open(dir.path(), 16_384);
    assert_eq!(found.entries, [entry(1, "kept")]);
    wait(|done| wal.append(vec![entry(2, "next")], done)).unwrap();
    drop(wal);
    assert_eq!(open(dir.path(), 16_384).1.entries, [entry(1, "kept"), entry(2, "next")]);
}

fn assert_corrupt(dir: &Path, file: &Path, offset: usize, context: &str) {
    let before: Vec<_> = names_and_bytes(dir);
    let error = Wal::open(dir, options(SMALL)).expect_err(context);
    assert!(error.to_string().contains("remove this node's data directory"), "{context}: {error}");
    let WalError::Corrupt { file: named, offset: at, .. } = error else { panic!("{context}: {error}") };
    assert_eq!((named.as_path(), at), (file, offset as u64), "{context}");
    assert_eq!(names_and_bytes(dir), before, "{context}: a refused log is left alone");
}

fn names_and_bytes(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let paths = fs::read_dir(dir).unwrap().map(|item| item.unwrap().path());
    let mut all: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|suffix| suffix == "wal"))
        .map(|path| (path.clone(), fs::read(&path).unwrap()))
        .collect();
    all.sort();
    all
}

/// A log of several segments, a few frames each.
fn long_log(dir: &Path) -> Vec<Entry> {
    let (wal, _) = open(dir, SMALL);
    let entries: Vec<Entry> = (1..21).map(|index| entry(index, vec![index as u8; 90])).collect();
    for one in &entries {
        wait(|done| wal.append(vec![one.clone()], done)).unwrap();
    }
    entries
}

#[test]
fn a_flipped_bit_in_the_middle_is_refused() {
    let dir = test_dir();
    long_log(dir.path());
    let mut seqs: Vec<u64> = (1..)
        .take_while(|seq| {
            let path = segment(dir.path(), *seq);
            path.exists() && !frames(&path, *seq).is_empty()
        })
        .collect();
    let active = seqs.pop().unwrap();
    assert!(seqs.len() >= 3);
    let mut tried = 0;
    for seq in seqs.into_iter().chain([active]) {
        let mut all = frames(&segment(dir.path(), seq), seq);
        if seq == active {
            // Damage in the last write of all is what a torn write looks like.
            all.pop();
        }
        for (begin, end, kind) in all {
            for at in [begin, begin + 5, begin + 8, begin + 20, end - 1] {
                let copy = copy_dir(dir.path());
                let path = segment(copy.path(), seq);
                let mut bytes = fs::read(&path).unwrap();
                bytes[at] ^= 0x10;
                fs::write(&path, bytes).unwrap();
                assert_corrupt(copy.path(), &path, begin, &format!("segment {seq}, {kind:?}, byte {at}"));
                tried += 1;
            }
        }
    }
    assert!(tried > 50);
}

#[test]
fn a_missing_segment_is_refused() {
    let dir = test_dir();
    long_log(dir.path());
    let last = (1..).take_while(|seq| segment(dir.path(), *seq).exists()).last().unwrap();
    let has_frames = |seq: &u64| !frames(&segment(dir.path(), *seq), *seq).is_empty();
    let active = (1..=last).rfind(has_frames).unwrap();
    for seq in 1..=active {
        let copy = copy_dir(dir.path());
        fs::remove_file(segment(copy.path(), seq)).unwrap();
        let refused = Wal::open(copy.path(), options(SMALL)).unwrap_err();
        assert!(matches!(refused, WalError::Corrupt { .. }), "{seq}: {refused}");
    }
    for kept in [active, active + 1] {
        let copy = copy_dir(dir.path());
        for seq in 1..=last {
            if seq != kept {
                let _ = fs::remove_file(segment(copy.path(), seq));
            }
        }
        if segment(copy.path(), kept).exists() {
            assert!(Wal::open(copy.path(), options(SMALL)).is_err(), "{kept}");
        }
    }
}

#[test]
fn a_crash_between_the_seal_and_the_next_segment_loses_nothing() {
    let dir = test_dir();
    let entries = long_log(dir.path());
    let active = (1..)
        .take_while(|seq| {
            let path = segment(dir.path(), *seq);
            path.exists() && !frames(&path, *seq).is_empty()
        })
        .last()
        .unwrap();
    let path = segment(dir.path(), active);
    let held: Vec<_> = frames(&path, active);
    let inside = held.iter().filter(|frame| frame.2 == Kind::Entry).count();
    // Base frame written in part, or nothing at all.
    for cut in [held[0].0, held[0].0 + 9] {
        let copy = copy_dir(dir.path());
        let path = segment(copy.path(), active);
        let mut bytes = fs::read(&path).unwrap();
        bytes[cut..].fill(0);
        fs::write(&path, bytes).unwrap();
        let _ = fs::remove_file(segment(copy.path(), active + 1));
        let found = recover_twice(copy.path(), SMALL);
        assert_eq!(found.entries, entries[..entries.len() - inside]);
    }
}

#[test]
fn the_last_sealed_segment_stays_until_its_successor_carries_the_vote() {
    let dir = test_dir();
    let (wal, _) = open(dir.path(), SMALL);
    wait(|done| wal.purge_to(purged(9), done)).unwrap();
    // Votes alone fill the first two segments: no entry keeps them from being unlinked at the next open.
    let mut votes = 0;
    while !segment(dir.path(), 3).exists() || frames(&segment(dir.path(), 3), 3).is_empty() {
        votes += 1;
        wait(|done| wal.save_vote(votes.to_string(), done)).unwrap();
    }
    let copy = copy_dir(dir.path());
    drop(wal);
    // The loss of power before the third segment's first sync.
    let third = segment(copy.path(), 3);
    let mut bytes = fs::read(&third).unwrap();
    bytes[SEGMENT_HEADER_BYTES..].fill(0);
    fs::write(&third, bytes).unwrap();
    let _ = fs::remove_file(segment(copy.path(), 4));
    for _ in 0..2 {
        let (_, found) = open(copy.path(), SMALL);
        assert_eq!((found.vote, found.purged), (Some((votes - 1).to_string().into()), Some(purged(9))));
    }
    assert!(!segment(copy.path(), 1).exists());
}

#[test]
fn segments_whose_removal_was_not_finished_are_removed_later() {
    let dir = test_dir();
    let (wal, _) = open(dir.path(), SMALL);
    let entries: Vec<Entry> = (1..21).map(|index| entry(index, vec![1; 90])).collect();
    wait(|done| wal.append(entries.clone(), done)).unwrap();
    let before = copy_dir(dir.path());
    wait(|done| wal.purge_to(purged(19), done)).unwrap();
    drop(wal);
    for (path, bytes) in names_and_bytes(before.path()) {
        let back = dir.path().join(path.file_name().unwrap());
        if !back.exists() {
            fs::write(back, bytes).unwrap();
        }
    }
    assert!(segment(dir.path(), 1).exists());
    let (wal, found) = open(dir.path(), SMALL);
    assert_eq!(found.entries, entries[19..]);
    drop(wal);
    assert!(!segment(dir.path(), 1).exists());
    assert_eq!(open(dir.path(), SMALL).1.entries, entries[19..]);
}
