//! Between the store's own values and the messages of the etcd v3 API.

use crate::base::{ClusterId, LeaseId, MemberId};
use crate::kv::{
    Compare, CompareResult, CompareTarget, Consistency, DeleteRangeRequest, Event, EventKind, KeyValue, Member,
    Position, PutRequest, RangeReply, RangeRequest, SortOrder, SortTarget, Space, Status, StoreError, TxnOp,
    TxnOpReply, TxnReply, TxnRequest,
};
use crate::wire::etcdserverpb::{self as pb, compare, range_request, request_op, response_op};
use crate::wire::mvccpb;

/// How deeply transactions may nest.
const TXN_DEPTH_MAX: usize = 8;

/// Only clients' keys are to be had from somebody else's store.
pub(super) fn user_space(space: Space) -> Result<(), StoreError> {
    match space {
        Space::User => Ok(()),
        Space::System => {
            Err(StoreError::Unsupported("an etcd has no system space; its clients' keys are all there is".into()))
        }
    }
}

pub(super) fn range(request: RangeRequest, consistency: Consistency) -> Result<pb::RangeRequest, StoreError> {
    user_space(request.space)?;
    let sort_order = match request.sort_order {
        SortOrder::None => range_request::SortOrder::None,
        SortOrder::Ascend => range_request::SortOrder::Ascend,
        SortOrder::Descend => range_request::SortOrder::Descend,
    };
    let sort_target = match request.sort_target {
        SortTarget::Key => range_request::SortTarget::Key,
        SortTarget::Version => range_request::SortTarget::Version,
        SortTarget::Create => range_request::SortTarget::Create,
        SortTarget::Mod => range_request::SortTarget::Mod,
        SortTarget::Value => range_request::SortTarget::Value,
    };
    Ok(pb::RangeRequest {
        key: request.key,
        range_end: request.range_end,
        limit: request.limit,
        revision: request.revision,
        sort_order: sort_order.into(),
        sort_target: sort_target.into(),
        serializable: consistency == Consistency::Serializable,
        keys_only: request.keys_only,
        count_only: request.count_only,
        min_mod_revision: request.min_mod_revision,
        max_mod_revision: request.max_mod_revision,
        min_create_revision: request.min_create_revision,
        max_create_revision: request.max_create_revision,
    })
}

pub(super) fn put(request: PutRequest) -> Result<pb::PutRequest, StoreError> {
    user_space(request.space)?;
    Ok(pb::PutRequest {
        key: request.key,
        value: request.value,
        lease: request.lease.0,
        prev_kv: request.prev_kv,
        ignore_value: request.ignore_value,
        ignore_lease: request.ignore_lease,
    })
}

pub(super) fn delete_range(request: DeleteRangeRequest) -> Result<pb::DeleteRangeRequest, StoreError> {
    user_space(request.space)?;
    Ok(pb::DeleteRangeRequest { key: request.key, range_end: request.range_end, prev_kv: request.prev_kv })
}

pub(super) fn txn(request: TxnRequest) -> Result<pb::TxnRequest, StoreError> {
    txn_at(request, 0)
}

fn txn_at(request: TxnRequest, depth: usize) -> Result<pb::TxnRequest, StoreError> {
    if depth == TXN_DEPTH_MAX {
        return Err(StoreError::Unsupported(format!("transactions nested more than {TXN_DEPTH_MAX} deep")));
    }
    let ops = |ops: Vec<TxnOp>| ops.into_iter().map(|op| txn_op(op, depth)).collect::<Result<Vec<_>, _>>();
    let compare = request.compare.into_iter().map(comparison).collect::<Result<Vec<_>, _>>()?;
    Ok(pb::TxnRequest { compare, success: ops(request.success)?, failure: ops(request.failure)? })
}

fn txn_op(op: TxnOp, depth: usize) -> Result<pb::RequestOp, StoreError> {
    let request = match op {
        TxnOp::Range(request) => request_op::Request::RequestRange(range(request, Consistency::Linearizable)?),
        TxnOp::Put(request) => request_op::Request::RequestPut(put(request)?),
        TxnOp::DeleteRange(request) => request_op::Request::RequestDeleteRange(delete_range(request)?),
        TxnOp::Txn(request) => request_op::Request::RequestTxn(txn_at(request, depth + 1)?),
    };
    Ok(pb::RequestOp { request: Some(request) })
}

fn comparison(one: Compare) -> Result<pb::Compare, StoreError> {
    user_space(one.space)?;
    let result = match one.result {
        CompareResult::Equal => compare::CompareResult::Equal,
        CompareResult::Greater => compare::CompareResult::Greater,
        CompareResult::Less => compare::CompareResult::Less,
        CompareResult::NotEqual => compare::CompareResult::NotEqual,
    };
    let (target, value) = match one.target {
        CompareTarget::Version(number) => (compare::CompareTarget::Version, compare::TargetUnion::Version(number)),
        CompareTarget::Create(number) => (compare::CompareTarget::Create, compare::TargetUnion::CreateRevision(number)),
        CompareTarget::Mod(number) => (compare::CompareTarget::Mod, compare::TargetUnion::ModRevision(number)),
        CompareTarget::Value(value) => (compare::CompareTarget::Value, compare::TargetUnion::Value(value)),
        CompareTarget::Lease(lease) => (compare::CompareTarget::Lease, compare::TargetUnion::Lease(lease.0)),
    };
    Ok(pb::Compare {
        result: result.into(),
        target: target.into(),
        key: one.key,
        range_end: one.range_end,
        target_union: Some(value),
    })
}

/// The v2 indexes of somebody else's keys are not known: they are 0.
pub(super) fn key_value(kv: mvccpb::KeyValue) -> KeyValue {
    KeyValue {
        key: kv.key,
        value: kv.value,
        create_revision: kv.create_revision,
        mod_revision: kv.mod_revision,
        version: kv.version,
        lease: LeaseId(kv.lease),
        v2_created: 0,
        v2_modified: 0,
    }
}

pub(super) fn range_reply(reply: pb::RangeResponse) -> RangeReply {
    RangeReply { kvs: reply.kvs.into_iter().map(key_value).collect(), more: reply.more, count: reply.count }
}

pub(super) fn txn_reply(reply: pb::TxnResponse) -> TxnReply {
    let replies = reply.responses.into_iter().filter_map(|one| one.response).map(txn_op_reply).collect();
    TxnReply { succeeded: reply.succeeded, replies }
}

fn txn_op_reply(reply: response_op::Response) -> TxnOpReply {
    match reply {
        response_op::Response::ResponseRange(reply) => TxnOpReply::Range(range_reply(reply)),
        response_op::Response::ResponsePut(reply) => TxnOpReply::Put { prev: reply.prev_kv.map(key_value) },
        response_op::Response::ResponseDeleteRange(reply) => TxnOpReply::DeleteRange {
            deleted: reply.deleted,
            prev: reply.prev_kvs.into_iter().map(key_value).collect(),
        },
        response_op::Response::ResponseTxn(reply) => TxnOpReply::Txn(txn_reply(reply)),
    }
}

/// `None` where the event carries no key, which no etcd sends.
pub(super) fn event(event: mvccpb::Event) -> Option<Event> {
    let kind = match event.r#type {
        1 => EventKind::Delete,
        _ => EventKind::Put,
    };
    let prev = event.prev_kv.map(key_value);
    Some(Event { space: Space::User, kind, kv: key_value(event.kv?), prev, v2: None, made: None })
}

pub(super) fn member(member: pb::Member) -> Member {
    Member {
        id: MemberId(member.id),
        name: member.name,
        peer_urls: member.peer_ur_ls,
        client_urls: member.client_ur_ls,
        learner: member.is_learner,
    }
}

pub(super) fn position(header: Option<&pb::ResponseHeader>) -> Position {
    header.map_or_else(Position::default, |header| Position {
        revision: header.revision,
        raft_term: header.raft_term,
        ..Position::default()
    })
}

pub(super) fn status(reply: &pb::StatusResponse) -> Status {
    let header = reply.header.as_ref();
    Status {
        cluster: ClusterId(header.map_or(0, |header| header.cluster_id)),
        member: MemberId(header.map_or(0, |header| header.member_id)),
        leader: (reply.leader != 0).then_some(MemberId(reply.leader)),
        learner: reply.is_learner,
        position: Position { raft_index: reply.raft_index, ..position(header) },
        raft_applied: reply.raft_applied_index,
        db_bytes: reply.db_size.unsigned_abs(),
        db_bytes_in_use: reply.db_size_in_use.unsigned_abs(),
        ..Status::default()
    }
}
