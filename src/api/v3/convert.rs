//! Messages of the v3 API to the values of the state machine and back.

use tonic::Status;

use crate::api::status;
use crate::base::LeaseId;
use crate::kv;
use crate::kv::{KvError, Space};
use crate::wire::{etcdserverpb as pb, mvccpb};

type Result<T> = std::result::Result<T, Status>;

fn key_given(key: &[u8]) -> Result<()> {
    if key.is_empty() {
        return Err(status::refused(&KvError::EmptyKey));
    }
    Ok(())
}

pub fn range(request: pb::RangeRequest) -> Result<kv::RangeRequest> {
    use pb::range_request::{SortOrder, SortTarget};
    key_given(&request.key)?;
    let unsortable = |_| status::refused(&KvError::InvalidSortOption);
    let sort_order = match SortOrder::try_from(request.sort_order).map_err(unsortable)? {
        SortOrder::None => kv::SortOrder::None,
        SortOrder::Ascend => kv::SortOrder::Ascend,
        SortOrder::Descend => kv::SortOrder::Descend,
    };
    let sort_target = match SortTarget::try_from(request.sort_target).map_err(unsortable)? {
        SortTarget::Key => kv::SortTarget::Key,
        SortTarget::Version => kv::SortTarget::Version,
        SortTarget::Create => kv::SortTarget::Create,
        SortTarget::Mod => kv::SortTarget::Mod,
        SortTarget::Value => kv::SortTarget::Value,
    };
    Ok(kv::RangeRequest {
        space: Space::User,
        key: request.key,
        range_end: request.range_end,
        limit: request.limit,
        revision: request.revision,
        sort_order,
        sort_target,
        keys_only: request.keys_only,
        count_only: request.count_only,
        min_mod_revision: request.min_mod_revision,
        max_mod_revision: request.max_mod_revision,
        min_create_revision: request.min_create_revision,
        max_create_revision: request.max_create_revision,
    })
}

pub fn put(request: pb::PutRequest) -> Result<kv::PutRequest> {
    key_given(&request.key)?;
    if request.ignore_value && !request.value.is_empty() {
        return Err(status::refused(&KvError::ValueProvided));
    }
    if request.ignore_lease && request.lease != 0 {
        return Err(status::refused(&KvError::LeaseProvided));
    }
    Ok(kv::PutRequest {
        space: Space::User,
        key: request.key,
        value: request.value,
        lease: LeaseId(request.lease),
        prev_kv: request.prev_kv,
        ignore_value: request.ignore_value,
        ignore_lease: request.ignore_lease,
    })
}

pub fn delete_range(request: pb::DeleteRangeRequest) -> Result<kv::DeleteRangeRequest> {
    key_given(&request.key)?;
    Ok(kv::DeleteRangeRequest {
        space: Space::User,
        key: request.key,
        range_end: request.range_end,
        prev_kv: request.prev_kv,
    })
}

pub fn txn(request: pb::TxnRequest) -> Result<kv::TxnRequest> {
    let ops = |list: Vec<pb::RequestOp>| list.into_iter().map(txn_op).collect::<Result<_>>();
    Ok(kv::TxnRequest {
        compare: request.compare.into_iter().map(compare).collect::<Result<_>>()?,
        success: ops(request.success)?,
        failure: ops(request.failure)?,
    })
}

fn txn_op(op: pb::RequestOp) -> Result<kv::TxnOp> {
    use pb::request_op::Request;
    match op.request {
        Some(Request::RequestRange(r)) => range(r).map(kv::TxnOp::Range),
        Some(Request::RequestPut(r)) => put(r).map(kv::TxnOp::Put),
        Some(Request::RequestDeleteRange(r)) => delete_range(r).map(kv::TxnOp::DeleteRange),
        Some(Request::RequestTxn(r)) => txn(r).map(kv::TxnOp::Txn),
        None => Err(status::refused(&KvError::KeyNotFound)),
    }
}

/// The target decides which field is compared; a value of another kind counts as zero, as in etcd.
fn compare(compare: pb::Compare) -> Result<kv::Compare> {
    use pb::compare::{CompareResult, CompareTarget, TargetUnion};
    key_given(&compare.key)?;
    let result = match CompareResult::try_from(compare.result) {
        Ok(CompareResult::Equal) => kv::CompareResult::Equal,
        Ok(CompareResult::Greater) => kv::CompareResult::Greater,
        Ok(CompareResult::Less) => kv::CompareResult::Less,
        Ok(CompareResult::NotEqual) => kv::CompareResult::NotEqual,
        Err(_) => return Err(status::nonsense("unknown comparison in txn request")),
    };
    let union = compare.target_union;
    let target = match CompareTarget::try_from(compare.target) {
        Ok(CompareTarget::Version) => kv::CompareTarget::Version(match union {
            Some(TargetUnion::Version(n)) => n,
            _ => 0,
        }),
        Ok(CompareTarget::Create) => kv::CompareTarget::Create(match union {
            Some(TargetUnion::CreateRevision(n)) => n,
            _ => 0,
        }),
        Ok(CompareTarget::Mod) => kv::CompareTarget::Mod(match union {
            Some(TargetUnion::ModRevision(n)) => n,
            _ => 0,
        }),
        Ok(CompareTarget::Value) => kv::CompareTarget::Value(match union {
            Some(TargetUnion::Value(bytes)) => bytes,
            _ => bytes::Bytes::new(),
        }),
        Ok(CompareTarget::Lease) => kv::CompareTarget::Lease(LeaseId(match union {
            Some(TargetUnion::Lease(n)) => n,
            _ => 0,
        })),
        Err(_) => return Err(status::nonsense("unknown comparison target in txn request")),
    };
    Ok(kv::Compare { space: Space::User, key: compare.key, range_end: compare.range_end, result, target })
}

pub fn key_value(kv: kv::KeyValue) -> mvccpb::KeyValue {
    mvccpb::KeyValue {
        key: kv.key,
        create_revision: kv.create_revision,
        mod_revision: kv.mod_revision,
        version: kv.version,
        value: kv.value,
        lease: kv.lease.0,
    }
}

fn key_values(kvs: Vec<kv::KeyValue>) -> Vec<mvccpb::KeyValue> {
    kvs.into_iter().map(key_value).collect()
}

/// An event, with what was before it if `prev_kv`.
pub fn event(event: kv::Event, prev_kv: bool) -> mvccpb::Event {
    use mvccpb::event::EventType;
    let kind = match event.kind {
        kv::EventKind::Put => EventType::Put,
        kv::EventKind::Delete => EventType::Delete,
    };
    mvccpb::Event {
        r#type: kind.into(),
        kv: Some(key_value(event.kv)),
        prev_kv: event.prev.filter(|_| prev_kv).map(key_value),
    }
}

pub fn range_reply(header: pb::ResponseHeader, reply: kv::RangeReply) -> pb::RangeResponse {
    pb::RangeResponse { header: Some(header), kvs: key_values(reply.kvs), more: reply.more, count: reply.count }
}

pub fn put_reply(header: pb::ResponseHeader, prev: Option<kv::KeyValue>) -> pb::PutResponse {
    pb::PutResponse { header: Some(header), prev_kv: prev.map(key_value) }
}

pub fn delete_reply(header: pb::ResponseHeader, deleted: i64, prev: Vec<kv::KeyValue>) -> pb::DeleteRangeResponse {
    pb::DeleteRangeResponse { header: Some(header), deleted, prev_kvs: key_values(prev) }
}

/// The answers within carry the revision only, each the one at which its operation left the store, as etcd's do; a transaction
/// within carries an empty header.
pub fn txn_reply(header: pb::ResponseHeader, reply: kv::TxnReply) -> pb::TxnResponse {
    let end = header.revision;
    let mut at = if changes(&reply) { end - 1 } else { end };
    txn_within(header, reply, &mut at, end)
}

fn changes(reply: &kv::TxnReply) -> bool {
    reply.replies.iter().any(|reply| match reply {
        kv::TxnOpReply::Range(_) => false,
        kv::TxnOpReply::Put { .. } => true,
        kv::TxnOpReply::DeleteRange { deleted, .. } => *deleted > 0,
        kv::TxnOpReply::Txn(nested) => changes(nested),
    })
}

/// `at` is the revision so far; the first change makes it `end`.
fn txn_within(header: pb::ResponseHeader, reply: kv::TxnReply, at: &mut i64, end: i64) -> pb::TxnResponse {
    let responses = reply.replies.into_iter();
    pb::TxnResponse {
        header: Some(header),
        succeeded: reply.succeeded,
        responses: responses.map(|reply| txn_op_reply(reply, at, end)).collect(),
    }
}

fn txn_op_reply(reply: kv::TxnOpReply, at: &mut i64, end: i64) -> pb::ResponseOp {
    use pb::response_op::Response;
    let mut header = |changed: bool| {
        if changed {
            *at = end;
        }
        pb::ResponseHeader { revision: *at, ..pb::ResponseHeader::default() }
    };
    let response = match reply {
        kv::TxnOpReply::Range(reply) => Response::ResponseRange(range_reply(header(false), reply)),
        kv::TxnOpReply::Put { prev } => Response::ResponsePut(put_reply(header(true), prev)),
        kv::TxnOpReply::DeleteRange { deleted, prev } => {
            Response::ResponseDeleteRange(delete_reply(header(deleted > 0), deleted, prev))
        }
        kv::TxnOpReply::Txn(reply) => Response::ResponseTxn(txn_within(pb::ResponseHeader::default(), reply, at, end)),
    };
    pb::ResponseOp { response: Some(response) }
}

pub fn member(member: kv::Member) -> pb::Member {
    pb::Member {
        id: member.id.0,
        name: member.name,
        peer_ur_ls: member.peer_urls,
        client_ur_ls: member.client_urls,
        is_learner: member.learner,
    }
}
