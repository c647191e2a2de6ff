//! etcdctl's commands of API 3: keys over gRPC, with the plain outputs of the original.

mod lease;
mod member;
mod txn;
mod users;

use std::io::Write as _;

use bytes::Bytes;
use tonic::{Response, Status};

use super::{Context, Failed};
use crate::kv::prefix_end;
use crate::net::Address;
use crate::remote::{self, Line, LineError};
use crate::wire::etcdserverpb::kv_client::KvClient;
use crate::wire::etcdserverpb::maintenance_client::MaintenanceClient;
use crate::wire::etcdserverpb::range_request::{SortOrder, SortTarget};
use crate::wire::etcdserverpb::watch_client::WatchClient;
use crate::wire::etcdserverpb::watch_request::RequestUnion;
use crate::wire::etcdserverpb::{
    CompactionRequest, DeleteRangeRequest, PutRequest, RangeRequest, StatusRequest, WatchCreateRequest, WatchRequest,
};
use crate::wire::mvccpb::event::EventType;
use crate::wire::mvccpb::{Event, KeyValue};

pub const VERBS: &[&str] = &[
    "put",
    "get",
    "del",
    "txn",
    "watch",
    "lease",
    "member",
    "endpoint",
    "compaction",
    "version",
    "user",
    "role",
    "auth",
];

pub async fn run(verb: &str, context: &Context) -> Result<u8, Failed> {
    if context.parsed.value("write-out").is_some_and(|format| format != "simple") {
        return Err(Failed::usage("-w: only `simple` is written here; etcd's own etcdctl has the other formats"));
    }
    match verb {
        "put" => put(context).await,
        "get" => get(context).await,
        "del" => del(context).await,
        "txn" => txn::run(context).await,
        "watch" => watch(context).await,
        "lease" => lease::run(context).await,
        "member" => member::run(context).await,
        "endpoint" => endpoint(context).await,
        "compaction" => compaction(context).await,
        "user" => users::user(context).await,
        "role" => users::role(context).await,
        "auth" => users::auth(context).await,
        _ => {
            println!("etcdctl version: {}\nAPI version: 3", env!("CARGO_PKG_VERSION"));
            Ok(0)
        }
    }
}

/// A line to the first endpoint that takes one.
pub async fn connected(context: &Context) -> Result<Line, Failed> {
    let mut reasons = Vec::new();
    for address in &context.endpoints {
        match remote::line(address, context.timeout, context.login.as_ref()).await {
            Ok(line) => return Ok(line),
            Err(LineError::Refused(status)) => return Err(Failed { code: 2, message: status.message().to_owned() }),
            Err(error) => reasons.push(format!("{address}: {error}")),
        }
    }
    Err(Failed { code: 1, message: format!("no endpoint can be reached: {}", reasons.join("; ")) })
}

pub fn refused(status: &Status) -> Failed {
    Failed { code: 1, message: status.message().to_owned() }
}

/// Bounds a call by the command's time-out.
pub async fn within<T>(
    context: &Context,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, Failed> {
    match tokio::time::timeout(context.timeout, call).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(refused(&status)),
        Err(_) => Err(Failed {
            code: 1,
            message: format!("context deadline exceeded: no answer within {:?}", context.timeout),
        }),
    }
}

/// Words from number `at` on as key and range end, as `--prefix` and `--from-key` say.
fn range_of(context: &Context, at: usize) -> Result<(Bytes, Bytes), Failed> {
    let words = context.parsed.words.get(at..).unwrap_or_default();
    let (prefix, from_key) = (context.parsed.truth("prefix")?, context.parsed.truth("from-key")?);
    let key = match words.first() {
        Some(key) => Bytes::from(key.clone()),
        None if prefix || from_key => Bytes::new(),
        None => return Err(Failed::usage("one key, and an end of the range if one is meant, are needed")),
    };
    let end = match (words.get(1), prefix, from_key) {
        (Some(_), true, _) | (Some(_), _, true) => {
            return Err(Failed::usage("a range end does not go with --prefix or --from-key"));
        }
        (Some(end), ..) => Bytes::from(end.clone()),
        (None, true, true) => {
            return Err(Failed::usage("`--prefix` and `--from-key` cannot be set at the same time, choose one"));
        }
        (None, true, false) => prefix_end(&key),
        (None, false, true) => Bytes::from_static(b"\0"),
        (None, false, false) => Bytes::new(),
    };
    // The empty key is no key; everything starts at \0.
    let key = if key.is_empty() { Bytes::from_static(b"\0") } else { key };
    Ok((key, end))
}

fn print_kv(context: &Context, kv: &KeyValue) -> Result<(), Failed> {
    let mut out = std::io::stdout().lock();
    let hex = context.parsed.truth("hex")?;
    let mut line = |bytes: &[u8]| {
        let text: Vec<u8> = match hex {
            true => bytes.iter().flat_map(|byte| format!("\\x{byte:02x}").into_bytes()).collect(),
            false => bytes.to_vec(),
        };
        out.write_all(&text).and_then(|()| out.write_all(b"\n"))
    };
    let printed = (|| {
        if !context.parsed.truth("print-value-only").unwrap_or(false) {
            line(&kv.key)?;
        }
        if !context.parsed.truth("keys-only").unwrap_or(false) {
            line(&kv.value)?;
        }
        Ok::<(), std::io::Error>(())
    })();
    printed.map_err(|error| Failed::usage(format!("writing: {error}")))
}

async fn put(context: &Context) -> Result<u8, Failed> {
    let (ignore_value, ignore_lease) = (context.parsed.truth("ignore-value")?, context.parsed.truth("ignore-lease")?);
    let mut words = context.parsed.words.iter().skip(1);
    let key = words
        .next()
        .ok_or_else(|| Failed::usage("put command needs 1 argument and input from stdin or 2 arguments"))?;
    let value = match words.next() {
        Some(value) => value.clone(),
        None if ignore_value => String::new(),
        None => std::io::read_to_string(std::io::stdin())
            .map_err(|error| Failed::usage(format!("reading the value from standard input: {error}")))?,
    };
    let request = PutRequest {
        key: Bytes::from(key.clone()),
        value: Bytes::from(value),
        lease: context.parsed.value("lease").map_or(Ok(0), lease::id)?,
        prev_kv: context.parsed.truth("prev-kv")?,
        ignore_value,
        ignore_lease,
    };
    let response = within(context, KvClient::new(connected(context).await?).put(request)).await?;
    println!("OK");
    response.prev_kv.iter().try_for_each(|kv| print_kv(context, kv))?;
    Ok(0)
}

async fn get(context: &Context) -> Result<u8, Failed> {
    let (key, range_end) = range_of(context, 1)?;
    let named = |flag: &str, known: &[(&str, i32)]| -> Result<i32, Failed> {
        let Some(word) = context.parsed.value(flag) else { return Ok(0) };
        let found = known.iter().find(|(name, _)| name.eq_ignore_ascii_case(word)).map(|(_, value)| *value);
        found.ok_or_else(|| Failed::usage(format!("bad --{flag} `{word}`")))
    };
    let request = RangeRequest {
        key,
        range_end,
        limit: context.parsed.number("limit")?.unwrap_or(0),
        revision: context.parsed.number("rev")?.unwrap_or(0),
        sort_order: named("order", &[("ASCEND", SortOrder::Ascend as i32), ("DESCEND", SortOrder::Descend as i32)])?,
        sort_target: named(
            "sort-by",
            &[
                ("KEY", SortTarget::Key as i32),
                ("VERSION", SortTarget::Version as i32),
                ("CREATE", SortTarget::Create as i32),
                ("MODIFY", SortTarget::Mod as i32),
                ("VALUE", SortTarget::Value as i32),
            ],
        )?,
        serializable: context.parsed.value("consistency") == Some("s"),
        keys_only: context.parsed.truth("keys-only")?,
        count_only: context.parsed.truth("count-only")?,
        ..RangeRequest::default()
    };
    let response = within(context, KvClient::new(connected(context).await?).range(request)).await?;
    response.kvs.iter().try_for_each(|kv| print_kv(context, kv))?;
    if context.parsed.truth("count-only")? {
        println!("{}", response.count);
    }
    Ok(0)
}

async fn del(context: &Context) -> Result<u8, Failed> {
    let (key, range_end) = range_of(context, 1)?;
    let request = DeleteRangeRequest { key, range_end, prev_kv: context.parsed.truth("prev-kv")? };
    let response = within(context, KvClient::new(connected(context).await?).delete_range(request)).await?;
    println!("{}", response.deleted);
    response.prev_kvs.iter().try_for_each(|kv| print_kv(context, kv))?;
    Ok(0)
}

async fn watch(context: &Context) -> Result<u8, Failed> {
    let (key, range_end) = range_of(context, 1)?;
    let create = WatchCreateRequest {
        key,
        range_end,
        start_revision: context.parsed.number("rev")?.unwrap_or(0),
        prev_kv: context.parsed.truth("prev-kv")?,
        progress_notify: context.parsed.truth("progress-notify")?,
        ..WatchCreateRequest::default()
    };
    // The stream of requests stays open: its end would end the watch.
    let requests = futures_util::stream::StreamExt::chain(
        futures_util::stream::iter([WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) }]),
        futures_util::stream::pending(),
    );
    let mut client = WatchClient::new(connected(context).await?);
    let mut responses = client.watch(requests).await.map_err(|status| refused(&status))?.into_inner();
    while let Some(response) = responses.message().await.map_err(|status| refused(&status))? {
        if response.canceled {
            let reason = match response.compact_revision {
                0 => response.cancel_reason,
                _ => "etcdserver: mvcc: required revision has been compacted".to_owned(),
            };
            return Err(Failed { code: 1, message: format!("watch was canceled ({reason})") });
        }
        response.events.iter().try_for_each(|event| print_event(context, event))?;
    }
    Err(Failed { code: 1, message: "the watch ended".to_owned() })
}

fn print_event(context: &Context, event: &Event) -> Result<(), Failed> {
    println!("{}", if event.r#type == EventType::Delete as i32 { "DELETE" } else { "PUT" });
    event.prev_kv.iter().chain(&event.kv).try_for_each(|kv| print_kv(context, kv))
}

async fn endpoint(context: &Context) -> Result<u8, Failed> {
    match context.parsed.words.get(1).map(String::as_str) {
        Some("status") => endpoints(context, status_line).await,
        Some("health") => endpoints(context, health_line).await,
        _ => Err(Failed::usage("write `endpoint status` or `endpoint health`")),
    }
}

/// Does the same at every endpoint; one that fails is told on standard error and makes the exit code 1.
async fn endpoints<'a, F>(context: &'a Context, line: impl Fn(&'a Context, &'a Address) -> F) -> Result<u8, Failed>
where
    F: Future<Output = Result<String, Failed>>,
{
    let mut code = 0;
    for address in &context.endpoints {
        match line(context, address).await {
            Ok(line) => println!("{line}"),
            Err(failed) => {
                eprintln!("{address} is unhealthy: {}", failed.message);
                code = 1;
            }
        }
    }
    if code == 1 {
        eprintln!("Error: unhealthy cluster");
    }
    Ok(code)
}

async fn at(context: &Context, address: &Address) -> Result<Line, Failed> {
    let opened = remote::line(address, context.timeout, context.login.as_ref()).await;
    opened.map_err(|error| Failed { code: 1, message: error.to_string() })
}

async fn status_line(context: &Context, address: &Address) -> Result<String, Failed> {
    let mut client = MaintenanceClient::new(at(context, address).await?);
    let status = within(context, client.status(StatusRequest {})).await?;
    let member = status.header.map_or(0, |header| header.member_id);
    Ok(format!(
        "{address}, {member:x}, {}, {}, {}, {}, {}, {}, {}, {}",
        status.version,
        human_bytes(status.db_size),
        status.leader == member,
        status.is_learner,
        status.raft_term,
        status.raft_index,
        status.raft_applied_index,
        status.errors.join(", ")
    ))
}

async fn health_line(context: &Context, address: &Address) -> Result<String, Failed> {
    let started = std::time::Instant::now();
    let mut client = KvClient::new(at(context, address).await?);
    within(context, client.range(RangeRequest { key: Bytes::from_static(b"health"), ..RangeRequest::default() }))
        .await?;
    Ok(format!("{address} is healthy: successfully committed proposal: took = {:?}", started.elapsed()))
}

/// Two digits and a unit of a thousand, as etcdctl shows sizes.
fn human_bytes(bytes: i64) -> String {
    let mut size = bytes as f64;
    let mut units = ["B", "kB", "MB", "GB"].iter();
    let mut unit = units.next().copied().unwrap_or("B");
    while size >= 1000.0 {
        let Some(next) = units.next() else { break };
        size /= 1000.0;
        unit = next;
    }
    if size < 10.0 && unit != "B" { format!("{size:.1} {unit}") } else { format!("{size:.0} {unit}") }
}

async fn compaction(context: &Context) -> Result<u8, Failed> {
    let revision = context.parsed.words.get(1).and_then(|word| word.parse().ok());
    let revision = revision.ok_or_else(|| Failed::usage("compaction command needs 1 argument: a revision"))?;
    let request = CompactionRequest { revision, physical: false };
    within(context, KvClient::new(connected(context).await?).compact(request)).await?;
    println!("compacted revision {revision}");
    Ok(0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn sizes_are_written_as_etcdctl_does() {
        for (bytes, expected) in [(20_480, "20 kB"), (512, "512 B"), (1_234_567, "1.2 MB"), (25_000_000_000, "25 GB")] {
            assert_eq!(human_bytes(bytes), expected);
        }
    }
}
