//! Hashes by which members are compared: over all that was ever applied, and over what can be read of the keys.
//!
//! The hash of the keys does not depend on how far a member's compaction has come: of what lies at or below the mark it
//! takes what the mark keeps. It is made of keys, values and numbers, not of the bytes on disk.

use std::ops::ControlFlow;

use super::command::Position;
use super::error::KvError;
use super::layout::{self, At, Head};
use super::state::Marks;
use super::tables::{Table, Tables, TablesError, try_scan};
use super::types::Space;

/// What a hash is taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashOf {
    /// Every change of both spaces, and of users and roles, since the store began.
    Applied,
    /// The user space's keys with the history that can be read, up to and with `revision`; 0: the newest.
    Keys { revision: i64 },
}

/// A hash, and of what moment it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hash {
    pub hash: u32,
    /// The store's position when it was taken.
    pub position: Position,
    /// The revision up to which it was taken.
    pub revision: i64,
    /// The user space's compaction mark; 0: never compacted. Hashes of keys are equal only at equal marks.
    pub compacted: i64,
}

/// Takes a hash on one moment of the tables. Over keys it reads all of them: call it where blocking is allowed.
pub fn hash(tables: &dyn Tables, of: HashOf) -> Result<Result<Hash, KvError>, TablesError> {
    let marks = Marks::load(tables)?;
    let (newest, compacted) = (marks.revision(Space::User), marks.compacted(Space::User));
    let mut taken = Hash { hash: marks.checksum, position: marks.position(), revision: newest, compacted };
    let HashOf::Keys { revision } = of else {
        return Ok(Ok(taken));
    };
    if revision > newest {
        return Ok(Err(KvError::FutureRevision));
    }
    if revision > 0 && revision < compacted {
        return Ok(Err(KvError::Compacted { revision: compacted }));
    }
    if revision > 0 {
        taken.revision = revision;
    }
    taken.hash = hash_keys(tables, taken.revision, compacted)?;
    Ok(Ok(taken))
}

fn hash_keys(tables: &dyn Tables, revision: i64, compacted: i64) -> Result<u32, TablesError> {
    let mut hasher = crc32fast::Hasher::new();
    let Some((from, to)) = layout::key_bounds(Space::User, b"", b"\0") else {
        return Ok(hasher.finalize());
    };
    try_scan(tables, Table::Keys, layout::as_slice(&from), layout::as_slice(&to), |_, value| {
        let head = layout::decode(value, "a record of table keys")?;
        hash_key(tables, &mut hasher, head, revision, compacted)?;
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(hasher.finalize())
}

/// Adds a key's changes from `revision` back to what the mark keeps of it.
fn hash_key(
    tables: &dyn Tables,
    hasher: &mut crc32fast::Hasher,
    head: Head,
    revision: i64,
    compacted: i64,
) -> Result<(), TablesError> {
    let mut next = Some(head.at);
    while let Some(at) = next {
        // A deletion below the mark may be removed already.
        let Some(record) = layout::change_record(tables, Space::User, at)? else {
            return Ok(());
        };
        let change = layout::decode_change(&record)?;
        let kept = change.version > 0 || at.main >= compacted;
        if at.main <= revision && kept {
            add(hasher, at, &change);
        }
        next = change.prev.filter(|_| at.main > compacted);
    }
    Ok(())
}

fn add(hasher: &mut crc32fast::Hasher, at: At, change: &layout::Change<&[u8]>) {
    for bytes in [change.key, change.value] {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    }
    for number in [at.main, i64::from(at.sub), change.create, change.version, change.lease.0] {
        hasher.update(&number.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::base::UnixMillis;
    use crate::kv::mem::MemTables;
    use crate::kv::{Command, DeleteRangeRequest, LogPosition, Op, State, apply, compact_step};

    struct Member {
        state: State,
        tables: MemTables,
    }

    impl Member {
        fn new() -> Self {
            let tables = MemTables::default();
            Self { state: State::load(&tables).unwrap(), tables }
        }

        fn apply(&mut self, op: Op) {
            let at = LogPosition { index: self.state.applied().index + 1, term: 1 };
            let command = Command { stamp: UnixMillis(0), op };
            let (applied, _) = apply(&mut self.state, &mut self.tables, &command, at).unwrap();
            applied.result.unwrap();
        }

        fn keys(&self, revision: i64) -> Result<u32, KvError> {
            hash(&self.tables, HashOf::Keys { revision }).unwrap().map(|hash| hash.hash)
        }
    }

    fn delete(key: &'static str) -> Op {
        Op::DeleteRange(DeleteRangeRequest { key: key.into(), ..DeleteRangeRequest::default() })
    }

    #[test]
    fn a_past_revision_hashes_as_it_did_when_it_was_the_newest() {
        let mut member = Member::new();
        let mut seen = vec![member.keys(0).unwrap()];
        for op in [Op::put("a", "1"), Op::put("b", "1"), Op::put("a", "2"), delete("a"), Op::put("a", "3")] {
            member.apply(op);
            seen.push(member.keys(0).unwrap());
        }
        for (n, expected) in seen.iter().enumerate() {
            assert_eq!(member.keys(n as i64 + 1), Ok(*expected), "revision {}", n + 1);
            assert!(seen[..n].iter().all(|earlier| earlier != expected), "revision {}", n + 1);
        }
        assert_eq!(member.keys(7), Err(KvError::FutureRevision));
    }

    #[test]
    fn how_far_compaction_has_come_does_not_show() {
        let ops = || {
            [Op::put("a", "1"), Op::put("b", "1"), delete("a"), Op::put("c", "1"), delete("c"), Op::put("c", "2")]
                .into_iter()
                .chain([Op::put("b", "2"), delete("c"), Op::put("a", "2")])
        };
        for mark in 1..=10 {
            let mut member = Member::new();
            ops().for_each(|op| member.apply(op));
            member.apply(Op::Compact { space: Space::User, revision: mark });
            let before: Vec<_> = (0..=10).map(|revision| member.keys(revision)).collect();
            while compact_step(&mut member.tables, Space::User, 1).unwrap().more {
                let now: Vec<_> = (0..=10).map(|revision| member.keys(revision)).collect();
                assert_eq!(now, before, "mark {mark}");
            }
            let after: Vec<_> = (0..=10).map(|revision| member.keys(revision)).collect();
            assert_eq!(after, before, "mark {mark}");
            assert_eq!(after[1].is_err(), mark > 1);
        }
    }

    #[test]
    fn all_that_was_applied_has_a_hash_of_its_own() {
        let (mut one, mut other) = (Member::new(), Member::new());
        let applied = |member: &Member| hash(&member.tables, HashOf::Applied).unwrap().unwrap();
        one.apply(Op::put("a", "1"));
        other.apply(Op::put("a", "1"));
        assert_eq!(applied(&one), applied(&other));
        one.apply(Op::put("a", "2"));
        other.apply(Op::put("a", "3"));
        assert_ne!(applied(&one).hash, applied(&other).hash);
        assert_eq!(applied(&one).hash, one.state.checksum());
    }
}
