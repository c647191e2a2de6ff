//! v2 writes.

use bytes::Bytes;

use super::{Failure, Outcome, WriteRequest};
use crate::kv::stop::Stop;
use crate::kv::tables::TablesError;
use crate::kv::types::{Space, V2Action};
use crate::kv::writer::{Origin, Writer};

/// Carries out a v2 write.
pub(in crate::kv) fn run(writer: &mut Writer<'_>, request: &WriteRequest) -> Result<Outcome, Stop> {
    Ok(Err(Failure { code: 300, cause: request.path.clone(), index: writer.state.marks.v2_index }))
}

/// Removes a key whose v2 lease has ended.
pub(in crate::kv) fn remove_leased(writer: &mut Writer<'_>, key: &Bytes, action: V2Action) -> Result<(), TablesError> {
    writer.delete(Space::User, key, Origin::V3(action))?;
    Ok(())
}
