//! Leases: grants, ends, and which keys hang on them.

use std::ops::{Bound, ControlFlow};

use bytes::Bytes;

use super::error::KvError;
use super::layout::{self, LeaseRecord};
use super::state::State;
use super::stop::Stop;
use super::tables::{Table, Tables, TablesError, TablesMut, try_scan};
use super::types::{Lease, Space, V2Action};
use super::writer::{Origin, Writer};
use crate::base::LeaseId;
use crate::base::limits::LEASE_TTL_SECONDS_MAX;

/// The upper 16 bits of ids of leases that v2 writes make: "v2". The rest is the v2 index of the write.
const V2_LEASE_PREFIX: i64 = 0x7632 << 48;

/// Whether the id is one of those kept for the leases of v2 writes. Whoever chooses ids for v3 leases must choose others.
pub fn is_v2_lease(id: LeaseId) -> bool {
    id.0 >> 48 == V2_LEASE_PREFIX >> 48
}

/// The upper 16 bits of ids of leases that the cluster's own state hangs on: "sy".
const SYSTEM_LEASE_PREFIX: i64 = 0x7379 << 48;

/// Whether the id is one of those kept for the cluster's own leases, which clients of the etcd APIs neither see nor reach.
pub fn is_system_lease(id: LeaseId) -> bool {
    id.0 >> 48 == SYSTEM_LEASE_PREFIX >> 48
}

/// An id for a lease of the cluster's own, out of a random number.
pub fn system_lease(random: u64) -> LeaseId {
    LeaseId(SYSTEM_LEASE_PREFIX | (random & 0xffff_ffff_ffff) as i64)
}

/// An id for a lease that users' keys can hang on, out of a random number.
pub fn user_lease(random: u64) -> LeaseId {
    let id = LeaseId(((random & i64::MAX as u64) as i64).max(1));
    if is_v2_lease(id) || is_system_lease(id) { LeaseId(id.0 ^ (1 << 62)) } else { id }
}

/// The id of the lease that the v2 write with this index makes.
pub(super) fn v2_lease(index: u64) -> LeaseId {
    LeaseId(V2_LEASE_PREFIX | (index & 0xffff_ffff_ffff) as i64)
}

/// A lease of the v3 API.
pub(super) fn grant(writer: &mut Writer<'_>, id: LeaseId, ttl_ms: i64) -> Result<(), Stop> {
    if ttl_ms > LEASE_TTL_SECONDS_MAX * 1000 {
        return Err(KvError::LeaseTtlTooLarge.into());
    }
    if id.0 <= 0 || is_v2_lease(id) || writer.state.leases.contains_key(&id) {
        return Err(KvError::LeaseExists.into());
    }
    let lease = Lease { id, ttl_ms };
    add(writer.state, writer.tables, LeaseRecord { lease, ..LeaseRecord::default() })?;
    Ok(())
}

/// Stores a lease.
pub(super) fn add(state: &mut State, tables: &mut dyn TablesMut, record: LeaseRecord) -> Result<(), TablesError> {
    let id = record.lease.id;
    tables.put(Table::Leases, &id.0.to_be_bytes(), &layout::encode(&record)?)?;
    state.leases.insert(id, record);
    Ok(())
}

/// Ends a lease and deletes its keys, in their order, in one revision of each space.
pub(super) fn revoke(writer: &mut Writer<'_>, id: LeaseId) -> Result<(), Stop> {
    if !writer.state.leases.contains_key(&id) {
        return Err(KvError::LeaseNotFound.into());
    }
    end(writer, id, V2Action::Delete)?;
    Ok(())
}

/// Ends leases that ran out, each in a revision of its own. Unknown ones are passed over: they ended in another way first.
pub(super) fn expire(writer: &mut Writer<'_>, ids: &[LeaseId]) -> Result<(), TablesError> {
    for id in ids {
        if writer.state.leases.contains_key(id) {
            writer.next_revision();
            end(writer, *id, V2Action::Expire)?;
        }
    }
    Ok(())
}

/// Notes how long leases still have. Unknown ones, and those whose end a v2 write has fixed, are passed over.
pub(super) fn checkpoint(writer: &mut Writer<'_>, left: &[(LeaseId, Option<i64>)]) -> Result<(), TablesError> {
    for (id, left_ms) in left {
        if let Some(record) = writer.state.lease(*id).filter(|record| record.ends.is_none()) {
            let record = LeaseRecord { left_ms: *left_ms, ..record.clone() };
            add(writer.state, writer.tables, record)?;
        }
    }
    Ok(())
}

fn end(writer: &mut Writer<'_>, id: LeaseId, action: V2Action) -> Result<(), TablesError> {
    for (space, key) in keys(writer.tables, id)? {
        if is_v2_lease(id) && space == Space::User {
            super::v2::write::remove_leased(writer, &key, action)?;
        } else {
            writer.delete(space, &key, Origin::V3(action))?;
        }
    }
    forget(writer.state, writer.tables, id)
}

fn forget(state: &mut State, tables: &mut dyn TablesMut, id: LeaseId) -> Result<(), TablesError> {
    state.leases.remove(&id);
    tables.delete(Table::Leases, &id.0.to_be_bytes())
}

/// Hangs a key on a lease.
pub(super) fn attach(tables: &mut dyn TablesMut, id: LeaseId, space: Space, key: &[u8]) -> Result<(), TablesError> {
    if id == LeaseId::NONE {
        return Ok(());
    }
    tables.put(Table::LeaseKeys, &layout::lease_key(id, space, key), &[])
}

/// Takes a key off its lease. A lease that a v2 write made ends with its last key.
pub(super) fn detach(
    state: &mut State,
    tables: &mut dyn TablesMut,
    id: LeaseId,
    space: Space,
    key: &[u8],
) -> Result<(), TablesError> {
    if id == LeaseId::NONE {
        return Ok(());
    }
    tables.delete(Table::LeaseKeys, &layout::lease_key(id, space, key))?;
    if is_v2_lease(id) && keys_up_to(tables, id, 1)?.is_empty() {
        forget(state, tables, id)?;
    }
    Ok(())
}

/// The keys that hang on a lease, in the order of spaces and keys.
pub fn keys<T: Tables + ?Sized>(tables: &T, id: LeaseId) -> Result<Vec<(Space, Bytes)>, TablesError> {
    keys_up_to(tables, id, usize::MAX)
}

fn keys_up_to<T: Tables + ?Sized>(tables: &T, id: LeaseId, limit: usize) -> Result<Vec<(Space, Bytes)>, TablesError> {
    let from = id.0.to_be_bytes();
    let to = id.0.saturating_add(1).to_be_bytes();
    let mut found = Vec::new();
    try_scan(tables, Table::LeaseKeys, Bound::Included(&from), Bound::Excluded(&to), |stored, _| {
        let (space, key) = layout::lease_key_parts(stored)?;
        found.push((space, Bytes::copy_from_slice(key)));
        Ok(if found.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    Ok(found)
}
