//! What is written is read back, and nonsense is answered.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io::Cursor;
use std::ops::ControlFlow;

use proptest::prelude::*;

use super::page::PAGE_BYTES;
use super::reader::Content;
use super::{Bolt, BoltError, BoltWriter, Bucket};

type Keys = BTreeMap<Vec<u8>, Vec<u8>>;

fn file(buckets: &BTreeMap<Vec<u8>, Keys>) -> Vec<u8> {
    let mut writer = BoltWriter::new(Cursor::new(Vec::new())).unwrap();
    for (name, keys) in buckets {
        writer.bucket(name).unwrap();
        keys.iter().for_each(|(key, value)| writer.put(key, value).unwrap());
    }
    let (out, bytes) = writer.finish().unwrap();
    assert_eq!(out.get_ref().len() as u64, bytes);
    out.into_inner()
}

fn read(file: Vec<u8>) -> Result<BTreeMap<Vec<u8>, Keys>, BoltError> {
    let bytes = file.len() as u64;
    let bolt = Bolt::open(file, bytes)?;
    let mut names: Vec<(Vec<u8>, Bucket)> = Vec::new();
    bolt.visit(&bolt.root(), &mut |name, content| {
        if let Content::Bucket(bucket) = content {
            names.push((name.to_vec(), bucket));
        }
        Ok::<_, BoltError>(ControlFlow::Continue(()))
    })?;
    let mut found = BTreeMap::new();
    for (name, bucket) in names {
        assert_eq!(bolt.bucket(&name)?, Some(bucket.clone()));
        let mut keys = Keys::new();
        bolt.visit(&bucket, &mut |key, content| {
            if let Content::Value(value) = content {
                keys.insert(key.to_vec(), value.to_vec());
            }
            Ok::<_, BoltError>(ControlFlow::Continue(()))
        })?;
        found.insert(name, keys);
    }
    Ok(found)
}

fn numbered(count: u32, value_bytes: usize) -> Keys {
    (0..count).map(|n| (n.to_be_bytes().to_vec(), vec![n as u8; value_bytes])).collect()
}

fn example() -> BTreeMap<Vec<u8>, Keys> {
    BTreeMap::from([
        (b"deep".to_vec(), numbered(30_000, 9)),
        (b"empty".to_vec(), Keys::new()),
        (b"large".to_vec(), numbered(3, 3 * PAGE_BYTES as usize)),
        (b"one".to_vec(), numbered(1, 0)),
    ])
}

#[test]
fn buckets_of_all_sizes_are_read_back() {
    assert_eq!(read(file(&example())).unwrap(), example());
    assert_eq!(read(file(&BTreeMap::new())).unwrap(), BTreeMap::new());
    for count in [1, 100, 101, 102, 25_000] {
        let buckets = BTreeMap::from([(b"k".to_vec(), numbered(count, 20))]);
        assert_eq!(read(file(&buckets)).unwrap(), buckets, "{count}");
    }
}

#[test]
fn a_damaged_first_page_is_made_up_for_by_the_second() {
    let mut damaged = file(&example());
    damaged[40] ^= 1;
    assert_eq!(read(damaged.clone()).unwrap(), example());
    damaged[PAGE_BYTES as usize + 40] ^= 1;
    assert!(matches!(read(damaged), Err(BoltError::Foreign)));
}

#[test]
fn what_is_cut_foreign_or_out_of_order_is_refused() {
    let whole = file(&example());
    let cut = read(whole[..whole.len() - 1].to_vec()).unwrap_err();
    assert!(cut.to_string().contains("the file is cut"), "{cut}");
    for foreign in [Vec::new(), vec![0; 100], vec![7; 70_000]] {
        assert!(matches!(read(foreign), Err(BoltError::Foreign)));
    }
    let mut writer = BoltWriter::new(Cursor::new(Vec::new())).unwrap();
    assert!(writer.put(b"k", b"").is_err());
    writer.bucket(b"b").unwrap();
    writer.put(b"k", b"").unwrap();
    assert!(writer.bucket(b"a").is_err());
    writer.bucket(b"c").unwrap();
    writer.put(b"k", b"").unwrap();
    assert!(writer.put(b"k", b"").is_err());
}

#[test]
fn a_page_that_leads_back_to_itself_is_refused() {
    let mut circle = file(&example());
    let size = PAGE_BYTES as usize;
    let branches = (2..circle.len() / size).filter(|page| circle[page * size + 8] == 1).collect::<Vec<_>>();
    for page in branches {
        // The first child's number, in the first element.
        circle[page * size + 24..page * size + 32].copy_from_slice(&(page as u64).to_le_bytes());
    }
    let error = read(circle).unwrap_err().to_string();
    assert!(error.contains("in a circle"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_buckets_are_read_back(
        buckets in proptest::collection::btree_map(
            proptest::collection::vec(any::<u8>(), 1..8),
            proptest::collection::btree_map(
                proptest::collection::vec(any::<u8>(), 1..200),
                proptest::collection::vec(any::<u8>(), 0..3_000),
                0..60,
            ),
            0..5,
        )
    ) {
        prop_assert_eq!(read(file(&buckets)).unwrap(), buckets);
    }

    /// Whatever is wrong with a file, it is answered: with an error, or with what happens to be there.
    #[test]
    fn nonsense_is_answered(changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40), heads: bool) {
        let mut nonsense = small();
        let size = PAGE_BYTES as usize;
        let pages = nonsense.len() / size;
        for (at, byte) in changes {
            // Heads and elements are where a change does most.
            let at = if heads { at.index(pages) * size + at.index(97) } else { at.index(nonsense.len()) };
            nonsense[at] = byte;
        }
        let _ = read(nonsense);
    }
}

fn small() -> Vec<u8> {
    file(&BTreeMap::from([
        (b"a".to_vec(), numbered(600, 30)),
        (b"empty".to_vec(), Keys::new()),
        (b"large".to_vec(), numbered(2, 9_000)),
    ]))
}
