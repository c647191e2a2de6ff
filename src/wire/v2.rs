//! The JSON of the etcd v2 API: field names, their order and what is left out, as etcd writes them.

use std::collections::BTreeMap;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC};
use serde::{Deserialize, Serialize};

/// What a path may hold as it is, besides letters and digits, as Go's `net/url` writes it.
pub const PATH_KEPT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b',')
    .remove(b':')
    .remove(b';')
    .remove(b'=')
    .remove(b'@');

/// A node of the tree. `value` is present for files even when it is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Node {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dir: bool,
    /// RFC 3339, UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expiration: Option<String>,
    /// Seconds, rounded up.
    #[serde(skip_serializing_if = "is_zero")]
    pub ttl: i64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<Node>,
    #[serde(rename = "modifiedIndex", skip_serializing_if = "is_zero_u64")]
    pub modified_index: u64,
    #[serde(rename = "createdIndex", skip_serializing_if = "is_zero_u64")]
    pub created_index: u64,
}

/// The body of a good answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Answer {
    pub action: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<Node>,
    #[serde(rename = "prevNode", skip_serializing_if = "Option::is_none")]
    pub prev_node: Option<Node>,
}

/// The body of a bad answer of `/v2/keys`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    #[serde(rename = "errorCode")]
    pub error_code: u16,
    pub message: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cause: String,
    pub index: u64,
}

/// The body of a bad answer everywhere else.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    pub message: String,
}

/// A member. `id` is hex without padding.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    pub id: String,
    pub name: String,
    #[serde(rename = "peerURLs")]
    pub peer_urls: Vec<String>,
    #[serde(rename = "clientURLs")]
    pub client_urls: Vec<String>,
}

/// What adds a member or moves it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct MemberRequest {
    #[serde(rename = "peerURLs")]
    pub peer_urls: Vec<String>,
}

/// All members.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Members {
    pub members: Vec<Member>,
}

/// What a member tells of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SelfStats {
    pub name: String,
    pub id: String,
    pub state: &'static str,
    #[serde(rename = "startTime")]
    pub start_time: String,
    #[serde(rename = "leaderInfo")]
    pub leader_info: LeaderInfo,
    #[serde(rename = "recvAppendRequestCnt")]
    pub appends_received: u64,
    #[serde(rename = "sendAppendRequestCnt")]
    pub appends_sent: u64,
}

/// Who leads, and since when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeaderInfo {
    pub leader: String,
    pub uptime: String,
    #[serde(rename = "startTime")]
    pub start_time: String,
}

/// What was asked of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StoreStats {
    pub gets_success: u64,
    pub gets_fail: u64,
    pub sets_success: u64,
    pub sets_fail: u64,
    pub delete_success: u64,
    pub delete_fail: u64,
    pub update_success: u64,
    pub update_fail: u64,
    pub create_success: u64,
    pub create_fail: u64,
    pub compare_and_swap_success: u64,
    pub compare_and_swap_fail: u64,
    pub compare_and_delete_success: u64,
    pub compare_and_delete_fail: u64,
    pub expire_count: u64,
    pub watchers: u64,
}

/// How those who follow do, by their ids.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LeaderStats {
    pub leader: String,
    pub followers: BTreeMap<String, FollowerStats>,
}

/// Messages with log entries to one follower.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct FollowerStats {
    pub latency: Latency,
    pub counts: Counts,
}

/// Milliseconds until the answer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Latency {
    pub current: f64,
    pub average: f64,
    #[serde(rename = "standardDeviation")]
    pub standard_deviation: f64,
    pub minimum: f64,
    pub maximum: f64,
}

/// How many there were.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub fail: u64,
    pub success: u64,
}

/// A user as a request for `/v2/auth` gives it, and as the answer to a change shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AuthUser {
    pub user: String,
    /// Never in an answer.
    #[serde(skip_serializing)]
    pub password: Option<String>,
    pub roles: Option<Vec<String>>,
    #[serde(skip_serializing)]
    pub grant: Option<Vec<String>>,
    #[serde(skip_serializing)]
    pub revoke: Option<Vec<String>>,
}

/// A user with what the roles permit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AuthUserShown {
    pub user: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<AuthRole>,
}

/// A role, and what is to be added to it or taken from it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AuthRole {
    pub role: String,
    pub permissions: Permissions,
    #[serde(skip_serializing)]
    pub grant: Option<Permissions>,
    #[serde(skip_serializing)]
    pub revoke: Option<Permissions>,
}

/// What a role permits; only keys can be permitted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Permissions {
    pub kv: KeyPermissions,
}

/// Patterns of paths.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct KeyPermissions {
    pub read: Option<Vec<String>>,
    pub write: Option<Vec<String>>,
}

/// All users, by their names; `null` for none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AuthUsers {
    pub users: Option<Vec<AuthUserShown>>,
}

/// All roles, by their names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AuthRoles {
    pub roles: Vec<AuthRole>,
}

/// Whether users are asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AuthEnabled {
    pub enabled: bool,
}

fn is_zero(n: &i64) -> bool {
    *n == 0
}

fn is_zero_u64(n: &u64) -> bool {
    *n == 0
}
