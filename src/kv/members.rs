//! The roster of members: what can be asked of it, why that is refused, and who left it for good.
//!
//! Who votes is Raft's to say; here lie the names and addresses that members told of themselves, and the ids that were
//! removed, which never come back.

use std::ops::{Bound, ControlFlow};

use serde::{Deserialize, Serialize};

use super::layout;
use super::tables::{Table, Tables, TablesError, TablesMut, try_scan};
use super::types::Member;
use crate::base::MemberId;

/// Before the id of a removed member, in the table of marks; the value is its name.
const REMOVED: &[u8] = b"removed-member/";

/// A change of the members. One is carried out at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MemberChange {
    /// A member that has not started yet. It follows until it has caught up; then it votes, unless it is to be a learner.
    Add {
        peer_urls: Vec<String>,
        learner: bool,
    },
    /// A member that has not started yet. It follows; it votes when it has caught up and there is room among the voters.
    Join {
        peer_urls: Vec<String>,
    },
    Remove {
        id: MemberId,
    },
    /// The member moves to these addresses.
    Update {
        id: MemberId,
        peer_urls: Vec<String>,
    },
    /// The learner is to vote.
    Promote {
        id: MemberId,
    },
}

/// What came of a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberChanged {
    /// The member that was added, removed, moved or promoted.
    pub id: MemberId,
    /// All members after it.
    pub members: Vec<Member>,
}

/// Why a change of the members is refused. Source of the texts: etcd's `rpctypes` (their `etcdserver: ` prefix is added
/// at the door).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum MemberRefusal {
    #[error("member not found")]
    NotFound,
    #[error("member ID already exist")]
    IdTaken,
    #[error("Peer URLs already exists")]
    UrlTaken,
    #[error("given member URLs are invalid")]
    BadUrls,
    #[error("re-configuration failed due to not enough started members")]
    NotEnoughStarted,
    #[error("unhealthy cluster")]
    Unhealthy,
    #[error("can only promote a learner member")]
    NotALearner,
    #[error("can only promote a learner member which is in sync with leader")]
    NotInSync,
    #[error("too many learner members in cluster")]
    TooManyLearners,
}

/// All members that made themselves known, by id.
pub fn members(tables: &dyn Tables) -> Result<Vec<Member>, TablesError> {
    let mut found = Vec::new();
    try_scan(tables, Table::Members, Bound::Unbounded, Bound::Unbounded, |_, value| {
        found.push(layout::decode(value, "a record of table members")?);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(found)
}

/// Takes what a member says of itself, unless it was removed.
pub(super) fn update_member(tables: &mut dyn TablesMut, member: &Member) -> Result<(), TablesError> {
    match tables.get(Table::Meta, &removed_key(member.id))? {
        Some(_) => Ok(()),
        None => tables.put(Table::Members, &member.id.0.to_be_bytes(), &layout::encode(member)?),
    }
}

/// Strikes a member off the roster, for good.
pub fn remove_member(tables: &mut dyn TablesMut, id: MemberId) -> Result<(), TablesError> {
    let key = id.0.to_be_bytes();
    let name = match tables.get(Table::Members, &key)? {
        Some(value) => layout::decode::<Member>(&value, "a record of table members")?.name,
        None => String::new(),
    };
    tables.delete(Table::Members, &key)?;
    tables.put(Table::Meta, &removed_key(id), name.as_bytes())
}

/// The members that were removed, with their names as far as they had told one.
pub fn removed_members(tables: &dyn Tables) -> Result<Vec<(MemberId, String)>, TablesError> {
    let mut found = Vec::new();
    let end = [&REMOVED[..REMOVED.len() - 1], b"0"].concat();
    try_scan(tables, Table::Meta, Bound::Included(REMOVED), Bound::Excluded(&end), |key, value| {
        let id = key.get(REMOVED.len()..).and_then(|id| id.try_into().ok());
        let id =
            id.ok_or_else(|| TablesError("a mark of a removed member is damaged: restore this member".to_owned()))?;
        found.push((MemberId(u64::from_be_bytes(id)), String::from_utf8_lossy(value).into_owned()));
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(found)
}

fn removed_key(id: MemberId) -> Vec<u8> {
    [REMOVED, &id.0.to_be_bytes()].concat()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::kv::mem::MemTables;

    #[test]
    fn who_was_removed_stays_removed() {
        let mut tables = MemTables::default();
        let member = |id, name: &str| Member { id: MemberId(id), name: name.to_owned(), ..Member::default() };
        for (id, name) in [(1, "a"), (0x2f30_0000_0000_0000, "b"), (u64::MAX, "c")] {
            update_member(&mut tables, &member(id, name)).unwrap();
        }
        assert!(removed_members(&tables).unwrap().is_empty());
        remove_member(&mut tables, MemberId(u64::MAX)).unwrap();
        remove_member(&mut tables, MemberId(9)).unwrap();
        update_member(&mut tables, &member(9, "late")).unwrap();
        let ids: Vec<u64> = members(&tables).unwrap().iter().map(|member| member.id.0).collect();
        assert_eq!(ids, [1, 0x2f30_0000_0000_0000]);
        let removed = [(MemberId(9), String::new()), (MemberId(u64::MAX), "c".to_owned())];
        assert_eq!(removed_members(&tables).unwrap(), removed);
    }
}
