//! `/v2/auth` and what it permits, one request after the other, at etcd and at ours.
//!
//! Left out are the few answers that differ because both dialects have the same users and roles: users with roles that do not
//! exist, users of a role that was deleted, roles that name a directory without what is in it or the other way round, conditions
//! and earlier values where nothing may be read, and the root's path without a slash.

use base64::Engine as _;
use serde_json::Value;

use crate::compare::{SAME, THERE};
use crate::http::{Answer, Request};
use crate::pairs::Pair;

/// Who asks (`-`: nobody), method, path, and JSON or a form.
const STEPS: &[&str] = &[
    "- GET /v2/auth/enable",
    "- HEAD /v2/auth/enable",
    "- POST /v2/auth/enable",
    "- PUT /v2/auth/enable",
    "- DELETE /v2/auth/enable",
    "- GET /v2/auth/users",
    "- GET /v2/auth/users/",
    "- PUT /v2/auth/users",
    "- HEAD /v2/auth/users",
    "- GET /v2/auth/users/none",
    "- GET /v2/auth/users/none/more",
    "- DELETE /v2/auth/users/none",
    "- GET /v2/auth/roles",
    "- POST /v2/auth/roles/x",
    "- GET /v2/auth/roles/root",
    "- GET /v2/auth/roles/none",
    "- GET /v2/auth/roles/a/b",
    "- DELETE /v2/auth/roles/none",
    "- DELETE /v2/auth/roles/root",
    "- GET /v2/auth/other",
    "- GET /v2/auth",
    "- PUT /v2/auth/users/u",
    "- PUT /v2/auth/users/u {",
    "- PUT /v2/auth/users/u []",
    "- PUT /v2/auth/users/u {}",
    "- PUT /v2/auth/users/u {\"user\":7}",
    "- PUT /v2/auth/users/u {\"user\":\"x\",\"password\":\"pw\"}",
    "- PUT /v2/auth/users/u {\"user\":\"u\"}",
    "- PUT /v2/auth/users/u {\"user\":\"u\",\"password\":\"\"}",
    "- PUT /v2/auth/users/u {\"user\":\"u\",\"grant\":[\"root\"]}",
    "- PUT /v2/auth/users/u {\"user\":\"u\",\"password\":\"pw\",\"unknown\":1} trailing",
    "- GET /v2/auth/users/u",
    "- PUT /v2/auth/users/u {\"user\":\"u\",\"password\":\"pw2\"}",
    "- PUT /v2/auth/users/u {\"user\":\"u\"}",
    "- PUT /v2/auth/users/u {\"user\":\"u\",\"password\":\"pw\",\"roles\":[\"root\"]}",
    "- PUT /v2/auth/users/u {\"user\":\"u\",\"roles\":[\"root\"],\"grant\":[\"root\"]}",
    "- PUT /v2/auth/roles/r {\"role\":\"x\"}",
    "- PUT /v2/auth/roles/r nonsense",
    "- PUT /v2/auth/roles/root {\"role\":\"root\"}",
    "- PUT /v2/auth/roles/root {\"role\":\"root\",\"grant\":{\"kv\":{\"read\":[\"/x\"]}}}",
    "- PUT /v2/auth/roles/r {\"role\":\"r\",\"grant\":{\"kv\":{\"read\":[\"/x\"]}}}",
    "- PUT /v2/auth/roles/empty {\"role\":\"empty\"}",
    "- GET /v2/auth/roles/empty",
    "- PUT /v2/auth/roles/r {\"role\":\"r\",\"permissions\":{\"kv\":{\"read\":[\"/r\",\"/r/*\"],\"write\":[\"/w\",\"/w/*\"]}}}",
    "- PUT /v2/auth/roles/r {\"role\":\"r\",\"permissions\":{\"kv\":{\"read\":[\"/r/*\"]}}}",
    "- GET /v2/auth/roles/r",
    "- GET /v2/auth/roles/",
    "- PUT /v2/auth/roles/r {\"role\":\"r\",\"grant\":{\"kv\":{\"read\":[\"/r/*\"]}}}",
    "- PUT /v2/auth/roles/r {\"role\":\"r\",\"grant\":{\"kv\":{\"read\":[],\"write\":[\"/w\"]}}}",
    "- PUT /v2/auth/roles/r {\"role\":\"r\",\"revoke\":{\"kv\":{\"read\":[\"/none\"]}}}",
    "- PUT /v2/auth/roles/r {\"role\":\"r\",\"permissions\":{\"kv\":{\"read\":[\"/a\"]}},\"revoke\":{\"kv\":{\"read\":[\"/none\"]}}}",
    "- PUT /v2/auth/roles/r {\"role\":\"r\",\"grant\":{\"kv\":{\"read\":[\"/b\",\"/b/*\",\"/both*\"],\"write\":[\"/b\",\"/b/*\",\"/both*\"]}}}",
    "- PUT /v2/auth/roles/r {\"role\":\"r\",\"revoke\":{\"kv\":{\"write\":[\"/both*\"]}},\"grant\":{\"kv\":{\"read\":[\"/both2\"]}}}",
    "- PUT /v2/auth/roles/r {\"role\":\"r\",\"revoke\":{\"kv\":{\"read\":[\"/both*\",\"/both2\"]}}}",
    "- GET /v2/auth/roles/r",
    "- PUT /v2/auth/users/u {\"user\":\"u\",\"grant\":[\"r\",\"empty\"]}",
    "- PUT /v2/auth/users/u {\"user\":\"u\",\"grant\":[\"r\"]}",
    "- PUT /v2/auth/users/u {\"user\":\"u\",\"revoke\":[\"none\"]}",
    "- PUT /v2/auth/users/u {\"user\":\"u\",\"revoke\":[\"empty\"]}",
    "- PUT /v2/auth/users/u {\"user\":\"u\",\"password\":\"pw\",\"grant\":[\"empty\"]}",
    "- GET /v2/auth/users/u",
    "- GET /v2/auth/users",
    "- PUT /v2/auth/users/v {\"user\":\"v\",\"password\":\"pw\",\"roles\":[\"empty\"]}",
    "- PUT /v2/auth/users/v {\"user\":\"v\",\"password\":\"pw\",\"roles\":[\"empty\"]}",
    "- PUT /v2/auth/enable",
    "- PUT /v2/auth/users/root {\"user\":\"root\",\"password\":\"rpw\"}",
    "- GET /v2/auth/users/root",
    "- GET /v2/auth/users",
    "- PUT /v2/keys/r/1 value=1",
    "- PUT /v2/keys/w/1 value=1",
    "- PUT /v2/keys/b/1 value=1",
    "- PUT /v2/keys/x/1 value=1",
    "- PUT /v2/auth/enable",
    "- GET /v2/auth/enable",
    "- GET /v2/auth/users",
    "- PUT /v2/auth/enable",
    "- DELETE /v2/auth/enable",
    "u GET /v2/auth/users",
    "u GET /v2/auth/users/u",
    "u PUT /v2/auth/enable",
    "bad GET /v2/auth/users",
    "root PUT /v2/auth/enable",
    "root GET /v2/auth/roles",
    "root GET /v2/auth/roles/guest",
    "root GET /v2/auth/users/none",
    "root DELETE /v2/auth/users/root",
    // Guests may all that the role allows, which is everything at first.
    "- GET /v2/keys/x/1",
    "- GET /v2/keys/?recursive=true&sorted=true",
    "- PUT /v2/keys/x/2 value=2",
    "- PUT /v2/keys/x/2 ttl=x",
    "- POST /v2/keys/x value=3",
    "- DELETE /v2/keys/x/2",
    "- PUT /v2/keys/x/dir dir=true",
    "- DELETE /v2/keys/x/dir?dir=true",
    "- GET /v2/members",
    "- POST /v2/members",
    "u POST /v2/members",
    "- DELETE /v2/members/1",
    "- PATCH /v2/members",
    "- GET /v2/machines",
    "- GET /v2/stats/store",
    "bad GET /v2/keys/x/1",
    "bad PUT /v2/keys/x/1 value=1",
    "who GET /v2/keys/x/1",
    "bearer GET /v2/keys/x/1",
    "empty GET /v2/keys/x/1",
    "root PUT /v2/auth/roles/guest {\"role\":\"guest\",\"revoke\":{\"kv\":{\"read\":[\"/*\"],\"write\":[\"/*\"]}}}",
    "root PUT /v2/auth/roles/guest {\"role\":\"guest\",\"grant\":{\"kv\":{\"read\":[\"/g\",\"/g/*\",\"/o*\"],\"write\":[\"/g/*\"]}}}",
    "- GET /v2/keys/x/1",
    "- GET /v2/keys/?recursive=true",
    "- PUT /v2/keys/x/1 value=1",
    "- PUT /v2/keys/g/1 value=1",
    "- GET /v2/keys/g/1",
    "- GET /v2/keys/g?sorted=true",
    "- GET /v2/keys/g?recursive=true&sorted=true",
    "- GET /v2/keys/other",
    "- PUT /v2/keys/other value=1",
    "- GET /v2/keys/g/none",
    "- GET /v2/keys/x/1?wait=true",
    "- DELETE /v2/keys/g/1",
    "- GET /v2/keys/x/1?recursive=maybe",
    // A user's roles allow what they say, and nothing of the guest's.
    "u GET /v2/keys/g/1",
    "u GET /v2/keys/r/1",
    "u GET /v2/keys/r/1?quorum=true",
    "u HEAD /v2/keys/r/1",
    "u GET /v2/keys/r/",
    "u GET /v2/keys/r",
    "u GET /v2/keys/r/none",
    "u GET /v2/keys/w/1",
    "u GET /v2/keys/?recursive=true",
    "u GET /v2/keys/",
    "u GET /v2/keys/x/1?wait=true",
    "u GET /v2/keys/r/1?wait=true&waitIndex=1000000&quorum=true",
    "u PUT /v2/keys/r/1 value=2",
    "u PUT /v2/keys/w/2 value=2",
    "u PUT /v2/keys/w/1 value=2&prevExist=false",
    "u PUT /v2/keys/x/1 value=2",
    "u PUT /v2/keys/b/1 value=2",
    "u PUT /v2/keys/b/1 value=3&prevValue=2",
    "u PUT /v2/keys/b/1 value=3&prevValue=x",
    "u PUT /v2/keys/b/d dir=true&ttl=1000",
    "u POST /v2/keys/b value=1",
    "u POST /v2/keys/r value=1",
    "u DELETE /v2/keys/x/1",
    "u DELETE /v2/keys/b?dir=true",
    "u DELETE /v2/keys/x?recursive=true",
    "u DELETE /v2/keys/b/1?prevValue=3",
    "v GET /v2/keys/x/1",
    "v PUT /v2/keys/x/1 value=1",
    "root GET /v2/keys/?recursive=true&sorted=true",
    "root PUT /v2/keys/x/1 value=9",
    "root DELETE /v2/keys/x?recursive=true",
    "root PUT /v2/auth/users/u {\"user\":\"u\",\"password\":\"new\"}",
    "u GET /v2/keys/r/1",
    "root PUT /v2/auth/users/u {\"user\":\"u\",\"revoke\":[\"r\"]}",
    "new GET /v2/keys/r/1",
    "root DELETE /v2/auth/users/v",
    "v GET /v2/keys/r/1",
    "root DELETE /v2/auth/roles/guest",
    "- GET /v2/keys/g",
    "- PUT /v2/keys/g/1 value=1",
    "u DELETE /v2/auth/enable",
    "root DELETE /v2/auth/enable",
    "- GET /v2/auth/enable",
    "- GET /v2/keys/g",
    "- DELETE /v2/auth/users/root",
    "- PUT /v2/auth/enable",
];

/// What a step asks.
fn request(step: &str) -> Request {
    let mut words = step.splitn(4, ' ');
    let [who, method, target] = [(); 3].map(|()| words.next().unwrap());
    let basic = |pair: &str| format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair));
    let request = Request::new(method, target);
    let request = match words.next() {
        Some(body) if target.starts_with("/v2/auth") => request.json(body),
        Some(form) => request.form(form),
        None => request,
    };
    match who {
        "-" => request,
        "root" => request.header("Authorization", basic("root:rpw")),
        "bad" => request.header("Authorization", basic("u:wrong")),
        "new" => request.header("Authorization", basic("u:new")),
        "who" => request.header("Authorization", basic("nobody:pw")),
        "bearer" => request.header("Authorization", "Bearer token"),
        "empty" => request.header("Authorization", ""),
        user => request.header("Authorization", basic(&format!("{user}:pw"))),
    }
}

/// Takes out indexes, which etcd takes for users and roles too, and times; lists of names have no order, and none is as good
/// as an empty one.
fn plain(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, value| {
                let list = ["read", "write", "roles", "users"].contains(&name.as_str());
                let none = value.is_null() || value.as_array().is_some_and(Vec::is_empty);
                let index = ["index", "modifiedIndex", "createdIndex", "expiration", "ttl"].contains(&name.as_str());
                !(index || list && none)
            });
            if let Some(Value::String(key)) = fields.get_mut("key")
                && let Some(at) = key.find("/000000")
            {
                key.truncate(at);
            }
            fields.values_mut().for_each(plain);
        }
        Value::Array(values) => {
            values.iter_mut().for_each(plain);
            values.sort_by_key(Value::to_string);
        }
        _ => {}
    }
}

fn same(etcd: &Answer, ours: &Answer) -> bool {
    let parsed = |answer: &Answer| match serde_json::from_str::<Value>(&answer.body) {
        Ok(mut value) => {
            plain(&mut value);
            value
        }
        Err(_) => Value::String(answer.body.clone()),
    };
    let index = |name: &&&str| **name != "X-Etcd-Index";
    etcd.status == ours.status
        && parsed(etcd) == parsed(ours)
        && SAME.iter().filter(index).all(|name| etcd.header(name) == ours.header(name))
        && THERE.iter().all(|name| etcd.header(name).is_some() == ours.header(name).is_some())
}

/// The steps that are answered differently.
pub fn differences(pair: &mut Pair) -> Vec<String> {
    let mut differences = Vec::new();
    for step in STEPS {
        let [etcd, ours] = pair.ask(&request(step));
        // Each node has addresses and figures of its own.
        let own = step.contains("/v2/m") || step.contains("/v2/stats");
        let fit = if own { etcd.status == ours.status } else { same(&etcd, &ours) };
        if !fit {
            differences.push(format!("{step}\n  etcd: {etcd:?}\n  ours: {ours:?}"));
        }
    }
    differences
}
