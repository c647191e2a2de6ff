//! What a state's tables hold, told entry by entry in terms that other stores have: for copies that leave this one.

use super::layout::{self, At, LeaseRecord, META_MARKS};
use super::lease::is_system_lease;
use super::load::{PastChange, PastIndex};
use super::state::Marks;
use super::tables::{Table, TablesError};
use super::types::Space;

/// One entry, as far as users know of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    Change(PastChange),
    Lease(LeaseRecord),
    /// The newest revision, and below which none can be read (0: all can).
    Revisions {
        newest: i64,
        compacted: i64,
    },
}

/// What an entry of a table tells; `None`: nothing that users know of. The order is that of the tables: changes first, in the order
/// of their revisions, then leases, then the revisions.
///
/// # Errors
/// A record that is damaged.
pub fn told(table: Table, key: &[u8], value: &[u8]) -> Result<Option<Told>, TablesError> {
    let user = layout::change_key(Space::User, At::default());
    Ok(match table {
        Table::Revisions if key.first() == user.first() => {
            let (at, change) = (layout::change_at(key)?, layout::decode_change(value)?);
            Some(Told::Change(PastChange {
                revision: at.main,
                sub: at.sub,
                key: change.key.to_vec().into(),
                value: change.value.to_vec().into(),
                create_revision: change.create,
                version: change.version,
                lease: change.lease,
                v2: PastIndex::Own { created: change.v2_created, modified: change.v2_modified },
            }))
        }
        Table::Leases => {
            let record: LeaseRecord = layout::decode(value, "a record of table leases")?;
            (!is_system_lease(record.lease.id)).then_some(Told::Lease(record))
        }
        Table::Meta if key == META_MARKS => {
            let marks: Marks = layout::decode(value, "the record of counters")?;
            Some(Told::Revisions { newest: marks.revision(Space::User), compacted: marks.compacted(Space::User) })
        }
        _ => None,
    })
}
