//! The log against a model: random operations, some in flight at once, with restarts and kills between them.
#![allow(clippy::unwrap_used)]

use std::sync::mpsc::Receiver;

use proptest::prelude::*;

use super::wal_tests::{SMALL, copy_dir, entry, open, promise, purged, result, test_dir, wait};
use super::*;

#[derive(Debug, Clone)]
enum Act {
    Append {
        count: usize,
        bytes: usize,
    },
    Vote,
    Committed,
    /// Cuts off that many entries from the end.
    Cut(u64),
    /// Purges up to that many behind the last purged one.
    Purge(u64),
    Reopen,
    Kill,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        8 => (0usize..8, 0usize..300).prop_map(|(count, bytes)| Act::Append { count, bytes }),
        2 => Just(Act::Vote),
        2 => Just(Act::Committed),
        2 => (0u64..6).prop_map(Act::Cut),
        2 => (0u64..12).prop_map(Act::Purge),
        1 => Just(Act::Reopen),
        1 => Just(Act::Kill),
    ]
}

/// The log as a plain value.
struct Model {
    log: Recovered,
    next: u64,
    serial: u64,
}

impl Model {
    /// Does `act` to the model and asks the log for the same. The answer arrives later.
    fn apply(&mut self, act: &Act, wal: &Wal) -> Option<Receiver<Result<(), WalError>>> {
        self.serial += 1;
        let name = self.serial.to_string();
        let (done, told) = promise();
        match act {
            Act::Append { count, bytes } => {
                let payload = |i: usize| vec![(self.serial + i as u64) as u8; *bytes];
                let new: Vec<Entry> = (0..*count).map(|i| entry(self.next + i as u64, payload(i))).collect();
                self.next += new.len() as u64;
                self.log.entries.extend(new.iter().cloned());
                wal.append(new, done);
            }
            Act::Vote => {
                self.log.vote = Some(name.clone().into());
                wal.save_vote(name, done);
            }
            Act::Committed => {
                self.log.committed = Some(name.clone().into());
                wal.save_committed(name);
                return None;
            }
            Act::Cut(count) => {
                let kept = self.log.entries.len().saturating_sub(*count as usize).max(1);
                self.log.entries.truncate(kept);
                let last = self.log.entries.last()?.index;
                self.next = last + 1;
                wal.truncate_after(Some(last), done);
            }
            Act::Purge(count) => {
                let upto = self.log.purged.as_ref().map_or(0, |purged| purged.index) + count;
                let news = self.log.purged.as_ref().is_none_or(|purged| upto > purged.index);
                if news {
                    self.log.purged = Some(purged(upto));
                    self.log.entries.retain(|entry| entry.index > upto);
                    self.next = self.next.max(upto + 1);
                }
                wal.purge_to(purged(upto), done);
            }
            Act::Reopen | Act::Kill => return None,
        }
        Some(told)
    }
}

fn check_against_model(acts: &[Act], in_flight: usize) {
    let mut dir = test_dir();
    let (mut wal, log) = open(dir.path(), SMALL);
    let mut model = Model { log, next: 1, serial: 0 };
    let mut waiting = Vec::new();
    for act in acts {
        waiting.extend(model.apply(act, &wal));
        let reopens = matches!(act, Act::Reopen | Act::Kill);
        if reopens || waiting.len() > in_flight {
            for told in waiting.drain(..) {
                result(&told).unwrap();
            }
            assert_eq!(wal.read(.., usize::MAX).unwrap(), model.log.entries);
        }
        if reopens {
            // Its answer comes after all marks are written.
            wait(|done| wal.append(Vec::new(), done)).unwrap();
            if matches!(act, Act::Kill) {
                let copy = copy_dir(dir.path());
                drop(wal);
                dir = copy;
            } else {
                drop(wal);
            }
            let (again, found) = open(dir.path(), SMALL);
            wal = again;
            model.log.fresh = found.fresh;
            assert_eq!(found, model.log);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn the_log_is_what_was_asked_for(mut acts in prop::collection::vec(act(), 1..60), in_flight in 0usize..12) {
        acts.push(Act::Reopen);
        check_against_model(&acts, in_flight);
    }
}
