//! etcdctl's commands of API 3: keys over gRPC, with the plain outputs of the original.

mod cluster;
pub mod format;
mod lease;
mod lock;
mod member;
mod mirror;
mod txn;
mod users;
mod watch;

use std::io::{Read as _, Write as _};

use bytes::Bytes;
use tonic::{Response, Status};

use self::format::{Format, shown};
use super::{Context, Failed, MIRROR};
use crate::ctl::args::Parsed;
use crate::kv::prefix_end;
use crate::remote::{self, Line, LineError};
use crate::wire::etcdserverpb::kv_client::KvClient;
use crate::wire::etcdserverpb::range_request::{SortOrder, SortTarget};
use crate::wire::etcdserverpb::{CompactionRequest, DeleteRangeRequest, PutRequest, RangeRequest};
use crate::wire::mvccpb::KeyValue;

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
    "lock",
    "elect",
    "alarm",
    "defrag",
    "move-leader",
    "snapshot",
    MIRROR,
];

/// Exit codes of the original beyond 1, which stands for everything that the cluster refuses.
pub mod exit {
    pub const CONNECTION: u8 = 2;
    pub const INPUT: u8 = 3;
    pub const FEATURE: u8 = 4;
    pub const INTERRUPTED: u8 = 5;
    pub const ARGUMENTS: u8 = 128;
}

/// The command line makes no sense.
fn arguments(message: impl Into<String>) -> Failed {
    Failed::with(exit::ARGUMENTS, message)
}

pub async fn run(verb: &str, context: &Context) -> Result<u8, Failed> {
    match verb {
        "put" => put(context).await,
        "get" => get(context).await,
        "del" => del(context).await,
        "txn" => txn::run(context).await,
        "watch" => watch::run(context).await,
        "lease" => lease::run(context).await,
        "member" => member::run(context).await,
        "endpoint" => cluster::endpoint(context).await,
        "alarm" => cluster::alarm(context).await,
        "defrag" => cluster::defrag(context).await,
        "move-leader" => cluster::move_leader(context).await,
        "user" => users::user(context).await,
        "role" => users::role(context).await,
        "auth" => users::auth(context).await,
        "compaction" => compaction(context).await,
        "lock" => lock::lock(context).await,
        "elect" => lock::elect(context).await,
        MIRROR => mirror::run(context).await,
        _ => {
            println!("etcdctl version: {}\nAPI version: 3.4", env!("CARGO_PKG_VERSION"));
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

/// The words behind the verb as key and range end, as `--prefix` and `--from-key` say.
fn range_of(parsed: &Parsed, wanted: &str) -> Result<(Bytes, Bytes), Failed> {
    let words = parsed.words.get(1..).unwrap_or_default();
    let (prefix, from_key) = (parsed.truth("prefix")?, parsed.truth("from-key")?);
    if prefix && from_key {
        return Err(arguments("`--prefix` and `--from-key` cannot be set at the same time, choose one"));
    }
    let Some(key) = words.first() else { return Err(arguments(wanted)) };
    let key = Bytes::from(key.clone());
    let end = match words.get(1) {
        Some(_) if prefix || from_key => {
            let message = "too many arguments, only accept one argument when `--prefix` or `--from-key` is set";
            return Err(arguments(message));
        }
        Some(end) => Bytes::from(end.clone()),
        None if prefix => prefix_end(&key),
        None if from_key => Bytes::from_static(b"\0"),
        None => Bytes::new(),
    };
    // The empty key is no key; everything starts at \0.
    let key = if key.is_empty() && !end.is_empty() { Bytes::from_static(b"\0") } else { key };
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
    let written = match context.parsed.truth("print-value-only")? {
        true => Ok(()),
        false => line(&kv.key),
    };
    written.and_then(|()| line(&kv.value)).map_err(|error| Failed::usage(format!("writing: {error}")))
}

fn put_request(parsed: &Parsed, input: impl FnOnce() -> Result<Bytes, Failed>) -> Result<PutRequest, Failed> {
    let (ignore_value, ignore_lease) = (parsed.truth("ignore-value")?, parsed.truth("ignore-lease")?);
    let (key, value) = match parsed.words.get(1..).unwrap_or_default() {
        [key] if ignore_value => (key, Bytes::new()),
        [_, _, ..] if ignore_value => {
            return Err(arguments("put command needs only 1 argument when 'ignore-value' is set"));
        }
        [key] => (key, input()?),
        [key, value, ..] => (key, Bytes::from(value.clone())),
        _ => return Err(arguments("put command needs 1 argument and input from stdin or 2 arguments")),
    };
    let lease = match parsed.value("lease") {
        None => 0,
        Some(text) => lease::id(text, "bad lease ID")?,
    };
    let (key, prev_kv) = (Bytes::from(key.clone()), parsed.truth("prev-kv")?);
    Ok(PutRequest { key, value, lease, prev_kv, ignore_value, ignore_lease })
}

async fn put(context: &Context) -> Result<u8, Failed> {
    let request = put_request(&context.parsed, || {
        let mut value = Vec::new();
        let read = std::io::stdin().lock().read_to_end(&mut value);
        read.map_err(|error| Failed::usage(format!("reading the value from standard input: {error}")))?;
        Ok(Bytes::from(value))
    })?;
    let response = within(context, KvClient::new(connected(context).await?).put(request)).await?;
    if shown(context, &response)? {
        return Ok(0);
    }
    println!("OK");
    response.prev_kv.iter().try_for_each(|kv| print_kv(context, kv))?;
    Ok(0)
}

fn get_request(parsed: &Parsed) -> Result<RangeRequest, Failed> {
    let (key, range_end) =
        range_of(parsed, "get command needs one argument as key and an optional argument as range_end")?;
    let named = |flag: &str, what: &str, known: &[(&str, i32)]| -> Result<i32, Failed> {
        let Some(word) = parsed.value(flag).filter(|word| !word.is_empty()) else { return Ok(0) };
        let found = known.iter().find(|(name, _)| name.eq_ignore_ascii_case(word)).map(|(_, value)| *value);
        found.ok_or_else(|| Failed::with(exit::FEATURE, format!("bad {what} {word}")))
    };
    let orders = [("ASCEND", SortOrder::Ascend as i32), ("DESCEND", SortOrder::Descend as i32)];
    let targets = [
        ("KEY", SortTarget::Key as i32),
        ("VERSION", SortTarget::Version as i32),
        ("CREATE", SortTarget::Create as i32),
        ("MODIFY", SortTarget::Mod as i32),
        ("VALUE", SortTarget::Value as i32),
    ];
    let serializable = match parsed.value("consistency") {
        None | Some("l") => false,
        Some("s") => true,
        Some(other) => return Err(Failed::with(exit::FEATURE, format!("unknown consistency flag {other:?}"))),
    };
    Ok(RangeRequest {
        key,
        range_end,
        limit: parsed.number("limit")?.unwrap_or(0),
        revision: parsed.number("rev")?.unwrap_or(0),
        sort_order: named("order", "sort order", &orders)?,
        sort_target: named("sort-by", "sort target", &targets)?,
        serializable,
        keys_only: parsed.truth("keys-only")?,
        count_only: parsed.truth("count-only")?,
        ..RangeRequest::default()
    })
}

async fn get(context: &Context) -> Result<u8, Failed> {
    let request = get_request(&context.parsed)?;
    let response = within(context, KvClient::new(connected(context).await?).range(request)).await?;
    if context.format != Format::Simple && context.parsed.truth("print-value-only")? {
        return Err(arguments("print-value-only is only for `--write-out=simple`"));
    }
    if shown(context, &response)? {
        return Ok(0);
    }
    response.kvs.iter().try_for_each(|kv| print_kv(context, kv))?;
    if context.parsed.truth("count-only")? {
        println!("{}", response.count);
    }
    Ok(0)
}

fn del_request(parsed: &Parsed) -> Result<DeleteRangeRequest, Failed> {
    let wanted = "del command needs one argument as key and an optional argument as range_end";
    if parsed.words.len() > 3 {
        return Err(arguments(wanted));
    }
    let (key, range_end) = range_of(parsed, wanted)?;
    Ok(DeleteRangeRequest { key, range_end, prev_kv: parsed.truth("prev-kv")? })
}

async fn del(context: &Context) -> Result<u8, Failed> {
    let request = del_request(&context.parsed)?;
    let response = within(context, KvClient::new(connected(context).await?).delete_range(request)).await?;
    if shown(context, &response)? {
        return Ok(0);
    }
    println!("{}", response.deleted);
    response.prev_kvs.iter().try_for_each(|kv| print_kv(context, kv))?;
    Ok(0)
}

async fn compaction(context: &Context) -> Result<u8, Failed> {
    let [_, revision] = context.parsed.words.as_slice() else {
        return Err(arguments("compaction command needs 1 argument"));
    };
    let revision = parse_int(revision).map_err(Failed::usage)?;
    let request = CompactionRequest { revision, physical: context.parsed.truth("physical")? };
    within(context, KvClient::new(connected(context).await?).compact(request)).await?;
    println!("compacted revision {revision}");
    Ok(0)
}

/// A number, or why it is none, in Go's words.
fn parse_int(text: &str) -> Result<i64, String> {
    text.parse().map_err(|_| format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::ctl::args;
    use crate::ctl::etcdctl::{FLAGS, V3_FLAGS};

    fn parsed(line: &str) -> Parsed {
        args::parse(&shlex::split(line).unwrap(), &[FLAGS, V3_FLAGS], &|_| None).unwrap()
    }

    #[test]
    fn mistakes_end_with_the_codes_of_the_original() {
        let cases = [
            ("get", exit::ARGUMENTS),
            ("get a b --prefix", exit::ARGUMENTS),
            ("get a --prefix --from-key", exit::ARGUMENTS),
            ("get a --order=SIDEWAYS", exit::FEATURE),
            ("get a --consistency=x", exit::FEATURE),
        ];
        for (line, code) in cases {
            assert_eq!(get_request(&parsed(line)).unwrap_err().code, code, "{line}");
        }
        let put = |line: &str| put_request(&parsed(line), || Ok(Bytes::from_static(b"input")));
        assert_eq!(put("put").unwrap_err().code, exit::ARGUMENTS);
        assert_eq!(put("put a b --ignore-value").unwrap_err().code, exit::ARGUMENTS);
        assert_eq!(put("put a").unwrap().value, "input");
    }

    #[test]
    fn all_keys_start_at_the_first_one() {
        for line in ["get '' --prefix", "get '' --from-key"] {
            let request = get_request(&parsed(line)).unwrap();
            assert_eq!((&request.key[..], &request.range_end[..]), (&b"\0"[..], &b"\0"[..]), "{line}");
        }
        assert_eq!(get_request(&parsed("get ''")).unwrap().key, "");
    }
}
