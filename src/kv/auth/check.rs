//! What a user needs for an operation, checked where it is applied.
//!
//! A v2 request needs what the keys need that it shows or changes, so that no dialect gives what the other one refuses: the
//! key of its path, or all keys below it where it speaks of a directory with what is in it. etcd compares paths with patterns
//! instead; the two differ where a role has `/a` without `/a/*` or the other way round. A condition on what is there is a
//! read, and what was there is shown to readers only.
//!
//! Source: etcd's `authApplierV3` and `checkTxnAuth`. Stricter than 3.4, as later etcd is: old values and leases count within
//! transactions too, and compaction is the administrator's.

use bytes::Bytes;

use super::AuthError;
use super::model::{Access, Auth};
use crate::base::LeaseId;
use crate::kv::command::Op;
use crate::kv::error::KvError;
use crate::kv::stop::Stop;
use crate::kv::tables::Tables;
use crate::kv::types::{Compare, DeleteRangeRequest, PutRequest, RangeRequest, Space, TxnOp, TxnRequest, prefix_end};
use crate::kv::v2::directories;
use crate::kv::v2::{Write, WriteRequest};
use crate::kv::writer::Writer;
use crate::kv::{is_system_lease, lease};

impl From<AuthError> for Stop {
    fn from(refusal: AuthError) -> Self {
        Self::Refused(KvError::Auth(refusal))
    }
}

/// Whether only clients ask for this, so that it must not come without a user while users are asked for.
pub(in crate::kv) fn needs_user(op: &Op) -> bool {
    match op {
        Op::Put(put) => put.space == Space::User,
        Op::DeleteRange(delete) => delete.space == Space::User,
        Op::Txn(txn) => touches_users(txn),
        Op::LeaseGrant { id, .. } | Op::LeaseRevoke { id } => !is_system_lease(*id),
        Op::V2(_) | Op::Auth(_) => true,
        Op::LeaseExpire { .. }
        | Op::LeaseCheckpoint { .. }
        | Op::Compact { .. }
        | Op::MemberUpdate(_)
        | Op::Alarm(_)
        | Op::As { .. } => false,
    }
}

fn touches_users(txn: &TxnRequest) -> bool {
    let user = |space: Space| space == Space::User;
    txn.compare.iter().any(|compare| user(compare.space))
        || txn.success.iter().chain(&txn.failure).any(|op| match op {
            TxnOp::Range(range) => user(range.space),
            TxnOp::Put(put) => user(put.space),
            TxnOp::DeleteRange(delete) => user(delete.space),
            TxnOp::Txn(nested) => touches_users(nested),
        })
}

/// Whether `user`, who asked when users and roles stood at `revision`, may do this now.
pub(in crate::kv) fn permit(writer: &Writer<'_>, user: &str, revision: u64, op: &Op) -> Result<(), Stop> {
    let auth = &writer.state.auth;
    if !auth.enabled() {
        return Ok(());
    }
    if revision < auth.revision() {
        return Err(AuthError::OldRevision.into());
    }
    let asked = Asked { auth, tables: writer.tables, user };
    if !matches!(op, Op::Compact { .. } | Op::Auth(_)) && !auth.admits(user) {
        return Err(AuthError::Denied.into());
    }
    match op {
        Op::Put(put) => asked.put(put),
        Op::DeleteRange(delete) => asked.delete(delete),
        Op::Txn(txn) => asked.txn(txn),
        Op::V2(write) => asked.v2(write),
        Op::LeaseGrant { .. } => Ok(()),
        Op::LeaseRevoke { id } => asked.lease(*id),
        Op::Compact { space: Space::User, .. } | Op::Auth(_) => Ok(auth.administers(user)?),
        // Nobody but the cluster itself asks for these.
        Op::Compact { .. }
        | Op::LeaseExpire { .. }
        | Op::LeaseCheckpoint { .. }
        | Op::MemberUpdate(_)
        | Op::Alarm(_)
        | Op::As { .. } => Err(AuthError::Denied.into()),
    }
}

/// A user who asks.
struct Asked<'a> {
    auth: &'a Auth,
    tables: &'a dyn Tables,
    user: &'a str,
}

impl Asked<'_> {
    fn may(&self, space: Space, access: Access, key: &Bytes, range_end: &Bytes) -> Result<(), Stop> {
        match space {
            Space::User => Ok(self.auth.may(self.user, access, key, range_end)?),
            Space::System => Err(AuthError::Denied.into()),
        }
    }

    fn put(&self, put: &PutRequest) -> Result<(), Stop> {
        let single = Bytes::new();
        self.may(put.space, Access::Write, &put.key, &single)?;
        self.lease(put.lease)?;
        if put.prev_kv {
            self.may(put.space, Access::Read, &put.key, &single)?;
        }
        Ok(())
    }

    fn delete(&self, delete: &DeleteRangeRequest) -> Result<(), Stop> {
        self.may(delete.space, Access::Write, &delete.key, &delete.range_end)?;
        if delete.prev_kv {
            self.may(delete.space, Access::Read, &delete.key, &delete.range_end)?;
        }
        Ok(())
    }

    /// Both branches, whichever will run, and those within them.
    fn txn(&self, txn: &TxnRequest) -> Result<(), Stop> {
        for Compare { space, key, range_end, .. } in &txn.compare {
            self.may(*space, Access::Read, key, range_end)?;
        }
        for op in txn.success.iter().chain(&txn.failure) {
            match op {
                TxnOp::Range(RangeRequest { space, key, range_end, .. }) => {
                    self.may(*space, Access::Read, key, range_end)?;
                }
                TxnOp::Put(put) => self.put(put)?,
                TxnOp::DeleteRange(delete) => self.delete(delete)?,
                TxnOp::Txn(nested) => self.txn(nested)?,
            }
        }
        Ok(())
    }

    /// Who hangs a key on a lease, or ends it, decides over all keys that hang on it.
    fn lease(&self, id: LeaseId) -> Result<(), Stop> {
        if id == LeaseId::NONE || self.auth.administers(self.user).is_ok() {
            return Ok(());
        }
        for (space, key) in lease::keys(self.tables, id)? {
            self.may(space, Access::Write, &key, &Bytes::new())?;
        }
        Ok(())
    }

    fn v2(&self, request: &WriteRequest) -> Result<(), Stop> {
        let path = Bytes::from(request.path.clone());
        let dir = request.path == "/" || directories::get(self.tables, &path)?.is_some();
        for (access, key, range_end) in v2_needs(request, dir) {
            self.may(Space::User, access, &key, &range_end)?;
        }
        Ok(())
    }
}

/// All keys below a directory, as a range.
fn below(path: &str) -> (Bytes, Bytes) {
    let prefix = format!("{}/", path.trim_end_matches('/'));
    let end = prefix_end(prefix.as_bytes());
    (prefix.into(), end)
}

/// The keys that a v2 write touches; `is_dir`: there is a directory at its path. A condition on what is there is a read.
fn v2_needs(request: &WriteRequest, is_dir: bool) -> Vec<(Access, Bytes, Bytes)> {
    let single = (Bytes::from(request.path.clone()), Bytes::new());
    let (access, ranges) = match &request.write {
        // The time to live of a directory, and its end, are those of all that is below it.
        Write::Update { .. } | Write::Delete { .. } if is_dir => (Access::Write, vec![below(&request.path)]),
        Write::CreateInOrder { .. } => (Access::Write, vec![below(&request.path)]),
        Write::CompareAndSwap { .. } | Write::CompareAndDelete { .. } => (Access::ReadWrite, vec![single]),
        Write::Set { .. } | Write::Create { .. } | Write::Update { .. } | Write::Delete { .. } => {
            (Access::Write, vec![single])
        }
    };
    ranges.into_iter().map(|(key, range_end)| (access, key, range_end)).collect()
}

/// The keys that reading a v2 path shows: those below it where it is a directory, else the key itself.
pub fn v2_reads(path: &str, dir: bool) -> (Bytes, Bytes) {
    if dir { below(path) } else { (Bytes::from(path.to_owned()), Bytes::new()) }
}
