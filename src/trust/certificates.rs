//! The certificates that the cluster gave out: `/trust/certificates/SERIAL` → [`Given`] as JSON, until they end. Those that it takes no
//! more are marked; every member has the list of them and looks at it in each handshake.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::record;
use crate::base::{MemberId, UnixMillis};
use crate::kv::{KeyValue, RangeRequest, TxnOp, TxnRequest};

const PREFIX: &str = "/trust/certificates/";

/// A certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Given {
    /// In hex, without zeros before it.
    pub serial: String,
    /// The user whom it names, or the member.
    pub name: String,
    /// The member whose it is; `None`: it is a client's.
    pub member: Option<MemberId>,
    /// SHA-256 of the authority that gave it out, in hex; empty where that is not known.
    pub authority: String,
    pub made: UnixMillis,
    pub until: UnixMillis,
    /// Since when it is taken no more.
    pub revoked: Option<UnixMillis>,
}

impl Given {
    /// How it stands, in a word.
    pub fn state(&self, now: UnixMillis) -> &'static str {
        match self {
            _ if self.revoked.is_some() => "revoked",
            _ if now >= self.until => "expired",
            _ => "good",
        }
    }

    /// The same, taken no more.
    #[must_use]
    pub fn revoked_at(&self, now: UnixMillis) -> Self {
        Self { revoked: self.revoked.or(Some(now)), ..self.clone() }
    }

    /// Writes it over what was read at `mod_revision` (0: there was none), and takes those away that have ended.
    pub fn write(&self, mod_revision: i64, ended: &[Given]) -> TxnRequest {
        record::put_over(key(&self.serial), self, mod_revision, removals(ended))
    }
}

fn key(serial: &str) -> Bytes {
    format!("{PREFIX}{serial}").into()
}

fn removals(ended: &[Given]) -> Vec<TxnOp> {
    ended.iter().map(|given| record::remove(key(&given.serial))).collect()
}

/// Asks for all of them.
pub fn all() -> RangeRequest {
    record::below(PREFIX)
}

/// Those among what a range has found, each with the revision of its last change.
pub fn read(found: &[KeyValue]) -> Vec<(Given, i64)> {
    record::read(PREFIX, found)
}

/// Writes several, whatever was there.
pub fn rewrite(all: &[Given]) -> TxnRequest {
    let success = all.iter().map(|given| record::put(key(&given.serial), given)).collect();
    TxnRequest { success, ..TxnRequest::default() }
}

/// Those that have ended: nobody takes them, marked or not.
pub fn ended(all: &[(Given, i64)], now: UnixMillis) -> Vec<Given> {
    all.iter().map(|(given, _)| given).filter(|given| now >= given.until).cloned().collect()
}

/// The serial numbers of those that are taken no more.
pub fn revoked(all: &[(Given, i64)]) -> BTreeSet<String> {
    all.iter().filter(|(given, _)| given.revoked.is_some()).map(|(given, _)| given.serial.clone()).collect()
}

/// Those of members that are none any more, which nobody has revoked yet.
pub fn of_removed(all: &[(Given, i64)], members: &[MemberId]) -> Vec<Given> {
    let orphaned = |given: &&Given| given.revoked.is_none() && given.member.is_some_and(|id| !members.contains(&id));
    all.iter().map(|(given, _)| given).filter(orphaned).cloned().collect()
}

/// What somebody names by a serial number or by whom certificates name: those that are not revoked yet.
///
/// # Errors
/// The member whose certificate in use it is.
pub fn named(all: &[(Given, i64)], word: &str, members: &[MemberId]) -> Result<Vec<Given>, String> {
    let plain = word.replace(':', "").to_lowercase();
    let serial = plain.trim_start_matches('0');
    let of = |given: &&Given| given.serial == serial || given.name == word;
    let found: Vec<Given> = all.iter().map(|(given, _)| given).filter(of).cloned().collect();
    let newest = |given: &Given| {
        let later = |other: &(Given, i64)| other.0.member == given.member && other.0.made > given.made;
        !all.iter().any(later)
    };
    let in_use = |given: &&Given| given.member.is_some_and(|id| members.contains(&id)) && newest(given);
    match found.iter().find(in_use) {
        Some(given) => Err(given.name.clone()),
        None => Ok(found.into_iter().filter(|given| given.revoked.is_none()).collect()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn given(serial: &str, name: &str, member: Option<u64>, made: i64) -> (Given, i64) {
        let (made, until) = (UnixMillis(made), UnixMillis(made + 1_000));
        let (serial, name, member) = (serial.to_owned(), name.to_owned(), member.map(MemberId));
        (Given { serial, name, member, authority: String::new(), made, until, revoked: None }, 1)
    }

    #[test]
    fn certificates_are_found_by_name_and_by_serial_number() {
        let all = [
            given("a1", "ann", None, 0),
            given("b2", "ann", None, 10),
            given("c3", "core-1", Some(1), 0),
            given("d4", "core-1", Some(1), 20),
            given("e5", "core-9", Some(9), 0),
        ];
        let members = [MemberId(1), MemberId(2)];
        let found = |word: &str| {
            let found = named(&all, word, &members);
            found.map(|found| found.into_iter().map(|given| given.serial).collect::<Vec<_>>())
        };
        let cases: [(&str, Result<&[&str], &str>); 7] = [
            ("ann", Ok(&["a1", "b2"])),
            ("00:A1", Ok(&["a1"])),
            ("core-1", Err("core-1")),
            ("d4", Err("core-1")),
            // Another one has taken its place.
            ("c3", Ok(&["c3"])),
            ("core-9", Ok(&["e5"])),
            ("bob", Ok(&[])),
        ];
        for (word, expected) in cases {
            let expected = expected.map(|all| all.iter().map(|one| (*one).to_owned()).collect());
            assert_eq!(found(word), expected.map_err(str::to_owned), "{word}");
        }
        assert_eq!(of_removed(&all, &members).iter().map(|given| &*given.serial).collect::<Vec<_>>(), ["e5"]);
        assert_eq!(ended(&all, UnixMillis(1_005)).len(), 3);
        let revoked_one = all[0].0.revoked_at(UnixMillis(7));
        assert_eq!((revoked_one.state(UnixMillis(8)), all[0].0.state(UnixMillis(8))), ("revoked", "good"));
        assert_eq!(revoked(&[(revoked_one, 1), all[1].clone()]), BTreeSet::from(["a1".to_owned()]));
    }
}
