//! `apply`: one command, one moment of the tables, the same outcome on every member.

use super::auth::{self, AuthError};
use super::command::{Applied, Command, Op, Reply};
use super::error::KvError;
use super::layout;
use super::read;
use super::state::{LogPosition, State};
use super::stop::{self, Stop};
use super::tables::{TablesError, TablesMut};
use super::types::{DeleteRangeRequest, Event, KeyValue, PutRequest, RangeRequest, Space, V2Action};
use super::writer::{NewValue, Origin, Writer};
use super::{alarm, compact, is_system_lease, lease, members, timeline, txn, v2};
use crate::base::LeaseId;

/// Carries out a command that stands at `at` in the log. Returns its fate and what it changed.
///
/// A refusal changes nothing but the log position. After an error the state and the transaction are unusable: drop both.
pub fn apply(
    state: &mut State,
    tables: &mut dyn TablesMut,
    command: &Command,
    at: LogPosition,
) -> Result<(Applied, Vec<Event>), TablesError> {
    let mut writer = Writer::new(state, tables, command.stamp);
    let result = stop::split(admit(&mut writer, &command.op))?;
    let events = writer.finish(at)?;
    let applied = Applied { position: state.position(), result };
    Ok((applied, events))
}

/// Carries out what is allowed.
fn admit(writer: &mut Writer<'_>, op: &Op) -> Result<Reply, Stop> {
    match op {
        Op::As { user, auth_revision, op } => {
            auth::permit(writer, user, *auth_revision, op)?;
            writer.author = Some(user.as_str().into());
            run(writer, op)
        }
        op if writer.state.auth.enabled() && auth::needs_user(op) => Err(AuthError::UserEmpty.into()),
        op => run(writer, op),
    }
}

fn run(writer: &mut Writer<'_>, op: &Op) -> Result<Reply, Stop> {
    alarm::allowed(&writer.state.alarms, op)?;
    Ok(match op {
        Op::Put(request) => {
            check_put(request)?;
            check_put_now(writer, request)?;
            Reply::Put { prev: put(writer, request)? }
        }
        Op::DeleteRange(request) => {
            check_delete(request)?;
            let (deleted, prev) = delete_range(writer, request)?;
            Reply::DeleteRange { deleted, prev }
        }
        Op::Txn(request) => Reply::Txn(txn::run(writer, request)?),
        Op::V2(request) => Reply::V2(v2::write::run(writer, request)?),
        Op::LeaseGrant { id, ttl_ms } => {
            lease::grant(writer, *id, *ttl_ms)?;
            Reply::LeaseGrant { id: *id, ttl_ms: *ttl_ms }
        }
        Op::LeaseRevoke { id } => {
            lease::revoke(writer, *id)?;
            Reply::LeaseRevoke
        }
        Op::LeaseExpire { ids } => {
            lease::expire(writer, ids)?;
            Reply::LeaseExpire
        }
        Op::LeaseCheckpoint { left } => {
            lease::checkpoint(writer, left)?;
            Reply::LeaseCheckpoint
        }
        Op::Compact { space, revision } => {
            compact::mark(writer.state, *space, *revision)?;
            timeline::compacted(writer.state, writer.tables, *space)?;
            Reply::Compact
        }
        Op::MemberUpdate(member) => {
            members::update_member(writer.tables, member)?;
            Reply::MemberUpdate
        }
        Op::Alarm(change) => Reply::Alarm(alarm::change(writer.state, writer.tables, change)?),
        Op::Auth(change) => {
            auth::apply_change(writer, change)?;
            Reply::Auth
        }
        // Within another it means nothing.
        Op::As { .. } => return Err(AuthError::Denied.into()),
    })
}

/// What is wrong with a put whatever the state is.
pub(super) fn check_put(request: &PutRequest) -> Result<(), KvError> {
    if request.key.is_empty() {
        Err(KvError::EmptyKey)
    } else if request.ignore_value && !request.value.is_empty() {
        Err(KvError::ValueProvided)
    } else if request.ignore_lease && request.lease != LeaseId::NONE {
        Err(KvError::LeaseProvided)
    } else {
        Ok(())
    }
}

/// What is wrong with a put in the present state.
pub(super) fn check_put_now(writer: &Writer<'_>, request: &PutRequest) -> Result<(), Stop> {
    if request.ignore_value || request.ignore_lease {
        let head = layout::head(writer.tables, request.space, &request.key)?;
        if !head.is_some_and(|head| head.live()) {
            return Err(KvError::KeyNotFound.into());
        }
    }
    let foreign = request.space == Space::User && is_system_lease(request.lease);
    if request.lease != LeaseId::NONE && (foreign || writer.state.lease(request.lease).is_none()) {
        return Err(KvError::LeaseNotFound.into());
    }
    Ok(())
}

/// What is wrong with a delete whatever the state is.
pub(super) fn check_delete(request: &DeleteRangeRequest) -> Result<(), KvError> {
    if request.key.is_empty() { Err(KvError::EmptyKey) } else { Ok(()) }
}

/// Puts what has passed the checks. Returns the old value if asked for.
pub(super) fn put(writer: &mut Writer<'_>, request: &PutRequest) -> Result<Option<KeyValue>, Stop> {
    let mut new = NewValue {
        space: request.space,
        key: request.key.clone(),
        value: request.value.clone(),
        lease: request.lease,
        keep_created: false,
    };
    if request.ignore_value || request.ignore_lease {
        let present = present(writer, request.space, &request.key)?;
        let present = present.ok_or(KvError::KeyNotFound)?;
        if request.ignore_value {
            new.value = present.value;
        }
        if request.ignore_lease {
            new.lease = present.lease;
        }
    }
    writer.prev_wanted = request.prev_kv;
    let prev = writer.put(new, Origin::V3(V2Action::Set))?;
    Ok(prev.filter(|_| request.prev_kv))
}

/// The key as it is now.
pub(super) fn present(writer: &Writer<'_>, space: Space, key: &[u8]) -> Result<Option<KeyValue>, TablesError> {
    match layout::head(writer.tables, space, key)? {
        Some(head) if head.live() => layout::value_at(writer.tables, space, head.at),
        _ => Ok(None),
    }
}

/// Deletes a key or a range. Returns how many keys, and their old values if asked for.
pub(super) fn delete_range(
    writer: &mut Writer<'_>,
    request: &DeleteRangeRequest,
) -> Result<(i64, Vec<KeyValue>), TablesError> {
    let range = RangeRequest {
        space: request.space,
        key: request.key.clone(),
        range_end: request.range_end.clone(),
        ..RangeRequest::default()
    };
    writer.prev_wanted = request.prev_kv;
    let mut deleted = 0;
    let mut old = Vec::new();
    for key in read::live_keys(writer.tables, &range)? {
        let prev = writer.delete(request.space, &key, Origin::V3(V2Action::Delete))?;
        deleted += 1;
        if request.prev_kv {
            old.extend(prev);
        }
    }
    Ok((deleted, old))
}
