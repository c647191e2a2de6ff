//! What each answer of a server holds, by the names that etcd's structs give it.

use super::fields::Fields;
use super::json::{Object, list};
use super::table::table;
use super::{Answer, members::member_row};
use crate::wire::etcdserverpb as pb;
use crate::wire::etcdserverpb::response_op::Response;
use crate::wire::mvccpb::event::EventType;
use crate::wire::mvccpb::{Event, KeyValue};
use crate::wire::{authpb, encoded};

fn header_members(object: Object, header: Option<&pb::ResponseHeader>) -> Object {
    let header = header.copied().unwrap_or_default();
    object
        .number("cluster_id", header.cluster_id)
        .number("member_id", header.member_id)
        .number("revision", header.revision)
        .number("raft_term", header.raft_term)
}

/// An object that begins with the answer's header.
pub fn headed(header: Option<&pb::ResponseHeader>) -> Object {
    let header = header.map(|header| header_members(Object::default(), Some(header)).end());
    Object::default().optional("header", header)
}

fn key_value(kv: &KeyValue) -> String {
    Object::default()
        .bytes("key", &kv.key)
        .number("create_revision", kv.create_revision)
        .number("mod_revision", kv.mod_revision)
        .number("version", kv.version)
        .bytes("value", &kv.value)
        .number("lease", kv.lease)
        .end()
}

/// Answers that say no more than that it is done.
macro_rules! done {
    ($($answer:ident),+ $(,)?) => {$(
        impl Answer for pb::$answer {
            fn json(&self) -> String {
                headed(self.header.as_ref()).end()
            }
            fn fields(&self) -> Option<String> {
                Some(Fields::of(self.header.as_ref()).end())
            }
            fn protobuf(&self) -> Option<Vec<u8>> {
                Some(encoded(self))
            }
        }
    )+};
}

done!(
    LeaseRevokeResponse,
    AuthUserAddResponse,
    AuthUserDeleteResponse,
    AuthUserChangePasswordResponse,
    AuthUserGrantRoleResponse,
    AuthUserRevokeRoleResponse,
    AuthRoleAddResponse,
    AuthRoleDeleteResponse,
    AuthRoleGrantPermissionResponse,
    AuthRoleRevokePermissionResponse,
);

impl Answer for pb::PutResponse {
    fn json(&self) -> String {
        headed(self.header.as_ref()).optional("prev_kv", self.prev_kv.as_ref().map(key_value)).end()
    }

    fn fields(&self) -> Option<String> {
        let fields = Fields::of(self.header.as_ref());
        Some(fields.each(self.prev_kv.as_slice(), |fields, kv| fields.key_value("Prev", kv)).end())
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        Some(encoded(self))
    }
}

impl Answer for pb::RangeResponse {
    fn json(&self) -> String {
        headed(self.header.as_ref())
            .objects("kvs", self.kvs.iter().map(key_value))
            .truth("more", self.more)
            .number("count", self.count)
            .end()
    }

    fn fields(&self) -> Option<String> {
        let fields = Fields::of(self.header.as_ref()).each(&self.kvs, |fields, kv| fields.key_value("", kv));
        Some(fields.line("More", self.more).line("Count", self.count).end())
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        Some(encoded(self))
    }
}

impl Answer for pb::DeleteRangeResponse {
    fn json(&self) -> String {
        headed(self.header.as_ref())
            .number("deleted", self.deleted)
            .objects("prev_kvs", self.prev_kvs.iter().map(key_value))
            .end()
    }

    fn fields(&self) -> Option<String> {
        let fields = Fields::of(self.header.as_ref()).line("Deleted", self.deleted);
        Some(fields.each(&self.prev_kvs, |fields, kv| fields.key_value("Prev", kv)).end())
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        Some(encoded(self))
    }
}

impl Answer for pb::TxnResponse {
    fn json(&self) -> String {
        let one = |op: &pb::ResponseOp| {
            let within = match &op.response {
                Some(Response::ResponseRange(range)) => Object::default().raw("ResponseRange", range.json()),
                Some(Response::ResponsePut(put)) => Object::default().raw("ResponsePut", put.json()),
                Some(Response::ResponseDeleteRange(deleted)) => {
                    Object::default().raw("ResponseDeleteRange", deleted.json())
                }
                Some(Response::ResponseTxn(txn)) => Object::default().raw("ResponseTxn", txn.json()),
                None => return Object::default().raw("Response", "null").end(),
            };
            Object::default().raw("Response", within.end()).end()
        };
        headed(self.header.as_ref())
            .truth("succeeded", self.succeeded)
            .objects("responses", self.responses.iter().map(one))
            .end()
    }

    fn fields(&self) -> Option<String> {
        let mut text = Fields::of(self.header.as_ref()).line("Succeeded", self.succeeded).end();
        for op in &self.responses {
            let one = match &op.response {
                Some(Response::ResponseRange(range)) => range.fields(),
                Some(Response::ResponsePut(put)) => put.fields(),
                Some(Response::ResponseDeleteRange(deleted)) => deleted.fields(),
                Some(Response::ResponseTxn(txn)) => txn.fields(),
                None => None,
            };
            text.push_str(&one.unwrap_or_default());
        }
        Some(text)
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        Some(encoded(self))
    }
}

impl Answer for pb::WatchResponse {
    fn json(&self) -> String {
        let event = |event: &Event| {
            Object::default()
                .number("type", event.r#type)
                .optional("kv", event.kv.as_ref().map(key_value))
                .optional("prev_kv", event.prev_kv.as_ref().map(key_value))
                .end()
        };
        Object::default()
            .raw("Header", header_members(Object::default(), self.header.as_ref()).end())
            .raw("Events", if self.events.is_empty() { "null".to_owned() } else { list(self.events.iter().map(event)) })
            .raw("CompactRevision", self.compact_revision)
            .raw("Canceled", self.canceled)
            .raw("Created", self.created)
            .end()
    }

    fn fields(&self) -> Option<String> {
        let fields = Fields::of(self.header.as_ref()).each(&self.events, |fields, event| {
            let kind = if event.r#type == EventType::Delete as i32 { "DELETE" } else { "PUT" };
            fields
                .line("Type", kind)
                .each(event.prev_kv.as_slice(), |fields, kv| fields.key_value("Prev", kv))
                .each(event.kv.as_slice(), |fields, kv| fields.key_value("", kv))
        });
        Some(fields.end())
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        // What a client's library keeps of it.
        let kept = Self {
            header: self.header,
            events: self.events.clone(),
            compact_revision: self.compact_revision,
            canceled: self.canceled,
            created: self.created,
            ..Self::default()
        };
        Some(encoded(&kept))
    }
}

/// Of answers about leases etcdctl writes the header alone as protobuf: its structs have it within.
macro_rules! header_alone {
    () => {
        fn protobuf(&self) -> Option<Vec<u8>> {
            Some(self.header.as_ref().map(encoded).unwrap_or_default())
        }
    };
}

impl Answer for pb::LeaseGrantResponse {
    fn json(&self) -> String {
        header_members(Object::default(), self.header.as_ref())
            .raw("ID", self.id)
            .raw("TTL", self.ttl)
            .raw("Error", super::json::string(&self.error))
            .end()
    }

    fn fields(&self) -> Option<String> {
        Some(Fields::of(self.header.as_ref()).line("ID", self.id).line("TTL", self.ttl).end())
    }

    header_alone!();
}

impl Answer for pb::LeaseKeepAliveResponse {
    fn json(&self) -> String {
        header_members(Object::default(), self.header.as_ref()).raw("ID", self.id).raw("TTL", self.ttl).end()
    }

    fn fields(&self) -> Option<String> {
        Some(Fields::of(self.header.as_ref()).line("ID", self.id).line("TTL", self.ttl).end())
    }

    header_alone!();
}

impl Answer for pb::LeaseTimeToLiveResponse {
    fn json(&self) -> String {
        let keys = self.keys.iter().map(|key| format!("\"{}\"", crate::wire::json::base64::encode(key)));
        header_members(Object::default(), self.header.as_ref())
            .raw("id", self.id)
            .raw("ttl", self.ttl)
            .raw("granted-ttl", self.granted_ttl)
            .raw("keys", if self.keys.is_empty() { "null".to_owned() } else { list(keys) })
            .end()
    }

    fn fields(&self) -> Option<String> {
        let fields = Fields::of(self.header.as_ref()).line("ID", self.id).line("TTL", self.ttl);
        Some(fields.line("GrantedTTL", self.granted_ttl).each(&self.keys, |fields, key| fields.text("Key", key)).end())
    }

    header_alone!();
}

impl Answer for pb::LeaseLeasesResponse {
    fn json(&self) -> String {
        let leases = self.leases.iter().map(|lease| Object::default().raw("id", lease.id).end());
        header_members(Object::default(), self.header.as_ref()).raw("leases", list(leases)).end()
    }

    fn fields(&self) -> Option<String> {
        Some(Fields::of(self.header.as_ref()).each(&self.leases, |fields, lease| fields.line("ID", lease.id)).end())
    }

    header_alone!();
}

fn member(member: &pb::Member) -> String {
    Object::default()
        .number("ID", member.id)
        .text("name", &member.name)
        .texts("peerURLs", &member.peer_ur_ls)
        .texts("clientURLs", &member.client_ur_ls)
        .truth("isLearner", member.is_learner)
        .end()
}

impl Answer for pb::MemberListResponse {
    fn json(&self) -> String {
        headed(self.header.as_ref()).objects("members", self.members.iter().map(member)).end()
    }

    fn fields(&self) -> Option<String> {
        let fields = Fields::of(self.header.as_ref()).each(&self.members, |fields, member| {
            fields
                .line("ID", member.id)
                .text("Name", &member.name)
                .each(&member.peer_ur_ls, |fields, url| fields.text("PeerURL", url))
                .each(&member.client_ur_ls, |fields, url| fields.text("ClientURL", url))
                .line("IsLearner", member.is_learner)
                .gap()
        });
        Some(fields.end())
    }

    fn table(&self) -> Option<String> {
        let rows: Vec<_> = self.members.iter().map(member_row).collect();
        Some(table(["ID", "STATUS", "NAME", "PEER ADDRS", "CLIENT ADDRS", "IS LEARNER"], &rows))
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        Some(encoded(self))
    }
}

/// Changes of members, after which all members are told.
macro_rules! changed {
    ($($answer:ident),+) => {$(
        impl Answer for pb::$answer {
            fn json(&self) -> String {
                headed(self.header.as_ref()).objects("members", self.members.iter().map(member)).end()
            }
            fn protobuf(&self) -> Option<Vec<u8>> {
                Some(encoded(self))
            }
        }
    )+};
}

changed!(MemberRemoveResponse, MemberUpdateResponse, MemberPromoteResponse);

impl Answer for pb::MemberAddResponse {
    fn json(&self) -> String {
        headed(self.header.as_ref())
            .optional("member", self.member.as_ref().map(member))
            .objects("members", self.members.iter().map(member))
            .end()
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        Some(encoded(self))
    }
}

impl Answer for pb::MoveLeaderResponse {
    fn json(&self) -> String {
        headed(self.header.as_ref()).end()
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        Some(encoded(self))
    }
}

impl Answer for pb::AlarmResponse {
    fn json(&self) -> String {
        let alarm = |alarm: &pb::AlarmMember| {
            Object::default().number("memberID", alarm.member_id).number("alarm", alarm.alarm).end()
        };
        headed(self.header.as_ref()).objects("alarms", self.alarms.iter().map(alarm)).end()
    }

    fn fields(&self) -> Option<String> {
        let fields = Fields::of(self.header.as_ref()).each(&self.alarms, |fields, alarm| {
            fields.line("MemberID", alarm.member_id).line("AlarmType", alarm.alarm().as_str_name()).gap()
        });
        Some(fields.end())
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        Some(encoded(self))
    }
}

impl Answer for pb::AuthRoleGetResponse {
    fn json(&self) -> String {
        let permission = |one: &authpb::Permission| {
            Object::default()
                .number("permType", one.perm_type)
                .bytes("key", &one.key)
                .bytes("range_end", &one.range_end)
                .end()
        };
        headed(self.header.as_ref()).objects("perm", self.perm.iter().map(permission)).end()
    }

    fn fields(&self) -> Option<String> {
        let fields = Fields::of(self.header.as_ref()).each(&self.perm, |fields, one| {
            let kind = format!(" {}", one.perm_type().as_str_name());
            fields.line("PermType", kind).text("Key", &one.key).text("RangeEnd", &one.range_end)
        });
        Some(fields.end())
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        Some(encoded(self))
    }
}

impl Answer for pb::AuthRoleListResponse {
    fn json(&self) -> String {
        headed(self.header.as_ref()).texts("roles", &self.roles).end()
    }

    fn fields(&self) -> Option<String> {
        Some(Fields::of(self.header.as_ref()).texts("Roles", &self.roles).end())
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        Some(encoded(self))
    }
}

impl Answer for pb::AuthUserGetResponse {
    fn json(&self) -> String {
        headed(self.header.as_ref()).texts("roles", &self.roles).end()
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        Some(encoded(self))
    }
}

impl Answer for pb::AuthUserListResponse {
    fn json(&self) -> String {
        headed(self.header.as_ref()).texts("users", &self.users).end()
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        Some(encoded(self))
    }
}
